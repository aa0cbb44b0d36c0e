"""Data that is made for benchmarks, the same each time, in bounded memory; and how it changes."""

from __future__ import annotations

import functools
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

TRAINING = Path(__file__).resolve().parent.parent / ".venv-training" / "bin" / "python"
BLOCK = 1 << 20
IN_A_FOLDER = 1000
RUNS = 10
"""Edits that are clustered lie in so many places."""
NEAR_THE_TOP = 100
"""The row behind which one is inserted."""


def small(folder: Path, count: int) -> None:
    """`count` files of 1 to 16 KiB of noise, a thousand in a folder."""
    chance = random.Random(1)
    for number in range(count):
        place = folder / f"{number // IN_A_FOLDER:03}"
        if number % IN_A_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"{number:06}.bin").write_bytes(chance.randbytes(chance.randrange(1 << 10, 16 << 10)))


def change_small(folder: Path) -> None:
    """Other bytes in one file of a hundred. Each is put in place as a new file, as programs do that write whole ones:
    nobody's copy is written through a link."""
    chance = random.Random(2)
    for number, path in enumerate(sorted(folder.glob("*/*.bin"))):
        if number % 100 == 50:
            _replace(path, [chance.randbytes(chance.randrange(1 << 10, 16 << 10))])


def big(folder: Path, size: int) -> None:
    """One file of noise."""
    folder.mkdir(parents=True)
    chance = random.Random(3)
    with (folder / "big.bin").open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(chance.randbytes(min(BLOCK, size - start)))


def change_big(folder: Path) -> None:
    """Other bytes in one hundredth of the file, in one piece, at a third of it."""
    path = folder / "big.bin"
    chance, size = random.Random(4), path.stat().st_size
    start, length = size // 3, size // 100

    def blocks() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from _read(file, start)
            for done in range(0, length, BLOCK):
                yield chance.randbytes(min(BLOCK, length - done))
            file.seek(start + length)
            yield from _read(file, size)

    _replace(path, blocks())


def table(folder: Path, size: int) -> None:
    """A CSV file of about `size` bytes: numbers, words, a date."""
    folder.mkdir(parents=True)
    chance, written, number = random.Random(5), 0, 0
    with (folder / "table.csv").open("wb") as file:
        written += file.write(b"id,customer,amount,rate,when,city,note\n")
        while written < size:
            rows = [_row(number + more, chance.getrandbits(80)) for more in range(1000)]
            number += 1000
            written += file.write(b"".join(rows))


WORDS = [bytes(random.Random(seed).choices(b"abcdefghijklmnopqrstuvwxyz", k=4 + seed % 7)) for seed in range(256)]


def _row(number: int, bits: int) -> bytes:
    return b"%d,C%05d,%d.%02d,0.%04d,2026-%02d-%02d,%s,%s %s\n" % (
        number,
        bits & 0xFFFF,
        (bits >> 16) % 5000,
        (bits >> 28) % 100,
        (bits >> 32) % 10000,
        1 + (bits >> 44) % 12,
        1 + (bits >> 48) % 28,
        WORDS[(bits >> 53) & 0x1F],
        WORDS[(bits >> 58) & 0xFF],
        WORDS[(bits >> 66) & 0xFF],
    )


def edit_table(path: Path, clustered: bool, fresh: Callable[[bytes, random.Random], bytes]) -> None:
    """One row more near the top, and one row of a hundred made anew: every hundredth, or all in ten places."""
    chance = random.Random(6)
    with path.open("rb") as file:
        count = sum(1 for _ in file)
    stretch = max(count // RUNS, 1)

    def rows() -> Iterator[bytes]:
        with path.open("rb") as file:
            for number, row in enumerate(file):
                edited = number % stretch < stretch // 100 if clustered else number % 100 == 50
                yield fresh(row, chance) if edited and number else row
                if number == NEAR_THE_TOP:
                    yield fresh(row, chance)

    _replace(path, rows())


def made_row(row: bytes, chance: random.Random) -> bytes:
    """A row of `table` that was never there."""
    return _row(chance.randrange(10**8), chance.getrandbits(80))


def other_cell(row: bytes, chance: random.Random) -> bytes:
    """The row of a table of anybody with other digits (or, where it has none, letters) in one of its cells."""
    cells = row.rstrip(b"\r\n").split(b",")
    some = [number for number, cell in enumerate(cells) if cell] or [0]
    place = chance.choice(some)
    digits = bytes(chance.choice(b"0123456789") if 48 <= byte <= 57 else byte for byte in cells[place])
    cells[place] = digits if digits != cells[place] else bytes(chance.choices(b"abcdefgh", k=len(digits) or 1))
    return b",".join(cells) + row[len(row.rstrip(b"\r\n")) :]


def checkpoint(folder: Path, number: int, width: int) -> None:
    """The first or second of two checkpoints of a training, as float32 and as bfloat16; what was there before is
    replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((Path(_trained(width).name) / "checkpoints" / str(number)).glob("*.safetensors")):
        (folder / path.name).unlink(missing_ok=True)
        shutil.copyfile(path, folder / path.name)


@functools.cache
def _trained(width: int) -> tempfile.TemporaryDirectory[str]:
    """Both; they go when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="bis-trained-")
    script = Path(__file__).with_name("trained.py")
    subprocess.run([TRAINING, script, Path(folder.name) / "checkpoints", str(width)], check=True)
    return folder


def same(one: Path, other: Path) -> str:
    """Empty when two folders hold the same files, byte for byte; else the first name that differs."""
    names = [sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()) for top in (one, other)]
    if names[0] != names[1]:
        odd = set(names[0]) ^ set(names[1])
        return f"{min(odd)} is only in one of them"
    return next((name for name in names[0] if not _same_bytes(one / name, other / name)), "")


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            block = left.read(BLOCK)
            if block != right.read(BLOCK):
                return False
            if not block:
                return True


def stored(places: list[Path]) -> int:
    """Bytes of all files in these folders, and of these files; one with several names counts once."""
    files = chain.from_iterable(place.rglob("*") if place.is_dir() else [place] for place in places)
    known: dict[int, int] = {}
    for path in files:
        status = path.lstat()
        if not path.is_dir():
            known[status.st_ino] = status.st_size
    return sum(known.values())


def _replace(path: Path, blocks: Iterator[bytes] | list[bytes]) -> None:
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        for block in blocks:
            file.write(block)
    fresh.replace(path)


def _read(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (block := file.read(min(BLOCK, size))):
        size -= len(block)
        yield block
