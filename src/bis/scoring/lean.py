"""Loading a model without pandas, which takes longer to import, and more memory, than most models themselves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, cast


@contextlib.contextmanager
def without_pandas() -> Iterator[None]:
    """What is imported here finds no pandas; later it can be imported."""
    if "pandas" in sys.modules:
        yield
        return
    loaded = cast("dict[str, Any]", sys.modules)
    loaded["pandas"] = None
    try:
        yield
    finally:
        del loaded["pandas"]
