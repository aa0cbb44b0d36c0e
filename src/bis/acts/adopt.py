"""`bis import`: what other systems keep in folders becomes versions of data sets: Quilt, Kedro, Croissant.

Every content is proved by the hash that its own system gives it before it is kept. What is missing or damaged is
named, and the rest is imported: a version is whole, or there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import spell
from bis.errors import NotFound, UsageError, counted
from bis.foreign import croissant, dvc, kedro, lfs, not_understood, quilt
from bis.steps.add_data import source_of
from bis.steps.adopting import File, State
from bis.steps.home import Home
from bis.steps.taking import SHORT, Absent, Adopted, Progress, Taking, named, stem
from bis.store.trouble import shown

# -- Quilt ---------------------------------------------------------------------------------------------------------


def adopt_quilt(registry: Path, home: Home, names: Iterable[str], prefix: str, progress: Progress) -> Adopted:
    """Each version of each package of a registry in a folder, or of those named. Content comes from physical keys that
    are files here."""
    there = quilt.names(registry)
    wanted = list(names) or there
    for name in wanted:
        if name not in there:
            known = ", ".join(there) or "none"
            raise NotFound(
                f"{shown(registry)} has no package {name}", because=f"It has {known}.", hint="bis import quilt"
            )
    if not there:
        raise NotFound(
            f"{shown(registry)} is no registry of Quilt with packages in it",
            hint="name the folder that holds .quilt, for example ~/.local/share/Quilt/packages",
        )
    taking = Taking(home, progress)
    for name in wanted:
        for version in quilt.versions(registry, name):
            make = partial(_quilt_state, registry, name, version, named(name, prefix), home)
            taking.take(f"{name}@{version.top[:SHORT]}", make)
    return taking.done()


def _quilt_state(registry: Path, name: str, version: quilt.Version, called: str, home: Home) -> State:
    try:
        package = quilt.read_package(registry, version.top)
    except UsageError as error:
        raise Absent(error.what) from None
    files = []
    for row in package.rows:
        places = [place for key in row.physical_keys if (place := quilt.local_path(key)) is not None]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise Absent(f"{row.logical_key} is not here ({', '.join(row.physical_keys)})")
        proved = quilt.is_content(place, row)
        if proved is not True:
            kind = row.hash.type if row.hash else "none"
            why = f"cannot be proved: its hash is {kind}" if proved is None else "has other bytes than the package says"
            raise Absent(f"{shown(place)} {why}")
        files.append(File(path=spell(row.logical_key), place=place.resolve()))
    if not files:
        raise Absent("the package has no files")
    said = {spell(key): spell(_words(value)) for key, value in package.metadata.items()}
    made = version.made or datetime.fromtimestamp(
        (registry / quilt.ROOT / "packages" / version.top).stat().st_mtime, UTC
    )
    return State(
        name=called,
        files=tuple(files),
        made=made,
        message=spell(package.message),
        source=source_of(registry, home),
        metadata={**said, "quilt.package": name, "quilt.top": version.top},
    )


def _words(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# -- Kedro ---------------------------------------------------------------------------------------------------------


def adopt_kedro(project: Path, home: Home, prefix: str, progress: Progress) -> Adopted:
    """Each version of each versioned data set that a project's catalogs declare, or that has the layout of one; of a
    data set by itself, its own versions."""
    taking = Taking(home, progress)
    found = {f"{project.name}": project} if kedro.versions(project) else {}
    if not found:
        found = {name: project / one.filepath for name, one in kedro.declared(project).items()}
        known = {path.resolve() for path in found.values()}
        others = [path for path in kedro.find_versioned(project) if path.resolve() not in known]
        found |= {str(path.relative_to(project)): path for path in others}
    if not any(kedro.versions(path) for path in found.values()):
        raise NotFound(
            f"no versioned data sets of Kedro are in {shown(project)}",
            because="They lie as PATH/VERSION/NAME, where NAME is the last word of PATH.",
            hint="bis import kedro PROJECT, or PROJECT/data/cars.csv",
        )
    for called, path in sorted(found.items()):
        for version in kedro.versions(path):
            taking.take(f"{called} {version}", partial(_kedro_state, called, path, version, prefix, home))
    return taking.done()


def _kedro_state(called: str, path: Path, version: str, prefix: str, home: Home) -> State:
    place = path / version / path.name
    files = tuple(_below(place)) if place.is_dir() else (File(path=spell(place.name), place=place.resolve()),)
    if not files:
        raise Absent("the folder has no files")
    return State(
        name=named(stem(called, not place.is_dir()), prefix),
        files=files,
        single=not place.is_dir(),
        made=kedro.version_moment(version) or datetime.fromtimestamp(place.stat().st_mtime, UTC),
        source=source_of(path, home),
        metadata={"kedro.dataset": spell(called), "kedro.version": version},
    )


def _below(folder: Path) -> Iterator[File]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield File(path=spell(path.relative_to(folder).as_posix()), place=path.resolve())


# -- Croissant -----------------------------------------------------------------------------------------------------


def adopt_croissant(path: Path, home: Home, name: str, prefix: str, progress: Progress) -> Adopted:
    """The files that a description names and that lie beside it."""
    file = path / "croissant.json" if path.is_dir() else path
    if not file.is_file():
        raise NotFound(f"{shown(file)} is not there", hint="bis import croissant FOLDER/croissant.json")
    whole = croissant.read(file.read_text("utf-8", "replace"), str(file))
    taking = Taking(home, progress)
    taking.notes += whole.notes

    def state() -> State:
        files, unproved = [], 0
        for one in whole.files:
            place = file.parent / croissant.local_place(one)
            if one.inside:
                continue
            if not croissant.local_place(one) or not place.is_file():
                raise Absent(f"{one.path or one.url} is not here ({one.url})")
            if not (one.sha256 or one.md5):
                unproved += 1
            _prove(place, one)
            files.append(File(path=spell(one.path or place.name), place=place.resolve()))
        if not files:
            raise not_understood(str(file), "none of its files lies beside it")
        if unproved:
            told = counted(unproved, "file")
            taking.notes.append(f"kept without a checksum to hold against, as the description has none: {told}")
        said = {key: value for key in ("version", "license", "url") if (value := getattr(whole, key))}
        return State(
            name=named(name or stem(whole.name, False), prefix),
            files=tuple(files),
            made=_moment(whole.published) or datetime.fromtimestamp(file.stat().st_mtime, UTC),
            message=spell(whole.description),
            source=source_of(file, home),
            metadata={f"croissant.{key}": spell(value) for key, value in said.items()},
        )

    taking.take(whole.name, state)
    return taking.done()


def _prove(place: Path, one: croissant.File) -> None:
    if one.sha256 and lfs.point_at(place).oid != one.sha256:
        raise Absent(f"{shown(place)} has another sha256 than the description says")
    if one.md5 and dvc.hash_file(place) != one.md5:
        raise Absent(f"{shown(place)} has another md5 than the description says")


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
