"""Experiments, in MLflow's words."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from bis.errors import AlreadyThere
from bis.ledger import experiments
from bis.ledger.grammar import EXPERIMENTS
from bis.ledger.refusals import NoSuch, Removed
from bis.ledger.search import compile_filter, compile_order
from bis.nouns.tracking import Experiment, usual_place
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, get, post
from bis.server.mlflow.limits import check_experiment_name, check_experiment_tag, experiment_id, page_size, view
from bis.server.mlflow.places import following, place_of
from bis.server.mlflow.shown import filled, tagged

USUAL: Final = 1000
"""On one page, where the client names no number."""
SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
NEWEST_FIRST: Final = compile_order(["creation_time DESC", "experiment_id ASC"], EXPERIMENTS)


class Tag(msgspec.Struct):
    key: str = ""
    value: str = ""


class Create(msgspec.Struct):
    name: str = ""
    artifact_location: str = ""
    tags: list[Tag] = []


class Named(msgspec.Struct):
    experiment_id: str = ""


class ByName(msgspec.Struct):
    experiment_name: str = ""


class Search(msgspec.Struct):
    max_results: int | None = None
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = []
    view_type: str | int = "ACTIVE_ONLY"


class Update(msgspec.Struct):
    experiment_id: str = ""
    new_name: str = ""


class SetTag(msgspec.Struct):
    experiment_id: str = ""
    key: str = ""
    value: str = ""


async def create(desk: Desk, asked: Create) -> dict[str, Any]:
    check_experiment_name(asked.name)
    if asked.artifact_location.startswith("runs:"):
        raise Refused(
            "INVALID_PARAMETER_VALUE",
            f"Artifact location cannot be a runs:/ URI. Given: '{asked.artifact_location}'",
        )
    tags = {tag.key: tag.value for tag in asked.tags}
    try:
        id = await desk.keep(experiments.create, asked.name, _located(desk, asked.artifact_location), tags, desk.now())
    except AlreadyThere as error:
        if not desk.is_news(asked.name):
            raise _taken(asked.name, error) from None
        id = (await desk.read(experiments.find, asked.name)).id
    desk.met.add(asked.name)
    return {"experiment_id": str(id)}


async def find(desk: Desk, asked: Named) -> dict[str, Any]:
    return {"experiment": shown(await desk.glance(experiments.get, experiment_id(asked.experiment_id)))}


async def find_by_name(desk: Desk, asked: ByName) -> dict[str, Any]:
    try:
        if desk.is_news(asked.experiment_name):
            raise NoSuch("experiment", asked.experiment_name)
        return {"experiment": shown(await desk.glance(experiments.find, asked.experiment_name))}
    except NoSuch:
        message = f"Could not find experiment with name '{asked.experiment_name}'"
        raise Refused("RESOURCE_DOES_NOT_EXIST", message) from None


async def search(desk: Desk, asked: Search) -> dict[str, Any]:
    question = (asked.filter, *asked.order_by)
    found, place = await desk.search(
        experiments.search,
        compile_filter(asked.filter, EXPERIMENTS),
        compile_order(asked.order_by, EXPERIMENTS) if asked.order_by else NEWEST_FIRST,
        limit=page_size(asked.max_results, USUAL),
        after=place_of(asked.page_token, question),
        removed=view(asked.view_type),
    )
    return {"experiments": [shown(experiment) for experiment in found], **following(place, question)}


async def update(desk: Desk, asked: Update) -> None:
    check_experiment_name(asked.new_name)
    try:
        await desk.keep(experiments.rename, experiment_id(asked.experiment_id), asked.new_name, desk.now())
    except AlreadyThere as error:
        raise _taken(asked.new_name, error) from None
    except Removed:
        raise Refused("INVALID_STATE", "Cannot rename a non-active experiment.") from None


async def delete(desk: Desk, asked: Named) -> None:
    await desk.keep(experiments.remove, experiment_id(asked.experiment_id), desk.now())


async def restore(desk: Desk, asked: Named) -> None:
    await desk.keep(experiments.restore, experiment_id(asked.experiment_id), desk.now())


async def set_tag(desk: Desk, asked: SetTag) -> None:
    check_experiment_tag(asked.key, asked.value)
    await desk.write(experiments.set_tag, experiment_id(asked.experiment_id), asked.key, asked.value)


async def delete_tag(desk: Desk, asked: SetTag) -> None:
    await desk.write(experiments.drop_tag, experiment_id(asked.experiment_id), asked.key)


def shown(experiment: Experiment) -> dict[str, Any]:
    """As clients read it."""
    return {
        "experiment_id": str(experiment.id),
        "name": experiment.name,
        "artifact_location": experiment.artifacts or usual_place(experiment.id),
        "lifecycle_stage": "deleted" if experiment.removed else "active",
        "creation_time": experiment.made // 1000,
        "last_update_time": experiment.changed // 1000,
        **filled(tags=tagged(experiment.tags)),
    }


def _located(desk: Desk, location: str) -> str:
    """A path stands for the same folder wherever a client was started: without a root it is below the project."""
    if not location or desk.home is None or SCHEME.match(location):
        return location
    return str(desk.home.project / location)


def _taken(name: str, error: AlreadyThere) -> Refused:
    return Refused("RESOURCE_ALREADY_EXISTS", f"Experiment(name={name}) already exists. Error: {error.what}")


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("experiments/create", Create, create, required=("name",)),
    get("experiments/get", Named, find, required=("experiment_id",)),
    get("experiments/get-by-name", ByName, find_by_name, required=("experiment_name",)),
    post("experiments/search", Search, search),
    get("experiments/search", Search, search),
    post("experiments/update", Update, update, required=("experiment_id", "new_name")),
    post("experiments/delete", Named, delete, required=("experiment_id",)),
    post("experiments/restore", Named, restore, required=("experiment_id",)),
    post("experiments/set-experiment-tag", SetTag, set_tag, required=("experiment_id", "key")),
    post("experiments/delete-experiment-tag", SetTag, delete_tag, required=("experiment_id", "key")),
)
