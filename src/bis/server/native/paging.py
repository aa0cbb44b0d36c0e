"""The mark of a page: the place behind which it begins, good for the question that it was given for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from bis.errors import UsageError


class _Mark(msgspec.Struct, array_like=True):
    question: tuple[str, ...]
    place: list[str | int | float | None]


def mark(place: list[Any] | None, question: Sequence[str]) -> str:
    """Empty behind the last page."""
    if place is None:
        return ""
    return base64.urlsafe_b64encode(msgspec.json.encode(_Mark(tuple(question), place))).decode()


def place_of(text: str, question: Sequence[str]) -> list[Any] | None:
    """None for the first page."""
    if not text:
        return None
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Mark)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise UsageError(f"{text[:40]!r} is not the mark of a page") from None
    if found.question != tuple(question):
        raise UsageError("the mark of a page belongs to another search")
    return found.place
