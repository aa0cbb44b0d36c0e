"""What a model is, in rows for a person: of the summary that its flavor told, or that was read from its file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bis.digest import readable
from bis.text import size

APART: Final = ("kind", "hyperparameters", "steps")
"""What stands elsewhere: in the words of the model, in a list of its own, in its architecture."""
LONGEST: Final = 300
Rows = list[tuple[str, str]]


def about(summary: Mapping[str, Any]) -> Rows:
    """How it is built and how large it is."""
    kept = {key: value for key, value in summary.items() if key not in APART and value not in ("", None)}
    return [(key.replace("_", " "), _told(key, value)) for key, value in kept.items() if not _is_list(value)]


def hyperparameters(summary: Mapping[str, Any]) -> Rows:
    """What it was told to learn with, as far as that is set. Of a pipeline, those of the step that learned come first:
    they are what people look for; of an ensemble, those of what it is made of come last."""
    told = summary.get("hyperparameters")
    steps = summary.get("steps")
    last = f"{steps[-1].get('name')}__" if isinstance(steps, list) and steps and isinstance(steps[-1], dict) else ""

    def place(name: str) -> tuple[bool, int]:
        return bool(last) and not name.startswith(last), name.removeprefix(last).count("__")

    known = told if isinstance(told, dict) else {}
    names = sorted((str(name) for name, value in known.items() if value is not None), key=place)
    return [(name, _said(known[name])) for name in names]


def layers(summary: Mapping[str, Any]) -> Rows:
    """Of a network: each by its name, with its kind and what it holds."""
    found = summary.get("layers")
    return [_layer(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _layer(one: Mapping[str, Any]) -> tuple[str, str]:
    shape, count = one.get("shape"), one.get("parameters")
    held = f"{count:,} parameters" if isinstance(count, int) and count else ""
    sides = "×".join(map(str, shape)) or "one number" if isinstance(shape, Sequence) else ""
    return str(one.get("name", "")), ", ".join(filter(None, (str(one.get("kind") or ""), sides, held)))


def _told(key: str, value: Any) -> str:
    if key == "size" and isinstance(value, int):
        return size(value)
    if key in ("classes", "inputs", "outputs") and isinstance(value, list):
        return _cut(", ".join(map(str, value)))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _said(value)


def _is_list(value: Any) -> bool:
    """Of what has a list of its own."""
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


def _said(value: Any) -> str:
    return _cut(json.dumps(value, default=str) if isinstance(value, (list, dict)) else str(value))


def _cut(text: str) -> str:
    return readable(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
