"""Packages that only some commands need: which they are, and what to type to have them where bis is installed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit


def what_to_type(extra: str, prefix: Path | None = None) -> str:
    """The command that adds the packages of an extra to the bis in the environment at `prefix`, or to this one.

    Extras that are there are named in it as well: uv and pipx take away what is not named anew. The name alone is given
    to an index only where bis came from one: elsewhere it may be that of somebody else's package.
    """
    place = prefix or Path(sys.prefix)
    bis = _installed(prefix)
    if bis is None:
        return f"install bis with its extra {extra!r}"
    together = f"bis[{','.join(sorted({extra, *_there(bis, prefix)}))}]"
    if (place / "uv-receipt.toml").exists():
        return f"uv tool install {shlex.quote(_named(bis, together))}"
    if (place / "pipx_metadata.json").exists():
        return f"pipx install --force {shlex.quote(_named(bis, together))}"
    # It is there already, so that pip and uv ask no index for bis itself.
    python = place / "bin" / "python" if prefix else Path(sys.executable)
    if (bis.read_text("INSTALLER") or "").strip() == "uv":
        return f"uv pip install --python {shlex.quote(str(python))} 'bis[{extra}]'"
    return f"{shlex.quote(str(python))} -m pip install 'bis[{extra}]'"


def packages() -> dict[str, list[str]]:
    """Those of each extra, by the metadata of the installed bis."""
    bis = _installed(None)
    return {} if bis is None else {extra: list(_wanted(bis, extra)) for extra in _extras(bis)}


def _installed(prefix: Path | None) -> metadata.Distribution | None:
    return next(iter(_distributions("bis", prefix)), None)


def _distributions(name: str, prefix: Path | None) -> Iterator[metadata.Distribution]:
    """Of that name, in an environment; without one, where this interpreter looks."""
    path = sys.path if prefix is None else [str(site) for site in prefix.glob("lib/python*/site-packages")]
    yield from metadata.distributions(name=name, path=path)


def _extras(bis: metadata.Distribution) -> list[str]:
    return bis.metadata.get_all("Provides-Extra") or []


def _there(bis: metadata.Distribution, prefix: Path | None) -> list[str]:
    """The extras of which every package is installed."""
    return [extra for extra in _extras(bis) if all(any(_distributions(name, prefix)) for name in _wanted(bis, extra))]


def _wanted(bis: metadata.Distribution, extra: str) -> Iterator[str]:
    """The packages that an extra adds on this machine."""
    from packaging.requirements import Requirement

    for line in bis.requires or []:
        required = Requirement(line)
        marker = required.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            yield required.name.lower()


def _named(bis: metadata.Distribution, together: str) -> str:
    """bis with extras, from where it came: a folder, a repository, or an index."""
    origin = json.loads(bis.read_text("direct_url.json") or "{}")
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        return unquote(urlsplit(url).path) + together.removeprefix("bis")
    system = origin.get("vcs_info", {}).get("vcs", "")
    return f"{together} @ {f'{system}+' if system else ''}{url}" if url else together
