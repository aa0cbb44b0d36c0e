"""HTTP on the wire, by uvicorn's parser: with bounds for what comes before a request is one, and for answers that
nobody takes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import sys
import termios
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bis.server.whole import WHOLE

MOST: Final = 128 << 10
"""Bytes of a head: the line of the request and its headers."""
PATIENCE: Final = 30.0
"""Seconds for a head to come, from its first byte on, and for the first byte of a connection."""
STALL: Final = 60.0
"""Seconds in which nothing of an answer is taken, after which nobody is thought to take it any more."""
_TOO_MUCH: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


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

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        for timer in (self._idling, self._taking):
            if timer is not None:
                timer.cancel()
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
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head, self._heading = 0, True
        self._complete += 1
        super().on_message_complete()

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
        own = [line for name, value in cycle.default_headers for line in (name, b": ", value, b"\r\n")]
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], *own, head, end, body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end(self, answer: bytes) -> None:
        self._be_patient()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
