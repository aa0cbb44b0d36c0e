"""Predictions as JSON. What JSON has no word for, NaN and the infinities, is null."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
TEXT = json.JSONEncoder(ensure_ascii=False).encode


def encoded(value: Any) -> bytes:
    """As JSON, of what `plain` made."""
    return ENCODER.encode(value).encode("utf-8", "surrogateescape")


def plain(predictions: Any) -> Any:
    """What a model answered, of what JSON can hold: arrays as lists, data frames as a list of objects."""
    if isinstance(predictions, np.ndarray):
        return _array(predictions)
    if hasattr(predictions, "to_dict") and hasattr(predictions, "columns"):
        return plain(predictions.to_dict(orient="records"))
    if hasattr(predictions, "to_numpy"):
        return _array(predictions.to_numpy())
    if hasattr(predictions, "detach"):
        return _array(predictions.detach().cpu().numpy())
    if isinstance(predictions, Mapping):
        return {str(key): plain(value) for key, value in predictions.items()}
    if isinstance(predictions, (list, tuple, set)):
        return [plain(value) for value in predictions]
    return _scalar(predictions)


def _array(array: Any) -> Any:
    kind = array.dtype.kind
    if kind in "iub":
        return array.tolist()
    if kind == "f":
        finite = np.isfinite(array)
        return array.tolist() if finite.all() else _with_gaps(array, ~finite)
    if kind == "M":
        return _with_gaps(np.datetime_as_string(array), np.isnat(array))
    return plain(array.tolist())


def _with_gaps(array: Any, gaps: Any) -> Any:
    found = array.astype(object)
    found[gaps] = None
    return found.tolist()


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.generic):
        return _array(np.asarray(value))
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, int):
        return value
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)
