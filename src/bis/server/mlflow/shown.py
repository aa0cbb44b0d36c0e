"""How values look in MLflow's answers, wherever they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from bis.nouns.run import Status
from bis.nouns.tracking import Point, UsedData

STATUSES: Final[dict[Status, str]] = {
    "running": "RUNNING",
    "scheduled": "SCHEDULED",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "lost": "FAILED",
}
NUMBERED: Final = (None, "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""As MLflow counts them."""
OURS: Final[dict[str, Status]] = {told: status for status, told in reversed(STATUSES.items())}


def tagged(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def filled(**lists: list[Any]) -> dict[str, list[Any]]:
    """Those that hold something. MLflow's answers say nothing of an empty list, and its client in R takes one for a
    table without columns where it looks for what is missing."""
    return {name: values for name, values in lists.items() if values}


def number(value: float) -> float | str:
    """JSON has no words for some numbers; MLflow's clients read these."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def metric(point: Point) -> dict[str, Any]:
    shown = {"key": point.key, "value": number(point.value), "timestamp": point.moment, "step": point.step}
    if point.model:
        shown["model_id"] = point.model
    if point.dataset:
        shown["dataset_name"], shown["dataset_digest"] = point.dataset
    return shown


def dataset(used: UsedData) -> dict[str, Any]:
    described = used.dataset._asdict()
    return {
        **filled(tags=tagged(used.tags)),
        "dataset": {name: value for name, value in described.items() if value is not None},
    }
