"""Croissant: a description of a data set in JSON-LD (mlcommons.org/croissant), with a SHA-256 for each of its files.

Written as version 1.1 wants it. Read leniently: descriptions of all versions are about, in short and in expanded
names, and some say a checksum that is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from bis.foreign import is_inside, not_understood

CONFORMS = "http://mlcommons.org/croissant/1.1"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "annotation": "cr:annotation",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "excludes": "cr:excludes",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "value": "cr:value",
}
FORMATS = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
}
ANY = "application/octet-stream"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a described data set."""

    path: str
    """Its name in the data set, with `/`; empty where the description gives it none that could be one."""
    url: str = ""
    """Where it is: relative to the description, or an address."""
    size: int | None = None
    sha256: str = ""
    """Empty where the description says none, or something that is no SHA-256."""
    md5: str = ""
    format: str = ANY
    inside: tuple[str, ...] = ()
    """What it is contained in (an archive, by its id)."""


class Description(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    files: tuple[File, ...] = ()
    description: str = ""
    version: str = ""
    published: str = ""
    """A date or time stamp."""
    license: str = ""
    url: str = ""
    notes: tuple[str, ...] = ()
    """What was left out while reading, and why."""


def write(whole: Description) -> str:
    """The description as JSON-LD."""
    about: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": whole.name,
        "description": whole.description or whole.name,
    }
    for key, value in (("version", whole.version), ("datePublished", whole.published), ("license", whole.license)):
        about |= {key: value} if value else {}
    about |= {"url": whole.url} if whole.url else {}
    about["distribution"] = [_file_object(file, index) for index, file in enumerate(whole.files)]
    return json.dumps(about, indent=2, ensure_ascii=False) + "\n"


def read(text: str, name: str) -> Description:
    """Raises UsageError for what is no description of a data set; what is odd in one becomes a note."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise not_understood(name, f"it is no JSON ({error})") from None
    whole = _dataset(whole)
    if whole is None:
        raise not_understood(name, "it describes no data set (no object with a distribution)")
    notes: list[str] = []
    files = [file for row in _list(_get(whole, "distribution")) if (file := _file(row, notes))]
    return Description(
        name=_text(_get(whole, "name")) or "data",
        files=tuple(files),
        description=_text(_get(whole, "description")),
        version=_text(_get(whole, "version")),
        published=_text(_get(whole, "datePublished")),
        license=_text(_get(whole, "license")),
        url=_text(_get(whole, "url")),
        notes=tuple(notes),
    )


def encoding(path: str) -> str:
    """The media type of a file by its suffix."""
    return FORMATS.get(re.sub(r".*(\.[^./]+)$", r"\1", path).lower(), ANY)


def local_place(file: File) -> str:
    """Where a file lies relative to its description; empty when that is elsewhere, or leads out of the folder."""
    parts = urlsplit(file.url)
    place = unquote(parts.path) if not parts.scheme and not parts.netloc else ""
    while place.startswith("./"):
        place = place[2:]
    return place if is_inside(place) else ""


def beside(files: Iterable[tuple[str, int, str]]) -> tuple[File, ...]:
    """Files given as path, size and SHA-256, which lie in a folder `data/` beside their description."""
    return tuple(
        File(path=path, url=f"data/{quote(path)}", size=size, sha256=sha256, format=encoding(path))
        for path, size, sha256 in files
    )


def _file_object(file: File, index: int) -> dict[str, Any]:
    # No id may have white space in it, not even escaped; with the number, none is there twice.
    plain = re.sub(r"\s", "_", file.path)
    label = file.path if plain == file.path else f"{plain}-{index}"
    row: dict[str, Any] = {"@type": "cr:FileObject", "@id": label, "name": file.path, "contentUrl": file.url}
    row |= {} if file.size is None else {"contentSize": f"{file.size} B"}
    row["encodingFormat"] = file.format
    row |= {"sha256": file.sha256} if file.sha256 else {}
    return row | ({"md5": file.md5} if file.md5 else {})


def _dataset(whole: Any) -> dict[str, Any] | None:
    """The object with the distribution, which may lie in a list or a graph."""
    if isinstance(whole, dict) and _get(whole, "distribution") is not None:
        return whole
    if isinstance(whole, dict):
        whole = whole.get("@graph")
    return next((found for each in whole if (found := _dataset(each))), None) if isinstance(whole, list) else None


def _get(row: Mapping[str, Any], name: str) -> Any:
    """A property, as `name`, `sc:name`, `cr:name` or by its whole address."""
    for key, value in row.items():
        if re.split(r"[:/#]", key)[-1] == name:
            return value
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    """A value as text: the first of several, `@value` of a literal, `@id` or `url` of an object."""
    value = next(iter(value), None) if isinstance(value, list) else value
    if isinstance(value, dict):
        value = value.get("@value") or value.get("@id") or value.get("url") or value.get("name")
    return value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else ""


def _file(row: Any, notes: list[str]) -> File | None:
    if not isinstance(row, dict):
        return None
    label = _text(row.get("@id")) or _text(_get(row, "name"))
    kind = re.split(r"[:/#]", _text(row.get("@type")))[-1]
    if kind == "FileSet":
        notes.append(f"{label}: a set of files inside an archive or folder is not listed file by file")
        return None
    inside = tuple(filter(None, (_text(each) for each in _list(_get(row, "containedIn")))))
    sha256 = _checksum(_text(_get(row, "sha256")), 64, f"{label}: its sha256", notes)
    url = _text(_get(row, "contentUrl"))
    file = File(
        path="",
        url=url,
        size=_size(_text(_get(row, "contentSize"))),
        sha256=sha256,
        md5=_checksum(_text(_get(row, "md5")), 32, f"{label}: its md5", notes),
        format=_text(_get(row, "encodingFormat")) or ANY,
        inside=inside,
    )
    name = _text(_get(row, "name"))
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    return msgspec.structs.replace(file, path=next(filter(is_inside, (name, label, last)), ""))


def _checksum(value: str, length: int, what: str, notes: list[str]) -> str:
    plain = value.strip().lower()
    if re.fullmatch(f"[0-9a-f]{{{length}}}", plain):
        return plain
    if plain:
        notes.append(f"{what} is {value!r}, which is none, and is not checked")
    return ""


def _size(text: str) -> int | None:
    """A size in bytes; None for one that is rounded to a larger unit, as many descriptions have it."""
    shape = re.fullmatch(r"\s*([0-9]+)\s*(b|B|bytes)?\s*", text)
    return int(shape[1]) if shape else None
