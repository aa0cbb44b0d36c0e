"""What benchmarks share: run commands in turn, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LOOK = 0.02
"""Seconds between two looks at how much memory a process tree takes."""


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
    peak: int = 0
    """Bytes of memory that the process and all below it took at once, as far as was looked; 0: not looked."""


class Failed(Exception):
    """A command that ended with an error, or not in time."""


def once(command: Command) -> Cost:
    """Run a command to its end. Raises when it fails."""
    try:
        return _run(command, None, None)
    except Failed as error:
        raise SystemExit(str(error)) from None


def watched(command: Command, limit: float) -> tuple[Cost, bytes]:
    """As `once`, with its peak memory, and what it printed. Raises Failed, also after `limit` seconds."""
    printed: list[bytes] = []
    return _run(command, printed, limit), printed[0]


def _run(command: Command, printed: list[bytes] | None, limit: float | None) -> Cost:
    # Compiled modules are kept, as on a machine where somebody works.
    variables = {**(os.environ if command.variables is None else command.variables)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    before, cpu, start = _read_by_children(), _cpu_of_children(), time.perf_counter()
    child = subprocess.Popen(
        command.argv,
        cwd=command.folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    watch = _Watch(child.pid) if printed is not None else None
    try:
        output, errors = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise Failed(f"{' '.join(map(str, command.argv))} did not end within {limit:.0f} s") from None
    finally:
        peak = watch.end() if watch else 0
    seconds = time.perf_counter() - start
    if child.returncode:
        told = (errors or output).decode(errors="replace").strip()[-600:]
        raise Failed(f"{' '.join(map(str, command.argv))} failed with {child.returncode}:\n{told}")
    if printed is not None:
        printed.append(output)
    return Cost(seconds, _cpu_of_children() - cpu, _read_by_children() - before, peak)


class _Watch:
    """Looks at the memory of a process tree while it runs: the sum over its processes, and the peak of each alone."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak, self.over = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def end(self) -> int:
        self.over.set()
        self.thread.join()
        return self.peak

    def _look(self) -> None:
        while not self.over.wait(LOOK):
            found = [_memory(pid) for pid in _tree(self.pid)]
            self.peak = max(self.peak, sum(now for now, _ in found), *(most for _, most in found), 0)


def _tree(pid: int) -> list[int]:
    """A process and all below it that live."""
    found = [pid]
    for one in found:
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
            children = [(thread / "children").read_text() for thread in threads]
        except OSError:
            continue
        found += [int(child) for line in children for child in line.split()]
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, now and at most."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    values = dict(line.split(":", 1) for line in text.splitlines() if line.startswith(("VmRSS", "VmHWM")))
    now, most = (int(values.get(name, "0 kB").split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


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
