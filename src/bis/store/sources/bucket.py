"""An object of a bucket, or all objects with one prefix, by `obstore`: S3, Google Cloud Storage, Azure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from bis.digest import READ_SIZE, spell, unspell
from bis.errors import BisError
from bis.nouns.dataset import Sight
from bis.store.remote import REFUSED
from bis.store.remote.bucket import bucket_trouble, open_bucket
from bis.store.remote.clouds import options, stranger
from bis.store.sources import absent, cut, version_id


class BucketSource:
    """The Source protocol over a bucket. What ends with a slash is a prefix; else an object, where there is one."""

    at_once = 8

    def __init__(
        self, asked: str, url: str, variables: Mapping[str, str], trusted: Collection[str] | None = None
    ) -> None:
        """`trusted`: hosts that may be told credentials; None: any that the URL names."""
        self.url = url
        self._asked, self._variables, self._trusted = asked, variables, trusted
        self._top: tuple[Any, Any] | None = None

    def list(self) -> tuple[bool, dict[str, Sight]]:
        path = urlsplit(self._asked).path
        name = unquote(path.rpartition("/")[2])
        if name:
            self._top = self._open(_parent(self._asked))
            if found := self.look(spell(name)):
                return True, {spell(name): found}
        self._top = self._open(self._asked)
        files = self._listed()
        if not files:
            raise absent(self.url)
        return False, files

    def _listed(self) -> dict[str, Sight]:
        do, store = self._opened()
        try:
            found = [one for page in do.list(store) for one in page]
        except Exception as error:
            raise self._trouble("list", error) from error
        # What consoles make so that a prefix looks like a folder is an empty object with a slash at its end.
        return {spell(one["path"]): _sight(one) for one in found if one["path"] and not one["path"].endswith("/")}

    def look(self, path: str) -> Sight | None:
        do, store = self._opened()
        try:
            return _sight(do.head(store, unspell(path)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._trouble("read", error) from error

    def read(self, path: str) -> tuple[Sight, Iterator[bytes]]:
        do, store = self._opened()
        try:
            answer = do.get(store, unspell(path))
        except FileNotFoundError:
            raise absent(f"{self.url.rstrip('/')}/{path}" if self.url.endswith("/") else self.url) from None
        except Exception as error:
            raise self._trouble("read", error) from error
        sight = _sight(answer.meta)
        return sight, self._blocks(answer, sight)

    def _blocks(self, answer: Any, sight: Sight) -> Iterator[bytes]:
        at = 0
        try:
            for block in answer.stream(min_chunk_size=READ_SIZE):
                at += len(block)
                yield bytes(block)
        except BisError:
            raise
        except Exception as error:
            raise self._trouble("read", error) from error
        if at != sight.size:
            raise cut(self.url, f"the connection was cut after {at:,} of {sight.size:,} bytes")

    def _opened(self) -> tuple[Any, Any]:
        """Of a URL that was recorded, the slash at its end says what it is."""
        if self._top is None:
            prefix = urlsplit(self._asked).path.endswith("/")
            self._top = self._open(self._asked if prefix else _parent(self._asked))
        return self._top

    def _open(self, url: str) -> tuple[Any, Any]:
        return open_bucket(url, self._variables, self._trusted)

    def _trouble(self, doing: str, error: Exception) -> BisError:
        found, scheme = bucket_trouble(self.url, doing, error), urlsplit(self.url).scheme
        host = stranger(scheme, self._variables, options(self._asked), self._trusted)
        if found.code == REFUSED and host:
            bucket = urlsplit(self.url).netloc
            endpoint = options(self._asked)["endpoint"]
            found.because = (
                f"{host} was asked without your credentials: a record names it, and nothing of your own settings does."
            )
            found.hint = f"if you trust it with them: bis remote add trusted '{scheme}://{bucket}?endpoint={endpoint}'"
        return found


def _parent(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rpartition("/")[0] + "/", parts.query, ""))


def _sight(meta: Mapping[str, Any]) -> Sight:
    modified: datetime | None = meta.get("last_modified")
    etag = meta.get("e_tag") or ""
    if etag and not etag.endswith('"'):
        etag = f'"{etag}"'  # as Azure writes it in lists
    return Sight(
        size=meta["size"],
        etag=etag,
        version=version_id(meta.get("version")),
        modified=str(int(modified.timestamp())) if modified else "",
    )
