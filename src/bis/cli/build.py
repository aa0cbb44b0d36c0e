"""`bis build`: things to ship that are the same each time they are built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bis.cli.build_k8s import k8s
from bis.cli.build_site import site as _site
from bis.cli.command import STATUSES, Door, Function, command, family, json_option
from bis.cli.lineage import Thing
from bis.errors import UsageError
from bis.text import plain, size

if TYPE_CHECKING:
    from bis.acts.build_lambda import BuiltZip
    from bis.steps.shipping import Asked, BuiltImage

CANNOT = {3: STATUSES[3], 4: "it cannot be put into an image", 5: STATUSES[5]}
OPTIONS = (
    click.option("--base", default="", metavar="IMAGE", help="What to build on; else `base` of the settings."),
    click.option("--name", default="", help="What it is called in the layout; else as what is built."),
    click.option("--push", default="", metavar="NAME", help="Send it to a registry under this name, too."),
    click.option("--python", default="", metavar="PATH", help="Environment of a model, as it is."),
    click.option(
        "--compress",
        type=click.Choice(["none", "gzip"]),
        default="none",
        show_default=True,
        help="How it is stored; the digest of gzip depends on the version of zlib.",
    ),
    click.option("--no-data", is_flag=True, help="Leave the inputs of a run out."),
    click.option("--trust", is_flag=True, help="Let it open a pickle that no run of this project made."),
)
"""Of whatever may be built as an image."""


def options_of_images(function: Function) -> Function:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@family(
    "build",
    short_help="Build images, functions and manifests of runs and models.",
    statuses=CANNOT,
    examples=[
        "bis build image models:/churn@champion --push ghcr.io/team/churn:3",
        "bis build image train-12",
        "bis build lambda models:/churn/3 --zip churn.zip",
        "bis build k8s models:/churn@champion",
    ],
)
def build() -> None:
    """What is built is told apart by its digest, which is the same each time and on each machine, and leads back to the
    run, its code and its data.
    """


@build.member
@command(
    "image",
    short_help="Build an image of a model or a run, without a daemon.",
    statuses=CANNOT,
    examples=[
        "bis build image models:/churn@champion --base mmdebstrap:bookworm",
        "bis build image models:/churn/3 --push ghcr.io/team/churn:3",
        "bis build image train-12 --output images",
    ],
)
@click.option(
    "--output", default="image", show_default=True, metavar="DIR", help="Image layout that it is added to, or made."
)
@options_of_images
@json_option
@click.argument("what", type=Thing(), metavar="MODEL|RUN")
def image(door: Door, what: str, output: str, as_json: bool, **given: Any) -> int:
    """Build an image in which a model answers requests, as by `bis serve`, or in which the command of a run runs again.

    A model is models:/churn@champion, runs:/RUN/PATH, or a folder with an MLmodel file; all else is a run. Its
    environment is rebuilt from its lock and proved. The base is an image of a registry by its digest
    (ghcr.io/team/base@sha256:…; a tag is looked up, and the digest that it meant is said), a layout (oci:FOLDER), or
    made here from Debian's packages (mmdebstrap:bookworm).
    """
    from bis.acts.build import build as act

    base = _base(door, given["base"])
    _show(door, act(_asked(what, base, door.folder / Path(output).expanduser(), given), _site(door)), as_json)
    return 0


@build.member
@command(
    "lambda",
    short_help="Build a function of AWS Lambda: an image or a zip.",
    statuses={3: STATUSES[3], 4: "Lambda could not run it", 5: STATUSES[5]},
    examples=[
        "bis build lambda models:/churn@champion --push 1234.dkr.ecr.eu-west-1.amazonaws.com/churn:3",
        "bis build lambda models:/churn/3 --zip churn.zip",
        "bis build lambda train-12 --zip train.zip",
    ],
)
@click.option("--zip", "zipped", default="", metavar="FILE", help="Write a zip for a runtime of Lambda's own instead.")
@click.option("--output", default="", metavar="DIR", help="Image layout that it is added to, or made; else `image`.")
@options_of_images
@json_option
@click.argument("what", type=Thing(), metavar="MODEL|RUN")
def lambda_(door: Door, what: str, zipped: str, output: str, as_json: bool, **given: Any) -> int:
    """Build what AWS Lambda calls: a function that answers requests with a model, or that runs the command of a run
    anew for each event.

    The image is built as by `bis build image`, and holds Amazon's client of the runtime in the place of bis' server.
    The zip holds packages, and needs a runtime of Lambda's own for the version of Python: it is refused where there is
    none, where a package needs a newer C library than that has, and where it is more than Lambda unpacks.
    """
    from bis.acts.build_lambda import build_image, build_zip

    if zipped:
        images_own = {"base": given["base"], "output": output, "push": given["push"]}
        if unfit := [option for option, value in images_own.items() if value]:
            raise UsageError(f"--{unfit[0]} is of an image, and --zip makes none", hint="leave one of them out")
        file = door.folder / Path(zipped).expanduser()
        _show_zip(door, build_zip(_asked(what, "", file, given), _site(door)), as_json)
        return 0
    folder = door.folder / Path(output or "image").expanduser()
    _show(door, build_image(_asked(what, _base(door, given["base"]), folder, given), _site(door)), as_json)
    return 0


def _show_zip(door: Door, built: BuiltZip, as_json: bool) -> None:
    if as_json:
        door.terminal.json("bis.built/1", _zip_document(built))
        return
    sizes = f"{size(built.zipped.size)}, {size(built.zipped.unpacked)} unpacked"
    door.terminal.show(
        [
            f"zip         {built.digest}",
            f"file        {plain(str(built.file))}, {sizes}",
            f"runtime     {built.runtime.name}, {built.runtime.architecture}",
            f"handler     {built.handler}",
            f"code        {built.code}, as Lambda tells it",
        ]
    )
    for remark in built.told:
        door.terminal.tell(f"note: {plain(remark)}")


def _zip_document(built: BuiltZip) -> dict[str, object]:
    return {
        "digest": built.digest,
        "code_sha256": built.code,
        "file": str(built.file),
        "bytes": built.zipped.size,
        "unpacked_bytes": built.zipped.unpacked,
        "runtime": built.runtime.name,
        "architecture": built.runtime.architecture,
        "handler": built.handler,
        "provenance": str(built.provenance),
    }


def _asked(what: str, base: str, output: Path, given: Mapping[str, Any]) -> Asked:
    from bis.steps.shipping import Asked

    return Asked(
        what,
        base,
        output,
        given["name"],
        given["push"],
        given["python"],
        packing="gzip" if given["compress"] == "gzip" else "none",
        data=not given["no_data"],
        trust=given["trust"],
    )


def _base(door: Door, base: str) -> str:
    if chosen := base or door.settings.base:
        return chosen
    raise UsageError(
        "nothing says what the image is built on",
        hint='--base mmdebstrap:bookworm, or base = "NAME@sha256:…" in bis.toml',
    )


def _show(door: Door, built: BuiltImage, as_json: bool) -> None:
    if as_json:
        door.terminal.json("bis.built/1", _document(built))
        return
    door.terminal.show(_lines(built))
    for remark in built.told:
        door.terminal.tell(f"note: {plain(remark)}")


def _document(built: BuiltImage) -> dict[str, object]:
    layers = [{"digest": layer.digest, "bytes": layer.size} for layer in built.image.manifest.layers]
    return {
        "digest": built.image.descriptor.digest,
        "name": built.name,
        "layout": str(built.layout),
        "layers": layers,
        "provenance": built.provenance.digest,
        "pushed": built.pushed,
    }


def _lines(built: BuiltImage) -> list[str]:
    layers = built.image.manifest.layers
    lines = [
        f"image       {built.image.descriptor.digest}",
        f"layers      {len(layers)}, {size(sum(layer.size for layer in layers))}",
        f"layout      {plain(str(built.layout))}:{plain(built.name)}",
    ]
    return [*lines, f"pushed      {plain(built.pushed)}"] if built.pushed else lines


build.member(k8s)
