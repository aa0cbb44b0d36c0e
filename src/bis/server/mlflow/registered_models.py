"""Registered models, in MLflow's words."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from bis.errors import AlreadyThere
from bis.ledger import model_search, registry
from bis.ledger.connection import Connection
from bis.ledger.filter import Unfit
from bis.nouns.model import STAGES, By, Model, ModelVersion
from bis.server import telling
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, delete, get, invalid, missing, patch, post
from bis.server.mlflow.limits import CALLED, check_length, check_name
from bis.server.mlflow.paging import page, start_of
from bis.server.mlflow.shown import filled, tagged
from bis.settings import Promotion
from bis.steps import promotion

PROMPT: Final = "mlflow.prompt.is_prompt"
"""The tag of what is a template of text and no model. Searches pass it over, unless they ask for it."""
KEY: Final = 250
VALUE: Final = 100_000
ALIAS: Final = 255
MODELS_AT_ONCE: Final = 1000


class Tag(msgspec.Struct):
    key: str = ""
    value: str = ""


class Named(msgspec.Struct):
    name: str = ""


class Create(msgspec.Struct):
    name: str = ""
    tags: list[Tag] = []
    description: str = ""


class Rename(msgspec.Struct):
    name: str = ""
    new_name: str = ""


class Update(msgspec.Struct):
    name: str = ""
    description: str = ""


class Search(msgspec.Struct):
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class Latest(msgspec.Struct):
    name: str = ""
    stages: list[str] = []


class SetTag(msgspec.Struct):
    name: str = ""
    key: str = ""
    value: str = ""


class DeleteTag(msgspec.Struct):
    name: str = ""
    key: str = ""


class Alias(msgspec.Struct):
    name: str = ""
    alias: str = ""
    version: str = ""


async def create(desk: Desk, asked: Create) -> dict[str, Any]:
    check_model(asked.name)
    tags = checked(asked.tags)
    try:
        made = await desk.enter(registry.create, asked.name, by(desk), asked.description, tags)
    except AlreadyThere:
        raise await _there(desk, asked.name, PROMPT in tags) from None
    desk.tell(*telling.model_made(made))
    return {"registered_model": shown(made, [])}


async def rename(desk: Desk, asked: Rename) -> dict[str, Any]:
    check_model(asked.name)
    check_model(asked.new_name, "new_name")
    try:
        whole = await desk.enter(_whole, registry.rename, asked.name, asked.new_name, by(desk))
    except AlreadyThere:
        raise _exists(asked.new_name) from None
    return {"registered_model": shown(*whole)}


async def update(desk: Desk, asked: Update) -> dict[str, Any]:
    check_model(asked.name)
    return {
        "registered_model": shown(*await desk.enter(_whole, registry.describe, asked.name, asked.description, by(desk)))
    }


async def remove(desk: Desk, asked: Named) -> None:
    check_model(asked.name)
    await desk.enter(registry.remove, asked.name, by(desk))


async def find(desk: Desk, asked: Named) -> dict[str, Any]:
    check_model(asked.name)
    return {"registered_model": shown(*await desk.read(_whole, registry.get, asked.name))}


async def search(desk: Desk, asked: Search) -> dict[str, Any]:
    if not 0 < asked.max_results <= MODELS_AT_ONCE:
        raise invalid_size(asked.max_results, MODELS_AT_ONCE)
    where = model_search.models_where(asked.filter, PROMPT)
    order = _order(asked.order_by)
    start = start_of(asked.page_token)

    def ask(connection: Connection) -> tuple[list[Model], dict[str, list[ModelVersion]]]:
        limits: Any = {"order": order, "limit": asked.max_results + 1, "offset": start}
        found = registry.models(connection, where.where, where.values, **limits)
        return found, registry.latest(connection, found)

    found, latest = await desk.search(ask)
    return page("registered_models", [shown(model, latest[model.name]) for model in found], asked.max_results, start)


async def latest(desk: Desk, asked: Latest) -> dict[str, Any]:
    check_model(asked.name)
    wanted = {stage(name) for name in asked.stages} or set(STAGES)

    def ask(connection: Connection) -> list[ModelVersion]:
        return registry.latest(connection, [registry.get(connection, asked.name)])[asked.name]

    found = await desk.read(ask)
    return {"model_versions": [version_shown(one) for one in found if one.stage in wanted]}


async def set_tag(desk: Desk, asked: SetTag) -> None:
    check_model(asked.name)
    checked([Tag(asked.key, asked.value)])
    await desk.enter(registry.set_tag, asked.name, asked.key, asked.value, by(desk))


async def delete_tag(desk: Desk, asked: DeleteTag) -> None:
    check_model(asked.name)
    check_name(asked.key, "key")
    await desk.enter(registry.delete_tag, asked.name, asked.key, by(desk))


async def set_alias(desk: Desk, asked: Alias) -> None:
    check_model(asked.name)
    _check_alias(asked.alias)
    if asked.alias.lower() == "latest":
        raise Refused("INVALID_PARAMETER_VALUE", "'latest' alias name (case insensitive) is reserved.")
    if re.match(r"[vV]\d+\Z", asked.alias):
        raise Refused("INVALID_PARAMETER_VALUE", f"Version alias name '{asked.alias}' is reserved.")
    number = version_number(asked.version)
    done = promotion.done(await desk.enter(_point, asked.name, asked.alias, number, by(desk), desk.rules))
    desk.tell(*telling.alias_set(done.version, asked.alias))


def _point(
    connection: Connection, name: str, alias: str, number: int, by: By, rules: Mapping[str, Promotion]
) -> promotion.Promoted | promotion.Refusal:
    return promotion.set_alias(connection, rules, registry.version(connection, name, number), alias, by)


async def delete_alias(desk: Desk, asked: Alias) -> None:
    check_model(asked.name)
    _check_alias(asked.alias)
    await desk.enter(registry.delete_alias, asked.name, asked.alias, by(desk))
    desk.tell(*telling.alias_deleted(asked.name, asked.alias))


async def by_alias(desk: Desk, asked: Alias) -> dict[str, Any]:
    check_model(asked.name)
    _check_alias(asked.alias)
    if asked.alias.lower() == "latest":
        return {"model_version": version_shown(await desk.read(_newest, asked.name))}
    return {"model_version": version_shown(await desk.read(registry.by_alias, asked.name, asked.alias))}


def _newest(connection: Connection, name: str) -> ModelVersion:
    registry.get(connection, name)
    for found in registry.versions(connection, "m.name = ?", (name,), limit=1):
        return found
    raise Refused("RESOURCE_DOES_NOT_EXIST", f"Latest version not found for model {name}.")


# -- as clients read it ------------------------------------------------------------------------------------------


def shown(model: Model, latest: list[ModelVersion]) -> dict[str, Any]:
    return {
        "name": model.name,
        "creation_timestamp": model.made // 1000,
        "last_updated_timestamp": model.changed // 1000,
        **({"description": model.description} if model.description else {}),
        **filled(
            latest_versions=[version_shown(one, aliases=False) for one in latest],
            tags=tagged(model.tags),
            aliases=[{"alias": alias, "version": str(number)} for alias, number in model.aliases.items()],
        ),
    }


def version_shown(one: ModelVersion, *, aliases: bool = True) -> dict[str, Any]:
    """Lists of models have no aliases at their versions: MLflow's clients compare them."""
    return {
        "name": one.name,
        "version": str(one.number),
        "creation_timestamp": one.made // 1000,
        "last_updated_timestamp": one.changed // 1000,
        **({"user_id": one.user} if one.user else {}),
        "current_stage": one.stage,
        "description": one.description,
        "source": one.source,
        "run_id": one.run,
        "status": one.status,
        **({"status_message": one.status_message} if one.status_message else {}),
        "run_link": one.run_link,
        **({"model_id": one.logged_model} if one.logged_model else {}),
        **filled(tags=tagged(one.tags), aliases=list(one.aliases) if aliases else []),
    }


