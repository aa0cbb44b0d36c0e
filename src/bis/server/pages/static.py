"""Files that pages are made with: style sheets and scripts. Their address has a digest of all of them in it, so that a
browser keeps them for ever, and asks for new ones when they have changed."""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER: Final = Path(__file__).parent / "static"
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FOREVER: Final = "public, max-age=31536000, immutable"


class File(NamedTuple):
    content: bytes
    packed: bytes
    """With gzip."""
    media: str


@functools.cache
def files() -> dict[str, File]:
    """By name."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            content = path.read_bytes()
            packed = gzip.compress(content, 9, mtime=0)
            found[path.relative_to(FOLDER).as_posix()] = File(content, packed, TYPES[path.suffix])
    return found


@functools.cache
def edition() -> str:
    """Of all the files together."""
    digest = hashlib.sha256()
    for name, file in files().items():
        digest.update(f"{name}\0{len(file.content)}\0".encode() + file.content)
    return digest.hexdigest()[:12]


def address(name: str) -> str:
    """Without the root of the server. Raises KeyError for a file that is not there: a template is wrong then."""
    if name not in files():
        raise KeyError(name)
    return f"/static/{edition()}/{name}"


def routes() -> Iterator[Route]:
    async def answer(request: Request) -> Response:
        file = files().get(request.path_params["name"])
        if file is None:
            return Response("there is no such file\n", 404, media_type="text/plain")
        same = request.path_params["edition"] == edition()
        headers = {
            "cache-control": FOREVER if same else "no-cache",
            "vary": "accept-encoding",
            "x-content-type-options": "nosniff",
        }
        packed = "gzip" in request.headers.get("accept-encoding", "")
        if packed:
            headers["content-encoding"] = "gzip"
        return Response(file.packed if packed else file.content, headers=headers, media_type=file.media)

    yield Route("/static/{edition}/{name:path}", answer, methods=["GET"])
