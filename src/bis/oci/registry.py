"""A registry of images, over HTTP as the distribution specification has it: pulled from, and pushed to.

What comes is verified before it is kept, what goes is not sent where it is already. Credentials are those of `docker
login`, for the host that they name and no other; plain HTTP is spoken on this machine alone.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec

from bis import __version__
from bis.digest import canonical
from bis.errors import BisError, KeepingError, NotFound, UsageError, explains
from bis.oci import DOCKER_LIST, DOCKER_MANIFEST, INDEX, INDEXES, MANIFEST, Descriptor, Index, Manifest, Platform
from bis.oci.layout import BLOCK, LARGEST, Layout, chosen

HUB: Final = "registry-1.docker.io"
ALIASES: Final = {"docker.io": HUB, "index.docker.io": HUB}
NAMES: Final = re.compile(
    r"(?:(?P<host>\w[\w.-]*(?::\d+)?|\[[0-9a-f:]+\](?::\d+)?)/)?(?P<name>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
PATIENCE: Final = 60.0
"""Seconds for an answer."""
HOPS: Final = 4
NO_REGISTRY = explains("B081", "A registry of images cannot be reached, or does not answer as one.")


class Name(NamedTuple):
    """Where an image is: a host, what it is called there, and which of those that are called so."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        behind = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.host}/{self.path}{behind}"


def read_name(text: str) -> Name:
    """`ghcr.io/team/churn:3`, `127.0.0.1:5000/churn@sha256:…`; without a host, of Docker Hub. Raises UsageError."""
    found = NAMES.fullmatch(text.removeprefix("docker://"))
    if found is None or (found["host"] or "").lower() != (found["host"] or ""):
        raise UsageError(f"{text!r} is no name of an image", hint="one like ghcr.io/team/churn:3")
    host, path = found["host"] or "", found["name"]
    if host and "." not in host and ":" not in host and host != "localhost":
        host, path = "", f"{host}/{path}"
    if not host:
        host, path = HUB, path if "/" in path else f"library/{path}"
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return Name(ALIASES.get(host, host), path, tag, found["digest"] or "")


class _Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: http.client.HTTPResponse


