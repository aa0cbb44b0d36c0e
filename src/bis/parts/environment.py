"""The environment: the interpreter that ran, and exactly what was installed for it.

Facts of the Part:

    python        the interpreter (`interpreter.Interpreter`), `digest` of its executable
    active        what VIRTUAL_ENV named; empty when it was not set
    packages      how many distributions the lock holds
    set           digest of their names, versions and records
    project       the project's folder, for packages that are installed from it
    used          names of those whose files the run opened (only with a trace)
    verified      how many opened files are exactly as their distributions say (only with a trace)
    edited        opened files that are not: `path`, `why` (`edited`, `foreign`, `changed`), `package`
    gone          name -> how many files of a used package are not there though its RECORD names them, and the first
    others        further interpreters of the run: executable, prefix, version, packages, digest
    guessed       true: no interpreter of the run told of itself; this is the one its command should have used
    hidden        distributions that another one earlier on the path hides
    sources       name -> folder of each package that is installed from a source tree
    conda         what conda lists: name, version, build, channel
    indexes       where pip and uv were told to look, without credentials
    declared      files that declare packages: path, digest, python, problem
    difference    declared against installed: `missing`, `other`, `extra`
    changed       packages that the run itself installed, removed or replaced
    program       for a command that is no Python: its path and digest

Trees: `lock` (a blob: the `pylock.toml` that holds the set), `library` (a blob: the files of the standard library that
the run opened, each with its digest), `patched` (edited files, relative to their site folder),
and what `local` keeps of packages that no index has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import Digest, digest_value, readable, spell, unspell
from bis.errors import BisError, counted
from bis.nouns.part import Change, Finding, Part, PartKind
from bis.nouns.trace import Access, Stat, Trace
from bis.parts import Place, Scene, pylock
from bis.parts.artifacts import Artifacts, uv_cache
from bis.parts.conda import conda_digest, conda_packages
from bis.parts.edited import Looked, look
from bis.parts.environment_changes import (
    a_few,
    interpreter_changes,
    library_changes,
    minor_changes,
    other_changes,
    package_changes,
    patched_changes,
)
from bis.parts.indexes import told
from bis.parts.installed import Installed, installed, set_digest
from bis.parts.interpreter import Interpreter, describe, python_of, title, which
from bis.parts.library import keep as keep_library
from bis.parts.library import library
from bis.parts.local import LOCAL, Kept, keep
from bis.parts.pylock import packages_of
from bis.parts.ran import ran
from bis.parts.requirements import against
from bis.store import Store
from bis.store import snapshot as trees_of
from bis.store.statcache import digest_known

KIND: PartKind = "environment"
SITES = ("site-packages", "dist-packages")


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    """The interpreter and the set it sees: before the run by reading the command, after it by what ran."""
    python, beside, findings = ran(scene)
    if python is None:
        return _no_python(scene, findings)
    others = [_other(one, scene) for one in beside]
    packages, hidden = _packages(python, scene)
    kept = _kept(packages, scene, store, earlier)
    looked = _look(python, kept.packages, scene)
    patched = _patched(looked, scene, store)
    conda = conda_packages(scene.real(python.prefix)) if python.origin == "conda" else []
    project, folder = (scene.real(spell(os.fspath(path))) for path in (scene.project, scene.folder))
    declared = against(project, folder, scene.command, kept.packages, python, _cache(scene))
    facts: dict[str, Any] = {
        "python": {**msgspec.to_builtins(python), "digest": _digest_of(scene.real(python.real), scene)},
        "active": spell(scene.variables.get("VIRTUAL_ENV", "")),
        "packages": len(packages),
        "set": _plain_set(packages),
        **_filled(
            project=spell(os.fspath(scene.project)),
            guessed=not scene.reports,
            used=list(looked.used) if looked else None,
            verified=looked.verified if looked else None,
            edited=list(msgspec.to_builtins(looked.edited)) if looked else None,
            gone={name: [len(files), files[0]] for name, files in looked.gone.items()} if looked else None,
            others=others,
            hidden=[f"{item.name} {item.version}" for item in hidden],
            sources={item.name: item.source for item in kept.packages if item.source and item.origin != "archive"},
            conda=conda,
            indexes=told(scene.variables, scene.home, scene.project, scene.real(python.prefix)),
            declared=list(msgspec.to_builtins(declared.files)),
            difference=msgspec.to_builtins(declared.difference),
            changed=_changed(kept.packages, store, earlier),
        ),
    }
    lock = pylock.write(python, kept.packages)
    more = [*_findings(facts, kept.packages), *kept.findings]
    return Part(
        kind=KIND,
        digest=identity(
            python, kept.packages, [other["digest"] for other in others], patched, conda_digest(conda) if conda else ""
        ),
        summary=_summary(python, packages, looked),
        trees={
            "lock": store.put_bytes(lock.encode()),
            **keep_library(library(scene.trace, python.path, scene.real, scene.cache), store),
            **kept.trees,
            **({"patched": patched} if patched else {}),
        },
        facts=facts,
        findings=(*findings, *more),
    )


def identity(
    python: Interpreter,
    packages: Iterable[Installed],
    others: Sequence[str] = (),
    patched: str = "",
    conda: str = "",
) -> Digest:
    """What makes two environments the same: the interpreter's version and build, and the files installed."""
    same = {"python": [python.implementation, python.version, python.abi], "set": set_digest(packages)}
    return digest_value({**same, **_filled(others=sorted(others), patched=patched, conda=conda)})


