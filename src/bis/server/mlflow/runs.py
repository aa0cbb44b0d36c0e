"""Runs, in MLflow's words."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final

import msgspec

from bis.ledger import grammar, tracked
from bis.ledger.connection import Connection
from bis.ledger.grammar import Attribute
from bis.ledger.naming import drawn_name
from bis.ledger.refusals import Sealed
from bis.ledger.search import compile_filter, compile_order
from bis.nouns.run import Status
from bis.nouns.tracking import TrackedRun, usual_place
from bis.server import sealed
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, get, invalid, post
from bis.server.mlflow.experiments import Tag
from bis.server.mlflow.limits import (
    CALLED,
    check_length,
    check_param,
    check_tag,
    experiment_id,
    experiment_ids,
    page_size,
    view,
)
from bis.server.mlflow.places import following, place_of
from bis.server.mlflow.shown import NUMBERED, OURS, STATUSES, dataset, filled, metric, tagged

NAME: Final = "mlflow.runName"
"""The tag that holds the name of a run; here it is the name."""
MODELS: Final = "mlflow.log-model.history"
"""The tag in which clients of MLflow 2 note the models of a run."""
DERIVED: Final = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit", NAME)
"""Tags that say what stands in the record of a sealed run."""
USUAL: Final = 1000
"""On one page, where the client names no number."""
_WORDS: Final = " ".join(f"WHEN '{ours}' THEN '{theirs}'" for ours, theirs in STATUSES.items())
RUNS: Final = grammar.RUNS._replace(
    attributes={
        **grammar.RUNS.attributes,
        "status": Attribute(f"CASE status {_WORDS} ELSE status END"),
        "artifact_uri": Attribute("artifacts"),
    },
    ties=(("started", True), ("id", False)),
    stands_for={("tags", NAME): "run_name"},
    texts=grammar.COMPARED | grammar.ALIKE | grammar.LISTED,
    numbers=grammar.COMPARED,
    by_number=False,
)
"""The language as MLflow has it, and our attributes besides."""
EACH: Final = RUNS._replace(each=True)


class OfRun(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    """How it was called once; some clients still do."""

    def __post_init__(self) -> None:
        self.run_id = self.run_id or self.run_uuid


class Create(msgspec.Struct):
    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: list[Tag] = []


class Search(msgspec.Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int | None = None
    order_by: list[str] = []
    page_token: str = ""


class Update(OfRun):
    status: str | int | None = None
    end_time: int | None = None
    run_name: str = ""


class LogParam(OfRun):
    key: str = ""
    value: str = ""


class SetTag(OfRun):
    key: str = ""
    value: str = ""


class LogModel(OfRun):
    model_json: str = ""


async def create(desk: Desk, asked: Create) -> dict[str, Any]:
    said = {tag.key: check_tag(tag.key, tag.value, f"tags[{number}].") for number, tag in enumerate(asked.tags)}
    tagged_name = said.pop(NAME, "")
    if asked.run_name and tagged_name and asked.run_name != tagged_name:
        raise Refused(
            "INVALID_PARAMETER_VALUE",
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"
            f" (run_name='{asked.run_name}', mlflow.runName='{tagged_name}').",
        )
    name = asked.run_name or tagged_name or drawn_name()
    check_length("Run name", name, CALLED)
    check_length("User id", asked.user_id, CALLED)
    run = await desk.keep(
        tracked.create,
        uuid.uuid4().hex,
        experiment=experiment_id(asked.experiment_id),
        name=name,
        user=asked.user_id,
        started=desk.now() if asked.start_time is None else asked.start_time * 1000,
        tags=said,
        parent=desk.around,
    )
    desk.began(run.id)
    return {"run": shown(run)}


async def find(desk: Desk, asked: OfRun) -> dict[str, Any]:
    run = await desk.glance(tracked.get, asked.run_id)
    desk.showed(run.id)
    return {"run": shown(run)}


async def search(desk: Desk, asked: Search) -> dict[str, Any]:
    question = ("runs", *asked.order_by)
    found, place = await desk.search(
        tracked.search,
        compile_filter(asked.filter, RUNS),
        compile_order(asked.order_by, RUNS),
        limit=page_size(asked.max_results, USUAL),
        after=place_of(asked.page_token, question),
        removed=view(asked.run_view_type),
        each=compile_filter(asked.filter, EACH),
        among=experiment_ids(asked.experiment_ids),
    )
    desk.showed(*(run.id for run in found))
    return {"runs": [shown(run) for run in found], **following(place, question)}


async def update(desk: Desk, asked: Update) -> dict[str, Any]:
    check_length("Run name", asked.run_name, CALLED)
    run = await desk.keep(
        tracked.update,
        asked.run_id,
        status=None if asked.status is None else status(asked.status),
        ended=None if asked.end_time is None else asked.end_time * 1000,
        name=asked.run_name,
    )
    return {"run_info": info(run)}


async def delete(desk: Desk, asked: OfRun) -> None:
    try:
        await desk.keep(tracked.remove, asked.run_id, desk.now())
    except Sealed:
        await sealed.remove(desk, asked.run_id)


async def restore(desk: Desk, asked: OfRun) -> None:
    try:
        await desk.keep(tracked.restore, asked.run_id)
    except Sealed:
        await sealed.remove(desk, asked.run_id, undo=True)


async def log_param(desk: Desk, asked: LogParam) -> None:
    await desk.write(tracked.log_params, asked.run_id, {asked.key: check_param(asked.key, asked.value)})


async def set_tag(desk: Desk, asked: SetTag) -> None:
    said = {asked.key: check_tag(asked.key, asked.value)}
    try:
        await desk.write(tag, asked.run_id, said)
    except Sealed:
        if asked.key in DERIVED:
            raise
        await sealed.tag(desk, asked.run_id, said)


async def delete_tag(desk: Desk, asked: SetTag) -> None:
    try:
        await desk.write(_drop, asked.run_id, asked.key)
    except Sealed:
        await sealed.drop_tag(desk, asked.run_id, asked.key)


async def log_model(desk: Desk, asked: LogModel) -> None:
    """What clients of MLflow 2 say of a model that they saved: one more entry in a tag."""
    try:
        model = json.loads(asked.model_json)
    except ValueError:
        message = f"Malformed model info. \n {asked.model_json} \n is not a valid JSON."
        raise Refused("INVALID_PARAMETER_VALUE", message) from None
    absent = {"artifact_path", "flavors", "utc_time_created", "run_id"} - set(model if isinstance(model, dict) else ())
    if absent:
        raise Refused("INVALID_PARAMETER_VALUE", f"Model json is missing mandatory fields: {absent}")
    model.pop("signature", None)
    await desk.write(_note_model, asked.run_id, model)


def tag(connection: Connection, id: str, said: dict[str, str]) -> None:
    """Set tags, of which one is the name."""
    if name := said.get(NAME):
        tracked.update(connection, id, name=name)
    tracked.set_tags(connection, id, {key: value for key, value in said.items() if key != NAME})


def _drop(connection: Connection, id: str, key: str) -> None:
    if key == NAME:
        tracked.set_tags(connection, id, {NAME: tracked.get(connection, id).name})
    else:
        tracked.drop_tag(connection, id, key)


def status(told: str | int) -> Status:
    """From MLflow's word for it, or its number."""
    try:
        word = told if isinstance(told, str) and not told.isdecimal() else NUMBERED[int(told)]
        return OURS[str(word)]
    except (LookupError, ValueError):
        raise invalid("status", told) from None


