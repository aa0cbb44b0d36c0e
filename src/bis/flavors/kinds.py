"""The list of flavors, and which of them takes a model or reads a folder. A new one is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Flavor, Loading, Predictor, Refused
from .function import Function
from .sklearn import Sklearn
from .xgboost import XGBoost

FLAVORS: tuple[Flavor, ...] = (XGBoost(), Sklearn(), Function())
"""In the order in which they are asked: the more special first."""


def flavor_of(model: object) -> Flavor:
    """The flavor that saves a model. Raises Refused."""
    for flavor in FLAVORS:
        if flavor.takes(model):
            return flavor
    known = ", ".join(flavor.name for flavor in FLAVORS)
    raise Refused(f"{type(model).__name__} is no model of {known}, and nothing that can be called")


def load(folder: Path, flavors: Mapping[str, Mapping[str, Any]], how: Loading) -> Predictor:
    """The model of a folder, by the first flavor that reads it. Raises Refused."""
    for flavor in FLAVORS:
        if flavor.name in flavors:
            return flavor.load(folder, flavors[flavor.name], how)
    raise Refused(f"no flavor reads a model of {', '.join(flavors) or 'no flavor at all'}")
