"""Documents: JSON, JSON lines, YAML and TOML, compared as values; numbers by each digit that is written.

White space, quoting and the order of keys are set aside. A duration or any other number under a key is data: when it
differs, the documents differ (with the cause `clock` where the key says so). A string may hold a masked span (an id,
a path of the run, a time within the run), and so may a number under a key that names a point in time.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bis.formats import PARSED, Context, Unreadable
from bis.formats.tally import Tally
from bis.formats.values import Number, Volatile, Walk, fingerprint
from bis.nouns.verdict import Comparison

Read = Callable[[bytes], Any]
NESTED = 200
"""Deepest nesting of YAML."""


class Document:
    """A format that reads a whole file as one tree of values."""

    def __init__(
        self,
        name: str,
        suffixes: tuple[str, ...],
        read: Read,
        starts: tuple[bytes, ...] = (),
        volatile: Mapping[str, Volatile] | None = None,
        unordered: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.suffixes = suffixes
        self.read = read
        self.starts = starts
        self.volatile = volatile
        self.unordered = unordered

    def recognises(self, name: str, head: bytes) -> bool:
        if not name.lower().endswith(self.suffixes) or b"\0" in head:
            return False
        return not self.starts or head.lstrip().startswith(self.starts)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        walk = Walk(context, tally, self.volatile, self.unordered)
        walk.compare(self.read(read_bounded(before)), self.read(read_bounded(after)))
        return tally.settle(self.name, "the same values", "value")


def read_bounded(path: Path, limit: int = PARSED) -> bytes:
    size = path.stat().st_size
    if size > limit:
        raise Unreadable(f"{size >> 20:,} MiB are too large (limit {limit >> 20} MiB)")
    return path.read_bytes()


def read_json(data: bytes) -> Any:
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            parse_float=Number,
            parse_int=Number,
            parse_constant=Number,
            object_pairs_hook=_object,
        )
    except ValueError as error:
        raise Unreadable(f"not valid JSON ({error})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[again(key, found)] = value
    return found


def again(key: str, taken: Mapping[Any, Any]) -> str:
    """A key that is given more than once counts each time: its name, with the number of the time."""
    if key not in taken:
        return key
    low, high = 2, 4
    while f"{key} ({high})" in taken:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if f"{key} ({middle})" in taken else (low, middle)
    return f"{key} ({low})"


def read_json_lines(data: bytes) -> list[Any]:
    return [read_json(line) for line in data.splitlines() if line.strip()]


def read_toml(data: bytes) -> Any:
    try:
        return tomllib.loads(data.decode(), parse_float=Number)
    except ValueError as error:
        raise Unreadable(f"not valid TOML ({error})") from None


def read_yaml(data: bytes) -> list[Any]:
    """Every document of the file as plain values. Tags are kept as text and make nothing."""
    import yaml

    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    try:
        _not_too_deep(yaml.parse(data, loader))
        nodes = list(yaml.compose_all(data, loader))
    except yaml.YAMLError as error:
        raise Unreadable(f"not valid YAML ({' '.join(str(error).split())})") from None
    known: dict[int, Any] = {}
    return [_plain(node, known) for node in nodes]


def _not_too_deep(events: Iterable[Any]) -> None:
    """Raise Unreadable before a tree is built: libyaml's composer runs out of its stack and ends the process."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > NESTED:
            raise Unreadable(f"nested more than {NESTED} deep")


def _plain(node: Any, known: dict[int, Any]) -> Any:
    import yaml

    if id(node) in known:
        return known[id(node)]
    tag = str(node.tag).rpartition(":")[2] if str(node.tag).startswith("tag:yaml.org,2002:") else str(node.tag)
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = Number(node.value) if tag in ("int", "float") else node.value
        if tag not in ("int", "float", "str"):
            value = (tag, node.value)
    elif isinstance(node, yaml.SequenceNode):
        value = known[id(node)] = []
        value.extend(_plain(child, known) for child in node.value)
        value = value if tag == "seq" else (tag, value)
    else:
        value = known[id(node)] = {}
        for key, child in node.value:
            value[_key(_plain(key, known), value)] = _plain(child, known)
        value = value if tag == "map" else (tag, value)
    known[id(node)] = value
    return value


def _key(key: Any, taken: Mapping[Any, Any]) -> Any:
    """A key that a dict can have and that says of what type it is: 1 is not "1". A list or map by its digest, as it
    may hold itself, or billions of values in a few lines."""
    if isinstance(key, Number):
        key = ("number", str(key))
    elif isinstance(key, str):
        return again(key, taken)
    elif not (isinstance(key, tuple) and all(isinstance(part, str) for part in key)):
        key = ("key", fingerprint(key).hex())
    return again(repr(key), taken) if key in taken else key


MLMODEL = {
    "model_uuid": Volatile("id"),
    "model_id": Volatile("id"),
    "run_id": Volatile("id"),
    "utc_time_created": Volatile("time"),
    "model_size_bytes": Volatile("size of the files beside it"),
}
"""What MLflow draws anew on every save."""


class KerasMetadata(Document):
    """`metadata.json` of a `.keras` file."""

    def __init__(self) -> None:
        super().__init__("Keras metadata", (".json",), read_json, (b"{",), {"date_saved": Volatile("time")})

    def recognises(self, name: str, head: bytes) -> bool:
        return name.rpartition("/")[2] == "metadata.json" and b'"keras_version"' in head


class KerasConfig(Document):
    """`config.json` of a `.keras` file: ids of shared objects are memory addresses."""

    def __init__(self) -> None:
        super().__init__("Keras config", (".json",), read_json, (b"{",), KERAS)

    def recognises(self, name: str, head: bytes) -> bool:
        return name.rpartition("/")[2] == "config.json" and b'"registered_name"' in head


KERAS = {"shared_object_id": Volatile("address"), "date_saved": Volatile("time")}
JSON = Document("JSON", (".json", ".geojson", ".webmanifest"), read_json, (b"{", b"[", b'"', b"\xef\xbb\xbf"))
JSON_LINES = Document("JSON lines", (".jsonl", ".ndjson", ".json"), read_json_lines, (b"{", b"["))
YAML = Document("YAML", (".yaml", ".yml"), read_yaml)
TOML = Document("TOML", (".toml",), read_toml)


class MLmodel(Document):
    """The description of an MLflow model: YAML, without what is drawn anew on every save."""

    def __init__(self) -> None:
        super().__init__("MLmodel", ("mlmodel",), read_yaml, (), MLMODEL, frozenset({"skops_trusted_types"}))

    def recognises(self, name: str, head: bytes) -> bool:
        return name.rpartition("/")[2] == "MLmodel" and b"\0" not in head
