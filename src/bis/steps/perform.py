"""One execution, from capture to seal: what `bis run` does, and `bis repeat` in another place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from bis import __version__
from bis.digest import spell
from bis.errors import KeepingError, counted, explains
from bis.nouns.annotation import Annotation
from bis.nouns.logged import ENDING, JOURNALS, Logged
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.run import Chance, Coverage, Run, Status, Usage
from bis.nouns.trace import Trace
from bis.parts import Scene
from bis.parts.origin import CACHES, SYSTEM, with_sources
from bis.steps import chance as chances
from bis.steps import feed
from bis.steps.capture import Captures, capture
from bis.steps.execute import Execution, execute, prepare
from bis.steps.here import host_here, now, user_here
from bis.steps.home import Home
from bis.steps.metrics import metric_globs
from bis.steps.notebook import own_folders
from bis.steps.samples import started_at
from bis.steps.seal import collect, log_output, removed, seal
from bis.steps.supervise import Stdin, must_be_there
from bis.steps.terminal import Screen
from bis.steps.trace import Tracer
from bis.store import Store
from bis.store.drafts import discard

UNSEALED = explains(
    "B129", "The command ended, and its record could not be written. What was seen of it waits in .bis/live."
)


# Names of files in the scratch folder. None there has a suffix that a script looks for: it lies in the project, and
# `Path(".").rglob("*.csv")` is to find the same files with bis as without.
BEGUN = "begun"
"""The command has started."""
SUPERVISOR = "supervisor"
"""The process that is at it, its pid and when it started."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is decided before a command starts."""

    run: Run
    """Status `running`: id, name, command and the rest as far as they are known."""
    scene: Scene
    """Of the command: its `variables` without what bis adds."""
    command: tuple[str, ...]
    """What is executed: the scene's command, a notebook replaced by the program that executes it."""
    scratch: Path
    """Folder in which the run gets a folder of its own while it is under way."""
    chance: Chance
    tracing: str = "auto"
    given: Mapping[PartKind, Part] = {}
    """Parts that were restored from a record and need no capture."""
    wrapper: tuple[str, ...] = ()
    """Command prefix that enters the place where the command is to run."""
    hook: Path | None = None
    """Where to put a copy of the hook for interpreters, when the command cannot see that of bis."""
    stdin: Path | None = None
    """What the command reads as standard input; None: what bis itself has."""
    quiet: bool = False
    """Do not pass the command's output through."""


class Performed(msgspec.Struct, frozen=True, kw_only=True):
    run: Run
    """Sealed."""
    scene: Scene
    """With what was seen of the execution."""


class Receiver(Protocol):
    """What takes in what a command logs over HTTP, while it runs."""

    @property
    def variables(self) -> dict[str, str]:
        """What the command is given, so that its clients find it."""
        ...

    @property
    def called(self) -> bool:
        """Whether anything connected."""
        ...

    @property
    def trouble(self) -> str:
        """Why something that was sent may not have been taken; empty: all was."""
        ...

    @property
    def seen(self) -> tuple[str, ...]:
        """Ids of runs that were there before, and that the command was shown; known when it is closed."""
        ...

    def close(self) -> None:
        """When it returns, all that was acknowledged is in the ledger, in runs whose parent is this one."""
        ...


Receive = Callable[[Home, str, Mapping[str, str]], Receiver | None]
"""Begins to receive for a run (its id) whose command has these variables; None: nothing is received."""


def perform(
    plan: Plan,
    home: Home,
    *,
    started: Callable[[Run], None] = lambda run: None,
    tracer: Tracer | None = None,
    receive: Receive | None = None,
) -> Performed:
    """Execute the plan and seal the run. Whatever happens to the command, a truthful record is left;
    what bis itself cannot do raises before the command starts. `tracer`: one that was started ahead."""
    scratch = plan.scratch / plan.run.id
    inside = scratch / "inside"
    given = feed.look() if plan.stdin is None else feed.Feed(kind="other")
    # The tracer starts while the parts are captured.
    with tracer or prepare(plan.tracing) as tracer:
        if not plan.wrapper:
            must_be_there(plan.command, plan.scene.real(spell(str(plan.scene.folder))), plan.scene.variables)
        inside.mkdir(parents=True)
        # To take a digest of large data can take an hour: whoever looks meanwhile is to know that somebody is at it.
        (scratch / SUPERVISOR).write_text(f"{os.getpid()} {started_at(os.getpid())}")
        captures = capture(plan.scene, home.store, plan.given)
        _note(scratch, plan.run, captures.first)
        started(msgspec.structs.replace(plan.run, parts=captures.first))
        since_ns = time.time_ns()
        receiver = receive(home, plan.run.id, plan.scene.variables) if receive else None
        try:
            execution = _execute(plan, tracer, scratch, home, captures, given, receiver)
        except Exception:
            # A command that has begun goes on, and its record is written later by whoever finds it.
            if not (scratch / BEGUN).exists():
                discard(os.fspath(scratch))
            raise
        finally:
            if receiver:
                receiver.close()
    own = (*plan.scene.own, *own_folders(plan.command))
    scene = msgspec.structs.replace(plan.scene, trace=execution.trace, reports=chances.observe(inside), own=own)
    scene = with_sources(scene)
    try:
        logged = gathered(inside, home.store)
        if receiver and receiver.called:
            from bis.steps.received import with_received

            logged = with_received(logged, plan.run.id, home)
        run = record_of(plan.run, execution, scene, captures.finish(scene, home.store), home, since_ns, logged)
        run = _with_stdin(run, given, execution, home, scratch)
        if receiver and receiver.trouble:
            run = msgspec.structs.replace(run, findings=(*run.findings, _not_received(receiver.trouble)))
        if receive and not receiver and _is_unanswered(scene):
            run = msgspec.structs.replace(run, findings=(*run.findings, _unanswered()))
        if receiver and receiver.seen:
            run = msgspec.structs.replace(run, findings=(*run.findings, _looked_back(receiver.seen)))
        seal(run, home.store, home.ledger)
        say(run, logged.tags, home)
    except (KeepingError, OSError) as error:
        raise _unsealed(plan.run, execution, scratch, error) from error
    discard(os.fspath(scratch))
    return Performed(run=run, scene=scene)


