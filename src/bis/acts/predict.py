"""`bis predict`: a prediction for each row of files, in bulk, recorded as a run.

What runs is one program in the model's own interpreter (`steps/scoring_program`), supervised and recorded as any other
command: its record holds the model, the rows, the program and the environment, so `bis repeat` does it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.digest import digest_value, short
from bis.errors import BisError, CannotRepeat, Failure, KeepingError, NotFound, UsageError, explains
from bis.nouns.annotation import Annotation
from bis.nouns.model import OF_MODEL, ROWS, WRITTEN
from bis.nouns.run import Run
from bis.scoring.bulk.kinds import ARROW_KINDS, KINDS, in_the_way, kind_of
from bis.settings import SCORING, find_project, load_settings
from bis.steps import chance as chances
from bis.steps.annotations import keep
from bis.steps.here import now as clock
from bis.steps.here import user_here
from bis.steps.home import Home, bring_up, open_home
from bis.steps.leftovers import all_in_use, in_use
from bis.steps.model_environment import Chosen, environment
from bis.steps.model_extras import with_packages
from bis.steps.model_folder import ModelFolder, read_folder
from bis.steps.model_place import Placed, data_folder, place
from bis.steps.perform import perform
from bis.steps.planning import plan
from bis.steps.recover import recover_lost
from bis.steps.repeating import environments_folder
from bis.steps.scoring_files import Here, bring_input, output_here, send, take_away
from bis.steps.scoring_program import program
from bis.store.snapshot import put_leaves

IDENTITY: Final = "identity.json"
BATCH: Final = 10_000
LOOK: Final = 0.5
"""Seconds between two looks at how far it is."""
SAID: Final = re.compile(r"(?P<rows>\d+) rows, (?P<rejected>\d+) rejected")
UNFIT = explains(
    "B136", "A row of what is to be scored does not fit the model; the message says which, and never what is in it."
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be scored, and how."""

    model: str
    inputs: tuple[str, ...]
    output: str
    input_format: str = ""
    format: str = ""
    batch: int = BATCH
    workers: int = 1
    threads: int = 1
    method: str = ""
    params: tuple[str, ...] = ()
    """`NAME=VALUE`, the value as JSON or as text."""
    keep: tuple[str, ...] = ()
    """Columns of the input that come along; `all` for all."""
    skip: bool = False
    """Rows that cannot be scored go to a file of rejects."""
    restart: bool = False
    on: str = "local"
    python: str = ""
    trust: bool = False
    name: str = ""
    note: str = ""


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    run: Run
    model: str
    output: str
    is_folder: bool = False
    """Whether that is a folder of files, as its name tells no format."""
    rows: int
    rejected: int
    rejects: str = ""
    """The file of the rows that could not be scored."""
    resumed: bool = False


Progress = Callable[[int, float], None]
"""Is told the rows that are done, and the part of all, from 0 to 1; the part is 0 where it is not known."""


