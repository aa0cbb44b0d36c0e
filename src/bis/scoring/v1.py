"""`/v1/models/M:predict`, the protocol of TensorFlow Serving and of the first KServe."""

from __future__ import annotations

from typing import Any

from ..flavors.signature import Signature
from . import Answer, Asked, Wrong
from .payloads import JSON, asked, parsed, tensors
from .written import encoded, plain


def read(content_type: str, body: bytes, signature: Signature) -> Asked:
    """By row, as `instances`, or by column, as `inputs`. Raises Wrong."""
    found = parsed(body)
    forms = [form for form in ("instances", "inputs") if form in found]
    if len(forms) != 1:
        raise Wrong("the body is to have instances (by row) or inputs (by column), one of them")
    batch = tensors(found[forms[0]], signature, by_place=True)
    return asked(batch, found.get("params") or {}, signature, forms[0])


def answer(asked: Asked, predictions: Any) -> Answer:
    name = "predictions" if asked.about == "instances" else "outputs"
    return Answer(200, JSON, encoded({name: plain(predictions)}), asked.batch.rows)


def refusal(wrong: Wrong) -> Answer:
    return Answer(wrong.status, JSON, encoded({"error": wrong.message}))