def _whole(connection: Connection, of: Callable[..., Model], *values: Any) -> tuple[Model, list[ModelVersion]]:
    """A model that is changed or found, and its newest versions: after the change nothing can fail any more."""
    model = of(connection, *values)
    return model, registry.latest(connection, [model])[model.name]


# -- what may be said --------------------------------------------------------------------------------------------


def by(desk: Desk, reason: str = "") -> By:
    """Who asks, now."""
    return By(user=desk.asking(), at=desk.now(), reason=reason)


def check_model(name: str, field: str = "name") -> None:
    if not name.strip():
        raise missing(field)
    if set(name) & set("/:"):
        raise Refused("INVALID_PARAMETER_VALUE", f"Invalid model name '{name}'. Names cannot contain '/' or ':'.")
    check_length("Registered model name", name, CALLED)
    plain = posixpath.normpath(name)
    if plain != name or plain == "." or plain.startswith(".."):
        raise invalid("name", name, f": it would be read as {plain!r} where names are paths")


def checked(tags: list[Tag]) -> dict[str, str]:
    for tag in tags:
        check_name(tag.key, "key")
        check_length("key", tag.key, KEY)
        check_length("value", tag.value, VALUE)
    return {tag.key: tag.value for tag in tags}


def version_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    if not text:
        raise missing("version")
    raise Refused("INVALID_PARAMETER_VALUE", f"Parameter 'version' must be an integer, got '{text}'.")


