"""What every server of bis does at its door: listen, and read who asks and by which name it was called."""

from __future__ import annotations

import base64
import errno
import functools
import os
import re
import socket

from bis.errors import KeepingError, explains

IN_USE = explains(
    "B066", "The server cannot listen at the address: something else does, or the address is not of this machine."
)


def listen(host: str, port: int, command: str) -> socket.socket:
    """Raises KeepingError, which says how `command` listens elsewhere."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise KeepingError(
            f"cannot listen on {host} port {port}: {os.strerror(error.errno) if error.errno else error}",
            hint=f"{command} --port 0  takes a free port" if taken else f"{command} --host 127.0.0.1",
            code=IN_USE,
        ) from None


@functools.lru_cache(64)
def name_of(host: bytes) -> str:
    """What a `Host` header calls this machine, without the port."""
    name = host.decode("latin-1").lower()
    return name.rpartition(":")[0] if re.search(r":\d+$", name) else name


SESSION = "bis-token"
"""The cookie of a browser in which somebody has logged in: their token."""


def token_of_session(header: bytes) -> str:
    """The token in a `Cookie` header."""
    for one in header.decode("latin-1").split(";"):
        name, _, value = one.strip().partition("=")
        if name == SESSION:
            return value
    return ""


def token_in(header: bytes) -> str:
    """The token in a header: MLflow's clients send it as it is, or as the password of a user of any name."""
    kind, _, value = header.strip().partition(b" ")
    if kind.lower() == b"bearer":
        return value.strip().decode("utf-8", "replace")
    if kind.lower() == b"basic":
        try:
            return base64.b64decode(value, validate=True).decode("utf-8", "replace").partition(":")[2]
        except ValueError:
            return ""
    return ""
