"""Giving a finished file its name, in one step, and never over another file."""

from __future__ import annotations

import errno
import functools
import os
from typing import Any, Final

AT_FDCWD: Final = -100
NO_REPLACE: Final = 1
UNABLE: Final = frozenset((errno.ENOSYS, errno.EINVAL, errno.ENOTSUP))
"""An older kernel or another file system: there are other ways."""


def rename_new(fresh: str, path: str) -> None:
    """Rename `fresh` to `path`. Raises FileExistsError when there is something already."""
    function = _renameat2()
    if function is not None:
        if function(AT_FDCWD, os.fsencode(fresh), AT_FDCWD, os.fsencode(path), NO_REPLACE) == 0:
            return
        import ctypes

        number = ctypes.get_errno()
        if number not in UNABLE:
            raise OSError(number, os.strerror(number), path)
    _link(fresh, path)


def _link(fresh: str, path: str) -> None:
    try:
        os.link(fresh, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.rename(fresh, path)  # noqa: PTH104 - on a hot path
        return
    os.unlink(fresh)  # noqa: PTH108


@functools.cache
def _renameat2() -> Any:
    """The function of the C library; None where it has none."""
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function
