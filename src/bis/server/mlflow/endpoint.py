"""How a request of MLflow becomes a call of a plain function, and its result or error an answer.

An endpoint is a function of the desk and of what was asked, a struct; it returns a struct, or None for `{}`. It is
reached below `/api` and `/ajax-api`, with the version that MLflow's own clients use.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from bis.errors import AlreadyThere, BisError, NotFound, UsageError
from bis.server.desk import Desk

Asked = TypeVar("Asked", bound=msgspec.Struct)

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
    """Behind the version: `experiments/create`."""
    asked: type[msgspec.Struct]
    answer: Callable[[Desk, Any], Awaitable[Any]]
    version: str = "2.0"


def get(
    path: str, asked: type[Asked], answer: Callable[[Desk, Asked], Awaitable[Any]], *, version: str = "2.0"
) -> Endpoint:
    return Endpoint("GET", path, asked, answer, version)


def post(
    path: str, asked: type[Asked], answer: Callable[[Desk, Asked], Awaitable[Any]], *, version: str = "2.0"
) -> Endpoint:
    return Endpoint("POST", path, asked, answer, version)


def read_body(body: bytes, asked: type[Asked]) -> Asked:
    """Raises Refused for what is no JSON, or names the field that makes no sense."""
    if not body:
        return _converted({}, asked)
    try:
        return msgspec.json.decode(body, type=asked, strict=False)
    except msgspec.ValidationError as error:
        raise _unfit(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:  # Python writes NaN and Infinity, which JSON has no words for
        return _converted(json.loads(body), asked)
    except (ValueError, RecursionError):
        raise Refused("BAD_REQUEST", "The request body is not valid JSON.") from None


def read_query(query: bytes, asked: type[Asked]) -> Asked:
    """What stands behind the `?`; a name that comes more than once is a list."""
    found: dict[str, Any] = {}
    lists = {field.encode_name for field in msgspec.structs.fields(asked) if "list" in str(field.type)}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in lists:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return _converted(found, asked)


def told(error: Exception) -> Refused | None:
    """An error in MLflow's words; None for one that nobody expected."""
    match error:
        case Refused():
            return error
        case AlreadyThere():
            return Refused("RESOURCE_ALREADY_EXISTS", error.what)
        case UsageError():
            return Refused("INVALID_PARAMETER_VALUE", str(error))
        case NotFound():
            return Refused("RESOURCE_DOES_NOT_EXIST", error.what)
        case BisError():
            return Refused("TEMPORARILY_UNAVAILABLE", str(error))
    return None


def _converted(found: Any, asked: type[Asked]) -> Asked:
    try:
        return msgspec.convert(found, asked, strict=False)
    except msgspec.ValidationError as error:
        raise _unfit(error) from None


def _unfit(error: msgspec.ValidationError) -> Refused:
    said, _, place = str(error).partition(" - at `$")
    where = place.rstrip("`").lstrip(".")
    return Refused("INVALID_PARAMETER_VALUE", f"Invalid value for parameter '{where}': {said}" if where else said)
