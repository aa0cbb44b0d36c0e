"""What a call of the SDK costs the training process: `bis.log` under `bis run`, beside MLflow's and a bare write(2).

    python benchmarks/logging_calls.py [--mlflow PYTHON]

PYTHON is an interpreter that has mlflow: its `log_metric` is measured against its own SQLite store, and with its
asynchronous logging, which returns before anything is written.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

OURS = """
import time
began = time.perf_counter()
import bis
imported = time.perf_counter() - began
log = bis.log
log(step=0, loss=0.5)
best = float("inf")
for _ in range(5):
    began = time.perf_counter()
    for step in range(100_000):
        log(step=step, loss=0.5, accuracy=0.9)
    best = min(best, (time.perf_counter() - began) / 100_000)
print(imported, best)
"""
BARE = """
import os, time
descriptor = os.open("bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
line, write, best = b"x" * 60, os.write, float("inf")
for _ in range(5):
    began = time.perf_counter()
    for _ in range(100_000):
        write(descriptor, line)
    best = min(best, (time.perf_counter() - began) / 100_000)
print(0, best)
"""
THEIRS = """
import os, time
began = time.perf_counter()
import mlflow
imported = time.perf_counter() - began
mlflow.set_tracking_uri("sqlite:///mlflow.db")
synchronous = os.environ["SYNCHRONOUS"] == "1"
calls = 100 if synchronous else 2000
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5, step=0)
    began = time.perf_counter()
    for step in range(calls):
        mlflow.log_metrics({"loss": 0.5, "accuracy": 0.9}, step=step, synchronous=synchronous)
    print(imported, (time.perf_counter() - began) / calls)
    os._exit(0)
"""


def measured(code: str, python: str, **variables: str) -> tuple[float, float]:
    """Seconds to import, and seconds for a call."""
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(
            [python, "-c", code],
            cwd=folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
    imported, call = map(float, found.stdout.split()[-2:])
    return imported, call


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mlflow", metavar="PYTHON", help="an interpreter that has mlflow")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as journals:
        imported, ours = measured(OURS, sys.executable, BIS_JOURNALS=str(Path(journals)))
    _, bare = measured(BARE, sys.executable)
    print(f"load {os.getloadavg()[0]:.1f}")
    print(f"{'':34}{'import':>12}{'a call':>14}{'x bis':>10}")
    print(f"{'a bare write(2)':34}{'':>12}{bare * 1e6:>11.2f} us{bare / ours:>10.2f}")
    print(f"{'bis.log, two metrics':34}{imported * 1e3:>9.0f} ms{ours * 1e6:>11.2f} us{1:>10.2f}")
    if asked.mlflow:
        for name, synchronous in (("mlflow.log_metrics", "1"), ("the same, asynchronous", "0")):
            imported, theirs = measured(THEIRS, asked.mlflow, SYNCHRONOUS=synchronous)
            print(f"{name:34}{imported * 1e3:>9.0f} ms{theirs * 1e6:>11.2f} us{theirs / ours:>10.0f}")


if __name__ == "__main__":
    main()
