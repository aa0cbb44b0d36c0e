"""What is scored and what comes out, where that lies elsewhere: brought here before, sent there after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bis.digest import READ_SIZE, digest_value, short, unspell
from bis.errors import UsageError
from bis.nouns.reference import DATA, parse_data
from bis.steps.bring import bring
from bis.steps.home import Home
from bis.steps.urls import BUCKETS, clean, is_typed_url, last_name, local_path, open_source

LARGE: Final = 8 << 20


class Here(msgspec.Struct, frozen=True):
    """An input or an output as a file or a folder of this machine."""

    path: str
    """As the program is told it."""
    typed: str
    """As a person named it, without credentials."""
    brought: Path | None = None
    """What was made for it here, and is taken away at the end."""


def bring_input(
    text: str, home: Home, folder: Path, below: Path, variables: Mapping[str, str], tell: Callable[[str], None]
) -> Here:
    """A path stays as it is; a version of data and what a URL names are brought. `below`: a folder of this scoring
    alone, as others may read the same. Raises NotFound, KeepingError."""
    if text.startswith(DATA):
        return _version(text, home, below)
    if not is_typed_url(text):
        return Here(text, text)
    if path := local_path(text):
        return Here(os.fspath(path), text)
    url = clean(text).url
    top = below / short(digest_value(url), 20)
    shutil.rmtree(top, ignore_errors=True)
    tell(f"fetching {url}")
    source = open_source(text, url, variables, None)
    single, files = source.list()
    for name in sorted(files):
        place = top / (last_name(url) if single else unspell(name))
        if not place.resolve().is_relative_to(top.resolve()):
            raise UsageError(f"{url} has a file whose name leads elsewhere")
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            for block in source.read(name)[1]:
                file.write(block)
    return Here(os.fspath(top / last_name(url) if single else top), url, top)


def _version(text: str, home: Home, below: Path) -> Here:
    from datetime import UTC, datetime

    held, path = home.ledger.data.find(parse_data(text, datetime.now(UTC)))
    top = below / short(digest_value({"tree": held.version.tree, "path": path}), 20)
    brought = bring(held, path, top, home, force=True)
    return Here(os.fspath(brought.into), text, top)


def output_here(text: str, below: Path) -> Here:
    """Where an output that goes to a bucket is written first. Raises UsageError for a URL that cannot be written to."""
    if not is_typed_url(text):
        return Here(text, text)
    if path := local_path(text):
        return Here(os.fspath(path), text)
    url = clean(text).url
    if urlsplit(url).scheme not in BUCKETS or not last_name(url) or urlsplit(url).path.endswith("/"):
        raise UsageError(
            f"predictions cannot be written to {url}",
            hint="--output FILE, or one object: s3://bucket/predictions.parquet",
        )
    top = below / short(digest_value(url), 20)
    return Here(os.fspath(top / last_name(url)), url, top)


def send(here: Here, variables: Mapping[str, str]) -> None:
    """The output, into its bucket: there whole or not at all. Raises KeepingError, which says where it is kept here."""
    from bis.errors import BisError
    from bis.store.remote.bucket import bucket_trouble, open_bucket

    parts = urlsplit(here.typed)
    parent = parts._replace(path=parts.path.rpartition("/")[0] + "/").geturl()
    do, store = open_bucket(parent, variables)
    try:
        size = Path(here.path).stat().st_size
        if size <= LARGE:
            do.put(store, last_name(here.typed), Path(here.path).read_bytes(), use_multipart=False)
        else:
            do.put(store, last_name(here.typed), _blocks(Path(here.path)), use_multipart=True, chunk_size=LARGE)
    except BisError:
        raise
    except Exception as error:
        found = bucket_trouble(here.typed, "write to", error)
        found.because = f"{found.because} The predictions are kept: {here.path}".strip()
        raise found from error


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(READ_SIZE):
            yield block


def take_away(*several: Here) -> None:
    for one in several:
        if one.brought is not None:
            shutil.rmtree(one.brought, ignore_errors=True)
            with suppress(OSError):  # the next one is still in it
                one.brought.parent.rmdir()