def supposed(now: Part, like: Part, scene: Scene, store: Store) -> Part:
    """`now`, captured without a run, as it would be if a run opened the edited files and started the other
    interpreters that the record `like` names. What else the run opened is not looked at."""
    python = python_of(now)
    if python is None or not (like.facts.get("edited") or like.facts.get("others")):
        return now
    there, _ = _packages(python, scene)
    looked = look(_reopened(like, python, scene), there, _sites(python), scene.real, _cache(scene))
    patched = _patched(looked, scene, store)
    found = [
        describe(os.fspath(scene.real(row["executable"])), scene.variables, scene.home)
        for row in like.facts.get("others", ())
    ]
    others = [_other(one, scene) for one in found if one]
    conda = now.facts.get("conda", ())
    digests = [other["digest"] for other in others]
    return msgspec.structs.replace(
        now,
        digest=identity(python, packages_of(now, store), digests, patched, conda_digest(conda) if conda else ""),
        summary=_summary(python, there, looked),
        trees={**now.trees, **({"patched": patched} if patched else {})},
        facts={**now.facts, **_filled(others=others, edited=list(msgspec.to_builtins(looked.edited)))},
    )


def restore(part: Part, place: Place, store: Store) -> None:
    """Nothing: an environment is built by `steps.rebuild`, which works above the parts."""


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    """The interpreter, then packages by name, then files edited in place."""
    edited = library_changes(before, after, store)
    if before.digest == after.digest:
        return edited
    changes = [*interpreter_changes(before, after), *edited, *package_changes(before, after, store)]
    changes += patched_changes(before, after, store)
    return [*(changes or other_changes(before, after)), *minor_changes(before, after)]


# -- what is installed -------------------------------------------------------------------------------------------


def _packages(python: Interpreter, scene: Scene) -> tuple[list[Installed], list[Installed]]:
    """The set, with what is installed from the project itself marked as such."""
    cache = Artifacts(uv_cache(scene.variables, scene.home))
    found, hidden = installed(python.path, _cache(scene), scene.real, cache.prove)
    return [_at_home(package, scene) for package in found if not _is_bare_source(package)], hidden


def _is_bare_source(package: Installed) -> bool:
    """An egg-info that lies in a source tree on the path: those files are code or data, nothing was installed."""
    return package.origin == "unknown" and os.path.basename(package.site) not in SITES


