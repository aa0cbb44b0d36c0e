"""DVC with its default links, which copy where the file system has no reflinks."""

from __future__ import annotations

from pathlib import Path

from measure import Command

from peers import ROOT, Peer


class Dvc(Peer):
    name = "dvc"
    program = str(ROOT / ".venv-peers" / "bin" / "dvc")

    @classmethod
    def missing(cls) -> str:
        return "" if Path(cls.program).exists() else "make .venv-peers installs dvc"

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, "DVC_NO_ANALYTICS": "1", "DVC_GLOBAL_CONFIG_DIR": str(self.home / "dvc")}

    def begin(self) -> list[Command]:
        return [
            self.command(self.program, "init", "-q", "--no-scm"),
            self.command(self.program, "config", "core.check_update", "false"),
            self.command(self.program, "remote", "add", "-d", "origin", self.remote),
        ]

    def add(self) -> list[Command]:
        return [self.command(self.program, "add", "-q", "data")]

    def status(self) -> list[Command]:
        return [self.command(self.program, "status", "-q")]

    def push(self) -> list[Command]:
        return [self.command(self.program, "push", "-q")]

    def pull(self) -> list[Command]:
        return [
            self.command("mkdir", "-p", self.fresh / ".dvc"),
            self.command("cp", "data.dvc", self.fresh),
            self.command("cp", ".dvc/config", self.fresh / ".dvc"),
            self.command(self.program, "pull", "-q", folder=self.place / "fresh"),
        ]

    def restore(self) -> list[Command]:
        return [self.command(self.program, "checkout", "-q")]

    def stored(self) -> list[Path]:
        return [self.work / ".dvc" / "cache"]


PEER = Dvc
