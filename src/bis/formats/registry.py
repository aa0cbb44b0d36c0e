"""The list of formats, and the one way to compare two files.

Same bytes: identical. Else the first format of the list that recognises both and can read both says whether
they mean the same. Else bytes, which differ. A new format is one module and one line here.
"""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec

from bis.formats import DEPTH, HEAD, Budget, Context, Format, Unreadable
from bis.formats.archives import Tar, Zip, packed
from bis.formats.binary import different, same_bytes
from bis.formats.boosting import LightGbm, Ubjson
from bis.formats.bundles import BundleData, BundleIndex, Fingerprint, SavedModel
from bis.formats.columns import Columnar
from bis.formats.databases import Sqlite
from bis.formats.documents import JSON, JSON_LINES, TOML, YAML, KerasConfig, KerasMetadata, MLmodel
from bis.formats.figures import Pdf, Svg
from bis.formats.hdf5 import Hdf5
from bis.formats.images import Pillow, Png
from bis.formats.notebooks import Notebook
from bis.formats.npy import Npy
from bis.formats.pages import Html
from bis.formats.pickles import Pickle
from bis.formats.protobufs import Events, Onnx
from bis.formats.rules import STRICT
from bis.formats.skops import Skops
from bis.formats.tables import Table
from bis.formats.tensors import IGNORED, Safetensors, ScriptCode, TorchLegacy, TorchZip, with_tensors
from bis.formats.text import Single, Text
from bis.nouns.verdict import Comparison


def compare(name: str, before: Path, after: Path, context: Context) -> Comparison:
    """Whether two files are the same, at which level, and what differs or was set aside.

    `name` is the name of the output (`models/a.pkl`, `<stdout>`): the paths may lie anywhere and are only read.
    Never raises for what the files hold; OSError when a file itself cannot be read.
    """
    if same_bytes(before, after):
        return Comparison(same=True, level="bytes", why="the same bytes")
    context = msgspec.structs.replace(context, name=name, budget=context.budget if context.depth else Budget())
    head, other = _head(before), _head(after)
    reasons: list[str] = []
    for format in FORMATS if context.depth <= DEPTH else ():
        if not (format.recognises(name, head) and format.recognises(name, other)):
            continue
        try:
            return _noted(format.compare(before, after, context), reasons)
        except Unreadable as error:
            reasons.append(f"not compared as {format.name}: {error}")
        except Exception as error:  # a foreign file may be damaged in any way, and is then compared in the next one
            if isinstance(error, OSError) and error.errno in TROUBLE:
                raise
            reasons.append(f"not readable as {format.name} ({type(error).__name__}: {error})"[:200])
    return different(before, after, "; ".join(reasons))


def _noted(found: Comparison, reasons: list[str]) -> Comparison:
    """What was found, and why no format that fits better found it."""
    if found.same or not reasons:
        return found
    return msgspec.structs.replace(found, detail="\n".join((*found.detail.splitlines(), *reasons)))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


TROUBLE = (errno.ENOENT, errno.EACCES, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS)
"""Errors of the file system; any other comes from what a file holds (a seek to nowhere)."""
CSV = Table("CSV", (".csv",), "")
TSV = Table("TSV", (".tsv", ".tab"), "\t")

DATA = (
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".yaml",
    ".yml",
    ".toml",
    ".xml",
    ".ini",
    ".cfg",
    ".arff",
    ".svm",
    ".eps",
    ".ps",
    ".dot",
)
"""Names of data: read as text, no duration in them is a measurement of bis' to set aside."""

FORMATS: tuple[Format, ...] = (
    Npy(),
    Png(),
    Pillow(),
    Svg(),
    Pdf(),
    Zip(compare, "npz", suffixes=(".npz",)),
    Skops(),
    TorchZip(compare),
    Zip(compare, "PyTorch export", IGNORED, (".pt2",)),
    Zip(compare),
    *packed(compare),
    Tar(compare),
    TorchLegacy(),
    Pickle(with_tensors),
    Safetensors(),
    Hdf5(),
    Ubjson(),
    LightGbm(),
    ScriptCode(),
    Sqlite(),
    Columnar("Parquet", b"PAR1"),
    Columnar("Arrow", b"ARROW1"),
    Events(),
    Onnx(),
    SavedModel(),
    Fingerprint(),
    BundleIndex(),
    BundleData(),
    Notebook(compare),
    Html(),
    MLmodel(),
    KerasMetadata(),
    KerasConfig(),
    JSON,
    JSON_LINES,
    YAML,
    TOML,
    CSV,
    TSV,
    Single("process id file", r"(?:\.pid|\.lock|/lock)$", r"\d{1,10}", "process id"),
    Single("run name file", r"/mlflow\.runName$", r"[a-z]+-[a-z]+-\d{1,4}", "run name"),
    Text("data as text", STRICT, DATA),
    Text(),
)
"""In the order in which they are asked: the more special first."""
