"""Telling others of changes in the registry: signed requests, sent in the background and again when they fail.

Nothing waits for a delivery, and nothing fails because of one. A request goes to no address of a private network, of
this machine or of a link, whatever name it is asked for by and wherever it is redirected to, unless a setting allows
it: else whoever may register a webhook could have the server ask what only the server can reach.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import heapq
import hmac
import ipaddress
import itertools
import json
import logging
import random
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from bis.errors import UsageError
from bis.ledger.webhooks import Webhook

WAITING: Final = 1000
"""Deliveries that may wait; more are dropped, and the log says so."""
SENDERS: Final = 2
TRIES: Final = 4
PATIENCE: Final = 10.0
"""Seconds for one try, with all its redirects, however the other side spends them."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
AGAIN: Final = frozenset({429, 500, 502, 503, 504})
HOLDING: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
"""Networks whose last four bytes are an address of IPv4, which a gateway may reach."""
HOPS: Final = 3
"""Redirects that are followed: those that keep the method and the body."""
SHOWN: Final = 64 << 10
"""Bytes of an answer that are read, as they come: nothing is unpacked."""

_log = logging.getLogger("bis.server.hooks")


class Answer(NamedTuple):
    status: int
    body: str
    after: float = 0.0
    """Seconds after which the other side wants to be asked again."""


class _Delivery(NamedTuple):
    due: float
    number: int
    webhook: Webhook
    event: str
    data: Mapping[str, Any]
    tries: int


