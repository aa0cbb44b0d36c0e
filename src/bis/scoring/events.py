"""What AWS Lambda hands over, and what it is answered: requests that came over HTTP, by a gateway of Amazon's, in the
protocols that `bis serve` speaks; and events that are themselves what `/invocations` takes.

It holds one model in the process that the runtime calls, with what the file `job.json` beside it says.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from . import Answer
from .payloads import JSON
from .worker import Scorer

_MODEL = re.compile(
    r"/v(?P<protocol>[12])/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+))?(?P<rest>/infer|:predict)"
)
_LENGTH = "inference-header-content-length"


class NotAnswered(Exception):
    """An event that is no request over HTTP, and cannot be answered: Lambda tells it to the caller as an error."""


class Came(NamedTuple):
    """A request over HTTP, whichever gateway it came by."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    several: bool = False
    """Whether heads are lists there and back: a load balancer that is set to it."""


class Handler:
    """Answers events. Raises at once where the model cannot be loaded, or does not answer its own example."""

    def __init__(self, here: Path) -> None:
        job = json.loads((here / "job.json").read_text("utf-8"))
        self.about = {f"x-{key}": str(value) for key, value in job["about"].items() if value}
        self.name, self.version = str(job.get("name", "")), str(job.get("version", ""))
        self.scorer = Scorer({**job, "folder": str(here / job["folder"])})
        self.scorer.prove()

    def __call__(self, event: Any, context: Any) -> Any:
        """Raises NotAnswered."""
        try:
            came = came_in(event)
        except ValueError:
            return _told({}, Answer(400, JSON, _error("BAD_REQUEST", "the body is no valid base64")), False)
        if came is None:
            return self._called(event)
        about = {**self.about, "x-request-id": str(getattr(context, "aws_request_id", "") or "")}
        return _told(about, self._requested(came), came.several)

    def _called(self, event: Any) -> Any:
        """Answer what is no request over HTTP."""
        (one,) = self._scored("invocations", JSON, json.dumps(event).encode())
        found = json.loads(one.body)
        if one.status != 200:
            raise NotAnswered(found["message"])
        return found

    def _requested(self, came: Came) -> Answer:
        if came.method == "POST":
            return self._predicted(came)
        if came.path in ("/ping", "/health", "/v2/health/live", "/v2/health/ready") and came.method in ("GET", "HEAD"):
            return Answer(200, JSON, b"\n")
        return Answer(404, JSON, _error("RESOURCE_DOES_NOT_EXIST", "nothing is at this address; /invocations is"))

    def _predicted(self, came: Came) -> Answer:
        form = self._form(came.path)
        if not form:
            return Answer(404, JSON, _error("RESOURCE_DOES_NOT_EXIST", "nothing is at this address; /invocations is"))
        if came.headers.get("content-encoding", "identity") != "identity":
            return Answer(415, JSON, _error("UNSUPPORTED_MEDIA_TYPE", "bodies are not packed here"))
        length = came.headers.get(_LENGTH, "")
        kind = came.headers.get("content-type", "" if form == "invocations" else JSON)
        return self._scored(form, kind, came.body, int(length) if length.isdecimal() and len(length) < 12 else -1)[0]

    def _form(self, path: str) -> str:
        """The protocol of an address; empty where nothing is."""
        if path in ("/", "/invocations"):
            return "invocations"
        there = _MODEL.fullmatch(path)
        if not there or unquote(there["name"]) != self.name or there["version"] not in (None, self.version):
            return ""
        return {("2", "/infer"): "v2", ("1", ":predict"): "v1"}.get((there["protocol"], there["rest"]), "")

    def _scored(self, form: str, kind: str, body: bytes, json_length: int = -1) -> list[Answer]:
        part = {"id": 0, "form": form, "content_type": kind, "length": len(body), "json_length": json_length}
        return self.scorer.score([part], body)


def came_in(event: Any) -> Came | None:
    """The request that an event is; None for one that did not come over HTTP. Raises ValueError for a damaged body."""
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if not isinstance(context, Mapping):
        return None
    http = context.get("http")
    if isinstance(http, Mapping):  # the address of a function, or an HTTP API
        method, path = str(http.get("method", "")), str(event.get("rawPath", ""))
        stage = str(context.get("stage") or "$default")
        path = path[len(stage) + 1 :] if path.startswith(f"/{stage}/") else path
    elif "httpMethod" in event:  # a REST API, or a load balancer
        method, path = str(event["httpMethod"]), str(event.get("path", ""))
    else:
        return None
    several = event.get("headers") is None and event.get("multiValueHeaders") is not None
    return Came(method, path or "/", _headers(event), _body(event), several)


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    lists = event.get("multiValueHeaders") or {}
    last = {key: values[-1] for key, values in lists.items() if values}
    return {str(key).lower(): str(value) for key, value in {**last, **(event.get("headers") or {})}.items()}


def _body(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(text).encode()
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _told(about: Mapping[str, str], answer: Answer, several: bool) -> dict[str, Any]:
    """As gateways take it."""
    headers = {"content-type": answer.content_type, **{key: _line(value) for key, value in about.items() if value}}
    if answer.json_length:
        headers[_LENGTH] = str(answer.json_length)
    binary = not answer.content_type.startswith((JSON, "text/"))
    body = base64.b64encode(answer.body) if binary else answer.body
    heads: dict[str, Any] = {"headers": headers}
    if several:
        heads = {"multiValueHeaders": {key: [value] for key, value in headers.items()}}
    return {"statusCode": answer.status, **heads, "body": body.decode(), "isBase64Encoded": binary}


def _line(value: str) -> str:
    return "".join(letter if letter.isprintable() and letter < "\x7f" else "?" for letter in value)


def _error(code: str, message: str) -> bytes:
    return json.dumps({"error_code": code, "message": message, "error": message}).encode()
