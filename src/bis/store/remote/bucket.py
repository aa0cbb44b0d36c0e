"""A remote that is a bucket of S3, Google Cloud Storage or Azure, by `obstore`.

A pack is one object. It appears whole or not at all, so no temporary names are needed; nor are conditional puts, which
servers understand in different ways: whoever puts a name that is there already puts the same bytes.

obstore raises errors of many kinds, and of its own: whatever comes is told in words by `bucket_trouble`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from bis import extras
from bis.errors import BisError, KeepingError, UsageError
from bis.store.packs import SUFFIX
from bis.store.remote import NO_CLIENT, Block, gone, refused, unreachable
from bis.store.remote.clouds import CREDENTIALS, NO_ACCOUNT, configure, options, server

LARGE: Final = 8 << 20
"""More than so many bytes are put in several parts."""
PARTS: Final = 3
"""Parts under way at once, for each pack."""
PATIENCE: Final = timedelta(seconds=20)
"""So long a request is tried again; then the person decides."""
METADATA: Final = "169.254.169.254"
"""Where a machine of a cloud is asked for credentials when nothing else has any."""
STATUS: Final = re.compile(r"status code: (\d{3})")
LATER: Final = ("408", "429")
"""Of what a server refuses, what it may allow soon."""
CODE: Final = re.compile(r"<Code>(\w+)</Code>")
"""What a server says of an error, in the words of its client."""
GENERIC: Final = re.compile(r"^Generic \w+ error: ")
NO_LOGIN: Final = ("az account get-access-token", "performing token request")
"""What a client says when it could not come by credentials."""
NO_ANSWER: Final = "error sending request"
OVERTAKEN: Final = "InvalidBlockList"
"""What Azure says to one who puts an object in parts while another finishes it: the parts of both are gone, and the
object is there."""
NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
MISSING: Final = {
    "s3": "look at the name; the bucket of a remote you make first: bis makes none",
    "gs": "look at the name; the bucket of a remote you make first: bis makes none",
    "az": "look at the name, az://CONTAINER/PREFIX, and the account; the container you make first: bis makes none",
}


class BucketRemote:
    """The Remote protocol over a bucket. Credentials are those of the environment and of the files of each cloud's
    tools."""

    at_once = 4

    def __init__(self, url: str, variables: Mapping[str, str]) -> None:
        self.url = url
        self._do, self._store = open_bucket(url, variables)

    def list(self) -> dict[str, int]:
        try:
            pages = self._do.list(self._store, prefix="packs")
            found = [one for page in pages for one in page]
        except Exception as error:
            raise self._trouble("list", error) from error
        names = {one["path"].rpartition("/")[2]: one["size"] for one in found}
        return {name: size for name, size in names.items() if name.endswith(SUFFIX)}

    def format(self) -> str:
        try:
            return bytes(self._do.get(self._store, "format").bytes()).decode("utf-8", "replace")
        except FileNotFoundError as error:
            if any(code in str(error) for code in NO_BUCKET):
                raise self._trouble("read", error) from error
            return ""
        except Exception as error:
            raise self._trouble("read", error) from error

    def declare(self, text: str) -> None:
        try:
            self._do.put(self._store, "format", text.encode(), use_multipart=False)
        except Exception as error:
            raise self._trouble("write to", error) from error

    def read(self, name: str, start: int, size: int) -> bytes:
        try:
            if start:
                return bytes(self._do.get_range(self._store, f"packs/{name}", start=start, length=size))
            # Some servers answer a range that is all with no range, which the client takes for a fault.
            return bytes(self._do.get(self._store, f"packs/{name}").bytes())[:size]
        except FileNotFoundError:
            raise gone(self.url, name) from None
        except Exception as error:
            raise self._trouble("read", error) from error

    def part(self, name: str, start: int, size: int) -> bytes:
        """As `read`, of what is not all of the pack."""
        try:
            return bytes(self._do.get_range(self._store, f"packs/{name}", start=start, length=size))
        except FileNotFoundError:
            raise gone(self.url, name) from None
        except Exception as error:
            raise self._trouble("read", error) from error

    def write(self, name: str, size: int, blocks: Iterator[Block]) -> None:
        path, parts = f"packs/{name}", map(bytes, blocks)
        try:
            if size <= LARGE:
                self._do.put(self._store, path, b"".join(parts), use_multipart=False)
            else:
                self._do.put(self._store, path, parts, use_multipart=True, chunk_size=LARGE, max_concurrency=PARTS)
        except BisError:
            raise
        except Exception as error:
            if not (OVERTAKEN in str(error) and self._holds(path, size)):
                raise self._trouble("write to", error) from error

    # What lies beside the store, below folders of other names.

    def note(self, path: str, text: str) -> None:
        try:
            self._do.put(self._store, path, text.encode(), use_multipart=False)
        except Exception as error:
            raise self._trouble("write to", error) from error

    def noted(self, path: str) -> str | None:
        """None where nothing is."""
        try:
            return bytes(self._do.get(self._store, path).bytes()).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._trouble("read", error) from error

    def notes(self, folder: str) -> dict[str, datetime]:
        """The paths in a folder, with the times of their last change."""
        try:
            found = [one for page in self._do.list(self._store, prefix=folder) for one in page]
            return {one["path"]: one["last_modified"] for one in found}
        except Exception as error:
            raise self._trouble("list", error) from error

    def forget(self, path: str) -> None:
        try:
            self._do.delete(self._store, path)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise self._trouble("write to", error) from error

    def _holds(self, path: str, size: int) -> bool:
        try:
            return int(self._do.head(self._store, path)["size"]) == size
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._trouble("read", error) from error

    def _trouble(self, doing: str, error: Exception) -> BisError:
        return bucket_trouble(self.url, doing, error)

    def close(self) -> None:
        pass


def open_bucket(url: str, variables: Mapping[str, str], trusted: Collection[str] | None = None) -> tuple[Any, Any]:
    """The module that speaks to buckets, and what the URL names in one. Nothing is asked of it yet. `trusted`: see
    `configure`."""
    try:
        import obstore
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError:
        raise KeepingError(
            f"{url} needs the package obstore, which is not installed",
            hint=extras.what_to_type("remote"),
            code=NO_CLIENT,
        ) from None
    parts = urlsplit(url)
    make: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[parts.scheme]
    config = configure(parts.scheme, variables, options(url), trusted)
    if parts.scheme == "az" and not {"account_name", "use_emulator"} & set(config):
        more = "&" if parts.query else "?"
        hint = f"set AZURE_STORAGE_ACCOUNT_NAME, or write {url}{more}account=NAME"
        raise UsageError(f"{url} cannot be used: {NO_ACCOUNT}", hint=hint)
    try:
        store = make(
            parts.netloc,
            prefix=unquote(parts.path).strip("/") or None,
            config=config or None,
            client_options={
                "allow_http": server(config).startswith("http://"),
                "timeout": timedelta(minutes=5),
                "connect_timeout": "10s",
            },
            retry_config={"max_retries": 6, "retry_timeout": PATIENCE},
        )
    except Exception as error:
        raise UsageError(f"{url} cannot be used: {_short(_said(error))}", hint=CREDENTIALS[parts.scheme]) from None
    return obstore, store


def bucket_trouble(url: str, doing: str, error: Exception) -> BisError:
    """What went wrong at a bucket, in words for a person."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    said, scheme = _said(error), urlsplit(url).scheme
    status, code = STATUS.search(said), CODE.search(said)
    known = code[1] if code else _short(said)
    if METADATA in said:
        return refused(url, doing, "no credentials were found", CREDENTIALS[scheme])
    denied = isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError))
    if denied or _no_login(said) or (status and status[1] in ("401", "403")):
        return refused(url, doing, known, CREDENTIALS[scheme])
    if isinstance(error, FileNotFoundError) or (status and status[1] == "404"):
        return refused(url, doing, known, MISSING[scheme])
    if status and status[1].startswith("4") and status[1] not in LATER:
        return refused(url, doing, known, "look at the URL")
    return unreachable(url, doing, _short(said))


def _no_login(said: str) -> bool:
    return any(words in said for words in NO_LOGIN) and NO_ANSWER not in said


def _said(error: Exception) -> str:
    """What a person can use of it: the text goes on with how it was found."""
    return " ".join(GENERIC.sub("", str(error).split("\n\nDebug source")[0].strip()).split())


def _short(said: str) -> str:
    return said[:300]
