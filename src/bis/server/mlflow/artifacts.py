"""Artifacts, in MLflow's words: its proxy, the listings of runs and models, and the downloads of its pages."""

from __future__ import annotations

import ntpath
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bis.errors import UsageError
from bis.ledger import locations
from bis.nouns.artifact import Artifact, Listed, joined, path_of, safe_path
from bis.server.desk import Desk
from bis.server.files import Broken, body_of, sent
from bis.server.mlflow.endpoint import Asked, Endpoint, Refused, get, post, read_body
from bis.server.mlflow.wording import told
from bis.server.multipart import Multipart
from bis.server.scattered import Scattered
from bis.store.bucket import BucketStore

FACES: Final = ("/api", "/ajax-api")
PROXY: Final = "2.0/mlflow-artifacts"
LONGEST: Final = 4 << 20
"""Bytes of what is said of an upload in parts: 10,000 of them take a quarter of it."""

_BEHIND: Final = re.compile(r".*?/mlflow-artifacts/(?:artifacts|presigned|mpu/\w+)/(.*)")

Handler = Callable[[Desk, Request], Awaitable[Response]]


class List(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""
    page_token: str = ""


class Presign(msgspec.Struct):
    run_id: str = ""
    path: str = ""


class Begin(msgspec.Struct):
    path: str = ""
    num_parts: int = 1


class Part(msgspec.Struct):
    part_number: int = 0
    etag: str = ""


class Finish(msgspec.Struct):
    path: str = ""
    upload_id: str = ""
    parts: list[Part] = []


# -- of runs and models ------------------------------------------------------------------------------------------


async def of_run(desk: Desk, asked: List) -> dict[str, Any]:
    run_id = asked.run_id or asked.run_uuid
    if not run_id:
        raise Refused("INVALID_PARAMETER_VALUE", "Missing value for required parameter 'run_id'.")
    return await _listed(desk, await desk.read(locations.of_run, run_id), safe_path(asked.path))


async def presign(desk: Desk, asked: Presign) -> dict[str, Any]:
    raise Refused(
        "INVALID_PARAMETER_VALUE",
        "Presigned upload is not supported for runs with proxied artifact storage: PUT the file to the proxy instead.",
    )


async def of_model(desk: Desk, request: Request) -> Response:
    folder = safe_path(request.query_params.get("artifact_directory_path", ""))
    uri = await desk.read(locations.of_model, request.path_params["model_id"])
    return _json(await _listed(desk, uri, folder))


async def _listed(desk: Desk, uri: str, folder: str) -> dict[str, Any]:
    """Paths in the answer are relative to the run or model, not to the folder."""
    found = await desk.read(locations.listing, joined(path_of(uri), folder))
    return {"root_uri": uri, "files": [_shown(listed, folder) for listed in found]}


def _shown(listed: Listed, folder: str = "") -> dict[str, Any]:
    size = {} if listed.size is None else {"file_size": listed.size}
    return {"path": joined(folder, listed.name), "is_dir": listed.size is None, **size}


# -- downloads -----------------------------------------------------------------------------------------------------


async def download_of_run(desk: Desk, request: Request) -> Response:
    asked = request.query_params
    run_id, path = asked.get("run_id") or asked.get("run_uuid"), _demanded(asked.get("path"), "path")
    uri = await desk.read(locations.of_run, _demanded(run_id, "run_id"))
    return await _sent(desk, request, joined(path_of(uri), safe_path(path)))


async def download_of_model(desk: Desk, request: Request) -> Response:
    path = request.query_params.get("artifact_file_path")
    if not path:
        raise Refused("BAD_REQUEST", 'Request must include the "artifact_file_path" query parameter.')
    uri = await desk.read(locations.of_model, request.path_params["model_id"])
    return await _sent(desk, request, joined(path_of(uri), safe_path(path)))


async def download_of_version(desk: Desk, request: Request) -> Response:
    asked = request.query_params
    path = safe_path(_demanded(asked.get("path"), "path"))
    uri = await desk.read(locations.of_version, _demanded(asked.get("name"), "name"), asked.get("version", ""))
    return await _sent(desk, request, joined(path_of(uri), path))


async def download(desk: Desk, request: Request) -> Response:
    path = _path(request)
    if not path:
        return await list_folder(desk, request)
    return await _sent(desk, request, path)


async def _sent(desk: Desk, request: Request, path: str) -> Response:
    artifact: Artifact = await desk.read(locations.get, path)
    return await sent(desk.shelf, artifact, request)


def _demanded(value: str | None, name: str) -> str:
    if not value:
        raise Refused("INVALID_PARAMETER_VALUE", f"Missing value for required parameter '{name}'.")
    return value


# -- the proxy -----------------------------------------------------------------------------------------------------


async def list_folder(desk: Desk, request: Request) -> Response:
    folder = safe_path(request.query_params.get("path", ""))
    return _json({"files": [_shown(listed) for listed in await desk.read(locations.listing, folder)]})


async def upload(desk: Desk, request: Request) -> Response:
    return await _put(desk, request, _path(request))


async def upload_to_run(desk: Desk, request: Request) -> Response:
    asked = request.query_params
    for name in ("run_uuid", "path"):
        if not asked.get(name):
            raise Refused("INVALID_PARAMETER_VALUE", f"Request must specify {name}.")
    path = safe_path(asked["path"])
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        raise Refused("INVALID_PARAMETER_VALUE", "Request must specify data.")
    uri = await desk.read(locations.of_run, asked["run_uuid"])
    return await _put(desk, request, joined(path_of(uri), path))


async def _put(desk: Desk, request: Request, path: str) -> Response:
    await desk.read(locations.demand_open, path)
    async with desk.shelf.kept(body_of(request)) as kept:
        await desk.keep(locations.put, path, kept.digest, kept.size, desk.now())
    return _json({})


async def remove(desk: Desk, request: Request) -> Response:
    await desk.keep(locations.remove, _path(request))
    return _json({})


# -- uploads in parts ----------------------------------------------------------------------------------------------


async def begin(desk: Desk, request: Request) -> Response:
    asked = await _said(request, Begin)
    path = _target(request, asked.path)
    await desk.read(locations.demand_open, path)
    id = await desk.shelf.work(lambda: _uploads(desk).begin(path))
    base = str(request.base_url).rstrip("/")
    parts = [
        {"url": f"{base}/api/{PROXY}/mpu/part/{id}/{number}", "part_number": number, "headers": {}}
        for number in range(1, max(1, min(asked.num_parts, 10_000)) + 1)
    ]
    return _json({"upload_id": id, "credentials": parts})


async def take_part(desk: Desk, request: Request) -> Response:
    asked = request.path_params
    digest = await _uploads(desk).take(asked["upload_id"], asked["number"], body_of(request))
    return Response(status_code=200, headers={"ETag": f'"{digest}"'})


async def complete(desk: Desk, request: Request) -> Response:
    asked = await _said(request, Finish)
    path = _target(request, asked.path)
    parts = [(part.part_number, part.etag.strip('"')) for part in asked.parts]
    async with _uploads(desk).complete(asked.upload_id, path, parts) as kept:
        await desk.keep(locations.put, path, kept.digest, kept.size, desk.now())
    return _json({})


async def abort(desk: Desk, request: Request) -> Response:
    asked = await _said(request, Finish)
    path = _target(request, asked.path)
    await desk.shelf.work(lambda: _uploads(desk).abort(asked.upload_id, path))
    return _json({})


async def presigned(desk: Desk, request: Request) -> Response:
    raise Refused("NOT_IMPLEMENTED", "Presigned downloads are not supported: GET the artifact, in ranges if you like.")


def _uploads(desk: Desk) -> Multipart | Scattered:
    return Scattered(desk.shelf, desk.store) if isinstance(desk.store, BucketStore) else Multipart(desk.shelf)


async def _said(request: Request, asked: type[Asked]) -> Asked:
    """Bounded here: calls that move files may be of any size."""
    body = bytearray()
    async for part in body_of(request):
        body += part
        if len(body) > LONGEST:
            raise Refused("INVALID_PARAMETER_VALUE", f"The request is larger than {LONGEST >> 20} MiB.")
    return read_body(bytes(body), asked)


def _target(request: Request, local: str) -> str:
    """Where an upload goes: a folder in the URL, and the name of the client's file, whatever system it is on."""
    name = ntpath.basename(local)
    if not name:
        raise Refused("INVALID_PARAMETER_VALUE", "Missing value for required parameter 'path'.")
    return joined(_path(request), safe_path(name))


def _path(request: Request) -> str:
    """The path in the URL, decoded once, from the bytes that came."""
    raw: bytes = request.scope.get("raw_path") or b""
    found = _BEHIND.match(raw.decode("ascii", "replace").partition("?")[0])
    try:
        return safe_path(unquote(found[1], errors="strict")) if found else ""
    except UnicodeDecodeError:
        raise UsageError("Invalid path") from None


# -- the table -----------------------------------------------------------------------------------------------------

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    get("artifacts/list", List, of_run),
    post("artifacts/presigned-upload-url", Presign, presign),
)

