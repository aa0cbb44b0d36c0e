"""The session that is logged to now, begun with the first word."""

from __future__ import annotations

import threading

from bis.live.session import STACK, Session, around, speaks

_beginning = threading.Lock()


def session() -> Session:
    """The one that is logged to, begun where there is none."""
    return STACK[-1] if STACK else _first()


def _first() -> Session:
    with _beginning:
        if not STACK:
            STACK.append(_begun())
    return STACK[-1]


def _begun() -> Session:
    if not speaks():
        return Session(None)
    if folder := around():
        return Session(folder)
    from bis.live.standalone import begin

    return begin()
