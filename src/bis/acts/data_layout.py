"""Versions as files side by side: written for programs that want it so, and taken in with their times.

`kedro`: `cars.csv/2026-05-03T10.11.12.123Z/cars.csv`. `dated`: `cars_20260503.csv`, with the time where a day has more
than one. `plain`: `cars.csv`, one version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

from bis.digest import readable, spell, unspell
from bis.errors import NotFound, UsageError
from bis.foreign import kedro
from bis.nouns.dataset import Held
from bis.steps.add_data import Added, Adding, add, default_name
from bis.steps.bring import Brought, bring
from bis.steps.home import Home
from bis.store.snapshot import walk
from bis.store.trouble import shown

Layout = Literal["kedro", "dated", "plain"]
DATED: Final = re.compile(
    r"(?P<stem>.+?)[_-](?P<date>\d{8}|\d{4}-\d\d-\d\d)(?:[T_-]?(?P<time>\d{6})(?P<milli>\d{3})?Z?)?(?P<suffix>(?:\.\w+)*)"
)


class Series(NamedTuple):
    """Files or folders that are versions of one data set."""

    name: str
    versions: list[tuple[datetime, Path]]
    """Oldest first."""


def write(
    versions: Sequence[Held], into: Path, layout: Layout, home: Home, *, force: bool = False, ours: str = ""
) -> list[tuple[Held, Brought]]:
    """Put versions of one data set below `into`, each where the layout has it; what is there already stays."""
    done = []
    file = _file_name(versions, home)
    for held in versions:
        folder, name = _place(held, file, versions, into, layout)
        if held.version.single:
            brought = bring(held, "", folder, home, force=force, name=name, ours=ours)
        else:
            brought = bring(held, "", folder / unspell(name), home, force=force, ours=ours)
        done.append((held, brought))
    return done


def read(path: Path, layout: Layout) -> list[Series]:
    """What of a layout lies at a path. Raises NotFound, with what was expected, where nothing does."""
    if not path.exists():
        raise NotFound(f"{shown(path)} is not there", hint=f"ls {shown(path.parent)}")
    found = _kedro_series(path) if layout == "kedro" else _dated_series(path)
    if not found:
        example = {
            "kedro": f"{path.name}/2026-05-03T10.11.12.123Z/{path.name}",
            "dated": f"{path.name}/cars_20260503.csv",
        }[layout]
        raise NotFound(
            f"{shown(path)} holds nothing in the layout {layout}",
            because=f"Looked for names as {example}.",
            hint=f"bis data add {shown(path)}  adds it as one version",
        )
    return found


def take_in(
    adding: Adding, layout: Layout, home: Home, progress: Callable[[str], None] = lambda text: None
) -> list[Added]:
    """Add every version that lies at `adding.path`, with its time, oldest first; those that are there already stay as
    they are. What else `adding` says holds for each."""
    found = read(adding.path, layout)
    if adding.name and len(found) > 1:
        names = ", ".join(readable(series.name) for series in found[:5])
        raise UsageError(
            f"{shown(adding.path)} holds {len(found)} data sets ({names}), and one name was given",
            hint="without --name, each gets its own",
        )
    done = []
    for series in found:
        for moment, place in series.versions:
            one = Adding(
                path=place,
                name=adding.name or series.name,
                message=adding.message,
                metadata=adding.metadata,
                tags=adding.tags if place == series.versions[-1][1] else (),
                checksums=adding.checksums,
                by_reference=adding.by_reference,
                made=moment,
            )
            done.append(add(one, home, progress))
    return done


# -- writing -----------------------------------------------------------------------------------------------------


def _file_name(versions: Sequence[Held], home: Home) -> str:
    """The name that all of them get: of the newest single file, or of the data set."""
    for held in versions:
        if held.version.single:
            return next(walk(home.store, held.version.tree)).path
    return versions[0].version.name.rpartition("/")[2]


def _place(held: Held, file: str, versions: Sequence[Held], into: Path, layout: Layout) -> tuple[Path, str]:
    """The folder, and the name in it."""
    if layout == "plain":
        return into, file
    if layout == "kedro":
        return into / unspell(file) / held.version.stamp, file
    stem, dot, suffix = file.partition(".") if held.version.single else (file, "", "")
    return into, f"{stem}_{_date(held, versions)}{dot}{suffix}"


def _date(held: Held, versions: Sequence[Held]) -> str:
    """The day; with the time to the second, or to the millisecond, where others have the same."""
    for length in (10, 19):
        if sum(one.version.made[:length] == held.version.made[:length] for one in versions) == 1:
            return re.sub(r"[-:]", "", held.version.made[:length])
    return re.sub(r"[-:.]", "", held.version.made[:23])


# -- reading -----------------------------------------------------------------------------------------------------


def _kedro_series(path: Path) -> list[Series]:
    places = [path] if any(map(kedro.version_moment, kedro.versions(path))) else list(kedro.find_versioned(path))
    found = []
    for place in places:
        named = [(kedro.version_moment(name), place / name / place.name) for name in kedro.versions(place)]
        versions = [(moment, file) for moment, file in named if moment]
        found.append(Series(default_name(versions[0][1]), sorted(versions)))
    return found


def _dated_series(path: Path) -> list[Series]:
    """By stem and suffix, of all in a folder; of a file, those that belong to it."""
    groups: dict[tuple[str, str], list[tuple[datetime, Path]]] = {}
    for place in sorted(path.iterdir() if path.is_dir() else path.parent.iterdir()):
        shape = DATED.fullmatch(place.name)
        moment = _moment(shape) if shape else None
        if shape and moment:
            groups.setdefault((shape["stem"], shape["suffix"]), []).append((moment, place))
    if path.is_file():
        shape = DATED.fullmatch(path.name)
        groups = {key: some for key, some in groups.items() if shape and key == (shape["stem"], shape["suffix"])}
    stems = [stem for stem, _ in groups]
    # Two kinds of file with one stem are two data sets.
    return [
        Series(_name(stem if stems.count(stem) == 1 else f"{stem}{suffix}"), sorted(some))
        for (stem, suffix), some in groups.items()
    ]


def _name(text: str) -> str:
    return spell("".join(letter if letter.isalnum() or letter in "._+-" else "-" for letter in text).strip(".-+"))


def _moment(shape: re.Match[str]) -> datetime | None:
    day, time, milli = shape["date"].replace("-", ""), shape["time"] or "000000", shape["milli"] or "000"
    try:
        return datetime.strptime(f"{day}{time}{milli}000", "%Y%m%d%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        return None
