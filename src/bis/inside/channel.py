"""Lines of JSON and descriptors between the processes of a supervision, and what they share.

Standalone: standard library only, Python 3.8 or newer.
"""

import json
import os
import socket
import sys

PAGE = 4096
"""Bytes of the memory that the tracer and the guard share: the notification of the kernel comes first."""
ANSWER = 2048
"""Where the answer to it lies."""
KEEPING = 1024
"""A byte: the tracer is keeping a copy of a file that is about to be changed."""
UNSEEN = 1025
"""A byte: the guard has let a call go on before the tracer had looked at it."""


def close_others(keep):
    """Let go of what was inherited for the command: an end of somebody's pipe must not stay open here."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for number in descriptors():
        if number > 2 and number not in keep:
            try:
                os.close(number)
            except OSError:
                pass


def descriptors():
    """All that may be open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return [int(name) for name in os.listdir(folder)]
        except OSError:
            pass
    return range(min(4096, os.sysconf("SC_OPEN_MAX")))


def forget(channel):
    """Read away what a channel holds."""
    try:
        while channel.recv(4096):
            pass
    except OSError:
        pass


def say(channel, message):
    try:
        channel.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        pass  # nobody listens any more; what matters is written to files


def hear(channel):
    """One message and the descriptors that came with it; (None, []) when the other side is gone. What comes after it
    is left for the next call: two messages may be there at once."""
    data, descriptors = b"", []
    while not data.endswith(b"\n"):
        try:
            ahead = channel.recv(1 << 16, socket.MSG_PEEK)
            piece, ancillary, _flags, _address = channel.recvmsg(ahead.find(b"\n") + 1 or 1 << 16, 1024)
        except OSError:
            piece, ancillary = b"", []
        for _level, _kind, block in ancillary:
            descriptors += [int.from_bytes(block[at : at + 4], sys.byteorder) for at in range(0, len(block) - 3, 4)]
        if not piece:
            return None, descriptors
        data += piece
    for number in descriptors:
        os.set_inheritable(number, False)
    return json.loads(data), descriptors
