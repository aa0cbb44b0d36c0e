"""Change one thing in a file, as a careless or dishonest hand would: what a comparison must never overlook."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

NUMBER = re.compile(r"(?<![\w./-])(?<!\d:)\d+\.\d{2,}(?![\w.:%/-]|\s?(?:m?s|it/s|sec)\b)")
WORD = re.compile(r"(?<![\w/.<-])[a-z]{4,}(?![\w/.>-])")
TIMES = re.compile(
    r"time|elapsed|took|finished|second|duration|eta|date|\d\d:\d\d|[0-9a-f]{8}-|/s\b|\ds\b|\dms", re.IGNORECASE
)
"""What tells a line that holds a time, in which no change is planted: a time may differ."""


def plant(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """(what was changed, the changed bytes), once for each kind of change that the file allows."""
    if not content:
        return
    if content.startswith(b"\x89PNG"):
        yield from _pixel(content)
    elif name.endswith((".ipynb", ".json")):
        yield from _json(content)
    elif name.endswith((".csv", ".tsv")):
        yield from _cell(content, "\t" if name.endswith(".tsv") else ",")
    elif _is_text(content):
        yield from _text(content.decode("utf-8"))
    elif name.endswith((".pkl", ".pickle", ".joblib", ".npy", ".ckpt", ".pt", ".pth", ".ubj", ".safetensors", ".h5")):
        yield from _weight(content)


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _text(text: str) -> Iterator[tuple[str, bytes]]:
    lines = text.splitlines(keepends=True)
    results = [(i, m) for i, line in enumerate(lines) if not TIMES.search(line) for m in NUMBER.finditer(line)]
    if results:
        index, match = results[-1]
        yield f"last digit of {match[0]}", _replaced(lines, index, match, _next_digit(match[0]))
    words = [(i, m) for i, line in enumerate(lines) if not TIMES.search(line) for m in WORD.finditer(line)]
    if words:
        index, match = words[len(words) // 2]
        yield f"word {match[0]}", _replaced(lines, index, match, match[0][::-1] + "x")


def _replaced(lines: list[str], index: int, match: re.Match[str], by: str) -> bytes:
    line = lines[index]
    changed = line[: match.start()] + by + line[match.end() :]
    return "".join([*lines[:index], changed, *lines[index + 1 :]]).encode()


def _next_digit(number: str) -> str:
    return number[:-1] + str((int(number[-1]) + 1) % 10)


def _cell(content: bytes, delimiter: str) -> Iterator[tuple[str, bytes]]:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8")), delimiter=delimiter))
    for row in reversed(rows[1:]):
        for column in reversed(range(len(row))):
            if re.fullmatch(r"-?\d+(\.\d+)?", row[column]):
                before = row[column]
                row[column] = _next_digit(before)
                out = io.StringIO()
                csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
                yield f"cell {before}", out.getvalue().encode()
                return


def _json(content: bytes) -> Iterator[tuple[str, bytes]]:
    document = json.loads(content)
    target = document.get("cells", document) if isinstance(document, dict) else document
    changed = _last_number(target)
    if changed:
        yield f"number {changed}", json.dumps(document).encode()


def _last_number(value: Any) -> str:
    """Change the last plain number below `value`, in place; what it was, or empty when there is none."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in reversed(items):
        if key in ("execution_count", "metadata", "nbformat", "nbformat_minor") or TIMES.search(str(key)):
            continue
        if isinstance(item, float) or (isinstance(item, int) and not isinstance(item, bool)):
            value[key] = item + 1
            return str(item)
        if isinstance(item, str) and key == "text/plain" and NUMBER.search(item) and not TIMES.search(item):
            match = list(NUMBER.finditer(item))[-1]
            value[key] = item[: match.start()] + _next_digit(match[0]) + item[match.end() :]
            return match[0]
        if found := _last_number(item):
            return found
    return ""


def _pixel(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The same picture with one byte of one pixel in the middle of it changed by one."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    data = bytearray(zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")))
    data[len(data) // 2] = (data[len(data) // 2] + 1) % 256
    out, written = bytearray(content[:8]), False
    for kind, body in chunks:
        if kind == b"IDAT":
            if written:
                continue
            body, written = zlib.compress(bytes(data)), True
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    yield "one pixel", bytes(out)


def _weight(content: bytes) -> Iterator[tuple[str, bytes]]:
    """One bit of the longest run of what looks like floating point numbers."""
    best = max(range(0, max(len(content) - 256, 1), 64), key=lambda at: len(set(content[at : at + 256])), default=0)
    changed = bytearray(content)
    changed[min(best + 128, len(content) - 1)] ^= 1
    yield f"one bit at byte {best + 128}", bytes(changed)
