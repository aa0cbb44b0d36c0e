"""`bis data diff`: what is different between two versions, file by file, and within tables and images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from bis.digest import Digest, readable, unspell
from bis.errors import BisError, counted
from bis.formats import Unreadable
from bis.formats.bins import Bins, bins, ranges_of
from bis.formats.profile import Pair, Profile, is_profiled, profile_both
from bis.formats.rows import RowChange
from bis.formats.summary import ColumnProfile
from bis.nouns.dataset import Held
from bis.nouns.run import Run
from bis.nouns.tree import Entry
from bis.steps import data_told
from bis.steps.bring import located
from bis.steps.home import Home
from bis.steps.shallow import need
from bis.store.snapshot import difference

Kind = Literal["added", "removed", "changed", "moved"]
EVERY: Final = 1 << 62
LONG: Final = 64 << 20
"""From this size on, looking takes a while, and it is said that it is done."""


class Bounds(NamedTuple):
    """How much is looked into."""

    largest: int = 2 << 30
    """Bytes of one file."""
    files: int = 50
    together: int = EVERY
    """Bytes of all files."""
    fetched: bool = True
    """Whether files that were recorded by reference are read where they lie."""
    bins: bool = False
    """Whether the numbers of columns are counted, too, which takes another reading."""
    beyond: str = "--all"
    """How to have more looked into."""


USUAL: Final = Bounds()


class ColumnChange(msgspec.Struct, frozen=True, kw_only=True):
    """One column that is not as it was; None: not there."""

    name: str
    before: ColumnProfile | None
    after: ColumnProfile | None


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What is different within a file."""

    before: Profile
    after: Profile
    rows: RowChange | None = None
    """None: there are none, or they could not be matched."""
    unmatched: str = ""
    """Why rows could not be matched."""
    columns: tuple[ColumnChange, ...] = ()
    bins: dict[str, tuple[Bins, Bins]] = {}
    """How the numbers of columns that differ are spread, before and after, where that was asked for."""

    @property
    def facts(self) -> dict[str, tuple[str, str]]:
        old, new = self.before.facts, self.after.facts
        return {key: (old.get(key, ""), new.get(key, "")) for key in old | new if old.get(key) != new.get(key)}


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is not as it was."""

    path: str
    kind: Kind
    was: str = ""
    """The path of before, for one that was moved."""
    before: Entry | None = None
    after: Entry | None = None
    inside: Inside | None = None
    why: str = ""
    """Why it was not looked into, where it might have been."""


class DataDifference(msgspec.Struct, frozen=True, kw_only=True):
    before: Held
    after: Held
    changes: tuple[FileChange, ...]
    alike: int
    """Files that are the same in both."""


def diff(
    before: Held,
    after: Held,
    home: Home,
    *,
    look: bool = True,
    bounds: Bounds = USUAL,
    progress: Callable[[str], None] = lambda text: None,
) -> DataDifference:
    """What turns `before` into `after`: files added, removed, changed and moved, by content. With `look`, what is
    different in tables and images, within the bounds."""
    changes = _moved(_paired(before, after, list(_changes(before, after, home))))
    if look:
        changes = _looked_into(
            changes, home, bounds, progress, lambda change: _of_versions(change, before, after, home)
        )
    touched = sum(change.kind in ("added", "changed", "moved") for change in changes)
    return DataDifference(before=before, after=after, changes=tuple(changes), alike=after.version.files - touched)


def between(before: Run, after: Run, home: Home, bounds: Bounds) -> list[FileChange]:
    """The inputs of two runs that differ, and what is different within those whose content lies in the store."""
    old, new = ({row["path"]: row for row in _inputs(run)} for run in (before, after))
    changes = []
    for path in sorted({*old, *new}):
        first, second = (_entry(path, some[path]) if path in some else None for some in (old, new))
        if first is None or second is None or first.digest != second.digest:
            kind: Kind = "changed" if first and second else "added" if second else "removed"
            changes.append(FileChange(path=path, kind=kind, before=first, after=second))
    bounds = bounds._replace(fetched=False)
    return _looked_into(changes, home, bounds, lambda text: None, lambda change: _of_runs(change, home))


def _inputs(run: Run) -> list[dict[str, Any]]:
    part = run.parts.get("data")
    return list(part.facts.get("inputs", ())) if part else []


def _entry(path: str, row: dict[str, Any]) -> Entry:
    name, kept = path.rpartition("/")[2], row.get("kept", True)
    return Entry(name=name, kind="file", digest=Digest(row["digest"]), size=row["size"], kept=kept)


Opened = AbstractContextManager[tuple[Path, Path]]


def _looked_into(
    changes: Sequence[FileChange],
    home: Home,
    bounds: Bounds,
    progress: Callable[[str], None],
    opened: Callable[[FileChange], Opened],
) -> list[FileChange]:
    """With what is different within files, as far as the bounds go."""
    found, looked, together = [], 0, 0
    for change in changes:
        if change.kind == "changed" and is_profiled(change.path) and _has_other_bytes(change):
            looked += 1
            if change.after and change.after.size > LONG:
                progress(f"looking into {readable(change.path)}")
            if why := _beyond(change, looked, together, bounds, home):
                change = msgspec.structs.replace(change, why=why)
            else:
                together += sum(entry.size for entry in (change.before, change.after) if entry)
                change = _look(change, opened, bounds)
        found.append(change)
    return found


@contextmanager
def _of_versions(change: FileChange, before: Held, after: Held, home: Home) -> Iterator[tuple[Path, Path]]:
    with located(before, change.was or change.path, home) as old, located(after, change.path, home) as new:
        yield old, new


@contextmanager
def _of_runs(change: FileChange, home: Home) -> Iterator[tuple[Path, Path]]:
    from bis.store.temporary import temporary

    with temporary("data") as folder:
        places = []
        for side, entry in (("before", change.before), ("after", change.after)):
            assert entry
            need(home, [entry.digest])
            place = Path(folder, side, unspell(entry.name))
            place.parent.mkdir()
            home.store.get_file(entry.digest, place)
            places.append(place)
        yield places[0], places[1]


def _changes(before: Held, after: Held, home: Home) -> list[FileChange]:
    found = []
    for path, old, new in difference(home.store, before.version.tree, after.version.tree):
        old, new = (None if entry and entry.kind == "tree" else entry for entry in (old, new))
        if old or new:
            kind: Kind = "changed" if old and new else "added" if new else "removed"
            found.append(FileChange(path=path, kind=kind, before=old, after=new))
    return found


def _paired(before: Held, after: Held, changes: list[FileChange]) -> list[FileChange]:
    """Two single files are two states of one, whatever their names."""
    if not (before.version.single and after.version.single) or len(changes) != 2:
        return changes
    old, new = sorted(changes, key=lambda change: change.kind == "added")
    return [FileChange(path=new.path, was=old.path, kind="changed", before=old.before, after=new.after)]


def _moved(changes: list[FileChange]) -> list[FileChange]:
    """A file that is gone and one that is new with the same bytes: it was moved. Of several alike, in their order."""
    gone: dict[tuple[Digest, int], list[FileChange]] = {}
    for change in changes:
        if change.kind == "removed" and change.before and change.before.kind == "file" and change.before.size:
            gone.setdefault((change.before.digest, change.before.mode), []).append(change)
    found, used = [], set()
    for change in changes:
        entry = change.after
        waiting = gone.get((entry.digest, entry.mode), []) if entry and change.kind == "added" else []
        if waiting:
            old = waiting.pop(0)
            used.add(old.path)
            change = msgspec.structs.replace(change, kind="moved", was=old.path, before=old.before)
        found.append(change)
    return [change for change in found if change.kind != "removed" or change.path not in used]


def _has_other_bytes(change: FileChange) -> bool:
    """And not another mode alone."""
    assert change.before
    assert change.after
    return "file" in (change.before.kind, change.after.kind) and change.before.digest != change.after.digest


def _beyond(change: FileChange, looked: int, together: int, bounds: Bounds, home: Home) -> str:
    """Why a file is not looked into; empty where it is."""
    entries = [entry for entry in (change.before, change.after) if entry]
    if looked > bounds.files:
        return f"more than {counted(bounds.files, 'file')}: {bounds.beyond} looks into every one"
    if max(entry.size for entry in entries) > bounds.largest:
        return f"larger than {_round(bounds.largest)}: {bounds.beyond} looks into it"
    if together + sum(entry.size for entry in entries) > bounds.together:
        return f"more than {_round(bounds.together)} together: {bounds.beyond} looks into it"
    if not bounds.fetched and not all(entry.kept or home.store.has(entry.digest) for entry in entries):
        return f"recorded by reference: {bounds.beyond} reads it where it lies"
    return ""


def _round(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def _look(change: FileChange, opened: Callable[[FileChange], Opened], bounds: Bounds) -> FileChange:
    try:
        with opened(change) as (old, new):
            pair = profile_both(old, new)
            columns = tuple(_columns(pair.before.columns, pair.after.columns))
            spread = _spread(old, new, pair, columns) if bounds.bins else {}
    except (Unreadable, BisError) as error:
        return msgspec.structs.replace(change, why=str(error).splitlines()[0])
    inside = Inside(
        before=pair.before,
        after=pair.after,
        rows=pair.rows,
        unmatched=pair.unmatched,
        columns=columns,
        bins=spread,
    )
    return msgspec.structs.replace(change, inside=inside)


def _spread(old: Path, new: Path, pair: Pair, columns: Sequence[ColumnChange]) -> dict[str, tuple[Bins, Bins]]:
    """Over one range for both."""
    ranges = ranges_of(pair.before, pair.after)
    wanted = {one.name: ranges[one.name] for one in columns if one.before and one.after and one.name in ranges}
    first, second = bins(old, wanted), bins(new, wanted)
    return {name: (first[name], second[name]) for name in wanted if name in first and name in second}


def _columns(olds: Sequence[ColumnProfile], news: Sequence[ColumnProfile]) -> list[ColumnChange]:
    """The columns that differ: those that came, went or got another type, then the others, most shifted first."""
    old, new = ({column.name: column for column in some} for some in (olds, news))
    names = [*old, *(name for name in new if name not in old)]
    found = [ColumnChange(name=name, before=old.get(name), after=new.get(name)) for name in names]
    return sorted((one for one in found if one.before != one.after), key=_shift, reverse=True)


def _shift(one: ColumnChange) -> float:
    """By how many deviations the mean moved."""
    old, new = one.before, one.after
    if old is None or new is None or old.type != new.type:
        return math.inf
    if old.mean is None or new.mean is None:
        return 0.0
    return abs(new.mean - old.mean) / (old.deviation or abs(old.mean) or 1.0)


def told(found: DataDifference) -> dict[str, Any]:
    """As JSON has it, in the command's answer and in the page's."""
    return {
        "before": data_told.told(found.before),
        "after": data_told.told(found.after),
        "same": not found.changes,
        "alike": found.alike,
        "changes": [change_told(change) for change in found.changes],
    }


def change_told(change: FileChange) -> dict[str, Any]:
    found: dict[str, Any] = {"path": change.path, "kind": change.kind, "was": change.was or None}
    for side, entry in (("before", change.before), ("after", change.after)):
        found[side] = {"kind": entry.kind, "size": entry.size, "digest": entry.digest or None} if entry else None
    if change.inside:
        found["inside"] = {
            "before": change.inside.before,
            "after": change.inside.after,
            "rows": change.inside.rows,
            "unmatched": change.inside.unmatched or None,
            "columns": change.inside.columns,
        }
    return found | ({"not_looked_into": change.why} if change.why else {})
