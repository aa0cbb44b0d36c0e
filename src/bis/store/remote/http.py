"""A remote that is a `bis server`, over HTTP or HTTPS, by the standard library.

What is asked is told in `server/native/sharing.py`. The token goes to the host that the URL names and to no other:
a server that sends bis elsewhere is not followed there.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import json
import netrc
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from bis import __version__
from bis.errors import BisError, KeepingError, UsageError, explains
from bis.store.packs import SUFFIX
from bis.store.remote import Block, gone, refused, unreachable
from bis.store.remote.certificates import distrust, trusted

ROOT: Final = "api/bis/1"
STORE: Final = "store"
PUSH: Final = "X-Bis-Push"
"""The header in which a server, when it lists its packs, gives a push its id, and bis says which push it is."""
TOKENS: Final = ("BIS_TOKEN", "MLFLOW_TRACKING_TOKEN")
CONNECT: Final = 15.0
"""Seconds for a connection to come about."""
SILENCE: Final = 300.0
"""Seconds for an answer: a large pack is proved before it is acknowledged."""
FRESH: Final = 30.0
"""Seconds for which a connection that is not used is good for another request."""
PATIENCE: Final = 20.0
"""So long a server that has too much to do is asked again; then the person decides."""
LATER: Final = (429, 502, 503, 504)
MOVED: Final = (301, 302, 303, 307, 308)
MOST: Final = 256 << 20
"""Bytes of an answer that is no pack."""
LONGEST: Final = 4096
"""Bytes of a text that says which format a store has."""
HOPS: Final = 3
GIVE: Final = "on the server,  bis server token add NAME --role"
NOT_A_SERVER = explains("B069", "What answers at the URL of a remote is no bis server, or one that shares no store.")


Span = tuple[int, int]
"""From which byte on, and how many."""


class _Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


class HttpRemote:
    """The Remote protocol over HTTP. Connections are kept, one for each of those that ask at once."""

    at_once = 4

    def __init__(self, url: str, variables: Mapping[str, str]) -> None:
        self.url = url
        self._variables = variables
        parts = urlsplit(url)
        self._https, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/")
        self._given, self._from = _token(self._host, variables)
        self._lock, self._announcing = threading.Lock(), threading.Lock()
        self._idle: list[tuple[http.client.HTTPConnection, float]] = []
        self._push = ""
        self._announced = False

    # -- the protocol of remotes -----------------------------------------------------------------------------------

    def list(self) -> dict[str, int]:
        answer = self._ask("GET", "packs", "list")
        try:
            found = json.loads(answer.body)["packs"]
            packs = {str(name): int(size) for name, size in found.items() if name.endswith(SUFFIX)}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._no_server("its answer is no list of packs") from None
        self._push = answer.headers.get(PUSH, "")
        return packs

    def format(self) -> str:
        answer = self._ask("GET", "format", "read")
        if len(answer.body) > LONGEST or answer.body.lstrip().startswith(b"<"):
            raise self._no_server("its answer is a page")
        return answer.body.decode("utf-8", "replace")

    def declare(self, text: str) -> None:
        self._ask("PUT", "format", "write to", text.encode())

    def read(self, name: str, start: int, size: int) -> bytes:
        if not size:
            return b""
        answer = self._ask("GET", f"packs/{name}", "read", span=(start, size), expected=(404, 416))
        if answer.status == 404:
            raise gone(self.url, name)
        return b"" if answer.status == 416 else answer.body

    def write(self, name: str, size: int, blocks: Iterator[Block]) -> None:
        self._announce()
        connection = self._kept() or self._opened()
        cut: OSError | None = None
        try:
            connection.putrequest("PUT", self._target(f"packs/{name}"), skip_accept_encoding=True)
            for key, value in {**self._headers(), "Content-Length": str(size)}.items():
                connection.putheader(key, value)
            connection.endheaders()
            try:
                for block in blocks:
                    connection.send(block)
            except OSError as error:  # the server may have said why before it closed
                cut = error
            answer = self._answer(connection)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._trouble("write to", cut or error) from error
        except BaseException:
            connection.close()
            raise
        self._judge(answer, "write to")

    def close(self) -> None:
        if self._push:
            with contextlib.suppress(BisError):
                self._ask("DELETE", f"pushes/{self._push}", "talk to", patience=0)
            self._push = ""
        self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _announce(self) -> None:
        """Whether one may write is asked before much is sent for nothing."""
        with self._announcing:
            if self._push and not self._announced:
                self._ask("PUT", f"pushes/{self._push}", "write to")
                self._announced = True

    # -- requests --------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        doing: str,
        body: bytes | None = None,
        *,
        span: Span | None = None,
        expected: Collection[int] = (),
        patience: float = PATIENCE,
    ) -> _Answer:
        """The answer to a request that may be made twice: a good one, or one that is expected."""
        end, moved = time.monotonic() + patience, 0
        while True:
            answer = self._asked(method, path, doing, body, span)
            if answer.status in MOVED and moved < HOPS:
                moved += 1
                self._follow(answer, path)
            elif answer.status in LATER and time.monotonic() < end:
                time.sleep(1)
            else:
                break
        if answer.status not in expected or (answer.status == 404 and not _told(answer.body)):
            self._judge(answer, doing)
        return answer

    def _asked(self, method: str, path: str, doing: str, body: bytes | None, span: Span | None) -> _Answer:
        """Once more where a connection that was kept turns out to be closed."""
        headers = self._headers()
        if span:
            headers["Range"] = f"bytes={span[0]}-{span[0] + span[1] - 1}"
        while True:
            kept = self._kept()
            connection = kept or self._opened()
            try:
                connection.request(method, self._target(path), body, headers)
                return self._answer(connection, span)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not kept:
                    raise self._trouble(doing, error) from error
            except BaseException:
                connection.close()
                raise

    def _answer(self, connection: http.client.HTTPConnection, span: Span | None = None) -> _Answer:
        """Read to its end, so that the connection is good for another request."""
        response = connection.getresponse()
        whole = response.status == 200  # a proxy may not know of ranges
        most = MOST if span is None or response.status not in (200, 206) else span[1] + span[0] * whole
        length = response.length
        body = response.read(most)
        if length is not None and len(body) < min(length, most):
            raise http.client.IncompleteRead(body, min(length, most) - len(body))
        if response.isclosed() and not response.will_close:
            with self._lock:
                self._idle.append((connection, time.monotonic()))
        else:
            connection.close()
        return _Answer(response.status, response.headers, body[span[0] :] if span and whole else body)

    def _kept(self) -> http.client.HTTPConnection | None:
        """A connection that was kept, if one still stands."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection, since = self._idle.pop()
            if time.monotonic() - since < FRESH and not _is_readable(connection):
                return connection
            connection.close()

    def _opened(self) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT, context=trusted(self._variables))
            if self._https
            else http.client.HTTPConnection(self._host, self._port, timeout=CONNECT)
        )
        try:
            connection.connect()
        except OSError as error:
            raise self._trouble("reach", error) from error
        assert connection.sock is not None
        connection.sock.settimeout(SILENCE)
        return connection

    def _target(self, path: str) -> str:
        return f"{self._path}/{ROOT}/{STORE}/{path}"

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": f"bis/{__version__}", "Accept-Encoding": "identity"}
        if self._given:
            headers["Authorization"] = self._given
        if self._push:
            headers[PUSH] = self._push
        return headers

    # -- trouble ---------------------------------------------------------------------------------------------------

    def _follow(self, answer: _Answer, path: str) -> None:
        """To another path or to HTTPS on the same host; never elsewhere, where the token does not belong."""
        scheme = "https" if self._https else "http"
        port = f":{self._port}" if self._port else ""
        here = f"{scheme}://{self._host}{port}{self._target(path)}"
        there = urljoin(here, answer.headers.get("Location", ""))
        parts, end = urlsplit(there), f"/{ROOT}/{STORE}/{path}"
        if not parts.path.endswith(end) or parts.query:
            raise self._no_server(f"it sends bis to {there[:200]}")
        base = there.removesuffix(end)
        same = parts.scheme == scheme and parts.port == self._port
        safer = scheme == "http" and parts.scheme == "https" and parts.port in (None, self._port)
        if parts.hostname != self._host or not (same or safer):
            said = f"it sends bis to {base}, and a token goes nowhere but where it was meant for"
            raise refused(self.url, "use", said, f"if you trust it: bis remote add NAME {base}")
        self._https, self._port, self._path = parts.scheme == "https", parts.port, urlsplit(base).path
        self._let_go()

    def _judge(self, answer: _Answer, doing: str) -> None:
        """Raises what an answer means that is no good one."""
        status, told = answer.status, _told(answer.body)
        if 200 <= status < 300:
            return
        if status == 401:
            said = "it wants to know who you are"
            if self._given:
                said = f"the token in {self._from} is not known there, or has expired"
            role = "writer" if doing == "write to" else "reader"
            raise refused(self.url, doing, said, f"set {TOKENS[0]} to your token; {GIVE} {role}  gives one")
        if status == 403:
            said = told.get("what") or "it does not allow that"
            role = "writer" if doing == "write to" else "reader"
            raise refused(self.url, doing, said, f"ask for a token that may; {GIVE} {role}  gives one")
        if told and status not in LATER:
            raise KeepingError(
                f"cannot {doing} {self.url}: {told['what']}",
                because=told.get("because", ""),
                hint=told.get("hint", "") or "type the same command again",
                code=told.get("code", ""),
            )
        if status == 404 or status in MOVED or status == 405:
            raise self._no_server(f"it answers {status}")
        said = told.get("what") or f"the server answered {status} {http.client.responses.get(status, '')}".rstrip()
        if status < 500 and status not in LATER:
            raise refused(self.url, doing, said, "look at the URL")
        raise unreachable(self.url, doing, said)

    def _no_server(self, said: str) -> KeepingError:
        return KeepingError(
            f"{self.url} is no bis server that shares a store: {said}",
            hint="look at the URL: it is the one that `bis server` said, or that of a proxy; and at the version there",
            code=NOT_A_SERVER,
        )

    def _trouble(self, doing: str, error: Exception) -> BisError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return refused(self.url, doing, *distrust(error))
        if isinstance(error, ssl.SSLError):
            return unreachable(self.url, doing, f"it does not speak TLS as was expected ({error.reason or error})")
        if isinstance(error, TimeoutError):
            return unreachable(self.url, doing, "it does not answer")
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
            return self._no_server("what answers there speaks no HTTP")
        return unreachable(self.url, doing, getattr(error, "strerror", None) or "the connection was cut")


