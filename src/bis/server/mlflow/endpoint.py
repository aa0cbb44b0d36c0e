"""How a request of MLflow becomes a call of a plain function, and its result an answer.

An endpoint is a function of the desk and of what was asked, a struct; it returns a struct, or None for `{}`. It is
reached below `/api` and `/ajax-api`, with the version that MLflow's own clients use.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from bis.server.desk import Desk
from bis.server.nul import names_nul

Asked = TypeVar("Asked", bound=msgspec.Struct)
Answer = Callable[[Desk, Asked], Awaitable[Any]]

STATUSES: Final = {
    "INVALID_PARAMETER_VALUE": 400,
    "BAD_REQUEST": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "INVALID_STATE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "NOT_FOUND": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
}


class Refused(Exception):
    """An error as MLflow's clients expect it: a code of theirs, and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        return STATUSES[self.code]


class Endpoint(NamedTuple):
    """One call of the API."""

    method: str
    path: str
    """Behind the version: `experiments/create`; names in braces are fields of what is asked."""
    asked: type[msgspec.Struct]
    answer: Callable[[Desk, Any], Awaitable[Any]]
    required: tuple[str, ...] = ()
    """Fields that must be given, and not be empty."""
    version: str = "2.0"


def get(
    path: str, asked: type[Asked], answer: Answer[Asked], *, required: Sequence[str] = (), version: str = "2.0"
) -> Endpoint:
    return Endpoint("GET", path, asked, answer, tuple(required), version)


def post(
    path: str, asked: type[Asked], answer: Answer[Asked], *, required: Sequence[str] = (), version: str = "2.0"
) -> Endpoint:
    return Endpoint("POST", path, asked, answer, tuple(required), version)


def patch(
    path: str, asked: type[Asked], answer: Answer[Asked], *, required: Sequence[str] = (), version: str = "2.0"
) -> Endpoint:
    return Endpoint("PATCH", path, asked, answer, tuple(required), version)


def delete(
    path: str, asked: type[Asked], answer: Answer[Asked], *, required: Sequence[str] = (), version: str = "2.0"
) -> Endpoint:
    return Endpoint("DELETE", path, asked, answer, tuple(required), version)


def read(endpoint: Endpoint, query: bytes, body: bytes, place: Mapping[str, str] | None = None) -> msgspec.Struct:
    """What a request asks an endpoint for: a GET in its query, others in their body, each with the names that its path
    gives. Raises Refused."""
    if names_nul(body) or b"%00" in query or "\0" in "".join((place or {}).values()):
        raise Refused("INVALID_PARAMETER_VALUE", "A character of the request is NUL, which no text of a ledger holds.")
    if place or (endpoint.method == "GET" and not body):
        said = _queried(query, endpoint.asked) if endpoint.method == "GET" else _parsed(body)
        return convert({**said, **(place or {})}, endpoint)
    return _complete(read_body(body, endpoint.asked), endpoint)


def convert(said: Mapping[str, Any], endpoint: Endpoint) -> msgspec.Struct:
    """What an endpoint is asked for by these names and values. Raises Refused."""
    return _complete(_converted(dict(said), endpoint.asked), endpoint)


def _complete(asked: msgspec.Struct, endpoint: Endpoint) -> msgspec.Struct:
    for name in endpoint.required:
        if getattr(asked, name) in ("", None):
            raise missing(name)
    return asked


def read_body(body: bytes, asked: type[Asked]) -> Asked:
    """Raises Refused for what is no JSON, or names the field that makes no sense."""
    if not body:
        return _converted({}, asked)
    try:
        found: Asked = _decoder(asked).decode(body)
        return found
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _converted(_parsed(body), asked)


def missing(name: str) -> Refused:
    return Refused("INVALID_PARAMETER_VALUE", f"Missing value for required parameter '{name}'.{SEE}")


def invalid(name: str, value: Any, why: str = "") -> Refused:
    shown = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return Refused("INVALID_PARAMETER_VALUE", f"Invalid value {shown} for parameter '{name}' supplied{why or '.'}")


SEE: Final = " See the API docs for more information about request parameters."


@functools.cache
def _decoder(asked: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(asked, strict=False)  # not strict: 64 bits come as text, and NaN does


@functools.cache
def _lists(asked: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(asked) if "list" in str(field.type))


def _queried(query: bytes, asked: type[msgspec.Struct]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    lists = _lists(asked)
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in lists:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _parsed(body: bytes) -> dict[str, Any]:
    """The object that a body is; what is null there counts as not given. Python's own spellings of NaN and infinities
    are read, and so is an object that was encoded twice, as old clients do."""
    try:
        found = json.loads(body) if body else {}
        found = json.loads(found) if isinstance(found, str) else found
        given = _given(found)
        json.dumps(given, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        raise Refused("BAD_REQUEST", "The request body is not valid JSON.") from None
    if not isinstance(given, dict):
        raise Refused("BAD_REQUEST", "The request body is no JSON object.")
    return given


def _given(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _given(value) for key, value in found.items() if value is not None}
    return [_given(each) for each in found] if isinstance(found, list) else found


def _converted(found: dict[str, Any], asked: type[Asked]) -> Asked:
    try:
        return msgspec.convert(found, asked, strict=False)
    except msgspec.ValidationError as error:
        raise _unfit(str(error), found) from None
    except OverflowError as error:
        raise Refused("INVALID_PARAMETER_VALUE", f"A number is too large: {error}") from None


def _unfit(said: str, found: dict[str, Any]) -> Refused:
    """In MLflow's words, with the value: msgspec says `Expected …, got … - at $.tags[3].key`."""
    said, _, place = said.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    if absent := re.search(r"missing required field `(\w+)`", said):
        return missing(f"{path}.{absent[1]}" if path else absent[1])
    if not path:
        return Refused("INVALID_PARAMETER_VALUE", said)
    value = _value_at(found, path)
    return invalid(path, value, f":  Hint: Value was of type '{type(value).__name__}'.{SEE}")


def _value_at(found: Any, path: str) -> Any:
    for name, index in re.findall(r"(\w+)(?!\])|\[(\d+)\]", path):
        try:
            found = found[int(index)] if index else found[name]
        except (LookupError, TypeError):
            return None
    return found
