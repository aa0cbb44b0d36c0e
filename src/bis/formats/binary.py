"""Binary: bytes, the last resort. Two files of different bytes are different; this says where they part."""

from __future__ import annotations

from pathlib import Path

from bis.formats.tally import plural
from bis.nouns.verdict import Comparison

BLOCK = 1 << 20


def same_bytes(before: Path, after: Path) -> bool:
    return before.stat().st_size == after.stat().st_size and parting(before, after) is None


def parting(before: Path, after: Path) -> int | None:
    """The offset of the first byte that differs, or of the end of the shorter file; None when there is none."""
    offset = 0
    with before.open("rb") as old, after.open("rb") as new:
        while True:
            first, second = old.read(BLOCK), new.read(BLOCK)
            if first != second:
                return offset + first_difference(first, second)
            if not first:
                return None
            offset += len(first)


def first_difference(first: bytes, second: bytes) -> int:
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


def different(before: Path, after: Path, why: str = "") -> Comparison:
    """The bytes of two files that differ. `why` is why they were not compared by meaning."""
    old, new = before.stat().st_size, after.stat().st_size
    offset = parting(before, after)
    size = plural(old, "byte") if old == new else f"{old:,} -> {plural(new, 'byte')}"
    what = f"{size}, first difference at byte {offset:,}"
    return Comparison(same=False, level="none", format="bytes", why=f"{what}; {why}" if why else what)
