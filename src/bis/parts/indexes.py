"""Where packages come from: what the user told pip and uv about indexes, and how to tell uv the same.

uv does not read pip's configuration. `for_uv` translates each setting for which uv has none of its own. Credentials
stay in the environment of the process that installs; `told` is what a record may hold.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bis.parts.vcs import without_credentials

PIP_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "trusted-host", "proxy", "client-cert")
PIP_SECTIONS = ("global", "install", "download")
UV_KEYS: dict[str, tuple[str, ...]] = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "no-index": (),
    "cert": ("SSL_CERT_FILE", "SSL_CERT_DIR"),
    "trusted-host": ("UV_INSECURE_HOST",),
    "proxy": ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
    "client-cert": ("SSL_CLIENT_CERT",),
}
"""What pip calls a setting -> the variables by which uv is told the same, the one to use first."""
PUBLIC = "the public index"
"""What is asked when nobody configured anything: it is never named, installers know where it is."""
LISTS = frozenset(("extra-index-url", "find-links", "trusted-host"))


def for_uv(
    variables: Mapping[str, str],
    home: Path,
    project: Path | None,
    prefix: Path | None = None,
    *,
    extra_first: bool = False,
) -> dict[str, str]:
    """Variables to add for uv, so that it looks where pip would, as far as uv is not configured itself.

    pip weighs all indexes alike, uv takes the first that has the version: the main one comes first here, or, with
    `extra_first`, last. Which one a package came from is settled by comparing what was installed.
    """
    own = _of_uv(variables, home, project)
    pip = _of_pip(variables, home, prefix)
    added: dict[str, str] = {}
    if not {"index-url", "extra-index-url", "index"} & own.keys():
        added |= _in_order(
            [pip["index-url"]] if "index-url" in pip else [], pip.get("extra-index-url", []), extra_first
        )
    for key, value in pip.items():
        names = UV_KEYS[key] if key not in ("index-url", "extra-index-url") else ()
        if not names or key in own or any(name in variables for name in names):
            continue
        separator = "," if key == "find-links" else " "
        added[names[0]] = separator.join(value) if isinstance(value, list) else value
    return added


def only_folders(variables: Mapping[str, str], home: Path, project: Path | None) -> bool:
    """Whether pip was told to look at no index at all: uv takes that as an option only, not as a variable."""
    return "no-index" in _of_pip(variables, home, None) and not _of_uv(variables, home, project)


def _in_order(main: list[str], extra: list[str], extra_first: bool) -> dict[str, str]:
    if not main:
        # The default stays uv's own, which comes last; without a preference the best match of all is taken.
        strategy = "unsafe-first-match" if extra_first else "unsafe-best-match"
        return {"UV_INDEX": " ".join(extra), "UV_INDEX_STRATEGY": strategy} if extra else {}
    ordered = [*extra, *main] if extra_first else [*main, *extra]
    told = {"UV_DEFAULT_INDEX": ordered[-1]}
    if len(ordered) > 1:
        told |= {"UV_INDEX": " ".join(ordered[:-1]), "UV_INDEX_STRATEGY": "unsafe-first-match"}
    return told


def told(variables: Mapping[str, str], home: Path, project: Path | None, prefix: Path | None = None) -> dict[str, Any]:
    """Which indexes were configured, for the record: no credentials, nothing but addresses."""
    found = {"pip": _of_pip(variables, home, prefix), "uv": _of_uv(variables, home, project)}
    places = ("index-url", "extra-index-url", "find-links", "no-index", "index")
    public = {tool: {key: _public(told[key]) for key in places if key in told} for tool, told in found.items()}
    return {tool: settings for tool, settings in public.items() if settings}


def asked(variables: Mapping[str, str], home: Path, project: Path | None) -> str:
    """The places that uv looks in, for a message."""
    added = for_uv(variables, home, project)
    names = [name for key in ("index-url", "extra-index-url", "find-links") for name in UV_KEYS[key]]
    places = [word for name in names for word in _split(added.get(name) or variables.get(name, ""))]
    own = _of_uv(variables, home, project)
    places += [str(item) for key in ("index-url", "index", "extra-index-url", "find-links") for item in _list(own, key)]
    is_other = "index-url" in own or "UV_DEFAULT_INDEX" in added or own.get("no-index") or "default" in own
    default = [] if is_other or only_folders(variables, home, project) else [PUBLIC]
    return ", ".join(dict.fromkeys([*default, *map(_named, places)]))


def _named(place: str) -> str:
    """A folder by its path, whichever way it is written."""
    return re.sub(r"^file://(localhost)?(?=/)", "", public_url(place))


def public_url(url: str) -> str:
    """An address without user, password, query, and the name that uv may have for it (`corp=https://…`)."""
    address = re.sub(r"^[\w.-]+=(?=[a-z][a-z0-9+.-]*://)", "", url, flags=re.IGNORECASE)
    return without_credentials(address).partition("?")[0]


def _list(told: Mapping[str, Any], key: str) -> list[Any]:
    value = told.get(key, [])
    return value if isinstance(value, list) else [value]


def _split(value: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", value) if word]


def _public(value: Any) -> Any:
    if isinstance(value, list):
        return [_public(item) for item in value]
    return " ".join(map(public_url, _split(str(value))))


# -- pip ---------------------------------------------------------------------------------------------------------


def _of_pip(variables: Mapping[str, str], home: Path, prefix: Path | None) -> dict[str, Any]:
    """The settings that matter, the strongest source last: files from the system to the environment, then variables."""
    found: dict[str, str] = {}
    for file in _pip_files(variables, home, prefix):
        found.update(_pip_settings(file))
    for key in PIP_KEYS:
        if value := variables.get("PIP_" + key.upper().replace("-", "_")):
            found[key] = value
    if found.get("no-index", "").lower() in ("0", "false", "no", "off"):
        del found["no-index"]
    return {key: value.split() if key in LISTS else value for key, value in found.items()}


def _pip_files(variables: Mapping[str, str], home: Path, prefix: Path | None) -> Iterator[Path]:
    chosen = variables.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    for folder in reversed((variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)):
        yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(variables.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    if prefix:
        yield prefix / "pip.conf"
    if chosen:
        yield Path(chosen)


def _pip_settings(file: Path) -> dict[str, str]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    found: dict[str, str] = {}
    for section in PIP_SECTIONS:
        if parser.has_section(section):
            pairs = ((key.replace("_", "-"), value) for key, value in parser.items(section))
            found.update({key: value for key, value in pairs if key in PIP_KEYS and value})
    return found


# -- uv ----------------------------------------------------------------------------------------------------------


def _of_uv(variables: Mapping[str, str], home: Path, project: Path | None) -> dict[str, Any]:
    """What uv's own variables and files say about places to look in."""
    found: dict[str, Any] = {}
    for table in _uv_tables(variables, home, project):
        for settings in (table, table.get("pip", {})):
            if isinstance(settings, dict):
                found.update({key: value for key, value in settings.items() if key in UV_KEYS})
                if isinstance(settings.get("index"), list):
                    listed = [item for item in settings["index"] if isinstance(item, dict)]
                    found["index"] = [str(item.get("url", "")) for item in listed]
                    found |= {"default": True} if any(item.get("default") for item in listed) else {}
    for key, names in UV_KEYS.items():
        if key in ("index-url", "extra-index-url", "find-links", "no-index"):
            told = [variables[name] for name in names if variables.get(name)]
            found.update({key: told[0]} if told else {})
    return found


def _uv_tables(variables: Mapping[str, str], home: Path, project: Path | None) -> Iterator[dict[str, Any]]:
    if variables.get("UV_NO_CONFIG"):
        return
    if chosen := variables.get("UV_CONFIG_FILE"):
        yield _toml(Path(chosen))
        return
    yield _toml(Path("/etc/uv/uv.toml"))
    yield _toml(Path(variables.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml")
    if project:
        table = _toml(project / "uv.toml")
        yield table or _toml(project / "pyproject.toml").get("tool", {}).get("uv", {})


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
