"""PNG by pixels."""

import random
import struct
import zlib

import pytest

from bis.formats.images import Picture


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    rows: list[bytes],
    width: int,
    step: int,
    *,
    colour: int = 2,
    depth: int = 8,
    filters: int = 0,
    level: int = 6,
    texts=(),
) -> bytes:
    """A PNG of these rows, each filtered by `filters` (5: another one for each row)."""
    above, filtered = bytes(len(rows[0])), b""
    for number, row in enumerate(rows):
        how = number % 5 if filters == 5 else filters
        filtered += bytes([how]) + filter_row(how, row, above, step)
        above = row
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = b"".join(chunk(b"tEXt", key.encode() + b"\0" + text.encode()) for key, text in texts)
    data = zlib.compress(filtered, level)
    half = len(data) // 2
    parts = chunk(b"IDAT", data[:half]) + chunk(b"IDAT", data[half:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + parts + chunk(b"IEND", b"")


def filter_row(how: int, row: bytes, above: bytes, step: int) -> bytes:
    out = bytearray()
    for at, value in enumerate(row):
        left = row[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        guess = left + above[at] - corner
        nearest = min((left, above[at], corner), key=lambda one: abs(guess - one))
        out.append((value - (0, left, above[at], (left + above[at]) // 2, nearest)[how]) & 255)
    return bytes(out)


KINDS = [(2, 8, 3), (6, 8, 4), (0, 8, 1), (0, 16, 2), (4, 8, 2), (3, 8, 1)]


@pytest.mark.parametrize(("colour", "depth", "step"), KINDS)
def test_filters_and_packing_are_set_aside_and_one_pixel_is_not(judge, colour: int, depth: int, step: int) -> None:
    chance = random.Random(0)
    rows = [bytes(chance.randrange(256) for _ in range(7 * step)) for _ in range(11)]
    one = png(rows, 7, step, colour=colour, depth=depth)
    for filters in range(6):
        other = png(rows, 7, step, colour=colour, depth=depth, filters=filters, level=1)
        found = judge("plot.png", one, other)
        assert (found.same, found.level) == (True, "meaning"), filters
    touched = [*rows]
    touched[4] = bytes([*rows[4][: 5 * step], (rows[4][5 * step] + 3) % 256, *rows[4][5 * step + 1 :]])
    for filters in (0, 5):
        found = judge("plot.png", one, png(touched, 7, step, colour=colour, depth=depth, filters=filters))
        assert found.same is False
        assert found.why.startswith("1 pixel of 7 x 11 differ, first at x=5 y=4"), found.why


ROWS = [bytes(range(12))] * 4


def test_who_wrote_it_and_when_are_set_aside(judge) -> None:
    old = png(ROWS, 4, 3, texts=[("Software", "Matplotlib version3.10"), ("Date", "2026-11-22"), ("Title", "loss")])
    new = png(ROWS, 4, 3, texts=[("Software", "Matplotlib version3.11"), ("Date", "2027-01-01"), ("Title", "loss")])
    found = judge("plot.png", old, new)
    assert (found.same, {mask.rule for mask in found.masked}) == (True, {"writer", "time"})
    assert judge("plot.png", old, png(ROWS, 4, 3, texts=[("Title", "lass")])).same is False


def test_size_and_kind_of_colour_count(judge) -> None:
    assert "4 x 4 -> 4 x 3 pixels" in judge("p.png", png(ROWS, 4, 3), png(ROWS[:3], 4, 3)).detail
    assert judge("p.png", png(ROWS, 4, 3), png(ROWS, 3, 4, colour=6)).same is False


def test_a_picture_that_claims_to_be_huge_is_not_unpacked(judge) -> None:
    def claim(content: bytes) -> bytes:
        header = struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")

    found = judge("p.png", claim(b"1"), claim(b"2"))
    assert (found.same, "MiB of pixels" in found.why) == (False, True)


def test_filters_are_undone_as_the_format_says() -> None:
    chance = random.Random(1)
    rows = [bytes(chance.randrange(256) for _ in range(30)) for _ in range(10)]
    assert Picture(png(rows, 10, 3, filters=5)).pixels() == b"".join(rows)


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A picture of one pixel with these chunks before its end."""
    plain = png([b"abc"], 1, 3)
    return plain[:-12] + b"".join(chunk(*one) for one in chunks) + plain[-12:]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(b"tEXt", b"Title\0\xe9")], [(b"tEXt", b"Title\0\xe8")]),
        ([(b"tEXt", b"Title\0a"), (b"tEXt", b"Title\0z")], [(b"tEXt", b"Title\0b"), (b"tEXt", b"Title\0z")]),
        ([(b"iTXt", b"Title\0\0\0en\0\0a")], [(b"iTXt", b"Title\0\0\0de\0\0a")]),
        (
            [(b"zTXt", b"T\0\0" + zlib.compress(bytes(2 << 20) + b"1"))],
            [(b"zTXt", b"T\0\0" + zlib.compress(bytes(2 << 20) + b"2"))],
        ),
        ([(b"sPLT", b"a")], [(b"sPLT", b"a"), (b"sPLT", b"a")]),
    ],
)
def test_each_text_and_chunk_counts(judge, one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]]) -> None:
    assert judge("p.png", with_chunks(*one), with_chunks(*other)).same is False


def test_what_is_behind_the_end_of_a_picture_counts(judge) -> None:
    assert judge("p.png", with_chunks() + b"1", with_chunks() + b"2").same is False


def test_colours_times_and_the_way_up_of_other_images_count(tmp_path, judge_files) -> None:
    """Needs Pillow, which is no part of the tests' environment: for a machine that has it."""
    image = pytest.importorskip("PIL.Image")
    palette = image.frombytes("P", (2, 2), bytes(range(4)))
    palette.putpalette(list(range(12)))
    recoloured = palette.copy()
    recoloured.putpalette(list(range(1, 13)))
    turned = image.Exif()
    turned[0x0112] = 6
    plain = palette.convert("RGB")
    frames = {"save_all": True, "append_images": [palette.rotate(90)]}
    for name, one, other, how in (
        ("i.gif", palette, recoloured, ({}, {})),
        ("i.bmp", palette, recoloured, ({}, {})),
        ("i.gif", palette, palette, ({**frames, "duration": 100}, {**frames, "duration": 200})),
        ("i.jpg", plain, plain, ({}, {"exif": turned})),
        ("i.jpg", plain, plain, ({"dpi": (72, 72)}, {"dpi": (300, 300)})),
    ):
        files = []
        for side, (picture, options) in enumerate(zip((one, other), how, strict=True)):
            files.append(tmp_path / str(side) / name)
            files[-1].parent.mkdir(exist_ok=True)
            picture.save(files[-1], **options)
        found = judge_files(*files)
        assert (found.same, found.format) == (False, "image"), name
