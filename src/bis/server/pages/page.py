"""One page: what is asked, what is answered, and the template that shows it; errors look like pages, too."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import logging
import types
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bis.digest import canonical
from bis.errors import AlreadyThere, BisError, NotFound, UsageError
from bis.server.desk import Desk
from bis.server.native.call import unquoted
from bis.server.pages import tokens
from bis.server.pages.rendering import rendered
from bis.server.pages.view import View, view_of
from bis.steps.promotion import Refusal

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; media-src 'self';"
    " font-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'"
)
"""Nothing comes from elsewhere, and nothing runs that does not lie in a file of ours."""
SHORT: Final = 600
"""Bytes that are not worth compressing."""
LEVEL: Final = 4
FORM_FIELD: Final = "as"
FORM: Final = 1 << 20
"""Bytes of a form."""

S = TypeVar("S", bound=msgspec.Struct)
Answer = Callable[[Desk, Any], Awaitable[msgspec.Struct]]
Table = tuple[Sequence[str], Iterable[Sequence[Any]]]

_log = logging.getLogger("bis.server")


class Page(NamedTuple):
    """One page. A list in `asked` may be given several times, anything else once."""

    path: str
    """Names in braces."""
    name: str
    """Of its template, and of its schema: `bis.page.NAME/1`."""
    asked: type[msgspec.Struct]
    answer: Answer
    rows: Callable[[Any], Table] | None = None
    """Of its value: the titles and the rows of PATH.csv."""
    styles: str = ""
    """Hashes of styles that a library of ours puts into the page."""
    instead: Callable[[Desk, Any, BisError], Awaitable[msgspec.Struct]] | None = None
    """The value of a page that stays where what is asked for makes no sense, and says so."""
    onward: Callable[[Any], tuple[str, dict[str, Any]] | None] | None = None
    """Of what is asked: path and query of another page, which a person is led to instead; None: this one is meant."""

    @property
    def is_open_ended(self) -> bool:
        """Whether its path ends with that of a file, which may end with .json: PATH?as=json is the value then."""
        return self.path.endswith(":path}")


class Action(NamedTuple):
    """Something that a form of a page changes. Who may do it is said by `server.roles`, from the path."""

    path: str
    asked: type[msgspec.Struct]
    """What stands in the path and in the form."""
    act: Callable[[Desk, Any], Awaitable[str | tuple[str, dict[str, Any]]]]
    """Returns the path of the page that shows what came of it; with what stands behind it."""


def routes_of(desk: Desk, page: Page) -> Iterator[Route]:
    """The page and its other forms; those first, as their paths are the longer ones."""

    async def value(request: Request) -> msgspec.Struct:
        return await page.answer(desk, asked_of(page.asked, request))

    async def stays(request: Request) -> tuple[msgspec.Struct, int]:
        asked = asked_of(page.asked, request)
        try:
            return await page.answer(desk, asked), 200
        except (UsageError, NotFound) as error:
            if page.instead is None:
                raise
            return await page.instead(desk, asked, error), status_of(error)

    async def as_json(request: Request) -> Response:
        try:
            found = await value(request)
        except BisError as error:
            return _compact(request, _json({"error": error.told()}), "application/json", status_of(error))
        except Exception:  # a fault of ours: the log has it whole, and who looks is told that it has
            return _compact(request, _json({"error": _unexpected(page.path).told()}), "application/json", 500)
        told = {"schema": f"bis.page.{page.name}/1", **msgspec.to_builtins(found, order="deterministic")}
        return _compact(request, _json(told), "application/json")

    async def as_csv(request: Request) -> Response:
        assert page.rows
        try:
            titles, rows = page.rows(await value(request))
        except BisError as error:
            return _compact(request, f"{error.what}\n".encode(), "text/plain; charset=utf-8", status_of(error))
        out = io.StringIO()
        written = csv.writer(out, lineterminator="\n")
        written.writerow(titles)
        written.writerows(rows)
        return _compact(request, out.getvalue().encode(), "text/csv; charset=utf-8")

    async def as_page(request: Request) -> Response:
        if page.is_open_ended and (form := forms.get(request.query_params.get(FORM_FIELD, ""))):
            return await form(request)
        view = msgspec.structs.replace(
            await view_of(desk, request), open_ended=page.is_open_ended, timed="asof" in page.asked.__struct_fields__
        )
        try:
            if page.onward and (place := page.onward(asked_of(page.asked, request))):
                return RedirectResponse(view.at(place[0], **place[1]), 303)
            found, status = await stays(request)
            return _page(request, view, page.name, found, status=status, styles=page.styles)
        except BisError as error:
            return _page(request, view, "error", error, status=status_of(error))
        except Exception:  # a fault of ours: the log has it whole, and who looks is told that it has
            return _page(request, view, "error", _unexpected(page.path), status=500)

    forms = {"json": as_json, **({"csv": as_csv} if page.rows else {})}
    for extension, form in forms.items() if not page.is_open_ended else ():
        yield Route(f"{page.path.rstrip('/') or '/runs'}.{extension}", form, methods=["GET"])
    yield Route(page.path, as_page, methods=["GET"])


def route_of(desk: Desk, action: Action) -> Route:
    async def act(request: Request) -> Response:
        view = await view_of(desk, request)
        try:
            form = await form_of(request)
            tokens.check(request, form.pop(tokens.FIELD, ""))
            asked = _converted(action.asked, [*form.items(), *_path_of(request)])
            place = await action.act(desk, asked)
        except BisError as error:
            return _page(request, view, "error", error, status=status_of(error))
        except Exception:  # a fault of ours: the log has it whole, and who looks is told that it has
            return _page(request, view, "error", _unexpected(action.path), status=500)
        path, query = (place, dict[str, Any]()) if isinstance(place, str) else place
        return RedirectResponse(view.at(path, **query), 303)

    return Route(action.path, act, methods=["POST"])


def status_of(error: BisError) -> int:
    match error:
        case AlreadyThere():
            return 409
        case Refusal() | tokens.Foreign():
            return 403
        case UsageError():
            return 400
        case NotFound():
            return 404
    return 500 if error.code == BisError.code else 503


def page_of(request: Request, view: View, name: str, value: Any, status: int = 200) -> Response:
    """A page that has no other forms: of an error, or to log in."""
    return _page(request, view, name, value, status=status)


# -- what is asked -------------------------------------------------------------------------------------------------


def asked_of(kind: type[S], request: Request) -> S:
    """What stands in the path and behind it. Raises UsageError, which names what cannot be meant."""
    try:
        said = parse_qsl(unquoted(request.scope["query_string"]), True, errors="strict")
    except UnicodeError:
        raise UsageError("the address is not UTF-8") from None
    return _converted(kind, [*said, *_path_of(request)])


def _path_of(request: Request) -> list[tuple[str, str]]:
    """What stands in the path, as text."""
    return [(name, str(value)) for name, value in request.path_params.items()]


async def form_of(request: Request) -> dict[str, str]:
    """The fields that were filled in. Raises UsageError."""
    body, size = bytearray(), 0
    async for part in request.stream():  # to its end: a browser looks at the answer behind it
        size += len(part)
        body += part if size <= FORM else b""
    if size > FORM:
        raise UsageError(f"the form is larger than {FORM >> 10} KiB")
    try:
        return dict(parse_qsl(unquoted(bytes(body)), True, errors="strict"))
    except UnicodeError:
        raise UsageError("the form is not UTF-8") from None


def _converted(kind: type[S], said: Iterable[tuple[str, str]]) -> S:
    """Raises UsageError, which names what cannot be meant."""
    hints, found = _lists(kind), dict[str, Any]()
    for name, value in said:
        if "\0" in value:
            raise UsageError("there is a NUL character in the address")
        if name in hints:
            found.setdefault(name, []).append(value)
        elif name in found and found[name] != value:
            raise UsageError(f"{name} is given more than once")
        else:
            found[name] = value
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    # A form without scripts sends its empty fields, too: they say nothing.
    found = {name: value for name, value in found.items() if value != "" or name not in known}
    if unknown := [name for name in found if name not in known and name not in ("asof", FORM_FIELD)]:
        raise UsageError(f"this page is not asked for {unknown[0]!r}", because=f"It knows {', '.join(sorted(known))}.")
    try:
        return msgspec.convert({name: value for name, value in found.items() if name in known}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the address makes no sense: {error}") from None


def _lists(kind: type[msgspec.Struct]) -> frozenset[str]:
    hints = get_type_hints(kind)
    return frozenset(name for name, hint in hints.items() if _origin(hint) in (list, tuple))


def _origin(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return next((_origin(one) for one in get_args(hint) if one is not types.NoneType), None)
    return get_origin(hint)


# -- what is answered ----------------------------------------------------------------------------------------------


def _page(request: Request, view: View, name: str, value: Any, *, status: int = 200, styles: str = "") -> Response:
    html = rendered(f"{name}.html", page=value, view=view)
    answer = _compact(request, html.encode("utf-8", "replace"), "text/html; charset=utf-8", status, private=True)
    answer.headers["content-security-policy"] = POLICY.format(styles=f" {styles}" if styles else "")
    tokens.give(request, answer, view.csrf)
    return answer


def _compact(request: Request, body: bytes, media: str, status: int = 200, *, private: bool = False) -> Response:
    """With a mark by which a browser asks whether it has changed; compressed where that is understood."""
    mark = '"' + hashlib.sha256(body).hexdigest()[:24] + '"'
    headers = {
        "etag": mark,
        "vary": "accept-encoding, cookie",
        "cache-control": "no-store" if private else "no-cache",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
    }
    if status == 200 and not private and mark in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if len(body) > SHORT and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, LEVEL, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(body, status, headers, media_type=media)


def _json(value: Mapping[str, Any]) -> bytes:
    """What JSON has no numbers for is spelled as records spell it."""
    return canonical(value)


def _unexpected(path: str) -> BisError:
    """Nobody expected it: the log has all of it, and the page a word."""
    _log.exception("%s failed", path)
    return BisError("the server failed; its log says more")
