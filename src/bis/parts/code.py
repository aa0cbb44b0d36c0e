"""Code: the project's files as they ran, dirty and untracked ones included, with the version control's own words.

Trees: `tree`, everything that is restored. Facts: `system`, `revision`, `branch`, `remote`, `pushed`, `link`,
`changed` and `untracked` (paths), `submodules` (path -> revision), `pointers` (Git LFS files that were not checked
out), `left out` (path -> why). The digest covers the files that are code; data files that the repository also tracks
are in the tree, and belong to the data part when the run reads them.
"""

from __future__ import annotations

import bisect
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import msgspec

from bis.digest import digest_value, readable, short, spell, unspell
from bis.errors import NotFound, counted
from bis.nouns.part import Change, Finding, Part, PartKind
from bis.nouns.tree import Entry, Leaf
from bis.parts import Place, Scene
from bis.parts.origin import is_data, sorter
from bis.parts.secret import holds_secret, is_secret_file
from bis.parts.vcs import Checkout, look, permalink
from bis.store import Store
from bis.store.snapshot import difference, plant, put_leaves, walk
from bis.store.snapshot import restore as restore_tree

KIND: PartKind = "code"

LFS = b"version https://git-lfs.github.com/spec/v1\n"
LFS_SIZE = 1024
DIFF_SIZE = 256 << 10
"""Larger files are not shown as a line by line difference."""


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    if earlier is not None:
        return _with_sources_seen(scene, store, earlier)
    checkout = look(scene.real(spell(str(scene.project))), scene.variables, scene.asked)
    names, left_out = _chosen(scene, checkout)
    notes: list[Finding] = []
    top = str(scene.project)
    leaves = put_leaves([(name, f"{top}/{unspell(name)}") for name in names], store, scene.cache, notes=notes)
    facts = {
        "system": checkout.system,
        "revision": checkout.revision,
        "branch": checkout.branch,
        "remote": checkout.remote,
        "pushed": checkout.pushed,
        "link": permalink(checkout, checkout.root.rstrip("/")),
        "changed": list(checkout.changed),
        "untracked": sorted(name for name in checkout.untracked if name not in left_out),
        "submodules": checkout.submodules,
        "pointers": _pointers(scene, leaves),
        "left out": left_out,
    }
    return _part(leaves, facts, store, (*checkout.findings, *notes, *_findings(facts)))


def restore(part: Part, place: Place, store: Store) -> None:
    restore_tree(store, part.trees["tree"], place.project)


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    if before.digest == after.digest and before.trees == after.trees:
        return []
    changes = [_change(path, old, new, store) for path, old, new in _differing(before, after, store)]
    old, new = (part.facts.get("revision", "") for part in (before, after))
    if old != new:
        changes.insert(0, Change(kind=KIND, name="revision", before=old[:12], after=new[:12], weight="minor"))
    return changes


# Capturing ---------------------------------------------------------------------------------------------------------


def _chosen(scene: Scene, checkout: Checkout) -> tuple[list[str], dict[str, str]]:
    """The paths that are code, and those that are not kept, with the reason."""
    if checkout.system == "none":
        return sorted(_named_on_command_line(scene)), {}
    names: list[str] = []
    left_out: dict[str, str] = {}
    for name in checkout.tracked:
        if _is_secret(name, scene):
            left_out[name] = "secret"
        else:
            names.append(name)
    for name in checkout.untracked:
        why = _why_not(name, scene)
        if why:
            left_out[name] = why
        else:
            names.append(name)
    top = str(scene.project)
    present = [name for name in names if os.path.lexists(f"{top}/{unspell(name)}")]
    return sorted(present), left_out


def _why_not(name: str, scene: Scene) -> str:
    """Why an untracked file is no code of the project; empty when it is."""
    if _is_secret(name, scene):
        return "secret"
    if name in scene.known_outputs:
        return "output of an earlier run"
    try:
        status = (scene.project / unspell(name)).lstat()
    except OSError:
        return "vanished"
    if status.st_size > scene.settings.limits.untracked_file:
        return f"untracked and large ({status.st_size} bytes)"
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return "not a regular file"
    return "untracked data" if is_data(name, status.st_size) else ""


