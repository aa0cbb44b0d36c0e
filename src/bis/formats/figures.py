"""Figures of lines and text: SVG and PDF, without the date of writing and the ids drawn for its parts."""

from __future__ import annotations

import io
import re
import zlib
from itertools import zip_longest
from pathlib import Path

from bis.formats import Context
from bis.formats.documents import read_bounded
from bis.formats.moments import dated
from bis.formats.rules import STRICT
from bis.formats.tally import Tally, shown, shown_pair
from bis.formats.text import Reading
from bis.nouns.verdict import Comparison

SVG_ID = re.compile(rb"(?:(?<= id=\")|(?<=href=\"#)|(?<=url\(#))([A-Za-z_][\w.-]*?_?)([0-9a-f]{10})(?=[\")])")
"""The ids that matplotlib draws, where they are given and used: a word and ten hexadecimal digits."""
PDF_TIME = re.compile(rb"/(CreationDate|ModDate)\s*\(D:([^)]{0,64})\)")
PDF_ID = re.compile(rb"/ID\s*\[\s*<([0-9A-Fa-f]*)>\s*<([0-9A-Fa-f]*)>\s*\]")
PDF_BEGIN = re.compile(rb"stream\r?\n")
PDF_END = re.compile(rb"\r?\nendstream")
PDF_UUID = re.compile(rb"uuid:[0-9A-Fa-f-]{36}")


class Svg:
    """Compared line by line, ids renumbered in the order in which they appear."""

    name = "SVG"

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith(".svg") and b"\0" not in head

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, old_ids = _renumbered(read_bounded(before))
        new, new_ids = _renumbered(read_bounded(after))
        Reading(context, tally, STRICT).compare(io.BytesIO(old), io.BytesIO(new))
        for one, other in zip(old_ids, new_ids, strict=False):
            if one != other:
                tally.set_aside("id", one, other)
        return tally.settle(self.name, "the same drawing", "line")


def _renumbered(data: bytes) -> tuple[bytes, list[str]]:
    numbers: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        place = numbers.setdefault(match[2], len(numbers))
        return match[1] + b"id%d" % place

    return SVG_ID.sub(number, data), [name.decode() for name in numbers]


class Pdf:
    """Compared as bytes outside of dates and file ids; compressed streams by what is in them."""

    name = "PDF"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(b"%PDF-")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = read_bounded(before), read_bounded(after)
        _times(old, new, context, tally)
        plain_old, plain_new = _stripped(old, tally), _stripped(new, tally)
        if plain_old != plain_new:
            _compare_streams(old, new, plain_old, plain_new, tally)
        return tally.settle(self.name, "the same content outside of dates and ids")


def _times(old: bytes, new: bytes, context: Context, tally: Tally) -> None:
    olds, news = PDF_TIME.findall(old), PDF_TIME.findall(new)
    for (key, one), (_, other) in zip(olds, news, strict=False):
        texts = one.decode("latin-1"), other.decode("latin-1")
        if one == other:
            continue
        sides = (context.before, context.after)
        if all(dated(_local(text), side, context.slack) for text, side in zip(texts, sides, strict=True)):
            tally.set_aside("time", *texts)
        else:
            tally.differ(key.decode(), shown_pair(*texts))


def _local(text: str) -> str:
    """`20261123145753+01'00'` as `20261123145753`: the zone is left out, so that it may be any."""
    return text[:14]


def _stripped(data: bytes, tally: Tally) -> bytes:
    data = PDF_TIME.sub(rb"/\1 ()", data)
    for match in PDF_ID.findall(data)[:1]:
        tally.set_aside("id", match[0].decode(), "")
    data = PDF_ID.sub(b"/ID []", data)
    return PDF_UUID.sub(b"uuid:", data)


def _compare_streams(old: bytes, new: bytes, plain_old: bytes, plain_new: bytes, tally: Tally) -> None:
    """Say which stream differs; what is outside of streams is compared without them and without their offsets."""
    olds, news = _streams(old)[0], _streams(new)[0]
    for number, (one, other) in enumerate(zip_longest(olds, news, fillvalue=b""), 1):
        first, second = _unpacked(one), _unpacked(other)
        if PDF_UUID.sub(b"", first) != PDF_UUID.sub(b"", second):
            lines = zip_longest(first.split(b"\n"), second.split(b"\n"), fillvalue=b"")
            pair = next((pair for pair in lines if pair[0] != pair[1]), (b"", b""))
            told, other_told = (shown(line.decode("latin-1")) for line in pair)
            tally.differ(f"stream {number}", shown_pair(told, other_told))
    rest_old, rest_new = (_streams(data)[1] for data in (plain_old, plain_new))
    if not tally.count and rest_old != rest_new:
        pairs = zip_longest(rest_old.split(b"\n"), rest_new.split(b"\n"), fillvalue=b"")
        one, other = next((pair for pair in pairs if pair[0] != pair[1]), (b"", b""))
        tally.differ("", shown_pair(one.decode("latin-1"), other.decode("latin-1")))


def _streams(data: bytes) -> tuple[list[bytes], bytes]:
    """The streams, and what is outside of them. Each byte is looked at a few times, whatever the file holds: one
    pattern for both ends would look for the end anew at every beginning."""
    streams, rest, at = [], [], 0
    while (begin := PDF_BEGIN.search(data, at)) and (end := PDF_END.search(data, begin.end())):
        rest.append(data[at : begin.start()])
        streams.append(data[begin.end() : end.start()])
        at = end.end()
    return streams, b"".join((*rest, data[at:]))


def _unpacked(stream: bytes) -> bytes:
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(stream, 256 << 20)
    except zlib.error:
        return stream
    return data + unpacker.unused_data if unpacker.eof else stream
