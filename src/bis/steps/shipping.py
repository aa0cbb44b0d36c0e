"""What is shipped: a model or a run that is laid out whole, an image of it, and the note of what it was made of."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bis.digest import unspell
from bis.errors import BisError, CannotRepeat, NotFound, UsageError
from bis.ledger.moments import micros
from bis.nouns.built import Built, BuiltKind
from bis.nouns.reference import MODELS, parse
from bis.nouns.run import Run
from bis.oci import Descriptor, Image
from bis.oci.layers import Packing
from bis.oci.layout import Layout
from bis.oci.registry import Registry, read_name
from bis.parts import Place
from bis.parts import code as code_of
from bis.parts import data as data_of
from bis.parts.interpreter import python_of
from bis.parts.params import variables_to_give
from bis.settings import Settings
from bis.steps import base_image, image
from bis.steps.built import keep
from bis.steps.here import now, user_here
from bis.steps.home import Home
from bis.steps.image import ENVIRONMENT, LABEL, NOBODY, WORK, Interpreter, Part
from bis.steps.leftovers import all_in_use
from bis.steps.model_environment import environment as model_environment
from bis.steps.model_folder import MLMODEL, ModelFolder, read_folder
from bis.steps.model_place import RUNS, Placed, meant, models_folder, place
from bis.steps.provenance import attach, provenance
from bis.steps.rebuild import rebuild
from bis.steps.repeating import environments_folder
from bis.steps.rootfs import images_folder
from bis.store.temporary import temporary


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
    packing: Packing = "none"
    data: bool = True
    """Put the inputs of a run into its image."""
    trust: bool = False
    """Let the image open a pickle that no run of this project made."""


class Site(NamedTuple):
    """Where it is built."""

    settings: Settings
    homes: Callable[[], Home]
    """Opens the project's home; raises NotFound where there is none."""
    now: datetime
    folder: Path
    variables: Mapping[str, str]
    say: Callable[[str], None] = lambda text: None

    @property
    def home(self) -> Home | None:
        """None where nothing is recorded: a model in a folder can be built all the same."""
        try:
            return self.homes()
        except NotFound:
            return None

    @property
    def user(self) -> Path:
        return Path(self.variables.get("HOME") or "~").expanduser()

    @property
    def models(self) -> Path:
        return models_folder(self.settings, self.variables)

    @property
    def images(self) -> Path:
        return images_folder(self.settings, self.variables)

    @property
    def environments(self) -> Path:
        return environments_folder(self.settings, self.variables)


class BuiltImage(NamedTuple):
    """An image that was built."""

    image: Image
    name: str
    layout: Path
    provenance: Descriptor
    pushed: str = ""
    told: tuple[str, ...] = ()
    """What whoever built it should know."""


class Source(NamedTuple):
    """What a thing is built of."""

    name: str
    run: Run | None
    model: str = ""
    """`models:/churn/3`; empty where it is no registered version."""
    identity: str = ""
    flavor: str = ""
    title: str = ""
    version: str = ""

    @property
    def moment(self) -> int:
        """When the run began, in seconds since 1970 UTC: the time of all that is built of it."""
        return micros(self.run.started) // 1_000_000 if self.run else base_image.EPOCH


class Content(NamedTuple):
    """What goes into an image."""

    source: Source
    parts: Sequence[Part]
    config: Mapping[str, Any]
    variables: Mapping[str, str] = {}


class Bench(NamedTuple):
    """What an image is put together on."""

    site: Site
    base: base_image.Base
    layout: Layout
    room: Path
    """For files on the way."""


def assemble(asked: Asked, site: Site, of: Callable[[Asked, Bench], Content], kind: BuiltKind) -> BuiltImage:
    """An image of what `of` makes for it, with a statement of what it was made of, noted as built, and sent. One that
    cannot be sent was built all the same: the error says so, and what sends it."""
    if asked.push:
        read_name(asked.push)  # before the work
    _demand_there(asked.what, site)
    layout = Layout(asked.output)
    layout.make()
    with all_in_use(site.images.parent):
        base = base_image.bring(asked.base, layout, site.images, site.variables, site.say)
    with temporary("build") as room:
        source, parts, config, given = of(asked, Bench(site, base, layout, room))
        made = image.compose(
            layout,
            base,
            parts,
            moment=source.moment,
            config=config,
            variables=given,
            labels=_labels(source),
            packing=asked.packing,
            say=site.say,
        )
    name = asked.name or source.name
    layout.name(made.descriptor, name)
    statement = statement_of(made.descriptor.digest, name, asked.what, source, site, base.reference)
    beside = attach(layout, made, name, statement)
    note(kind, made.descriptor.digest, name, source, site, base=base.reference)
    pushed = ""
    if asked.push:
        with _told_as_built(asked, made, name, base, kind, site):
            pushed = _pushed(asked.push, made, beside, layout, site)
        note(kind, made.descriptor.digest, name, source, site, base=base.reference, pushed=pushed)
    told = [base.told, "its digest depends on the version of zlib here" if asked.packing == "gzip" else ""]
    return BuiltImage(made, name, asked.output, beside, pushed, tuple(filter(None, told)))


