"""Webhooks, in MLflow's words. A secret is taken and never given back."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec

from bis.errors import UsageError
from bis.ledger import webhooks
from bis.ledger.webhooks import Webhook
from bis.server.desk import Desk
from bis.server.hooks import address_of, send
from bis.server.mlflow.endpoint import Endpoint, Refused, delete, get, missing, patch, post
from bis.server.mlflow.paging import page, start_of

ACTIONS: Final = {
    "registered_model": ("created",),
    "model_version": ("created",),
    "model_version_tag": ("set", "deleted"),
    "model_version_alias": ("created", "deleted"),
    "prompt": ("created",),
    "prompt_version": ("created",),
    "prompt_tag": ("set", "deleted"),
    "prompt_version_tag": ("set", "deleted"),
    "prompt_alias": ("created", "deleted"),
    "budget_policy": ("exceeded",),
}
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "registered_model.created": {"name": "example", "tags": {"team": "example"}, "description": "An example"},
    "model_version.created": {
        "name": "example",
        "version": "1",
        "source": "models:/m-00000000000000000000000000000000",
        "run_id": "00000000000000000000000000000000",
        "tags": {"team": "example"},
        "description": "An example",
    },
    "model_version_tag.set": {"name": "example", "version": "1", "key": "team", "value": "example"},
    "model_version_tag.deleted": {"name": "example", "version": "1", "key": "team"},
    "model_version_alias.created": {"name": "example", "alias": "champion", "version": "1"},
    "model_version_alias.deleted": {"name": "example", "alias": "champion"},
}
"""What a test sends."""
STATUSES: Final = ("ACTIVE", "DISABLED")
AT_ONCE: Final = 1000
NAME: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")


class Event(msgspec.Struct):
    entity: str | int = ""
    action: str | int = ""


class Create(msgspec.Struct):
    name: str = ""
    description: str = ""
    url: str = ""
    events: list[Event] = []
    secret: str = ""
    status: str = ""


class List(msgspec.Struct):
    max_results: int = 0
    page_token: str = ""


class One(msgspec.Struct):
    webhook_id: str = ""


class Update(msgspec.Struct):
    webhook_id: str = ""
    name: str = ""
    description: str = ""
    url: str = ""
    events: list[Event] = []
    secret: str = ""
    status: str = ""


class Test(msgspec.Struct):
    webhook_id: str = ""
    event: Event | None = None


async def create(desk: Desk, asked: Create) -> dict[str, Any]:
    for field in ("name", "url", "events"):
        if not getattr(asked, field):
            raise missing(field)
    _check_name(asked.name)
    await _check_url(desk, asked.url)
    events = [_event(event) for event in asked.events]
    made = await desk.keep(
        webhooks.create,
        asked.name,
        asked.url,
        events,
        desk.now(),
        description=asked.description,
        secret=asked.secret,
        status=_status(asked.status) or "ACTIVE",
    )
    return {"webhook": shown(made)}


async def list_all(desk: Desk, asked: List) -> dict[str, Any]:
    size = asked.max_results or 100
    if not 0 < size <= AT_ONCE:
        raise Refused("INVALID_PARAMETER_VALUE", f"max_results must be between 1 and {AT_ONCE}.")
    start = start_of(asked.page_token)
    found = await desk.read(webhooks.all_of, size + 1, start)
    return page("webhooks", [shown(one) for one in found], size, start)


async def find(desk: Desk, asked: One) -> dict[str, Any]:
    return {"webhook": shown(await desk.read(webhooks.get, asked.webhook_id))}


async def update(desk: Desk, asked: Update) -> dict[str, Any]:
    """What is empty stays as it is."""
    await desk.read(webhooks.get, asked.webhook_id)
    changes: dict[str, Any] = {
        field: getattr(asked, field) for field in ("name", "description", "url", "secret") if getattr(asked, field)
    }
    if asked.name:
        _check_name(asked.name)
    if asked.url:
        await _check_url(desk, asked.url)
    if asked.events:
        changes["events"] = tuple(dict.fromkeys(_event(event) for event in asked.events))
    if asked.status:
        changes["status"] = _status(asked.status)
    return {"webhook": shown(await desk.keep(webhooks.update, asked.webhook_id, desk.now(), **changes))}


async def remove(desk: Desk, asked: One) -> None:
    await desk.keep(webhooks.remove, asked.webhook_id)


async def test(desk: Desk, asked: Test) -> dict[str, Any]:
    """Send an example now, once, and say what came of it."""
    webhook = await desk.read(webhooks.get, asked.webhook_id)
    event = _event(asked.event) if asked.event else webhook.events[0]
    data = EXAMPLES.get(event, {"name": "example"})
    try:
        answer = await asyncio.to_thread(send, webhook, event, data, anywhere=desk.hooks.anywhere)
    except (UsageError, OSError) as error:
        said = error.what if isinstance(error, UsageError) else str(error)
        return {"result": {"success": False, "error_message": f"Failed to test webhook: {said}"}}
    told = {"response_status": answer.status, "response_body": answer.body}
    return {"result": {"success": answer.status < 400, **told}}


def shown(one: Webhook) -> dict[str, Any]:
    """As clients read it: all but the secret."""
    return {
        "webhook_id": one.id,
        "name": one.name,
        "url": one.url,
        **({"description": one.description} if one.description else {}),
        "events": [
            {"entity": entity.upper(), "action": action.upper()}
            for entity, _, action in (event.partition(".") for event in one.events)
        ],
        "status": one.status,
        "creation_timestamp": one.made // 1000,
        "last_updated_timestamp": one.changed // 1000,
    }


def _event(event: Event) -> str:
    entity, action = str(event.entity).lower(), str(event.action).lower()
    if entity not in ACTIONS:
        raise Refused("INVALID_PARAMETER_VALUE", f"Invalid entity or action in event: {entity}.{action}")
    if action not in ACTIONS[entity]:
        valid = list(ACTIONS[entity])
        said = f"Invalid action '{action}' for entity '{entity}'. Valid actions are: {valid}"
        raise Refused("INVALID_PARAMETER_VALUE", said)
    return f"{entity}.{action}"


def _status(text: str) -> str:
    if text and text.upper() not in STATUSES:
        raise Refused("INVALID_PARAMETER_VALUE", f"Unknown webhook status: {text}. It is one of {', '.join(STATUSES)}")
    return text.upper()


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Refused(
            "INVALID_PARAMETER_VALUE",
            f"Webhook name {name!r} is invalid. It must start and end with a letter or digit, be less than 63"
            " characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
        )


async def _check_url(desk: Desk, url: str) -> None:
    if not url.strip():
        raise Refused("INVALID_PARAMETER_VALUE", f"Webhook URL cannot be empty or just whitespace: {url!r}")
    try:
        await asyncio.to_thread(address_of, url, anywhere=desk.hooks.anywhere)
    except UsageError as error:
        kind = "Invalid webhook URL scheme" if "scheme" in error.what else "Invalid webhook URL"
        raise Refused("INVALID_PARAMETER_VALUE", f"{kind}: {error.what}") from None


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    post("webhooks", Create, create),
    get("webhooks", List, list_all),
    get("webhooks/{webhook_id}", One, find),
    patch("webhooks/{webhook_id}", Update, update),
    delete("webhooks/{webhook_id}", One, remove),
    post("webhooks/{webhook_id}/test", Test, test),
)
