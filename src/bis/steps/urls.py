"""URLs of data: what may be recorded of one, and what reads from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, unquote_plus, urlsplit, urlunsplit

from bis.errors import UsageError
from bis.parts.secret import IN_URL, VALUE, is_secret_name
from bis.store.sources import Source

WEB: Final = ("http", "https")
BUCKETS: Final = ("s3", "gs", "az")
EXAMPLES: Final = "https://host/file.csv, s3://bucket/file.csv, s3://bucket/prefix/, gs://…, az://…, file:///folder"
SIGNED: Final = {
    "x-amz-signature": re.compile(r"x-amz-.*"),
    "x-goog-signature": re.compile(r"x-goog-.*"),
    "sig": re.compile(r"s[a-z]{1,2}|sig|spr|sktid|skoid|saoid|suoid|scid"),
    "signature": re.compile(r"signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"),
}
"""A parameter that signs a URL, in small letters -> those that belong to it: of Amazon, of Google, of Azure, and of
Amazon's and Google's older ways."""


class Cleaned(NamedTuple):
    url: str
    removed: tuple[str, ...]
    """What was a credential, in words."""


def is_typed_url(text: str) -> bool:
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text))


def local_path(url: str) -> Path | None:
    """The path that a `file://` URL means; None for any other."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{url} names a file of the machine {parts.netloc}", hint=f"file://{parts.path}")
    return Path(unquote(parts.path))


def clean(url: str) -> Cleaned:
    """The URL without credentials, which are never recorded: user and password, and what signs it. Raises UsageError
    for what nothing can be read from."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in (*WEB, *BUCKETS):
        raise UsageError(f"nothing reads data from {parts.scheme}://", hint=f"one of: {EXAMPLES}")
    if parts.scheme in BUCKETS and parts.fragment:
        raise UsageError(f"{url} has a #, which ends a URL", hint="in a name, write %23 for #")
    if not host:
        raise UsageError(f"{parts.scheme}:// without a host names no data", hint=f"one of: {EXAMPLES}")
    kept, removed = _unsigned(parts)
    if host != parts.netloc:
        removed = ["user and password" if parts.password else "user", *removed]
    return Cleaned(urlunsplit((parts.scheme, host, parts.path, "&".join(kept), "")), tuple(removed))


def _unsigned(parts: SplitResult) -> tuple[list[str], list[str]]:
    """The parameters that stay, as they are written, and the names of those that do not."""
    given = [piece for piece in parts.query.split("&") if piece]
    names = {unquote_plus(piece.partition("=")[0]).lower() for piece in given}
    signing = [pattern for mark, pattern in SIGNED.items() if mark in names]
    kept, removed = [], []
    for piece in given:
        name, _, value = piece.partition("=")
        name, value = unquote_plus(name), unquote_plus(value)
        signs = any(pattern.fullmatch(name.lower()) for pattern in signing)
        if signs or is_secret_name(name) or VALUE.search(value) or IN_URL.search(value):
            removed.append(name)
        else:
            kept.append(piece)
    return kept, removed


def as_folder(url: str) -> str:
    """The URL of many files: its path ends with a slash."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/", parts.query, ""))


def below(url: str, path: str) -> str:
    """The URL of one of many files; of a single file, its own."""
    parts = urlsplit(url)
    if not parts.path.endswith("/") or parts.scheme in WEB:
        return url
    # The path of a URL is decoded: what would be read otherwise is written otherwise.
    written = re.sub(r"[%#?]", lambda found: quote(found[0]), path)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path}{written}", parts.query, ""))


def last_name(url: str) -> str:
    parts = urlsplit(url)
    return unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.netloc


def open_source(typed: str, url: str, variables: Mapping[str, str], trusted: Collection[str] | None = ()) -> Source:
    """What reads from a URL as it was typed; `url` is what may be told of it. Nothing is asked of it yet.

    `trusted`: hosts that may be told credentials though the environment names another server or none; None: any that
    the URL names, as whoever asks has typed it. A URL that was recorded may come from anybody."""
    if urlsplit(url).scheme in WEB:
        from bis.store.sources.web import WebSource

        return WebSource(typed, url, variables)
    from bis.store.sources.bucket import BucketSource

    return BucketSource(url, url, variables, trusted)
