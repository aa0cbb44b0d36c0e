"""Frames between a front and its workers, over a stream: lengths, a head in JSON, a body of bytes."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LENGTHS = struct.Struct("<II")
"""Of the head and of the body, in bytes."""
AT_ONCE = 64 << 10
"""Bytes that are asked of the kernel at once: a usual frame comes whole."""
ENCODE = json.JSONEncoder(separators=(",", ":")).encode


class Ended(Exception):
    """The other side is gone."""


def framed(head: Any, *bodies: bytes) -> bytes:
    text = ENCODE(head).encode()
    return b"".join((LENGTHS.pack(len(text), sum(map(len, bodies))), text, *bodies))


class Frames:
    """What comes over a stream, frame by frame."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def next(self) -> tuple[Any, bytes]:
        """Raises Ended."""
        head, body = LENGTHS.unpack(self._exactly(LENGTHS.size))
        return json.loads(self._exactly(head)), self._exactly(body)

    def _exactly(self, size: int) -> bytes:
        rest = self._rest
        if len(rest) < size:
            parts, missing = [rest], size - len(rest)
            while missing > 0:
                part = self._connection.recv(max(AT_ONCE, missing))
                if not part:
                    raise Ended
                parts.append(part)
                missing -= len(part)
            rest = b"".join(parts)
        self._rest = rest[size:]
        return rest[:size]
