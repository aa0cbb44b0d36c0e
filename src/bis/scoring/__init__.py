"""Scoring: reading what a model is asked, asking it, and writing what it answered, in the protocols that clients speak.

It runs in the interpreter of the model, from Python 3.9, where bis may not be installed: the standard library and NumPy
at the top, nothing of bis but the flavors, relatively. `python .../bis/scoring --fd N` is a worker.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..flavors.values import Batch


TRUST = "--trust opens it"
"""What to type for a model that is opened for whoever trusts who made it."""


class Wrong(Exception):
    """A request that cannot be answered: the message names what is wrong, and holds nothing of what was asked."""

    def __init__(self, message: str, status: int = 400, code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.message, self.status, self.code = message, status, code


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    batch: Batch
    """As the model takes it."""
    params: dict[str, Any]
    about: Any = None
    """What the answer needs to know of the request."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int
    content_type: str
    body: bytes
    rows: int = 0
    json_length: int = 0
    """Where binary tensors follow a head in JSON: the bytes of that."""
