"""Seccomp user notification from Python: the filter, its installation, and the system calls it stops at.

Standalone: standard library only, Python 3.8 or newer, Linux on x86-64 or aarch64. The 32-bit sibling of each
architecture is in the table too, so a 32-bit program is seen like any other.
"""

import ctypes
import errno
import os
import platform
import struct

SET_MODE_FILTER = 1
NEW_LISTENER = 1 << 3
WAIT_KILLABLE_RECV = 1 << 5
PR_SET_NO_NEW_PRIVS = 38
RET_NOTIFY = 0x7FC00000
RET_ALLOW = 0x7FFF0000
X32_BIT = 0x40000000

# ioctl numbers of a listener; the sizes of the structures are part of them.
RECV = 0xC0502100
SEND = 0xC0182101
SET_FLAGS = 0x40082104
SYNC_WAKE_UP = 1
CONTINUE = 1

NOTIFICATION = struct.Struct("=QIIiIQ6Q")
"""id, pid, flags, number, architecture, instruction pointer, six arguments."""
RESPONSE = struct.Struct("=QqiI")
"""id, value, error, flags."""

# Each entry: AUDIT_ARCH, bytes of a pointer, name -> number.
X86_64 = (
    0xC000003E,
    8,
    {
        "openat": 257, "open": 2, "openat2": 437, "creat": 85, "execve": 59, "execveat": 322, "connect": 42,
        "rename": 82, "renameat": 264, "renameat2": 316, "unlink": 87, "unlinkat": 263, "truncate": 76,
        "symlink": 88, "symlinkat": 266, "link": 86, "linkat": 265,
        "mkdir": 83, "mkdirat": 258, "io_uring_setup": 425, "open_by_handle_at": 304,
        # The x32 spelling of two calls; the others have the same number and a bit more.
        "x32_execve": 520, "x32_execveat": 545,
    },
)  # fmt: skip
I386 = (
    0x40000003,
    4,
    {
        "openat": 295, "open": 5, "openat2": 437, "creat": 8, "execve": 11, "execveat": 358, "connect": 362,
        "socketcall": 102,
        "rename": 38, "renameat": 302, "renameat2": 353, "unlink": 10, "unlinkat": 301, "truncate": 92,
        "truncate64": 193,
        "symlink": 83, "symlinkat": 304, "link": 9, "linkat": 303,
        "mkdir": 39, "mkdirat": 296, "io_uring_setup": 425, "open_by_handle_at": 342,
    },
)  # fmt: skip
AARCH64 = (
    0xC00000B7,
    8,
    {
        "openat": 56, "openat2": 437, "execve": 221, "execveat": 281, "connect": 203,
        "renameat": 38, "renameat2": 276, "unlinkat": 35, "truncate": 45,
        "symlinkat": 36, "linkat": 37,
        "mkdirat": 34, "io_uring_setup": 425, "open_by_handle_at": 265,
    },
)  # fmt: skip
ARM = (
    0x40000028,
    4,
    {
        "openat": 322, "open": 5, "openat2": 437, "creat": 8, "execve": 11, "execveat": 387, "connect": 283,
        "rename": 38, "renameat": 329, "renameat2": 382, "unlink": 10, "unlinkat": 328, "truncate": 92,
        "truncate64": 193,
        "symlink": 83, "symlinkat": 331, "link": 9, "linkat": 330,
        "mkdir": 39, "mkdirat": 323, "io_uring_setup": 425, "open_by_handle_at": 371,
    },
)  # fmt: skip
MACHINES = {"x86_64": (317, (X86_64, I386)), "aarch64": (277, (AARCH64, ARM))}
"""platform.machine() -> number of seccomp(2), its tables with the native one first."""

LOAD, JUMP_EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
OFFSET_NUMBER, OFFSET_ARCHITECTURE = 0, 4


class Refused(Exception):
    """The kernel, or what it is confined by, does not let a listener be installed. The text says why."""


def tables(machine=None):
    """The tables of this machine, the native one first. Raises Refused for an architecture without any."""
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise Refused("there is no table of system calls for the architecture %s" % machine)
    return MACHINES[machine][1]


def program(abis):
    """The filter: stop at each call of the tables, let everything else pass."""
    code = b""
    for architecture, _pointer, calls in abis:
        block = instruction(LOAD, 0, 0, OFFSET_NUMBER)
        if architecture == X86_64[0]:
            block += instruction(AND, 0, 0, 0xFFFFFFFF & ~X32_BIT)
        numbers = sorted(set(calls.values()))
        for place, number in enumerate(numbers):
            block += instruction(JUMP_EQUAL, len(numbers) - place, 0, number)
        block += instruction(RETURN, 0, 0, RET_ALLOW) + instruction(RETURN, 0, 0, RET_NOTIFY)
        code += instruction(LOAD, 0, 0, OFFSET_ARCHITECTURE)
        code += instruction(JUMP_EQUAL, 0, len(block) // 8, architecture) + block
    return code + instruction(RETURN, 0, 0, RET_ALLOW)


def instruction(code, yes, no, operand):
    return struct.pack("=HBBI", code, yes, no, operand)


def install(before_giving_up=lambda: None):
    """Put the filter on this process and all it will start; returns the listener and whether privileges that a
    program file gives (set-user-id) are without effect from now on: `before_giving_up` is called just before. Raises
    Refused."""
    number = MACHINES.get(platform.machine(), (0,))[0]
    code = program(tables())
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    listener, error = _install(libc, number, fprog)
    if listener >= 0:
        return listener, False
    if error != errno.EACCES:
        raise Refused(_reason(error))
    # Only a process with CAP_SYS_ADMIN may filter without giving up such privileges.
    before_giving_up()
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Refused("no_new_privs could not be set: %s" % os.strerror(ctypes.get_errno()))
    listener, error = _install(libc, number, fprog)
    if listener < 0:
        raise Refused(_reason(error))
    return listener, True


def _install(libc, number, fprog):
    for flags in (NEW_LISTENER | WAIT_KILLABLE_RECV, NEW_LISTENER):
        listener = libc.syscall(
            ctypes.c_long(number), ctypes.c_uint(SET_MODE_FILTER), ctypes.c_uint(flags), ctypes.c_char_p(fprog)
        )
        error = ctypes.get_errno()
        if listener >= 0 or error != errno.EINVAL:
            break
    return listener, error


def _reason(error):
    if error == errno.EBUSY:
        return "another trace is already around this command, and the kernel allows only one"
    if error in (errno.ENOSYS, errno.EINVAL):
        return "this kernel has no seccomp user notification (%s)" % os.strerror(error)
    return "seccomp(2) is not allowed here (%s)" % os.strerror(error)
