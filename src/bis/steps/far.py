"""Remotes of DVC that are on a server: contents are read from where DVC put them, proved, and kept in the store.

What the project's configuration says of servers, accounts and credentials counts for its own contents, as it does for
DVC; what it does not say is taken from where bis takes it for its own remotes, but for the user's credentials where
only the project names the server. Paths in URLs are as they are written there: DVC takes `%20` for three letters.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from bis.digest import Digest
from bis.errors import BisError, NotFound, UsageError
from bis.foreign import dvc
from bis.steps.home import Home
from bis.steps.trust import demand_endpoint
from bis.store.remote import REFUSED
from bis.store.remote.sftp import SftpRemote
from bis.store.sources.bucket import BucketSource
from bis.store.sources.web import WebSource

VARIABLES: Final = {
    "s3": {
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN",
        "profile": "AWS_PROFILE",
        "credentialpath": "AWS_SHARED_CREDENTIALS_FILE",
        "configpath": "AWS_CONFIG_FILE",
        "region": "AWS_REGION",
        "endpointurl": "AWS_ENDPOINT_URL_S3",
        "allow_anonymous_login": "AWS_SKIP_SIGNATURE",
    },
    "gs": {
        "credentialpath": "GOOGLE_APPLICATION_CREDENTIALS",
        "endpointurl": "STORAGE_EMULATOR_HOST",
        "allow_anonymous_login": "GOOGLE_SKIP_SIGNATURE",
    },
    "az": {
        "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
        "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
        "sas_token": "AZURE_STORAGE_SAS_TOKEN",
        "connection_string": "AZURE_STORAGE_CONNECTION_STRING",
        "tenant_id": "AZURE_TENANT_ID",
        "client_id": "AZURE_CLIENT_ID",
        "client_secret": "AZURE_CLIENT_SECRET",
        "allow_anonymous_login": "AZURE_SKIP_SIGNATURE",
    },
}
"""Option of a remote of DVC -> the variable by which the cloud's own tools are told the same."""
WEB: Final = {"http": "http", "https": "https", "webdav": "http", "webdavs": "https"}

Read = Callable[[str], Iterator[bytes]]
"""The bytes at a place below a remote. Raises NotFound, or KeepingError where it cannot be asked."""


class Kept(NamedTuple):
    """A content that is in the store now."""

    digest: Digest
    size: int


class Far:
    """A remote on a server. What it cannot be asked for any more is in `trouble`, in words."""

    def __init__(self, remote: dvc.Remote, home: Home) -> None:
        self.name, self.url = remote.name, _shown(remote.url)
        self.at_once = 4
        self.trouble = ""
        self._home = home
        self._heard = False
        self._close: Callable[[], None] = lambda: None
        try:
            self._read = self._opened(remote, home.variables)
        except BisError as error:
            self.trouble = error.what

    def take(self, value: str, kind: str) -> Kept | str:
        """A content, proved and kept; else what is wrong with the one that is there, or nothing where none is."""
        for place in dvc.object_places(value, kind):
            try:
                blocks = None if self.trouble else self._read(place)
                if blocks is not None:
                    return self._keep(blocks, value, kind, place)
            except NotFound:
                self._heard = True
            except BisError as error:
                # Some buckets refuse to tell what is not there: one that has answered before is asked again.
                if not (error.code == REFUSED and self._heard):
                    self.trouble = error.what
        return ""

    def _keep(self, blocks: Iterator[bytes], value: str, kind: str, place: str) -> Kept | str:
        # A file without a name: killed, nothing of it is left.
        with tempfile.TemporaryFile(dir=self._home.folder) as file:
            for block in blocks:
                file.write(block)
            file.flush()
            file.seek(0)
            self._heard = True
            here = f"/dev/fd/{file.fileno()}"
            if not dvc.matches(lambda: open(here, "rb"), value, kind):  # noqa: SIM115
                return f"is damaged: {self.url}/{place} holds other bytes than its hash says"
            file.seek(0)
            return Kept(self._home.store.put_file(here), file.seek(0, 2))

    def close(self) -> None:
        self._close()

    def _opened(self, remote: dvc.Remote, variables: Mapping[str, str]) -> Read:
        parts = urlsplit(remote.url)
        scheme = {"azure": "az"}.get(parts.scheme, parts.scheme)
        if remote.is_versioned:
            raise UsageError(f"{self.url} is kept in versions of the cloud, which bis does not read")
        if scheme in VARIABLES:
            return _bucket(scheme, parts, remote.options, variables)
        if scheme in WEB:
            return _web(WEB[scheme], parts, remote.options, variables)
        if scheme in ("ssh", "sftp"):
            self.at_once = 1
            return self._ssh(parts, remote.options, variables)
        raise UsageError(f"bis does not read from {scheme}://")

    def _ssh(self, parts: SplitResult, options: Mapping[str, str], variables: Mapping[str, str]) -> Read:
        user, port = options.get("user") or parts.username, options.get("port") or parts.port
        host = f"{user}@{parts.hostname}" if user else f"{parts.hostname}"
        words = variables.get("BIS_SSH") or "ssh"
        if options.get("keyfile"):
            words += f" -i {shlex.quote(options['keyfile'])}"
        url = urlunsplit(("ssh", f"{host}:{port}" if port else host, quote(parts.path), "", ""))
        remote = SftpRemote(url, {**variables, "BIS_SSH": words})
        self._close = remote.close

        def read(place: str) -> Iterator[bytes]:
            found = remote.stream(place)
            if found is None:
                raise NotFound(f"{url} has no {place}")
            return found

        return read


def _bucket(scheme: str, parts: SplitResult, options: Mapping[str, str], variables: Mapping[str, str]) -> Read:
    told = {name: options[key] for key, name in VARIABLES[scheme].items() if options.get(key)}
    if {"profile", "access_key_id"} & set(options):  # these are all that counts then
        mixed = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        variables = {name: value for name, value in variables.items() if name not in mixed}
    if options.get("endpointurl") and not {"access_key_id", "allow_anonymous_login"} & set(options):
        demand_endpoint(scheme, options["endpointurl"], ".dvc/config", variables)
    url = urlunsplit((scheme, parts.netloc, f"{quote(parts.path.rstrip('/'))}/", "", ""))
    source = BucketSource(url, url, {**variables, **told})
    return lambda place: source.read(place)[1]


def _web(scheme: str, parts: SplitResult, options: Mapping[str, str], variables: Mapping[str, str]) -> Read:
    host = parts.netloc.rpartition("@")[2]
    user, password = options.get("user") or parts.username, options.get("password") or parts.password or ""
    secret = {}
    if options.get("auth") == "custom" and options.get("custom_auth_header"):
        secret[options["custom_auth_header"]] = password
        user = None
    elif options.get("token"):
        secret["Authorization"] = f"Bearer {options['token']}"
        user = None
    login = f"{quote(user, safe='%')}:{quote(password, safe='%')}@" if user else ""

    def read(place: str) -> Iterator[bytes]:
        path = f"{quote(parts.path.rstrip('/'), safe='/%')}/{place}"
        asked = urlunsplit((scheme, f"{login}{host}", path, parts.query, ""))
        return WebSource(asked, urlunsplit((scheme, host, path, "", "")), variables, secret).read(place)[1]

    return read


def _shown(url: str) -> str:
    """A URL as it may be told: without user, password and what may sign it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
