"""The list of flavors, and which of them takes a model or reads a folder. A new one is one module and one line here."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Flavor, Loading, Predictor, Refused, below, held_together, not_packed_to_burst

FLAVORS = {
    "xgboost": ("xgboost", "XGBoost"),
    "lightgbm": ("lightgbm", "LightGBM"),
    "sklearn": ("sklearn", "Sklearn"),
    "onnx": ("onnx", "ONNX"),
    "keras": ("keras", "Keras"),
    "tensorflow": ("tensorflow", "TensorFlow"),
    "pytorch": ("torch", "PyTorch"),
    "python_function": ("function", "Function"),
}
"""In the order in which they are asked, the more special first: the module of each, and its class there."""


@functools.lru_cache(None)
def flavor(name: str) -> Flavor:
    """One of them. Its module is imported when it is asked for: a model needs one, and the program of a scoring
    compiles what it imports each time."""
    module, kind = FLAVORS[name]
    found: Flavor = getattr(importlib.import_module(f"{__package__}.{module}"), kind)()
    return found


def flavor_of(model: object) -> Flavor:
    """The flavor that saves a model. Raises Refused."""
    for name in FLAVORS:
        if flavor(name).takes(model):
            return flavor(name)
    known = ", ".join(FLAVORS)
    raise Refused(f"{type(model).__name__} is no model of {known}, and nothing that can be called")


def load(folder: Path, flavors: Mapping[str, Mapping[str, Any]], how: Loading) -> Predictor:
    """The model of a folder, by the first flavor that reads it. Raises Refused for what it will not open and for what
    is damaged, ImportError where the framework is not installed."""
    held_together(folder)
    if not how.trust:
        not_packed_to_burst(folder)
    _take_code(folder, flavors, how)
    for name in FLAVORS:
        entry = flavors.get(name)
        if isinstance(entry, Mapping):
            try:
                return flavor(name).load(folder, entry, how)
            except (Refused, ImportError, MemoryError):
                raise
            except Exception as error:
                raise Refused(f"{name} cannot load it: {type(error).__name__}: {error}") from error
    raise Refused(f"no flavor reads a model of {', '.join(flavors) or 'no flavor at all'}")


def _take_code(folder: Path, flavors: Mapping[str, Any], how: Loading) -> None:
    """Put the code that a model brings on the path, for a reader who trusts it: a module there may stand before one
    that a safe format is read with."""
    for entry in flavors.values():
        code = entry.get("code") if isinstance(entry, Mapping) else None
        if how.trust and isinstance(code, str) and code:
            place = str(below(folder, code))
            if place not in sys.path:
                sys.path.insert(0, place)
