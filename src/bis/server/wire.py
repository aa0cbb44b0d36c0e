"""HTTP on the wire, by uvicorn's parser: with bounds for what comes before a request is one, and for answers that
nobody takes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import sys
import termios
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bis.server.whole import WHOLE

MOST: Final = 128 << 10
"""Bytes of a head: the line of the request and its headers."""
PATIENCE: Final = 30.0
"""Seconds for a head to come, from its first byte on, and for the first byte of a connection."""
STALL: Final = 60.0
"""Seconds in which nothing of an answer is taken, after which nobody is thought to take it any more."""
SHORT: Final = 64 << 10
"""Bytes of a body at most, for a request that is not begun before all of it is here: as many as are held of any."""
SOON: Final = 0.1
"""Seconds that a body takes which is worth waiting for."""
_TOO_MUCH: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


Take = Callable[[Scope, bytes, Callable[[int, bytes, bytes], None]], bool]
"""What an application may offer beside ASGI, as `take`: to answer a request that is here as a whole, with its body. The
answer is told as a whole, too. False: nothing is done; it is to be asked in the usual way."""


class _Short:
    """A request that is not begun yet. It stands where uvicorn looks for a cycle, and tells it as much as that."""

    def __init__(self, scope: Scope, keep_alive: bool) -> None:
        self.scope = scope
        self.body = b""
        self.whole = False
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False
        self.message_event = self

    def set(self) -> None:
        """Nobody waits."""


class Wire(HttpToolsProtocol):
    """One connection. Whoever sends a head without end, or slowly for ever, is not listened to; whoever takes nothing
    of an answer is not answered further."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head = 0
        self._heading = True
        self._complete = 0
        self._patience: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._idling: asyncio.TimerHandle | None = None
        self._pauses = 0
        self._taking: asyncio.TimerHandle | None = None
        self._take: Take | None = getattr(self.app, "take", None)
        self._gathered: _Short | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._own: tuple[Any, bytes] = (None, b"")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = self.loop.call_later(PATIENCE, self._end, _TOO_SLOW)

    def data_received(self, data: bytes) -> None:
        before = self._complete
        super().data_received(data)
        if self._heading and before == self._complete:  # else most of it was the end of a body
            self._head += len(data)
            if self._head > MOST:
                self._end(_TOO_MUCH)
            elif self._patience is None:
                self._patience = self.loop.call_later(PATIENCE, self._end, _TOO_SLOW)
        short = self._gathered
        if short is not None:
            if short.whole:
                self._gathered = None
                self._begin(short)
            elif self._gathering is None:
                self._gathering = self.loop.call_later(SOON, self._wait_no_longer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        for timer in (self._idling, self._taking, self._gathering):
            if timer is not None:
                timer.cancel()
        self._gathered = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits to be taken than is written ahead. A download may take days, if only it moves."""
        super().pause_writing()
        self._pauses += 1
        if self._taking is None:
            self._await_taking()

    def _await_taking(self) -> None:
        self._taking = self.loop.call_later(STALL, self._look_at_taking, self._pauses, self._waiting())

    def _look_at_taking(self, pauses: int, waited: int) -> None:
        self._taking = None
        if not self.transport.get_write_buffer_size():
            return
        stopped = self.flow.write_paused or self.transport.is_closing()  # so nothing was added meanwhile
        if stopped and pauses == self._pauses and self._waiting() >= waited:
            self.transport.abort()
        else:
            self._await_taking()

    def _waiting(self) -> int:
        """Bytes of answers that the other side has not taken, those among them that the kernel has."""
        connection, kept = self.transport.get_extra_info("socket"), bytearray(4)
        with contextlib.suppress(OSError):
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, kept)
        return self.transport.get_write_buffer_size() + int.from_bytes(kept, sys.byteorder)

    def on_headers_complete(self) -> None:
        self._heading = False
        self._be_patient()
        if self._take is None or not self._is_short():
            super().on_headers_complete()
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        self.scope["raw_path"] = self.root_path.encode("ascii") + url.path
        self.scope["query_string"] = url.query or b""
        self._gathered = _Short(self.scope, self.parser.should_keep_alive())  # type: ignore[arg-type]
        self.cycle = self._gathered  # type: ignore[assignment]

    def _is_short(self) -> bool:
        """Whether the request that comes may be waited for, and nothing is in its way."""
        if self.expect_100_continue or self.flow.write_paused or self.parser.get_method() not in (b"POST", b"GET"):
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        for name, value in self.headers:
            if name == b"content-length" and not (value.isdigit() and len(value) < 9 and int(value) <= SHORT):
                return False
            if name in (b"transfer-encoding", b"upgrade"):
                return False
        return bool(self.parser.get_http_version() == "1.1")

    def on_body(self, body: bytes) -> None:
        if self._gathered is None or self._gathered.whole:
            super().on_body(body)
        else:
            self._gathered.body += body

    def on_message_complete(self) -> None:
        self._head, self._heading = 0, True
        self._complete += 1
        if self._gathered is None or self._gathered.whole:
            super().on_message_complete()
        else:
            self._gathered.whole = True

    def _begin(self, short: _Short) -> None:
        """A short request is here."""
        assert self._take
        if self.transport.is_closing():
            return
        if not self._take({**short.scope}, short.body, functools.partial(self._told, short)):
            self._ask(short)

    def _wait_no_longer(self) -> None:
        """What does not come soon is answered as others are, who look after what they wait for."""
        self._gathering = None
        if self._gathered is not None:
            short, self._gathered = self._gathered, None
            self._ask(short)

    def _ask(self, short: _Short) -> None:
        cycle = RequestResponseCycle(
            scope=short.scope,  # type: ignore[arg-type]
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=short.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.body += short.body
        cycle.more_body = not short.whole
        if short.body or short.whole:
            cycle.message_event.set()
        if self.cycle is short:  # type: ignore[comparison-overlap]
            self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    def _told(self, short: _Short, status: int, head: bytes, body: bytes) -> None:
        """The answer to a short request."""
        short.response_complete = True
        if not short.disconnected and not self.transport.is_closing():
            self._write(status, head, body, keep_alive=short.keep_alive)
            self.on_response_complete()

    def on_response_complete(self) -> None:
        """One timer for as long as the connection is kept, not one for each answer."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idling is None:
            self._idling = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """End the connection if nothing has come for long; else look again when that may be."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        rest = self.timeout_keep_alive - (0 if under_way or self._head else self.loop.time() - self._idle_since)
        self._idling = None
        if rest > 0:
            self._idling = self.loop.call_later(rest, self._look)
        else:
            self.timeout_keep_alive_handler()
            if self._taking is None:  # it ends when the rest is taken
                self._await_taking()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["method"] != "HEAD":
            offered: dict[str, Any] = {WHOLE: functools.partial(self._answer, cycle)}
            cycle.scope["extensions"] = offered
        super()._start_asgi_task(cycle, app)

    async def _answer(self, cycle: RequestResponseCycle, status: int, head: bytes, body: bytes) -> None:
        """A whole answer in one write; of the connection it says what uvicorn would."""
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        assert not cycle.response_started, "an answer after another"
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        self._write(status, head, body, keep_alive=cycle.keep_alive)
        cycle.on_response()

    def _write(self, status: int, head: bytes, body: bytes, *, keep_alive: bool) -> None:
        lines, own = self._own
        if lines is not self.server_state.default_headers:  # which are made anew each second
            lines = self.server_state.default_headers
            own = b"".join(b"%s: %s\r\n" % line for line in lines)
            self._own = (lines, own)
        end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"%s%s%s%s%s" % (STATUS_LINE[status], own, head, end, body))
        if not keep_alive:
            self.transport.close()

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end(self, answer: bytes) -> None:
        self._be_patient()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
