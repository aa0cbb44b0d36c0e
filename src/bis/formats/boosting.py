"""Boosted trees: XGBoost's UBJSON, and LightGBM's text. XGBoost's JSON is JSON."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from bis.formats import Context, Unreadable
from bis.formats.arrays import Array
from bis.formats.documents import read_bounded
from bis.formats.rules import NONE
from bis.formats.tally import Tally
from bis.formats.text import Text
from bis.formats.values import Walk
from bis.nouns.verdict import Comparison

INTEGERS = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q"}
REALS = {"d": "f", "D": "d"}
DTYPES = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
DEPTH = 200


class Ubjson:
    """XGBoost's `.ubj`, read without XGBoost; nothing is left out."""

    name = "UBJSON"

    def recognises(self, name: str, head: bytes) -> bool:
        return head[:1] == b"{" and head[1:2] in (b"i", b"U", b"I", b"l", b"L", b"$", b"#")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        Walk(context, tally).compare(
            read_ubjson(read_bounded(before, 1 << 30)), read_ubjson(read_bounded(after, 1 << 30))
        )
        return tally.settle(self.name, "the same values", "value")


def read_ubjson(data: bytes) -> Any:
    reader = _Reader(data)
    value = reader.value(reader.marker())
    if reader.at != len(data):
        raise Unreadable("more follows behind the end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.at = 0
        self.depth = 0

    def take(self, count: int) -> memoryview:
        if count < 0 or self.at + count > len(self.data):
            raise Unreadable("cut off")
        self.at += count
        return self.data[self.at - count : self.at]

    def marker(self) -> str:
        marker = "N"
        while marker == "N":
            marker = chr(self.take(1)[0])
        return marker

    def integer(self) -> int:
        marker = self.marker()
        if marker not in INTEGERS:
            raise Unreadable(f"the length {marker!r} is no number")
        return int(self.number(INTEGERS[marker]))

    def number(self, code: str) -> Any:
        return struct.unpack(">" + code, self.take(struct.calcsize(">" + code)))[0]

    def text(self) -> str:
        return bytes(self.take(self.integer())).decode("utf-8", "surrogateescape")

    def value(self, marker: str) -> Any:
        if marker in INTEGERS:
            return self.number(INTEGERS[marker])
        if marker in REALS:
            return self.number(REALS[marker])
        if marker in "TFZ":
            return {"T": True, "F": False, "Z": None}[marker]
        if marker in "SH":
            return self.text()
        if marker == "C":
            return chr(self.take(1)[0])
        if marker not in "[{":
            raise Unreadable(f"the marker {marker!r} is not known")
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable(f"nested more than {DEPTH} deep")
        found = self.array() if marker == "[" else self.object()
        self.depth -= 1
        return found

    def shape(self) -> tuple[str, int]:
        """The type and count that a container may state before its items."""
        kind, count = "", -1
        if chr(self.data[self.at]) == "$":
            self.at += 1
            kind = chr(self.take(1)[0])
        if chr(self.data[self.at]) == "#":
            self.at += 1
            count = self.integer()
        if count > len(self.data):
            raise Unreadable(f"a container of {count:,} items")
        return kind, count

    def array(self) -> Any:
        kind, count = self.shape()
        if kind in DTYPES and count >= 0:
            dtype = DTYPES[kind]
            return Array(dtype, (count,), self.take(count * int(dtype[2:])))
        found: list[Any] = []
        while len(found) != count:
            marker = kind or self.marker()
            if marker == "]" and count < 0:
                break
            found.append(self.value(marker))
        return found

    def object(self) -> dict[str, Any]:
        kind, count = self.shape()
        found: dict[str, Any] = {}
        read = 0
        while read != count:
            if count < 0 and chr(self.data[self.at]) == "}":
                self.at += 1
                break
            key = self.text()
            found[key] = self.value(kind or self.marker())
            read += 1
        return found


class LightGbm(Text):
    """LightGBM's text model: each character counts, apart from the paths of the run among its parameters."""

    def __init__(self) -> None:
        super().__init__("LightGBM", NONE)

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith((b"tree\nversion=", b"tree\r\nversion="))