def info(run: TrackedRun) -> dict[str, Any]:
    """As clients read it, without its data."""
    shown = {
        "run_id": run.id,
        "run_uuid": run.id,
        "run_name": run.name,
        "experiment_id": str(run.experiment),
        "user_id": run.user,
        "status": STATUSES[run.status],
        "start_time": run.started // 1000,
        "artifact_uri": run.artifacts or f"{usual_place(run.experiment)}/{run.id}/artifacts",
        "lifecycle_stage": "deleted" if run.removed else "active",
    }
    if run.ended is not None:
        shown["end_time"] = run.ended // 1000
    return shown


def shown(run: TrackedRun) -> dict[str, Any]:
    """As clients read it."""
    return {
        "info": info(run),
        "data": filled(
            metrics=[metric(point) for point in run.metrics],
            params=tagged(run.params),
            tags=tagged(tags_of(run)),
        ),
        "inputs": filled(
            dataset_inputs=[dataset(used) for used in run.datasets],
            model_inputs=[{"model_id": model.id} for model in run.used],
        ),
        "outputs": filled(model_outputs=[{"model_id": model.id, "step": model.step} for model in run.made]),
    }


def tags_of(run: TrackedRun) -> dict[str, str]:
    """With those that stand for what runs have here. A name that was taken away as a tag is kept there in its place, so
    that the next one is a tag again."""
    shown = {**run.tags, **known(run), NAME: run.name}
    if run.tags.get(NAME) == run.name:
        del shown[NAME]
    return shown


def known(run: TrackedRun) -> dict[str, str]:
    """What the record of a sealed run says, as the tags in which MLflow keeps it."""
    if not run.sealed:
        return {}
    found = (run.user, run.command, "LOCAL", run.commit)
    return {key: value for key, value in zip(DERIVED, found, strict=False) if value}


def _note_model(connection: Connection, id: str, model: dict[str, Any]) -> None:
    before = tracked.get(connection, id).tags.get(MODELS, "[]")
    value = json.dumps([*json.loads(before), model])
    tracked.set_tags(connection, id, {MODELS: check_tag(MODELS, value)})


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("runs/create", Create, create),
    get("runs/get", OfRun, find, required=("run_id",)),
    post("runs/search", Search, search),
    post("runs/update", Update, update, required=("run_id",)),
    post("runs/delete", OfRun, delete, required=("run_id",)),
    post("runs/restore", OfRun, restore, required=("run_id",)),
    post("runs/log-parameter", LogParam, log_param, required=("run_id", "key")),
    post("runs/set-tag", SetTag, set_tag, required=("run_id", "key")),
    post("runs/delete-tag", SetTag, delete_tag, required=("run_id", "key")),
    post("runs/log-model", LogModel, log_model, required=("run_id", "model_json")),
)
