"""Frames between a front and its workers, over a stream: lengths, a head in JSON, a body of bytes."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LENGTHS = struct.Struct("<II")
"""Of the head and of the body, in bytes."""
MOST = 1 << 20
"""Bytes that are asked of the kernel at once."""


class Ended(Exception):
    """The other side is gone."""


def framed(head: Any, *bodies: bytes) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((LENGTHS.pack(len(text), sum(map(len, bodies))), text, *bodies))


def received(connection: socket.socket) -> tuple[Any, bytes]:
    """The next frame. Raises Ended."""
    head, body = LENGTHS.unpack(_exactly(connection, LENGTHS.size))
    return json.loads(_exactly(connection, head)), _exactly(connection, body)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, MOST))
        if not part:
            raise Ended
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