def statement_of(digest: str, name: str, what: str, source: Source, site: Site, base: str = "") -> dict[str, Any]:
    """What a built thing was made of, as far as it is recorded here."""
    home, run = site.home, source.run
    record = str(home.ledger.record(run.id)) if run and home else ""
    return provenance(
        digest, name, source=what, base=base, run=run, record=record, model=source.model, identity=source.identity
    )


def note(kind: BuiltKind, digest: str, name: str, source: Source, site: Site, **more: str) -> None:
    """Make it a fact that a thing was built, where there is a project to keep it."""
    if home := site.home:
        fact = Built(
            kind=kind,
            digest=digest,
            made=now(),
            user=user_here(),
            name=name,
            run=source.run.id if source.run else "",
            model=source.model,
            identity=source.identity,
            **more,
        )
        keep(fact, home)


def is_model(text: str, folder: Path) -> bool:
    """Whether a model is meant, rather than a run: by a reference, or as a folder, which may not be there."""
    if text.startswith((MODELS, RUNS, ".", "/", "~")):
        return True
    return (folder / Path(text).expanduser() / MLMODEL).is_file()


def _pushed(name: str, made: Image, beside: Descriptor, layout: Layout, site: Site) -> str:
    """Where it is now, by digest."""
    named = read_name(name)
    site.say(f"sending to {named.host}")
    registry = Registry(named.host, site.variables)
    registry.push(named, made.descriptor, layout)
    registry.push(named._replace(tag="", digest=beside.digest), beside, layout)
    return str(named._replace(tag="", digest=made.descriptor.digest))


@contextmanager
def _told_as_built(
    asked: Asked, made: Image, name: str, base: base_image.Base, kind: BuiltKind, site: Site
) -> Iterator[None]:
    """An error of sending says what is there, and how to send it: what the registry has by then is not sent again."""
    try:
        yield
    except BisError as error:
        recorded = " and recorded" if site.home else ""
        built = f"The image was built{recorded}: {made.descriptor.digest}, {name} in {asked.output}."
        error.because = f"{error.because} {built}".strip()
        error.hint = "; then ".join(filter(None, (error.hint, _again(asked, base, kind, site))))
        raise


def _again(asked: Asked, base: base_image.Base, kind: BuiltKind, site: Site) -> str:
    """The command that builds the same, and sends it."""
    by_name = asked.base.startswith((base_image.DEBIAN, base_image.FOLDER))
    here = asked.output.is_relative_to(site.folder)
    output = asked.output.relative_to(site.folder) if here else asked.output
    options = {
        "--base": asked.base if by_name else base.reference,  # its tag may mean another one by then
        "--output": os.fspath(output),
        "--name": asked.name,
        "--python": asked.python,
        "--compress": "gzip" if asked.packing == "gzip" else "",
        "--push": asked.push,
    }
    words = ["bis", "build", kind, asked.what, *(word for one in options.items() if one[1] for word in one)]
    words += [*([] if asked.data else ["--no-data"]), *(["--trust"] if asked.trust else [])]
    return shlex.join(words)


def _demand_there(what: str, site: Site) -> None:
    """Raises NotFound and UsageError for what is not there, before a base is made for it."""
    if is_model(what, site.folder):
        place(what, site.now, site.folder, site.homes, site.models)
    else:
        _run_named(what, site)


# -- a model -------------------------------------------------------------------------------------------------------


class Laid(NamedTuple):
    """A model whose files and whose environment are here."""

    source: Source
    folder: Path
    environment: Path
    own: bool
    """Made by a run of this project."""


