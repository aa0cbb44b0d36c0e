"""What benchmarks share: run commands in turn, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Command(NamedTuple):
    """What to run, and where."""

    argv: Sequence[str]
    folder: Path | None = None
    variables: Mapping[str, str] | None = None


class Cost(NamedTuple):
    """What one execution took, children included."""

    seconds: float
    cpu: float
    read: int
    """Bytes read through read(2) and its like, from the page cache too."""


def once(command: Command) -> Cost:
    """Run a command to its end. Raises when it fails."""
    # Compiled modules are kept, as on a machine where somebody works.
    variables = {**(os.environ if command.variables is None else command.variables)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    before, cpu, start = _read_by_children(), _cpu_of_children(), time.perf_counter()
    done = subprocess.run(
        command.argv, cwd=command.folder, env=variables, capture_output=True, stdin=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command.argv)} failed with {done.returncode}:\n{done.stderr.decode()}")
    return Cost(seconds, _cpu_of_children() - cpu, _read_by_children() - before)


def interleave(
    commands: Mapping[str, Command], rounds: int, before_each: Callable[[str], None] = lambda name: None
) -> dict[str, list[Cost]]:
    """Each command once per round, the order turned around every other round."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(rounds):
        names = list(commands) if number % 2 == 0 else list(reversed(commands))
        for name in names:
            before_each(name)
            costs[name].append(once(commands[name]))
    return costs


def median(costs: Sequence[Cost], what: str) -> float:
    return statistics.median(getattr(cost, what) for cost in costs)


def load() -> str:
    """The state of the machine, for the reader of a figure."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read_by_children() -> int:
    """Linux counts here what this process and all children that have ended have read; elsewhere always 0."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return int(lines[0].removeprefix("rchar: "))