def _note(scratch: Path, run: Run, parts: dict[PartKind, Part]) -> None:
    """Write down what is known before the start, for whoever finds the run without its supervisor."""
    (scratch / "parts").write_bytes(msgspec.json.encode(parts))
    (scratch / "run").write_bytes(msgspec.json.encode(run))


def _unsealed(run: Run, execution: Execution, scratch: Path, error: Exception) -> KeepingError:
    ended = f"exit {execution.exit}" if execution.signal is None else f"signal {execution.signal}"
    return KeepingError(
        f"the command ended ({ended}), and its record could not be written: {error.args[0] if error.args else error}",
        because=f"What was seen of it is kept in {scratch}, and nothing of it is lost.",
        hint=f"make room, then: bis show {run.id[:8]}, which writes the record first",
        code=UNSEALED,
    )


def _with_stdin(run: Run, given: feed.Feed, execution: Execution, home: Home, scratch: Path) -> Run:
    read = feed.kept(given, execution.fed, home.store, scratch) or run.stdin
    conditions = {**run.conditions, **({"stdin": "pipe"} if execution.fed and read else {})}
    found = (*run.findings, *feed.findings(given, execution.fed), *_typed(execution))
    return msgspec.structs.replace(run, stdin=read, conditions=conditions, findings=found)


def _not_received(trouble: str) -> Finding:
    text = f"what it logged over HTTP may not all have been taken: {trouble}"
    return Finding(code="not-received", text=text, hint="bis server, and MLFLOW_TRACKING_URI=http://127.0.0.1:5000")


def _is_unanswered(scene: Scene) -> bool:
    """Whether it imported MLflow, was told of no server, and nothing is installed that could answer its client."""
    if scene.variables.get("MLFLOW_TRACKING_URI") or not scene.trace:
        return False
    return any("/mlflow/tracking/" in access.path for access in scene.trace.accesses)


def _unanswered() -> Finding:
    text = "it imported MLflow, and what its client logged is not in the record: bis lacks the packages to answer it"
    return Finding(code="not-received", text=text, hint="bis ui  says what to install")


def _looked_back(seen: Sequence[str]) -> Finding:
    some = ", ".join(id[:8] for id in seen[:3]) + (", …" if len(seen) > 3 else "")
    text = f"it looked at {counted(len(seen), 'run')} that {'was' if len(seen) == 1 else 'were'} there before: {some}"
    return Finding(
        code="earlier-runs",
        text=text,
        hint="a repeat is shown what is there then: save what you need to a file, and read that",
    )


def _is_piped(plan: Plan, given: feed.Feed) -> bool:
    return given.kind == "pipe" if plan.stdin is None else plan.run.conditions.get("stdin") == "pipe"


def _typed(execution: Execution) -> Iterator[Finding]:
    if execution.keys_typed:
        yield Finding(
            code="typed-input",
            text="keys were typed at the terminal while it ran: they are not recorded, only what was shown of them",
            hint="give answers in a file: bis run -- COMMAND < FILE",
        )


def _execute(
    plan: Plan,
    tracer: Tracer,
    scratch: Path,
    home: Home,
    captures: Captures,
    given: feed.Feed,
    receiver: Receiver | None,
) -> Execution:
    scene = plan.scene

    def begun(_: int) -> None:
        (scratch / BEGUN).touch()
        captures.go_on()
        # While the command runs, what is to survive a power cut is made durable.
        home.store.flush()
        home.ledger.begin(plan.run)

    seen_by_kernel = tracer.facts.get("mechanism") == "notify"
    hook = chances.copy_hook(plan.hook) if plan.hook else chances.HOOK
    added = chances.variables(plan.chance, scratch / "inside", scene.variables, events=not seen_by_kernel, hook=hook)
    added |= {"BIS_RUN": plan.run.id, JOURNALS: str(scratch / "inside"), **(receiver.variables if receiver else {})}
    with _umask(plan.run.conditions.get("umask", "")):
        return execute(
            plan.command,
            folder=scene.real(spell(str(scene.folder))),
            variables={**scene.variables, **added},
            scratch=scratch,
            on_start=begun,
            tracer=tracer,
            screen=_recorded_screen(plan.run),
            stdin=Stdin(file=plan.stdin, piped=_is_piped(plan, given), limit=scene.settings.limits.input_file),
            roots=(scene.project,),
            unkept=(*SYSTEM, *(str(scene.home / name) for name in CACHES)),
            preimage_limit=scene.settings.limits.preimage_file,
            wrapper=plan.wrapper,
            quiet=plan.quiet,
        )