def lay_out(what: str, python: str, site: Site) -> Laid:
    """Find a model, and rebuild its environment. Raises NotFound, UsageError, CannotRepeat."""
    placed = place(what, site.now, site.folder, site.homes, site.models)
    model, home = read_folder(placed.folder), site.home
    chosen = model_environment(
        placed.folder,
        home=home,
        run=placed.run,
        python=python,
        variables=site.variables,
        cache=site.environments,
        progress=site.say,
    )
    source = source_of(placed, model, home)
    return Laid(source, placed.folder, chosen.python.parent.parent, placed.own)


def source_of(placed: Placed, model: ModelFolder, home: Home | None) -> Source:
    """What a model is, which was found."""
    return Source(
        name=f"{placed.name}-{placed.version}" if placed.version else placed.name,
        run=_known_run(home, placed.run or model.run),
        model=f"{MODELS}/{placed.name}/{placed.version}" if placed.version else "",
        identity=model.identity,
        flavor=model.flavor,
        title=placed.name,
        version=placed.version,
    )


# -- a run ---------------------------------------------------------------------------------------------------------


class LaidRun(NamedTuple):
    """A run whose environment is here."""

    run: Run
    environment: Path | None
    """None where no Python was recorded."""


def _run_named(what: str, site: Site) -> Run:
    try:
        return site.homes().ledger.find(parse(what, site.now.astimezone().replace(tzinfo=None)))
    except (NotFound, UsageError) as error:
        raise meant(what, site.now, site.homes) or error from None


def lay_out_run(what: str, site: Site) -> LaidRun:
    """Find a run, and rebuild its environment. Raises NotFound, UsageError, CannotRepeat."""
    home, run = site.homes(), _run_named(what, site)
    part = run.parts.get("environment")
    if "code" not in run.parts:
        raise CannotRepeat(f"nothing of the code of {run.name} is recorded", hint=f"bis show {run.id[:8]}")
    if part is None or python_of(part) is None:
        return LaidRun(run, None)
    ready = rebuild(
        part,
        home.store,
        site.environments,
        variables=site.variables,
        home=site.user,
        run=run.name,
        progress=site.say,
    )
    return LaidRun(run, ready.prefix)


def variables_of(run: Run, home: Home) -> dict[str, str]:
    """As far as they were recorded."""
    return variables_to_give(run.parts["params"], {}, home.key)[0] if "params" in run.parts else {}


def files_of(run: Run, home: Home, room: Path, secrets: Sequence[str], with_data: bool) -> Iterator[Part]:
    """Code and inputs of a run, where its command finds them. Raises CannotRepeat for inputs that nobody has."""
    code, data, outside = (room / name for name in ("code", "data", "outside"))
    for folder in (code, data, outside):
        folder.mkdir()
    code_of.restore(run.parts["code"], Place(project=code), home.store)
    yield image.tree_part("code", code, WORK, secrets, owner=NOBODY)
    if with_data and "data" in run.parts:
        data_of.restore(run.parts["data"], Place(project=data, outside=outside), home.store)
        yield image.tree_part("data", data, WORK, secrets, owner=NOBODY)
        if any(outside.iterdir()):
            yield image.tree_part("data from outside of the project", outside, "", secrets)


def command_of(run: Run, environment: Path | None) -> list[str]:
    """As it was recorded, with the interpreter of the image, and with its own where the environment has a program of
    that name. What is named by another path is looked for there, in the base."""
    first, *rest = (unspell(word) for word in run.command)
    called = first.rpartition("/")[2]
    if environment is None:
        return [first, *rest]
    if called.startswith("python"):
        return [f"/{ENVIRONMENT}/bin/python", *rest]
    is_own = "/" in first and (environment / "bin" / called).is_file()
    return [f"/{ENVIRONMENT}/bin/{called}" if is_own else first, *rest]


def interpreter_part(python: Interpreter) -> list[Part]:
    return [Part("interpreter", python.entries)] if python.entries else []


def _labels(source: Source) -> dict[str, str]:
    run = source.run
    code = run.parts.get("code") if run else None
    labels = {
        f"{LABEL}title": source.title,
        f"{LABEL}version": source.version,
        f"{LABEL}revision": str((code.facts if code else {}).get("revision") or ""),
        "bis.model": source.model,
        "bis.identity": source.identity,
        "bis.flavor": source.flavor,
        "bis.run": run.id if run else "",
        "bis.run.name": run.name if run else "",
        "bis.run.command": shlex.join(unspell(word) for word in run.command) if run else "",
    }
    return {key: value for key, value in labels.items() if value}


def _known_run(home: Home | None, id: str) -> Run | None:
    try:
        return home.ledger.get(id) if home and id else None
    except NotFound:
        return None
