"""Pickles and joblib dumps: scikit-learn, XGBoost and LightGBM estimators, pandas frames, anything of Python."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bis.formats import WHOLE, Context, Unreadable
from bis.formats.documents import read_bounded
from bis.formats.tally import Tally, plural
from bis.formats.unpickle import read_pickle
from bis.formats.values import Volatile, Walk
from bis.nouns.verdict import Comparison

SUFFIXES = (".pkl", ".pickle", ".joblib", ".p", ".sav", ".dill", ".cloudpickle")
PACKED = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda", b"\x1f\x8b")
"""How zlib and gzip begin, by which joblib packs."""
VOLATILE = {
    "_stop_words_id": Volatile("address", (int, str)),  # scikit-learn's text vectorizers: id() of a list
}
"""Attributes that hold no part of the result."""


class Pickle:
    """Compared as the tree of values that the pickle describes, none of which is made. `understood` sees each tree
    first, and reads what other libraries have packed into it."""

    name = "pickle"

    def __init__(self, understood: Callable[[Any], Any]) -> None:
        self.understood = understood

    def recognises(self, name: str, head: bytes) -> bool:
        if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
            return True
        return name.lower().endswith(SUFFIXES) and head[:1] in (b"(", b"]", b"}", b"c", b"l", b"d", b"\x80")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        olds, news = read_all(before), read_all(after)
        if len(olds) != len(news):
            tally.differ("", f"{len(olds)} -> {plural(len(news), 'pickle')}")
        walk = Walk(context, tally, VOLATILE)
        for number, (old, new) in enumerate(zip(olds, news, strict=False), 1):
            walk.compare(self.understood(old), self.understood(new), f"pickle {number}" if len(olds) > 1 else "")
        return tally.settle(self.name, "the same objects, read without running them", "value")


def inflated(data: bytes) -> bytes:
    """What zlib or gzip packed. Raises Unreadable for what is damaged or unpacks to too much."""
    engine = zlib.decompressobj(47)
    try:
        found = engine.decompress(data, WHOLE)
    except zlib.error as error:
        raise Unreadable(f"it cannot be unpacked ({error})") from None
    if engine.unconsumed_tail or not engine.eof:
        raise Unreadable("cut off" if not engine.unconsumed_tail else "it unpacks to too much")
    return found


def read_all(path: Path, *, packed: bool = False) -> list[Any]:
    """Every pickle of a file, one after the other, and what is behind the last one."""
    data = read_bounded(path, WHOLE)
    file = io.BytesIO(inflated(data) if packed else data)
    size = len(file.getbuffer())
    found: list[Any] = []
    while (start := file.tell()) < size:
        try:
            found.append(read_pickle(file, joblib=True))
        except Unreadable:
            if not found:
                raise
            file.seek(start)
            found.append(file.read())
    return found
