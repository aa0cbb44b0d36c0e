"""`bis repeat`: do a run again from its record alone, and say whether it came out the same."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec

from bis.digest import canonical, digest_bytes, spell, unspell
from bis.errors import CannotRepeat, NotFound
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.run import Run
from bis.nouns.verdict import Verdict
from bis.parts import Place, Scene, machine
from bis.parts.kinds import KINDS
from bis.parts.params import variables_to_give
from bis.parts.secret import has_secret
from bis.steps import chance as chances
from bis.steps import rooms
from bis.steps.capture import made_inputs
from bis.steps.compare import compare_parts, context_of, judge_metrics, judge_outputs, judge_parts
from bis.steps.exchange import exchange, not_taken, refuse_here
from bis.steps.here import now
from bis.steps.home import Home
from bis.steps.judge import judge
from bis.steps.leftovers import REPEAT, all_in_use, held, in_use
from bis.steps.metrics import metric_globs
from bis.steps.notebook import SCRIPT, notebook_command
from bis.steps.perform import Performed, Plan, Receive, new_run, perform
from bis.steps.rebuild import Rebuilt, rebuild
from bis.steps.recorded import demand_record
from bis.steps.repeating import (
    Ground,
    at_old_path,
    bring_secrets,
    differing_inputs,
    environments_folder,
    leaks,
    left_open,
    missing_caches,
    mounts,
    outside,
    read_without_content,
    refused,
    restored,
    sealing,
    stand_in,
    substitute,
    unchanged_programs,
)
from bis.steps.rootfs import Root, environment_in, images_folder, mounts_of, root_of, told_of
from bis.steps.shallow import contents_of, need
from bis.steps.suspect import Suspects, suspects


class RepeatOptions(msgspec.Struct, frozen=True, kw_only=True):
    times: int = 1
    here: bool = False
    """In the current environment and conditions: shows drift."""
    taken: dict[str, str] = {}
    """Kind of part -> the run or path that it is taken from instead."""
    into: Path | None = None
    """An empty folder to repeat in, which is then kept."""
    keep: bool = False
    python: str = ""
    tolerance: dict[str, float] = {}
    offline: bool = False
    quiet: bool = True
    image: str = ""
    """Whose system it is repeated in: `oci:DIR`, or one of a registry by its digest."""
    folder: Path = Path()
    """Where `oci:DIR` is looked for."""
    receive: Receive | None = None
    """What takes in what the command logs over HTTP."""


def repeat(
    run: Run,
    home: Home,
    *,
    variables: Mapping[str, str],
    options: RepeatOptions = RepeatOptions(),  # noqa: B008 - a frozen value
    progress: Callable[[str], None] = lambda text: None,
) -> list[Verdict]:
    """Repeat a recorded run in fresh folders, `options.times` times; one verdict each, kept in store and ledger.

    Raises CannotRepeat, naming what is missing, when an ingredient cannot be had again.
    """
    if options.here:
        refuse_here(options.taken, run)
    if run.status == "running":
        raise CannotRepeat(f"{run.name} is still under way", hint=f"bis show {run.id[:8]}")
    demand_record(run, home)
    if not run.parts:
        raise CannotRepeat(
            f"{run.name} was lost before anything of it was recorded", hint="run the command again: bis run -- …"
        )
    if has_secret(run.command):
        raise CannotRepeat(
            f"the command of {run.name} held a credential, which is never stored",
            because=" ".join(run.command),
            hint="hand credentials over in a file or an environment variable; those can be given again",
        )
    if options.image and (reason := rooms.usable()):
        raise CannotRepeat(
            f"{run.name} cannot be repeated in an image here: {reason}",
            because="The files of the image are shown to the command in a room of its own.",
            hint=rooms.finding().hint,
        )
    need(home, contents_of(run))
    verdicts = []
    for number in range(options.times):
        if options.times > 1:
            progress(f"repeat {number + 1} of {options.times}")
        verdicts.append(_repeat_once(run, home, variables, options, progress))
    return verdicts


def _repeat_once(
    run: Run, home: Home, variables: Mapping[str, str], options: RepeatOptions, progress: Callable[[str], None]
) -> Verdict:
    top = options.into or Path(tempfile.mkdtemp(prefix=f"{REPEAT}{run.id[:6]}-"))
    ground = Ground(top=top.resolve())
    try:
        with held(ground.top), _images_in_use(home, variables, options):
            progress("restoring code and data")
            parts = exchange(run, options.taken, home, variables)
            again, stood_in = _again(run, parts, home, ground, variables, options, progress)
            progress("comparing")
            return _verdict(run, parts, again, stood_in, ground, home, options)
    finally:
        if not (options.keep or options.into):
            shutil.rmtree(ground.top, ignore_errors=True)


def _again(
    run: Run,
    parts: Mapping[PartKind, Part],
    home: Home,
    ground: Ground,
    variables: Mapping[str, str],
    options: RepeatOptions,
    progress: Callable[[str], None],
) -> tuple[Performed, dict[str, str]]:
    """The run, executed once more on its own ground; and the files that stood there without their content, and why."""
    for folder in (ground.project, ground.scratch, ground.tools):
        folder.mkdir(parents=True)
    place = Place(project=ground.project, outside=ground.outside)
    try:
        for kind in KINDS:
            kind.restore(parts[kind.KIND], place, home.store)
    except NotFound as error:
        raise CannotRepeat(error.what, because="The store holds it no more.", hint="bis verify") from error
    bring_secrets(run, ground, home.key)
    # Where not everything was seen, a name may stand for content that was read.
    stood_in = stand_in(parts["data"], ground, whole=run.coverage.complete)
    shutil.copy(SCRIPT, ground.tools)
    user = Path(variables.get("HOME") or "~").expanduser()
    root = None
    if options.image:
        cache = images_folder(home.settings, variables)
        root = root_of(options.image, options.folder, cache, variables, progress)
        rebuilt: Rebuilt | None = environment_in(root, parts["environment"], run)
    else:
        rebuilt = None if options.here else _rebuild(run, parts, home, ground, variables, user, options, progress)
    plan = _plan(run, parts, home, ground, rebuilt, variables, user, options, root)
    progress("executing")
    with in_use(None if root else rebuilt):
        performed = perform(plan, home, receive=options.receive)
    if plan.wrapper and (refusal := rooms.refusal(ground.scratch)):
        raise refusal
    return performed, stood_in


def _images_in_use(home: Home, variables: Mapping[str, str], options: RepeatOptions) -> AbstractContextManager[None]:
    return all_in_use(images_folder(home.settings, variables).parent) if options.image else nullcontext()


def _rebuild(
    run: Run,
    parts: Mapping[PartKind, Part],
    home: Home,
    ground: Ground,
    variables: Mapping[str, str],
    user: Path,
    options: RepeatOptions,
    progress: Callable[[str], None],
) -> Rebuilt | None:
    if parts["environment"].facts.get("python") is None:
        return None
    progress("rebuilding the environment")
    return rebuild(
        parts["environment"],
        home.store,
        environments_folder(home.settings, variables),
        offline=options.offline,
        python=options.python or None,
        project=ground.project,
        original_paths=not rooms.usable(),
        variables=variables,
        home=user,
        run=run.id[:8],
        progress=progress,
    )


def _plan(
    run: Run,
    parts: Mapping[PartKind, Part],
    home: Home,
    ground: Ground,
    rebuilt: Rebuilt | None,
    variables: Mapping[str, str],
    user: Path,
    options: RepeatOptions,
    root: Root | None,
) -> Plan:
    reason = "asked for with --here" if options.here else rooms.usable()
    private = not reason
    project = Path(unspell(run.project)) if private else ground.project
    shown = mounts(run, ground, rebuilt, user, variables) if private else ()
    if root:
        shown = (*mounts_of(root), *shown)
    seal = sealing(run) if private else None
    given, forced, findings = _conditions(parts, home, rebuilt, private, variables, options)
    folder = project / unspell(run.folder)
    python = _python(rebuilt, private)
    # The words of the params part, not of the run: they may have been taken from another run.
    words = [unspell(word) for word in parts["params"].facts["argv"]]
    executed = substitute(words, parts["environment"], python)
    scene = Scene(
        project=project,
        folder=folder,
        command=tuple(words),
        variables=given,
        forced=forced,
        settings=home.settings,
        home=user,
        key=home.key,
        cache=home.cache,
        locate=(lambda path: outside(path, shown, ground.scratch)) if private else None,
        outside=ground.outside if private else None,
        own=(spell(str(ground.tools)), spell(str(ground.scratch))),
        restored=restored(shown) if private else (spell(str(ground.top)),),
        known_outputs=made_inputs(parts["data"]),
        sealed=seal is not None,
        image=root.reference if root else "",
        system=root.folder if root else Path("/"),
    )
    if root:
        findings = (*findings, told_of(root))
    if not private and not options.here:
        findings = (*findings, rooms.finding())
    # A notebook's kernel is looked for where the environment lies now; the command will see it at its old path.
    lookup = {**given, "PATH": f"{rebuilt.prefix}/bin:{given.get('PATH', '')}"} if rebuilt else given
    command = notebook_command(executed, scene.real(spell(str(folder))), lookup, ground.tools / SCRIPT.name)
    return Plan(
        run=_record(run, project, scene, options, findings),
        scene=scene,
        command=at_old_path(command, rebuilt) if private and rebuilt and rebuilt.at else command,
        scratch=ground.scratch,
        chance=chances.again(run.chance),
        tracing=home.settings.trace,
        given={kind: part for kind, part in parts.items() if kind == "code"},
        wrapper=rooms.prefix(shown, folder, ground.scratch, seal) if private else (),
        hook=ground.tools / "hook",
        stdin=_stdin(run, home, ground),
        quiet=options.quiet,
    )


def _conditions(
    parts: Mapping[PartKind, Part],
    home: Home,
    rebuilt: Rebuilt | None,
    private: bool,
    here: Mapping[str, str],
    options: RepeatOptions,
) -> tuple[dict[str, str], frozenset[str], tuple[Finding, ...]]:
    """The environment variables of the command, those of them that force conditions, what could not be given again."""
    if options.here:
        return dict(here), frozenset(), ()
    given, findings = variables_to_give(parts["params"], here, home.key)
    wanted, more = machine.conditions(parts["machine"])
    forced = {name: value for name, value in wanted.items() if name not in given}
    given = {**given, **forced}
    if rebuilt is not None and rebuilt.how in ("built", "cached"):
        at_home = private and bool(rebuilt.at)
        prefix = unspell(rebuilt.at) if at_home else str(rebuilt.prefix)
        active = _active(parts["environment"], prefix, at_home)
        given = {**given, "PATH": f"{prefix}/bin:{given.get('PATH', '')}", "VIRTUAL_ENV": active}
        given = given if active else {name: value for name, value in given.items() if name != "VIRTUAL_ENV"}
    return given, frozenset(forced), (*findings, *more, *(rebuilt.findings if rebuilt else ()))


def _active(environment: Part, prefix: str, at_home: bool) -> str:
    """What VIRTUAL_ENV names: as recorded where the environment lies at its old path, as pipenv and poetry say another
    word when it is set; elsewhere the rebuilt one, which they would not find."""
    recorded = environment.facts.get("active")
    return prefix if recorded is None or not at_home else unspell(recorded)


def _python(rebuilt: Rebuilt | None, private: bool) -> Path | None:
    if rebuilt is None or rebuilt.how not in ("built", "cached"):
        return None
    if private and rebuilt.at:
        # At its old path the recorded command finds it itself.
        return None
    return rebuilt.python


def _record(run: Run, project: Path, scene: Scene, options: RepeatOptions, findings: tuple[Finding, ...]) -> Run:
    record = new_run(
        secrets.token_hex(6),
        f"{run.name}-repeat",
        run.command,
        run.folder,
        project,
        conditions=run.conditions,
        chance=chances.again(run.chance),
        repeats=run.id,
        taken=options.taken,
    )
    return msgspec.structs.replace(record, findings=findings, stdin=run.stdin)


def _stdin(run: Run, home: Home, ground: Ground) -> Path:
    """The recorded standard input as a file; never what this terminal or pipe has."""
    if not run.stdin:
        return Path(os.devnull)
    home.store.get_file(run.stdin, ground.top / "stdin")
    return ground.top / "stdin"


def _verdict(
    run: Run,
    parts: Mapping[PartKind, Part],
    performed: Performed,
    stood_in: Mapping[str, str],
    ground: Ground,
    home: Home,
    options: RepeatOptions,
) -> Verdict:
    again = performed.run
    changes = compare_parts(run, again, home.store)
    tolerance = {**home.settings.tolerance, **options.tolerance}
    globs = metric_globs(home.settings.metrics, run.parts.get("code"), home.store)
    outputs = judge_outputs(run, again, home.store, context_of(run, again), tolerance, globs)
    metrics = judge_metrics(run, again, tolerance)
    differs = any(one.sameness == "different" for one in (*outputs, *metrics))
    verdict = judge(
        run,
        again,
        made=now(),
        parts=judge_parts(run, again, changes),
        outputs=outputs,
        metrics=metrics,
        changes=[change for of_kind in changes.values() for change in of_kind],
        leaks=leaks(
            performed.scene,
            parts["data"],
            unchanged_programs(parts["infrastructure"], again.parts["infrastructure"]),
        ),
        findings=(
            *again.findings,
            *differing_inputs(parts["data"], again.parts["data"]),
            *missing_caches(performed.scene, parts["data"]),
            *read_without_content(performed.scene, stood_in),
            *refused(performed.scene, sealing(run)),
            *left_open(rooms.left_open(ground.scratch)),
            *not_taken(options.taken, parts, again, home.store),
        ),
        tolerance=tolerance,
        taken=options.taken,
        suspects=suspects(performed.scene, again.parts["code"], home.store) if differs else Suspects(),
    )
    home.store.put_bytes(canonical(verdict), "record")
    home.store.flush()
    home.ledger.add_verdict(verdict, digest_bytes(canonical(verdict)))
    return verdict
