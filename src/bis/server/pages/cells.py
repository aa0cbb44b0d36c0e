"""What stands in a cell of the table of runs: of each column the facts, and how a person reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec

from bis.digest import readable, short
from bis.steps.listing import PARTS, telling_length
from bis.text import duration, moment, number, numbers

VALUES: Final = ("metrics", "params", "tags")
"""Kinds of facts that have names of their own."""

Kind = Literal["run", "verdict", "status", "time", "took", "digest", "number", "param", "text"]
KINDS: Final[dict[str, Kind]] = {
    "name": "run",
    "id": "text",
    "verdict": "verdict",
    "status": "status",
    "started": "time",
    "ended": "time",
    "took": "took",
    "exit": "number",
    **dict.fromkeys(PARTS, "digest"),
    **dict.fromkeys(("note", "command", "folder", "user", "host", "experiment"), "text"),
    "repeats": "digest",
}
"""The columns that every run has. All of them are ones that runs can be ordered by."""


class Column(msgspec.Struct, kw_only=True):
    name: str
    title: str
    kind: Kind
    order: str
    """Its name in `sort`."""
    sorted: Literal["", "ascending", "descending"] = ""


class Cell(NamedTuple):
    kind: Kind
    text: str
    title: str = ""
    differs: bool = False
    """Whether it is a part that the baseline has otherwise."""


def cell(run: dict[str, Any], name: str) -> Any:
    """What a run has in a column; None where it has nothing."""
    entity, _, key = name.partition(".")
    if entity in VALUES and key:
        return run[entity].get(key)
    if name in PARTS:
        return run["parts"][name]["digest"] if name in run["parts"] else None
    if name == "took":
        return run["seconds"]
    if name == "command":
        return " ".join(run["command"]) or None
    return run[name] if run[name] != "" else None


def shown(runs: Sequence[dict[str, Any]], column: Column, base: dict[str, Any] | None, now: datetime) -> list[Cell]:
    kind, name = column.kind, column.name
    values = [cell(run, name) for run in runs]
    match kind:
        case "number":
            exact = [None if value is None else float(value) for value in values]
            pinned = cell(base, name) if base else None
            return [
                Cell(kind, few, _number_title(value, None if run is base else pinned))
                for run, few, value in zip(runs, numbers(exact), exact, strict=True)
            ]
        case "digest" if name in PARTS:
            length = telling_length(value for value in values if value)
            than = cell(base, name) if base else None
            return [
                Cell(
                    kind, short(value or "", length), _part(run, name), bool(base) and run is not base and value != than
                )
                for run, value in zip(runs, values, strict=True)
            ]
        case "digest":
            return [Cell(kind, short(value or "", 8), value or "") for value in values]
        case "took":
            return [Cell(kind, *_took(run, now)) for run in runs]
        case "status":
            return [Cell(kind, *_status(run)) for run in runs]
    return [Cell(kind, readable(str(value)) if value is not None else "", "") for value in values]


def _number_title(value: float | None, than: float | None) -> str:
    """All digits, and how much more it is than that of the baseline, where both are numbers."""
    apart = math.nan if value is None or than is None else value - float(than)
    return number(value) + (f", {apart:+.6g} from the baseline" if math.isfinite(apart) else "")


def _part(run: dict[str, Any], kind: str) -> str:
    part = run["parts"].get(kind)
    return f"{part['digest']} {readable(part['summary'])}".strip() if part else ""


def _took(run: dict[str, Any], now: datetime) -> tuple[str, str]:
    if run["seconds"] is not None:
        return duration(run["seconds"]), f"{run['seconds']:.3f} seconds"
    if run["status"] != "running":
        return "", ""
    begun = moment(run["started"])
    return f"{duration(max(0.0, (now - begun).total_seconds()))} so far" if begun else "", "it is under way"


def _status(run: dict[str, Any]) -> tuple[str, str]:
    """With what is worth saying of how it went; how far it is, where it says so."""
    word = run["status"]
    if word == "running" and run["progress"]:
        done, of = run["progress"]
        return (f"running, {number(done)} of {number(of)}" if of else f"running, step {number(done)}"), ""
    if run["signal"] is not None:
        return f"{word} by signal {run['signal']}", ""
    if run["exit"]:
        return f"{word}, exit {run['exit']}", ""
    return word, ""
