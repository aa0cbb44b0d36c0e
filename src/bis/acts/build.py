"""`bis build image`: a run or a model as an image that is the same each time it is built."""

from __future__ import annotations

import re

from bis.steps import image
from bis.steps.image import ENVIRONMENT, MODEL, PORT, SERVER, WORK, Part
from bis.steps.installing import find_uv
from bis.steps.shipping import (
    Asked,
    Bench,
    BuiltImage,
    Content,
    Site,
    Source,
    assemble,
    command_of,
    files_of,
    interpreter_part,
    is_model,
    lay_out,
    lay_out_run,
    variables_of,
)


def build(asked: Asked, site: Site) -> BuiltImage:
    """Raises NotFound, UsageError, KeepingError, and CannotRepeat for what cannot be put into an image."""
    of = _of_model if is_model(asked.what, site.folder) else _of_run
    return assemble(asked, site, of, "image")


# -- a model -----------------------------------------------------------------------------------------------------


def _of_model(asked: Asked, bench: Bench) -> Content:
    site = bench.site
    laid = lay_out(asked.what, asked.python, site)
    python = image.interpreter(laid.environment, bench.base, bench.layout)
    parts = [
        *interpreter_part(python),
        image.environment_part(laid.environment, python),
        image.server_part(python, find_uv(site.variables, site.user, None), bench.room / "server", site.say),
        image.tree_part("model", laid.folder, MODEL, site.settings.secrets),
    ]
    serve = [f"/{SERVER}/bin/bis", "serve", _named(laid.source), "--python", f"/{ENVIRONMENT}/bin/python"]
    config = {
        # Whoever builds of a run's model trusts it, as `bis serve` does here.
        "Entrypoint": [*serve, "--trust"] if laid.own or asked.trust else serve,
        "Cmd": ["--host", "0.0.0.0", "--port", str(PORT), "--open"],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "WorkingDir": "/tmp",
        "StopSignal": "SIGTERM",
    }
    return Content(laid.source, parts, config)


def _named(source: Source) -> str:
    """The folder of the model, to be called in addresses as the model is: /v2/models/churn."""
    return f"{source.title}=/{MODEL}" if re.fullmatch(r"[\w.-]+", source.title) else f"/{MODEL}"


# -- a run -------------------------------------------------------------------------------------------------------


def _of_run(asked: Asked, bench: Bench) -> Content:
    site, home = bench.site, bench.site.homes()
    run, environment = lay_out_run(asked.what, site)
    parts: list[Part] = []
    if environment is not None:
        python = image.interpreter(environment, bench.base, bench.layout)
        parts += [*interpreter_part(python), image.environment_part(environment, python)]
    parts += files_of(run, home, bench.room, site.settings.secrets, asked.data)
    config = {
        "Cmd": command_of(run, environment),
        "WorkingDir": f"/{WORK}/{run.folder}".rstrip("/.") or "/",
    }
    return Content(Source(run.name, run, title=run.name), parts, config, variables_of(run, home))
