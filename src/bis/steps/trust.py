"""Trust: which servers are told the user's credentials.

A `bis.toml` that came with somebody's project may name any server. Secrets that are not for one host alone (a token in
a variable, the keys of a cloud) go to it only when this user named it on this machine: by `bis remote add`, `bis clone`
or `bis remote trust`, in a variable, in a settings file of their own. What was named is kept in a file of the user's,
outside every project, as a project may bring a `.bis` along. The same goes for the ledger and the store that a project
names: PGPASSWORD, and the keys of a cloud, are for those that the user named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from bis.errors import UsageError, explains
from bis.ledger.places import on_server
from bis.settings import FOLDER, Settings, load_settings
from bis.steps.remotes import FILE as REMOTES
from bis.steps.remotes import choose, remotes
from bis.store.remote.address import OVER_HTTP
from bis.store.remote.clouds import ANONYMOUS, OPTIONS, configure, options, skips, stranger
from bis.store.remote.http import TOKENS
from bis.store.trouble import shown, trouble

FILE: Final = "trusted"
VARIABLE: Final = "BIS_TRUST"
"""Servers that are trusted, with blanks or commas in between: for CI, where nobody types."""
NOT_TRUSTED = explains("B130", "A project names a server that this user has not named: it is told no credentials.")


def choose_trusted(name: str, project: Path, settings: Settings, variables: Mapping[str, str]) -> tuple[str, str]:
    """As `choose`. Raises UsageError where secrets would go to a server that only the project names. A URL is the word
    of whoever types it."""
    name, url = choose(name, project, settings)
    server = server_of(url)
    if not server or name not in remotes(project, settings):
        return name, url
    if server in trusted(variables) or not _would_tell(url, variables):
        return name, url
    by = _source(name, project, settings)
    raise UsageError(
        f"{server} is told no credentials: the remote {name} is named by {by}, and not by you",
        because="Whoever wrote that may have meant to get them.",
        hint=f"if you trust it: bis remote trust {name}; on CI, {VARIABLE}={server}",
        code=NOT_TRUSTED,
    )


def demand_endpoint(scheme: str, endpoint: str, file: str, variables: Mapping[str, str]) -> None:
    """Raises UsageError where the keys of a cloud would go to a server that only this file of a project names."""
    server = _origin(endpoint)
    if _tells(scheme, variables, {"endpoint": endpoint}) and server not in trusted(variables):
        raise UsageError(
            f"{server} is told no credentials: it is named by {file}, and not by you; if you trust it:  "
            f"bis remote trust {server}",
            code=NOT_TRUSTED,
        )


def demand_places(project: Path, settings: Settings, variables: Mapping[str, str]) -> None:
    """Raises UsageError where secrets would go to the server of a ledger, or of a store in a bucket, that only the
    files of a project name."""
    own = _own(variables)
    for what, place, named in (("ledger", settings.ledger, own.ledger), ("store", settings.store, own.store)):
        if place == named or not (server := server_of(place)):
            continue
        if server not in trusted(variables) and _would_tell(place, variables):
            file = next((file for file in _files(project) if file.exists()), project)
            raise UsageError(
                f"{server} is told no credentials: the {what} is named by {shown(file)}, and not by you",
                because="Whoever wrote that may have meant to get them.",
                hint=f"if you trust it: bis remote trust {server}; on CI, {VARIABLE}={server}",
                code=NOT_TRUSTED,
            )


def servers(project: Path, settings: Settings, variables: Mapping[str, str]) -> set[str]:
    """The hosts of the remotes that this user named: they may be told credentials for data by URL, too."""
    known = trusted(variables)
    found = (server_of(url) for url in remotes(project, settings).values() if urlsplit(url).scheme in OPTIONS)
    return {urlsplit(server).netloc for server in found if server in known}


def server_of(url: str) -> str:
    """The server that is told secrets when a remote is used, as `https://host:port`. Empty: none that a stranger could
    have chosen: folders, ssh, which has keys of its own, and the servers of a cloud itself."""
    parts = urlsplit(url)
    if on_server(url):
        host = _database_host(url)
        return _origin(f"postgresql://{host}") if host else ""
    if parts.scheme in OPTIONS:
        asked = options(url)
        return _origin(asked["endpoint"]) if stranger(parts.scheme, {}, asked, ()) else ""
    return _origin(url) if parts.scheme in OVER_HTTP else ""


def trusted(variables: Mapping[str, str]) -> set[str]:
    """The servers that this user named, on this machine or in a variable."""
    try:
        noted = _file(variables).read_text("utf-8").split()
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # the home of somebody else, as under sudo
        noted = []
    own = _own(variables)
    named = map(_origin, variables.get(VARIABLE, "").replace(",", " ").split())
    return {*noted, *named, *filter(None, map(server_of, (*own.remotes.values(), own.ledger, own.store)))}


def _own(variables: Mapping[str, str]) -> Settings:
    """What the user says, in the file of their own and in variables: the settings of a project that says nothing."""
    return load_settings(Path("/nonexistent"), variables)


def trust(url: str, variables: Mapping[str, str]) -> str:
    """Note the server of a remote as one that the user named. Returns it; empty where nothing needs to be noted."""
    server, path = server_of(url), _file(variables)
    if not server or server in trusted(variables):
        return server
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
            file.write(f"{server}\n")
    except OSError as error:
        failed = trouble(error, "write", path)
        failed.hint = f"set {VARIABLE}={server}, which counts as well"
        raise failed from error
    return server


def _would_tell(url: str, variables: Mapping[str, str]) -> bool:
    """Whether the server would be told a secret that is not for it alone, as a line in `~/.netrc` is."""
    parts = urlsplit(url)
    if on_server(url):
        own = parts.password or "password" in parse_qs(parts.query)
        return not own and _has_password(_database_host(url), variables)
    if parts.scheme in OPTIONS:
        return _tells(parts.scheme, variables, options(url))
    named = _origin(variables.get("MLFLOW_TRACKING_URI", ""))
    return any(variables.get(token, "").strip() for token in TOKENS) and named != _origin(url)


def _tells(scheme: str, variables: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    """Whether a server that the user's variables and profile do not name would be told keys of a cloud."""
    if skips(scheme, variables) or not stranger(scheme, variables, asked, ()):
        return False
    return configure(scheme, variables, asked).get("bearer_token") != ANONYMOUS


