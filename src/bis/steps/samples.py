"""Samples: what a command and all it started use of the machine, once a second.

A thread of its own, so that neither waits for a terminal that was stopped or for a slow pipe.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

FIRST = 0.1
EVERY = 1.0
GPU_EVERY = 10.0
COLUMNS = "seconds,processes,cpu_seconds,rss_bytes,read_bytes,written_bytes,gpu_percent,gpu_bytes"
PR_SET_CHILD_SUBREAPER = 36


class Sampler(threading.Thread):
    """Samples the tree below `tracer` (without itself and without `without`) into `file`."""

    def __init__(self, tracer: int, file: Path, without: int = 0) -> None:
        super().__init__(name="bis-samples", daemon=True)
        self.peak_bytes = 0
        self.cpu_seconds = 0.0
        self._tracer = tracer
        self._without = without
        self._file = file
        self._over = threading.Event()
        self._latest: dict[tuple[int, int], _Use] = {}
        """Of each process that lives, by its pid and its start."""
        self._ended = _Use(0.0, 0, 0, 0, 0)
        """Of all that have ended, what they had used when they were last seen."""
        self._gpu = _Gpu()

    def run(self) -> None:
        adopt_orphans(True)
        began = time.monotonic()
        with contextlib.suppress(OSError), self._file.open("w") as file:
            file.write(COLUMNS + "\n")
            wait = FIRST
            while not self._over.wait(wait):
                seconds = time.monotonic() - began
                file.write(self._sample(seconds) + "\n")
                file.flush()
                wait = max(0.05, EVERY - (time.monotonic() - began) % EVERY)

    def stop(self) -> None:
        self._over.set()
        self.join(5)
        self._gpu.close()
        adopt_orphans(False)

    def _sample(self, seconds: float) -> str:
        living = {(pid, use.start): use for pid in tree(self._tracer) if pid != self._without and (use := _use(pid))}
        for pid, start in [*self._latest]:
            if (pid, start) not in living and started_at(pid) != start:
                self._ended.add(self._latest.pop((pid, start)))
        self._latest.update(living)
        used = [self._ended, *self._latest.values()]
        rss = sum(use.rss for use in living.values())
        self.peak_bytes = max(self.peak_bytes, rss)
        self.cpu_seconds = sum(use.cpu for use in used)
        read = sum(use.read for use in used)
        written = sum(use.written for use in used)
        gpu = self._gpu.latest(seconds)
        return f"{seconds:.3f},{len(living)},{self.cpu_seconds:.2f},{rss},{read},{written},{gpu}"


def started_at(pid: int) -> int:
    """When a process started, in ticks of the kernel's clock; 0 when that cannot be known. With the pid it names a
    process for good, as pids come back."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def adopt_orphans(wanted: bool) -> None:
    """Whether children whose parent died come to this process: it learns the end of the command even if the tracer
    is killed."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


class _Use:
    __slots__ = ("cpu", "read", "rss", "start", "written")

    def __init__(self, cpu: float, rss: int, read: int, written: int, start: int) -> None:
        self.cpu, self.rss, self.read, self.written, self.start = cpu, rss, read, written, start

    def add(self, other: _Use) -> None:
        self.cpu, self.read, self.written = self.cpu + other.cpu, self.read + other.read, self.written + other.written


TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def _use(pid: int) -> _Use | None:
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        cpu, rss, start = (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE, int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
    read = written = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        counters = _read(f"/proc/{pid}/io").split()
        read, written = int(counters[9]), int(counters[11])
    return _Use(cpu, rss, read, written, start)


def tree(root: int) -> Iterator[int]:
    """The processes below `root`, without itself."""
    ahead = [root]
    while ahead:
        pid = ahead.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (names alone, once a second)
        except OSError:
            continue
        for thread in threads:
            with contextlib.suppress(OSError):
                below = [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
                yield from below
                ahead += below


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 14)
    finally:
        os.close(descriptor)


def _found(program: str) -> str | None:
    import shutil  # most machines have no such device, and a command waits for what is imported above

    return shutil.which(program)


class _Gpu:
    """The first answers of `nvidia-smi`, asked seldom, and never waited for."""

    QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")

    def __init__(self) -> None:
        self._tool = _found("nvidia-smi") if Path("/dev/nvidiactl").exists() else None
        self._asked = -GPU_EVERY
        self._asking: object = None
        self._latest = ","

    def latest(self, seconds: float) -> str:
        """`percent,bytes` as last heard: the mean use and the sum of the memory of all cards."""
        if self._tool is None:
            return self._latest
        import subprocess

        if isinstance(self._asking, subprocess.Popen):
            if self._asking.poll() is None:
                return self._latest
            self._latest = self._read(self._asking.communicate()[0].decode("utf-8", "replace"))
            self._asking = None
        elif seconds - self._asked >= GPU_EVERY:
            self._asked = seconds
            with contextlib.suppress(OSError):
                self._asking = subprocess.Popen(
                    [self._tool, *self.QUERY],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
        return self._latest

    def _read(self, text: str) -> str:
        try:
            cards = [tuple(map(float, line.split(","))) for line in text.splitlines() if line.strip()]
            return f"{sum(card[0] for card in cards) / len(cards):.0f},{int(sum(card[1] for card in cards)) << 20}"
        except (ValueError, IndexError, ZeroDivisionError):
            return self._latest

    def close(self) -> None:
        import subprocess

        if isinstance(self._asking, subprocess.Popen):
            self._asking.kill()
            self._asking.communicate()
