"""What it costs to be traced: many small openings, the worst there is, and the imports of a training.

    .venv/bin/python benchmarks/tracing.py [--rounds 7] [--python .venv-training/bin/python]

The same command runs bare, supervised without a trace, and traced, in turn. Printed are the smallest of all rounds, as
what else the machine does only adds: seconds by the clock, and processor time of the command and of the tracer.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from measure import Command, load, once

from bis.steps.execute import execute, prepare

ROOT = Path(__file__).resolve().parent.parent
FILES = 20_000
OPENINGS = f"for n in range({FILES}):\n    with open(f'many/{{n}}', 'rb') as file: file.read()"
IMPORTS = "import sklearn.ensemble, pandas"


def supervised(argv: list[str], folder: Path, mode: str) -> tuple[float, float, float, int]:
    """Seconds, processor time of the command and of the tracer, and how many openings were seen."""
    with tempfile.TemporaryDirectory() as scratch:
        tracer = prepare(mode)
        assert tracer.facts
        start = time.perf_counter()
        ran = execute(argv, folder=folder, variables=dict(os.environ), scratch=Path(scratch), quiet=True, tracer=tracer)
        seconds = time.perf_counter() - start
        assert ran.exit == 0, ran.stderr.read_text()
        last = (Path(scratch) / "trace").read_bytes().rpartition(b"E ")[2].rstrip(b"\0")
        end = json.loads(last)
    return seconds, ran.usage.cpu_seconds, end["cpu"], end["answered"]


def compare(name: str, argv: list[str], folder: Path, rounds: int) -> None:
    bare, off, traced = [], [], []
    for _ in range(rounds):
        bare.append(once(Command(argv, folder)))
        off.append(supervised(argv, folder, "off"))
        traced.append(supervised(argv, folder, "notify"))
    print(f"{name}: {traced[0][3]} openings")
    print(f"  bare      {min(cost.seconds for cost in bare):6.3f} s, cpu {min(cost.cpu for cost in bare):6.3f} s")
    for label, costs in (("untraced", off), ("traced", traced)):
        seconds, cpu, tracer = (min(cost[place] for cost in costs) for place in range(3))
        print(f"  {label:9} {seconds:6.3f} s, cpu {cpu:6.3f} s, tracer {tracer:6.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--python", default=str(ROOT / ".venv-training" / "bin" / "python"))
    options = parser.parse_args()
    print(load())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many").mkdir()
        for number in range(FILES):
            (folder / "many" / str(number)).write_text("x")
        compare("20,000 small files", [sys.executable, "-I", "-S", "-c", OPENINGS], folder, options.rounds)
        compare("imports", [options.python, "-c", IMPORTS], folder, options.rounds)


if __name__ == "__main__":
    main()
