"""Chance: give a run its seeds, and say what became of them.

What nobody seeded is seeded from one number per run, by code that runs inside the user's interpreters
(`bis/inside/hook`): this module prepares their environment and reads back what they wrote.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from blake3 import blake3

from bis.digest import readable
from bis.errors import counted
from bis.nouns.part import Finding
from bis.nouns.run import Chance
from bis.nouns.trace import Process, Trace
from bis.parts import Report

HOOK = Path(__file__).resolve().parent.parent / "inside" / "hook"
"""The folder that goes first on PYTHONPATH of the command."""

DETERMINISTIC = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_CUDNN_DETERMINISTIC": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""What `--deterministic` sets, unless the user has set it to something else."""

HASH_SEEDS = 1 << 32


def draw(
    existing: Mapping[str, str], *, seed: int | None = None, enabled: bool = True, deterministic: bool = False
) -> Chance:
    """The chance of a new run: a fresh seed, or the one given; none with `enabled` false (`--no-seed`).

    A PYTHONHASHSEED that the user has set (in `existing`, the environment) is theirs and is kept.
    """
    if enabled or seed is not None:
        number = _fresh() if seed is None else seed
        drawn = Chance(seed=number, given=seed is not None, hash_seed=_hash_seed(number), deterministic=deterministic)
    else:
        drawn = Chance(deterministic=deterministic)
    chosen = existing.get("PYTHONHASHSEED")
    if chosen:
        own = int(chosen) if chosen.isdecimal() else None
        return _with(drawn, hash_seed=own, own=("PYTHONHASHSEED",))
    return drawn


def _fresh() -> int:
    """Drawn by the system; inside a run (a nested `bis run`) derived from that one's seed, so that it repeats too."""
    around = sys.modules.get("_bis_core")
    if around is not None and around.SEED:
        return int(around.derive("bis run", "", 64)) >> 1
    return int.from_bytes(os.urandom(8), "big") >> 1


def again(chance: Chance) -> Chance:
    """The chance of a repeat: the same seeds, nothing seen yet."""
    return _with(chance, streams={}, own=tuple(name for name in chance.own if name == "PYTHONHASHSEED"), entropy=())


def _with(chance: Chance, **changes: Any) -> Chance:
    fields = {name: getattr(chance, name) for name in Chance.__struct_fields__}
    return Chance(**{**fields, **changes})


def _hash_seed(seed: int) -> int:
    return int.from_bytes(blake3(f"hash|{seed}".encode()).digest(length=8), "big") % HASH_SEEDS


def variables(
    chance: Chance, inside: Path, existing: Mapping[str, str], events: bool, hook: Path = HOOK
) -> dict[str, str]:
    """What to add to the command's environment. `inside` is a folder of this run alone, where each interpreter will
    write; `events`: they also report the files that they open, for want of a tracer; `hook`: where the hook lies as
    the command sees it."""
    (inside / "claims").mkdir(parents=True, exist_ok=True)
    theirs = existing.get("PYTHONPATH", "")
    entries = [entry for entry in theirs.split(":") if entry != str(HOOK)] if theirs else []
    added = {"PYTHONPATH": ":".join([str(hook), *entries]), "BIS_INSIDE": str(inside)}
    if chance.seed is not None:
        added |= {"BIS_SEED": str(chance.seed), "BIS_KEY": "r"}
    if chance.hash_seed is not None:
        added["PYTHONHASHSEED"] = str(chance.hash_seed)
    if events:
        added["BIS_EVENTS"] = "1"
    if chance.deterministic:
        added["BIS_DETERMINISTIC"] = "1"
        added |= {name: value for name, value in DETERMINISTIC.items() if not existing.get(name)}
    return added


def copy_hook(into: Path) -> Path:
    """Copy the hook to where a command sees it that does not see the environment of bis; returns the folder."""
    import shutil

    return Path(shutil.copytree(HOOK, into, ignore=shutil.ignore_patterns("__pycache__")))


# ------------------------------------------------------------------ what the interpreters said


