"""What webhooks are told of changes in the registry: the event, and its data as MLflow's own server sends it."""

from __future__ import annotations

from typing import Any

from bis.nouns.model import Model, ModelVersion

Told = tuple[str, dict[str, Any]]


def model_made(model: Model) -> Told:
    return "registered_model.created", {"name": model.name, "tags": model.tags, "description": model.description}


def version_made(one: ModelVersion) -> Told:
    data = {
        "name": one.name,
        "version": str(one.number),
        "source": one.source,
        "run_id": one.run or None,
        "tags": one.tags,
        "description": one.description or None,
    }
    return "model_version.created", data


def tag_set(name: str, number: int, key: str, value: str) -> Told:
    return "model_version_tag.set", {"name": name, "version": str(number), "key": key, "value": value}


def tag_deleted(name: str, number: int, key: str) -> Told:
    return "model_version_tag.deleted", {"name": name, "version": str(number), "key": key}


def alias_set(one: ModelVersion, alias: str) -> Told:
    return "model_version_alias.created", {"name": one.name, "alias": alias, "version": str(one.number)}


def alias_deleted(name: str, alias: str) -> Told:
    return "model_version_alias.deleted", {"name": name, "alias": alias}
