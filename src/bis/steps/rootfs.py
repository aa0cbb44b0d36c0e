"""An image as a folder that a command can have as its root: unpacked once, and looked at each time that it is used."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bis.digest import Digest, digest_value, spell
from bis.errors import CannotRepeat, UsageError
from bis.nouns.part import Finding, Part
from bis.nouns.run import Run
from bis.oci import Image, Platform
from bis.oci.layout import Layout, machine
from bis.oci.registry import Registry, read_name
from bis.oci.unpack import inside, unpack
from bis.parts.interpreter import python_of
from bis.settings import Settings
from bis.steps.base_image import FOLDER
from bis.steps.image import ENVIRONMENT
from bis.steps.leftovers import note_use
from bis.steps.rebuild import Rebuilt
from bis.steps.rooms import Mount

NOTE: Final = ".listing"
"""Beside a root: the digest of the names, sizes and times of all files in it."""


SYSTEM: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt")
"""Folders in which the system of an image lies."""


class Root(NamedTuple):
    """The files of an image."""

    folder: Path
    image: Image
    reference: str
    """By digest."""


def images_folder(settings: Settings, variables: Mapping[str, str]) -> Path:
    """Where bases that were made here lie, and images that were unpacked."""
    base = variables.get("XDG_CACHE_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".cache")
    return Path(base) / "bis" / "images"


def root_of(text: str, folder: Path, cache: Path, variables: Mapping[str, str], say: Callable[[str], None]) -> Root:
    """The files of an image: `oci:DIR`, `oci:DIR:NAME`, or one of a registry by its digest. Every layer is proved when
    it is unpacked. The caller keeps the cache from being cleaned meanwhile. Raises UsageError, NotFound,
    KeepingError."""
    if text.startswith(FOLDER):
        place, _, name = text.removeprefix(FOLDER).partition(":")
        layout = Layout(folder / Path(place).expanduser())
        image = layout.find(name, Platform(architecture=machine()))
    else:
        layout, image = _pulled(text, cache, variables, say)
    digits = image.descriptor.digest.removeprefix("sha256:")[:20]
    final = cache / f"root-{digits}"
    if not _is_whole(final):
        say("unpacking the image")
        _unpack(layout, image, final)
    note_use(final)
    return Root(final / "root", image, f"{text.partition('@')[0]}@{image.descriptor.digest}")


def _pulled(text: str, cache: Path, variables: Mapping[str, str], say: Callable[[str], None]) -> tuple[Layout, Image]:
    named = read_name(text)
    if not named.digest:
        found = Registry(named.host, variables).resolve(named, Platform(architecture=machine()))
        raise UsageError(
            f"{text!r} may mean another image tomorrow",
            because="What a run is repeated in is named by its digest.",
            hint=f"--in {named._replace(tag='', digest=found.digest)}",
        )
    say(f"fetching {named}")
    layout = Layout(cache / "pulled")
    layout.make()
    note_use(layout.folder)
    descriptor = Registry(named.host, variables).pull(named, layout, Platform(architecture=machine()))
    return layout, layout.image(descriptor)


def _unpack(layout: Layout, image: Image, final: Path) -> None:
    """It is there whole or not at all."""
    draft = final.with_name(f".{final.name}-{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        unpack(layout, image, draft / "root")
        (draft / NOTE).write_text(_listing(draft / "root"))
        if final.exists():
            final.rename(final.with_name(f".{final.name}-damaged-{secrets.token_hex(4)}"))
        draft.rename(final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        for damaged in final.parent.glob(f".{final.name}-damaged-*"):
            shutil.rmtree(damaged, ignore_errors=True)


def _is_whole(final: Path) -> bool:
    """Whether nobody changed a file since it was unpacked."""
    try:
        return (final / NOTE).read_text() == _listing(final / "root")
    except FileNotFoundError:
        return False


def _listing(root: Path) -> Digest:
    return digest_value(sorted(_rows(root)))


def _rows(root: Path) -> Iterator[list[str | int]]:
    for place, folders, files in os.walk(root):
        for name in (*files, *folders):
            path = Path(place, name)
            status = path.lstat()
            is_file = not path.is_dir() or path.is_symlink()
            told = [status.st_size, status.st_mtime_ns, status.st_ctime_ns] if is_file else []
            yield [spell(str(path.relative_to(root))), status.st_mode, *told]


def environment_in(root: Root, part: Part, run: Run) -> Rebuilt:
    """The environment of an image in the place of one that was rebuilt. Raises CannotRepeat for the image of something
    else."""
    labels = (root.image.config.get("config") or {}).get("Labels") or {}
    if labels.get("bis.run") != run.id:
        of = labels.get("bis.run.name") or "nothing that bis knows"
        raise CannotRepeat(
            f"{root.reference} was not built of {run.name}",
            because=f"Its labels say that it was built of {of}.",
            hint=f"bis build image {run.name} --base …",
        )
    prefix, recorded = root.folder / ENVIRONMENT, python_of(part)
    if recorded is None or not (prefix / "pyvenv.cfg").is_file():
        return Rebuilt(prefix=Path(), python=Path(), how="none")
    at = recorded.prefix if recorded.is_virtual else ""
    return Rebuilt(prefix=prefix, python=prefix / "bin" / "python", how="cached", at=at)


def mounts_of(root: Root) -> Iterator[Mount]:
    """The system of an image in the place of that of this machine. Home, temporary files and devices stay."""
    for name in SYSTEM:
        source = inside(root.folder, name)
        here = Path("/", name)
        if not (source.is_dir() and here.is_dir()):
            continue
        if not (here.is_symlink() and (root.folder / name).is_symlink() and here.readlink() == _link(root, name)):
            yield Mount(at=here, source=source, write=False)


def told_of(root: Root) -> Finding:
    """Which parts of the machine such a repeat has, and which not."""
    return Finding(
        code="in-image",
        text=f"repeated in the system of {root.reference}, which the infrastructure part tells; kernel, home and"
        " devices are those of this machine",
    )


def _link(root: Root, name: str) -> Path:
    return (root.folder / name).readlink()
