"""`bis export`: a version of a data set in the form that another system takes for its own.

Each writes into a folder that may hold more of that system already, and never over anything that has other content.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from bis.digest import readable, unspell
from bis.errors import UsageError
from bis.foreign import croissant, dvc, kedro, lfs, quilt
from bis.foreign.quilt import Row
from bis.nouns.dataset import Held, is_url
from bis.nouns.tree import Leaf
from bis.steps.bring import bring, leaves_of
from bis.steps.home import Home
from bis.steps.urls import last_name
from bis.store.drafts import drafting, remove_left
from bis.store.trouble import IN_THE_WAY, shown

DVC_IGNORE = "/config.local\n/tmp\n/cache\n"
NO_GIT = "[core]\n    no_scm = True\n"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote."""

    wrote: tuple[Path, ...]
    """What a person would look at first."""
    files: int
    size: int
    name: str = ""
    """What the other system calls it: a hash, or the name of a version."""
    next: str = ""
    """What to type there."""
    notes: tuple[str, ...] = ()


def export_dvc(held: Held, into: Path, home: Home) -> Exported:
    """A `.dvc` file in `into`, and the contents in the cache of the DVC project around it; one is made where there is
    none. `dvc checkout` then puts the files beside the pointer."""
    project = next((folder for folder in (into, *into.parents) if (folder / dvc.FOLDER).is_dir()), into)
    pointer = into / f"{_plain_name(held)}.dvc"
    with _brought(held, home, into) as (folder, files, notes):
        out = _dvc_out(held, folder, files)
        text = dvc.write_pointer([out], description=_told(held), metadata={"bis": _about(held)})
        _only_new(pointer, text)
        if project == into and not (into / dvc.FOLDER / "config").exists():
            _make_dvc(into)
        _fill_cache(out, folder, files, dvc.read_config(project).cache)
    pointer.write_text(text, "utf-8")
    _ignore(into, out.path)
    if any(leaf.entry.mode & 0o100 for leaf in files) and not held.version.single:
        notes.append("DVC does not keep which files of a folder may be executed")
    return Exported(
        wrote=(pointer,),
        files=len(files),
        size=held.version.size,
        name=out.value,
        next=f"cd {shown(into)} && dvc checkout {pointer.name}",
        notes=tuple(notes),
    )


def export_quilt(held: Held, into: Path, home: Home, package: str, user: str) -> Exported:
    """A package in the registry `into`, a folder: its manifest there, and the files below `into/USER/PACKAGE/VERSION`,
    where the physical keys lead."""
    name = package or _package_name(held, user)
    if not quilt.NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a package of Quilt", hint="--package USER/PACKAGE")
    place = into / name / held.version.stamp
    files, notes = _files(held, home)
    bring(held, "", place, home)
    rows = []
    for leaf in files:
        path = place / unspell(leaf.path)
        value = quilt.hash_file(path)
        assert value
        rows.append(
            Row(logical_key=leaf.path, physical_keys=(path.resolve().as_uri(),), size=leaf.entry.size, hash=value)
        )
    metadata = {"bis": _about(held), **held.metadata}
    whole = quilt.package(rows, message=_told(held), metadata=metadata)
    top = quilt.write_package(into, name, whole, datetime.fromisoformat(held.version.made))
    return Exported(
        wrote=(into / quilt.ROOT / "packages" / top, place),
        files=len(files),
        size=held.version.size,
        name=f"{name}@{top}",
        next=f'quilt3.Package.browse("{name}", registry="{into.resolve().as_uri()}")',
        notes=tuple(notes),
    )


def export_kedro(held: Held, into: Path, home: Home) -> Exported:
    """`into/NAME/VERSION/NAME`, and the lines for a catalog."""
    base = _plain_name(held)
    version = held.version.stamp
    place = into / kedro.version_place(base, version)
    files, notes = _files(held, home)
    bring(held, "", place.parent if held.version.single else place, home, name=base if held.version.single else "")
    entry = kedro.write_entry(held.version.name.replace("/", "_"), str(into / base)) if held.version.single else ""
    return Exported(
        wrote=(place,),
        files=len(files),
        size=held.version.size,
        name=version,
        next=entry or f"declare it in conf/base/catalog.yml with  filepath: {into / base}  and  versioned: true",
        notes=tuple(notes),
    )


def export_croissant(held: Held, into: Path, home: Home) -> Exported:
    """`into/croissant.json`, and the files in `into/data`."""
    files, notes = _files(held, home)
    described = into / "croissant.json"
    bring(held, "", into / "data", home)
    rows = [(leaf.path, leaf.entry.size, lfs.point_at(into / "data" / unspell(leaf.path)).oid) for leaf in files]
    whole = croissant.Description(
        name=held.version.name.replace("/", "-"),
        files=croissant.beside(rows),
        description=_told(held),
        version=str(held.version.number),
        published=held.version.made,
        license=held.metadata.get("croissant.license") or held.metadata.get("license", ""),
        url=held.metadata.get("croissant.url") or held.metadata.get("url", ""),
    )
    text = croissant.write(whole)
    _only_new(described, text)
    described.write_text(text, "utf-8")
    return Exported(
        wrote=(described, into / "data"),
        files=len(files),
        size=held.version.size,
        next=f"mlcroissant validate --jsonld {shown(described)}",
        notes=tuple(notes),
    )


# What all need -----------------------------------------------------------------------------------------------------


