"""Experiments, in MLflow's words."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bis.ledger import experiments
from bis.nouns.tracking import Experiment
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, get, post


class Tag(msgspec.Struct):
    key: str = ""
    value: str = ""


class Create(msgspec.Struct):
    name: str = ""
    artifact_location: str = ""
    tags: list[Tag] = []


class Get(msgspec.Struct):
    experiment_id: str = ""


async def create(desk: Desk, asked: Create) -> dict[str, Any]:
    if not asked.name:
        raise Refused("INVALID_PARAMETER_VALUE", "Missing value for required parameter 'name'.")
    tags = {tag.key: tag.value for tag in asked.tags}
    id = await desk.write(experiments.create, asked.name, asked.artifact_location, tags, desk.now())
    return {"experiment_id": str(id)}


async def find(desk: Desk, asked: Get) -> dict[str, Any]:
    return {"experiment": shown(await desk.read(experiments.get, int(asked.experiment_id)))}


def shown(experiment: Experiment) -> dict[str, Any]:
    """As clients read it."""
    return {
        "experiment_id": str(experiment.id),
        "name": experiment.name,
        "artifact_location": experiment.artifacts or f"mlflow-artifacts:/{experiment.id}",
        "lifecycle_stage": "deleted" if experiment.removed else "active",
        "creation_time": experiment.made // 1000,
        "last_update_time": experiment.changed // 1000,
        "tags": [{"key": key, "value": value} for key, value in experiment.tags.items()],
    }


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("experiments/create", Create, create),
    get("experiments/get", Get, find),
)
