"""Where the artifacts of runs and models lie, and what lies there: files that clients uploaded, and, at the usual place
of a sealed run, its outputs, which can be read only."""

from __future__ import annotations

import re
from typing import Any, Final

from bis.digest import Digest, decoded
from bis.errors import NotFound, UsageError
from bis.ledger import artifacts, changed, registry
from bis.ledger.connection import Connection
from bis.ledger.refusals import NoSuch, Sealed
from bis.nouns.artifact import SCHEME, Artifact, Listed, joined
from bis.nouns.logged import ARTIFACTS
from bis.nouns.run import Output, Run
from bis.store.squeeze import unpack

OUTSIDE: Final = "(outside the project)"
"""The folder of outputs that a run wrote elsewhere."""

_SEALED: Final = re.compile(r"\d+/([0-9a-f]{12})/artifacts(?:/(.*))?")


def of_run(connection: Connection, run_id: str) -> str:
    """The URI of a run's artifacts. Raises NotFound."""
    rows = _rows(
        connection,
        "SELECT r.experiment, r.artifacts, CASE WHEN r.tracked = 1 THEN e.artifacts ELSE '' END FROM runs r"
        " LEFT JOIN experiments e ON e.id = r.experiment WHERE r.id = ?",
        run_id,
    )
    for experiment, own, above in rows:
        return own or f"{above or f'{SCHEME}:/{experiment}'}/{run_id}/artifacts"
    raise NoSuch("run", run_id)


def of_model(connection: Connection, model_id: str) -> str:
    """The URI of a logged model's artifacts. Raises NotFound."""
    for experiment, own in _rows(connection, "SELECT experiment, artifacts FROM logged_models WHERE id = ?", model_id):
        return own or f"{SCHEME}:/{experiment}/models/{model_id}/artifacts"
    raise NoSuch("logged model", model_id)


def of_version(connection: Connection, name: str, version: str) -> str:
    """The URI of what a version of a registered model consists of. Raises NotFound, and SeveralVersions."""
    try:
        found = registry.version(connection, name, int(version) if version.isdecimal() and len(version) < 10 else -1)
    except NoSuch:
        raise NotFound(f"Model Version (name={name}, version={version}) not found") from None
    return found.storage or found.source


def get(connection: Connection, path: str) -> Artifact:
    """A file. Raises NotFound, also for an output of which only the digest was kept."""
    if not (sealed := _sealed(connection, path)):
        return artifacts.get(connection, path)
    run, below = sealed
    output = made(run).get(below)
    if output is not None and output.kept and not output.target:
        return Artifact(path, Digest(output.digest), output.size)
    raise NotFound(f"No such artifact: '{path}'")


def listing(connection: Connection, folder: str) -> list[Listed]:
    """What lies directly in a folder; nothing when it is not there."""
    if not (sealed := _sealed(connection, folder)):
        return artifacts.listing(connection, folder)
    run, below = sealed
    start = f"{below}/" if below else ""
    found: dict[str, Listed] = {}
    for path, output in made(run).items():
        if path.startswith(start):
            name, deeper, _ = path[len(start) :].partition("/")
            found[name] = Listed(name, None if deeper else output.size)
    return sorted(found.values(), key=lambda listed: listed.name)


def put(connection: Connection, path: str, digest: Digest, size: int, now: int) -> None:
    """Raises UsageError where nothing can be put."""
    demand_open(connection, path)
    artifacts.put(connection, path, digest, size, now)
    changed.of_path(connection, path)


def remove(connection: Connection, path: str) -> int:
    """A file or folder; returns how many files."""
    demand_open(connection, path)
    changed.of_path(connection, path)
    return artifacts.remove(connection, path)


def demand_open(connection: Connection, path: str) -> None:
    """Raises UsageError for a place where nothing may change: the root, and what a sealed run made."""
    if not path:
        raise UsageError("Invalid path")
    if sealed := _sealed(connection, path):
        raise Sealed(sealed[0].id)


def made(run: Run) -> dict[str, Output]:
    """The outputs of a sealed run by their path below its artifacts. Where a file and what the script logged would have
    one path, it is what the script logged."""
    logged = {one.path.removeprefix(ARTIFACTS): one for one in run.outputs if one.path.startswith(ARTIFACTS)}
    return {_shown(one): one for one in run.outputs if not one.path.startswith(ARTIFACTS)} | logged


def _shown(output: Output) -> str:
    return joined(OUTSIDE, output.path.lstrip("/")) if output.path.startswith("/") else output.path


def _sealed(connection: Connection, path: str) -> tuple[Run, str] | None:
    """The sealed run at whose usual place a path lies, and the path below it."""
    if not (match := _SEALED.fullmatch(path)):
        return None
    rows = _rows(connection, "SELECT content FROM runs WHERE id = ? AND tracked = 0 AND artifacts = ''", match[1])
    return (decoded(unpack(rows[0][0]), Run), match[2] or "") if rows else None


def _rows(connection: Connection, statement: str, *values: Any) -> list[Any]:
    return connection.execute(statement, values).fetchall()
