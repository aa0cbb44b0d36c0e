"""Requests and predictions that are written down, where somebody asked for it: a share of them, a file for each version
of a model, so that what was predicted leads back to what predicted it."""

from __future__ import annotations

import base64
import random
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.serving.asking import Answer, Asking
from bis.serving.version import Version

SOON: Final = 1.0
"""Seconds after which what was taken is in the file, at most."""
HELD: Final = 32 << 20
"""Bytes that wait to be written; what is more is counted and not written."""


class Sampled:
    """Writes lines of JSON below a folder: `NAME-v3.jsonl`."""

    def __init__(self, folder: Path, share: float) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder, self.share = folder, share
        self.missed = 0
        self._lines: dict[Path, list[bytes]] = {}
        self._size = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._writing = threading.Thread(target=self._write_on, name="sampled", daemon=True)
        self._writing.start()

    def take(self, version: Version, asking: Asking, answer: Answer) -> None:
        """Write it down, if the lot falls on it."""
        if random.random() >= self.share:
            return
        line = msgspec.json.encode(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "model": version.name,
                "version": version.number,
                "run": version.run,
                "identity": version.identity,
                "protocol": asking.form,
                "status": answer.status,
                "rows": answer.rows,
                "seconds": round(time.perf_counter() - asking.began, 6),
                "request": _body(asking.content_type, asking.body, asking.json_length),
                "answer": _body(answer.content_type, answer.body, answer.json_length or -1),
            }
        )
        with self._lock:
            if self._size > HELD:
                self.missed += 1
                return
            self._size += len(line)
            self._lines.setdefault(self._file(version), []).append(line)

    def close(self) -> None:
        self._ended.set()
        self._writing.join()

    def _file(self, version: Version) -> Path:
        plain = re.sub(r"[^\w.-]", "_", version.name)
        number = f"-v{version.number}" if version.number else ""
        return self.folder / f"{plain}{number}.jsonl"

    def _write_on(self) -> None:
        while not self._ended.wait(SOON):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            lines, self._lines, self._size = self._lines, {}, 0
        for path, some in lines.items():
            try:
                with path.open("ab") as file:
                    file.write(b"\n".join(some) + b"\n")
            except OSError:
                self.missed += len(some)


def _body(content_type: str, body: bytes, json_length: int) -> Any:
    """JSON on one line, text as text, all else in base 64. Tensors in bytes behind a head in JSON stand beside it."""
    if 0 <= json_length < len(body):
        head = _body("application/json", body[:json_length], -1)
        return {"json": head, "base64": base64.b64encode(body[json_length:]).decode()}
    if content_type.partition(";")[0].strip() == "application/json":
        try:
            msgspec.json.decode(body)
            return msgspec.Raw(msgspec.json.format(body, indent=-1))
        except msgspec.DecodeError:
            pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
