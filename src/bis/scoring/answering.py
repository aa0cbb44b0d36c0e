"""What a model says of the first rows of some file, or of the request that it came with, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..flavors import Refused
from ..flavors import signature as signatures
from ..flavors.checking import Mismatch
from ..flavors.signature import Signature
from . import Wrong, payloads
from .bulk import Stop
from .evaluating import REFUSED, Asking, chunks, refused
from .written import plain

MOST = 10_000
"""Rows that are asked about."""


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="answers", allow_abbrev=False)
    for name in ("--answers", "--model", "--described", "--data"):
        parser.add_argument(name, required=True)
    parser.add_argument("--target", default="")
    parser.add_argument("--trust", action="store_true")
    asked = parser.parse_args(words)
    try:
        found = answered(asked)
    except Refused as error:
        return refused(error)
    except (Stop, Wrong, Mismatch) as error:
        print(f"error: {getattr(error, 'what', None) or error}", file=sys.stderr)
        print(f"because: {getattr(error, 'because', '')}", file=sys.stderr)
        return REFUSED
    Path(asked.answers).write_text(json.dumps(found))
    return 0


def answered(asked: argparse.Namespace) -> dict[str, Any]:
    """What it says of each row, and how probable it holds each class, where it tells that."""
    described = json.loads(Path(asked.described).read_text("utf-8"))
    signature = signatures.read(described.get("signature"))
    asking = Asking(Path(asked.model), described, signature, asked.trust)
    said: list[Any] = []
    probable: list[Any] = []
    for answers, probabilities in _answers(asking, asked, signature):
        said += plain(answers)
        probable += plain(probabilities) if probabilities is not None else []
        if len(said) >= MOST:
            break
    known = plain(np.asarray(asking.classes)) if probable else []
    return {"said": said[:MOST], "classes": known, "probabilities": probable[:MOST]}


def _answers(asking: Asking, asked: argparse.Namespace, signature: Signature) -> Iterator[tuple[Any, Any]]:
    """A batch at a time. Raises Stop for rows that the model does not take."""
    if asked.data.endswith(".json"):
        request = payloads.read(payloads.JSON, Path(asked.data).read_bytes(), signature)
        yield asking.predict(request.batch, request.params), asking.probabilities(request.batch)
        return
    for chunk in chunks(asked.data, MOST, signature):
        known = [name for name in asking.names if name in chunk.names]
        names = known or [name for name in chunk.names if name != asked.target]
        if missing := [name for name in asking.names if name not in chunk.names]:
            raise Stop(
                f"the model takes the column {missing[0]}, which the data has not", f"It has {', '.join(chunk.names)}."
            )
        yield asking.ask(chunk.chosen(names))
