"""What a run did beside reading its inputs: what a repeat must find there, too, and where it may write."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from bis.digest import spell
from bis.nouns.part import Finding
from bis.nouns.trace import CHANGED, MADE, Process
from bis.parts import Scene
from bis.parts.beforehand import Input
from bis.parts.origin import LIVE, TEMPORARY, in_passing, models_brought, sorter
from bis.settings import FOLDER, SCORING
from bis.text import some

MOST: Final = 10_000
"""So many paths of one kind are recorded. Where a run wrote to more outside the project, none is, and a repeat is not
kept from writing there."""
CACHE_FILES: Final = 50
HERE: Final = ("tcp:127.", "tcp:localhost:", "tcp:[::1]:", "tcp:[::ffff:127.", "tcp:0.0.0.0:", "tcp:[::]:")
"""How addresses of this machine itself begin: servers that the run starts for its own processes."""


def beside_inputs(
    scene: Scene, there: list[dict[str, Any]], inputs: Mapping[str, Input], leaves: Collection[str]
) -> tuple[dict[str, Any], list[Finding]]:
    """Facts, and what is to be said of them. `there`: what was there before the run; `leaves`: the names of the inputs
    that could be recorded."""
    network = _far(scene)
    there = [*there, *_removed_unread(scene, {*leaves, *(row["path"] for row in there)})]
    there += _written_into(scene, {row["path"] for row in there})
    refused = list(_refused(scene, inputs, leaves))
    shut = {row["path"] for row in refused}
    facts = {
        "network": network,
        "listed": listed_outside(scene),
        "caches": _caches(scene),
        **_wrote(scene),
        "there": [*(row for row in there if row["path"] not in shut), *refused],
    }
    return facts, [*([_network_finding(network, scene)] if network else []), *_own_files(scene)]


def _removed_unread(scene: Scene, known: Collection[str]) -> list[dict[str, Any]]:
    """Files that the run removed and had not looked into: a repeat must find them, with any content."""
    assert scene.trace is not None
    origin = sorter(scene)
    found = []
    for access in scene.trace.accesses:
        if access.before is None or not access.was_removed or scene.named(access.path) in known:
            continue
        where = origin(access.path)
        if where in ("project", "outside") or (where == "temporary" and not in_passing(access.path)):
            found.append({"path": scene.named(access.path), "kind": "file", "size": max(0, access.before.size)})
    return found[:MOST]


def _written_into(scene: Scene, known: Collection[str]) -> list[dict[str, Any]]:
    """Folders of the project, empty perhaps, into which the run wrote and which it had not made: a repeat must find
    them. Where it was not seen who made a folder, nothing is said of it."""
    assert scene.trace is not None
    top = PurePosixPath(spell(str(scene.project)))
    made = {access.path for access in scene.trace.accesses if not MADE.isdisjoint(access.how)}
    found: set[str] = set()
    for access in scene.trace.accesses if scene.trace.complete else ():
        path = PurePosixPath(access.path)
        if access.was_written and path.is_relative_to(top):
            folders = [folder for folder in reversed(path.parents) if folder != top and folder.is_relative_to(top)]
            # What lies below a folder that it made is its own, too.
            old = itertools.takewhile(lambda folder: str(folder) not in made and folder.name != FOLDER, folders)
            found.update(str(folder.relative_to(top)) for folder in old)
    return [{"path": name, "kind": "folder"} for name in sorted(found - {*known})][:MOST]


def _refused(scene: Scene, inputs: Mapping[str, Input], leaves: Collection[str]) -> Iterator[dict[str, Any]]:
    """Files that nobody let the run read, with permissions from before it began: a repeat is not let read them."""
    assert scene.trace is not None
    for name, one in sorted(inputs.items()):
        if name in leaves or one.place is None:
            continue
        try:
            status = one.place.stat()
        except OSError:
            continue
        shut = stat.S_ISREG(status.st_mode) and not os.access(one.place, os.R_OK)
        if shut and status.st_ctime_ns < scene.trace.since_ns:
            yield {"path": name, "kind": "file", "size": status.st_size, "refused": True}


def _wrote(scene: Scene) -> dict[str, list[str]]:
    """Where outside the project the run made, changed or removed something, whatever became of it."""
    assert scene.trace is not None
    origin = sorter(scene)
    found = [
        access.path
        for access in scene.trace.accesses
        if not CHANGED.isdisjoint(access.how)
        and origin(access.path) in ("outside", "temporary", "system", "cache")
        and not access.path.startswith((*LIVE, f"{spell(str(scene.project))}/", models_brought(scene)))
        and not ("/__pycache__/" in access.path or in_passing(access.path))
    ]
    return {"wrote": sorted(found)} if scene.trace.complete and len(found) <= MOST else {}


def listed_outside(scene: Scene) -> list[str]:
    """Folders outside the project whose names the run read, without those that are searched for modules or programs,
    and those of models, which are read as a whole."""
    origin, brought = sorter(scene), models_brought(scene)
    known = {spell(entry) for report in scene.reports for entry in report.path} | set(TEMPORARY)
    known |= {spell(entry.rstrip("/")) for entry in scene.variables.get("PATH", "").split(os.pathsep)}
    project = f"{spell(str(scene.project))}/"
    return sorted(
        access.path
        for access in (scene.trace.accesses if scene.trace else ())
        if access.was_listed
        and access.path not in known
        and origin(access.path) in ("outside", "temporary")
        and not project.startswith(f"{access.path.rstrip('/')}/")
        and not access.path.startswith(brought)
    )


def _caches(scene: Scene) -> list[str]:
    """Files of the user's caches that the run read, `CACHE_FILES` at most."""
    assert scene.trace is not None
    origin = sorter(scene)
    home = f"{spell(str(scene.home))}/"
    found = (
        access.path
        for access in scene.trace.accesses
        if access.was_read and access.path.startswith(home) and not access.path.endswith(".pyc")
    )
    return sorted(itertools.islice((path for path in found if origin(path) == "cache"), CACHE_FILES))


