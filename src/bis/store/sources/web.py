"""A file by http:// or https://, read with what Python brings along.

A password comes from the URL as it was typed, or from `~/.netrc`; it is sent to the host that it is for, and not to
those that this one sends on to.
"""

from __future__ import annotations

import base64
import http.client
import netrc
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from bis import __version__
from bis.digest import READ_SIZE, spell
from bis.errors import BisError
from bis.nouns.dataset import Sight
from bis.store.sources import absent, cut, forbidden, version_id

PATIENCE: Final = 60.0
"""Seconds without a byte after which a server is given up."""
NO_HEAD: Final = (400, 403, 405, 501)
"""What servers answer that only hand out whole files: a URL may be signed for GET alone."""
GONE: Final = (404, 410)
TRIES: Final = 3


class WebSource:
    """The Source protocol over one file of a web server."""

    at_once = 4

    def __init__(
        self, asked: str, url: str, variables: Mapping[str, str], secret: Mapping[str, str] | None = None
    ) -> None:
        """`secret`: headers that say who asks, where it is not user and password."""
        self.url = url
        self._secret = secret or {}
        parts = urlsplit(asked)
        host = parts.netloc.rpartition("@")[2]
        self._asked = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
        self._login = _login(parts.username, parts.password, parts.hostname or "", variables)

    @property
    def name(self) -> str:
        """The last name in the URL."""
        return spell(unquote(urlsplit(self.url).path).rstrip("/").rpartition("/")[2]) or "file"

    def list(self) -> tuple[bool, dict[str, Sight]]:
        found = self.look(self.name)
        if found is None:
            raise absent(self.url)
        return True, {self.name: found}

    def look(self, path: str) -> Sight | None:
        try:
            answer = self._ask("HEAD")
        except urllib.error.HTTPError as error:
            if error.code not in NO_HEAD:
                self._demand_gone(error)
                return None
            try:
                answer = self._ask("GET")
            except urllib.error.HTTPError as second:
                self._demand_gone(second)
                return None
        with answer:
            return _sight(answer.headers)

    def read(self, path: str) -> tuple[Sight, Iterator[bytes]]:
        try:
            answer = self._ask("GET")
        except urllib.error.HTTPError as error:
            self._demand_gone(error)
            raise absent(self.url) from None
        sight = _sight(answer.headers)
        return sight, self._blocks(answer, sight)

    def _blocks(self, answer: Any, sight: Sight) -> Iterator[bytes]:
        """To the end; where the connection is cut, from there on again, as long as the server says it is the same."""
        at, left = 0, TRIES
        while True:
            said = "the connection was cut"
            with answer:
                try:
                    while block := answer.read(READ_SIZE):
                        at += len(block)
                        yield block
                except (OSError, http.client.HTTPException) as error:
                    said = _said(error)
                else:
                    if sight.size < 0 or at == sight.size:
                        return
            left -= 1
            if not left or sight.size < at or not (again := self._go_on(at, sight)):
                raise cut(self.url, f"{said} after {at:,} of {max(sight.size, at):,} bytes")
            answer = again

    def _go_on(self, at: int, sight: Sight) -> Any:
        """The rest of the same bytes; None where the server cannot promise that they are."""
        if not sight.etag or sight.etag.startswith("W/"):
            return None
        with suppress(urllib.error.HTTPError, BisError):
            answer = self._ask("GET", {"Range": f"bytes={at}-", "If-Range": sight.etag})
            if answer.status == 206 and str(answer.headers["Content-Range"]).startswith(f"bytes {at}-"):
                return answer
            answer.close()
        return None

    def _ask(self, method: str, more: Mapping[str, str] | None = None) -> Any:
        """Raises HTTPError for what the server says no to, KeepingError when it says nothing."""
        headers = {"User-Agent": f"bis/{__version__}", "Accept-Encoding": "identity", **(more or {})}
        request = urllib.request.Request(self._asked, headers=headers, method=method)
        if self._login:
            request.add_unredirected_header("Authorization", self._login)
        for name, value in self._secret.items():
            request.add_unredirected_header(name, value)
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise cut(self.url, _said(error)) from None

    def _demand_gone(self, error: urllib.error.HTTPError) -> None:
        """Raises KeepingError unless the server says that it is not there."""
        error.close()
        if error.code in GONE:
            return
        said = f"{error.code} {error.reason}"
        if error.code in (401, 403):
            host = urlsplit(self.url).hostname
            hint = f"put the password into ~/.netrc: machine {host} login NAME password ...; or type the URL with it"
            raise forbidden(self.url, said, hint)
        raise cut(self.url, said)


def _login(user: str | None, password: str | None, host: str, variables: Mapping[str, str]) -> str:
    """What says who asks; empty: nobody."""
    if user is None:
        place = variables.get("NETRC") or str(Path(variables.get("HOME", "/nonexistent")) / ".netrc")
        found = None
        with suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
            found = netrc.netrc(place).authenticators(host)
        if found is None:
            return ""
        user, password = found[0], found[2]
    words = f"{unquote(user)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(words.encode()).decode()


def _sight(headers: Message) -> Sight:
    size = headers.get("Content-Length", "")
    return Sight(
        size=int(size) if size.isdecimal() else -1,
        etag=headers.get("ETag", ""),
        version=version_id(headers.get("x-amz-version-id")),
        modified=_seconds(headers.get("Last-Modified", "")),
        asked=_seconds(headers.get("Date", "")),
    )


def _seconds(date: str) -> str:
    try:
        return str(int(parsedate_to_datetime(date).timestamp()))
    except (ValueError, TypeError, OverflowError):
        return ""


def _said(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.timeout):
        return f"no answer within {PATIENCE:.0f} seconds"
    return str(getattr(reason, "strerror", "") or reason).strip() or type(error).__name__
