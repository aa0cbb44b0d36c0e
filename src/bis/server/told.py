"""What the server says of its work, a line each: for people, or as JSON for what collects logs. Never a token: neither
headers nor queries are told."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TextIO

from bis.server.guard import Seen
from bis.server.paths import shown_path

Format = Literal["errors", "text", "json"]


def teller(form: Format, out: TextIO) -> Callable[[Seen], None]:
    """What is told of requests: with `errors` only those that the server failed at, or could not take."""

    def errors(seen: Seen) -> None:
        if seen.status >= 500:
            text(seen)

    def text(seen: Seen) -> None:
        who = f"{seen.client} {seen.user}".rstrip()
        took = f"{seen.seconds * 1000:.1f} ms"
        _write(out, f"{_now()} {seen.id} {who} {seen.method} {shown_path(seen.path)} {seen.status} {took}")

    def as_json(seen: Seen) -> None:
        line = {
            "time": _now(),
            "level": "error" if seen.status >= 500 else "info",
            "request": seen.id,
            "user": seen.user,
            "client": seen.client,
            "method": seen.method,
            "path": shown_path(seen.path),
            "status": seen.status,
            "ms": round(seen.seconds * 1000, 3),
        }
        _write(out, json.dumps(line, ensure_ascii=True))

    return {"errors": errors, "text": text, "json": as_json}[form]


def tell_troubles(form: Format, out: TextIO) -> None:
    """Let what other parts of the server log go the same way, tracebacks too."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(_Json() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _now(), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(out: TextIO, line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more; that is no reason to refuse a request
        out.write(line + "\n")
        out.flush()