class Registry:
    """One host. `variables`: where `DOCKER_CONFIG` is looked for."""

    def __init__(self, host: str, variables: Mapping[str, str] = os.environ) -> None:
        self.host = host
        self._plain = is_here(host)
        self._variables = variables
        self._tokens: dict[str, str] = {}
        """By scope."""

    # -- pulling -----------------------------------------------------------------------------------------------------

    def resolve(self, name: Name, platform: Platform | None = None) -> Descriptor:
        """Which image a name means now, by its digest. Raises NotFound where there is none."""
        return self._manifest(name, platform)[0]

    def pull(self, name: Name, layout: Layout, platform: Platform | None = None) -> Descriptor:
        """Bring an image into a layout; what is there already does not travel. Raises NotFound, KeepingError."""
        descriptor, content = self._manifest(name, platform)
        manifest = msgspec.convert(json.loads(content), Manifest)
        for blob in (manifest.config, *manifest.layers):
            if not layout.has(blob.digest):
                self._bring(name, blob, layout)
        kept = layout.put(content, descriptor.media_type)
        return msgspec.structs.replace(descriptor, size=kept.size)

    def _manifest(self, name: Name, platform: Platform | None) -> tuple[Descriptor, bytes]:
        accepted = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST))
        path = f"/v2/{name.path}/manifests/{name.digest or name.tag}"
        with self._asked("GET", path, name, {"Accept": accepted}) as answer:
            if answer.status == 404:
                raise NotFound(f"there is no image {name}")
            _good(answer, name)
            content = answer.body.read(LARGEST + 1)
            media_type = (answer.headers.get("Content-Type") or MANIFEST).partition(";")[0]
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if name.digest and digest != name.digest:
            raise KeepingError(f"{self.host} answers with another manifest than {name.digest}")
        if media_type in INDEXES:
            one = chosen(msgspec.convert(json.loads(content), Index), platform)
            return self._manifest(name._replace(tag="", digest=one.digest), platform)
        return Descriptor(media_type=media_type, digest=digest, size=len(content)), content

    def _bring(self, name: Name, blob: Descriptor, layout: Layout) -> None:
        hasher, size = hashlib.sha256(), 0
        with self._asked("GET", f"/v2/{name.path}/blobs/{blob.digest}", name) as answer, layout.new_blob() as file:
            _good(answer, name)
            while size <= blob.size and (block := answer.body.read(BLOCK)):
                hasher.update(block)
                size += len(block)
                file.write(block)
            if f"sha256:{hasher.hexdigest()}" != blob.digest or size != blob.size:
                raise KeepingError(f"{blob.digest} arrived damaged from {self.host}", hint="try again")
            layout.keep(file, blob.digest)

    # -- pushing -----------------------------------------------------------------------------------------------------

    def push(
        self, name: Name, descriptor: Descriptor, layout: Layout, sent: Callable[[int], None] | None = None
    ) -> None:
        """Send an image, blobs before the manifest that names them: an image that can be named is whole. `sent` is told
        how many bytes of a blob went, or were there. Raises KeepingError."""
        content = layout.read(descriptor)
        manifest = msgspec.convert(json.loads(content), Manifest)
        for blob in (manifest.config, *manifest.layers):
            if not self._has(name, blob.digest):
                layout.verify(blob)
                self._send(name, blob, layout)
            if sent:
                sent(blob.size)
        path = f"/v2/{name.path}/manifests/{name.tag or descriptor.digest}"
        with self._asked("PUT", path, name, {"Content-Type": descriptor.media_type}, content) as answer:
            _good(answer, name)
            is_known = bool(answer.headers.get("OCI-Subject"))
        if manifest.subject and not is_known:
            self._refer(name, manifest.subject.digest, descriptor)

    def _refer(self, name: Name, subject: str, descriptor: Descriptor) -> None:
        """For a registry that does not know itself what speaks of an image: note it in an index whose tag is the digest
        of that, where others look then."""
        tagged = name._replace(tag=subject.replace(":", "-"), digest="")
        there = self.referrers(tagged, subject)
        plain = msgspec.structs.replace(descriptor, annotations={}, platform=None)
        others = tuple(one for one in there if one.digest != descriptor.digest)
        content = canonical(Index(schema_version=2, media_type=INDEX, manifests=(*others, plain)))
        path = f"/v2/{name.path}/manifests/{tagged.tag}"
        with self._asked("PUT", path, name, {"Content-Type": INDEX}, content) as answer:
            _good(answer, name)

    def referrers(self, name: Name, subject: str) -> tuple[Descriptor, ...]:
        """What speaks of an image, by its digest: as the registry itself knows, else as whoever pushed it noted."""
        for path in (f"referrers/{subject}", f"manifests/{subject.replace(':', '-')}"):
            with self._asked("GET", f"/v2/{name.path}/{path}", name, {"Accept": INDEX}) as answer:
                if answer.status not in (400, 404, 405):
                    _good(answer, name)
                    return msgspec.convert(json.loads(answer.body.read(LARGEST)), Index).manifests
        return ()

    def _has(self, name: Name, digest: str) -> bool:
        with self._asked("HEAD", f"/v2/{name.path}/blobs/{digest}", name) as answer:
            return answer.status == 200

    def _send(self, name: Name, blob: Descriptor, layout: Layout) -> None:
        with self._asked("POST", f"/v2/{name.path}/blobs/uploads/", name, {"Content-Length": "0"}) as answer:
            _good(answer, name)
            place = answer.headers.get("Location") or ""
        place = urljoin(self._base, place)
        query = urlencode({"digest": blob.digest})
        with layout.path(blob.digest).open("rb") as file:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
            path = f"{place}{'&' if '?' in place else '?'}{query}"
            with self._asked("PUT", path, name, headers, file) as answer:
                _good(answer, name)

    # -- asking ------------------------------------------------------------------------------------------------------

    @property
    def _base(self) -> str:
        return f"{'http' if self._plain else 'https'}://{self.host}"

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        name: Name,
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
    ) -> Iterator[_Answer]:
        """The answer to a request, with the token that it asks for, and where it sends who reads a blob."""
        scope = f"repository:{name.path}:{'pull' if method in ('GET', 'HEAD') else 'pull,push'}"
        url = urljoin(self._base, path)
        for hop in range(HOPS):
            ours = urlsplit(url).netloc == self.host
            sent = {**(headers or {}), "User-Agent": f"bis/{__version__}"}
            if ours and (token := self._tokens.get(scope)):
                sent["Authorization"] = token
            with _request(method, url, sent, body) as answer:
                if answer.status == 401 and ours and scope not in self._tokens:
                    self._tokens[scope] = self._token(answer.headers.get("WWW-Authenticate") or "", scope)
                    if body is not None and not isinstance(body, bytes):
                        body.seek(0)
                    continue
                if answer.status in (301, 302, 303, 307, 308) and method == "GET" and hop < HOPS - 1:
                    url = urljoin(url, answer.headers.get("Location") or "")
                    continue
                yield answer
                return
        raise BisError(f"{self.host} asks for credentials again and again", hint=f"docker login {self.host}")

    def _token(self, challenge: str, scope: str) -> str:
        """What to send in the header `Authorization`."""
        kind, _, rest = challenge.partition(" ")
        known = _credentials(self.host, self._variables)
        basic = f"Basic {base64.b64encode(':'.join(known).encode()).decode()}" if known else ""
        if kind.lower() != "bearer":
            if not basic:
                raise BisError(f"{self.host} wants to know who asks", hint=f"docker login {self.host}")
            return basic
        told = dict(CHALLENGE.findall(rest))
        realm = told.get("realm", "")
        if urlsplit(realm).scheme != "https" and not is_here(urlsplit(realm).netloc):
            raise BisError(f"{self.host} sends for a token to {realm!r}, which is not asked", code=NO_REGISTRY)
        query = urlencode({"service": told.get("service", ""), "scope": scope})
        with _request("GET", f"{realm}?{query}", {"Authorization": basic} if basic else {}, None) as answer:
            if answer.status != 200:
                raise BisError(f"{self.host} gives no token for {scope}", hint=f"docker login {self.host}")
            document = json.loads(answer.body.read(LARGEST))
        return f"Bearer {document.get('token') or document.get('access_token')}"


