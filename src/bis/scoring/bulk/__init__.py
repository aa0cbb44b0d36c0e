"""Scoring in bulk: files of rows in, a prediction for each row out, in their order and in bounded memory.

`score` is the story; `reading` makes batches of files, `pools` has them predicted here, by worker processes or by many
machines, `writing` makes files of the answers. As all of `bis.scoring` it runs in the model's interpreter; what Parquet
and Arrow need, pyarrow, is imported only for them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ...flavors import NoMethod, Refused, Untrusted
from .. import TRUST


class Stop(Exception):
    """It cannot go on: what happened, what is known of why, what to type next."""

    def __init__(self, what: str, because: str = "", hint: str = "", status: int = 2) -> None:
        super().__init__(what)
        self.what, self.because, self.hint, self.status = what, because, hint, status


def why_not(error: Exception) -> dict[str, str]:
    """That a model is not loaded, or not asked so; why, and what to type then."""
    what = "the model cannot be asked so" if isinstance(error, NoMethod) else "the model cannot be loaded"
    text = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
    return {"what": what, "because": text, "hint": TRUST if isinstance(error, Untrusted) else ""}


@dataclasses.dataclass(frozen=True)
class Reject:
    """A row that cannot be scored, and why; never what is in it."""

    file: str
    row: int
    """Among the rows of its file, from 1; a line of names above them is none."""
    column: str
    expected: str
    given: str

    def __str__(self) -> str:
        where = f"{self.file}, row {self.row}" + (f", column {self.column!r}" if self.column else "")
        return f"{where}: {self.expected} is expected, and {self.given} is given"

    def entry(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
