"""Files of Protocol Buffers, read without their libraries: ONNX and TensorBoard's events."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from bis.formats import WHOLE, Context, Unreadable
from bis.formats.arrays import Array
from bis.formats.documents import read_bounded
from bis.formats.moments import epoch
from bis.formats.tally import Tally
from bis.formats.values import Walk
from bis.nouns.verdict import Comparison

Field = tuple[str, str]
"""A name, and the kind of its content: a message of SCHEMAS, `text`, `bytes`, `floats`, `doubles`, `integers` or ``."""

SCHEMAS: Mapping[str, Mapping[int, Field]] = {
    "Model": {
        1: ("ir_version", ""),
        2: ("producer_name", "text"),
        3: ("producer_version", "text"),
        4: ("domain", "text"),
        5: ("model_version", ""),
        6: ("doc_string", "text"),
        7: ("graph", "Graph"),
        8: ("opset_import", "Opset"),
        14: ("metadata_props", "Entry"),
        25: ("functions", "Function"),
    },
    "Opset": {1: ("domain", "text"), 2: ("version", "")},
    "Entry": {1: ("key", "text"), 2: ("value", "text")},
    "Graph": {
        1: ("node", "Node"),
        2: ("name", "text"),
        5: ("initializer", "Tensor"),
        10: ("doc_string", "text"),
        11: ("input", "Value"),
        12: ("output", "Value"),
        13: ("value_info", "Value"),
        16: ("metadata_props", "Entry"),
    },
    "Node": {
        1: ("input", "text"),
        2: ("output", "text"),
        3: ("name", "text"),
        4: ("op_type", "text"),
        5: ("attribute", "Attribute"),
        6: ("doc_string", "text"),
        7: ("domain", "text"),
        9: ("metadata_props", "Entry"),
    },
    "Attribute": {
        1: ("name", "text"),
        2: ("f", ""),
        3: ("i", ""),
        4: ("s", "bytes"),
        5: ("t", "Tensor"),
        6: ("g", "Graph"),
        7: ("floats", "floats"),
        8: ("ints", "integers"),
        9: ("strings", "bytes"),
        10: ("tensors", "Tensor"),
        20: ("type", ""),
    },
    "Tensor": {
        1: ("dims", "integers"),
        2: ("data_type", ""),
        4: ("float_data", "floats"),
        5: ("int32_data", "integers"),
        6: ("string_data", "bytes"),
        7: ("int64_data", "integers"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
        10: ("double_data", "doubles"),
        12: ("doc_string", "text"),
    },
    "Value": {1: ("name", "text"), 2: ("type", "bytes"), 3: ("doc_string", "text")},
    "Function": {1: ("name", "text"), 7: ("node", "Node"), 8: ("doc_string", "text")},
    "Event": {
        1: ("wall_time", ""),
        2: ("step", ""),
        3: ("file_version", "text"),
        4: ("graph_def", "bytes"),
        5: ("summary", "Summary"),
        6: ("log_message", "bytes"),
        8: ("run_metadata", "bytes"),
        10: ("source_metadata", "bytes"),
    },
    "Summary": {1: ("value", "SummaryValue")},
    "SummaryValue": {
        1: ("tag", "text"),
        2: ("simple_value", ""),
        4: ("image", "bytes"),
        5: ("histogram", "Histogram"),
        8: ("tensor", "TfTensor"),
        9: ("metadata", "Metadata"),
    },
    "Histogram": {
        **{number: (name, "") for number, name in enumerate(("min", "max", "num", "sum", "sum_squares"), 1)},
        6: ("bucket_limit", "doubles"),
        7: ("bucket", "doubles"),
    },
    "TfTensor": {1: ("dtype", ""), 4: ("content", "bytes"), 5: ("float_val", "floats"), 6: ("double_val", "doubles")},
    "Metadata": {1: ("plugin", "Plugin"), 2: ("display_name", "text"), 3: ("description", "text")},
    "Plugin": {1: ("name", "text"), 2: ("content", "Hparams")},
    "Hparams": {2: ("experiment", "Experiment"), 3: ("start", "Start"), 4: ("end", "End")},
    "Experiment": {4: ("time_created_secs", "")},
    "Start": {5: ("start_time_secs", "")},
    "End": {2: ("end_time_secs", "")},
    "BundleEntry": {
        **{
            number: (name, "")
            for number, name in ((1, "dtype"), (3, "shard"), (4, "offset"), (5, "size"), (6, "crc32c"))
        },
        2: ("shape", "bytes"),
    },
    "Fingerprint": {
        **{
            number: (name, "")
            for number, name in enumerate(
                ("checksum", "graph_def_hash", "signature_def_hash", "object_graph_hash", "checkpoint_hash"), 1
            )
        },
        6: ("version", "bytes"),
        7: ("uuid", "text"),
    },
}
ONNX_TYPES = {
    1: "<f4", 2: "<u1", 3: "<i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "<b1", 10: "<f2", 11: "<f8", 12: "<u4",
    13: "<u8", 14: "<c8", 15: "<c16", 16: "bf16",
}  # fmt: skip
NESTED = 60


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and raw value of each field of a message."""
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise Unreadable("a field without a number")
        if kind == 0:
            value, at = _varint(view, at)
            yield number, kind, value
            continue
        if kind == 2:
            length, at = _varint(view, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise Unreadable(f"the wire type {kind} is not known")
        if at + length > len(view):
            raise Unreadable("a message that is cut off")
        yield number, kind, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise Unreadable("a damaged number")
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def message(data: bytes | memoryview, schema: str, depth: int = 0) -> dict[str, Any]:
    """A message as plain data: field name (or number) -> its values in order."""
    if depth > NESTED:
        raise Unreadable(f"nested more than {NESTED} deep")
    known = SCHEMAS.get(schema, {})
    found: dict[str, list[Any]] = {}
    for number, kind, value in fields(data):
        name, content = known.get(number, (f"field {number}", ""))
        found.setdefault(name, []).append(_value(kind, value, content if number in known else "bytes", depth))
    return _tensor(found) if schema == "Tensor" else dict(found)


def _value(kind: int, value: Any, content: str, depth: int) -> Any:
    if kind == 0:
        return value
    if kind in (1, 5):
        return bytes(value) if content == "bytes" else struct.unpack("<d" if kind == 1 else "<f", value)[0]
    if content in SCHEMAS:
        return message(value, content, depth + 1)
    if content == "floats":
        return Array("<f4", (len(value) // 4,), bytes(value))
    if content == "doubles":
        return Array("<f8", (len(value) // 8,), bytes(value))
    if content == "integers":
        return _integers(value)
    if content == "text":
        return bytes(value).decode("utf-8", "surrogateescape")
    return bytes(value)


def _integers(value: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _tensor(found: dict[str, list[Any]]) -> dict[str, Any]:
    """A tensor of ONNX with its raw bytes as values of its type."""
    kind, raw = found.get("data_type", [0])[0], found.get("raw_data")
    dtype = ONNX_TYPES.get(kind)
    if raw and dtype:
        width = 2 if dtype == "bf16" else int(dtype[2:])
        if len(raw[0]) % width == 0:
            return {**found, "raw_data": [Array(dtype, (len(raw[0]) // width,), raw[0])]}
    return dict(found)


class Onnx:
    """Compared field by field; nothing is set aside but masked spans in texts."""

    name = "ONNX"

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith(".onnx") and head[:1] == b"\x08"

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = (message(read_bounded(path, WHOLE), "Model") for path in (before, after))
        Walk(context, tally).compare(_named(old), _named(new))
        return tally.settle(self.name, "the same graph, weights and metadata", "field")


def initializers(data: bytes) -> dict[str, Array]:
    """The weights of an ONNX model, by name. Raises Unreadable."""
    graphs = message(data, "Model").get("graph", [])
    tensors = [tensor for graph in graphs for tensor in graph.get("initializer", [])]
    found = {" ".join(tensor.get("name", [""])): (tensor.get("raw_data"), tensor.get("dims")) for tensor in tensors}
    return {
        name: Array(raw[0].dtype, tuple(dims or ()), raw[0].data)
        for name, (raw, dims) in found.items()
        if raw and isinstance(raw[0], Array)
    }


def _named(model: dict[str, Any]) -> dict[str, Any]:
    """The model with its weights under their names."""
    for graph in model.get("graph", []):
        for tensor in graph.pop("initializer", []):
            graph.setdefault(f"initializer {' '.join(tensor.get('name', ['']))}", []).append(tensor)
    return model


class Events:
    """TensorBoard's event files, record by record, without the time of each."""

    name = "TensorBoard events"

    def recognises(self, name: str, head: bytes) -> bool:
        return "tfevents" in name.rpartition("/")[2]

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        walk = Walk(context, tally)
        with before.open("rb") as old, after.open("rb") as new:
            for number, (one, other) in enumerate(zip_longest(_records(old), _records(new)), 1):
                if one is None or other is None:
                    tally.differ(f"record {number:,}", f"only in the {'first' if other is None else 'second'}")
                    break
                if one != other:
                    self._record(walk, one, other, f"record {number:,}")
        return tally.settle(self.name, "the same records outside of their times", "value")

    def _record(self, walk: Walk, one: bytes, other: bytes, where: str) -> None:
        old, new = message(one, "Event"), message(other, "Event")
        step = old.get("step", [0])[0]
        tags = [value.get("tag", [""])[0] for part in old.get("summary", []) for value in part.get("value", [])]
        _drop_times(old, new, walk)
        walk.compare(old, new, f"{where} (step {step}{': ' if tags else ''}{', '.join(tags[:3])})")


def _drop_times(old: dict[str, Any], new: dict[str, Any], walk: Walk) -> None:
    """Take the times that lie within their runs out of two messages of the same layout."""
    context, stack = walk.context, [(old, new)]
    while stack:
        one, other = stack.pop()
        for key in one.keys() & other.keys():
            first, second = one[key], other[key]
            if key in ("wall_time", "time_created_secs", "start_time_secs", "end_time_secs"):
                if (
                    first != second
                    and _within(first, context.before, context)
                    and _within(second, context.after, context)
                ):
                    walk.tally.set_aside("time", str(first[0]), str(second[0]))
                    one[key] = other[key] = []
            else:
                pairs = zip(first, second, strict=False)
                stack += [pair for pair in pairs if isinstance(pair[0], dict) and isinstance(pair[1], dict)]


def _within(values: list[Any], side: Any, context: Context) -> bool:
    return all(isinstance(value, float) and epoch(f"{value:.6f}", side, context.slack) for value in values)


def _records(file: BinaryIO) -> Iterator[bytes]:
    """The payloads of a TFRecord file: length, checksum, payload, checksum. A last one that is cut off as it is."""
    size = file.seek(0, 2)
    file.seek(0)
    while header := file.read(12):
        length = int.from_bytes(header[:8], "little")
        if len(header) < 12 or file.tell() + length + 4 > size:
            yield header + file.read()
            return
        payload = file.read(length)
        file.seek(4, 1)
        yield payload