def in_the_clear(url: str, variables: Mapping[str, str]) -> str:
    """The host to which a token goes so that everybody on the way can read it; empty where none does."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return host if parts.scheme == "http" and not _is_here(host) and _token(host, variables)[0] else ""


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _token(host: str, variables: Mapping[str, str]) -> tuple[str, str]:
    """What goes into the header `Authorization`, and where it was found; empty where there is none."""
    for name in TOKENS:
        if token := variables.get(name, "").strip():
            if not token.isascii() or not token.isprintable():
                raise UsageError(f"what {name} holds is no token", hint="bis server token add NAME  prints one")
            return f"Bearer {token}", name
    file = Path(variables.get("NETRC") or Path(variables.get("HOME") or "~").expanduser() / ".netrc")
    try:
        found = netrc.netrc(file).hosts.get(host)
    except OSError:
        return "", ""
    except netrc.NetrcParseError as error:
        raise UsageError(f"{file} cannot be read: {error}", hint=f"machine {host} login NAME password TOKEN") from None
    if not found:
        return "", ""
    both = f"{found[0]}:{found[2] or ''}".encode()
    return f"Basic {base64.b64encode(both).decode()}", str(file)


def _is_readable(connection: http.client.HTTPConnection) -> bool:
    """Of a connection on which nothing is asked: its end came, or what nobody waits for."""
    found: socket.socket | None = connection.sock
    if found is None:
        return True
    with selectors.DefaultSelector() as selector:  # not select.select: it takes no descriptor past 1023
        selector.register(found, selectors.EVENT_READ)
        return bool(selector.select(0))


def _told(body: bytes) -> dict[str, str]:
    """What a bis server says of an error; nothing where it is the answer of something else."""
    try:
        found = json.loads(body)
        if isinstance(found, dict) and isinstance(found.get("error"), dict):
            told = {str(key): str(value) for key, value in found["error"].items()}
            return told if told.get("what") else {}
        if isinstance(found, dict) and "error_code" in found:
            return {"what": str(found.get("message", ""))}
    except ValueError:
        pass
    return {}