class Hooks:
    """The deliveries of one server. Its threads start with the first of them and end with `close`."""

    def __init__(self, *, anywhere: bool = False) -> None:
        self.anywhere = anywhere
        """True: also to private addresses and without TLS."""
        self._waiting: list[_Delivery] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def put(self, webhook: Webhook, event: str, data: Mapping[str, Any], *, tries: int = 0, pause: float = 0.0) -> None:
        with self._changed:
            if self._closed:
                return
            if len(self._waiting) >= WAITING:
                _log.warning("webhook %s: %s dropped, %d deliveries wait already", webhook.name, event, WAITING)
                return
            due = time.monotonic() + pause
            heapq.heappush(self._waiting, _Delivery(due, next(self._numbers), webhook, event, data, tries))
            self._start()
            self._changed.notify()

    def close(self) -> None:
        """Send nothing more. What waits is lost; a try under way ends by itself."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _start(self) -> None:
        while len(self._threads) < SENDERS:
            thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            try:
                self._deliver(delivery)
            except Exception:  # the next delivery has nothing to do with it
                _log.exception("webhook %s: %s failed", delivery.webhook.name, delivery.event)

    def _next(self) -> _Delivery | None:
        with self._changed:
            while not self._closed:
                pause = self._waiting[0].due - time.monotonic() if self._waiting else None
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._waiting)
                self._changed.wait(pause)
        return None

    def _deliver(self, delivery: _Delivery) -> None:
        webhook, event = delivery.webhook, delivery.event
        try:
            answer = send(webhook, event, delivery.data, anywhere=self.anywhere)
        except UsageError as error:
            _log.warning("webhook %s: %s not sent: %s", webhook.name, event, error.what)
            return
        except OSError as error:
            answer, said = Answer(503, ""), str(error) or type(error).__name__
        else:
            said = f"status {answer.status}"
        if answer.status not in AGAIN:
            level = logging.INFO if answer.status < 300 else logging.WARNING
            _log.log(level, "webhook %s: %s sent, %s", webhook.name, event, said)
        elif delivery.tries + 1 >= TRIES:
            _log.warning("webhook %s: %s given up after %d tries, %s", webhook.name, event, TRIES, said)
        else:
            pause = max(FIRST_PAUSE * 2**delivery.tries + random.random(), answer.after)
            self.put(webhook, event, delivery.data, tries=delivery.tries + 1, pause=min(pause, LONGEST_PAUSE))


def deliver(webhooks: Sequence[Webhook], event: str, data: Mapping[str, Any], *, anywhere: bool, seconds: float) -> str:
    """Tell each of them now, at the same time, and again while there is time. Returns, in words, who was not told, and
    why; empty when all were."""
    ends = time.monotonic() + seconds
    said = {webhook.id: f"no answer within {seconds:.0f} s" for webhook in webhooks}

    def work(webhook: Webhook) -> None:
        for pause in itertools.chain([0.0], itertools.repeat(FIRST_PAUSE)):
            if time.monotonic() + pause > ends:
                return
            time.sleep(pause)
            try:
                answer = send(webhook, event, data, anywhere=anywhere)
            except UsageError as error:
                said[webhook.id] = error.what
                return
            except OSError as error:
                said[webhook.id] = str(error) or type(error).__name__
                continue
            said[webhook.id] = "" if answer.status < 400 else f"it answered with status {answer.status}"
            if answer.status not in AGAIN:
                return

    threads = [threading.Thread(target=work, args=(webhook,), daemon=True) for webhook in webhooks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(ends - time.monotonic(), 0))
    return "; ".join(f"{webhook.name} ({webhook.url}): {said[webhook.id]}" for webhook in webhooks if said[webhook.id])


def send(webhook: Webhook, event: str, data: Mapping[str, Any], *, anywhere: bool = False) -> Answer:
    """One try. Raises UsageError for an address that is not allowed, OSError where nobody answers."""
    entity, _, action = event.partition(".")
    stamp = datetime.now(UTC).isoformat()
    body = json.dumps({"entity": entity, "action": action, "timestamp": stamp, "data": dict(data)}).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        **signed(webhook.secret, body),
    }
    url = webhook.url
    with _Deadline(PATIENCE) as deadline:
        for _ in range(HOPS + 1):
            answer, place = _post(url, headers, body, deadline, anywhere=anywhere)
            if answer.status not in (307, 308) or not place:
                return answer
            url = urljoin(url, place)
    raise UsageError(f"{webhook.url} is redirected more than {HOPS} times")


class _Deadline:
    """Ends the connections of one try when its time is over. A timeout for each reading would never end what sends one
    byte after the other."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    @property
    def said(self) -> str:
        return f"no whole answer within {self._seconds:g} s"

    @property
    def left(self) -> float:
        """Seconds; raises OSError where there are none."""
        if (left := self._ends - time.monotonic()) <= 0:
            raise OSError(self.said)
        return left

    def noted(self, event: str, facts: Mapping[str, Any]) -> None:
        """Called by the HTTP library with each step that it takes. The descriptor is a second one of the connection:
        encryption takes the first over."""
        if event == "connection.connect_tcp.complete":
            connected: socket.socket = facts["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets.append(connected.dup())
            if self.over:
                self._end()

    def _end(self) -> None:
        with self._lock:
            self.over = True
            for each in self._sockets:
                with contextlib.suppress(OSError):  # the other side has ended it
                    each.shutdown(socket.SHUT_RDWR)


def signed(secret: str, body: bytes) -> dict[str, str]:
    """The headers that let the other side know who sent it and when: HMAC-SHA256 over id, time and body."""
    id, moment = str(uuid.uuid4()), str(int(time.time()))
    headers = {"X-MLflow-Delivery-Id": id, "X-MLflow-Timestamp": moment}
    if secret:
        mark = hmac.new(secret.encode(), f"{id}.{moment}.".encode() + body, hashlib.sha256).digest()
        headers["X-MLflow-Signature"] = f"v1,{base64.b64encode(mark).decode()}"
    return headers


def address_of(url: str, *, anywhere: bool = False) -> str:
    """The address behind a URL. Raises UsageError where it may not be asked: if one of several may not, none is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise UsageError(f"the address of the webhook is no URL: {error}") from None
    if parts.scheme not in (("https", "http") if anywhere else ("https",)):
        raise UsageError(
            f"the scheme {parts.scheme!r} of the webhook is not allowed: https is",
            hint="webhooks_anywhere = true  in bis.toml allows http and private addresses",
        )
    if not host:
        raise UsageError("the address of the webhook names no host")
    try:
        found = [row[4][0] for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the host {host!r} cannot be found: {error}") from None
    addresses = [str(address).partition("%")[0] for address in found]
    for address in addresses:
        if not anywhere and not _is_public(address):
            raise UsageError(
                f"the host {host!r} has the address {address}, which is not public",
                hint="webhooks_anywhere = true  in bis.toml allows private addresses",
            )
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if any(address in network for network in HOLDING):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.is_global and not address.is_multicast and (inner is None or _is_public(str(inner)))


def _post(
    url: str, headers: Mapping[str, str], body: bytes, deadline: _Deadline, *, anywhere: bool
) -> tuple[Answer, str]:
    """The answer, and where it redirects to. The address that was looked at is the one that is asked: the name is not
    looked up again."""
    import httpx

    address = address_of(url, anywhere=anywhere)
    parts = urlsplit(url)
    host = f"[{address}]" if ":" in address else address
    port = f":{parts.port}" if parts.port else ""
    pinned = urlunsplit((parts.scheme, host + port, parts.path or "/", parts.query, ""))
    with_host = {**headers, "Host": parts.netloc.rpartition("@")[2]}
    extensions = {"sni_hostname": parts.hostname, "trace": deadline.noted}
    try:
        with (
            httpx.Client(timeout=deadline.left, trust_env=False, follow_redirects=False) as client,
            client.stream("POST", pinned, content=body, headers=with_host, extensions=extensions) as answer,
        ):
            said = b""
            for piece in answer.iter_raw():
                said = (said + piece)[:SHOWN]
                if len(said) == SHOWN:
                    break
            if deadline.over:  # a body without a length seems whole when its connection ends
                raise OSError(deadline.said)
            after = answer.headers.get("retry-after", "")
            seconds = float(after) if after.isdecimal() else 0.0
            told = Answer(answer.status_code, said.decode("utf-8", "replace"), min(seconds, LONGEST_PAUSE))
            return told, answer.headers.get("location", "")
    except httpx.HTTPError as error:
        raise OSError(deadline.said if deadline.over else f"{type(error).__name__}: {error}") from None