def _at_home(package: Installed, scene: Scene) -> Installed:
    """A package whose source is (in) the project itself is code: the part that keeps it is another one."""
    if package.origin != "editable":
        return package
    source, project = os.path.realpath(unspell(package.source)), os.fspath(scene.project)
    if source == project or source.startswith(project + "/"):
        return msgspec.structs.replace(package, origin="project")
    return package


def _kept(packages: Sequence[Installed], scene: Scene, store: Store, earlier: Part | None) -> Kept:
    """The local packages, put into the store; as they were when the run started, if that was looked at."""
    if not any(item.origin in LOCAL for item in packages):
        return Kept(packages=tuple(packages))
    before = {item.name: item for item in _packages_or_none(earlier, store)}
    again = [item for item in packages if not _is_same(before.get(item.name), item)]
    kept = keep(again, scene, store)
    new = {item.name: item for item in kept.packages}
    trees = {
        role: digest
        for role, digest in (earlier.trees if earlier else {}).items()
        if ":" in role and role.partition(":")[2] in before.keys() - new.keys()
    }
    whole = tuple(new.get(item.name) or _with_tree(item, before[item.name]) for item in packages)
    held = tuple(finding for finding in (earlier.findings if earlier else ()) if finding.code == "local-not-kept")
    return Kept(
        packages=whole, trees={**trees, **kept.trees}, findings=(*held, *kept.findings) if before else kept.findings
    )


def _with_tree(now: Installed, before: Installed) -> Installed:
    return msgspec.structs.replace(now, tree=before.tree, sha256=now.sha256 or before.sha256)


def _is_same(before: Installed | None, now: Installed) -> bool:
    return before is not None and (before.version, before.record, before.origin) == (
        now.version,
        now.record,
        now.origin,
    )


def _packages_or_none(part: Part | None, store: Store) -> tuple[Installed, ...]:
    try:
        return packages_of(part, store) if part else ()
    except (BisError, ValueError):
        return ()


def _changed(packages: Sequence[Installed], store: Store, earlier: Part | None) -> list[str]:
    """What the run did to its own environment."""
    if earlier is None or "lock" not in earlier.trees or earlier.facts.get("set") == _plain_set(packages):
        return []
    before = {item.name: item.version for item in _packages_or_none(earlier, store)}
    after = {item.name: item.version for item in packages}
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{name} {before.get(name, 'not there')} -> {after.get(name, 'gone')}" for name in names]


def _plain_set(packages: Iterable[Installed]) -> Digest:
    """What is installed, whatever the state of the source trees."""
    return digest_value([[item.name, item.version, item.record] for item in packages])


def _cache(scene: Scene) -> Path:
    return Path(scene.variables.get("XDG_CACHE_HOME") or scene.home / ".cache") / "bis" / "installed"


# -- what was opened, what was edited ----------------------------------------------------------------------------


def _look(python: Interpreter, packages: Iterable[Installed], scene: Scene) -> Looked | None:
    if scene.trace is None or scene.trace.mechanism == "none":
        return None
    return look(scene.trace, packages, _sites(python), scene.real, _cache(scene))


def _sites(python: Interpreter) -> list[str]:
    return [folder for folder in python.path if os.path.basename(folder) == SITES[0]]


def _reopened(like: Part, python: Interpreter, scene: Scene) -> Trace:
    """A trace as if the edited files that a record names were read now, in the site folders of `python`."""
    found = (_access(row, python, scene) for row in like.facts.get("edited", ()))
    return Trace(mechanism="none", complete=False, accesses=tuple(access for access in found if access))