_HANDLERS: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", f"{PROXY}/artifacts", list_folder),
    ("GET", f"{PROXY}/artifacts/{{path:path}}", download),
    ("PUT", f"{PROXY}/artifacts/{{path:path}}", upload),
    ("DELETE", f"{PROXY}/artifacts/{{path:path}}", remove),
    ("GET", f"{PROXY}/presigned/{{path:path}}", presigned),
    ("POST", f"{PROXY}/mpu/create", begin),
    ("POST", f"{PROXY}/mpu/create/{{path:path}}", begin),
    ("POST", f"{PROXY}/mpu/complete", complete),
    ("POST", f"{PROXY}/mpu/complete/{{path:path}}", complete),
    ("POST", f"{PROXY}/mpu/abort", abort),
    ("POST", f"{PROXY}/mpu/abort/{{path:path}}", abort),
    ("PUT", f"{PROXY}/mpu/part/{{upload_id}}/{{number:int}}", take_part),
    ("POST", "2.0/mlflow/upload-artifact", upload_to_run),
    ("GET", "2.0/mlflow/logged-models/{model_id}/artifacts/directories", of_model),
    ("GET", "2.0/mlflow/logged-models/{model_id}/artifacts/files", download_of_model),
    ("GET", "3.0/mlflow/logged-models/{model_id}/artifacts/directories", of_model),
    ("GET", "3.0/mlflow/logged-models/{model_id}/artifacts/files", download_of_model),
)
"""What is not JSON in and out, or has names in its path."""


def routes(desk: Desk) -> Iterable[BaseRoute]:
    for method, path, handler in _HANDLERS:
        for face in FACES:
            yield Route(f"{face}/{path}", _guarded(desk, handler), methods=[method])
    yield Route("/get-artifact", _guarded(desk, download_of_run), methods=["GET"])
    yield Route("/model-versions/get-artifact", _guarded(desk, download_of_version), methods=["GET"])


def _guarded(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    return partial(_answered, desk, handler)


async def _answered(desk: Desk, handler: Handler, request: Request) -> Response:
    try:
        return await handler(desk, request)
    except Broken:
        return Response(status_code=499)
    except Exception as error:
        refused = told(error)
        if refused is None:
            raise
        return _refusal(refused)


def _refusal(refused: Refused) -> Response:
    return _json({"error_code": refused.code, "message": refused.message}, refused.status)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
