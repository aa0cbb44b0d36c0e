"""Images: PNG by pixels, without any library; other images by pixels where Pillow can be imported."""

from __future__ import annotations

import importlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bis.formats import MIB, Context, Unreadable
from bis.formats.masks import Masks
from bis.formats.rules import STRICT
from bis.formats.tally import Tally, plural, shown, shown_pair
from bis.nouns.verdict import Comparison

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = 256 * MIB
"""Most bytes of pixels that are unpacked."""
TEXT = 16 * MIB
"""Most bytes of one text."""
VOLATILE = {"Software": "writer", "Date": "time", "Creation Time": "time", "creation_time": "time"}
VOLATILE |= {"date:create": "time", "date:modify": "time", "date:timestamp": "time"}
"""Keys of text chunks that say nothing of the picture, with the rule that sets them aside."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Picture:
    """The chunks of one PNG."""

    def __init__(self, data: bytes) -> None:
        self.texts: dict[str, str] = {}
        self.others: list[tuple[str, bytes]] = []
        packed = []
        for kind, content in _chunks(data):
            if kind == "IDAT":
                packed.append(content)
            elif kind in ("tEXt", "zTXt", "iTXt"):
                key, text = _text(kind, content)
                self.texts[key] = f"{self.texts[key]}\n{text}" if key in self.texts else text
            elif kind == "tIME":
                self.texts["Creation Time"] = content.hex()
            elif kind != "IEND":
                self.others.append((kind, content))
        header = dict(self.others).get("IHDR", b"")
        if len(header) != 13:
            raise Unreadable("a PNG without a header")
        self.width, self.height, self.depth, self.colour, _, _, self.interlaced = struct.unpack(">IIBBBBB", header)
        if self.colour not in CHANNELS or self.depth not in (1, 2, 4, 8, 16) or not self.width or not self.height:
            raise Unreadable("a PNG with a damaged header")
        bits = self.depth * CHANNELS[self.colour]
        self.step = max(1, bits // 8)
        passes = ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        sizes = [((self.width - x + dx - 1) // dx, (self.height - y + dy - 1) // dy) for x, y, dx, dy in passes]
        self.passes = [((wide * bits + 7) // 8, high) for wide, high in sizes if wide > 0 and high > 0]
        needed = sum((row + 1) * high for row, high in self.passes)
        if needed > PIXELS:
            raise Unreadable(f"{needed >> 20:,} MiB of pixels (limit {PIXELS >> 20} MiB)")
        self.filtered = _inflate(b"".join(packed), needed)

    def pixels(self) -> bytes:
        """The values of the pixels, row by row, the filters of the rows undone."""
        rows: list[bytes] = []
        at = 0
        for width, height in self.passes:
            above = bytearray(width)
            for _ in range(height):
                above = _unfilter(
                    self.filtered[at], bytearray(self.filtered[at + 1 : at + 1 + width]), above, self.step
                )
                rows.append(bytes(above))
                at += width + 1
        return b"".join(rows)


class Png:
    name = "PNG"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(SIGNATURE)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        if max(before.stat().st_size, after.stat().st_size) > PIXELS:
            raise Unreadable(f"larger than {PIXELS >> 20} MiB")
        tally = Tally(context)
        old, new = Picture(before.read_bytes()), Picture(after.read_bytes())
        _compare_texts(old.texts, new.texts, Masks(context), tally)
        _compare_chunks(old, new, tally)
        if (old.width, old.height) != (new.width, new.height):
            tally.differ("", f"{old.width} x {old.height} -> {new.width} x {new.height} pixels")
        elif old.passes == new.passes and old.step == new.step and old.filtered != new.filtered:
            first, second = old.pixels(), new.pixels()
            if first != second:
                tally.differ("", _pixels_told(old, first, second))
        return tally.settle(self.name, "the same pixels")


def _chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        if len(content) != length:
            raise Unreadable("a PNG that is cut off")
        if zlib.crc32(data[at + 4 : at + 8 + length]).to_bytes(4) != data[at + 8 + length : at + 12 + length]:
            raise Unreadable(f"a PNG whose {kind.decode('latin-1')} is damaged")
        yield kind.decode("latin-1"), content
        at += 12 + length
        if kind == b"IEND":
            if at < len(data):
                yield "behind the end", data[at:]
            return
    raise Unreadable("a PNG that is cut off")


def _text(kind: str, content: bytes) -> tuple[str, str]:
    key, _, rest = content.partition(b"\0")
    language = b""
    if kind == "zTXt":
        rest = _inflate(rest[1:], TEXT, whole=False)
    elif kind == "iTXt":
        packed, (language, translated, rest) = rest[:1] == b"\1", (*rest[2:].split(b"\0", 2), b"", b"")[:3]
        rest = _inflate(rest, TEXT, whole=False) if packed else rest
        language = b" ".join(part for part in (language, translated) if part)
    text = rest.decode("utf-8", "surrogateescape") if kind == "iTXt" else rest.decode("latin-1")
    return key.decode("latin-1"), f"({language.decode('utf-8', 'surrogateescape')}) {text}" if language else text


def _inflate(data: bytes, size: int, whole: bool = True) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, size)
    except zlib.error as error:
        raise Unreadable(f"a PNG with damaged data ({error})") from None
    if not whole and not unpacker.eof:
        raise Unreadable(f"a PNG with a text that is cut off or longer than {size:,} bytes")
    if whole and len(unpacked) != size:
        raise Unreadable(f"a PNG with {len(unpacked):,} bytes of pixels instead of {size:,}")
    return unpacked


def _unfilter(how: int, row: bytearray, above: bytearray, step: int) -> bytearray:
    if how == 0:
        return row
    if how == 2:
        return bytearray((value + up) & 255 for value, up in zip(row, above, strict=True))
    if how == 1:
        for at in range(step, len(row)):
            row[at] = (row[at] + row[at - step]) & 255
    elif how == 3:
        for at in range(len(row)):
            left = row[at - step] if at >= step else 0
            row[at] = (row[at] + ((left + above[at]) >> 1)) & 255
    elif how == 4:
        for at in range(len(row)):
            left, corner = (row[at - step], above[at - step]) if at >= step else (0, 0)
            row[at] = (row[at] + _paeth(left, above[at], corner)) & 255
    else:
        raise Unreadable(f"a PNG with an unknown filter {how}")
    return row


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    by_left, by_up, by_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner


def _compare_texts(old: dict[str, str], new: dict[str, str], masks: Masks, tally: Tally) -> None:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if key in VOLATILE:
            tally.set_aside(VOLATILE[key], f"{key} {before}", str(after))
        elif before is None or after is None:
            tally.differ(f"text {shown(key, 40)}", "only in the first" if after is None else "only in the second")
        elif not masks.same(before, after, tally, STRICT):
            tally.differ(f"text {shown(key, 40)}", shown_pair(before, after))


def _compare_chunks(old: Picture, new: Picture, tally: Tally) -> None:
    before, after = Counter(old.others), Counter(new.others)
    left, right = sorted((before - after).elements()), sorted((after - before).elements())
    for kind, content in left:
        other = next((chunk for chunk in right if chunk[0] == kind), None)
        if other:
            right.remove(other)
        tally.differ(f"chunk {kind}", f"{shown(content, 50)} -> {shown(other[1], 50) if other else 'none'}")
    for kind, content in right:
        tally.differ(f"chunk {kind}", f"none -> {shown(content, 50)}")


def _pixels_told(picture: Picture, old: bytes, new: bytes) -> str:
    if picture.interlaced:
        return "pixels differ (an interlaced picture)"
    width = picture.passes[0][0]
    place, largest, count = None, 0, 0
    for row in range(picture.height):
        before, after = old[row * width : (row + 1) * width], new[row * width : (row + 1) * width]
        if before == after:
            continue
        columns = {at // picture.step for at in range(width) if before[at] != after[at]}
        largest = max(largest, *(abs(one - other) for one, other in zip(before, after, strict=True)))
        count += len(columns)
        place = place or (min(columns), row)
    x, y = place or (0, 0)
    unit = "pixel" if picture.depth >= 8 else "byte of pixel"
    bits = "" if picture.depth == 8 else f", {picture.depth} bits each"
    return (
        f"{plural(count, unit)} of {picture.width} x {picture.height} differ, first at x={x} y={y},"
        f" largest difference {largest} of 255{bits}"
    )


class Pillow:
    """JPEG, GIF, BMP, TIFF and WebP by pixels, if Pillow is there."""

    name = "image"

    def recognises(self, name: str, head: bytes) -> bool:
        starts = (b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
        return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        try:
            Image = importlib.import_module("PIL.Image")
        except ImportError:
            raise Unreadable("by pixels it needs Pillow: pip install pillow") from None
        tally = Tally(context)
        with Image.open(before) as old, Image.open(after) as new:
            frames = getattr(old, "n_frames", 1), getattr(new, "n_frames", 1)
            if (old.size, old.mode, frames[0]) != (new.size, new.mode, frames[1]):
                tally.differ(
                    "", f"{old.size} {old.mode}, {frames[0]} frames -> {new.size} {new.mode}, {frames[1]} frames"
                )
            else:
                for number in range(frames[0]):
                    old.seek(number), new.seek(number)
                    where = f"frame {number}" if frames[0] > 1 else ""
                    if old.tobytes() != new.tobytes():
                        tally.differ(where, "pixels differ")
                    first, second = _shown_as(old), _shown_as(new)
                    for key in sorted(key for key in first if first[key] != second[key]):
                        tally.differ(where, f"{key} {shown(first[key], 50)} -> {shown(second[key], 50)}")
        tally.set_aside("image metadata")
        return tally.settle(self.name, "the same pixels")


SHOWN = ("background", "dpi", "duration", "gamma", "icc_profile", "loop", "transparency")
ORIENTATION = 0x0112
"""The tag of EXIF that says how a picture is turned."""


def _shown_as(image: Any) -> dict[str, Any]:
    """What decides how pixels are shown: colours, resolution, the time of a frame, the way up."""
    facts = {key: image.info.get(key) for key in SHOWN}
    palette = image.getpalette() if image.mode in ("P", "PA") else None
    return {**facts, "palette": palette, "orientation": image.getexif().get(ORIENTATION)}
