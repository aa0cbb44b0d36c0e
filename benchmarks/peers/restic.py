"""restic. Its status is a backup that finds nothing new; a push is a copy into another repository."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from measure import Command

from peers import Peer


class Restic(Peer):
    name = "restic"
    program = "restic"
    notes: ClassVar[dict[str, str]] = {"status": "a backup of nothing new"}

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, "RESTIC_PASSWORD": "bench", "RESTIC_FROM_PASSWORD": "bench"}

    def run(self, repository: str, *words: str | Path) -> Command:
        return self.command("restic", "-q", "-r", self.place / repository, *words)

    def begin(self) -> list[Command]:
        like = ("--copy-chunker-params", "--from-repo", self.place / "repository")
        return [self.run("repository", "init"), self.run("remote", "init", *like)]

    def add(self) -> list[Command]:
        return [self.run("repository", "backup", "data")]

    def status(self) -> list[Command]:
        return [self.run("repository", "backup", "data")]

    def verify(self) -> list[Command]:
        return [self.run("repository", "check", "--read-data")]

    def push(self) -> list[Command]:
        return [self.run("remote", "copy", "--from-repo", self.place / "repository")]

    def pull(self) -> list[Command]:
        return [
            self.run("fresh-repository", "init"),
            self.run("fresh-repository", "copy", "--from-repo", self.remote, "latest"),
            self.run("fresh-repository", "restore", "latest", "--target", self.fresh),
        ]

    def restore(self) -> list[Command]:
        return [self.run("repository", "restore", "latest", "--target", self.out)]

    def stored(self) -> list[Path]:
        return [self.place / "repository"]

    def restored(self) -> Path:
        return self.out / "data"


PEER = Restic
