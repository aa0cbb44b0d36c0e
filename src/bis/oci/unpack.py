"""An image as a folder of files: its layers, one over the other, each proved before anything of it is used.

Nothing lands outside of the folder, whatever a layer says: paths and links are followed as the image will see them,
from its own root. Owners and devices are left out, as only an administrator could make them.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, cast

from bis.errors import KeepingError
from bis.oci import Descriptor, Image
from bis.oci.layout import BLOCK, Layout

GONE: Final = ".wh."
"""Before the name of what an upper layer takes away."""
ALL_GONE: Final = ".wh..wh..opq"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
GZIP: Final = b"\x1f\x8b"
HOPS: Final = 40
"""Links that are followed to one file."""


def unpack(layout: Layout, image: Image, root: Path) -> None:
    """Put the files of an image below a new folder. Raises KeepingError for a layer that is damaged or is another than
    the image says."""
    root.mkdir(parents=True)
    if len(image.diff_ids) != len(image.manifest.layers):
        raise KeepingError(f"{image.descriptor.digest} does not say what its layers hold")
    for layer, diff_id in zip(image.manifest.layers, image.diff_ids, strict=True):
        layout.verify(layer)
        with opened(layout, layer) as file:
            hashed, fresh = _Reading(file), set[Path]()
            try:
                with tarfile.open(fileobj=cast(IO[bytes], hashed), mode="r|", bufsize=BLOCK) as box:
                    for info in box:
                        _put(box, info, root, fresh)
            except (tarfile.TarError, EOFError, OSError) as error:
                raise KeepingError(f"the layer {layer.digest} cannot be unpacked: {error}") from error
            if hashed.rest() != diff_id:
                raise KeepingError(f"the layer {layer.digest} holds something else than its image says")


@contextmanager
def opened(layout: Layout, layer: Descriptor) -> Iterator[IO[bytes]]:
    """The tar of a layer, however it is compressed. Raises KeepingError where it is not there."""
    try:
        file = layout.path(layer.digest).open("rb")
    except FileNotFoundError:
        raise KeepingError(f"the image layout {layout.folder} lacks {layer.digest}") from None
    with file:
        start = file.read(4)
        file.seek(0)
        if start.startswith(GZIP):
            import gzip

            with gzip.open(file) as plain:
                yield cast(IO[bytes], plain)
        elif start == ZSTD:
            from bis.store.squeeze import zstd

            with zstd().open(file) as plain:
                yield plain
        else:
            yield file


def inside(root: Path, path: str, *, last: bool = True) -> Path:
    """Where a path of the image lies, links followed as the image sees them; the last name only where `last`."""
    here, names, hops = root, [name for name in reversed(path.split("/")) if name not in ("", ".")], 0
    while names:
        name = names.pop()
        if name == "..":
            here = here if here == root else here.parent
            continue
        found = here / name
        if (names or last) and found.is_symlink():
            hops += 1
            if hops > HOPS:
                raise KeepingError(f"{path!r} of the image is a link that leads to itself")
            target = str(found.readlink())
            here = root if target.startswith("/") else here
            names += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            continue
        here = found
    return here


def _put(box: tarfile.TarFile, info: tarfile.TarInfo, root: Path, fresh: set[Path]) -> None:
    """One entry of a layer, over what lower ones had there. `fresh`: what this layer has put, and the folders of it."""
    place = inside(root, info.name, last=False)
    if place == root:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.name == ALL_GONE:
        for path in place.parent.iterdir():
            if path not in fresh:
                _remove(path)
        return
    if place.name.startswith(GONE):
        _remove(place.parent / place.name.removeprefix(GONE))
        return
    fresh |= {place, *place.parents}
    if info.isdir():
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            _remove(place)
        place.mkdir(exist_ok=True)
        place.chmod((info.mode & 0o755) | stat.S_IRWXU)
        return
    _remove(place)
    if info.issym():
        place.symlink_to(info.linkname)
    elif info.islnk():
        place.hardlink_to(inside(root, info.linkname, last=False))
    elif info.isreg() and (source := box.extractfile(info)):
        with source, place.open("xb") as file:
            shutil.copyfileobj(source, file, BLOCK)
        place.chmod((info.mode & 0o755) | stat.S_IRUSR)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


class _Reading:
    """What is read, and its digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hasher = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hasher.update(data)
        return data

    def rest(self) -> str:
        """The digest of all, what was not read yet included."""
        while self.read(BLOCK):
            pass
        return f"sha256:{self._hasher.hexdigest()}"