@contextmanager
def _umask(recorded: str) -> Iterator[None]:
    if not recorded:
        yield
        return
    before = os.umask(int(recorded, 8))
    try:
        yield
    finally:
        os.umask(before)


def gathered(inside: Path, store: Store) -> Logged:
    """What the script logged of itself; most scripts log nothing."""
    if not any(inside.glob(f"*{ENDING}")):
        return Logged()
    from bis.steps.gather import gather

    return gather(inside, store)


def say(run: Run, tags: Mapping[str, str], home: Home) -> None:
    """Note the tags that the script gave its run: they can be changed later, so they lie beside the record."""
    if tags:
        from bis.steps.annotations import keep

        keep(Annotation(run=run.id, made=now(), user=run.user, tags=dict(tags)), home.store, home.ledger)


def record_of(
    run: Run,
    execution: Execution,
    scene: Scene,
    parts: dict[PartKind, Part],
    home: Home,
    since_ns: int,
    logged: Logged,
) -> Run:
    """The whole record of a run that has ended, its outputs put into the store."""
    globs = metric_globs(scene.settings.metrics, parts.get("code"), home.store)
    outputs, metrics, findings = collect(scene, home.store, since_ns, globs)
    logs = [
        log_output(name, path, home.store)
        for name, path in (("<stdout>", execution.stdout), ("<stderr>", execution.stderr))
    ]
    chance, seen = chances.seen(run.chance, scene.reports, execution.trace)
    return msgspec.structs.replace(
        run,
        ended=execution.ended,
        status=status_of(execution),
        exit=execution.exit,
        signal=execution.signal,
        parts=parts,
        outputs=(*logs, *outputs, *logged.artifacts),
        removed=removed(scene),
        metrics={**metrics, **logged.metrics},
        logged=dict(logged.params),
        history=logged.history,
        chance=chance,
        usage=_usage(execution, home),
        lines=home.store.put_file(execution.lines) if execution.lines.exists() else run.lines,
        coverage=_coverage(execution.trace),
        conditions={**run.conditions, "screen": msgspec.json.encode(execution.screen).decode()},
        findings=(*run.findings, *findings, *seen, *_execution_findings(execution)),
    )


def status_of(execution: Execution) -> Status:
    if execution.interrupted:
        return "interrupted"
    return "finished" if execution.exit == 0 else "failed"


def _usage(execution: Execution, home: Home) -> Usage:
    if execution.samples_csv is None or not execution.samples_csv.exists():
        return execution.usage
    return msgspec.structs.replace(execution.usage, samples=home.store.put_file(execution.samples_csv))


def _coverage(trace: Trace) -> Coverage:
    return Coverage(mechanism=trace.mechanism, complete=trace.complete, limits=trace.limits)


def _recorded_screen(run: Run) -> Screen | None:
    """The terminals that a repeat gives its command, as the recorded run had them; None for what there is here."""
    recorded = run.conditions.get("screen")
    return msgspec.json.decode(recorded, type=Screen) if recorded else None


def _execution_findings(execution: Execution) -> list[Finding]:
    findings = [Finding(code="execution", text=execution.failure)] if execution.failure else []
    if execution.left:
        text = f"went on after the command had ended: {', '.join(execution.left)}"
        findings.append(Finding(code="left-running", text=text, hint="what they do now is not part of the record"))
    return findings


def new_run(
    id: str,
    name: str,
    command: Sequence[str],
    folder: str,
    project: Path,
    *,
    conditions: Mapping[str, str],
    chance: Chance,
    parent: str = "",
    note: str = "",
    repeats: str = "",
    taken: Mapping[str, str] | None = None,
) -> Run:
    """The record of a run that is about to start."""
    return Run(
        id=id,
        name=name,
        command=tuple(command),
        folder=folder,
        project=spell(str(project)),
        user=user_here(),
        host=host_here(),
        version=__version__,
        started=now(),
        status="running",
        conditions=dict(conditions),
        chance=chance,
        parent=parent,
        note=note,
        repeats=repeats,
        taken=dict(taken or {}),
    )


def conditions_here(variables: Mapping[str, str]) -> dict[str, str]:
    """What the operating system gives every process, and a repeat gives again."""
    mask = os.umask(0)
    os.umask(mask)
    given = {name: variables[name] for name in ("TZ", "LANG", "LC_ALL", "LC_CTYPE") if name in variables}
    return {"umask": f"{mask:04o}", **given}
