"""The environment: the interpreter that ran, and exactly what was installed for it.

Facts of the Part:

    python        the interpreter (`interpreter.Interpreter`), `digest` of its executable
    packages      how many
    project       the project's folder, for packages that are installed from it
    used          names of the distributions whose files the run opened (only with a trace)
    others        further interpreters of the run: prefix, version, digest of their set
    guessed       true: no interpreter of the run told of itself; this is the one its command should have used
    program       for a command that is no Python: its path and digest

Trees: `lock` (blob, the `pylock.toml` that holds the set).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import Digest, digest_file, digest_value, readable, spell, unspell
from bis.errors import BisError
from bis.nouns.part import Change, Finding, Part, PartKind
from bis.parts import Place, Report, Scene, pylock
from bis.parts.installed import Installed, installed, set_digest
from bis.parts.interpreter import LAUNCHERS, PYTHON, Interpreter, describe, from_report, guess, which
from bis.store import Store

KIND: PartKind = "environment"


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    """The interpreter and the set it sees: before the run by reading the command, after it by what ran."""
    python, others, findings = _interpreters(scene)
    guessed = not scene.reports
    if python is None:
        return _no_python(scene, findings)
    packages, hidden = installed(python.path, _cache(scene), scene.real)
    packages = [_at_home(package, scene) for package in packages]
    digests = [Digest(other["digest"]) for other in others]
    lock = pylock.write(python, packages)
    facts: dict[str, Any] = {
        "python": {**msgspec.to_builtins(python), "digest": _digest_of(unspell(python.real))},
        "packages": len(packages),
        "project": spell(os.fspath(scene.project)),
        **({"guessed": True} if guessed else {}),
        **({"others": others} if others else {}),
        **({"hidden": [f"{item.name} {item.version}" for item in hidden]} if hidden else {}),
    }
    return Part(
        kind=KIND,
        digest=identity(python, packages, digests),
        summary=f"{_title(python)}, {len(packages)} package{'' if len(packages) == 1 else 's'}",
        trees={"lock": store.put_bytes(lock.encode())},
        facts=facts,
        findings=tuple(findings),
    )


def identity(python: Interpreter, packages: Iterable[Installed], others: Sequence[str] = ()) -> Digest:
    """What makes two environments the same: the interpreter's version and build, and the files installed."""
    told = {"python": [python.implementation, python.version, python.abi], "set": set_digest(packages)}
    return digest_value({**told, **({"others": sorted(others)} if others else {})})


def restore(part: Part, place: Place, store: Store) -> None:
    """Nothing: an environment is built by `steps.rebuild`, which works above the parts."""


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    """Packages by name, then the interpreter."""
    if before.digest == after.digest:
        return []
    return [*_interpreter_changes(before, after), *_package_changes(before, after, store)]


# -- which interpreter -------------------------------------------------------------------------------------------


def _interpreters(scene: Scene) -> tuple[Interpreter | None, list[dict[str, Any]], list[Finding]]:
    """The main interpreter, and the others that ran with a prefix of their own."""
    if not scene.reports:
        return _silent(scene)
    ordered = _by_weight(scene)
    main, findings, others = from_report(ordered[0], scene.real), [], []
    seen = {main.prefix}
    for report in ordered[1:]:
        if report.prefix in seen or _is_launcher(report):
            continue
        seen.add(report.prefix)
        other = from_report(report, scene.real)
        packages, _ = installed(other.path, _cache(scene), scene.real)
        told = {"executable": other.executable, "prefix": other.prefix, "version": other.version}
        others.append({**told, "packages": len(packages), "digest": identity(other, packages)})
    if others:
        names = ", ".join(f"{readable(str(other['executable']))} ({other['version']})" for other in others)
        text = f"the run used more than one Python environment: {readable(main.executable)}, and also {names}"
        findings.append(Finding(code="several-interpreters", text=text, hint="a repeat rebuilds the first one only"))
    return main, others, findings


def _by_weight(scene: Scene) -> list[Report]:
    """The reports, that of the command's own process first; those of mere launchers last."""
    root = scene.trace.processes[0].pid if scene.trace and scene.trace.processes else None
    return sorted(scene.reports, key=lambda report: (_is_launcher(report), report.pid != root))


def _is_launcher(report: Report) -> bool:
    return any(os.path.basename(word) in LAUNCHERS for word in report.argv[:2])


