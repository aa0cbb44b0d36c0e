"""A run with some of its parts taken from elsewhere: another run, or files as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from bis.digest import digest_value, spell, unspell
from bis.errors import BisError, NotFound, UsageError
from bis.nouns.part import Part, PartKind
from bis.nouns.reference import parse
from bis.nouns.run import Run
from bis.nouns.tree import Leaf
from bis.parts import Scene, code
from bis.parts.kinds import KINDS
from bis.steps.capture import supposed
from bis.steps.home import Home
from bis.steps.planning import still_outputs
from bis.store.snapshot import plant, put_leaves, walk

ALIASES = {"env": "environment", "infra": "infrastructure", "param": "params"}
FROM_PATH = ("code", "data")


def exchange(run: Run, taken: Mapping[str, str], home: Home, variables: Mapping[str, str]) -> dict[PartKind, Part]:
    """The parts of `run`, those named in `taken` (kind -> run or path) replaced.

    Raises UsageError for what is no kind of part, or a path for a kind that needs a run; NotFound for what is absent.
    """
    parts: dict[PartKind, Part] = dict(run.parts)
    kinds: dict[str, PartKind] = {kind.KIND: kind.KIND for kind in KINDS}
    for name, source in taken.items():
        kind = kinds.get(ALIASES.get(name, name))
        if kind is None:
            raise UsageError(f"{name!r} is no part of a run", hint=f"one of: {', '.join(kinds)}")
        path = Path(source).expanduser()
        if kind in FROM_PATH and path.exists():
            parts[kind] = _from_path(kind, path, run, home, variables)
        else:
            parts[kind] = _from_run(kind, source, home)
    return parts


def _from_run(kind: PartKind, source: str, home: Home) -> Part:
    try:
        return home.ledger.find(parse(source, datetime.now(UTC))).parts[kind]
    except BisError as error:
        where = " or a path" if kind in FROM_PATH else ""
        raise type(error)(
            f"{kind} cannot be taken from {source!r}: {error.what}",
            because=f"It must be a run{where}.",
            hint=error.hint,
        ) from None


def _from_path(kind: PartKind, path: Path, run: Run, home: Home, variables: Mapping[str, str]) -> Part:
    if kind == "data":
        return _data_from(path.resolve(), run.parts["data"], home)
    scene = Scene(
        project=path.resolve(),
        folder=path.resolve() / unspell(run.folder),
        command=tuple(unspell(word) for word in run.command),
        variables=dict(variables),
        settings=home.settings,
        home=Path(variables.get("HOME") or "~").expanduser(),
        key=home.key,
        cache=home.cache,
        known_outputs=still_outputs(home) if path.resolve() == home.project else frozenset(),
    )
    # Without version control, the sources are those that the run read.
    return code.capture(supposed(scene, home.store, run), home.store, code.capture(scene, home.store))


def _data_from(path: Path, recorded: Part, home: Home) -> Part:
    """The recorded inputs with the bytes of the files at `path`: a folder with files of the same relative paths or
    names, or the one file that stands for the one input (or the input of its name)."""
    rows = [dict(row) for row in recorded.facts["inputs"]]
    chosen = {row["path"]: file for row in rows if (file := _stand_in(row["path"], path, rows)) is not None}
    if not chosen:
        names = ", ".join(row["path"] for row in rows[:5]) or "none"
        raise NotFound(
            f"{path} holds no stand-in for any input of the run",
            because=f"The run read: {names}.",
            hint="name a folder that holds files with these names",
        )
    leaves = {leaf.path: leaf for leaf in put_leaves(sorted(chosen.items()), home.store, home.cache)}
    for row in rows:
        if leaf := leaves.get(row["path"]):
            row |= {"digest": leaf.entry.digest, "size": leaf.entry.size, "how": "taken", "kept": True}
    return _with_leaves(recorded, rows, leaves, home)


def _stand_in(name: str, path: Path, rows: list[dict[str, Any]]) -> Path | None:
    if path.is_file():
        alike = [row for row in rows if PurePosixPath(row["path"]).name == spell(path.name)] or rows
        return path if len(alike) == 1 and alike[0]["path"] == name else None
    for relative in (unspell(name).lstrip("/"), PurePosixPath(unspell(name)).name):
        if (path / relative).is_file():
            return path / relative
    return None


def _with_leaves(recorded: Part, rows: list[dict[str, Any]], leaves: Mapping[str, Leaf], home: Home) -> Part:
    trees = {}
    for role, start in (("project", ""), ("outside", "/")):
        if role in recorded.trees:
            kept = [
                msgspec.structs.replace(leaves.get(start + leaf.path, leaf), path=leaf.path)
                for leaf in walk(home.store, recorded.trees[role])
            ]
            trees[role] = plant(kept, home.store)
    counted = [row for row in rows if row["read"] or row["how"] in ("declared", "taken")]
    return msgspec.structs.replace(
        recorded,
        digest=digest_value([(row["path"], row["digest"]) for row in counted]),
        trees=trees,
        facts={**recorded.facts, "inputs": rows},
    )