def predict(
    asked: Asked,
    *,
    folder: Path,
    variables: Mapping[str, str],
    now: datetime,
    progress: Progress = lambda rows, part: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Predicted:
    """Score the inputs and return the sealed run. Raises UsageError for rows that do not fit the model, CannotRepeat
    for a model that cannot be loaded; what was done until then is kept, and the same call goes on with it."""
    folder = folder.resolve()
    project = find_project(folder)
    home = open_home(project, load_settings(project, variables))
    if remark := bring_up(home, recording=True):
        tell(remark)
    recover_lost(home, variables)
    below = data_folder(variables)
    with all_in_use(below):
        return _predicted(asked, folder, home, below, variables, now, progress, tell)


def _predicted(
    asked: Asked,
    folder: Path,
    home: Home,
    below: Path,
    variables: Mapping[str, str],
    now: datetime,
    progress: Progress,
    tell: Callable[[str], None],
) -> Predicted:
    placed = place(asked.model, now, folder, lambda: home, below / "models")
    model = read_folder(placed.folder)
    output = output_here(asked.output, below / "outputs")
    format = _format(asked, output)
    if why := in_the_way(folder / output.path, _is_folder(output)):
        raise UsageError(
            f"the predictions are not written to {asked.output}: {why}",
            because="An output takes the place of what is there, as a whole.",
            hint="--output ANOTHER",
        )
    work = home.folder / SCORING / short(digest_value(os.fspath(folder / output.path)), 16)
    _demand_alone(work, asked)  # before what it reads is fetched anew
    inputs = [bring_input(one, home, folder, below / "inputs" / work.name, variables, tell) for one in asked.inputs]
    chosen = _environment(asked, placed, model, inputs, format, home, variables, tell)
    script = program(model.described, below / "programs")
    words = _words(asked, placed, inputs, output, format, script, work, chosen, folder)
    resumed = _prepare(work, _identity(asked, placed, inputs, words, chosen, home, folder), asked, tell)
    with in_use(chosen.rebuilt), _watched(work, progress):
        run = _performed(words, asked, folder, home, variables)
    return _ended(run, asked, placed, inputs, output, home, variables, resumed)


def _format(asked: Asked, output: Here) -> str:
    """As the option, the name, or, of a folder, the input says."""
    found = asked.format or kind_of(output.path)
    if not found and _is_folder(output):
        found = asked.input_format or kind_of(asked.inputs[0])
    if not found:
        known = ", ".join(KINDS)
        raise UsageError(
            f"the name {output.typed} tells no format",
            because=f"Known are {known}.",
            hint="--format csv, jsonl, parquet or arrow",
        )
    return found


def _is_folder(output: Here) -> bool:
    return output.brought is None and not kind_of(output.path)


def _environment(
    asked: Asked,
    placed: Placed,
    model: ModelFolder,
    inputs: Sequence[Here],
    format: str,
    home: Home,
    variables: Mapping[str, str],
    tell: Callable[[str], None],
) -> Chosen:
    run = placed.run or model.run
    cache = environments_folder(home.settings, variables)
    chosen = environment(
        placed.folder,
        home=home if run and not asked.python else None,
        run=run,
        python=asked.python,
        variables=variables,
        cache=cache,
        progress=tell,
    )
    if chosen.told:
        tell(chosen.told)
    modules = _modules(asked, inputs, format)
    return with_packages(chosen, modules, variables=variables, cache=cache, progress=tell)


def _modules(asked: Asked, inputs: Sequence[Here], format: str) -> list[str]:
    """What is needed beside the model's own packages."""
    kinds = {format, asked.input_format, *(kind for one in inputs for kind in _kinds(one.path))}
    packed = any(one.path.lower().endswith(".zst") for one in inputs) or asked.output.lower().endswith(".zst")
    beside = {"ray": ["ray"], "dask": ["distributed"]}.get(asked.on, [])
    return [*(["pyarrow"] if kinds & set(ARROW_KINDS) or packed else []), *beside]


def _kinds(path: str) -> Iterator[str]:
    if Path(path).is_dir():
        yield from {kind_of(name) for _, _, names in os.walk(path) for name in names}
    yield kind_of(path)


def _words(
    asked: Asked,
    placed: Placed,
    inputs: Sequence[Here],
    output: Here,
    format: str,
    script: Path,
    work: Path,
    chosen: Chosen,
    folder: Path,
) -> list[str]:
    """The command line: all that decides the answers is in it, or in what it names."""
    words = [os.fspath(chosen.python), os.fspath(script), "--model", _named(placed.folder, folder)]
    words += [word for one in inputs for word in ("--input", one.path)]
    words += ["--output", output.path, "--format", format, "--batch", str(asked.batch)]
    words += ["--input-format", asked.input_format] if asked.input_format else []
    words += ["--folder"] if _is_folder(output) else []
    words += ["--workers", str(asked.workers), "--threads", str(asked.threads)]
    words += ["--method", asked.method] if asked.method else []
    words += [word for one in asked.params for word in ("--param", one)]
    words += ["--keep-all"] if asked.keep == ("all",) else [word for one in asked.keep for word in ("--keep", one)]
    words += ["--skip"] if asked.skip else []
    words += ["--on", asked.on] if asked.on != "local" else []
    words += ["--trust"] if asked.trust or placed.own else []
    return [*words, "--work", os.path.relpath(work, folder)]


def _named(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder) if path.is_relative_to(folder) else os.fspath(path)


# -- going on ----------------------------------------------------------------------------------------------------


def _identity(
    asked: Asked, placed: Placed, inputs: Sequence[Here], words: Sequence[str], chosen: Chosen, home: Home, folder: Path
) -> dict[str, Any]:
    """What parts were made of: parts that were made of something else are of no use."""
    # With --skip, too, what was scored before the first bad row is the same.
    said = {"--work", "--workers", "--threads", "--output"}
    options = [
        word
        for before, word in itertools.pairwise(words[1:])
        if word not in said and before not in said and word != "--skip"
    ]
    rows = [file for one in inputs for file in _files(folder, one.path)]
    return {
        "input": [[name, digest] for name, digest in _digests(rows, home)],
        "model": [[name, digest] for name, digest in _digests(_files(folder, os.fspath(placed.folder)), home)],
        "program": Path(words[1]).name,
        "interpreter": os.fspath(chosen.python),
        "batch": str(asked.batch),
        "options": options,
    }


def _files(folder: Path, path: str) -> list[Path]:
    import glob

    top = folder / path
    if top.is_dir():
        return sorted(one for one in top.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
    if top.exists():
        return [top]
    found = sorted(folder / one for one in glob.glob(path, root_dir=folder, recursive=True))
    if not found:
        raise NotFound(f"there is no file {path}", hint="--input FILE, a folder, a glob in quotes, a URL, data:/NAME")
    return [one for one in found if one.is_file()]


def _digests(files: Sequence[Path], home: Home) -> Iterator[tuple[str, str]]:
    for leaf in put_leaves([(os.fspath(path), path) for path in files], None, home.cache):
        yield leaf.path, leaf.entry.digest


def _prepare(work: Path, identity: dict[str, Any], asked: Asked, tell: Callable[[str], None]) -> bool:
    """The folder of the parts; whether some are there. Raises UsageError where they are of something else."""
    file = work / IDENTITY
    if asked.restart:
        shutil.rmtree(work, ignore_errors=True)
    if file.exists():
        found = json.loads(file.read_bytes())
        if differs := [name for name in identity if found.get(name) != json.loads(json.dumps(identity[name]))]:
            raise UsageError(
                f"an earlier scoring into {asked.output} was not finished, and was of another {' and '.join(differs)}",
                because="What it wrote until then cannot be gone on with.",
                hint="the same command with --restart begins anew",
            )
    parts = any(work.glob("[0-9]*-*.*"))
    work.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(identity), "utf-8")
    return parts


def _demand_alone(work: Path, asked: Asked) -> None:
    """Raises UsageError where somebody is at it."""
    with contextlib.suppress(FileNotFoundError), open(work / "lock", "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another process is writing {asked.output} now",
                because="It goes on by itself, also when the command that started it was killed.",
                hint="wait for it to end",
            ) from None


@contextlib.contextmanager
def _watched(work: Path, progress: Progress) -> Iterator[None]:
    """Tells how far the program is, which writes that down."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            with contextlib.suppress(OSError, ValueError, KeyError):
                said = json.loads((work / "progress").read_bytes())
                progress(said["rows"], said["part"])

    watcher = threading.Thread(target=look, name="bis-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


# -- recording ---------------------------------------------------------------------------------------------------


def _performed(words: Sequence[str], asked: Asked, folder: Path, home: Home, variables: Mapping[str, str]) -> Run:
    chance = chances.draw(variables, seed=None, enabled=home.settings.seed, deterministic=False)
    name = asked.name or home.ledger.name("predict", clock())
    planned = plan(words, folder, home, variables, chance=chance, name=name, note=asked.note, quiet=True)
    try:
        return perform(planned, home).run
    except BaseException:
        with contextlib.suppress(KeepingError):
            home.ledger.unname(planned.run.name)
        raise


def _ended(
    run: Run,
    asked: Asked,
    placed: Placed,
    inputs: Sequence[Here],
    output: Here,
    home: Home,
    variables: Mapping[str, str],
    resumed: bool,
) -> Predicted:
    model = f"models:/{placed.name}/{placed.version}" if placed.version else placed.reference
    if not run.ok:
        raise _trouble(run, home)
    said = SAID.search(_log(run, "<stdout>", home))
    rows, rejected = (int(said["rows"]), int(said["rejected"])) if said else (0, 0)
    tags = {
        OF_MODEL: model,
        "bis.input": ", ".join(one.typed for one in inputs)[:1000],
        WRITTEN: output.typed,
        ROWS: str(rows),
        "bis.rejected": str(rejected),
    }
    keep(Annotation(run=run.id, made=clock(), user=user_here(), tags=tags), home.store, home.ledger)
    if output.brought is not None:
        send(output, variables)
    rejects = f"{output.path}.rejects.jsonl" if asked.skip and rejected else ""
    if output.brought is None or not rejects:
        take_away(output)
    take_away(*inputs)
    return Predicted(
        run=run,
        model=model,
        output=output.typed,
        is_folder=_is_folder(output),
        rows=rows,
        rejected=rejected,
        rejects=rejects,
        resumed=resumed,
    )


def _trouble(run: Run, home: Home) -> BisError:
    """What the program said when it could not go on."""
    lines = [line.partition(": ") for line in _log(run, "<stderr>", home).splitlines()]
    said = {name: text for name, _, text in lines if name in ("error", "because", "hint")}
    if "error" not in said:
        ended = f"signal {run.signal}" if run.signal is not None else f"status {run.exit}"
        return Failure(
            f"the scoring ended with {ended}", hint=f"bis show {run.name} --stderr; the same command goes on"
        )
    given = {"because": said.get("because", ""), "hint": said.get("hint", "")}
    match run.exit:
        case 3:
            return NotFound(said["error"], **given)
        case 4:
            return CannotRepeat(said["error"], **given)
        case 5:
            return KeepingError(said["error"], **given)
        case _:
            return UsageError(said["error"], **given, code=UNFIT)


def _log(run: Run, name: str, home: Home) -> str:
    digest = next((one.digest for one in run.outputs if one.path == name), None)
    return home.store.get_bytes(digest).decode("utf-8", "replace").replace("\r", "") if digest else ""
