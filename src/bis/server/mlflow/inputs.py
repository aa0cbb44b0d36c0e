"""What runs read and made, in MLflow's words."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bis.ledger import inputs, tracked
from bis.nouns.tracking import Described, UsedData, UsedModel
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, get, post
from bis.server.mlflow.limits import DATASET, DIGEST, check_length, check_run_id, experiment_ids
from bis.server.mlflow.runs import OfRun

CONTEXT: Final = "mlflow.data.context"
"""The tag that says what a data set was used for."""
AT_ONCE: Final = 20
"""Experiments in one question for data sets."""
LENGTHS: Final = {"name": DATASET, "digest": DIGEST, "source": 65_535, "schema": 1_048_575, "profile": 16_777_215}


class InputTag(msgspec.Struct):
    key: str | None = None
    value: str | None = None


class Dataset(msgspec.Struct):
    name: str | None = None
    digest: str | None = None
    source_type: str | None = None
    source: str | None = None
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct):
    dataset: Dataset | None = None
    tags: list[InputTag] = []


class ModelInput(msgspec.Struct):
    model_id: str = ""
    step: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] = 0


class LogInputs(OfRun):
    datasets: list[DatasetInput] = msgspec.field(default_factory=list)
    models: list[ModelInput] = msgspec.field(default_factory=list)


class LogOutputs(OfRun):
    models: list[ModelInput] | None = None


class SearchDatasets(msgspec.Struct):
    experiment_ids: list[str] = []


async def log_inputs(desk: Desk, asked: LogInputs) -> None:
    check_run_id(asked.run_id)
    await desk.write(
        tracked.log_inputs,
        asked.run_id,
        [used(each) for each in asked.datasets],
        [UsedModel(model.model_id) for model in asked.models],
    )


async def log_outputs(desk: Desk, asked: LogOutputs) -> None:
    models = [UsedModel(model.model_id, model.step) for model in asked.models or ()]
    await desk.write(tracked.log_outputs, asked.run_id, models)


async def search_datasets(desk: Desk, asked: SearchDatasets) -> dict[str, Any]:
    if not asked.experiment_ids:
        message = "SearchDatasets request must specify at least one experiment_id."
        raise Refused("INVALID_PARAMETER_VALUE", message)
    if len(asked.experiment_ids) > AT_ONCE:
        raise Refused(
            "INVALID_PARAMETER_VALUE",
            f"SearchDatasets request cannot specify more than {AT_ONCE} experiment_ids."
            f" Received {len(asked.experiment_ids)} experiment_ids.",
        )
    found = await desk.search(inputs.known_datasets, experiment_ids(asked.experiment_ids))
    return {
        "dataset_summaries": [
            {"experiment_id": str(experiment), "name": name, "digest": digest, **({"context": use} if use else {})}
            for experiment, name, digest, use in found
        ]
    }


def used(each: DatasetInput) -> UsedData:
    """Raises Refused for what lacks a name, or is longer than MLflow lets it be."""
    if each.dataset is None:
        raise Refused("INVALID_PARAMETER_VALUE", "Dataset cannot be None")
    described = msgspec.structs.asdict(each.dataset)
    for name in ("name", "digest", "source_type", "source"):
        if described[name] is None:
            raise Refused("INVALID_PARAMETER_VALUE", f"Dataset {name} cannot be None")
    for name, most in LENGTHS.items():
        check_length(name, described[name] or "", most)
    tags: dict[str, str] = {}
    for tag in each.tags:
        if tag.key is None or tag.value is None:
            absent = "key" if tag.key is None else "value"
            raise Refused("INVALID_PARAMETER_VALUE", f"InputTag {absent} cannot be None")
        check_length("key", tag.key, 255)
        check_length("value", tag.value, 500)
        tags[tag.key] = tag.value
    return UsedData(Described(**described), tags, tags.get(CONTEXT, ""))


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("runs/log-inputs", LogInputs, log_inputs, required=("run_id",)),
    post("runs/outputs", LogOutputs, log_outputs, required=("run_id", "models")),
    post("experiments/search-datasets", SearchDatasets, search_datasets),
    get("experiments/search-datasets", SearchDatasets, search_datasets),
)
