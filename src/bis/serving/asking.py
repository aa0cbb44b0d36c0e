"""One request on its way from the front to a worker and back. Its body is bytes: the worker reads it, nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from bis.serving.version import Version

INVOCATIONS: Final = "invocations"
V1: Final = "v1"
V2: Final = "v2"


class Answer(NamedTuple):
    """What a worker said."""

    status: int
    content_type: str
    body: bytes
    rows: int = 0
    json_length: int = 0
    """Of the head in JSON before binary tensors; 0 where there are none."""
    retry: bool = False
    """Whether it may be asked again soon."""


Tell = Callable[[Answer, Version | None], None]
"""What is done with an answer, and with which version gave it; None: the front itself."""


class Asking:
    """A request that waits for its answer. It is told once, whatever happens."""

    __slots__ = ("alone", "began", "body", "content_type", "form", "json_length", "tell", "until")

    def __init__(
        self,
        form: str,
        content_type: str,
        body: bytes,
        json_length: int,
        seconds: float,
        tell: Tell,
    ) -> None:
        self.form, self.content_type, self.body, self.json_length = form, content_type, body, json_length
        self.tell = tell
        self.alone = False
        """Whether it goes without others: a worker died with those that it went with."""
        self.began = time.perf_counter()
        self.until = self.began + seconds


def refusal(form: str, status: int, code: str, message: str, *, retry: bool = False) -> Answer:
    """What the front itself answers, as the protocol has errors."""
    told = {"error_code": code, "message": message} if form == INVOCATIONS else {"error": message}
    return Answer(status, "application/json", msgspec.json.encode(told), retry=retry)


def lost(form: str) -> Answer:
    """Of a worker that died with the request."""
    return refusal(
        form, 503, "TEMPORARILY_UNAVAILABLE", "the process that held the model died on this request", retry=True
    )


def late(form: str) -> Answer:
    return refusal(form, 504, "DEADLINE_EXCEEDED", "Request processing time exceeded limit")


def crowded(form: str) -> Answer:
    return refusal(form, 503, "TEMPORARILY_UNAVAILABLE", "too many requests wait for this model", retry=True)
