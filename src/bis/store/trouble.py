"""What goes wrong with disks, in words for the person who has to mend it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bis.digest import readable, spell
from bis.errors import KeepingError, explains

DISK_FULL = explains("B050", "No room was left to write in. Nothing half-written is kept; free some and repeat.")
NOT_WRITABLE = explains("B051", "The store or the ledger may not be written to by this user, or is mounted read-only.")
DISK_ERROR = explains("B052", "The operating system could not read or write the disk.")
NEWER = explains("B053", "The store or the ledger was written by a newer bis. This one changes nothing in it.")
NOT_A_STORE = explains("B054", "The folder given as the store holds other things.")
CHANGED = explains("B055", "A file changed while it was read, or is not the one that was expected.")
BUSY = explains("B056", "Another process held the database for too long.")
IN_THE_WAY = explains("B057", "A file that would have been overwritten is there already.")
UNREADABLE = explains("B059", "A file to be kept cannot be opened or read. Nothing of it was kept.")
UNSAFE = explains("B058", "Stored names that would leave the folder they are restored into. They are never followed.")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


def trouble(error: OSError, doing: str, path: Path) -> KeepingError:
    """The KeepingError for what the operating system said while `doing` something to `path`."""
    said = os.strerror(error.errno) if error.errno else str(error)
    what = f"cannot {doing} {shown(path)}: {said}"
    if error.errno in _FULL:
        hint = "free some room; `bis du` shows what the store holds"
        return KeepingError(what, because=_room(path), hint=hint, code=DISK_FULL)
    if error.errno in _FORBIDDEN:
        hint = "chmod u+rwX on it, or name another place: BIS_STORE=/some/folder"
        return KeepingError(what, because=_owner(path), hint=hint, code=NOT_WRITABLE)
    return KeepingError(what, because="The disk or its file system refused.", hint="bis verify", code=DISK_ERROR)


def unreadable(error: OSError, path: Path) -> KeepingError:
    """The KeepingError for a file that was to be kept and could not be read."""
    said = os.strerror(error.errno) if error.errno else str(error)
    return KeepingError(f"cannot read {shown(path)}: {said}", hint=f"ls -la {shown(path.parent)}", code=UNREADABLE)


def shown(path: Path | str) -> str:
    return readable(spell(os.fspath(path)))


def _existing(path: Path) -> Path:
    """The nearest folder that can be looked at (`Path.exists` raises where one may not look)."""
    return next((folder for folder in (path, *path.parents) if os.path.exists(folder)), Path("/"))  # noqa: PTH110


def _room(path: Path) -> str:
    try:
        there = os.statvfs(_existing(path))
    except OSError:
        return ""
    free = there.f_bavail * there.f_frsize
    return f"{free:,} bytes are free there; a quota or a limit on the size of a file (ulimit -f) may be lower."


def _owner(path: Path) -> str:
    folder = _existing(path)
    try:
        mode = folder.stat()
    except OSError:
        return ""
    user = f" You are user {os.geteuid()}." if hasattr(os, "geteuid") else ""
    return f"{shown(folder)} belongs to user {mode.st_uid} and has mode {mode.st_mode & 0o7777:o}.{user}"
