"""Metrics out of the files that a run wrote them into: JSON, YAML, CSV and what DVC's tools write."""

from __future__ import annotations

import csv
import fnmatch
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from bis.parts.params import flatten, parse

SIZE = 4 << 20
"""Larger files are data, not metrics."""
MOST = 100_000
"""So many values of one file are looked at: a short YAML file can mean billions."""


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


def as_number(text: str) -> float | None:
    """The number that a text is, NaN and infinities included; None for anything else (`true` is no number)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if text.strip()[:1] in "+-.0123456789" or not math.isfinite(value) else None


def _table(content: bytes, delimiter: str) -> Iterator[tuple[str, float]]:
    """The last row of a table with a header: what dvclive and Lightning's CSV loggers write, one row a step."""
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
