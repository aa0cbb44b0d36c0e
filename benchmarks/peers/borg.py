"""Borg without encryption. Its status is an archive that finds nothing new; it has no push."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from measure import Command

from peers import Peer


class Borg(Peer):
    name = "borg"
    program = "borg"
    notes: ClassVar[dict[str, str]] = {"status": "an archive of nothing new"}

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.archives = 0

    @property
    def variables(self) -> dict[str, str]:
        yes = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        return {**super().variables, **yes, "BORG_BASE_DIR": str(self.home)}

    def begin(self) -> list[Command]:
        return [self.command("borg", "init", "-e", "none", self.place / "repository")]

    def add(self) -> list[Command]:
        self.archives += 1
        return [self.command("borg", "create", f"{self.place}/repository::{self.archives}", "data")]

    def status(self) -> list[Command]:
        return self.add()

    def verify(self) -> list[Command]:
        return [self.command("borg", "check", "--verify-data", self.place / "repository")]

    def restore(self) -> list[Command]:
        self.out.mkdir()
        return [self.command("borg", "extract", f"{self.place}/repository::{self.archives}", folder=self.out)]

    def stored(self) -> list[Path]:
        return [self.place / "repository"]

    def restored(self) -> Path:
        return self.out / "data"


PEER = Borg
