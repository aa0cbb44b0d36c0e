"""What the server counts, as text that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the upper ends of the histogram's columns."""

Gauges = Mapping[str, tuple[str, str, Callable[[], float]]]
"""Name -> type, what it is, and what says the value now."""


class Meter:
    """Counts requests, in the event loop only. The number of different calls is bounded by who names them."""

    def __init__(self) -> None:
        self.under_way = 0
        self._requests: dict[tuple[str, str, int], int] = {}
        self._columns: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def count(self, method: str, call: str, status: int, seconds: float) -> None:
        key = (method, call, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        columns = self._columns.get(call)
        if columns is None:
            columns = self._columns[call] = [0] * (len(BOUNDS) + 1)
        columns[bisect_left(BOUNDS, seconds)] += 1
        self._seconds[call] = self._seconds.get(call, 0.0) + seconds

    def text(self, gauges: Gauges) -> str:
        return "\n".join([*self._told(), *_gauges(gauges), ""])

    def _told(self) -> Iterator[str]:
        yield "# HELP bis_requests_total Requests that were answered."
        yield "# TYPE bis_requests_total counter"
        for (method, call, status), number in sorted(self._requests.items()):
            yield f'bis_requests_total{{method="{method}",call="{call}",status="{status}"}} {number}'
        yield "# HELP bis_request_seconds Time from a request to the end of its answer."
        yield "# TYPE bis_request_seconds histogram"
        for call, columns in sorted(self._columns.items()):
            so_far = 0
            for bound, number in zip((*map(str, BOUNDS), "+Inf"), columns, strict=True):
                so_far += number
                yield f'bis_request_seconds_bucket{{call="{call}",le="{bound}"}} {so_far}'
            yield f'bis_request_seconds_sum{{call="{call}"}} {self._seconds[call]:.6f}'
            yield f'bis_request_seconds_count{{call="{call}"}} {so_far}'
        yield "# HELP bis_requests_under_way Requests that are being answered."
        yield "# TYPE bis_requests_under_way gauge"
        yield f"bis_requests_under_way {self.under_way}"


def _gauges(gauges: Gauges) -> Iterator[str]:
    for name, (kind, told, value) in gauges.items():
        yield f"# HELP {name} {told}"
        yield f"# TYPE {name} {kind}"
        yield f"{name} {value():.15g}"