def stage(text: str) -> str:
    for known in STAGES:
        if text.lower() == known.lower():
            return known
    raise Refused(
        "INVALID_PARAMETER_VALUE",
        f"Invalid Model Version stage: {text}. Value must be one of {', '.join(STAGES)}.",
    )


def invalid_size(asked: int, most: int) -> Refused:
    if asked < 1:
        said = f"Invalid value for max_results. It must be a positive integer, but got {asked}"
    else:
        said = f"Invalid value for request parameter max_results. It must be at most {most}, but got value {asked}"
    return Refused("INVALID_PARAMETER_VALUE", said)


def _order(terms: list[str]) -> str:
    try:
        return model_search.models_order(terms)
    except Unfit as error:
        if error.problem != "attribute":
            raise
        valid = sorted(model_search.MODELS_ORDERED.attributes)
        said = f"Invalid order by key '{error.found}' specified. Valid keys are '{valid}'. {error}"
        raise Refused("INVALID_PARAMETER_VALUE", said) from None


def _check_alias(alias: str) -> None:
    if not alias:
        raise Refused("INVALID_PARAMETER_VALUE", "Registered model alias name cannot be empty.")
    if not re.match(r"[\w\-]*\Z", alias):
        allowed = "Names may only contain alphanumerics, underscores (_), and dashes (-)."
        raise Refused("INVALID_PARAMETER_VALUE", f"Invalid alias name: '{alias}'. {allowed}")
    check_length("Registered model alias name", alias, ALIAS)


def _exists(name: str) -> Refused:
    return Refused("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.")


async def _there(desk: Desk, name: str, prompt: bool) -> Refused:
    """That the name is taken, and by what: of the two kinds, clients are told which is meant."""
    is_prompt = PROMPT in (await desk.read(registry.get, name)).tags
    if is_prompt and prompt:
        return Refused("RESOURCE_ALREADY_EXISTS", f"Prompt (name={name}) already exists.")
    if is_prompt == prompt:
        return _exists(name)
    kinds = ("prompt", "registered model") if prompt else ("registered model", "prompt")
    said = f"Tried to create a {kinds[0]} with name {name!r}, but the name is already taken by a {kinds[1]}."
    return Refused("RESOURCE_ALREADY_EXISTS", f"{said} MLflow does not allow both to share a name.")


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("registered-models/create", Create, create),
    post("registered-models/rename", Rename, rename),
    patch("registered-models/update", Update, update),
    delete("registered-models/delete", Named, remove),
    get("registered-models/get", Named, find),
    get("registered-models/search", Search, search),
    post("registered-models/search", Search, search),  # as MLflow's client in R asks
    post("registered-models/get-latest-versions", Latest, latest),
    get("registered-models/get-latest-versions", Latest, latest),
    post("registered-models/set-tag", SetTag, set_tag),
    delete("registered-models/delete-tag", DeleteTag, delete_tag),
    post("registered-models/alias", Alias, set_alias),
    delete("registered-models/alias", Alias, delete_alias),
    get("registered-models/alias", Alias, by_alias),
)
