"""Loading a model without what it was hardly ever seen to need to predict: pandas and the statistics of SciPy take
longer to import, and more memory, than most models themselves."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any, cast

ABSENT = ("pandas",)
"""Which a library asks for, and does without where it is not there."""
LATER = ("scipy.stats", "scipy.stats.mstats")
"""Of which a library takes functions when it is imported, and calls them for a few kinds of models."""
UNWRITTEN = "scipy._lib._docscrape"
"""With which SciPy, as it is imported, writes the documentation of hundreds of functions anew."""


@contextlib.contextmanager
def leanly() -> Iterator[None]:
    """What is imported here finds no pandas, and functions of SciPy's statistics that import it when they are called;
    functions of SciPy are without documentation. Later all of it can be imported. What was imported before stays."""
    loaded = cast("dict[str, Any]", sys.modules)
    made: dict[str, Any] = {name: None for name in ABSENT if name not in loaded}
    if LATER[0] not in loaded:
        made.update((name, _Later(name)) for name in LATER)
    if UNWRITTEN not in loaded:
        made[UNWRITTEN] = types.ModuleType(UNWRITTEN)
        made[UNWRITTEN].FunctionDoc, made[UNWRITTEN].Parameter = _Unwritten, tuple
    loaded.update(made)
    try:
        yield
    finally:
        for name, one in made.items():
            if loaded.get(name) is one:
                del loaded[name]


@contextlib.contextmanager
def held_for_good() -> Iterator[None]:
    """What is imported and loaded here is looked through for garbage once, at the end, and never again: to look through
    all of it takes twenty milliseconds, in which nobody is answered."""
    gc.disable()
    try:
        yield
        gc.collect()
        gc.freeze()
    finally:
        gc.enable()


class _Unwritten(dict[str, Any]):
    """The documentation of a function: sections by name, all of them empty, and as text a signature and nothing."""

    def __init__(self, of: object) -> None:
        super().__init__()

    def __missing__(self, name: str) -> list[Any]:
        return []

    def __str__(self) -> str:
        return "\n"


class _Later(types.ModuleType):
    """A module that is imported when something of it is used."""

    def __getattr__(self, name: str) -> _Named:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Named(self, name)


class _Named:
    """Something of a module that is imported later."""

    def __init__(self, module: _Later, name: str) -> None:
        self._module, self._name = module, name

    def _found(self) -> Any:
        for name in LATER:
            if isinstance(sys.modules.get(name), _Later):
                del sys.modules[name]
        return getattr(importlib.import_module(self._module.__name__), self._name)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._found()(*given, **named)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self._found())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._found(), name)
