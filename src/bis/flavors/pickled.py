"""Pickles: opened only for a reader who trusts whoever wrote them, as opening one runs what it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import Loading, Refused

WARNING = "it is a pickle: opening it runs code that whoever wrote it chose"


def dump(model: Any, path: Path) -> str:
    """Write a model by cloudpickle, which takes functions and classes of scripts along, or, where that is not
    installed, by pickle. Returns which it was: `cloudpickle` or `pickle`."""
    import pickle

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import cloudpickle
    except ImportError:
        with path.open("wb") as file:
            pickle.dump(model, file)
        return "pickle"
    with path.open("wb") as file:
        cloudpickle.dump(model, file)
    return "cloudpickle"


def load(path: Path, how: Loading, read: Callable[[Any], Any] | None = None) -> Any:
    """The model, by `read` or by pickle itself. Raises Refused for a reader who does not trust it."""
    if not how.trust:
        raise Refused(f"{path.name} is not opened: {WARNING}")
    import pickle

    with path.open("rb") as file:
        return read(file) if read else pickle.load(file)
