"""What a model says of the first rows of some file, or of the request that it came with, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..flavors import Refused
from ..flavors import signature as signatures
from ..flavors.checking import Mismatch
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


def answered(asked: argparse.Namespace) -> list[Any]:
    described = json.loads(Path(asked.described).read_text("utf-8"))
    signature = signatures.read(described.get("signature"))
    asking = Asking(Path(asked.model), described, signature, asked.trust)
    if asked.data.endswith(".json"):
        request = payloads.read(payloads.JSON, Path(asked.data).read_bytes(), signature)
        return list(plain(asking.predict(request.batch, request.params)))
    found: list[Any] = []
    for chunk in chunks(asked.data, MOST, signature):
        known = [name for name in asking.names if name in chunk.names]
        names = known or [name for name in chunk.names if name != asked.target]
        if missing := [name for name in asking.names if name not in chunk.names]:
            raise Stop(
                f"the model takes the column {missing[0]}, which the data has not", f"It has {', '.join(chunk.names)}."
            )
        found += plain(asking.ask(chunk.chosen(names))[0])
        if len(found) >= MOST:
            break
    return found[:MOST]
