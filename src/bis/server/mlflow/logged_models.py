"""Models that runs saved, in MLflow's words."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final

import msgspec

from bis.ledger import logged_models
from bis.ledger.logged_models import By, OnData
from bis.ledger.naming import drawn_name
from bis.nouns.tracking import LoggedModel, Measured
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, delete, get, invalid, missing, patch, post
from bis.server.mlflow.experiments import Tag
from bis.server.mlflow.limits import experiment_id, experiment_ids, page_size
from bis.server.mlflow.places import following, read_mark
from bis.server.mlflow.shown import filled, metric, tagged

USUAL: Final = 100
"""On one page, where the client names no number."""
FORBIDDEN: Final = ("/", ":", ".", "%", '"', "'")
"""In names, as MLflow has it."""
STATUSES: Final = (
    "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED",
)


class Create(msgspec.Struct):
    experiment_id: str = ""
    name: str | None = None
    model_type: str = ""
    source_run_id: str = ""
    params: list[Tag] = []
    tags: list[Tag] = []


class Named(msgspec.Struct):
    model_id: str = ""
    allow_deleted: bool = False


class Finish(msgspec.Struct):
    model_id: str = ""
    status: str | int | None = None


class Params(msgspec.Struct):
    model_id: str = ""
    params: list[Tag] = []


class Tags(msgspec.Struct):
    model_id: str = ""
    tags: list[Tag] = []


class DropTag(msgspec.Struct):
    model_id: str = ""
    tag_key: str = ""


class OnDataset(msgspec.Struct):
    dataset_name: str = ""
    dataset_digest: str = ""


class OrderBy(msgspec.Struct):
    field_name: str = ""
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class Search(msgspec.Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    datasets: list[OnDataset] = []
    max_results: int | None = None
    order_by: list[OrderBy] = []
    page_token: str = ""


async def create(desk: Desk, asked: Create) -> dict[str, Any]:
    if asked.name and any(bad in asked.name for bad in FORBIDDEN):
        raise Refused(
            "INVALID_PARAMETER_VALUE",
            f"Invalid model name ({asked.name!r}) provided. Model name must be a non-empty string and cannot contain"
            f" the following characters: {FORBIDDEN}",
        )
    model = await desk.keep(
        logged_models.create,
        f"m-{uuid.uuid4().hex}",
        experiment=experiment_id(asked.experiment_id),
        name=asked.name or drawn_name(),
        run=asked.source_run_id,
        type=asked.model_type,
        params={param.key: param.value for param in asked.params},
        tags={tag.key: tag.value for tag in asked.tags},
        now=desk.now(),
    )
    return {"model": shown(model)}


async def find(desk: Desk, asked: Named) -> dict[str, Any]:
    return {"model": shown(await desk.read(logged_models.get, asked.model_id, removed=asked.allow_deleted))}


async def finish(desk: Desk, asked: Finish) -> dict[str, Any]:
    if asked.status is None:
        raise missing("status")
    model = await desk.keep(logged_models.finish, asked.model_id, _status(asked.status), desk.now())
    return {"model": shown(model)}


async def remove(desk: Desk, asked: Named) -> None:
    await desk.keep(logged_models.remove, asked.model_id, desk.now())


async def add_params(desk: Desk, asked: Params) -> None:
    await desk.write(logged_models.add_params, asked.model_id, {param.key: param.value for param in asked.params})


async def set_tags(desk: Desk, asked: Tags) -> None:
    await desk.write(logged_models.set_tags, asked.model_id, {tag.key: tag.value for tag in asked.tags})


async def delete_tag(desk: Desk, asked: DropTag) -> None:
    await desk.write(logged_models.drop_tag, asked.model_id, asked.tag_key)


async def search(desk: Desk, asked: Search) -> dict[str, Any]:
    if not asked.experiment_ids:
        raise missing("experiment_ids")
    if not all(data.dataset_name for data in asked.datasets):
        message = "`dataset_name` in the `datasets` clause must be specified."
        raise Refused("INVALID_PARAMETER_VALUE", message)
    question = _question(asked)
    found, place = await desk.search(
        logged_models.search,
        experiment_ids(asked.experiment_ids),
        filter=asked.filter,
        on=[OnData(data.dataset_name, data.dataset_digest) for data in asked.datasets],
        order=[_by(order) for order in asked.order_by],
        limit=page_size(asked.max_results or None, USUAL),
        after=_place(asked.page_token, question),
    )
    return {"models": [shown(model) for model in found], **following(place, question)}


def shown(model: LoggedModel) -> dict[str, Any]:
    """As clients read it."""
    return {
        "info": {
            "model_id": model.id,
            "experiment_id": str(model.experiment),
            "name": model.name,
            "artifact_uri": model.artifacts,
            "creation_timestamp_ms": model.made // 1000,
            "last_updated_timestamp_ms": model.changed // 1000,
            "model_type": model.type,
            "source_run_id": model.run,
            "status": STATUSES[model.status],
            "status_message": model.status_message,
            **filled(tags=tagged(model.tags)),
        },
        "data": filled(
            params=tagged(model.params),
            metrics=[_measured(measured) for measured in model.metrics],
        ),
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {**metric(measured.point), "run_id": measured.run}


def _status(told: str | int) -> int:
    if isinstance(told, str) and told in STATUSES:
        return STATUSES.index(told)
    try:
        return range(len(STATUSES))[int(told)]
    except (ValueError, IndexError):
        raise invalid("status", told) from None


def _by(order: OrderBy) -> By:
    if "." in order.field_name and not order.field_name.startswith("metrics."):
        message = f"Invalid order by field name: {order.field_name}. Only metrics are supported."
        raise Refused("INVALID_PARAMETER_VALUE", message)
    return By(order.field_name, not order.ascending, OnData(order.dataset_name, order.dataset_digest))


def _question(asked: Search) -> tuple[str, str, str]:
    order = json.dumps([msgspec.structs.astuple(order) for order in asked.order_by])
    return json.dumps(asked.experiment_ids), order, asked.filter


def _place(token: str, question: tuple[str, str, str]) -> list[Any] | None:
    """As `place_of`, saying what of the search is another."""
    if not token:
        return None
    mark = read_mark(token)
    named = (
        "Experiment IDs in the page token do",
        "Order by in the page token does",
        "Filter string in the page token does",
    )
    for part, before, now in zip(named, mark.question, question, strict=False):
        if before != now:
            raise Refused("INVALID_PARAMETER_VALUE", f"{part} not match the requested one.")
    return mark.place


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("logged-models", Create, create, required=("experiment_id",)),
    post("logged-models/search", Search, search),
    get("logged-models/{model_id}", Named, find),
    patch("logged-models/{model_id}", Finish, finish),
    delete("logged-models/{model_id}", Named, remove),
    post("logged-models/{model_id}/params", Params, add_params),
    patch("logged-models/{model_id}/tags", Tags, set_tags),
    delete("logged-models/{model_id}/tags/{tag_key}", DropTag, delete_tag),
)
