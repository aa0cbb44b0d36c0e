"""The files that a run made, and those of the code that it ran: a folder as a list, a file as what it is.

Whatever a file holds, looking at it runs nothing of it in the page: HTML lies in a frame that has no origin and reaches
no network, everything else is drawn from values.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bis.errors import BisError, NotFound
from bis.ledger.runs import SqlLedger
from bis.nouns.artifact import Artifact
from bis.nouns.run import Output, Run
from bis.nouns.tree import Leaf
from bis.server.desk import Desk
from bis.server.files import sent
from bis.server.pages.meant import run_meant
from bis.server.pages.page import Page, Table, page_of, status_of
from bis.server.pages.view import view_of
from bis.steps.abreast import Head, head
from bis.steps.media import media_of
from bis.steps.recognising import Recognised, model_file
from bis.steps.shallow import need
from bis.steps.uploaded import with_uploaded
from bis.store.snapshot import walk
from bis.text import size

TEXT: Final = 1 << 20
"""Bytes of a file that are shown as text."""
TABLE: Final = 8 << 20
"""Bytes of a file of rows that are read for its first rows."""
COLUMNAR: Final = 64 << 20
"""Bytes of a file of columns, which is read whole."""
ROWS: Final = 200
COLUMNS: Final = 100
CELL: Final = 200
CELLS: Final = 400
"""Cells of a notebook."""
IMAGES: Final = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/bmp", "image/avif"}
)
JSON: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')
"""Texts, signs and what else is a value."""
FRAME: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:; media-src data:; frame-ancestors 'self'; form-action 'none'; base-uri 'none'"
)
"""For a file as it is: what it does, it does in a place without an origin, and it asks nobody."""

Of = Literal["files", "code"]
"""What a run made, or the code that it ran."""
Kind = Literal["image", "audio", "video", "table", "json", "notebook", "html", "markdown", "text", "model", "binary"]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    path: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A name in a folder. A folder counts all below it."""

    name: str
    path: str
    folder: bool
    size: int
    files: int = 1
    digest: str = ""
    kept: bool = True


