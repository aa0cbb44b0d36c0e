"""Kedro: versioned data sets, `<filepath>/<version>/<name of the file>`, and the catalogs that declare them.

A version is named by its time stamp in UTC, to the millisecond, with points for colons, as a path can hold. Kedro
keeps no hash: the last name in the order of text is the latest version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from bis.foreign import not_understood

STAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)\.(\d\d)\.(\d\d)\.(\d{3}|\d{6})Z")
TYPES = {
    ".csv": "pandas.CSVDataset",
    ".parquet": "pandas.ParquetDataset",
    ".feather": "pandas.FeatherDataset",
    ".json": "json.JSONDataset",
    ".yaml": "yaml.YAMLDataset",
    ".yml": "yaml.YAMLDataset",
    ".xlsx": "pandas.ExcelDataset",
    ".pkl": "pickle.PickleDataset",
    ".pickle": "pickle.PickleDataset",
    ".txt": "text.TextDataset",
    ".md": "text.TextDataset",
}
"""Suffix -> the type of data set that reads such a file."""
ENVIRONMENTS = ("base", "local")
"""Folders of `conf/` in the order in which Kedro reads them: a later one wins."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a catalog that is versioned and lies in a folder of this machine."""

    name: str
    type: str
    filepath: str
    """As written: relative to the project, or absolute."""
    metadata: dict[str, Any] = {}


# Versions ----------------------------------------------------------------------------------------------------------


def version_name(moment: datetime) -> str:
    """The name of a version that was made then. Raises ValueError for a moment without time zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment without time zone names no version")
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H.%M.%S.%f")
    return f"{text[:-3]}Z"


def version_moment(name: str) -> datetime | None:
    """When a version was made, by its name; None for a name that is no time stamp, which Kedro allows."""
    shape = STAMP.fullmatch(name)
    if not shape:
        return None
    try:
        return datetime.fromisoformat(f"{shape[1]}T{shape[2]}:{shape[3]}:{shape[4]}.{shape[5]}+00:00")
    except ValueError:
        return None


def is_version(name: str) -> bool:
    """Whether Kedro accepts this as the name of a version: one plain component of a path."""
    return bool(name.strip()) and name not in (".", "..") and "/" not in name and "\\" not in name


def version_place(filepath: str, version: str) -> str:
    """Where the content of a version lies."""
    if not is_version(version):
        raise not_understood(f"the version {version!r}", "it is not one plain name")
    return f"{filepath}/{version}/{PurePosixPath(filepath).name}"


def versions(filepath: Path) -> list[str]:
    """The versions that are there, oldest first, as Kedro sorts them."""
    if not filepath.is_dir():
        return []
    return sorted(path.name for path in filepath.iterdir() if (path / filepath.name).exists())


def version_of(path: str) -> str:
    """The version that a file belongs to by where it lies: `…/cars.csv/2026-05-03T10.11.12.123Z/cars.csv`, or, of a
    folder, below it; empty for every other place."""
    parts = PurePosixPath(path).parts
    for name, version, again in zip(parts, parts[1:], parts[2:], strict=False):
        if name == again and version_moment(version):
            return version
    return ""


def find_versioned(folder: Path) -> Iterator[Path]:
    """What below a folder has the layout of a versioned data set, whether or not a catalog declares it."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir() or path.is_symlink() or path.name.startswith("."):
            continue
        if any(version_moment(version) for version in versions(path)):
            yield path
        else:
            yield from find_versioned(path)


# Catalogs ----------------------------------------------------------------------------------------------------------


def read_catalog(text: str, name: str) -> list[Dataset]:
    """The versioned data sets that a catalog declares, with their paths as written. Entries that are patterns
    (`{name}`), and paths with variables (`${…}`) or in other places than a folder, are left out.
    Raises UsageError for what is no catalog."""
    import yaml

    try:
        whole = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise not_understood(name, " ".join(str(error).split())) from None
    if whole is None:
        return []
    if not isinstance(whole, dict):
        raise not_understood(name, "it is no mapping")
    return [dataset for key, entry in whole.items() if (dataset := _dataset(str(key), entry))]


def catalogs(project: Path) -> list[Path]:
    """The catalog files of a project."""
    found = []
    for environment in ENVIRONMENTS:
        folder = project / "conf" / environment
        found += sorted({*folder.glob("catalog*.y*ml"), *folder.glob("catalog*/**/*.y*ml")})
    return found


def declared(project: Path) -> dict[str, Dataset]:
    """The versioned data sets that a project's catalogs declare, by name."""
    return {
        dataset.name: dataset
        for file in catalogs(project)
        for dataset in read_catalog(file.read_text("utf-8", "replace"), str(file))
    }


def write_entry(name: str, filepath: str) -> str:
    """The lines of a catalog that declare a versioned data set; empty when its suffix tells no type."""
    import yaml

    kind = TYPES.get(PurePosixPath(filepath).suffix.lower())
    if kind is None:
        return ""
    entry = {name: {"type": kind, "filepath": filepath, "versioned": True}}
    return str(yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=10_000))


def _dataset(name: str, entry: Any) -> Dataset | None:
    if not isinstance(entry, Mapping) or entry.get("versioned") is not True or "{" in name:
        return None
    # A dataset of several files (`partitions.PartitionedDataset`) is not versioned as one: it has a `path`.
    filepath = entry.get("filepath")
    if not isinstance(filepath, str) or "${" in filepath or "{" in filepath:
        return None
    filepath = filepath.removeprefix("file://")
    metadata = entry.get("metadata")
    if "://" in filepath:
        return None
    kind = entry.get("type")
    return Dataset(
        name=name,
        type=kind if isinstance(kind, str) else "",
        filepath=filepath,
        metadata=metadata if isinstance(metadata, dict) else {},
    )
