"""Quilt 8 without S3: it hashes and writes a manifest, and copies only when a package is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from measure import Command

from peers import ROOT, Peer

BUILD = "import quilt3; quilt3.Package().set_dir('.', 'data').build('bench/data')"
VERIFY = "import quilt3; assert quilt3.Package.browse('bench/data').verify('data')"


class Quilt(Peer):
    name = "quilt"
    program = str(ROOT / ".venv-peers" / "bin" / "python")
    notes: ClassVar[dict[str, str]] = {
        "add": "a manifest only",
        "re-add": "a manifest only",
        "verify": "the files, as it has no store",
    }

    @classmethod
    def missing(cls) -> str:
        return "" if Path(cls.program).with_name("quilt3").exists() else "make .venv-peers installs quilt3"

    @property
    def variables(self) -> dict[str, str]:
        quiet = {"QUILT_DISABLE_USAGE_METRICS": "True", "QUILT_MINIMIZE_STDOUT": "True"}
        return {**super().variables, **quiet, "XDG_DATA_HOME": str(self.home / "share")}

    def add(self) -> list[Command]:
        return [self.command(self.program, "-c", BUILD)]

    def verify(self) -> list[Command]:
        return [self.command(self.program, "-c", VERIFY)]

    def stored(self) -> list[Path]:
        return [self.home / "share"]


PEER = Quilt
