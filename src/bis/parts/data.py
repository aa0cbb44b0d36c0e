"""Data: what the run read that is neither code nor environment. Declared, remembered, or discovered by the trace.

Trees: `project`, the inputs inside the project; `outside`, those of absolute paths (without the leading slash).
Facts: `inputs`, one row each: `path` (relative to the project, or absolute), `size`, `digest`, `how` (`declared`,
`remembered`, `discovered`, `listed`), `read`, `kept` (False: recorded by reference), `tracked` (by which other system,
and as what: `parts/tracked.py`); `secrets`, files that were read and whose content is never kept: `path`, keyed digest;
`network`, addresses that data may have come from; `listed`, folders outside the project whose names the run read;
`caches`, files of caches that it read, which are not recorded;
`there`, what was there and counts by its name alone: in the project's own folder before the run, and what the run
removed unread (`path`, `kind` file, folder or link, `size`, `target`), folders that it wrote into, and files that the
run was not let read (`refused`); `wrote`, paths outside the project that the run made, changed or removed (there only
when it was seen whole).
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import Digest, digest_file, digest_value, readable, short, spell, unspell
from bis.errors import CannotRepeat
from bis.nouns.part import Change, Finding, Part, PartKind
from bis.nouns.tree import Leaf
from bis.parts import Place, Scene
from bis.parts.beforehand import Input, expected, names_at_top
from bis.parts.code import DIFF_SIZE, unified
from bis.store import Store
from bis.store.snapshot import plant, put_leaves, walk
from bis.store.snapshot import restore as restore_tree
from bis.text import size, some

KIND: PartKind = "data"


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    findings: list[Finding] = []
    inputs = {one.name: one for one in expected(scene, findings)}
    before = dict(_leaves(earlier, store)) if earlier else {}
    if scene.trace is not None:
        # What tells of a run that has ended is imported then: no command waits for it.
        from bis.parts.discovered import discovered

        if scene.trace.complete:
            inputs = {name: one for name, one in inputs.items() if one.how == "declared"}
        inputs |= {one.name: one for one in discovered(scene, inputs, before, findings)}
    leaves = _put(inputs.values(), scene, store, findings)
    leaves |= {name: before[name] for name, one in inputs.items() if one.place is None}
    rows = [
        _row(inputs[name], leaf)
        for name, leaf in sorted(leaves.items())
        if name in inputs and leaf.entry.kind != "link"
    ]
    facts: dict[str, Any] = {"project": spell(str(scene.project)), "secrets": [], "network": []}
    if scene.trace is None:
        facts["there"] = names_at_top(scene)
    else:
        from bis.parts.beside_inputs import beside_inputs
        from bis.parts.discovered import secrets
        from bis.parts.tracked import mark

        rows, told = mark(rows, scene, store)
        there = earlier.facts.get("there", []) if earlier else []
        more, said = beside_inputs(scene, there, inputs, leaves)
        facts |= {**more, "secrets": list(secrets(scene))}
        findings += [*told, *said]
    return _part(rows, leaves, facts, store, findings)


def restore(part: Part, place: Place, store: Store) -> None:
    """Put every input back: project files into the project, others below `place.outside` when there is one."""
    gone: list[str] = []
    for role, into in (("project", place.project), ("outside", place.outside)):
        if into is None or role not in part.trees:
            continue
        for leaf in restore_tree(store, part.trees[role], into, overwrite=True):
            name = leaf.path if role == "project" else f"/{leaf.path}"
            if not _bring(name, leaf, into / unspell(leaf.path), part):
                gone.append(name)
    if gone:
        raise CannotRepeat(
            f"what was recorded by reference is not there any more as it was: {some(gone)}",
            because=f"Looked below {part.facts.get('project', '')} and at absolute paths, for the recorded digest.",
            hint="put the file back, or record it with its content: bis run --copy-data …",
        )


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    if before.digest == after.digest:
        return []
    old, new = _by_path(before), _by_path(after)
    changes = []
    for path in sorted({*old, *new}):
        was, now = old.get(path), new.get(path)
        if was is None or now is None or was["digest"] != now["digest"]:
            changes.append(_change(path, was, now, store))
    return changes


# Keeping -----------------------------------------------------------------------------------------------------------


def _put(inputs: Iterable[Input], scene: Scene, store: Store, findings: list[Finding]) -> dict[str, Leaf]:
    keep = _keeper(scene)
    found: dict[str, Leaf] = {}
    present = []
    named = {one.name: one for one in inputs}
    for one in named.values():
        try:
            if one.place and stat.S_ISREG(one.place.stat().st_mode):
                present.append((one.name, _bytes_of(one.place, one, named, scene)))
        except OSError:
            continue
    notes: list[Finding] = []
    for leaf in put_leaves(sorted(present), store, scene.cache, keep=keep, notes=notes):
        found[leaf.path] = leaf
    findings += [_with_remedy(note, present) for note in notes]
    away = [leaf for leaf in found.values() if not leaf.entry.kept]
    if away:
        total = sum(leaf.entry.size for leaf in away)
        findings.append(
            Finding(
                code="by-reference",
                text=f"recorded by reference, not copied: {some([leaf.path for leaf in away])} ({size(total)})",
                hint="bis run --copy-data, or limits.input_file in bis.toml",
            )
        )
    return found


def _with_remedy(note: Finding, places: Iterable[tuple[str, Path]]) -> Finding:
    """What to type where permissions are in the way: whoever owns a file may change them."""
    if note.code != "unreadable":
        return note
    name, place = next((two for two in places if note.text.startswith(f"{readable(two[0])} ")), ("", Path()))
    with suppress(OSError):
        if name and not os.access(place, os.R_OK):
            verb = "chmod u+r" if place.stat().st_uid == os.getuid() else "ls -l"
            return msgspec.structs.replace(note, hint=f"{verb} {shlex.quote(readable(name))}")
    return note


def _bytes_of(place: Path, one: Input, named: Collection[str], scene: Scene) -> Path:
    """What the run opened is a file's bytes, also where the name is a link: the link is resolved, unless it lies in the
    project and what it leads to is an input by its own name. To resolve what is no link costs a look at each folder
    above it."""
    if not place.is_symlink():
        return place
    folder = (scene.project / unspell(one.name)).parent
    target = scene.named(spell(os.path.normpath(folder / place.readlink())))
    return place if target in named and not one.name.startswith("/") else place.resolve()


def _keeper(scene: Scene) -> Callable[[str, os.stat_result], bool]:
    settings = scene.settings
    room = settings.limits.input_run

    def keep(name: str, status: os.stat_result) -> bool:
        nonlocal room
        if any(fnmatch.fnmatch(name, glob) for glob in settings.by_reference):
            return False
        if not settings.copy_data and status.st_size > min(settings.limits.input_file, room):
            return False
        room -= status.st_size
        return True

    return keep


def _leaves(part: Part, store: Store) -> Iterator[tuple[str, Leaf]]:
    for role, start in (("project", ""), ("outside", "/")):
        if role in part.trees:
            for leaf in walk(store, part.trees[role]):
                name = start + leaf.path
                yield name, msgspec.structs.replace(leaf, path=name)


def _row(one: Input, leaf: Leaf) -> dict[str, Any]:
    entry = leaf.entry
    row = {"path": one.name, "size": entry.size, "digest": entry.digest, "how": one.how, "read": one.read}
    return row if entry.kept else {**row, "kept": False}


def _part(
    rows: list[dict[str, Any]], leaves: Mapping[str, Leaf], facts: dict[str, Any], store: Store, findings: list[Finding]
) -> Part:
    inside = [leaf for name, leaf in sorted(leaves.items()) if not name.startswith("/")]
    outside = [
        msgspec.structs.replace(leaf, path=name[1:]) for name, leaf in sorted(leaves.items()) if name.startswith("/")
    ]
    trees = {"project": plant(inside, store)} if inside else {}
    if outside:
        trees["outside"] = plant(outside, store)
    counting = [row for row in rows if _counts(row)]
    return Part(
        kind=KIND,
        digest=digest_value([(row["path"], row["digest"]) for row in counting]),
        summary=_summary(counting),
        trees=trees,
        facts={"inputs": rows, **facts},
        findings=tuple(findings),
    )


def _counts(row: dict[str, Any]) -> bool:
    """Whether it is an ingredient, and not only a name that the run may have listed."""
    return bool(row["read"]) or row["how"] == "declared"


def _summary(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "none"
    if len(rows) == 1:
        return ", ".join(filter(None, (readable(rows[0]["path"]), size(rows[0]["size"]), _tracker(rows[0]))))
    marked = sum(bool(_tracker(row)) for row in rows)
    others = f", {marked} tracked by other systems" if marked else ""
    return f"{len(rows)} files, {size(sum(row['size'] for row in rows))}{others}"


# Giving back and comparing -----------------------------------------------------------------------------------------


def _bring(name: str, leaf: Leaf, into: Path, part: Part) -> bool:
    """Copy an input that was recorded by reference from where it lay, if it is still what it was."""
    import shutil

    source = (
        Path(unspell(name))
        if name.startswith("/")
        else Path(unspell(part.facts.get("project", "/nowhere"))) / unspell(name)
    )
    try:
        if source.stat().st_size != leaf.entry.size or digest_file(source) != leaf.entry.digest:
            return False
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, into)
        into.chmod(leaf.entry.mode)
    except OSError:
        return False
    return True


def _by_path(part: Part) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in part.facts["inputs"] if _counts(row)}


def _change(path: str, was: dict[str, Any] | None, now: dict[str, Any] | None, store: Store) -> Change:
    return Change(
        kind=KIND,
        name=path,
        before=_named(was) if was else None,
        after=_named(now) if now else None,
        detail=unified(path, _text(was, store), _text(now, store)) if was and now else "",
    )


def _named(row: dict[str, Any]) -> str:
    return f"{short(row['digest'])} ({', '.join(filter(None, (size(row['size']), _tracker(row))))})"


def _text(row: dict[str, Any] | None, store: Store) -> bytes | None:
    if row is None or row["size"] > DIFF_SIZE or not row.get("kept", True):
        return None
    digest = Digest(row["digest"])
    return store.get_bytes(digest) if store.has(digest) else None


def _tracker(row: dict[str, Any]) -> str:
    """What tracks an input, for a person; empty for most."""
    if "tracked" not in row:
        return ""
    from bis.parts.tracked import shown

    return shown(row)