def _files(held: Held, home: Home) -> tuple[list[Leaf], list[str]]:
    """The files of a version, and what of it the other systems cannot keep."""
    leaves = leaves_of(held, "", home)
    links = [leaf.path for leaf in leaves if leaf.entry.kind == "link"]
    if links:
        raise UsageError(
            f"{readable(held.reference)} has symbolic links: {readable(links[0])}",
            because="Other systems keep what a link leads to, or nothing; neither would be this version.",
            hint=f"bis data get {readable(held.reference)} FOLDER",
        )
    files = [leaf for leaf in leaves if leaf.entry.kind == "file"]
    odd = [leaf.path for leaf in files if "\0" in leaf.path]
    if odd:
        raise UsageError(f"{readable(odd[0])} is not UTF-8, and the other system's files can only hold that")
    folders = {leaf.path for leaf in leaves if leaf.entry.kind == "tree"}
    inhabited = {
        "/".join(parts[:depth]) for leaf in files if (parts := leaf.path.split("/")) for depth in range(len(parts))
    }
    empty = sorted(folders - inhabited)
    return files, [f"empty folders are not kept: {', '.join(map(readable, empty[:3]))}"] if empty else []


@contextmanager
def _brought(held: Held, home: Home, near: Path) -> Iterator[tuple[Path, list[Leaf], list[str]]]:
    """The files of a version in a folder that goes again, on the disk on which they will stay."""
    files, notes = _files(held, home)
    near.mkdir(parents=True, exist_ok=True)
    remove_left(os.fspath(near))
    with drafting(os.fspath(near)) as drafts:
        folder = Path(drafts, "files")
        bring(held, "", folder, home)
        yield folder, files, notes


def _only_new(path: Path, text: str) -> None:
    if path.exists() and path.read_text("utf-8", "replace") != text:
        raise UsageError(
            f"{shown(path)} is there, with other content",
            because="Nothing of it was changed.",
            hint=f"mv {shown(path)} {shown(path)}.old, or name another folder",
            code=IN_THE_WAY,
        )


def _plain_name(held: Held) -> str:
    """The last word of what it was added from, which has the suffix; else that of the data set."""
    source = unspell(held.version.source)
    last = last_name(source) if is_url(source) else source.rstrip("/").rpartition("/")[2]
    if held.version.single and Path(last).suffix:
        return last
    return held.version.name.rpartition("/")[2]


def _package_name(held: Held, user: str) -> str:
    words = [word.replace(".", "-").replace("+", "-").replace(" ", "-") for word in held.version.name.split("/")]
    return f"{words[0]}/{'_'.join(words[1:])}" if len(words) > 1 else f"{user}/{words[0]}"


def _told(held: Held) -> str:
    return held.version.message


def _about(held: Held) -> str:
    """How bis names it."""
    return f"{held.version.name}@{held.version.stamp}"


# DVC ---------------------------------------------------------------------------------------------------------------


def _dvc_out(held: Held, folder: Path, files: list[Leaf]) -> dvc.Out:
    name = _plain_name(held)
    if held.version.single:
        (leaf,) = files
        value = dvc.hash_file(folder / unspell(leaf.path))
        return dvc.Out(path=name, value=value, size=leaf.entry.size, executable=bool(leaf.entry.mode & 0o100))
    members = tuple(dvc.Member(path=leaf.path, value=dvc.hash_file(folder / unspell(leaf.path))) for leaf in files)
    value = dvc.folder_value(dvc.write_listing(members))
    size = sum(leaf.entry.size for leaf in files)
    return dvc.Out(path=name, value=value, size=size, nfiles=len(files), members=members)


def _fill_cache(out: dvc.Out, folder: Path, files: list[Leaf], cache: Path) -> None:
    """Move the files into a cache; what it has already and is whole stays. The listing comes last, so that none is
    there without its files."""
    values = {member.path: member.value for member in out.members}
    for leaf in files:
        _into_cache(folder / unspell(leaf.path), values.get(leaf.path, out.value), cache)
    if out.members:
        listing = folder.with_name(f"{folder.name}-listing")
        listing.write_bytes(dvc.write_listing(out.members))
        _into_cache(listing, out.value, cache)


def _into_cache(path: Path, value: str, cache: Path) -> None:
    place = cache / dvc.object_place(value)
    if place.is_file() and dvc.is_content(place, value, dvc.MD5):
        path.unlink()
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    path.chmod(dvc.MODE)
    try:
        path.replace(place)
    except OSError:  # the cache is on another disk
        with drafting(os.fspath(place.parent)) as drafts:
            fresh = Path(drafts, "file")
            shutil.copyfile(path, fresh)
            fresh.chmod(dvc.MODE)
            fresh.replace(place)
        path.unlink()


def _make_dvc(folder: Path) -> None:
    """What `dvc init` makes, with `--no-scm` where there is no Git repository."""
    made = folder / dvc.FOLDER
    made.mkdir(exist_ok=True)
    has_git = any((parent / ".git").exists() for parent in (folder.resolve(), *folder.resolve().parents))
    (made / "config").write_text("" if has_git else NO_GIT)
    (made / ".gitignore").write_text(DVC_IGNORE)


def _ignore(folder: Path, name: str) -> None:
    """Keep the data out of Git, as `dvc add` does."""
    path = folder / ".gitignore"
    there = path.read_text("utf-8").splitlines() if path.is_file() else []
    if f"/{name}" not in there:
        path.write_text("".join(f"{line}\n" for line in [*there, f"/{name}"]), "utf-8")
