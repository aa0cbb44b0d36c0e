"""The remotes of a project: names for URLs, in `.bis/remotes`, or under `remotes` in the settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bis.errors import KeepingError, NotFound, UsageError
from bis.settings import FOLDER, Settings
from bis.store.remote import NO_SUCH_REMOTE
from bis.store.remote.address import checked
from bis.store.trouble import shown, trouble

FILE: Final = "remotes"
KNOWN: Final = "known"
"""What is known of the packs that lie there: a cache. Neither has a suffix that a program of the project looks for."""
FIRST: Final = "origin"
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def remotes(project: Path, settings: Settings) -> dict[str, str]:
    """Name -> URL, sorted by name. What was added here wins over what the settings say."""
    told = {name: checked(url, project) for name, url in settings.remotes.items()}
    return dict(sorted((told | _read(project / FOLDER / FILE)).items()))


def choose(name: str, project: Path, settings: Settings) -> tuple[str, str]:
    """The name and the URL of a remote: the one asked for; else `origin`, else the only one there is. A URL or a path
    will do for a name. Raises NotFound."""
    known = remotes(project, settings)
    if name in known:
        return name, known[name]
    if name and ("://" in name or "/" in name):
        return name, checked(name, project)
    if not name and known:
        only = FIRST if FIRST in known else next(iter(known)) if len(known) == 1 else ""
        if only:
            return only, known[only]
        raise UsageError(f"which remote: {', '.join(known)}?", hint=f"name it, as in  bis push {next(iter(known))}")
    raise _no_such(name, known)


def add(name: str, url: str, project: Path, settings: Settings, *, seen_from: Path) -> str:
    """Note a remote; nothing is asked of it. Returns the URL as it is kept."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} cannot be the name of a remote", hint=f"letters, digits, - and _, as in  {FIRST}")
    kept = checked(url, seen_from)
    known = remotes(project, settings)
    if known.get(name, kept) != kept:
        raise UsageError(
            f"there is a remote {name} already, {known[name]}", hint=f"bis remote remove {name}, or take another name"
        )
    _write(project / FOLDER / FILE, {**_read(project / FOLDER / FILE), name: kept})
    return kept


def remove(name: str, project: Path, settings: Settings) -> str:
    """Forget a remote, and nothing else: what lies there stays. Returns its URL. Raises NotFound."""
    own = _read(project / FOLDER / FILE)
    if name not in own and name in settings.remotes:
        raise UsageError(f"the remote {name} is in the settings", hint="take it out of `remotes` in bis.toml")
    if name not in own:
        raise _no_such(name, remotes(project, settings))
    url = own.pop(name)
    _write(project / FOLDER / FILE, own)
    return url


def _no_such(name: str, known: Mapping[str, str]) -> NotFound:
    there = f"There is: {', '.join(known)}." if known else "There are no remotes here yet."
    what = f'no remote is called "{name}"' if name else "no remote to share with is known here"
    plain = name if re.fullmatch(NAME, name) else FIRST
    return NotFound(what, because=there, hint=f"bis remote add {plain} URL", code=NO_SUCH_REMOTE)


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_bytes())
        if isinstance(found, Mapping) and all(isinstance(url, str) for url in found.values()):
            return dict(found)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise trouble(error, "read", path) from error
    except ValueError:
        pass
    raise KeepingError(
        f"{shown(path)} cannot be read: it is no list of remotes", hint=f"mv {shown(path)} {shown(path)}.old"
    )


def _write(path: Path, known: Mapping[str, str]) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fresh.write_text(json.dumps(dict(sorted(known.items())), indent=2, ensure_ascii=False) + "\n", "utf-8")
        fresh.replace(path)
    except OSError as error:
        raise trouble(error, "write", path) from error
