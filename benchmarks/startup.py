"""What it costs to type `bis`: `--version` and `--help` against `python -c pass`.

    .venv/bin/python benchmarks/startup.py [--rounds 40] [--check] [--json]

`--check` exits 1 when a target is missed: `--version` at most 3 times, `--help` at most 8 times the bare start.
"""

import argparse
import json
import sys
from pathlib import Path

from measure import Command, interleave, load, median

TARGETS = {"bis --version": 3.0, "bis --help": 8.0}
BARE = "python -c pass"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bis = str(Path(sys.executable).with_name("bis"))
    commands = {
        BARE: Command([sys.executable, "-c", "pass"]),
        "bis --version": Command([bis, "--version"]),
        "bis --help": Command([bis, "--help"]),
    }
    interleave(commands, 2)
    costs = interleave(commands, options.rounds)
    ratios = {name: median(costs[name], "cpu") / median(costs[BARE], "cpu") for name in TARGETS}
    if options.json:
        print(json.dumps({"schema": "bis.bench.startup/1", "ratios": ratios, "rounds": options.rounds}))
    else:
        print(f"start-up, median of {options.rounds}, interleaved ({load()})")
        for name in commands:
            wall, cpu = (1000 * median(costs[name], what) for what in ("seconds", "cpu"))
            aim = f"  x{ratios[name]:.1f} (target x{TARGETS[name]:.0f})" if name in TARGETS else ""
            print(f"  {name:16} {wall:6.1f} ms  {cpu:6.1f} ms CPU{aim}")
    return int(options.check and any(ratios[name] > TARGETS[name] for name in TARGETS))


if __name__ == "__main__":
    sys.exit(main())
