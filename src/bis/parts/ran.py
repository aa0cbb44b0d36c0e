"""Which interpreters a run ran: the one that is the environment's, and others with a prefix of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bis.digest import readable, spell, unspell
from bis.nouns.part import Finding
from bis.parts import Report, Scene
from bis.parts.interpreter import LAUNCHERS, PYTHON, Interpreter, describe, from_report, guess


def ran(scene: Scene) -> tuple[Interpreter | None, list[Interpreter], list[Finding]]:
    """The main one, by what it told of itself or as the command says; None where no Python ran. Then the others."""
    if not scene.reports:
        main, findings = _silent(scene)
        return main, [], findings
    ordered = _by_weight(scene)
    main, findings, others = from_report(ordered[0], scene.real), [], []
    seen = {main.prefix}
    for report in ordered[1:]:
        if report.prefix in seen or _is_launcher(report):
            continue
        seen.add(report.prefix)
        others.append(from_report(report, scene.real))
    if others:
        names = ", ".join(f"{readable(other.executable)} ({other.version})" for other in others)
        text = f"the run used more than one Python environment: {readable(main.executable)}, and also {names}"
        findings.append(Finding(code="several-interpreters", text=text, hint="a repeat rebuilds the first one only"))
    return main, others, findings


def _by_weight(scene: Scene) -> list[Report]:
    """The reports, that of the command's own process first; those of mere launchers last."""
    root = scene.trace.processes[0].pid if scene.trace and scene.trace.processes else None
    return sorted(scene.reports, key=lambda report: (_is_launcher(report), report.pid != root))


def _is_launcher(report: Report) -> bool:
    return any(word.rpartition("/")[2] in LAUNCHERS for word in report.argv[:2])


def _silent(scene: Scene) -> tuple[Interpreter | None, list[Finding]]:
    """No report: before the run, or of a run in which no interpreter could tell of itself."""
    found, _ = guess(scene.command, scene.folder, scene.variables)
    findings = []
    if scene.trace is not None:
        programs = [_program(process.executable, process.argv) for process in scene.trace.processes]
        pythons = [program for program in programs if PYTHON.match(program.rpartition("/")[2])]
        found = pythons[0] if pythons else "" if programs else found
        if found:
            text = f"{readable(spell(found))} did not tell of itself (started with -I, -S or -E?); read from its files"
            findings.append(Finding(code="silent-interpreter", text=text))
    place = os.fspath(scene.real(spell(found))) if found else ""
    return (describe(place, scene.variables, scene.home) if place else None), findings


def _program(executable: str, argv: Sequence[str]) -> str:
    """A process's program as it was called, where that keeps the link of a virtual environment."""
    called = unspell(argv[0]) if argv else ""
    if called.startswith("/") and os.path.realpath(called) == os.path.realpath(unspell(executable)):
        return called
    return unspell(executable) or called
