"""Execute: run a command under supervision, and leave a truthful account of it whatever happens.

Three things go on at once: the tracer (`steps/trace.py`, a process) is the command's parent and records what is
opened; this process moves the output and passes signals on (`steps/supervise.py`); a thread takes samples
(`steps/samples.py`). If this process is killed, the command goes on, and `recover` reads what was left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import spell, unspell
from bis.nouns.run import Usage
from bis.nouns.trace import Trace
from bis.steps import trace as traces
from bis.steps.feed import Fed
from bis.steps.supervise import FILES, LINES, SAMPLES, Stdin, Supervision
from bis.steps.terminal import Screen
from bis.steps.trace import Tracer

ORDER, END = "order", "end"


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a command, as it went."""

    started: str
    ended: str
    seconds: float
    exit: int | None
    """None when a signal ended it, or when nobody is left who could know."""
    signal: int | None
    trace: Trace
    usage: Usage
    samples_csv: Path | None
    stdout: Path
    """Raw bytes as produced. On a terminal both outputs are one, and `stderr` is empty."""
    stderr: Path
    lines: Path
    """When output came: a line `TIME_NS LETTER OFFSET` for each chunk, letter `o` or `e`."""
    interrupted: bool
    failure: str
    """What bis could not do or could not learn; empty when all is known."""
    screen: Screen = Screen()
    """Which streams were terminals, for a repeat that gives the same."""
    fed: Fed | None = None
    """What it read of a standard input that is a pipe."""
    keys_typed: int = 0
    """Bytes that a person typed at its terminal."""
    left: tuple[str, ...] = ()
    """Processes that went on after the command ended: `name (pid)`."""


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is known at the start: written down for whoever comes after a supervisor that was killed."""

    started_ns: int
    mode: str
    facts: dict[str, Any]
    screen: Screen
    roots: tuple[str, ...]
    inside: str


def prepare(tracing: str = "auto") -> Tracer:
    """Start what will be the command's parent, so that its start overlaps with other work."""
    return traces.start(tracing)


def execute(
    command: Sequence[str],
    *,
    folder: Path,
    variables: dict[str, str],
    scratch: Path,
    tracing: str = "auto",
    roots: tuple[Path, ...] = (),
    unkept: tuple[str, ...] = (),
    preimage_limit: int = 256 << 20,
    wrapper: tuple[str, ...] = (),
    on_start: Callable[[int], None] | None = None,
    quiet: bool = False,
    screen: Screen | None = None,
    stdin: Stdin = Stdin(),  # noqa: B008 - a frozen value
    tracer: Tracer | None = None,
) -> Execution:
    """Run a command to its end.

    `roots`: folders below which absences are recorded. What files held before they are overwritten is kept there and
    everywhere else, but for the folders `unkept`. `wrapper`: a command that ends by
    executing the given one, and is not part of the trace. `quiet`: nothing of the output is passed on. `screen`: give
    the command terminals as it says, instead of what bis itself has. `stdin`: likewise, a file, or a pipe that is kept.
    `tracer`: one from `prepare`; it is used up.
    Raises UsageError or NotFound when the command could not be started at all; nothing is left behind then.
    """
    with tracer or prepare(tracing) as ours:
        scratch.mkdir(parents=True, exist_ok=True)
        prefix = (*_strace(ours, scratch), *wrapper)
        supervision = Supervision(ours, scratch, quiet, screen, stdin)
        order = _Order(
            started_ns=time.time_ns(),
            mode=ours.mode,
            facts=ours.facts,
            screen=supervision.screen,
            roots=tuple(spell(os.path.realpath(root)) for root in roots),
            inside=spell(variables.get("BIS_INSIDE", "")),
        )
        (scratch / ORDER).write_bytes(msgspec.json.encode(order))
        watch = {
            "scratch": str(scratch),
            "roots": [unspell(root) for root in order.roots],
            "unkept": list(unkept),
            "preimage_limit": preimage_limit,
            "command": list(command) if prefix else None,
        }
        try:
            supervision.run([*prefix, *command], folder, variables, watch, on_start)
        finally:
            supervision.close()
        return _account_of(supervision, order)


