"""Metrics and their histories, and batches of what is logged, in MLflow's words."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bis.ledger import batches, points, sampling, tracked
from bis.ledger.connection import Connection
from bis.ledger.refusals import BadToken, NoSuch
from bis.nouns.tracking import Point
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, get, invalid, missing, post
from bis.server.mlflow.limits import (
    DATASET,
    DIGEST,
    KEY,
    check_batch,
    check_length,
    check_name,
    check_param,
    check_run_id,
    check_tag,
    check_unique,
)
from bis.server.mlflow.places import following, place_of
from bis.server.mlflow.runs import NAME, OfRun
from bis.server.mlflow.shown import metric

HISTORY: Final = 25_000
"""Points in one answer at most."""
RUNS: Final = 100
"""In one question."""
SAMPLES: Final = 2500
"""Steps of a run in one chart at most."""

Long = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Metric(msgspec.Struct, gc=False):
    key: str
    value: float
    timestamp: Long
    step: Long = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""
    run_id: str = ""


class LogMetric(OfRun):
    key: str = ""
    value: float | UnsetType = UNSET
    timestamp: Long | UnsetType = UNSET
    step: Long = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class Said(msgspec.Struct, gc=False):
    """A param or a tag."""

    key: str
    value: str = ""


class LogBatch(OfRun):
    metrics: list[Metric] = msgspec.field(default_factory=list)
    params: list[Said] = msgspec.field(default_factory=list)
    tags: list[Said] = msgspec.field(default_factory=list)


class History(OfRun):
    metric_key: str = ""
    max_results: int = HISTORY
    page_token: str = ""


class HistoryBulk(msgspec.Struct):
    run_id: list[str] = []
    metric_key: str | None = None
    max_results: int = HISTORY


class HistoryInterval(msgspec.Struct):
    run_ids: list[str] = []
    metric_key: str = ""
    start_step: Long | None = None
    end_step: Long | None = None
    max_results: int = SAMPLES


async def log_metric(desk: Desk, asked: LogMetric) -> None:
    if asked.value is UNSET or asked.timestamp is UNSET:
        raise missing("value" if asked.value is UNSET else "timestamp")
    about = (asked.dataset_name, asked.dataset_digest) if asked.dataset_name or asked.dataset_digest else None
    point = Point(asked.key, asked.value, asked.timestamp, asked.step, asked.model_id, about)
    check_metric(point, "")
    await desk.jot(batches.log, asked.run_id, (point,))
    desk.points += 1


async def log_batch(desk: Desk, asked: LogBatch) -> None:
    check_run_id(asked.run_id)
    found = [
        Point(
            each.key,
            each.value,
            each.timestamp,
            each.step,
            each.model_id,
            (each.dataset_name, each.dataset_digest) if each.dataset_name or each.dataset_digest else None,
        )
        for each in asked.metrics
    ]
    check_metrics(found)
    params = {
        param.key: check_param(param.key, param.value, f"params[{number}].")
        for number, param in enumerate(asked.params)
    }
    tags = {tag.key: check_tag(tag.key, tag.value, f"tags[{number}].") for number, tag in enumerate(asked.tags)}
    check_batch(len(found), len(asked.params), len(asked.tags))
    if len(params) != len(asked.params):
        check_unique(param.key for param in asked.params)
    name = tags.pop(NAME, "")
    await desk.write(batches.log, asked.run_id, found, params, tags, name)
    desk.points += len(found)


async def history(desk: Desk, asked: History) -> dict[str, Any]:
    question = ("history", asked.run_id, asked.metric_key)
    most = max(1, min(asked.max_results, HISTORY))
    after = _point_at(place_of(asked.page_token, question))
    found = await desk.read(_history, asked.run_id, asked.metric_key, most + 1, after)
    desk.showed(asked.run_id)
    place = None
    if len(found) > most:
        place = [found[most - 1].moment, found[most - 1].step, repr(found[most - 1].value)]
    return {"metrics": [metric(point) for point in found[:most]], **following(place, question)}


async def history_bulk(desk: Desk, asked: HistoryBulk) -> dict[str, Any]:
    if not asked.run_id:
        raise _refused("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(asked.run_id) > RUNS:
        raise _refused(
            f"GetMetricHistoryBulk request cannot specify more than {RUNS} run_ids."
            f" Received {len(asked.run_id)} run_ids."
        )
    if asked.metric_key is None:
        raise _refused("GetMetricHistoryBulk request must specify a metric_key.")
    most = max(0, min(asked.max_results, HISTORY))
    found = await desk.search(_histories, sorted(set(asked.run_id)), asked.metric_key, most)
    desk.showed(*asked.run_id)
    return {"metrics": found}


async def history_interval(desk: Desk, asked: HistoryInterval) -> dict[str, Any]:
    if not asked.run_ids:
        raise missing("run_ids")
    if len(asked.run_ids) > RUNS:
        raise _refused(
            f"GetMetricHistoryBulkInterval request must specify at most {RUNS} run_ids."
            f" Received {len(asked.run_ids)} run_ids."
        )
    if not 1 <= asked.max_results <= SAMPLES:
        raise _refused(f"max_results must be between 1 and {SAMPLES}.")
    first, last = asked.start_step, asked.end_step
    if (first is None) != (last is None):
        raise _refused("If either start step or end step are specified, both must be specified.")
    if first is not None and last is not None and first > last:
        raise _refused(f"end_step must be greater than start_step. Found start_step={first} and end_step={last}.")
    found = await desk.search(_charts, asked.run_ids, asked.metric_key, first, last, asked.max_results)
    return {"metrics": found}


# -- checks ------------------------------------------------------------------------------------------------------


def check_metrics(found: Sequence[Point]) -> None:
    """Raises Refused for the first that makes no sense. Each key is looked at once."""
    fine: set[str] = set()
    for number, point in enumerate(found):
        if point.key not in fine or point.moment < 0 or point.model or point.dataset:
            check_metric(point, f"metrics[{number}].")
            fine.add(point.key)


def check_metric(point: Point, path: str) -> None:
    if not _is_plain(point.key):
        check_name(point.key, f"{path}name")
        check_length("Metric name", point.key, KEY)
    for what, value, most in (
        ("Model id", point.model, KEY),
        ("Dataset name", point.dataset[0] if point.dataset else "", DATASET),
        ("Dataset digest", point.dataset[1] if point.dataset else "", DIGEST),
    ):
        check_length(what, value, most)
    if point.moment < 0:
        why = f": metric '{point.key}' (value={point.value}). Timestamp must be a nonnegative long (64-bit integer) "
        raise invalid(f"{path}timestamp", point.moment, why)


@functools.lru_cache(1 << 14)
def _is_plain(key: str) -> bool:
    """Whether nothing is wrong with the key. Asked again and again for the same ones."""
    try:
        check_name(key, "")
        check_length("", key, KEY)
    except Refused:
        return False
    return True


def _refused(message: str) -> Refused:
    return Refused("INVALID_PARAMETER_VALUE", message)


# -- questions to the ledger ---------------------------------------------------------------------------------------


def _history(connection: Connection, id: str, key: str, limit: int, after: Point | None) -> list[Point]:
    return points.history(connection, tracked.seq_of(connection, id), key, limit=limit, after=after)


def _histories(connection: Connection, ids: Sequence[str], key: str, most: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for id, seq in _known(connection, ids):
        if len(found) >= most:
            break
        some = points.history(connection, seq, key, limit=most - len(found))
        found += [{**metric(point), "run_id": id} for point in some]
    return found


def _charts(
    connection: Connection, ids: Sequence[str], key: str, first: int | None, last: int | None, most: int
) -> list[dict[str, Any]]:
    known = _known(connection, list(dict.fromkeys(ids)))
    found = sampling.sampled(connection, [seq for _, seq in known], key, first=first, last=last, most=most)
    return [{**metric(point), "run_id": id} for (id, _), some in zip(known, found, strict=True) for point in some]


def _known(connection: Connection, ids: Sequence[str]) -> list[tuple[str, int]]:
    """Of these runs those that are there."""
    found = []
    for id in ids:
        try:
            found.append((id, tracked.seq_of(connection, id)))
        except NoSuch:
            continue
    return found


def _point_at(place: list[Any] | None) -> Point | None:
    """Raises BadToken."""
    if place is None:
        return None
    try:
        moment, step, value = place
        return Point("", float(value), int(moment), int(step))
    except (TypeError, ValueError, OverflowError):
        raise BadToken("it cannot be read") from None


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("runs/log-metric", LogMetric, log_metric, required=("run_id", "key")),
    post("runs/log-batch", LogBatch, log_batch, required=("run_id",)),
    get("metrics/get-history", History, history, required=("run_id", "metric_key")),
    get("metrics/get-history-bulk", HistoryBulk, history_bulk),
    get("metrics/get-history-bulk-interval", HistoryInterval, history_interval, required=("metric_key",)),
)
