"""A new file: written beside its place, with holes where it has nothing, and given its name when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bis.errors import KeepingError
from bis.store.chunks import MAXIMUM
from bis.store.drafts import drafting
from bis.store.naming import rename_new
from bis.store.packs import AT_ONCE
from bis.store.trouble import IN_THE_WAY, shown, trouble

HOLE: Final = 64 << 10
"""From this size on, what is nothing but zeros is left out."""
ZEROS: Final = bytes(MAXIMUM)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[str]:
    """A place near `path` for what is not whole yet."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(drafting(os.fspath(path.parent)))
        except OSError as error:
            raise trouble(error, "write", path.parent) from error
        yield f"{folder}/file"


def write(fresh: str, blocks: Iterable[bytes | memoryview], size: int, mode: int) -> None:
    """Write what has no name yet, or anew what an earlier try left of it."""
    try:
        into = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if _write_out(into, blocks):
                os.ftruncate(into, size)
            os.fchmod(into, mode)
        finally:
            os.close(into)
    except OSError as error:
        raise trouble(error, "write", Path(fresh).parent.parent) from error


def _write_out(into: int, blocks: Iterable[bytes | memoryview]) -> bool:
    """Whether the file ends in a hole."""
    hole = False
    for block in blocks:
        # The first byte and the last tell nearly always, and comparing with zeros takes a copy of them.
        hole = len(block) >= HOLE and not block[0] and not block[-1] and block == ZEROS[: len(block)]
        if hole:
            os.lseek(into, len(block), os.SEEK_CUR)
            continue
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(into, rest[:AT_ONCE]) :]
    return hole


def appear(fresh: str, path: Path) -> None:
    """Give a finished file its name. Raises KeepingError where the name is taken."""
    try:
        rename_new(fresh, os.fspath(path))
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise trouble(error, "write", path) from error


def taken(path: Path | str) -> KeepingError:
    what = f"{shown(path)} is there already and is not overwritten"
    return KeepingError(what, hint=f"mv {shown(path)} {shown(path)}.old", code=IN_THE_WAY)
