"""Who looks, and who may: logging in and out, and tokens. A token is shown once, on the page that made it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bis.errors import BisError, UsageError
from bis.ledger import tokens as ledger_tokens
from bis.ledger.connection import Connection
from bis.ledger.tokens import Role, Token
from bis.server.desk import Desk
from bis.server.doorway import SESSION
from bis.server.pages import tokens
from bis.server.pages.page import Page, form_of, page_of, status_of
from bis.server.pages.view import view_of

DAY: Final = 86_400_000_000


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was given to somebody; what it is, nobody can be told again."""

    name: str
    role: Role
    made: int
    expires: int | None
    valid: bool


class Settings(msgspec.Struct, kw_only=True):
    tokens: list[Given]
    made: str = ""
    """A token that was made just now."""
    named: str = ""


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=ledger_tokens.LONGEST)]
    role: Role = "reader"
    days: Annotated[int, Meta(ge=1, le=36500)] | None = None


class OldToken(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Door(msgspec.Struct, kw_only=True):
    next: str
    trouble: Literal["", "unknown"] = ""


async def settings(desk: Desk, asked: Asked) -> Settings:
    return Settings(tokens=await desk.read(_given, desk.now()))


def _given(connection: Connection, now: int) -> list[Given]:
    return [_shown(token, now) for token in ledger_tokens.given(connection)]


def _shown(token: Token, now: int) -> Given:
    return Given(name=token.name, role=token.role, made=token.made, expires=token.expires, valid=token.valid(now))


def _add(connection: Connection, asked: NewToken, now: int) -> str:
    return ledger_tokens.add(connection, asked.name, asked.role, now, now + asked.days * DAY if asked.days else None)


def routes(desk: Desk) -> list[Route]:
    """What is not one value at one address: the door, and a token that is shown once."""

    async def door(request: Request) -> Response:
        view = await view_of(desk, request)
        return page_of(request, view, "login", Door(next=_within(request.query_params.get("next", "/"))))

    async def enter(request: Request) -> Response:
        view = await view_of(desk, request)
        try:
            form = await form_of(request)
            tokens.check(request, form.get(tokens.FIELD, ""))
            given, place = form.get("token", "").strip(), _within(form.get("next", "/"))
            known = {token.digest: token for token in await desk.read(ledger_tokens.given)}
            token = known.get(ledger_tokens.digest_of(given))
            if token is None or not token.valid(desk.now()):
                return page_of(request, view, "login", Door(next=place, trouble="unknown"), 403)
        except BisError as error:
            return page_of(request, view, "error", error, status_of(error))
        answer = RedirectResponse(view.root + place, 303)
        tokens.put(request, answer, SESSION, given)
        return answer

    async def leave(request: Request) -> Response:
        view = await view_of(desk, request)
        try:
            tokens.check(request, (await form_of(request)).get(tokens.FIELD, ""))
        except BisError as error:
            return page_of(request, view, "error", error, status_of(error))
        answer = RedirectResponse(view.at("/login"), 303)
        answer.delete_cookie(SESSION, path=f"{view.root}/")
        return answer

    async def change(request: Request) -> Response:
        view = await view_of(desk, request)
        try:
            form = await form_of(request)
            tokens.check(request, form.pop(tokens.FIELD, ""))
            if form.pop("do", "") == "remove":
                old = msgspec.convert(form, OldToken)
                await desk.write(ledger_tokens.remove, old.name, desk.now())
                return RedirectResponse(view.at("/settings"), 303)
            new = msgspec.convert({name: value for name, value in form.items() if value}, NewToken, strict=False)
            made = await desk.write(_add, new, desk.now())
        except msgspec.ValidationError as error:
            wrong = UsageError(
                f"the form makes no sense: {error}", hint="a token has a name, a role, and days it lasts"
            )
            return page_of(request, view, "error", wrong, 400)
        except BisError as error:
            return page_of(request, view, "error", error, status_of(error))
        found = await settings(desk, Asked())
        found.made, found.named = made, new.name
        return page_of(request, view, "settings", found)

    return [
        Route("/login", door, methods=["GET"]),
        Route("/login", enter, methods=["POST"]),
        Route("/logout", leave, methods=["POST"]),
        Route("/settings/tokens", change, methods=["POST"]),
    ]


def _within(place: str) -> str:
    """A path of this server: nobody is sent elsewhere by a link that leads here."""
    inside = place.startswith("/") and not place.startswith(("//", "/\\")) and place.isprintable()
    return place if inside else "/"


PAGES: Final = (Page("/settings", "settings", Asked, settings),)
