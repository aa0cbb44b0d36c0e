"""`bis build lambda`: a model or a run as a function of AWS Lambda, as an image or as a zip for one of its runtimes."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bis.digest import canonical
from bis.errors import CannotRepeat, NotFound
from bis.nouns.run import Run
from bis.oci.layers import Entry
from bis.steps import image, lambda_zip
from bis.steps.image import ENVIRONMENT, MODEL, WORK, Interpreter, Part
from bis.steps.installing import find_uv
from bis.steps.lambda_program import FOLDER, HANDLER, PACKAGE, START, client_part, of_model, of_run
from bis.steps.lambda_zip import Runtime, Zipped
from bis.steps.model_folder import read_folder
from bis.steps.shipping import (
    Asked,
    Bench,
    BuiltImage,
    Content,
    Laid,
    Site,
    Source,
    assemble,
    command_of,
    files_of,
    interpreter_part,
    is_model,
    lay_out,
    lay_out_run,
    note,
    statement_of,
    variables_of,
)
from bis.store.temporary import temporary
from bis.store.trouble import shown, trouble

ELSEWHERE: Final = ("PATH", "HOME", "PWD", "VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
"""Variables that tell where things are on the machine of the run: a runtime of Lambda has its own."""


class BuiltZip(NamedTuple):
    """A zip that was built."""

    file: Path
    digest: str
    zipped: Zipped
    runtime: Runtime
    provenance: Path
    told: tuple[str, ...] = ()
    """What whoever built it should know."""
    handler: str = HANDLER

    @property
    def code(self) -> str:
        """Its digest as Lambda tells it: CodeSha256."""
        return base64.b64encode(bytes.fromhex(self.digest.removeprefix("sha256:"))).decode()


def build_image(asked: Asked, site: Site) -> BuiltImage:
    """Raises NotFound, UsageError, KeepingError, and CannotRepeat for what cannot be put into an image."""
    of = _image_of_model if is_model(asked.what, site.folder) else _image_of_run
    # Lambda refuses an image with a layer that is no gzip.
    return assemble(asked._replace(packing="stored" if asked.packing == "none" else asked.packing), site, of, "lambda")


def build_zip(asked: Asked, site: Site) -> BuiltZip:
    """To the file `asked.output`. Raises NotFound, UsageError, and CannotRepeat for what Lambda could not run."""
    if not asked.output.parent.is_dir():
        raise NotFound(f"there is no folder {shown(asked.output.parent)}", hint="mkdir it, or name another")
    of = _zip_of_model if is_model(asked.what, site.folder) else _zip_of_run
    with temporary("build") as room:
        source, environment, entries = of(asked, site, room)
        runtime, told = lambda_zip.runtime(
            image.version_of(environment), image.packages_of(environment), _instead(asked)
        )
        site.say(f"writing {asked.output.name}")
        files = [*image.packages(environment), *entries]
        try:
            zipped = lambda_zip.write(files, asked.output, _instead(asked), compressed=asked.packing == "gzip")
            digest, name = _digest(asked.output), asked.name or asked.output.name
            beside = asked.output.with_name(f"{asked.output.name}.provenance.json")
            beside.write_bytes(canonical(statement_of(digest, name, asked.what, source, site)))
        except OSError as error:
            raise trouble(error, "write", asked.output) from error
    note("lambda", digest, name, source, site)
    if zipped.size > lambda_zip.SENT:
        told.append(f"it has more than {lambda_zip.SENT >> 20} MiB: Lambda takes it from a bucket of S3")
    if asked.packing == "gzip":
        told.append("its digest depends on the version of zlib here")
    return BuiltZip(asked.output, digest, zipped, runtime, beside, tuple(told))


# -- a model -----------------------------------------------------------------------------------------------------


def _image_of_model(asked: Asked, bench: Bench) -> Content:
    site = bench.site
    laid = lay_out(asked.what, asked.python, site)
    python = image.interpreter(laid.environment, bench.base, bench.layout)
    parts = [
        *interpreter_part(python),
        image.environment_part(laid.environment, python),
        image.tree_part("model", laid.folder, MODEL, site.settings.secrets),
        *_client(python, bench),
        Part("handler", list(_holder(laid, f"{FOLDER}/", f"/{MODEL}", asked.trust))),
    ]
    return Content(laid.source, parts, _config())


def _zip_of_model(asked: Asked, site: Site, room: Path) -> tuple[Source, Path, list[Entry]]:
    laid = lay_out(asked.what, asked.python, site)
    model = image.tree_part("model", laid.folder, f"{PACKAGE}/model", site.settings.secrets)
    return laid.source, laid.environment, [*model.entries, *_holder(laid, "", "model", asked.trust)]


def _holder(laid: Laid, at: str, folder: str, trust: bool) -> Iterator[Entry]:
    source = laid.source
    about = {
        "model-name": source.title,
        "model-version": source.version,
        "run-id": source.run.id if source.run else "",
        "model-identity": source.identity,
    }
    # Whoever builds of a run's model trusts it, as `bis serve` does here.
    return of_model(at, read_folder(laid.folder).described, folder, about, trust=laid.own or trust)


# -- a run -------------------------------------------------------------------------------------------------------


def _image_of_run(asked: Asked, bench: Bench) -> Content:
    site, home = bench.site, bench.site.homes()
    run, environment = _laid_run(asked.what, site)
    python = image.interpreter(environment, bench.base, bench.layout)
    parts = [
        *interpreter_part(python),
        image.environment_part(environment, python),
        *files_of(run, home, bench.room, site.settings.secrets, asked.data),
        *_client(python, bench),
        Part("handler", list(of_run(f"{FOLDER}/", command_of(run, environment), f"/{WORK}", run.folder, {}))),
    ]
    return Content(Source(run.name, run, title=run.name), parts, _config(), variables_of(run, home))


def _zip_of_run(asked: Asked, site: Site, room: Path) -> tuple[Source, Path, list[Entry]]:
    home = site.homes()
    run, environment = _laid_run(asked.what, site)
    first, *rest = command_of(run, environment)
    if first != f"/{ENVIRONMENT}/bin/python":
        raise CannotRepeat(
            f"the command of {run.name} begins with {first.rpartition('/')[2]}, which is no Python",
            because="A zip brings packages of Python to a runtime that has nothing else.",
            hint=f"{_instead(asked)} makes an image, which has the programs of its environment",
        )
    parts = list(files_of(run, home, room, site.settings.secrets, asked.data))
    if outside := [part for part in parts if part.called.endswith("outside of the project")]:
        raise CannotRepeat(
            f"{run.name} reads /{_first_file(outside[0])}, which lies outside of the project",
            because="A zip lies below /var/task, and nowhere else.",
            hint=f"{_instead(asked)} makes an image, which has it there; or --no-data leaves inputs out",
        )
    given = {key: value for key, value in variables_of(run, home).items() if key not in ELSEWHERE}
    files = [entry._replace(path=f"{PACKAGE}/{entry.path}") for part in parts for entry in part.entries]
    source = Source(run.name, run, title=run.name)
    return source, environment, [*files, *of_run("", ["", *rest], "work", run.folder, given, "..")]


class _Ready(NamedTuple):
    run: Run
    environment: Path


def _laid_run(what: str, site: Site) -> _Ready:
    """Raises CannotRepeat, for a run that has no Python too."""
    run, environment = lay_out_run(what, site)
    if environment is None:
        raise CannotRepeat(
            f"no Python is recorded for {run.name}", because="Amazon's client of Lambda, which calls it, needs one."
        )
    return _Ready(run, environment)


def _first_file(part: Part) -> str:
    return next((entry.path for entry in part.entries if entry.content is not None), "")


# -- both --------------------------------------------------------------------------------------------------------


def _client(python: Interpreter, bench: Bench) -> list[Part]:
    site = bench.site
    return [client_part(python, find_uv(site.variables, site.user, None), bench.room / "client", site.say)]


def _config() -> dict[str, object]:
    return {
        "Entrypoint": [f"/{ENVIRONMENT}/bin/python", START],
        "Cmd": [HANDLER],
        "WorkingDir": "/tmp",
    }


def _instead(asked: Asked) -> str:
    """What to type where a zip cannot be."""
    return f"bis build lambda {shlex.quote(asked.what)} --base mmdebstrap:bookworm"


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