def observe(inside: Path) -> tuple[Report, ...]:
    """What each interpreter of the run said of itself, in the order in which they started. A last line that was cut
    off by a kill is left out."""
    started = []
    for path in inside.glob("*.said"):
        lines = _lines(path)
        if lines and lines[0].get("e") == "start":
            started.append((float(lines[0].get("t") or 0), path.name, _report(lines)))
    return tuple(report for _, _, report in sorted(started, key=lambda item: item[:2]))


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_bytes().split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _report(lines: list[dict[str, Any]]) -> Report:
    start, *rest = lines
    return Report(
        pid=int(start["pid"]),
        executable=str(start.get("exe") or ""),
        prefix=str(start.get("prefix") or ""),
        base_prefix=str(start.get("base") or ""),
        version=str(start.get("version") or ""),
        path=tuple(start.get("path") or ()),
        argv=tuple(start.get("argv") or ()),
        facts=_facts(start, rest),
    )


def _facts(start: dict[str, Any], rest: list[dict[str, Any]]) -> dict[str, Any]:
    """The lines of one process, merged: the newest facts, and lists of what happened more than once."""
    facts: dict[str, Any] = {"parent": start.get("ppid", 0), "implementation": start.get("impl", "")}
    facts |= {name: start[key] for name, key in (("key", "k"), ("hash_seed", "hash")) if start.get(key)}
    facts |= {name: start[name] for name in ("fork", "unseeded") if start.get(name)}
    for line in rest:
        match line.get("e"):
            case "facts":
                facts |= {name: value for name, value in line.items() if name != "e"}
            case "streams":
                facts["streams"] = line["n"]
            case "own" | "entropy" | "trouble" as kind:
                facts.setdefault(kind, []).append(line["w"])
            case "connect":
                facts.setdefault("connections", []).append(line["a"])
            case "name":
                facts.setdefault("names", []).append(line["h"])
            case "exec":
                facts.setdefault("started", []).append({"executable": line["p"], "argv": line["argv"]})
            case "mute":
                facts.setdefault("mute", []).append({"executable": line["p"], "argv": line["argv"]})
            case "worker":
                facts["worker"] = {name: value for name, value in line.items() if name != "e"}
            case "nested":
                facts.setdefault("nested", []).append(line["pid"])
            case "race":
                facts["race"] = line["label"]
    return facts


# ------------------------------------------------------------------ what follows from it


def seen(chance: Chance, reports: tuple[Report, ...], trace: Trace | None) -> tuple[Chance, tuple[Finding, ...]]:
    """The chance with what was seen of it, and what its reader should know."""
    streams: dict[str, int] = {}
    for report in reports:
        for name, count in _used(report).items():
            streams[name] = streams.get(name, 0) + count
    own = dict.fromkeys(chance.own) | dict.fromkeys(_all(reports, "own"))
    entropy = tuple(dict.fromkeys([*_all(reports, "entropy"), *_devices(trace)]))
    full = _with(chance, streams=dict(sorted(streams.items())), own=tuple(own), entropy=entropy)
    findings = [
        *_unseeded(chance, reports, trace),
        *_entropy(entropy),
        *_workers(reports),
        *_races(reports),
        *_trouble(reports),
    ]
    return full, tuple(findings)


GLOBAL = {"random", "numpy", "torch"}
"""Streams that are given on import, and often never drawn from."""


def _used(report: Report) -> dict[str, int]:
    """The streams of one process that mattered; all, when it did not live to tell."""
    streams: dict[str, int] = {name: int(count) for name, count in report.facts.get("streams", {}).items()}
    if not report.facts.get("end"):
        return streams
    idle = GLOBAL - set(report.facts.get("drawn", ()))
    return {name: count for name, count in streams.items() if name not in idle}


DEVICES = frozenset({"/dev/random", "/dev/urandom", "/dev/hwrng"})


def _devices(trace: Trace | None) -> list[str]:
    """Devices of randomness that were opened like files: by a shell, by a program of C, by `open` in Python."""
    return [access.path for access in trace.accesses if access.path in DEVICES and access.was_read] if trace else []


