"""Versions of registered models, in MLflow's words."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import unquote_plus, urlparse

import msgspec

from bis.errors import NotFound, UsageError
from bis.ledger import locations, model_search, registry
from bis.ledger.connection import Connection
from bis.nouns.model import ACTIVE, By, ModelVersion
from bis.server import telling
from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, delete, get, missing, patch, post
from bis.server.mlflow.limits import SOURCE, check_length, check_name
from bis.server.mlflow.paging import page, start_of
from bis.server.mlflow.registered_models import (
    PROMPT,
    Tag,
    by,
    check_model,
    checked,
    invalid_size,
    stage,
    version_number,
    version_shown,
)

VERSIONS_AT_ONCE: Final = 200_000
USUAL: Final = 10_000
DEEPEST: Final = 10
"""Times that a source may be encoded."""
REGISTERED_AS: Final = "mlflow.modelVersions"
"""The tag of a logged model that says under which names it is registered."""


class Create(msgspec.Struct):
    name: str = ""
    source: str = ""
    run_id: str = ""
    tags: list[Tag] = []
    run_link: str = ""
    description: str = ""
    model_id: str = ""


class Numbered(msgspec.Struct):
    name: str = ""
    version: str = ""


class Update(msgspec.Struct):
    name: str = ""
    version: str = ""
    description: str = ""


class Transition(msgspec.Struct):
    name: str = ""
    version: str = ""
    stage: str = ""
    archive_existing_versions: bool = False


class Search(msgspec.Struct):
    filter: str = ""
    max_results: int = USUAL
    order_by: list[str] = []
    page_token: str = ""


class SetTag(msgspec.Struct):
    name: str = ""
    version: str = ""
    key: str = ""
    value: str = ""


class DeleteTag(msgspec.Struct):
    name: str = ""
    version: str = ""
    key: str = ""


async def create(desk: Desk, asked: Create) -> dict[str, Any]:
    check_model(asked.name)
    if not asked.source:
        raise missing("source")
    check_length("Source", asked.source, SOURCE)
    tags = checked(asked.tags)
    made = await desk.enter(_register, asked, tags, by(desk))
    desk.tell(*telling.version_made(made))
    return {"model_version": version_shown(made)}


async def find(desk: Desk, asked: Numbered) -> dict[str, Any]:
    name, number = _named(asked.name, asked.version)
    return {"model_version": version_shown(await desk.read(registry.version, name, number))}


async def update(desk: Desk, asked: Update) -> dict[str, Any]:
    name, number = _named(asked.name, asked.version)
    found = await desk.enter(registry.describe_version, name, number, asked.description, by(desk))
    return {"model_version": version_shown(found)}


async def transition(desk: Desk, asked: Transition) -> dict[str, Any]:
    name, number = _named(asked.name, asked.version)
    if not asked.stage:
        raise missing("stage")
    wanted = stage(asked.stage)
    if asked.archive_existing_versions and wanted not in ACTIVE:
        said = "Model version transition cannot archive existing model versions because"
        valid = f"is not an Active stage. Valid stages are {list(ACTIVE)}"
        raise Refused("INVALID_PARAMETER_VALUE", f"{said} '{asked.stage}' {valid}")
    found = await desk.enter(
        registry.set_stage, name, number, wanted, by(desk), archive=asked.archive_existing_versions
    )
    return {"model_version": version_shown(found)}


async def remove(desk: Desk, asked: Numbered) -> None:
    name, number = _named(asked.name, asked.version)
    await desk.enter(registry.remove_version, name, number, by(desk))


async def download_uri(desk: Desk, asked: Numbered) -> dict[str, Any]:
    name, number = _named(asked.name, asked.version)
    found = await desk.read(registry.version, name, number)
    return {"artifact_uri": found.storage or found.source}


async def search(desk: Desk, asked: Search) -> dict[str, Any]:
    if not 0 < asked.max_results <= VERSIONS_AT_ONCE:
        raise invalid_size(asked.max_results, VERSIONS_AT_ONCE)
    where = model_search.versions_where(asked.filter, PROMPT)
    order = model_search.versions_order(asked.order_by)
    start = start_of(asked.page_token)
    found = await desk.search(
        registry.versions, where.where, where.values, order=order, limit=asked.max_results + 1, offset=start
    )
    return page("model_versions", [version_shown(one, aliases=False) for one in found], asked.max_results, start)


async def set_tag(desk: Desk, asked: SetTag) -> None:
    name, number = _named(asked.name, asked.version)
    checked([Tag(asked.key, asked.value)])
    await desk.enter(registry.set_version_tag, name, number, asked.key, asked.value, by(desk))
    desk.tell(*telling.tag_set(name, number, asked.key, asked.value))


async def delete_tag(desk: Desk, asked: DeleteTag) -> None:
    name, number = _named(asked.name, asked.version)
    check_name(asked.key, "key")
    await desk.enter(registry.delete_version_tag, name, number, asked.key, by(desk))
    desk.tell(*telling.tag_deleted(name, number, asked.key))


def _named(name: str, version: str) -> tuple[str, int]:
    check_model(name)
    return name, version_number(version)


# -- registering -------------------------------------------------------------------------------------------------


def _register(connection: Connection, asked: Create, tags: dict[str, str], by: By) -> ModelVersion:
    if PROMPT in tags:
        _check_template(asked.source)
    else:
        _check_source(connection, asked)
    storage, run, logged = _where(connection, asked.source)
    if not asked.run_id and asked.model_id and not run:
        run = _logged(connection, asked.model_id)[1]
    made = registry.add_version(
        connection,
        asked.name,
        by,
        source=asked.source,
        storage=storage,
        run=asked.run_id or run,
        run_link=asked.run_link,
        logged_model=asked.model_id or logged,
        description=asked.description,
        tags=tags,
    )
    if asked.model_id and PROMPT not in tags:
        _note_registered(connection, asked.model_id, made)
    return made


def _where(connection: Connection, source: str) -> tuple[str, str, str]:
    """Where the files of a `models:/` source lie, the run that made it, and the logged model; else nothing."""
    if not source.startswith("models:/"):
        return "", "", ""
    words = source.removeprefix("models:/").strip("/")
    try:
        if re.fullmatch(r"m-[0-9a-f]{32}", words):
            return *_logged(connection, words), words
        name, _, number = words.partition("/")
        if not number and "@" in name:
            found = registry.by_alias(connection, *name.split("@", 1))
        else:
            found = registry.version(connection, name, version_number(number))
    except (NotFound, UsageError, Refused) as error:
        said = f"Unable to fetch model from model URI source artifact location '{source}'."
        raise Refused("RESOURCE_DOES_NOT_EXIST", f"{said} Error: {error}") from None
    return found.storage or found.source, found.run, found.logged_model


def _logged(connection: Connection, id: str) -> tuple[str, str]:
    for (run,) in connection.execute(
        "SELECT run FROM logged_models WHERE id = ? AND removed IS NULL", (id,)
    ).fetchall():
        return locations.of_model(connection, id), run
    raise Refused("RESOURCE_DOES_NOT_EXIST", f"Logged model with ID '{id}' not found.")


def _note_registered(connection: Connection, id: str, made: ModelVersion) -> None:
    found = connection.execute(
        "SELECT l.seq, t.value FROM logged_models l LEFT JOIN logged_model_tags t ON t.model = l.seq AND t.key = ?"
        " WHERE l.id = ?",
        (REGISTERED_AS, id),
    ).fetchall()
    for seq, value in found:
        known = _listed(value)
        entry = {"name": made.name, "version": made.number}
        connection.execute(
            "INSERT INTO logged_model_tags (model, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (model, key) DO UPDATE SET value = excluded.value",
            (seq, REGISTERED_AS, json.dumps([*known, *([] if entry in known else [entry])])),
        )


def _listed(value: str | None) -> list[Any]:
    try:
        found = json.loads(value or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def _check_source(connection: Connection, asked: Create) -> None:
    """A client must not have the server, or who loads the model, open other files than those of the model."""
    path = _local(asked.source)
    if path is None:
        _check_path(asked.source)
        return
    field = "model_id" if asked.model_id else "run_id"
    of, id = ("logged_models", asked.model_id) if asked.model_id else ("runs", asked.run_id)
    for (place,) in connection.execute(f"SELECT artifacts FROM {of} WHERE id = ?", (id,)).fetchall() if id else ():
        folder = _local(place) if place else None
        if folder and ".." not in path.split("/") and f"{path}/".startswith(folder.rstrip("/") + "/"):
            return
    raise Refused(
        "INVALID_PARAMETER_VALUE",
        f"Invalid model version source: '{asked.source}'. To use a local path as a model version source, the {field}"
        " request parameter has to be specified and the local path has to be contained within the artifact directory"
        f" of the run specified by the {field}.",
    )


def _check_template(source: str) -> None:
    """Of a template of text: it has no files, and its source is only a word."""
    scheme = urlparse(source).scheme
    if scheme == "file" or (not scheme and source.startswith("/")):
        said = f"Invalid prompt source: '{source}'. Local source paths are not allowed for prompts."
        raise Refused("INVALID_PARAMETER_VALUE", said)
    if scheme:
        _check_path(source)


def _local(source: str) -> str | None:
    """The path of a source on this machine; None for what is elsewhere."""
    try:
        parts = urlparse(source)
    except ValueError:
        return source
    if parts.scheme == "file":
        return parts.path if parts.netloc in ("", "localhost", "127.0.0.1") else None
    return None if parts.scheme else source


def _check_path(source: str) -> None:
    plain = source
    for _ in range(DEEPEST):
        plain, before = unquote_plus(plain), plain
        if plain == before:
            break
    else:
        plain = ".."  # nobody means what is encoded so often
    try:
        path = re.sub(r"/+", "/", urlparse(plain).path.rstrip("/"))
    except ValueError:
        path = ".."
    wrong = "\x00" in plain or ".." in re.split(r"[/\\]", plain) or "." in path.split("/")
    if wrong or (path and not path.startswith("/")):
        raise Refused(
            "INVALID_PARAMETER_VALUE",
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp,"
            " objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references"
            " present. Please provide an absolute path.",
        )


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("model-versions/create", Create, create),
    patch("model-versions/update", Update, update),
    post("model-versions/transition-stage", Transition, transition),
    delete("model-versions/delete", Numbered, remove),
    get("model-versions/get", Numbered, find),
    get("model-versions/search", Search, search),
    get("model-versions/get-download-uri", Numbered, download_uri),
    post("model-versions/set-tag", SetTag, set_tag),
    delete("model-versions/delete-tag", DeleteTag, delete_tag),
)