def _access(row: Mapping[str, str], python: Interpreter, scene: Scene) -> Access | None:
    """Of a file that was edited, in its old site folder where that is one of `python`, else in another; None: gone."""
    for site in sorted(_sites(python), key=lambda site: site != row["site"]):
        path = f"{site}/{row['path']}"
        try:
            status = os.stat(scene.real(path))
        except OSError:
            continue
        before = Stat(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        return Access(path=path, how="r", before=before)
    return None


def _patched(looked: Looked | None, scene: Scene, store: Store) -> Digest:
    """The edited files as a tree; empty when there are none."""
    if not looked or not looked.edited:
        return Digest("")
    pairs = {item.path: scene.real(f"{item.site}/{item.path}") for item in looked.edited}
    return trees_of.put_paths(pairs.items(), store, scene.cache, modes="exec")


# -- further interpreters, and none ------------------------------------------------------------------------------


def _other(python: Interpreter, scene: Scene) -> dict[str, Any]:
    """What is recorded of an interpreter beside the main one."""
    packages, _ = _packages(python, scene)
    told = {"executable": python.executable, "prefix": python.prefix, "version": python.version}
    return {**told, "packages": len(packages), "digest": identity(python, packages)}


def _no_python(scene: Scene, findings: list[Finding]) -> Part:
    program = which(scene.command[0], scene.variables.get("PATH", os.defpath), scene.folder) if scene.command else ""
    digest = _digest_of(Path(program), scene) if program else ""
    name = readable(spell(os.path.basename(program or "".join(scene.command[:1]))))
    text = f"no Python ran: {name} is a program of its own, and what it loads is known only as far as it was traced"
    return Part(
        kind=KIND,
        digest=digest_value({"program": digest or name}),
        summary=f"{name}, no Python",
        facts={"program": {"path": spell(program), "digest": digest}},
        findings=(*findings, Finding(code="no-python", text=text)),
    )


def _digest_of(program: Path, scene: Scene) -> str:
    return digest_known(os.path.realpath(program), scene.cache)


def _filled(**values: Any) -> dict[str, Any]:
    """Without what is empty."""
    return {name: value for name, value in values.items() if value not in (None, "", False, [], {}, ())}


def _summary(python: Interpreter, packages: Sequence[Installed], looked: Looked | None) -> str:
    edited = len(looked.edited) if looked else 0
    return f"{title(python)}, {counted(len(packages), 'package')}" + (f", {edited} edited" if edited else "")


# -- findings ----------------------------------------------------------------------------------------------------


def _findings(facts: Mapping[str, Any], packages: Iterable[Installed]) -> list[Finding]:
    found = []
    if edited := facts.get("edited"):
        names = a_few([readable(f"{row['path']} ({row.get('package') or 'of no package'})") for row in edited])
        text = f"files of the environment that ran are not as they were installed: {names}"
        hint = "reinstall the packages, or keep the changed ones as packages of your own; a repeat puts the files back"
        found.append(Finding(code="environment-edited", text=text, hint=hint))
    if gone := facts.get("gone"):
        names = a_few([f"{count} of {readable(name)} ({readable(first)}, …)" for name, (count, first) in gone.items()])
        text = f"files that were installed are not there: {names}; a repeat puts them back"
        found.append(Finding(code="environment-incomplete", text=text, hint="reinstall the packages"))
    if changed := facts.get("changed"):
        text = f"the run changed its own environment: {a_few(changed)}"
        found.append(Finding(code="environment-changed", text=text, hint="install before the run, not in it"))
    used = set(facts["used"]) if "used" in facts else None
    fixed = [item.name for item in packages if item.origin in ("system", "conda") and (not used or item.name in used)]
    if fixed:
        text = f"not from a Python index, so a repeat has to find them as they are: {a_few(fixed)}"
        found.append(Finding(code="fixed-packages", text=text, hint="use a virtual environment (`uv venv`)"))
    differs = facts.get("difference", {})
    if lines := [*(f"{line} is missing" for line in differs.get("missing", ())), *differs.get("other", ())]:
        found.append(Finding(code="declared-differs", text=f"installed is not what is declared: {a_few(lines)}"))
    return found