def _all(reports: tuple[Report, ...], name: str) -> list[str]:
    return [str(item) for report in reports for item in report.facts.get(name, ())]


def _some(items: list[str], most: int = 5) -> str:
    shown = ", ".join(readable(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def _unseeded(chance: Chance, reports: tuple[Report, ...], trace: Trace | None) -> list[Finding]:
    """Interpreters that the hook could not speak for."""
    if chance.seed is None:
        return []
    mute = [_command(item["argv"]) for report in reports for item in report.facts.get("mute", ())]
    silent = [_command(process.argv) for process in _silent(reports, trace)]
    old = [f"{report.executable} ({report.version})" for report in reports if report.facts.get("unseeded")]
    hints = {
        "": "Start it without -I, -S and -E and with the variables of its parent, or seed it in its own code.",
        ", being older than 3.8": "Seed it in its own code.",
    }
    return [
        Finding(
            code="unseeded-interpreter",
            text=f"{counted(len(commands), 'Python process', 'Python processes')} could be neither seeded nor watched "
            f"from the inside{why}: {_some(commands, 3)}.",
            hint=hint,
        )
        for (why, hint), commands in zip(hints.items(), (_once([*mute, *silent]), _once(old)), strict=True)
        if commands
    ]


def _once(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _silent(reports: tuple[Report, ...], trace: Trace | None) -> list[Process]:
    """Processes that are Python by their program and left no report, those of a nested `bis run` aside."""
    if trace is None:
        return []
    aside = {report.pid for report in reports}
    nested = {int(pid) for report in reports for pid in report.facts.get("nested", ())}
    for process in trace.processes:  # parents come before their children
        if process.parent in nested:
            nested.add(process.pid)
    return [process for process in trace.processes if is_python(process) and process.pid not in aside | nested]


NO_PROGRAM = {"-V", "-VV", "--version", "-h", "-?", "--help", "--help-all", "--help-env", "--help-xoptions"}


def is_python(process: Process) -> bool:
    """Whether a process ran a program in Python: not one that only asked for the version."""
    name = PurePath(process.executable).name
    if not name.startswith(("python", "pypy")) or name.endswith("-config"):
        return False
    return not NO_PROGRAM.intersection(process.argv[1:2])


def _command(argv: Any) -> str:
    text = " ".join(str(word) for word in argv)
    return text if len(text) <= 80 else text[:77] + "..."


def _entropy(entropy: tuple[str, ...]) -> list[Finding]:
    if not entropy:
        return []
    return [
        Finding(
            code="os-randomness",
            text=f"The run read randomness of the operating system, which no seed gives again: {_some(list(entropy))}.",
            hint="What it names or decides may be another in a repeat.",
        )
    ]


def _workers(reports: tuple[Report, ...]) -> list[Finding]:
    drew = [report for report in reports if report.facts.get("worker", {}).get("drew")]
    if not drew:
        return []
    names = sorted({name for report in drew for name in report.facts["worker"]["drew"]})
    return [
        Finding(
            code="worker-order",
            text=f"{counted(len(drew), 'worker')} of a process pool drew from generators that were seeded "
            f"per worker ({', '.join(names)}). Which task runs on which worker is up to the scheduler, so a repeat may "
            "deal these numbers differently.",
            hint="Seed each task by its own number, not by the worker it runs on.",
        )
    ]


def _races(reports: tuple[Report, ...]) -> list[Finding]:
    labels = sorted({str(report.facts["race"]) for report in reports if report.facts.get("race")})
    if not labels:
        return []
    return [
        Finding(
            code="parallel-start",
            text=f"Several processes of {_some(labels)} were started at the same time by a program that is not Python. "
            "Which of them gets which seed depends on which starts first.",
            hint="Give each of them a seed of its own.",
        )
    ]


def _trouble(reports: tuple[Report, ...]) -> list[Finding]:
    lines = list(dict.fromkeys(_all(reports, "trouble")))
    if not lines:
        return []
    return [Finding(code="hook-trouble", text=f"The hook inside the interpreters failed in part: {_some(lines)}.")]