def _is_secret(name: str, scene: Scene) -> bool:
    secrets = scene.settings.secrets
    if not is_secret_file(name, secrets):
        return False
    return holds_secret(name, scene.real(f"{spell(str(scene.project))}/{name}"), secrets)


def _named_on_command_line(scene: Scene) -> Iterator[str]:
    """Without version control, before the run: the scripts that the command names."""
    for word in scene.command:
        path = Path(os.path.normpath(scene.folder / word))
        try:
            inside = path.relative_to(scene.project)
            if path.is_file() and not is_data(word, path.stat().st_size):
                yield spell(str(inside))
        except (ValueError, OSError):
            continue


def _with_sources_seen(scene: Scene, store: Store, earlier: Part) -> Part:
    """After the run, the source files of the project that it read and that were not known before: without version
    control most of them, with it those that it ignores. What an earlier run made is data."""
    origin = sorter(scene)
    names: dict[str, Path] = {}
    known = {leaf.path: leaf for leaf in walk(store, earlier.trees["tree"])}
    for access in scene.trace.accesses if scene.trace else ():
        if not access.was_read or origin(access.path) != "project":
            continue
        name = scene.named(access.path)
        if name in known or name in scene.known_outputs or is_data(name, access.before.size if access.before else 0):
            continue
        if not _is_secret(name, scene):
            names[name] = Path(unspell(access.preimage)) if access.preimage else scene.real(access.path)
    names |= _links_followed(scene, {*known, *names})
    if not names:
        return earlier
    notes: list[Finding] = []
    leaves = [*known.values(), *put_leaves(sorted(names.items()), store, scene.cache, notes=notes)]
    return _part(sorted(leaves, key=lambda leaf: leaf.path), earlier.facts, store, (*earlier.findings, *notes))


def _links_followed(scene: Scene, known: Collection[str]) -> dict[str, Path]:
    """Links to folders through which the run reached files, beside the sources: `data -> /mnt/data`, ignored or not.
    A trace names files without links; without the link a repeat would not find them."""
    accesses = scene.trace.accesses if scene.trace else ()
    read = sorted(access.path for access in accesses if access.was_read or "l" in access.how)
    found = {}
    for folder in sorted({".", *(str(parent) for name in known for parent in PurePosixPath(name).parents)}):
        for link in _links_to_folders(scene.project / unspell(folder)):
            name = f"{folder}/{spell(link.name)}" if folder != "." else spell(link.name)
            target = os.path.realpath(link)
            at = bisect.bisect_left(read, spell(target))
            used = at < len(read) and f"{read[at]}/".startswith(f"{spell(target)}/")
            if name not in known and used and not Path(target, "pyvenv.cfg").exists():
                found[name] = link
    return found


