"""Messages between the processes of a supervision."""

import importlib
import os
import socket
import sys
from pathlib import Path
from types import ModuleType

INSIDE = Path(__file__).resolve().parent.parent.parent / "src" / "bis" / "inside"


def channel() -> ModuleType:
    """The module as the tracer imports it."""
    if str(INSIDE) not in sys.path:
        sys.path.append(str(INSIDE))
    return importlib.import_module("channel")


def test_two_messages_that_are_there_at_once_are_heard_one_after_the_other() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for message in ({"child": 7}, {"stop": True, "text": "x" * 100_000}):
            channel().say(theirs, message)
        theirs.close()
        assert channel().hear(ours) == ({"child": 7}, [])
        assert channel().hear(ours)[0]["stop"] is True
        assert channel().hear(ours) == (None, [])


def test_descriptors_come_with_their_message() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel().say(theirs, {"first": True})
        socket.send_fds(theirs, [b'{"second": true}\n'], [theirs.fileno()])
        assert channel().hear(ours) == ({"first": True}, [])
        message, (number,) = channel().hear(ours)
        assert message == {"second": True}
        assert os.fstat(number).st_ino == os.fstat(theirs.fileno()).st_ino
        os.close(number)
