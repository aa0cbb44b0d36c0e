"""Rooms: a command sees folders at paths of its own, in a private mount namespace. The script is `inside/rooms.py`."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import readable, spell
from bis.errors import Failure
from bis.nouns.part import Finding
from bis.store.temporary import temporary

SCRIPT = Path(__file__).parents[1] / "inside" / "rooms.py"
SPECIFICATION, REPORT = "room.json", "room-report.json"
LIMITS = (
    ("user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
)
"""Below /proc/sys: the value that forbids rooms to ordinary users, and what allows them."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """One change to what a command sees. Later ones lie over earlier ones."""

    at: Path
    """The path in the room, absolute."""
    source: Path | None = None
    """What is seen there; None: nothing, an empty folder (a path that is not there stays so)."""
    write: bool = True
    absent: bool = False
    """Nothing is there, and what the command writes there (and beside it) does not reach the machine."""
    copied: bool = False
    """A copy of the source, a file, which the command can also remove and rename."""


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing of the machine can be changed from a room, except for what is said here."""

    live: tuple[Path, ...] = ()
    """Folders that stay as they are."""
    shared: dict[Path, tuple[str, ...]] = {}
    """Folders in which the command may make what it likes, unseen by others; names in them that stay as they are."""


def usable() -> str:
    """Empty when a room can be made here; else the reason. Found out by making one, once in a process."""
    return _tried()[0]


def finding() -> Finding:
    """Why a command could not be given a room, for a verdict to show."""
    reason, hint = _tried()
    return Finding(code="no-room", text=f"The original paths could not be shown to the command: {reason}", hint=hint)


def prefix(mounts: Sequence[Mount], folder: Path, scratch: Path, seal: Seal | None = None) -> tuple[str, ...]:
    """The start of a command line: what follows runs with `mounts`, from `folder` as seen there.

    `scratch` is an existing folder of the caller's, for this one command. What the command writes to a hidden or
    made-up folder lies below it (`outside` tells where), and it is the caller's to delete.
    If the room cannot be made, the command does not start, the status is 125, and `refusal` says why.
    """
    sealing = seal and {
        "live": [str(path) for path in seal.live],
        "shared": {str(path): names for path, names in seal.shared.items()},
    }
    specification = {
        "mounts": [_entry(mount) for mount in mounts],
        "seal": sealing,
        "folder": str(folder),
        "scratch": str(scratch),
        "report": str(scratch / REPORT),
    }
    (scratch / REPORT).unlink(missing_ok=True)
    (scratch / SPECIFICATION).write_text(json.dumps(specification), "ascii")
    return (sys.executable, "-I", "-S", str(SCRIPT), str(scratch / SPECIFICATION), "--")


def refusal(scratch: Path) -> Failure | None:
    """Why the command of `prefix` did not start; None when it did."""
    said = _said(scratch)
    if said.get("ready"):
        return None
    if not said:
        return Failure("the command did not start: its room was not made, and nothing says why")
    path = readable(spell(said.get("path", "")))
    if said.get("step") == "start":
        return Failure(f"{path} could not be started: {said['error']}", because="It was looked for in the room.")
    what = f"the room for the command could not be made: {said.get('step')} {path}: {said.get('error')}"
    return Failure(what, because=usable(), hint=_tried()[1])


def lost(scratch: Path) -> tuple[str, ...]:
    """Paths (spelled) that are there outside, and could not be shown in a folder that had to be made up."""
    return tuple(spell(path) for path in _said(scratch).get("lost", ()))


def left_open(scratch: Path) -> tuple[str, ...]:
    """Places of the machine (spelled) that could not be made read-only in a room that was to be sealed."""
    return tuple(spell(path) for path in _said(scratch).get("open", ()))


def outside(path: Path, scratch: Path) -> Path:
    """Where a path of the room, free of symbolic links, lies outside of it: in a source, in a hidden or made-up
    folder below `scratch`, or where it is. Known once the command has started."""
    where: dict[str, str] = _said(scratch).get("where", {})
    for point in (path, *path.parents):
        if (found := where.get(str(point))) is not None:
            return Path(found) / path.relative_to(point)
    return path


def _entry(mount: Mount) -> dict[str, Any]:
    if mount.absent:
        return {"absent": str(mount.at)}
    if mount.source is None:
        return {"hide": str(mount.at)}
    if mount.copied:
        return {"copy": str(mount.source), "at": str(mount.at)}
    return {"bind": str(mount.source), "at": str(mount.at), "write": mount.write}


def _said(scratch: Path) -> dict[str, Any]:
    try:
        said = json.loads((scratch / REPORT).read_text("ascii"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


@functools.cache
def _tried() -> tuple[str, str]:
    """The reason against rooms (empty: they work), and what to do about it."""
    if sys.platform != "linux":
        return "only Linux has private mount namespaces", ""
    try:
        said = _try()
    except (OSError, subprocess.SubprocessError) as error:
        return f"the trial could not be run: {error}", ""
    if said.get("ready") or said.get("step") == "start":
        return "", ""
    for name, value, hint in LIMITS:
        if _setting(name) == value:
            return f"{name.replace('/', '.')} is {value} here", hint
    if said.get("step") in ("unshare", "map", "mount"):
        reason = f"{said['step']} was refused: {said.get('error')}; a container's policy, most likely"
        return reason, "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined …"
    return f"{said.get('step', 'the trial')} failed: {said.get('error', 'it said nothing')}", ""


def _try() -> dict[str, Any]:
    with temporary("room") as scratch:
        mounts = [Mount(at=scratch / "target", source=scratch / "source")]
        for folder in ("source", "target"):
            (scratch / folder).mkdir()
        command = [*prefix(mounts, scratch, scratch), "true"]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        return _said(scratch)


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
