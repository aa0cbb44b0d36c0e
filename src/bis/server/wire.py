"""HTTP on the wire, by uvicorn's parser: with bounds for what comes before a request is one."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST: Final = 128 << 10
"""Bytes of a head: the line of the request and its headers."""
PATIENCE: Final = 30.0
"""Seconds for a head to come, from its first byte on, and for the first byte of a connection."""
_TOO_MUCH: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Wire(HttpToolsProtocol):
    """One connection. Whoever sends a head without end, or slowly for ever, is not listened to."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head = 0
        self._heading = True
        self._complete = 0
        self._patience: asyncio.TimerHandle | None = None

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
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._heading = False
        self._be_patient()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head, self._heading = 0, True
        self._complete += 1
        super().on_message_complete()

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end(self, answer: bytes) -> None:
        self._be_patient()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
