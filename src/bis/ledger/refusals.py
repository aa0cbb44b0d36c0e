"""What tracking refuses, with the facts of it, so that each door can say it in the words of its clients."""

from __future__ import annotations

from typing import Literal

from bis.errors import NotFound, UsageError

Kind = Literal["experiment", "run", "logged model", "registered model", "model version", "tag", "alias", "webhook"]


class NoSuch(NotFound):
    """Nothing of that kind is called so."""

    def __init__(self, kind: Kind, named: str, of: str = "", *, hint: str = "") -> None:
        place = f" of {of}" if of else ""
        super().__init__(f"no {kind}{place} is called {named!r}", hint=hint)
        self.kind = kind
        self.named = named
        self.of = of


class Collected(NoSuch):
    """It was removed, and `bis gc` deleted it for good."""

    def __init__(self, kind: Kind, named: str, when: str, of: str = "") -> None:
        super().__init__(kind, named, of)
        self.what = f"{kind} {named}{f' of {of}' if of else ''} is gone: it was removed, and collected on {when}"
        self.because = "`bis gc` deleted what it was and what it held for good."


class Removed(UsageError):
    """It was removed, and is not changed before it is restored."""

    def __init__(self, kind: Kind, named: str) -> None:
        super().__init__(f"{kind} {named} was removed", because="What was removed is restored before it is changed.")
        self.kind = kind
        self.named = named


class StillThere(UsageError):
    """It was not removed, and cannot be restored."""

    def __init__(self, kind: Kind, named: str) -> None:
        super().__init__(f"{kind} {named} was not removed")
        self.kind = kind
        self.named = named


class Sealed(UsageError):
    """A run of `bis run` stays as it was recorded."""

    def __init__(self, run: str) -> None:
        super().__init__(
            f"run {run} was recorded by bis and is sealed: nothing can be logged to it any more",
            because="Its record says what went in and what came out. Tags can be set, and it can be removed.",
            hint="log to a run of your own",
        )
        self.run = run


class ParamChanged(UsageError):
    """A param keeps the value that it was first given."""

    def __init__(self, run: str, changes: list[tuple[str, str, str]]) -> None:
        told = ", ".join(f"{key}: {before!r}, now {after!r}" for key, before, after in changes)
        super().__init__(f"run {run} has other values of these params already: {told}")
        self.run = run
        self.changes = changes
        """Key, the value that it has, the value that it was to be given."""


class BadToken(UsageError):
    """The mark of a page is none, or one of another question."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no page is marked so: {why}")
        self.why = why
