"""Two answers to one request, of two versions of a model: how many rows are the same, and how far numbers are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bis.serving.asking import Answer
from bis.serving.tally import Agreement


def compared(first: Answer, second: Answer, into: Agreement) -> None:
    """Note how the second stands to the first, by rows where both have rows."""
    if second.status >= 500:
        into.failed += 1
        return
    if first.status != 200 or second.status != 200:
        into.same += first.status == second.status
        return
    if first.body == second.body:
        into.same += 1
        into.rows += first.rows
        into.same_rows += first.rows
        return
    into.rows += first.rows
    rows, others = _rows(first), _rows(second)
    if rows is None or others is None or len(rows) != len(others):
        return
    same = 0
    for one, other in zip(rows, others, strict=True):
        if one == other:
            same += 1
        else:
            into.furthest = max(into.furthest, _apart(one, other))
    into.same_rows += same
    into.same += same == len(rows)


def _rows(answer: Answer) -> list[Any] | None:
    """What was predicted, one entry for each row; None for what is not in JSON."""
    if answer.content_type != "application/json":
        return None
    try:
        found = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return None
    predictions = found.get("predictions") if isinstance(found, dict) else None
    if predictions is None and isinstance(found, dict):
        outputs = found.get("outputs")
        predictions = _of_tensor(outputs[0], answer.rows) if isinstance(outputs, list) and outputs else outputs
    if isinstance(predictions, Mapping):
        predictions = next(iter(predictions.values()), None)
    return predictions if isinstance(predictions, list) else None


def _of_tensor(output: Mapping[str, Any], rows: int) -> Any:
    """One entry for each row of a tensor, whose numbers come in one list."""
    data = output.get("data")
    if not isinstance(data, list) or not rows or len(data) <= rows or len(data) % rows:
        return data
    each = len(data) // rows
    return [data[begin : begin + each] for begin in range(0, len(data), each)]


def _apart(one: Any, other: Any) -> float:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(float(one) - float(other))
    if isinstance(one, list) and isinstance(other, list):
        return max(map(_apart, one, other), default=0.0)
    if isinstance(one, dict) and isinstance(other, dict):
        return max((_apart(one[key], other[key]) for key in one.keys() & other.keys()), default=0.0)
    return 0.0
