"""From the journals of a run that a script began to where its runs are kept: the ledger of the project, or a server.

A script writes to its journals and goes on; this reads them behind it. How far it has come is noted beside them, so
that another process goes on there when this one was killed. What is delivered twice after a kill is the same point
or the same param again, and counts once.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bis.errors import KeepingError, UsageError
from bis.nouns.logged import End, File, Params, Saying, Tags, Values
from bis.nouns.run import Status
from bis.steps.gather import metrics_of_models
from bis.steps.here import host_here
from bis.steps.journal import Told, entries, journals
from bis.steps.samples import started_at

BEGINNING: Final = "run"
SENT: Final = "sent"
QUIET: Final = 86_400
"""Seconds without a word, after which a process on another machine counts as gone."""
AT_ONCE: Final = 1000
"""Entries handed on together."""


class Beginning(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a run when a script begins it."""

    id: str
    """32 hexadecimal digits."""
    name: str = ""
    experiment: str = ""
    """Its name; empty: the default one."""
    note: str = ""
    started: str
    """RFC 3339, UTC."""
    user: str = ""
    host: str = ""
    command: tuple[str, ...] = ()
    parent: str = ""
    """The run that was under way around it."""
    server: str = ""
    """URL of the server that it is for; empty: the ledger of the project."""
    process: tuple[int, int] = (0, 0)
    """Of the process that began it: its pid and when it started, which together name it for good."""


class Gone(KeepingError):
    """The run was removed where it is kept. What waits for it can be delivered when it is restored, or given up."""

    def __init__(self, place: str, beginning: Beginning) -> None:
        super().__init__(
            f"{place} has no run {beginning.name or beginning.id[:8]} any more: it was removed there",
            because="What waits for it is kept until the run is restored there, or you give it up.",
            hint=f"bis sync --drop {beginning.id[:8]}",
        )


class Target(Protocol):
    """Where runs are kept. What was taken may be taken again. Raises OSError or BisError for what may come right later
    (`Gone` where a person has to see to that), UsageError for what never will."""

    def begin(self, beginning: Beginning) -> None: ...

    def take(self, beginning: Beginning, told: Sequence[Saying], folder: Path) -> None:
        """`folder`: where the content of artifacts lies."""
        ...

    def end(self, beginning: Beginning, status: Status, moment: int) -> None:
        """`moment`: milliseconds since 1970 UTC."""
        ...


