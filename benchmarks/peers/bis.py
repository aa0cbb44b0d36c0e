"""bis, as its user calls it."""

from __future__ import annotations

import sys
from pathlib import Path

from measure import Command

from peers import Peer


class Bis(Peer):
    name = "bis"
    program = str(Path(sys.executable).with_name("bis"))

    def begin(self) -> list[Command]:
        (self.work / "bis.toml").touch()
        return [self.command(self.program, "remote", "add", "origin", self.remote)]

    def add(self) -> list[Command]:
        return [self.command(self.program, "data", "add", "data")]

    def status(self) -> list[Command]:
        return [self.command(self.program, "data", "status", "data")]

    def verify(self) -> list[Command]:
        return [self.command(self.program, "verify")]

    def push(self) -> list[Command]:
        return [self.command(self.program, "push")]

    def pull(self) -> list[Command]:
        return [
            self.command(self.program, "clone", self.remote, self.fresh),
            self.command(self.program, "-C", self.fresh, "data", "get", "data", self.fresh / "data"),
        ]

    def restore(self) -> list[Command]:
        return [self.command(self.program, "data", "get", "data", "data")]

    def stored(self) -> list[Path]:
        return [self.work / ".bis" / "store" / "packs"]


PEER = Bis
