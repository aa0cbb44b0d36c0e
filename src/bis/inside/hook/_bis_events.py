"""Report which files are opened, listed, moved and removed, from Python's audit events: where no tracer can be used.

Sees what Python itself does, not what libraries in C do, nor other programs.
"""

import os
import stat
import sys
import time

import _bis_core as core

LOOKED_AT = set()
"""Paths of which this process has told how they were."""


def listen():
    """From here on, until the process ends: an audit hook cannot be taken away."""
    heard = HEARD.get

    def audit(event, args):
        call = heard(event)
        if call is not None:
            try:
                call(*args)
            except Exception:
                core.trouble()

    sys.addaudithook(audit)


def _absolute(path, folder=None):
    """The path from `/` with links of folders resolved; None for a descriptor, which was opened by name before."""
    if path is None:
        path = "."
    if isinstance(path, int):
        return None
    named = os.fsdecode(path)
    if not os.path.isabs(named):
        start = os.readlink("/proc/self/fd/%d" % folder) if isinstance(folder, int) and folder >= 0 else os.getcwd()
        named = os.path.join(start, named)
    above, name = os.path.split(named)
    if name in ("", ".", ".."):
        found = os.path.realpath(named)
    else:
        found = os.path.join(os.path.realpath(above), name)
    return None if found.startswith(core.INSIDE) else found


def _tell(kind, path, **more):
    if path is not None:
        _was(path)
        core.once({"e": kind, "p": path, **more})


def _was(path):
    """Before the first deed in this process: how the file is now. Nothing is told of folders and devices."""
    if path in LOOKED_AT:
        return
    LOOKED_AT.add(path)
    try:
        now = os.stat(path)
    except OSError:
        core.emit({"e": "was", "p": path, "t": time.time_ns(), "b": None})
        return
    if stat.S_ISREG(now.st_mode):
        state = [now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns]
        core.emit({"e": "was", "p": path, "t": time.time_ns(), "b": state})


def _open(path, mode, flags):
    path = _absolute(path)
    if path is None:
        return
    access = flags & os.O_ACCMODE if isinstance(flags, int) else 0
    for name in (path, os.path.realpath(path)) if os.path.islink(path) else (path,):
        if access != os.O_WRONLY and not flags & os.O_TRUNC:
            _tell("open", name, m="r")
        if access != os.O_RDONLY:
            _tell("open", name, m="a" if flags & os.O_APPEND else "t" if flags & os.O_TRUNC else "w")


def _list(path):
    if isinstance(path, int):
        path = os.readlink("/proc/self/fd/%d" % path)
    _tell("list", _absolute(path))


def _make(path, mode, folder=-1):
    path = _absolute(path, folder)
    if path is not None and not os.path.lexists(path):
        _tell("make", path)


def _remove(path, folder=-1):
    _tell("remove", _absolute(path, folder))


def _rename(source, target, source_folder=-1, target_folder=-1):
    target = _absolute(target, target_folder)
    if target is not None:
        _was(target)
    _tell("rename", _absolute(source, source_folder), q=target)


def _made(source, target, *folders):
    _tell("open", _absolute(target, folders[-1] if folders else None), m="w")


def _truncate(path, length):
    _tell("open", _absolute(path), m="w" if length else "t")


def _sqlite(database):
    if database not in (":memory:", b":memory:", "", b"") and not os.fsdecode(database).startswith("file:"):
        path = _absolute(database)
        _tell("open", path, m="r")
        _tell("open", path, m="w")


HEARD = {
    "open": _open,
    "os.listdir": _list,
    "os.scandir": _list,
    "os.mkdir": _make,
    "os.remove": _remove,
    "os.rmdir": _remove,
    "os.rename": _rename,
    "os.link": _made,
    "os.symlink": _made,
    "os.truncate": _truncate,
    "sqlite3.connect": _sqlite,
}