class Delivery:
    """One run on its way."""

    def __init__(self, folder: Path, target: Target) -> None:
        self.folder = folder
        self.beginning = read_beginning(folder)
        self._target = target
        self._sent = _read_sent(folder)
        self._ended: End | None = None
        self.refused: list[str] = []
        """What the target will never take, in its words, each name once."""
        self._complained: set[tuple[str, ...]] = set()

    def go_on(self) -> int:
        """Deliver what has come since; how many entries. What the target did not take stays."""
        if "" not in self._sent:
            self._target.begin(self.beginning)
            self._note("", 1)
        return sum(self._deliver(path) for path in journals(self.folder))

    def end(self) -> None:
        """Tell the target how the run ended, and forget it here. One that did not say so is lost, and ended with its
        last word."""
        newest = max(path.stat().st_mtime_ns for path in (self.folder, *journals(self.folder)))
        last = self._ended or _last_word(self.folder) or End(newest // 1_000_000, "lost")
        self._tell_of_models(last.moment)
        self._target.end(self.beginning, last.status, last.moment)
        # What another process of the run says from now on is delivered when that has ended, too.
        self.go_on()
        if not _spoken_for(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _tell_of_models(self, moment: int) -> None:
        """What was measured of the models that it saved, where it did not log that itself."""
        said = [told.entry for path in journals(self.folder) for told in entries(path)]
        files = {one.path: self.folder / one.content for one in said if isinstance(one, File)}
        logged = {key: value for one in said if isinstance(one, Values) for key, value in one.values.items()}
        if found := metrics_of_models(files, logged):
            entry = Values(moment, 0, found)
            try:
                self._target.take(self.beginning, [entry], self.folder)
            except UsageError as error:
                self._complain(entry, error.what)

    def _deliver(self, path: Path) -> int:
        done, some, reached = 0, list[Saying](), self._sent.get(path.name, 0)
        for told in _some(path, reached):
            if isinstance(told.entry, End):
                self._ended = told.entry
            else:
                some.append(told.entry)
            reached = told.end
            if len(some) >= AT_ONCE:
                done += self._hand_on(path, some, reached)
                some = []
        return done + self._hand_on(path, some, reached)

    def _hand_on(self, path: Path, some: Sequence[Saying], reached: int) -> int:
        try:
            if some:
                self._target.take(self.beginning, some, self.folder)
        except UsageError as error:
            # One of them will never be taken, or one value of it; the others are.
            fewer = some if len(some) > 1 else _by_name(some[0])
            for entry in fewer:
                self._hand_on(path, [entry], self._sent.get(path.name, 0))
            if not fewer:
                self._complain(some[0], error.what)
        if reached != self._sent.get(path.name, 0):
            self._note(path.name, reached)
        return len(some)

    def _complain(self, entry: Saying, what: str) -> None:
        named = (type(entry).__name__, *entry.values) if isinstance(entry, Values | Params | Tags) else (what,)
        if named not in self._complained:
            self._complained.add(named)
            self.refused.append(f"{', '.join(named[1:])}: {what}" if len(named) > 1 else what)

    def _note(self, name: str, reached: int) -> None:
        self._sent[name] = reached
        draft = self.folder / f"{SENT}.{os.getpid()}"
        draft.write_bytes(msgspec.json.encode(self._sent))
        draft.replace(self.folder / SENT)


def waiting(folder: Path) -> int:
    """How many entries were not delivered."""
    sent = _read_sent(folder)
    found = (told.entry for path in journals(folder) for told in _some(path, sent.get(path.name, 0)))
    return sum(not isinstance(entry, End) for entry in found)


def write_beginning(folder: Path, beginning: Beginning) -> None:
    """Make the folder of a run. It appears whole: whoever looks never sees a run without its beginning."""
    draft = folder.with_name(f".{folder.name}")
    draft.mkdir(parents=True)
    (draft / BEGINNING).write_bytes(msgspec.json.encode(beginning))
    draft.rename(folder)


def read_beginning(folder: Path) -> Beginning:
    return msgspec.json.decode((folder / BEGINNING).read_bytes(), type=Beginning)


def is_alive(folder: Path, beginning: Beginning) -> bool:
    """Whether the process that began the run is there, or one that it started and that logs; of one on another machine,
    whether it wrote something lately."""
    if beginning.host != host_here():
        newest = max(path.stat().st_mtime for path in (folder, *journals(folder)))
        return time.time() - newest < QUIET
    pid, start = beginning.process
    return started_at(pid) == start != 0 or _spoken_for(folder)


def _spoken_for(folder: Path) -> bool:
    """Whether another process that has a journal there may say more."""
    pids = {int(path.stem.rpartition("-")[2]) for path in journals(folder)}
    return any(started_at(pid) for pid in pids - {os.getpid()})


def left(folder: Path) -> Iterator[Path]:
    """The folders of runs below `.bis/logging` that nobody carries on any more."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(OSError, msgspec.MsgspecError):
            if not path.name.startswith(".") and not is_alive(path, read_beginning(path)):
                yield path


def unexpected(error: Exception) -> str:
    """In words, of what is no error of bis: an answer without what was asked for is a KeyError."""
    return f"something happened that nobody expected: {type(error).__name__}: {error}"


def _by_name(entry: Saying) -> Sequence[Saying]:
    """An entry for each of the names in one that has several; nothing for any other."""
    match entry:
        case Values(moment, step, values) if len(values) > 1:
            return [Values(moment, step, {key: value}) for key, value in values.items()]
        case Params(given) | Tags(given) if len(given) > 1:
            return [type(entry)({key: value}) for key, value in given.items()]
    return []


def _some(path: Path, start: int) -> Iterator[Told]:
    with suppress(FileNotFoundError):
        yield from entries(path, start)


def _last_word(folder: Path) -> End | None:
    found = [told.entry for path in journals(folder) for told in entries(path) if isinstance(told.entry, End)]
    return found[-1] if found else None


def _read_sent(folder: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode((folder / SENT).read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}