def _strace(tracer: Tracer, scratch: Path) -> tuple[str, ...]:
    if tracer.mode != "full":
        return ()
    from bis.steps import strace

    return strace.prefix(scratch, alone=tracer.facts.get("mechanism") != "notify")


def _account_of(supervision: Supervision, order: _Order) -> Execution:
    ended = supervision.done or supervision.ended
    assert ended is not None
    lost = "" if supervision.done else "the tracer ended early: what was opened after that is not known"
    if not supervision.done and (words := traces.last_words(supervision.scratch)):
        supervision.failures.append(f"the tracer failed: {words}")
    peak, cpu = 0, 0.0
    if supervision.sampler is not None:
        peak, cpu = supervision.sampler.peak_bytes, supervision.sampler.cpu_seconds
    account = _account(
        supervision.scratch,
        order,
        ended,
        _usage(ended, order, peak, cpu),
        interrupted=supervision.interrupted,
        failure="; ".join(supervision.failures),
        lost=lost,
    )
    return msgspec.structs.replace(account, fed=supervision.fed, keys_typed=supervision.keys_typed)


def _usage(ended: dict[str, Any], order: _Order, peak: int, cpu: float) -> Usage:
    """The kernel's figures for all that was waited for; the samples' for what was not."""
    return Usage(
        seconds=max(0.0, (ended["time_ns"] - order.started_ns) / 1e9),
        cpu_seconds=max(float(ended.get("cpu", 0.0)), cpu),
        peak_bytes=max(int(ended.get("peak", 0)), peak),
        read_bytes=int(ended.get("read", 0)),
        written_bytes=int(ended.get("written", 0)),
    )


def _account(
    scratch: Path, order: _Order, ended: dict[str, Any], usage: Usage, *, interrupted: bool, failure: str, lost: str
) -> Execution:
    samples = scratch / SAMPLES
    trace = traces.finish(
        scratch,
        order.facts,
        mode=order.mode,
        since_ns=order.started_ns,
        roots=tuple(Path(unspell(root)) for root in order.roots),
        events=Path(unspell(order.inside)) if order.inside else None,
        lost=lost,
    )
    return Execution(
        started=_written_out(order.started_ns),
        ended=_written_out(ended["time_ns"]),
        seconds=usage.seconds,
        exit=ended["exit"],
        signal=ended["signal"],
        trace=trace,
        usage=usage,
        samples_csv=samples if samples.exists() else None,
        stdout=scratch / FILES["o"],
        stderr=scratch / FILES["e"],
        lines=scratch / LINES,
        interrupted=interrupted,
        failure=failure,
        screen=order.screen,
        left=tuple(f"{spell(name)} ({pid})" for pid, name in ended.get("left", ())),
    )


def _written_out(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def recover(scratch: Path) -> Execution | None:
    """The account of a command whose supervisor was killed. None while it still runs, and where none was started."""
    try:
        order = msgspec.json.decode((scratch / ORDER).read_bytes(), type=_Order)
    except (OSError, msgspec.DecodeError):
        return None
    if traces.is_watched(scratch):
        return None
    failure = "bis was killed while the command ran"
    try:
        ended = msgspec.json.decode((scratch / END).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        failure += "; how the command ended is not known, as its tracer was killed too"
        ended = {"exit": None, "signal": None, "time_ns": _last_sign(scratch, order.started_ns)}
    for name in (*FILES.values(), LINES):
        (scratch / name).touch()
    usage = _usage(ended, order, 0, 0.0)
    return _account(scratch, order, ended, usage, interrupted=False, failure=failure, lost="")


def _last_sign(scratch: Path, started_ns: int) -> int:
    """When something was written last."""
    files = [scratch / name for name in (*FILES.values(), traces.FILE)]
    return max([started_ns, *(file.stat().st_mtime_ns for file in files if file.exists())])