class NotebookCell(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    source: str
    number: int | None = None
    texts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    """As data URLs."""


class Viewed(msgspec.Struct, kw_only=True):
    """A file as what it is."""

    kind: Kind
    path: str
    size: int
    digest: str
    media: str
    text: str = ""
    language: str = ""
    columns: list[str] = []
    rows: list[list[str]] = []
    cells: list[NotebookCell] = []
    model: Recognised | None = None
    cut: bool = False
    """Whether there is more than what is here."""
    why: str = ""
    """Why it is not shown, where that is not its kind."""


class Files(msgspec.Struct, kw_only=True):
    run: Head
    of: Of
    path: str
    entries: list[Entry]
    file: Viewed | None = None

    @property
    def folders(self) -> list[tuple[str, str]]:
        """Those around it: name and path."""
        parts = PurePosixPath(self.path).parts
        return [(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)]


async def files(desk: Desk, asked: Asked) -> Files:
    return await desk.shelf.work(lambda: _files(desk, asked, "files"))


async def code(desk: Desk, asked: Asked) -> Files:
    return await desk.shelf.work(lambda: _files(desk, asked, "code"))


def _files(desk: Desk, asked: Asked, of: Of) -> Files:
    run, found = _kept_of(desk, asked.id, of)
    known = {one.path: one for one in found if not one.is_log}
    path = asked.path.strip("/")
    if one := known.get(asked.path) or known.get(path):
        return Files(run=head(run), of=of, path=one.path, entries=[], file=_viewed(desk, one))
    entries = _entries(list(known.values()), path)
    if path and not entries:
        what = "made no file" if of == "files" else "had no code"
        hint = f"bis show {run.id[:8]} --outputs" if of == "files" else f"bis restore {run.id[:8]} DIR"
        raise NotFound(f"run {run.name} {what} {path!r}", hint=hint)
    return Files(run=head(run), of=of, path=path, entries=entries)


def _kept_of(desk: Desk, id: str, of: Of) -> tuple[Run, Sequence[Output]]:
    """A run, and what it made, or its code in the same words."""
    run = run_meant(SqlLedger(desk.database, False), id)
    if desk.home is None:
        raise NotFound("this server has no store, and so no files")
    if of == "files":
        run = with_uploaded(run, desk.home)
        return run, run.outputs
    part = run.parts.get("code")
    if part is None or "tree" not in part.trees:
        raise NotFound(f"the code of {run.name} was not recorded", hint=f"bis show {run.id[:8]}")
    return run, [_as_output(leaf) for leaf in walk(desk.home.store, part.trees["tree"])]


def _as_output(leaf: Leaf) -> Output:
    entry = leaf.entry
    return Output(path=leaf.path, digest=entry.digest, size=entry.size, kept=entry.kept, target=entry.target)


def _entries(outputs: Sequence[Output], folder: str) -> list[Entry]:
    """Folders first."""
    before = f"{folder}/" if folder else ""
    folders: dict[str, list[Output]] = {}
    here = []
    for one in outputs:
        if not one.path.startswith(before):
            continue
        name, below, _ = one.path[len(before) :].lstrip("/").partition("/")
        if below:
            folders.setdefault(name, []).append(one)
        else:
            here.append(
                Entry(name=name, path=one.path, folder=False, size=one.size, digest=one.digest, kept=_kept(one))
            )
    made = [
        Entry(name=name, path=before + name, folder=True, size=sum(one.size for one in some), files=len(some))
        for name, some in folders.items()
        if name
    ]
    return [*sorted(made, key=lambda entry: entry.name), *sorted(here, key=lambda entry: entry.name)]


def _kept(one: Output) -> bool:
    return one.kept and not one.target


# -- one file --------------------------------------------------------------------------------------------------------


def _viewed(desk: Desk, one: Output) -> Viewed:
    assert desk.home
    media = media_of(one.path)
    shown = Viewed(kind="binary", path=one.path, size=one.size, digest=one.digest, media=media)
    if not _kept(one):
        return shown
    suffix = PurePosixPath(one.path).suffix.lower()
    if media in IMAGES:
        shown.kind = "image"
    elif media.startswith("audio/"):
        shown.kind = "audio"
    elif media.startswith("video/"):
        shown.kind = "video"
    elif media == "text/html":
        shown.kind = "html"
    else:
        need(desk.home, [one.digest])
        # Read as data, and opened by no framework.
        if model := model_file(one.path, Artifact(one.path, one.digest, one.size), desk.home.store):
            shown.kind, shown.model = "model", model
        elif suffix in (".parquet", ".arrow", ".feather"):
            _columnar(desk, one, shown, suffix)
        else:
            with desk.home.store.open(one.digest) as file:
                _written(file.read(TABLE if suffix in (".csv", ".tsv") else TEXT), suffix, shown)
    return shown


def _written(content: bytes, suffix: str, shown: Viewed) -> None:
    """A file of text, as far as it was read."""
    shown.cut = len(content) < shown.size
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        if not shown.cut or error.start < len(content) - 4:
            return
        text = content[: error.start].decode("utf-8")
    if "\0" in text:
        return
    shown.kind, shown.text = "text", text
    if suffix in (".csv", ".tsv"):
        _table(text, "\t" if suffix == ".tsv" else ",", shown)
    elif suffix == ".ipynb" and not shown.cut:
        _notebook(text, shown)
    elif suffix in (".md", ".markdown"):
        shown.kind = "markdown"
    elif suffix == ".json" and not shown.cut:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return  # it is text then, as it is
        shown.kind, shown.text = "json", indented(text)


def indented(text: str) -> str:
    """JSON, a value a line. Numbers and texts stay as they are written: read and written again they may be others."""
    made, deep = list[str](), 0
    tokens = JSON.findall(text)
    for before, token in itertools.pairwise(["", *tokens]):
        deep -= token in "]}"
        if before and not (before in "[{" and token in "]}") and (before in "[{," or token in "]}"):
            made.append("\n" + "  " * deep)
        made.append(f"{token} " if token == ":" else token)
        deep += token in "[{"
    return "".join(made)


def _table(text: str, delimiter: str, shown: Viewed) -> None:
    try:
        rows = list(itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), ROWS + 2))
    except csv.Error:
        return
    if rows:
        shown.kind, shown.text = "table", ""
        shown.columns = [name[:CELL] for name in rows[0][:COLUMNS]]
        shown.rows = [[cell[:CELL] for cell in row[:COLUMNS]] for row in rows[1 : ROWS + 1]]
        shown.cut = shown.cut or len(rows) > ROWS + 1 or len(rows[0]) > COLUMNS