def _links_to_folders(folder: Path) -> list[Path]:
    """The links in a folder that lead to folders; one that leads to itself leads nowhere."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_symlink() and entry.is_dir():
                        found.append(Path(entry.path))
    except OSError:
        pass
    return found


def _part(leaves: list[Leaf], facts: dict[str, object], store: Store, findings: Iterable[Finding]) -> Part:
    code = [leaf for leaf in leaves if not is_data(leaf.path, leaf.entry.size)]
    identity = [(leaf.path, leaf.entry.digest, leaf.entry.target, leaf.entry.mode & 0o111) for leaf in code]
    return Part(
        kind=KIND,
        digest=digest_value(identity),
        summary=_summary(facts, len(leaves)),
        trees={"tree": plant(leaves, store)},
        facts=facts,
        findings=tuple(findings),
    )


def _summary(facts: dict[str, object], files: int) -> str:
    if facts["system"] == "none":
        return f"{counted(files, 'file')}, no version control"
    words = [str(facts["revision"])[:7] or "no commit yet", str(facts["branch"])]
    dirty, untracked = len(facts["changed"]), len(facts["untracked"])  # type: ignore[arg-type]
    state = [f"{dirty} changed"] * bool(dirty) + [f"{untracked} untracked"] * bool(untracked)
    return " ".join(filter(None, words)) + (f", {', '.join(state)}" if state else ", clean")


def _pointers(scene: Scene, leaves: Iterable[Leaf]) -> list[str]:
    """Files that hold only a Git LFS pointer: their content was never checked out."""
    attributes = any(PurePosixPath(leaf.path).name == ".gitattributes" for leaf in leaves)
    found = []
    for leaf in leaves if attributes else ():
        if leaf.entry.kind == "file" and 0 < leaf.entry.size <= LFS_SIZE and is_data(leaf.path, leaf.entry.size):
            try:
                with open(scene.project / unspell(leaf.path), "rb") as file:
                    if file.read(len(LFS)) == LFS:
                        found.append(leaf.path)
            except OSError:
                continue
    return found


def _are(count: int) -> str:
    return "a file is a Git LFS pointer," if count == 1 else f"{count:,} files are Git LFS pointers,"


def _findings(facts: dict[str, object]) -> Iterator[Finding]:
    pointers = facts["pointers"]
    if pointers:
        yield Finding(
            code="lfs-pointer",
            text=f"{_are(len(pointers))} not the data: {pointers[0]}",  # type: ignore[arg-type, index]
            hint="git lfs pull",
        )
    missing = [path for path, revision in facts["submodules"].items() if revision.endswith("(not checked out)")]  # type: ignore[attr-defined]
    if missing:
        yield Finding(
            code="submodule-absent",
            text=f"submodules are not checked out: {', '.join(missing)}",
            hint="git submodule update --init --recursive",
        )


# Differences -------------------------------------------------------------------------------------------------------


def _differing(before: Part, after: Part, store: Store) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    for path, old, new in difference(store, before.trees["tree"], after.trees["tree"]):
        for side, entry in enumerate((old, new)):
            if entry is not None and entry.kind == "tree":
                # A whole folder came or went: its files are the changes.
                for leaf in _below(store, entry, path):
                    yield leaf.path, (leaf.entry if side == 0 else None), (leaf.entry if side == 1 else None)
        if (old or new) is not None and "tree" not in {entry.kind for entry in (old, new) if entry}:
            yield path, old, new


def _below(store: Store, entry: Entry, path: str) -> Iterator[Leaf]:
    for leaf in walk(store, entry.digest):
        yield msgspec.structs.replace(leaf, path=f"{path}/{leaf.path}")


def _change(path: str, old: Entry | None, new: Entry | None, store: Store) -> Change:
    data = is_data(path, max(entry.size for entry in (old, new) if entry))
    return Change(
        kind=KIND,
        name=path,
        before=_word(old),
        after=_word(new),
        detail=unified(path, _content(old, store), _content(new, store)) if not data else "",
        # A data file that is tracked is the data part's business when it is read, and nobody's when not.
        weight="minor" if data else "matters",
    )


def _word(entry: Entry | None) -> str | None:
    if entry is None:
        return None
    if entry.kind == "link":
        return f"-> {readable(entry.target)}"
    return short(entry.digest) + (" executable" if entry.mode & 0o111 else "")


def _content(entry: Entry | None, store: Store) -> bytes | None:
    if entry is None or entry.kind != "file":
        return b""
    if entry.size > DIFF_SIZE or not entry.kept:
        return None
    try:
        return store.get_bytes(entry.digest)
    except NotFound:
        return None


def unified(path: str, before: bytes | None, after: bytes | None, context: int = 3) -> str:
    """A unified difference of two texts as `diff -u` writes it; empty for what is not text or too large."""
    if before is None or after is None or b"\0" in before[:8192] or b"\0" in after[:8192]:
        return ""
    import difflib

    name = readable(path)
    if path.endswith(".ipynb"):
        before, after = _cells(before), _cells(after)
    old, new = (side.decode("utf-8", "replace").splitlines(keepends=True) for side in (before, after))
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", n=context)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ no newline at the end\n" for line in lines)


def _cells(notebook: bytes) -> bytes:
    """The sources of a notebook, as text that can be compared line by line."""
    try:
        cells = msgspec.json.decode(notebook)["cells"]
        texts = [f"# [{cell['cell_type']}]\n{''.join(cell['source'])}\n" for cell in cells]
    except (msgspec.DecodeError, KeyError, TypeError):
        return notebook
    return "\n".join(texts).encode()