def _database_host(url: str) -> str:
    """Where a URL of PostgreSQL leads, with its port; empty where it names no host, or a socket of this machine."""
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host = asked.get("hostaddr") or asked.get("host") or unquote(parts.netloc.rpartition("@")[2])
    port = asked.get("port", "")
    return "" if host.startswith(("/", "@", ":")) else f"{host}:{port}" if host and port else host


def _has_password(host: str, variables: Mapping[str, str]) -> bool:
    """Whether PostgreSQL's client would tell a host a password that is not for it alone, as a line in `~/.pgpass` is.
    PGHOST is the user's word on where PGPASSWORD belongs."""
    named = variables.get("PGHOST", "").lower()
    if variables.get("PGPASSWORD") and (not named or named not in (host.lower(), host.lower().rpartition(":")[0])):
        return True
    file = variables.get("PGPASSFILE") or Path(variables.get("HOME", "/nonexistent")) / ".pgpass"
    try:
        return any(line.startswith("*:") for line in Path(file).read_text("utf-8", "replace").splitlines())
    except OSError:
        return False


def _origin(url: str) -> str:
    url = url.strip().lower()
    parts = urlsplit(url if "://" in url else f"https://{url}")
    usual = {"http": ":80", "https": ":443", "postgresql": ":5432"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].removesuffix(usual)}"


def _source(name: str, project: Path, settings: Settings) -> str:
    noted = project / FOLDER / REMOTES
    files = _files(project) if name in settings.remotes else ()
    return shown(next((file for file in files if file.exists()), noted))


def _files(project: Path) -> tuple[Path, ...]:
    """Those that may say what a project's settings are."""
    return project / "bis.toml", project / "pyproject.toml"


def _file(variables: Mapping[str, str]) -> Path:
    home = variables.get("XDG_CONFIG_HOME") or Path(variables.get("HOME", "/nonexistent")) / ".config"
    return Path(home) / "bis" / FILE
