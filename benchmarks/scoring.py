"""What scoring in bulk costs: `bis predict` and `mlflow models predict`, the same models and environment, in turn.

    .venv/bin/python benchmarks/scoring.py --environment VENV
    .venv/bin/python benchmarks/scoring.py --environment VENV --rows 100000 2000000 --rounds 5 --check

VENV holds mlflow, scikit-learn, skops, xgboost and pyarrow; the models are made in it, by MLflow. `program` is what bis
starts in the model's environment; `bis predict` is all of it, with the record of the run. MLflow reads CSV and JSON,
not Parquet. CPU is that of all processes, in user and system mode. Both must give the same answers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bis.steps.model_folder import read_folder
from bis.steps.scoring_program import program
from serving import MAKE, NAMES

TARGET = 5.0
"""Times the rows per second of MLflow that are wanted."""
ROWS = """
import sys, json, numpy, pyarrow, pyarrow.csv, pyarrow.parquet
number, names = int(sys.argv[1]), json.loads(sys.argv[2])
draw = numpy.random.default_rng(0)
table = pyarrow.table({name: draw.uniform(0, 8, number) for name in names})
pyarrow.csv.write_csv(table, f"{number}.csv")
pyarrow.parquet.write_table(table, f"{number}.parquet")
rows = numpy.column_stack([column.to_numpy() for column in table.columns])
with open(f"{number}.json", "w") as file:
    json.dump({"dataframe_split": {"columns": names, "data": rows.tolist()}}, file)
with open(f"{number}.jsonl", "w") as file:
    file.writelines(json.dumps(dict(zip(names, row))) + "\\n" for row in rows.tolist())
"""


class Cost(NamedTuple):
    wall: float
    cpu: float


def cost(words: Sequence[str | Path], folder: Path, home: Path) -> Cost:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    variables = {**os.environ, "HOME": str(home)}
    subprocess.run(words, cwd=folder, env=variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(time.perf_counter() - began, cpu)


def contenders(folder: Path, python: Path, model: str, rows: int) -> dict[str, list[str | Path]]:
    script = program(read_folder(folder / model).described, folder)
    mlflow: list[str | Path] = [python.parent / "mlflow", "models", "predict", "-m", model, "--env-manager", "local"]
    ours: list[str | Path] = [
        python,
        script,
        "--model",
        model,
        "--work",
        "work",
        "--format",
        "csv",
        "--output",
        "y.csv",
    ]
    bis: list[str | Path] = [sys.executable, "-m", "bis", "predict", f"./{model}", "--python", python]
    return {
        "mlflow, csv": [*mlflow, "-t", "csv", "-i", f"{rows}.csv", "-o", "m.json"],
        "program, csv": [*ours, "--input", f"{rows}.csv"],
        "bis predict, csv": [*bis, "--input", f"{rows}.csv", "--output", "y.csv"],
        "mlflow, json": [*mlflow, "-t", "json", "-i", f"{rows}.json", "-o", "m.json"],
        "program, jsonl": [*ours, "--input", f"{rows}.jsonl"],
        "program, parquet": [*ours, "--input", f"{rows}.parquet"],
    }


def same(folder: Path) -> bool:
    theirs = json.loads((folder / "m.json").read_text())["predictions"]
    return [int(line) for line in (folder / "y.csv").read_text().split()[1:]] == theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    python = (asked.environment / "bin" / "python").absolute()
    missed = False
    with tempfile.TemporaryDirectory(prefix="bis-scoring-") as name:
        folder, home = Path(name, "project"), Path(name, "home")
        folder.mkdir()
        home.mkdir()
        subprocess.run([python, "-c", MAKE], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        for rows in asked.rows:
            subprocess.run([python, "-c", ROWS, str(rows), json.dumps(NAMES)], cwd=folder, check=True)
            for model in ("sklearn", "xgboost"):
                missed |= compare(folder, home, python, model, rows, asked.rounds)
    return 1 if missed and asked.check else 0


def compare(folder: Path, home: Path, python: Path, model: str, rows: int, rounds: int) -> bool:
    named = contenders(folder, python, model, rows)
    found: dict[str, list[Cost]] = {each: [] for each in named}
    for _ in range(rounds):
        for each, words in named.items():
            found[each].append(cost(words, folder, home))
            if each.startswith("program") and not same(folder):
                raise SystemExit(f"{model}: {each} answers otherwise than mlflow")
    print(f"{model}, {rows:,} rows, load {os.getloadavg()[0]:.1f}")
    ratios = []
    for each, costs in found.items():
        wall, cpu = (statistics.median(getattr(one, field) for one in costs) for field in Cost._fields)
        base = found["mlflow, json" if "json" in each else "mlflow, csv"]
        times = statistics.median(one.cpu for one in base) / cpu
        print(f"  {each:18} {rows / wall:>12,.0f} rows/s  {cpu:6.2f} s of CPU  {times:5.1f} times")
        if each in ("program, csv", "program, jsonl"):
            ratios.append(times)
    print(f"  {TARGET:.0f} times MLflow, by CPU: {'met' if min(ratios) >= TARGET else 'missed'}")
    return min(ratios) < TARGET


if __name__ == "__main__":
    sys.exit(main())
