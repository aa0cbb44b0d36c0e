"""Starts an evaluation: `python .../scoring/evaluate.py --model FOLDER --data FILE …`, in the interpreter of the model,
where bis need not be installed."""

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
    what = "answering" if "--answers" in sys.argv else "evaluating"
    sys.exit(importlib.import_module(f"{ROOT}.scoring.{what}").main(sys.argv[1:]))


if __name__ == "__main__":
    main()
