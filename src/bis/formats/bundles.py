"""TensorFlow's SavedModels and checkpoints, read without TensorFlow, file by file.

The values of a checkpoint are named by the number of their variable, and Keras numbers the variables of an exported
model in the order of a set: two exports of one model differ. That is a difference, told with its cause, object order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bis.formats import WHOLE, Context, Unreadable
from bis.formats.binary import parting
from bis.formats.documents import read_bounded
from bis.formats.protobufs import NESTED, fields, message
from bis.formats.tally import Tally, plural, shown
from bis.formats.values import Volatile, Walk
from bis.nouns.verdict import Comparison

FOOTER = bytes.fromhex("57fb808b247547db")
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


class Fingerprint:
    """TensorFlow's `fingerprint.pb`: checksums of the files beside it and an id drawn at random."""

    name = "SavedModel fingerprint"

    def recognises(self, name: str, head: bytes) -> bool:
        return name.rpartition("/")[2] == "fingerprint.pb"

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = (message(read_bounded(path), "Fingerprint") for path in (before, after))
        hashes = {
            name: Volatile("checksum of the files beside it") for name in old | new if name.endswith(("hash", "sum"))
        }
        Walk(context, tally, {**hashes, "uuid": Volatile("id")}).compare(old, new)
        return tally.settle(self.name, "its checksums speak of files that are compared themselves", "field")


class SavedModel:
    """TensorFlow's graphs. Keras numbers the variables of an exported model in the order of a set, so two exports of
    one model differ: that is told as the cause, and is a difference."""

    name = "SavedModel"

    def recognises(self, name: str, head: bytes) -> bool:
        return name.rpartition("/")[2] == "saved_model.pb"

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = (Counter(_leaves(read_bounded(path, WHOLE))) for path in (before, after))
        only_old, only_new = old - new, new - old
        cause = "object order" if _unnumbered(only_old) == _unnumbered(only_new) else ""
        if not only_old and not only_new:
            tally.differ("", "the same fields in another order", cause)
        for side, left in (("first", only_old), ("second", only_new)):
            if left:
                tally.differ(
                    "", f"{plural(left.total(), 'field')} only in the {side}, as {next(iter(left))!r:.80}", cause
                )
        return tally.settle(self.name, "the same graph", "field")


FUNCTIONS = ((2, 2, 2, 1), (2, 2, 2, 2))
"""Where the functions of a graph stand, and their gradients: in an order that says nothing."""
MAPS = ((2, 5), (2, 7, 2))
"""Signatures by name, and functions by the name that holds a number."""
NUMBERED = re.compile(rb"(__(?:inference|forward|backward)_[A-Za-z0-9_]*?)_\d+\b")


def graph_of(data: bytes | memoryview, path: tuple[int, ...] = ()) -> list[Any]:
    """A SavedModel as a tree, without the numbers that TensorFlow gives to functions as they are made."""
    found: list[Any] = []
    for number, kind, value in list(fields(data)):
        place = (*path, number)
        if kind != 2:
            found.append([number, bytes(value) if kind in (1, 5) else value])
            continue
        inner = bytes(value)
        if len(place) >= NESTED or not _is_message(inner):
            found.append([number, NUMBERED.sub(rb"\1", inner)])
        else:
            found.append([number, graph_of(inner, place)])
    if found[:1] == [[1, b"_user_specified_name"]]:
        return found[:1]  # of a captured variable, a number of the process
    kept = [one for one in found if (*path, one[0]) not in (*FUNCTIONS, *MAPS)]
    loose = [one for one in found if (*path, one[0]) in (*FUNCTIONS, *MAPS)]
    return kept + sorted(loose, key=repr)


def _unnumbered(leaves: Counter[bytes]) -> Counter[bytes]:
    """Texts with their digits as 0, and no numbers: what is left of a graph when its objects are numbered otherwise."""
    found: Counter[bytes] = Counter()
    for leaf, count in leaves.items():
        if not re.match(rb"\d+#", leaf):
            found[re.sub(rb"\d", b"0", leaf)] += count
    return found


def _leaves(data: bytes | memoryview, depth: int = 0) -> Iterator[bytes]:
    """Every value of a message of unknown layout that is no message itself."""
    for number, kind, value in list(fields(data)):
        if kind == 2:
            inner = bytes(value)
            if depth < NESTED and _is_message(inner):
                yield from _leaves(inner, depth + 1)
            else:
                yield b"%d:" % number + inner
        elif kind in (1, 5):
            yield b"%d=" % number + bytes(value)
        else:
            yield b"%d#%d" % (number, value)


def _is_message(data: bytes) -> bool:
    if len(data) < 2:
        return False
    try:
        return sum(1 for _ in fields(data)) > 0
    except Unreadable:
        return False


class BundleIndex:
    """The index of a checkpoint: type, shape and checksum of each tensor. Where it lies in the data is set aside."""

    name = "checkpoint index"

    def recognises(self, name: str, head: bytes) -> bool:
        return name.endswith(".index")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = (_entries(read_bounded(path)) for path in (before, after))
        cause = "object order" if _tensors(old) == _tensors(new) else ""
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                tally.differ(shown(name), _entry_told(old.get(name), new.get(name)), cause)
        tally.set_aside("places in the data and packing of the table")
        return tally.settle(self.name, "the same tensors by their checksums", "tensor")


def _entry_told(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    if old is None or new is None:
        return f"only in the {'first' if new is None else 'second'}"
    key = next(key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key))
    return f"{key} {shown(old.get(key))} -> {shown(new.get(key))}"


def _tensors(entries: dict[str, dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(facts.items())) for name, facts in entries.items() if name != GRAPH)


def _entries(data: bytes) -> dict[str, dict[str, Any]]:
    """What a TensorFlow table says of each tensor, but for where it lies."""
    found = entries(data)
    for facts in found.values():
        facts.pop("offset", None)
    return found


def entries(data: bytes) -> dict[str, dict[str, Any]]:
    """What a TensorFlow table says of each tensor."""
    if not data.endswith(FOOTER):
        raise Unreadable("no table of TensorFlow")
    _, _, at = _handle(data, len(data) - 48)
    start, size, _ = _handle(data, at)
    found: dict[str, dict[str, Any]] = {}
    for _, handle in _block(data, start, size):
        start, size, _ = _handle(handle, 0)
        for key, value in _block(data, start, size):
            found[key.decode("utf-8", "surrogateescape")] = message(value, "BundleEntry")
    return found


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    start, at = _varint(data, at)
    size, at = _varint(data, at)
    return start, size, at


def _block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of one block. Keys share beginnings with the key before them."""
    block = data[start : start + size]
    if len(block) != size or data[start + size : start + size + 1] != b"\0":
        raise Unreadable("a block that is cut off or packed")
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while 0 <= at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if not 0 <= at < len(data) or shift > 63:
            raise Unreadable("a damaged number")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7


class BundleData:
    """The values of a checkpoint. Which tensor lies where is written in another file, so another order of the same
    values is a difference."""

    name = "checkpoint data"

    def recognises(self, name: str, head: bytes) -> bool:
        return re.search(r"\.data-\d{5}-of-\d{5}$", name) is not None

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = read_bounded(before, WHOLE), read_bounded(after, WHOLE)
        moved = len(old) == len(new) and Counter(old) == Counter(new)
        what = f"{len(old):,} -> {plural(len(new), 'byte')}, first difference at byte {parting(before, after):,}"
        tally.differ("", what + (", the same bytes in another order" if moved else ""), "object order" if moved else "")
        return tally.settle(self.name, "")
