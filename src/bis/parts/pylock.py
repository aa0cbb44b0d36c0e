"""`pylock.toml` (PEP 751): the one form in which a set of installed distributions is kept.

What the standard has no word for stands in `[packages.tool.bis]`: the digest of the installed files, who installed
them, and whether the hash of the artifact is `proved` (the installed files are known to come out of it), left to the
`index` (nobody recorded it), not to be had as the wheel was `built` here, or `unknown`. A package without a proved
artifact has none in the lock, which is then not yet valid by the standard (`problems` says so): it would have to
claim a hash that was never seen.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any

import msgspec

from bis.digest import Digest
from bis.nouns.part import Part
from bis.parts.installed import Installed
from bis.parts.interpreter import Interpreter
from bis.store import Store

LOCK_VERSION = "1.0"
BARE = re.compile(r"^[A-Za-z0-9_-]+$")
KEPT_FIELDS = (
    *("record", "proof", "origin", "installer", "requested", "info", "tags", "source", "tree"),
    *("url", "commit", "subdirectory", "sha256", "archive", "built"),
)
OF_ARCHIVE = frozenset(("url", "sha256", "archive", "tags"))
"""Said by the standard's own `wheels` and `sdist`."""


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A lock, read back."""

    version: str
    """Of the interpreter."""
    implementation: str
    abi: str
    packages: tuple[Installed, ...]


def write(python: Interpreter, packages: Iterable[Installed]) -> str:
    """The text of the lock. The same set gives the same text, wherever it is installed."""
    lines = [f"lock-version = {_value(LOCK_VERSION)}"]
    if python.version:
        lines.append(f"requires-python = {_value('==' + python.version)}")
    lines += ['created-by = "bis"', ""]
    ordered = sorted(packages, key=lambda item: item.name)
    if not ordered:
        lines.insert(-1, "packages = []")
    for package in ordered:
        lines += _package(package)
    told = {"version": python.version, "implementation": python.implementation, "abi": python.abi}
    return "\n".join([*lines, "[tool.bis]", *_pairs(told), ""])


def read(text: str) -> Lock:
    """Raises ValueError for what is not such a lock."""
    table = tomllib.loads(text)
    told = table.get("tool", {}).get("bis", {})
    return Lock(
        version=str(told.get("version", "")),
        implementation=str(told.get("implementation", "")),
        abi=str(told.get("abi", "")),
        packages=tuple(_installed(package) for package in table.get("packages", [])),
    )


def packages_of(part: Part, store: Store) -> tuple[Installed, ...]:
    """The set of an environment, from its lock; empty for a run without Python."""
    if "lock" not in part.trees:
        return ()
    return read(store.get_bytes(part.trees["lock"]).decode()).packages


def problems(text: str) -> str:
    """What the standard's own validator says against the lock; empty when it is valid."""
    from packaging.pylock import Pylock, PylockValidationError

    try:
        Pylock.from_dict(tomllib.loads(text))
    except (PylockValidationError, ValueError) as error:
        return str(error)
    return ""


def _package(package: Installed) -> list[str]:
    has_archive = package.origin == "index" and bool(package.archive and package.sha256 and package.url)
    lines = ["[[packages]]", f"name = {_value(package.name)}", *_pairs({"version": package.version})]
    if package.origin == "vcs":
        vcs, _, url = package.url.partition("+")
        told: dict[str, Any] = {"type": vcs, "url": url, "commit-id": package.commit}
        lines.append(f"vcs = {_value({**told, **_some(subdirectory=package.subdirectory)})}")
    elif package.origin in ("editable", "folder", "project") and package.source:
        editable = {"editable": True} if package.origin != "folder" else {}
        told = {"path": package.source, **_some(subdirectory=package.subdirectory)}
        lines.append(f"directory = {_value({**told, **editable})}")
    elif package.origin == "archive" and package.sha256:
        told = {"url": package.url, "hashes": {"sha256": package.sha256}}
        lines.append(f"archive = {_value({**told, **_some(subdirectory=package.subdirectory)})}")
    elif has_archive:
        told = {"name": package.archive, "url": package.url, "hashes": {"sha256": package.sha256}}
        lines.append(f"sdist = {_value(told)}" if package.built else f"wheels = [{_value(told)}]")
    lines += ["[packages.tool.bis]", *_pairs({"artifact": artifact_of(package), **_fields(package, has_archive)})]
    return [*lines, ""]


def artifact_of(package: Installed) -> str:
    """How well it is known which artifact a package was installed from: `proved`, `index`, `built` or `unknown`."""
    if package.built:
        return "built"
    if package.sha256:
        return "proved"
    return "index" if package.origin == "index" and package.proof == "record" else "unknown"


def _fields(package: Installed, has_archive: bool) -> dict[str, Any]:
    values = {name: getattr(package, name) for name in KEPT_FIELDS if not (has_archive and name in OF_ARCHIVE)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value}


def _installed(package: Mapping[str, Any]) -> Installed:
    told = {key: value for key, value in package.get("tool", {}).get("bis", {}).items() if key in KEPT_FIELDS}
    for archive in [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]:
        told |= {"url": archive["url"], "archive": archive["name"], "sha256": archive["hashes"]["sha256"]}
    fields = {"record": Digest(""), **told, "name": package["name"], "version": package.get("version", "")}
    return msgspec.convert(fields, Installed)


def _some(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value not in ("", None)]


def _key(key: str) -> str:
    return key if BARE.match(key) else _value(key)


def _value(value: Any) -> str:
    """One value as TOML; a table inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return encode_basestring(value).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
