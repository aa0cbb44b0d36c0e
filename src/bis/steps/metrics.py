"""Metrics out of the files that a run wrote them into: JSON, YAML, CSV and what DVC's tools write."""

from __future__ import annotations

import fnmatch
import io
import itertools
import math
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from bis.nouns.model import MODEL_SCHEMA
from bis.nouns.part import Part
from bis.parts.params import flatten, parse
from bis.store import Store
from bis.store.snapshot import find_leaf

SIZE = 4 << 20
"""Larger files are data, not metrics."""
MOST = 100_000
"""So many values of one file are looked at: a short YAML file can mean billions."""


PIPELINE = "dvc.yaml"


def metric_globs(given: Iterable[str], code: Part | None, store: Store) -> tuple[str, ...]:
    """Globs of metric files: those of the settings, and what the pipeline of DVC in the code of a run declares."""
    found = find_leaf(store, code.trees["tree"], PIPELINE) if code and "tree" in code.trees else None
    if found is None or found.entry.kind != "file" or not store.has(found.entry.digest):
        return tuple(given)
    return (*given, *_declared(parse(PIPELINE, store.get_bytes(found.entry.digest))))


def _declared(pipeline: Any) -> Iterator[str]:
    """The metrics of all stages and of the project; what a template puts into a name may be anything."""
    stages = pipeline.get("stages") if isinstance(pipeline, dict) else None
    for stage in (pipeline, *(stages.values() if isinstance(stages, dict) else ())):
        told = stage.get("do", stage) if isinstance(stage, dict) else {}
        listed = told.get("metrics") if isinstance(told, dict) else None
        for entry in listed if isinstance(listed, list) else ():
            for name in entry if isinstance(entry, dict) else (entry,):
                path = posixpath.normpath(posixpath.join(str(told.get("wdir", "")), str(name)))
                yield re.sub(r"\$\{[^}]*\}", "*", re.sub(r"([*?[])", r"[\1]", path))


def is_metric_file(path: str, globs: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(path, glob) or fnmatch.fnmatch(PurePosixPath(path).name, glob) for glob in globs)


def read_metrics(path: str, content: bytes) -> dict[str, float]:
    """Name -> last value, for each number in the file; names of nested values are joined by dots."""
    suffix = PurePosixPath(path).suffix.lower()
    if len(content) > SIZE:
        return {}
    if suffix in (".csv", ".tsv"):
        return dict(_table(content, "\t" if suffix == ".tsv" else ","))
    found = itertools.islice(flatten(parse(path, content)), MOST)
    return {name: value for name, text in found if (value := as_number(text)) is not None}


def of_model(told: Any) -> dict[str, float]:
    """Those that the `bis.json` of a model tells; NaN and infinities are text there."""
    metrics = told.get("metrics") if isinstance(told, dict) and told.get("format") == MODEL_SCHEMA else None
    numbers = {key: as_number(str(value)) for key, value in metrics.items()} if isinstance(metrics, dict) else {}
    return {key: value for key, value in numbers.items() if value is not None}


def as_number(text: str) -> float | None:
    """The number that a text is, NaN and infinities included; None for anything else (`true` is no number)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if text.strip()[:1] in "+-.0123456789" or not math.isfinite(value) else None


def _table(content: bytes, delimiter: str) -> Iterator[tuple[str, float]]:
    """The last row of a table with a header: what dvclive and Lightning's CSV loggers write, one row a step."""
    import csv

    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8")), delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error):
        return
    if len(rows) < 2:
        return
    for position, name in enumerate(rows[0]):
        # A logger may leave cells empty in rows of other steps: the last one with a value counts.
        cells = (row[position] for row in reversed(rows[1:]) if position < len(row) and row[position].strip())
        value = as_number(next(cells, ""))
        if name and value is not None:
            yield name, value
