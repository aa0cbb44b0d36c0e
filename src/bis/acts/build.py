"""`bis build image`: a run or a model as an image that is the same each time it is built."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from bis.digest import unspell
from bis.errors import CannotRepeat, NotFound
from bis.ledger.moments import micros
from bis.nouns.reference import MODELS, parse
from bis.nouns.run import Run
from bis.oci import Descriptor, Image
from bis.oci.layout import Layout
from bis.oci.registry import Registry, read_name
from bis.parts import Place
from bis.parts import code as code_of
from bis.parts.environment import python_of
from bis.steps import base_image, image
from bis.steps.home import Home
from bis.steps.image import ENVIRONMENT, LABEL, MODEL, PORT, SERVER, WORK, Interpreter, Part
from bis.steps.installing import find_uv
from bis.steps.model_environment import environment as model_environment
from bis.steps.model_folder import MLMODEL, ModelFolder, read_folder
from bis.steps.model_place import RUNS, Placed, models_folder, place
from bis.steps.provenance import attach, provenance
from bis.steps.rebuild import rebuild
from bis.steps.repeating import environments_folder

PACKAGES: Final = "environment"


class Asked(NamedTuple):
    """What is to be built, and where it goes."""

    what: str
    base: str
    output: Path
    name: str = ""
    """In the layout; else told from what is built."""
    push: str = ""
    python: str = ""
    """The environment of a model, as it is."""


class Built(NamedTuple):
    """An image that was built."""

    image: Image
    name: str
    layout: Path
    provenance: Descriptor
    pushed: str = ""
    told: tuple[str, ...] = ()
    """What whoever built it should know."""


class _Source(NamedTuple):
    """What an image is made from."""

    parts: Sequence[Part]
    config: Mapping[str, Any]
    labels: Mapping[str, str]
    moment: int
    name: str
    run: Run | None
    identity: str = ""


def build(
    asked: Asked,
    homes: Callable[[], Home],
    *,
    now: datetime,
    folder: Path,
    variables: Mapping[str, str],
    say: Callable[[str], None] = lambda text: None,
) -> Built:
    """Raises NotFound, UsageError, KeepingError, and CannotRepeat for what cannot be put into an image."""
    layout = Layout(asked.output)
    layout.make()
    cache = models_folder(homes().settings, variables)
    base = base_image.bring(asked.base, layout, cache.parent / "images", variables, say)
    with tempfile.TemporaryDirectory(prefix="bis-build-") as place_of:
        room = Path(place_of)
        if is_model(asked.what, folder):
            source = _of_model(asked, homes, base, layout, room, now, folder, variables, say)
        else:
            source = _of_run(asked, homes(), base, layout, room, now, variables, say)
        made = image.compose(
            layout, base, source.parts, moment=source.moment, config=source.config, labels=source.labels, say=say
        )
    name = asked.name or source.name
    layout.name(made.descriptor, name)
    statement = provenance(
        made,
        name,
        source=asked.what,
        base=base.reference,
        run=source.run,
        record=str(homes().ledger.record(source.run.id)) if source.run else "",
        model=source.labels.get("bis.model", ""),
        identity=source.identity,
    )
    beside = attach(layout, made, name, statement)
    pushed = _pushed(asked.push, made, beside, layout, variables, say) if asked.push else ""
    told = tuple(filter(None, (base.told,)))
    return Built(made, name, asked.output, beside, pushed, told)


def is_model(text: str, folder: Path) -> bool:
    """Whether a model is meant, rather than a run."""
    return text.startswith((MODELS, RUNS)) or (folder / Path(text).expanduser() / MLMODEL).is_file()


def _pushed(
    name: str, made: Image, beside: Descriptor, layout: Layout, variables: Mapping[str, str], say: Callable[[str], None]
) -> str:
    """Where it is now, by digest."""
    named = read_name(name)
    say(f"sending to {named.host}")
    registry = Registry(named.host, variables)
    registry.push(named, made.descriptor, layout)
    registry.push(named._replace(tag="", digest=beside.digest), beside, layout)
    return str(named._replace(tag="", digest=made.descriptor.digest))


# -- a model -----------------------------------------------------------------------------------------------------


def _of_model(
    asked: Asked,
    homes: Callable[[], Home],
    base: base_image.Base,
    layout: Layout,
    room: Path,
    now: datetime,
    folder: Path,
    variables: Mapping[str, str],
    say: Callable[[str], None],
) -> _Source:
    home = homes()
    placed = place(asked.what, now, folder, homes, models_folder(home.settings, variables))
    model = read_folder(placed.folder)
    chosen = model_environment(
        placed.folder,
        home=home,
        run=placed.run,
        python=asked.python,
        variables=variables,
        cache=environments_folder(home.settings, variables),
        progress=say,
    )
    environment = chosen.python.parent.parent
    python = image.interpreter(environment, base, layout)
    run = _known_run(home, placed.run or model.run)
    parts = [
        *_interpreter_part(python),
        image.environment_part(environment, python),
        image.server_part(python, find_uv(variables, _user(variables), None), room / "server", say),
        image.tree_part("model", placed.folder, MODEL),
    ]
    config = {
        "Entrypoint": [f"/{SERVER}/bin/bis", "serve", f"/{MODEL}", "--python", f"/{ENVIRONMENT}/bin/python"],
        "Cmd": ["--host", "0.0.0.0", "--port", str(PORT)],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "WorkingDir": "/tmp",
        "StopSignal": "SIGTERM",
    }
    labels = {**_labels(placed.name, run), **_of_placed(placed, model)}
    moment = micros(run.started) // 1_000_000 if run else base_image.EPOCH
    name = f"{placed.name}-{placed.version}" if placed.version else placed.name
    return _Source(parts, config, labels, moment, name, run, model.identity)


def _of_placed(placed: Placed, model: ModelFolder) -> dict[str, str]:
    reference = f"{MODELS}/{placed.name}/{placed.version}" if placed.version else ""
    version = {f"{LABEL}version": placed.version} if placed.version else {}
    return {**version, **_some({"bis.model": reference, "bis.identity": model.identity, "bis.flavor": model.flavor})}


# -- a run -------------------------------------------------------------------------------------------------------


def _of_run(
    asked: Asked,
    home: Home,
    base: base_image.Base,
    layout: Layout,
    room: Path,
    now: datetime,
    variables: Mapping[str, str],
    say: Callable[[str], None],
) -> _Source:
    run = home.ledger.find(parse(asked.what, now.astimezone().replace(tzinfo=None)))
    part = run.parts.get("environment")
    recorded = python_of(part) if part else None
    parts: list[Part] = []
    if part and recorded:
        ready = rebuild(
            part,
            home.store,
            environments_folder(home.settings, variables),
            variables=variables,
            home=_user(variables),
            run=run.name,
            progress=say,
        )
        python = image.interpreter(ready.prefix, base, layout)
        parts += [*_interpreter_part(python), image.environment_part(ready.prefix, python)]
    if "code" not in run.parts:
        raise CannotRepeat(f"nothing of the code of {run.name} is recorded", hint=f"bis show {run.id[:8]}")
    code = room / "code"
    code.mkdir()
    code_of.restore(run.parts["code"], Place(project=code), home.store)
    parts.append(image.tree_part("code", code, WORK))
    config = {
        "Cmd": _command(run, recorded is not None),
        "WorkingDir": f"/{WORK}/{run.folder}".rstrip("/.") or "/",
    }
    moment = micros(run.started) // 1_000_000
    return _Source(parts, config, _labels(run.name, run), moment, run.name, run)


def _command(run: Run, has_python: bool) -> list[str]:
    """As it was recorded, with the interpreter of the image."""
    first, *rest = (unspell(word) for word in run.command)
    called = first.rpartition("/")[2]
    if has_python and called.startswith("python"):
        return [f"/{ENVIRONMENT}/bin/python", *rest]
    return [f"/{ENVIRONMENT}/bin/{called}" if "/bin/" in first else first, *rest]


def _interpreter_part(python: Interpreter) -> list[Part]:
    return [Part("interpreter", python.entries)] if python.entries else []


def _labels(title: str, run: Run | None) -> dict[str, str]:
    if run is None:
        return {f"{LABEL}title": title}
    code = run.parts.get("code")
    facts = code.facts if code else {}
    return {
        f"{LABEL}title": title,
        **_some(
            {
                f"{LABEL}revision": str(facts.get("revision") or ""),
                "bis.run": run.id,
                "bis.run.name": run.name,
                "bis.run.command": shlex.join(unspell(word) for word in run.command),
            }
        ),
    }


def _some(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if value}


def _known_run(home: Home, id: str) -> Run | None:
    try:
        return home.ledger.get(id) if id else None
    except NotFound:
        return None


def _user(variables: Mapping[str, str]) -> Path:
    return Path(variables.get("HOME") or "~").expanduser()
