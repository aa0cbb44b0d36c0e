"""Packs that are going to be deleted: listed in the file `doomed` of the store, and still read until they are gone.

What lies in a doomed pack alone does not count as kept when something is put: it is put again, into another pack.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bis.digest import canonical
from bis.errors import Damaged
from bis.store.packs import sync_folder
from bis.store.trouble import shown, trouble

FILE: Final = "doomed"


class Lot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Packs that were doomed together."""

    made: str
    """When: RFC 3339, UTC."""
    packs: tuple[str, ...]
    writers: tuple[str, ...] | None = None
    """Names of the writers that lived then and may rely on them. None: not found out yet."""
    going: bool = False
    """True: nothing in them is needed any more, and some may be deleted already."""


class Doomed(msgspec.Struct, frozen=True, tag="bis.doomed/1", tag_field="schema"):
    lots: tuple[Lot, ...] = ()


def read(store: Path) -> tuple[Lot, ...]:
    """Raises Damaged for a file that cannot be understood: what is doomed must not be taken for kept."""
    path = store / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Doomed).lots
    except FileNotFoundError:
        return ()
    except msgspec.MsgspecError as error:
        raise Damaged(
            f"{shown(path)} cannot be read: {error}",
            because="It lists the packs that are about to be deleted. Without it they count as kept.",
            hint=f"rm {shown(path)}, then: bis verify",
        ) from None
    except OSError as error:
        raise trouble(error, "read", path) from error


def write(store: Path, lots: Sequence[Lot]) -> None:
    """Durable, and whole at any moment."""
    path = store / FILE
    fresh = store / f"{FILE}.{os.urandom(4).hex()}"
    try:
        if lots:
            with fresh.open("xb") as file:
                file.write(canonical(Doomed(tuple(lots))))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        else:
            path.unlink(missing_ok=True)
        sync_folder(store)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise trouble(error, "write", path) from error


def names(lots: Iterable[Lot]) -> frozenset[str]:
    return frozenset(name for lot in lots for name in lot.packs)
