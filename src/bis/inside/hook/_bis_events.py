"""Report which files are opened, listed, moved and removed, from Python's audit events: where no tracer can be used.

Sees what Python itself does, not what libraries in C do, nor other programs.
"""

import os
import sys

import _bis_core as core


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
    """The path as it is from `/`; None for a descriptor, which was opened by name before."""
    if path is None:
        path = "."
    if isinstance(path, int):
        return None
    name = os.fsdecode(path)
    if os.path.isabs(name):
        found = name
    elif isinstance(folder, int) and folder >= 0:
        found = os.path.join(os.readlink("/proc/self/fd/%d" % folder), name)
    else:
        found = os.path.join(os.getcwd(), name)
    found = os.path.normpath(found)
    return None if found.startswith(core.INSIDE) else found


def _tell(kind, path, **more):
    if path is not None:
        core.once({"e": kind, "p": path, **more})


def _open(path, mode, flags):
    path = _absolute(path)
    if path is None:
        return
    access = flags & os.O_ACCMODE if isinstance(flags, int) else 0
    if access != os.O_WRONLY and not flags & os.O_TRUNC:
        _tell("open", path, m="r")
    if access != os.O_RDONLY:
        _tell("open", path, m="a" if flags & os.O_APPEND else "w")


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
    _tell("rename", _absolute(source, source_folder), q=_absolute(target, target_folder))


def _made(source, target, *folders):
    _tell("open", _absolute(target, folders[-1] if folders else None), m="w")


def _truncate(path, length):
    _tell("open", _absolute(path), m="w")


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