def _columnar(desk: Desk, one: Output, shown: Viewed, suffix: str) -> None:
    try:
        import pyarrow
        from pyarrow import feather, parquet
    except ImportError:
        shown.why = "looking into it needs pyarrow where the server runs (the extra 'formats' of bis)"
        return
    assert desk.home
    if one.size > COLUMNAR:
        shown.why = f"it is larger than {size(COLUMNAR)}"
        return
    source = pyarrow.BufferReader(desk.home.store.get_bytes(one.digest))
    try:
        if suffix == ".parquet":
            table = next(parquet.ParquetFile(source).iter_batches(ROWS + 1), None)
        else:
            table = feather.read_table(source)
    except (pyarrow.ArrowException, OSError):
        return
    if table is None:
        return
    shown.kind = "table"
    shown.columns = [str(name)[:CELL] for name in table.schema.names[:COLUMNS]]
    columns = [_plain(table.column(place).slice(0, ROWS)) for place in range(len(shown.columns))]
    shown.rows = [["" if cell is None else str(cell)[:CELL] for cell in row] for row in zip(*columns, strict=True)]
    shown.cut = table.num_rows > ROWS or len(table.schema.names) > COLUMNS


def _plain(column: Any) -> list[Any]:
    """Of Arrow. What Python has no value for, such as a time in nanoseconds, comes as text, or as its type alone."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        pass
    try:
        return list(column.cast("string").to_pylist())
    except NotImplementedError:  # Arrow has no text for every type
        return [f"<{column.type}>"] * len(column)


def _notebook(text: str, shown: Viewed) -> None:
    try:
        cells = json.loads(text)["cells"]
        shown.cells = [_cell(cell) for cell in cells[:CELLS]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # it is text then
    shown.kind, shown.text = "notebook", ""
    shown.cut = len(cells) > CELLS


def _cell(cell: dict[str, Any]) -> NotebookCell:
    texts, images = [], []
    for output in cell.get("outputs") or ():
        data = output.get("data") or {}
        if "image/png" in data:
            images.append("data:image/png;base64," + "".join(_joined(data["image/png"]).split()))
        elif told := _joined(output.get("text") or data.get("text/plain") or output.get("traceback") or ""):
            texts.append(told)
    return NotebookCell(
        kind=str(cell.get("cell_type", "")),
        source=_joined(cell.get("source") or ""),
        number=cell.get("execution_count") if isinstance(cell.get("execution_count"), int) else None,
        texts=tuple(texts),
        images=tuple(images),
    )


def _joined(text: Any) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def table(shown: Files) -> Table:
    if shown.file and shown.file.kind == "table":
        return shown.file.columns, shown.file.rows
    return ("path", "folder", "size", "digest"), ((one.path, one.folder, one.size, one.digest) for one in shown.entries)


# -- as it is --------------------------------------------------------------------------------------------------------


def routes(desk: Desk) -> list[Route]:
    async def raw(request: Request) -> Response:
        try:
            of: Of = "code" if request.query_params.get("of") == "code" else "files"
            one = await desk.shelf.work(lambda: _there(desk, of, **request.path_params))
            how = _shown_as(one.path, request.query_params)
            return await sent(desk.shelf, Artifact(one.path, one.digest, one.size), request, how)
        except BisError as error:
            return page_of(request, await view_of(desk, request), "error", error, status_of(error))

    return [Route("/raw/{id}/{path:path}", raw, methods=["GET"])]


def _there(desk: Desk, of: Of, id: str, path: str) -> Output:
    run, found = _kept_of(desk, id, of)
    one = next((one for one in found if one.path == path), None)
    if one is None or not _kept(one):
        raise NotFound(f"run {run.name} kept no file {path!r}")
    assert desk.home
    need(desk.home, [one.digest])
    desk.home.store.size(one.digest)  # raises NotFound where it was collected
    return one


def _shown_as(path: str, asked: Mapping[str, str]) -> dict[str, str]:
    """Headers of a file that a page shows, or that is saved where `download` is asked for. With `v`, a part of its
    digest, the address is that of these bytes for ever."""
    media = media_of(path)
    how = "attachment" if "download" in asked else "inline"
    return {
        "Content-Type": f"{media}; charset=utf-8" if media.startswith("text/") else media,
        "Content-Security-Policy": FRAME,
        "Content-Disposition": f"{how}; filename*=utf-8''{quote(PurePosixPath(path).name, safe='')}",
        "Cache-Control": "private, max-age=31536000, immutable" if asked.get("v") else "no-cache",
    }


PAGES: Final = (
    Page("/runs/{id}/files", "files", Asked, files, table),
    Page("/runs/{id}/files/{path:path}", "files", Asked, files, table),
    Page("/runs/{id}/code", "files", Asked, code, table),
    Page("/runs/{id}/code/{path:path}", "files", Asked, code, table),
)
