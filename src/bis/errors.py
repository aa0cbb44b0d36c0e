"""The errors of bis, one tree, grouped by what a caller would do about them.

    BisError
    ├── UsageError       2   the caller asked for something that makes no sense
    │   └── AlreadyThere 2   a name that somebody else has
    ├── NotFound         3   what was asked for is not there (it was looked for)
    ├── CannotRepeat     4   the run is there, but an ingredient of it cannot be had again
    ├── KeepingError     5   store, ledger or network could not be read or written
    │   └── Damaged      5   content does not match its digest
    └── Failure        125   bis itself failed while it ran a command

The number is the exit status. Each error has a stable `code` for scripts (`bis explain CODE`
describes it) and a `hint`: the next command to type.
"""

from __future__ import annotations


class BisError(Exception):
    """What happened, with the actual values; `because` is what bis knows of the reason."""

    status = 125
    code = "B001"

    def __init__(self, what: str, *, because: str = "", hint: str = "", code: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.because = because
        self.hint = hint
        self.code = code or type(self).code

    def told(self) -> dict[str, str]:
        """For scripts: what `--json` answers where there is no result."""
        return {"code": self.code, "what": self.what, "because": self.because, "hint": self.hint}

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.what, self.because, self.hint and f"Try: {self.hint}")))


class UsageError(BisError):
    status = 2
    code = "B002"


class AlreadyThere(UsageError):
    code = "B007"


class NotFound(BisError):
    status = 3
    code = "B003"


class CannotRepeat(BisError):
    status = 4
    code = "B004"


class KeepingError(BisError):
    status = 5
    code = "B005"


class Damaged(KeepingError):
    code = "B006"


class Failure(BisError):
    status = 125
    code = "B125"


EXPLANATIONS: dict[str, str] = {
    "B001": "Something in bis went wrong that has no code of its own. `--debug` shows where.",
    "B002": "The command line, a reference or a setting makes no sense as it was given.",
    "B003": "What was asked for was looked for and is not there.",
    "B004": "The run is recorded, but something it was made of cannot be had again here.",
    "B005": "The store or the ledger could not be read or written (disk full, read-only, locked, newer).",
    "B006": "Stored content does not match its digest any more. It is never handed out.",
    "B007": "The name is taken: an experiment, a model or a remote is called so already.",
    "B125": "bis itself failed while it ran a command. The status of the command, if any, is in the message.",
}
"""code -> what it means, for `bis explain`. Codes are only ever added."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun, as messages say it: `1 file`, `3 files`, `1,204 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def explains(code: str, meaning: str) -> str:
    """Register a further code beside its meaning; returns the code, so that it reads as a constant."""
    EXPLANATIONS[code] = meaning
    return code
