"""`bis build k8s`: manifests for a cluster."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from bis.cli.build_site import site
from bis.cli.command import STATUSES, Door, command, json_option
from bis.cli.lineage import Thing
from bis.cli.serve import Size
from bis.errors import UsageError
from bis.text import plain

if TYPE_CHECKING:
    from bis.acts.build_manifests import BuiltManifests

MOST = 10_000


class Processors(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """Thousandths of a processor, as people write them: 2, 0.5, 500m."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,4}(?:\.\d{1,3})?)|(\d{1,7})m", str(value).strip())
        thousandths = (round(float(found[1]) * 1000) if found[1] else int(found[2])) if found else 0
        if not thousandths:
            self.fail(f"{value!r} is no number of processors: 2, 0.5, 500m", param, ctx)
        return thousandths


class Range(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """How many pods, the fewest and the most."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", str(value).strip())
        fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not (fewest <= most <= MOST and most):
            self.fail(f"{value!r} is no number of pods: 3, or 2-10", param, ctx)
        return fewest, most


class ClusterName(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """What something is called in a cluster."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from bis.steps.manifests import LONGEST, is_name

        if value and not is_name(value):
            shape = f"up to {LONGEST} lower-case letters, digits and hyphens, a letter first"
            self.fail(f"{value!r} is no name in a cluster: {shape}", param, ctx)
        return str(value)


class Existing(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """What something is called that the cluster has already."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from bis.steps.manifests import is_host_name

        if value and not is_host_name(value):
            self.fail(f"{value!r} is no name in a cluster: lower-case letters, digits, hyphens and dots", param, ctx)
        return str(value)


@command(
    "k8s",
    short_help="Write manifests that run a model or a training in Kubernetes.",
    statuses={3: STATUSES[3], 4: "it cannot run in a cluster", 5: STATUSES[5]},
    examples=[
        "bis build k8s models:/churn@champion",
        "bis build k8s models:/churn/3 --kserve --replicas 0-5",
        "bis build k8s models:/churn/3 --image ghcr.io/team/churn@sha256:0b6f… --output - | kubectl apply -f -",
        "bis build k8s train-12 --gpus 1 --storage 50G",
    ],
)
@click.option("--image", default="", metavar="IMAGE", help="What to start, by its digest; else what was sent last.")
@click.option("--output", default="", metavar="FILE", help="File to write; else NAME.yaml; - writes to the terminal.")
@click.option("--kserve", is_flag=True, help="An InferenceService of KServe, for a cluster that has it.")
@click.option("--name", default="", type=ClusterName(), help="What it is called in the cluster; else as what it is.")
@click.option("--namespace", default="", type=Existing(), metavar="NAME", help="Where it runs; else where applied.")
@click.option(
    "--replicas", type=Range(), metavar="MIN-MAX", help="Pods of a model: 2-10, or as many as always run.  [2-10]"
)
@click.option("--cpu", default=0, type=Processors(), metavar="NUMBER", help="Processors of a pod: 2, 0.5, 500m.")
@click.option("--memory", default=0, type=Size(), metavar="SIZE", help="Memory of a pod: 2G.")
@click.option("--gpus", default=0, type=click.IntRange(0, 64), help="Graphics cards of a pod, as NVIDIA names them.")
@click.option("--storage", default=0, type=Size(), metavar="SIZE", help="Room for what a run writes; else 10G.")
@click.option(
    "--pull-secret", default="", type=Existing(), metavar="NAME", help="Secret with the credentials of the registry."
)
@json_option
@click.argument("what", type=Thing(), metavar="MODEL|RUN")
def k8s(
    door: Door,
    what: str,
    image: str,
    output: str,
    replicas: tuple[int, int] | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Write manifests of Kubernetes for an image that `bis build image` made and sent: for a model a Deployment with
    probes, a Service, an autoscaler and a disruption budget, for a run a Job that executes it once, and a claim that
    what it writes is kept on. They name the image by its digest, and are checked against the schemas of Kubernetes.

    A run gets the processors and the memory that it was seen to need, unless told otherwise.
    """
    from bis.acts.build_manifests import Wanted, build_manifests
    from bis.steps.manifests import Replicas

    if as_json and output == "-":
        raise UsageError("--json and --output - both write to the terminal", hint="name a file")
    wanted = Wanted(
        what,
        output,
        door.folder,
        image,
        replicas=Replicas(*replicas) if replicas else None,
        **asked,
    )
    built = build_manifests(wanted, site(door))
    if output == "-":
        door.terminal.raw([built.content])
    elif as_json:
        door.terminal.json("bis.built/1", _document(built))
    else:
        door.terminal.show(_lines(built))
    for remark in built.told:
        door.terminal.tell(f"note: {plain(remark)}")
    return 0


def _document(built: BuiltManifests) -> dict[str, object]:
    return {
        "digest": built.digest,
        "name": built.name,
        "file": str(built.file),
        "image": built.image,
        "kinds": built.kinds,
        "checked": built.checked,
    }


def _lines(built: BuiltManifests) -> list[str]:
    return [
        f"manifests   {built.digest}",
        f"file        {plain(str(built.file))}",
        f"kinds       {', '.join(built.kinds)}",
        f"image       {built.image}",
        f"checked     Kubernetes {built.checked[0]} to {built.checked[-1]}",
    ]
