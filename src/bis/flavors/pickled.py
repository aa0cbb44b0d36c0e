"""Pickles: opened only for a reader who trusts whoever wrote them, as opening one runs what it names."""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import Loading, Untrusted

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
    with taken_along(), path.open("wb") as file:
        cloudpickle.dump(model, file)
    return "cloudpickle"


@contextlib.contextmanager
def taken_along() -> Iterator[None]:
    """What cloudpickle writes in here holds the code of modules of the project itself: no package brings them to where
    the model is loaded."""
    import cloudpickle

    added = []
    for module in own_modules():
        if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            added.append(module)
    try:
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def own_modules() -> list[Any]:
    """Modules that were imported from a file outside of where Python and packages are installed."""
    places = {os.path.realpath(place) for place in sysconfig.get_paths().values()}
    places |= {os.path.realpath(place) for place in site.getsitepackages()}
    here = __name__.partition(".")[0]
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(module, types.ModuleType) or name != module.__name__ or not isinstance(file, str):
            continue
        if name == "__main__" or name.partition(".")[0] in (here, "bis"):
            continue
        real = os.path.realpath(file)
        if not any(real.startswith(place + os.sep) for place in places) and "site-packages" not in real:
            found.append(module)
    return found


def load(path: Path, how: Loading, read: Callable[[Any], Any] | None = None) -> Any:
    """The model, by `read` or by pickle itself. Raises Refused for a reader who does not trust it."""
    if not how.trust:
        raise Untrusted(f"{path.name} is not opened: {WARNING}")
    import pickle

    with _opened(path) as file:
        return (read or pickle.load)(file)


def read_joblib(file: Any) -> Any:
    """One that joblib wrote, which may have arrays between the opcodes, or pickle or cloudpickle."""
    import joblib

    return joblib.load(file)


def _opened(path: Path) -> Any:
    """As MLflow may have compressed it, which the end of its name says."""
    if path.suffix == ".xz":
        import lzma

        return lzma.open(path)
    if path.suffix == ".bz2":
        import bz2

        return bz2.open(path)
    if path.suffix == ".gz" and path.name.endswith(".pkl.gz"):
        import gzip

        return gzip.open(path)
    return path.open("rb")