def _silent(scene: Scene) -> tuple[Interpreter | None, list[dict[str, Any]], list[Finding]]:
    """No report: before the run, or of a run in which no interpreter could tell of itself."""
    found, _ = guess(scene.command, scene.folder, scene.variables)
    findings = []
    if scene.trace is not None:
        programs = [_program(process.executable, process.argv) for process in scene.trace.processes]
        pythons = [program for program in programs if PYTHON.match(os.path.basename(program))]
        found = pythons[0] if pythons else "" if programs else found
        if found:
            text = f"{readable(spell(found))} did not tell of itself (started with -I, -S or -E?); read from its files"
            findings.append(Finding(code="silent-interpreter", text=text))
    return (describe(found, scene.variables, scene.home) if found else None), [], findings


def _program(executable: str, argv: Sequence[str]) -> str:
    """A process's program as it was called, where that keeps the link of a virtual environment."""
    called = unspell(argv[0]) if argv else ""
    if called.startswith("/") and os.path.realpath(called) == os.path.realpath(unspell(executable)):
        return called
    return unspell(executable) or called


def _no_python(scene: Scene, findings: list[Finding]) -> Part:
    program = which(scene.command[0], scene.variables.get("PATH", os.defpath), scene.folder) if scene.command else ""
    digest = _digest_of(os.path.realpath(program)) if program else ""
    name = readable(spell(os.path.basename(program or "".join(scene.command[:1]))))
    text = f"no Python ran: {name} is a program of its own, and what it loads is known only as far as it was traced"
    return Part(
        kind=KIND,
        digest=digest_value({"program": digest or name}),
        summary=f"{name}, no Python",
        facts={"program": {"path": spell(program), "digest": digest}},
        findings=(*findings, Finding(code="no-python", text=text)),
    )


def _digest_of(path: str) -> str:
    try:
        return digest_file(path)
    except OSError:
        return ""


def _cache(scene: Scene) -> Path:
    return Path(scene.variables.get("XDG_CACHE_HOME") or scene.home / ".cache") / "bis" / "installed"


def _at_home(package: Installed, scene: Scene) -> Installed:
    """A package whose source is (in) the project itself is code: the part that keeps it is another one."""
    if package.origin not in ("editable", "unknown"):
        return package
    source = unspell(package.source or package.site)
    project = os.fspath(scene.project)
    if os.path.realpath(source) == project or os.path.realpath(source).startswith(project + "/"):
        return msgspec.structs.replace(package, origin="project", source=spell(source))
    return package


def _title(python: Interpreter) -> str:
    name = {"cpython": "Python", "pypy": "PyPy"}.get(python.implementation.rstrip("0123456789"), python.implementation)
    return f"{name} {python.version}".strip()


# -- compare -----------------------------------------------------------------------------------------------------


def packages_of(part: Part, store: Store) -> tuple[Installed, ...]:
    """The set of an environment, from its lock; empty for a run without Python."""
    if "lock" not in part.trees:
        return ()
    return pylock.read(store.get_bytes(part.trees["lock"]).decode()).packages


def python_of(part: Part) -> Interpreter | None:
    """The interpreter of an environment; None for a run without Python."""
    told = {key: value for key, value in part.facts.get("python", {}).items() if key != "digest"}
    return msgspec.convert(told, Interpreter) if told else None


def _interpreter_changes(before: Part, after: Part) -> list[Change]:
    changes = []
    old, new = python_of(before), python_of(after)
    for name, get in (("python", _title), ("abi", lambda python: python.abi)):
        was, now = (get(python) if python else None for python in (old, new))
        if was != now:
            changes.append(Change(kind=KIND, name=name, before=was, after=now))
    if old is None and new is None:
        programs = [str(part.facts.get("program", {}).get("digest")) for part in (before, after)]
        changes.append(Change(kind=KIND, name=before.summary, before=programs[0], after=programs[1]))
    return changes


def _package_changes(before: Part, after: Part, store: Store) -> list[Change]:
    try:
        old, new = ({item.name: item for item in packages_of(part, store)} for part in (before, after))
    except BisError as error:
        return [Change(kind=KIND, name="packages", detail=f"the set cannot be read: {error.what}")]
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was and now and was.identity == now.identity:
            continue
        detail = "same version, other files" if was and now and was.version == now.version else ""
        versions = [item.version if item else None for item in (was, now)]
        changes.append(Change(kind=KIND, name=name, before=versions[0], after=versions[1], detail=detail))
    return changes
