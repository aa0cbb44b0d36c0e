"""A remote that is a bucket of S3, Google Cloud Storage or Azure, by `obstore`.

A pack is one object. It appears whole or not at all, so no temporary names are needed; nor are conditional puts, which
servers understand in different ways: whoever puts a name that is there already puts the same bytes.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from bis.errors import BisError, KeepingError, UsageError
from bis.store.packs import SUFFIX
from bis.store.remote import NO_CLIENT, gone, refused, unreachable

LARGE: Final = 8 << 20
"""More than so many bytes are put in several parts."""
PARTS: Final = 3
"""Parts under way at once, for each pack."""
PATIENCE: Final = timedelta(seconds=20)
"""So long a request is tried again; then the person decides."""
SCHEMES: Final = {"s3": "S3", "gs": "Google Cloud Storage", "az": "Azure"}
METADATA: Final = "169.254.169.254"
"""Where a machine of a cloud is asked for credentials when nothing else has any."""
STATUS: Final = re.compile(r"status code: (\d{3})")
CODE: Final = re.compile(r"<Code>(\w+)</Code>")
"""What a server says of an error, in the words of its client."""
OPTIONS: Final = {"endpoint": "endpoint", "region": "region"}


class BucketRemote:
    """The Remote protocol over a bucket. Credentials are those of the environment or, for S3, of the AWS files."""

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
        except FileNotFoundError:
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

    def write(self, name: str, size: int, blocks: Iterator[bytes]) -> None:
        path = f"packs/{name}"
        try:
            if size <= LARGE:
                self._do.put(self._store, path, b"".join(blocks), use_multipart=False)
            else:
                self._do.put(self._store, path, blocks, use_multipart=True, chunk_size=LARGE, max_concurrency=PARTS)
        except BisError:
            raise
        except Exception as error:
            raise self._trouble("write to", error) from error

    def _trouble(self, doing: str, error: Exception) -> BisError:
        return bucket_trouble(self.url, doing, error)

    def close(self) -> None:
        pass


def open_bucket(url: str, variables: Mapping[str, str]) -> tuple[Any, Any]:
    """The module that speaks to buckets, and what the URL names in one. Nothing is asked of it yet."""
    try:
        import obstore
        from obstore.store import from_url
    except ImportError:
        raise KeepingError(
            f"{url} needs the package obstore, which is not installed",
            hint="uv tool install 'bis[remote]', or pip install obstore where bis is",
            code=NO_CLIENT,
        ) from None
    make: Any = from_url
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query))
    if wrong := sorted(set(asked) - set(OPTIONS)):
        raise UsageError(f"{url}: no option {wrong[0]}", hint=f"one of {', '.join(OPTIONS)}")
    config = _amazon(variables, asked) if parts.scheme == "s3" else asked
    plain = config.get("endpoint", "").startswith("http://")
    try:
        store = make(
            urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
            config=config or None,
            client_options={"allow_http": plain, "timeout": timedelta(minutes=5), "connect_timeout": "10s"},
            retry_config={"max_retries": 6, "retry_timeout": PATIENCE},
        )
    except Exception as error:
        raise UsageError(f"{url} cannot be used: {_first_line(error)}", hint="bis remote add --help") from None
    return obstore, store


def bucket_trouble(url: str, doing: str, error: Exception) -> BisError:
    """What went wrong at a bucket, in words for a person."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    said = _first_line(error)
    status, code = STATUS.search(said), CODE.search(said)
    known = code[1] if code else said
    if METADATA in said:
        return refused(url, doing, "no credentials were found", _credentials(urlsplit(url).scheme))
    if isinstance(error, FileNotFoundError) or (status and status[1] == "404"):
        return refused(url, doing, known, "make the bucket first: bis makes none")
    denied = isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError))
    if denied or (status and status[1] in ("401", "403")):
        return refused(url, doing, known, _credentials(urlsplit(url).scheme))
    return unreachable(url, doing, said)


def _amazon(variables: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """Credentials, region and endpoint: of the environment, else of `~/.aws/credentials` and `~/.aws/config`. What else
    the environment may say, obstore asks for itself."""
    found: dict[str, str] = {}
    profile = variables.get("AWS_PROFILE", "default")
    home = Path(variables.get("HOME", "/nonexistent")) / ".aws"
    secret = _section(variables.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", (profile,))
    config = _section(variables.get("AWS_CONFIG_FILE") or home / "config", (f"profile {profile}", profile))
    told = variables if "AWS_ACCESS_KEY_ID" in variables else {}
    for key in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"):
        if value := told.get(key.upper()) if told else secret.get(key) or config.get(key):
            found[key] = value
    if region := variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or config.get("region"):
        found["region"] = region
    if (
        endpoint := variables.get("AWS_ENDPOINT_URL_S3")
        or variables.get("AWS_ENDPOINT_URL")
        or config.get("endpoint_url")
    ):
        found["endpoint"] = endpoint
    return {**found, **asked}


def _section(path: str | Path, names: tuple[str, ...]) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, "utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}
    return next((dict(parser[name]) for name in names if parser.has_section(name)), {})


def _credentials(scheme: str) -> str:
    if scheme == "gs":
        return "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
    if scheme == "az":
        return "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
    return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for a profile in ~/.aws/credentials"


def _first_line(error: Exception) -> str:
    """What a person can use of it: the text goes on with how it was found."""
    text = str(error).split("\n\nDebug source")[0].strip()
    return " ".join(text.split())[:300]