def is_here(host: str) -> bool:
    """Whether a host, with its port, is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@contextmanager
def _request(method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None) -> Iterator[_Answer]:
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_here(parts.netloc):
        raise BisError(f"{parts.netloc} is to be asked without encryption, which is done on this machine alone")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request(method, f"{parts.path}{'?' if parts.query else ''}{parts.query}", body, dict(headers))
        answer = connection.getresponse()
        yield _Answer(answer.status, answer.headers, answer)
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        raise KeepingError(f"the registry {parts.netloc} cannot be asked: {error}", code=NO_REGISTRY) from error
    finally:
        connection.close()


def _good(answer: _Answer, name: Name) -> None:
    """Raises BisError for an answer that is none."""
    if 200 <= answer.status < 300:
        return
    if answer.status in (401, 403):
        raise BisError(f"{name.host} does not let you at {name.path}", hint=f"docker login {name.host}")
    because = _said(answer.body.read(4096))
    raise KeepingError(f"{name.host} answers {answer.status} for {name.path}", because=because, code=NO_REGISTRY)


def _said(body: bytes) -> str:
    try:
        (first, *_) = json.loads(body)["errors"]
        return str(first.get("message") or first.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _credentials(host: str, variables: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password that `docker login` has kept for a host, itself or with a helper."""
    folder = Path(variables.get("DOCKER_CONFIG") or Path(variables.get("HOME", ""), ".docker"))
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    names = [host, f"https://{host}", f"https://{host}/v1/"]
    names += ["https://index.docker.io/v1/"] if host == HUB else []
    for name in names:
        helper = config.get("credHelpers", {}).get(name) or config.get("credsStore", "")
        if helper and (found := _helped(helper, name)):
            return found
        if packed := config.get("auths", {}).get(name, {}).get("auth"):
            user, _, password = base64.b64decode(packed).decode().partition(":")
            return user, password
    return None


def _helped(helper: str, host: str) -> tuple[str, str] | None:
    import subprocess

    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=host, capture_output=True, text=True, timeout=PATIENCE
        )
        found = json.loads(done.stdout)
        return found["Username"], found["Secret"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
