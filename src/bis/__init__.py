"""bis: record a machine-learning run, repeat it, and prove that it came out the same.

In a training script:

    import bis

    bis.params(lr=0.1)
    bis.log(step=1, loss=0.25)

See `bis.live` for all that a script can say. Nothing of it is needed: `bis run` records what a result came from with no
change to the script.
"""

from __future__ import annotations

TYPE_CHECKING = False
"""Type checkers know the name; `typing` is not imported for it, which would take as long as all else here."""
if TYPE_CHECKING:
    from typing import Any

    from bis.live.loading import load_model
    from bis.live.models import save_model
    from bis.live.reading import compare, runs
    from bis.live.saying import data, log, log_artifact, log_figure, log_image, log_table, log_text, params, tags
    from bis.live.standalone import run

__version__ = "0.1.0"

__all__ = [
    "compare",
    "data",
    "load_model",
    "log",
    "log_artifact",
    "log_figure",
    "log_image",
    "log_table",
    "log_text",
    "params",
    "run",
    "runs",
    "save_model",
    "tags",
]

MODULES = {
    "compare": "reading",
    "load_model": "loading",
    "run": "standalone",
    "runs": "reading",
    "save_model": "models",
}
"""Where of `bis.live` a name is; the others are in `saying`."""


def __getattr__(name: str) -> Any:
    """Imported with the first use, so that `import bis` costs a training nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'bis' has no attribute {name!r}")
    from importlib import import_module

    module = MODULES.get(name, "saying")
    found = globals()[name] = getattr(import_module(f"bis.live.{module}"), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