def _own_files(scene: Scene) -> Iterator[Finding]:
    """A run that reads all files it finds reads those of bis too, which are others each time."""
    if scene.trace is None or any(_is_bis(process) for process in scene.trace.processes):
        return
    own, working = (f"{spell(str(scene.project / FOLDER / name))}/" for name in ("", SCORING))
    read = [
        access.path
        for access in scene.trace.accesses
        if access.path.startswith(own) and access.was_read and not access.path.startswith(working)
    ]
    brought = models_brought(scene)
    asked = any(access.path.startswith(brought) for access in scene.trace.accesses)
    if read and not asked:  # what `bis.load_model` found in the ledger is an input itself
        yield Finding(
            code="own-files-read",
            text=f"the run read what bis keeps for itself: {some([scene.named(path) for path in read])}",
            hint=f"leave {FOLDER}/ out where the program looks for its files: it holds other files in each run",
        )


def _is_bis(process: Process) -> bool:
    return any(PurePosixPath(word).name == "bis" for word in process.argv[:3])


def _far(scene: Scene) -> list[str]:
    """Addresses of other machines that the run connected to. The C library connects UDP sockets, sending nothing, to
    sort the addresses of a name: they are no input."""
    told = {address for report in scene.reports for address in report.facts.get("connections", ())}
    told |= set(scene.trace.connections if scene.trace else ())
    return sorted(address for address in told if address.startswith("tcp:") and not address.startswith(HERE))


def _network_finding(addresses: list[str], scene: Scene) -> Finding:
    names = list(dict.fromkeys(name for report in scene.reports for name in report.facts.get("names", ())))
    looked = f" (looked up: {some(names)})" if names else ""
    return Finding(
        code="network-input",
        text=f"connected to {some(addresses)}{looked}: what came from there has no version",
        hint="save what you download to a file, and read that",
    )
