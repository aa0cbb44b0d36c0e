"""The mark of a page: the place in the order behind which it begins, so that what is added meanwhile moves nothing.

Clients hand it back as they got it. It holds for the question that it was given for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bis.ledger.refusals import BadToken

FARTHEST: Final = (1 << 63) - 1


class Mark(msgspec.Struct, array_like=True):
    question: tuple[str, ...]
    place: list[str | int | float]


def place_of(token: str, question: Sequence[str]) -> list[Any] | None:
    """None for the first page. Raises BadToken."""
    if not token:
        return None
    mark = read_mark(token)
    if mark.question != tuple(question):
        raise BadToken("it belongs to another search")
    return mark.place


def following(place: list[Any] | None, question: Sequence[str]) -> dict[str, str]:
    """What an answer says of the next page; nothing behind the last."""
    if place is None:
        return {}
    return {"next_page_token": base64.urlsafe_b64encode(msgspec.json.encode(Mark(tuple(question), place))).decode()}


def read_mark(token: str) -> Mark:
    """Raises BadToken."""
    try:
        mark = msgspec.json.decode(base64.b64decode(token, altchars=b"-_", validate=True), type=Mark)
        if any(isinstance(value, int) and abs(value) > FARTHEST for value in mark.place):
            raise ValueError
        return mark
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        raise BadToken("it cannot be read") from None
