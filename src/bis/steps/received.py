"""What a command logged over HTTP while it ran, taken into the record of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from bis.digest import spell
from bis.ledger import artifacts, tracked
from bis.ledger.runs import SqlLedger
from bis.nouns.artifact import path_of
from bis.nouns.logged import ARTIFACTS, Logged
from bis.nouns.run import Output
from bis.nouns.tracking import TrackedRun
from bis.steps.home import Home

T = TypeVar("T")

OWN: Final = "mlflow."
"""Tags that a client gives every run: they say who and what, which the record says better."""


def with_received(logged: Logged, run: str, home: Home) -> Logged:
    """With params, newest metrics, tags and artifacts of the runs that its clients logged. Where there is more than
    one, names begin with that of the run: `trial-3/loss`. What the script said itself comes first."""
    assert isinstance(home.ledger, SqlLedger)
    with home.ledger.database.reading() as connection:
        found = tracked.children(connection, run)
        files = [list(artifacts.below(connection, path_of(one.artifacts))) for one in found]
    before = _prefixes(found)
    outputs = [
        Output(
            path=ARTIFACTS + spell(prefix + file.path.removeprefix(path_of(one.artifacts)).lstrip("/")),
            digest=file.digest,
            size=file.size,
        )
        for one, prefix, some in zip(found, before, files, strict=True)
        for file in some
    ]
    metrics = [{point.key: point.value for point in one.metrics} for one in found]
    tags = [{key: value for key, value in one.tags.items() if not key.startswith(OWN)} for one in found]
    return msgspec.structs.replace(
        logged,
        metrics={**_together(metrics, before), **logged.metrics},
        params={**_together([one.params for one in found], before), **logged.params},
        tags={**_together(tags, before), **logged.tags},
        artifacts=(*logged.artifacts, *outputs),
    )


def _prefixes(found: Sequence[TrackedRun]) -> list[str]:
    if len(found) == 1:
        return [""]
    names = [one.name for one in found]
    return [f"{name}/" if names.count(name) == 1 else f"{name}-{number}/" for number, name in enumerate(names, 1)]


def _together(several: Sequence[Mapping[str, T]], before: Sequence[str]) -> dict[str, T]:
    return {f"{prefix}{key}": value for prefix, one in zip(before, several, strict=True) for key, value in one.items()}
