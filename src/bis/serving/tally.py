"""What is counted of served models, as text that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

from bis.serving.version import Version

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the upper ends of the histogram's columns."""
Labels = tuple[str, str]
"""The name of a model, and its version."""


class Times:
    """How long something took, in columns."""

    def __init__(self) -> None:
        self.columns = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.columns[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        return sum(self.columns)

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The upper end of the column in which it lies."""
        wanted, so_far = share * self.count, 0
        for bound, number in zip((*BOUNDS, float("inf")), self.columns, strict=True):
            so_far += number
            if so_far >= wanted and so_far:
                return bound
        return 0.0


class Agreement:
    """How the answers of another version compare with those that were given."""

    def __init__(self) -> None:
        self.requests = self.same = self.rows = self.same_rows = self.failed = self.dropped = 0
        self.furthest = 0.0
        """The greatest difference between two numbers."""


class Tally:
    """Counted in the event loop only."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str, int], int] = {}
        self.rows: dict[Labels, int] = {}
        self.times: dict[Labels, Times] = {}
        self.batches: dict[Labels, list[int]] = {}
        """Batches, and requests in them."""
        self.agreements: dict[tuple[str, str, str], Agreement] = {}
        """Of a model: the version that answered, the one that was asked beside it."""
        self.reloads: dict[tuple[str, str], int] = {}
        """Of a model: how often it was `done`, how often it `failed`."""

    def answered(self, version: Version | None, form: str, status: int, rows: int, seconds: float) -> None:
        name, number = (version.name, version.number) if version else ("", "")
        key = (name, number, form, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        if version is None:
            return
        labels = (name, number)
        times = self.times.get(labels)
        if times is None:
            times = self.times[labels] = Times()
            self.rows.setdefault(labels, 0)
        times.add(seconds)
        self.rows[labels] += rows

    def handed(self, version: Version, requests: int) -> None:
        found = self.batches.setdefault((version.name, version.number), [0, 0])
        found[0] += 1
        found[1] += requests

    def reloaded(self, name: str, how: str) -> None:
        self.reloads[name, how] = self.reloads.get((name, how), 0) + 1

    def agreement(self, name: str, first: str, second: str) -> Agreement:
        return self.agreements.setdefault((name, first, second), Agreement())

    def text(self, gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> str:
        """`gauges`: name -> what it is, and the values now."""
        return "\n".join([*self._counters(), *self._histogram(), *self._compared(), *_gauges(gauges), ""])

    def _counters(self) -> Iterator[str]:
        yield from _head("bis_model_requests_total", "counter", "Requests that were answered.")
        for (name, number, form, status), count in sorted(self.requests.items()):
            labels = f'model="{_quoted(name)}",version="{_quoted(number)}",protocol="{form}",status="{status}"'
            yield f"bis_model_requests_total{{{labels}}} {count}"
        yield from _head("bis_model_rows_total", "counter", "Rows that were predicted.")
        for key, count in sorted(self.rows.items()):
            yield f"bis_model_rows_total{{{_labels(key)}}} {count}"
        yield from _head("bis_model_batches_total", "counter", "Batches that workers were handed.")
        for key, (batches, _) in sorted(self.batches.items()):
            yield f"bis_model_batches_total{{{_labels(key)}}} {batches}"
        yield from _head("bis_model_batched_requests_total", "counter", "Requests in those.")
        for key, (_, requests) in sorted(self.batches.items()):
            yield f"bis_model_batched_requests_total{{{_labels(key)}}} {requests}"
        yield from _head("bis_model_reloads_total", "counter", "Versions that were taken up, or could not be.")
        for (name, how), count in sorted(self.reloads.items()):
            yield f'bis_model_reloads_total{{model="{_quoted(name)}",result="{how}"}} {count}'

    def _histogram(self) -> Iterator[str]:
        yield from _head("bis_model_seconds", "histogram", "Time from a whole request to its answer.")
        for key, times in sorted(self.times.items()):
            so_far = 0
            for bound, number in zip((*map(str, BOUNDS), "+Inf"), times.columns, strict=True):
                so_far += number
                yield f'bis_model_seconds_bucket{{{_labels(key)},le="{bound}"}} {so_far}'
            yield f"bis_model_seconds_sum{{{_labels(key)}}} {times.sum:.6f}"
            yield f"bis_model_seconds_count{{{_labels(key)}}} {so_far}"

    def _compared(self) -> Iterator[str]:
        told = {
            "requests": "Requests that another version was asked, too.",
            "same": "Those of them that it answered the same.",
            "rows": "Rows of those.",
            "same_rows": "Rows that it predicted the same.",
            "failed": "Requests that it did not answer.",
            "dropped": "Requests that it was not asked, as too many waited for it.",
        }
        for word, what in told.items():
            yield from _head(f"bis_shadow_{word}_total", "counter", what)
            for (name, first, second), one in sorted(self.agreements.items()):
                yield f"bis_shadow_{word}_total{{{_pair(name, first, second)}}} {getattr(one, word)}"
        yield from _head("bis_shadow_furthest", "gauge", "The greatest difference between two numbers.")
        for (name, first, second), one in sorted(self.agreements.items()):
            yield f"bis_shadow_furthest{{{_pair(name, first, second)}}} {one.furthest:.9g}"


def _gauges(gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> Iterator[str]:
    for name, (what, values) in gauges.items():
        yield from _head(name, "gauge", what)
        for key, value in values.items():
            yield f"{name}{{{_labels(key)}}} {value:.15g}"


def _head(name: str, kind: str, what: str) -> Iterator[str]:
    yield f"# HELP {name} {what}"
    yield f"# TYPE {name} {kind}"


def _labels(key: Labels) -> str:
    return f'model="{_quoted(key[0])}",version="{_quoted(key[1])}"'


def _pair(name: str, first: str, second: str) -> str:
    return f'model="{_quoted(name)}",version="{_quoted(first)}",other="{_quoted(second)}"'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
