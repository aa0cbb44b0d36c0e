"""Files over HTTP: whole or in ranges, asked for again only when they changed; attachments where nobody says else."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from mimetypes import guess_type
from typing import Final, NamedTuple
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from bis.nouns.artifact import Artifact
from bis.server.shelf import Shelf

TEXT: Final = frozenset(
    "txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md rst"
    " MLmodel mlproject MLproject".split()
)
"""Suffixes, and names without one, of what is sent as plain text."""

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_PLAIN: Final = re.compile(r"[A-Za-z0-9!#$&+.^_`|~%-]+")


class Span(NamedTuple):
    """A part of a file."""

    start: int
    size: int


class Unsatisfiable(Exception):
    """A range that begins behind the end."""


async def sent(shelf: Shelf, artifact: Artifact, request: Request, how: Mapping[str, str] | None = None) -> Response:
    """The answer to a request for a file. Raises what is wrong with its first bytes before it begins. `how` are headers
    that say what a browser does with it; without them it is an attachment of the type that MLflow tells."""
    etag = f'"{artifact.digest}"'
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "ETag": etag,
        **(how or _attached(artifact.path.rpartition("/")[2])),
    }
    asked = request.headers
    if _matches(asked.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    try:
        span = wanted(asked.get("range", ""), artifact.size) if asked.get("if-range", etag) == etag else None
    except Unsatisfiable:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{artifact.size}"})
    status, span = (200, Span(0, artifact.size)) if span is None else (206, span)
    if status == 206:
        headers["Content-Range"] = f"bytes {span.start}-{span.start + span.size - 1}/{artifact.size}"
    headers["Content-Length"] = str(span.size)
    if request.method == "HEAD" or not span.size:
        return Response(status_code=status, headers=headers)
    return StreamingResponse(await begun(shelf.read(artifact.digest, span.start, span.size)), status, headers)


def _attached(name: str) -> dict[str, str]:
    return {
        "Content-Disposition": disposition(name),
        "Content-Security-Policy": "sandbox",
        "Content-Type": kind(name),
        "Cache-Control": "private, no-cache",
    }


async def begun(blocks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The same blocks, of which the first is there already."""
    first = await anext(blocks, b"")

    async def all_of_them() -> AsyncGenerator[bytes]:
        async with aclosing(blocks):
            yield first
            async for block in blocks:
                yield block

    return all_of_them()


def wanted(header: str, size: int) -> Span | None:
    """What a Range header asks for; None: the whole, also where it asks for several ranges or makes no sense."""
    match = _RANGE.fullmatch(header.strip())
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
        if last.strip("0") == "":
            raise Unsatisfiable
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise Unsatisfiable
    return Span(start, end - start)


def kind(name: str) -> str:
    """The type of a file by its name, as MLflow tells it. Whatever it is, `sent` lets no browser show it as a page."""
    suffix = name.rpartition(".")[2]
    if suffix in TEXT:
        return "text/plain"
    return guess_type(name)[0] or "application/octet-stream"


def disposition(name: str) -> str:
    """Names that are no plain word are given in two ways, the second for all of Unicode."""
    if _PLAIN.fullmatch(name):
        return f"attachment; filename={name}"
    ascii_only = re.sub(r"[^ -~]|[\"\\]", "_", name)
    return f"attachment; filename=\"{ascii_only}\"; filename*=UTF-8''{quote(name, safe='')}"


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The parts of a request's body, as they come. Raises Broken where the client goes away before its end."""
    try:
        async for part in request.stream():
            if part:
                yield part
    except ClientDisconnect:
        raise Broken from None


class Broken(Exception):
    """The client went away in the middle of what it sent: nothing of it is kept, and nobody hears the answer."""


def _matches(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags or "*" in tags
