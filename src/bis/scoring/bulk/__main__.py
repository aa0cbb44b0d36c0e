"""The first file of the program that `bis predict` runs in the interpreter of a model: a zip of this and of what it
imports, under a root of another name."""

from __future__ import annotations

import json
import os
import sys

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def main() -> None:
    words = sys.argv[1:]
    threads = words[words.index("--threads") + 1] if "--threads" in words[:-1] else "1"
    for name in THREADS:  # before anything looks at them
        os.environ.setdefault(name, threads)
    import importlib
    import zipfile

    with zipfile.ZipFile(sys.argv[0]) as program:
        described = json.loads(program.read("MLmodel.json"))
    sys.exit(importlib.import_module("_bis.scoring.bulk.score").main(described))


if __name__ == "__main__":
    main()
