"""Notebooks: the sources of the cells and their outputs, in the order of the document.

Set aside, each by its rule: cell ids, execution counts and times, ids of displays and widgets, the metadata of
tools. How a stream was cut into pieces depends on timing: pieces of one stream that follow one another are joined.
An execution count says in which order cells ran by hand; a run executes them in order, and what matters of another
order shows in the outputs.
"""

from __future__ import annotations

import base64
import binascii
import io
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bis.formats import Compare, Context, Unreadable
from bis.formats.documents import read_bounded, read_json
from bis.formats.rules import LOG, NONE
from bis.formats.tally import Tally, plural
from bis.formats.text import Reading
from bis.formats.values import Volatile, Walk
from bis.nouns.verdict import Comparison
from bis.store.temporary import temporary

METADATA = {
    "papermill": Volatile("notebook metadata"),
    "widgets": Volatile("widget ids"),
    "execution": Volatile("time"),
    "execution_millis": Volatile("time"),
    "executionInfo": Volatile("time"),
    "elapsed": Volatile("time"),
    "ExecuteTime": Volatile("time"),
    "outputId": Volatile("id"),
    "id": Volatile("id"),
    "signature": Volatile("id"),
    "vscode": Volatile("notebook metadata"),
}
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "application/pdf": ".pdf", "image/gif": ".gif"}
CELL = ("cell_type", "id", "metadata", "execution_count", "source", "outputs")
OUTPUT = ("output_type", "data", "metadata", "execution_count", "transient", "ename", "evalue", "traceback")
WIDGET = "application/vnd.jupyter.widget-view+json"


class Notebook:
    name = "notebook"

    def __init__(self, compare: Compare) -> None:
        self.again = compare

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith(".ipynb") and b"\0" not in head

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = (_cells(path) for path in (before, after))
        Walk(context, tally, METADATA).compare(old[1], new[1], "metadata")
        if len(old[0]) != len(new[0]):
            tally.differ("", f"{plural(len(old[0]), 'cell')} -> {plural(len(new[0]), 'cell')}")
        for number, (one, other) in enumerate(zip(old[0], new[0], strict=False), 1):
            self._cell(one, other, context, tally, f"cell {number}")
        return tally.settle(self.name, "the same sources and outputs")

    def _cell(self, old: dict[str, Any], new: dict[str, Any], context: Context, tally: Tally, where: str) -> None:
        if old.get("cell_type") != new.get("cell_type"):
            tally.differ(where, f"{old.get('cell_type')} -> {new.get('cell_type')}")
        for key in ("id", "execution_count"):
            if old.get(key) != new.get(key):
                tally.set_aside("cell id" if key == "id" else "execution count", str(old.get(key)), str(new.get(key)))
        walk = Walk(context, tally, METADATA)
        walk.compare(old.get("metadata", {}), new.get("metadata", {}), f"{where} metadata")
        walk.compare(_rest(old, CELL), _rest(new, CELL), where)
        first, second = _joined(old.get("source", "")), _joined(new.get("source", ""))
        if first != second:
            self._text(first, second, context, tally, f"{where} source: ", NONE)
        olds, news = _outputs(old.get("outputs", [])), _outputs(new.get("outputs", []))
        for number, (one, other) in enumerate(zip_longest(olds, news), 1):
            self._output(one, other, context, tally, f"{where} output {number}")

    def _output(self, old: Any, new: Any, context: Context, tally: Tally, where: str) -> None:
        if old is None or new is None:
            tally.differ(where, f"only in the {'first' if new is None else 'second'}")
            return
        for key in sorted(old.keys() | new.keys()):
            if key not in old or key not in new:
                tally.differ(f"{where} {key}", f"only in the {'first' if key in old else 'second'}")
            elif old[key] != new[key]:
                self._data(key, old[key], new[key], context, tally, f"{where} {key}: ")

    def _data(self, mime: str, old: Any, new: Any, context: Context, tally: Tally, where: str) -> None:
        if _in_base64(mime) and isinstance(old, str) and isinstance(new, str):
            self._picture(mime, old, new, context, tally, where)
        elif mime == WIDGET:
            Walk(context, tally, {"model_id": Volatile("widget ids")}).compare(old, new, where)
        elif isinstance(old, str) and isinstance(new, str):
            self._text(old, new, context, tally, where, LOG)
        else:
            Walk(context, tally, METADATA if mime == "rest" else {}).compare(old, new, where)

    def _text(self, old: str, new: str, context: Context, tally: Tally, where: str, kinds: frozenset[str]) -> None:
        streams = (io.BytesIO(text.encode("utf-8", "surrogatepass")) for text in (old, new))
        Reading(context, tally, kinds, where=where).compare(*streams)

    def _picture(self, mime: str, old: str, new: str, context: Context, tally: Tally, where: str) -> None:
        with temporary("compare") as folder:
            paths = folder / "before", folder / "after"
            for path, text in zip(paths, (old, new), strict=True):
                try:
                    path.write_bytes(base64.b64decode(text))
                except binascii.Error as error:
                    raise Unreadable(f"a picture that is not base64 ({error})") from None
            tally.take(self.again(f"output{SUFFIXES.get(mime, '')}", *paths, context.inside()), where.rstrip(": "))


def _in_base64(mime: str) -> bool:
    return mime in SUFFIXES or (mime.startswith(("image/", "audio/", "video/")) and not mime.endswith("xml"))


def _cells(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The cells, and what the notebook says of itself."""
    book = read_json(read_bounded(path))
    cells = book.get("cells") if isinstance(book, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise Unreadable("no notebook of version 4")
    head = {key: value for key, value in book.items() if key != "cells"}
    return cells, head


def _joined(text: Any) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def _outputs(outputs: Any) -> list[dict[str, Any]]:
    """The outputs as mime type -> data. Streams that follow one another are joined, each of its kind."""
    found: list[dict[str, Any]] = []
    streams: dict[str, Any] = {}
    for output in outputs if isinstance(outputs, list) else []:
        kind = output.get("output_type")
        if kind == "stream":
            key = f"<{output.get('name')}>"
            streams[key] = streams.get(key, "") + _joined(output.get("text", ""))
            if rest := _rest(output, ("output_type", "name", "text", "metadata")):
                streams["rest"] = [*streams.get("rest", []), rest]
            continue
        if streams:
            found.append(streams)
            streams = {}
        if kind == "error":
            traceback = "\n".join(map(str, output.get("traceback", [])))
            error = f"{output.get('ename')}: {output.get('evalue')}"
            found.append({"error": error, "traceback": traceback, "rest": _rest(output, OUTPUT)})
        else:
            shown = {mime: _content(mime, data) for mime, data in output.get("data", {}).items()}
            found.append({**shown, "type": str(kind), "rest": [_rest(output, OUTPUT), output.get("metadata", {})]})
    if streams:
        found.append(streams)
    return found


def _rest(found: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in known}


def _content(mime: str, data: Any) -> Any:
    if isinstance(data, list) and all(isinstance(line, str) for line in data) and not mime.endswith("json"):
        return "".join(data)
    return data
