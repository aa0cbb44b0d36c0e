"""URLs of remotes: which kinds there are, and what is no URL for bis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bis.errors import UsageError
from bis.store.remote import Remote

EXAMPLES = "/mnt/share/store, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, ssh://host/srv/store, http://host:5000"
SCHEMES = ("s3", "gs", "az")
"""Of buckets."""
OVER_SSH = ("ssh", "sftp")
OVER_HTTP = ("http", "https")
KEY = "for ssh://: a key, by ssh-copy-id or in ~/.ssh/config"
TOKEN = "set BIS_TOKEN, or write it into ~/.netrc"


def open_remote(url: str, variables: Mapping[str, str]) -> Remote:
    """The remote that a URL names. Nothing is asked of it yet."""
    scheme = urlsplit(url).scheme
    if scheme in SCHEMES:
        from bis.store.remote.bucket import BucketRemote

        return BucketRemote(url, variables)
    if scheme in OVER_SSH:
        from bis.store.remote.sftp import SftpRemote

        return SftpRemote(url, variables)
    if scheme in OVER_HTTP:
        from bis.store.remote.http import HttpRemote

        return HttpRemote(url, variables)
    from bis.store.remote.folder import FolderRemote

    return FolderRemote(Path(unquote(urlsplit(url).path) if scheme == "file" else url))


def checked(url: str, folder: Path) -> str:
    """The URL as it is to be kept: a folder by its whole path, seen from `folder`. Raises UsageError for what names no
    remote, and for one with a password, as the list of remotes is no place for secrets."""
    if "://" not in url:
        return str((folder / Path(url).expanduser()).resolve())
    from bis.store.remote.clouds import CREDENTIALS, options

    parts = urlsplit(url)
    if parts.scheme not in {*SCHEMES, *OVER_SSH, *OVER_HTTP, "file"}:
        raise UsageError(f"{url}: no remote has the scheme {parts.scheme}://", hint=f"one of: {EXAMPLES}")
    if parts.password is not None or (parts.username and parts.scheme in (*SCHEMES, *OVER_HTTP)):
        raise UsageError(
            f"{parts.scheme}://…@{parts.hostname}{parts.path} holds credentials, which are not kept in a URL",
            hint=TOKEN if parts.scheme in OVER_HTTP else CREDENTIALS.get(parts.scheme, KEY),
        )
    if parts.scheme != "file" and not parts.hostname:
        raise UsageError(
            f"{url} names no {'bucket' if parts.scheme in SCHEMES else 'host'}", hint=f"one of: {EXAMPLES}"
        )
    if parts.scheme in SCHEMES:
        options(url)
    if parts.scheme in OVER_SSH and not parts.path.strip("/~"):
        raise UsageError(f"{url} names no folder", hint=f"{url.rstrip('/')}/srv/store, or {url.rstrip('/')}/~/store")
    if parts.scheme in OVER_HTTP and (parts.query or parts.fragment):
        plain = f"{parts.scheme}://{parts.netloc}{parts.path}"
        raise UsageError(f"{plain} is followed by more than a path", hint="http://host:5000, as `bis server` says it")
    return url.rstrip("/")
