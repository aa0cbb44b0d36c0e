"""Starts a worker: `python .../bis/scoring --fd N`. bis need not be installed: the packages are found beside this file,
below a root of their own name, so that nothing of bis but them can be imported."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

ROOT = "_bis"


def main() -> None:
    here = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if place and Path(place).resolve() != here]
    root = types.ModuleType(ROOT)
    root.__path__ = [str(here.parent)]
    sys.modules[ROOT] = root
    worker = importlib.import_module(f"{ROOT}.scoring.worker")
    given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    worker.work(int(given["--fd"]), int(given.get("--job", -1)))


if __name__ == "__main__":
    main()
