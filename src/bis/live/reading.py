"""Runs, read back in a script or a notebook."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bis.errors import NotFound, UsageError
from bis.ledger import Row
from bis.settings import find_project, load_settings


class Runs(list[Row]):
    """Runs, one line of facts each: `run.name`, `run.params`, `run.metrics`, `run.tags`, `run.started`, …"""

    def frame(self) -> Any:
        """As a pandas data frame: a row for each run; columns `params.lr`, `metrics.loss`, `tags.team` and so on."""
        try:
            import pandas
        except ImportError:
            raise UsageError("a data frame needs pandas", hint="pip install pandas") from None
        return pandas.DataFrame([_flat(row) for row in self])

    def _repr_html_(self) -> str:
        """For notebooks."""
        try:
            return str(self.frame()._repr_html_())
        except UsageError:
            return f"<pre>{self!r}</pre>"


def runs(filter: str = "", *, order: Sequence[str] = (), limit: int | None = None) -> Runs:
    """Runs of the project in the current folder, newest first: `bis.runs("metrics.loss < 0.3")`.

    `filter` and `order` (`["metrics.loss"]`, `["start_time DESC"]`) are in MLflow's language. Raises UsageError for
    what makes no sense. Where nothing was recorded yet, there are none.
    """
    from bis.steps.home import open_home

    project = find_project(Path.cwd())
    try:
        home = open_home(project, load_settings(project, os.environ), create=False, variables=os.environ)
    except NotFound:
        return Runs()
    try:
        return Runs(home.ledger.rows(filter, order, limit))
    finally:
        home.ledger.close()


def _flat(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "started": row.started,
        "ended": row.ended,
        "seconds": row.seconds,
        "user": row.user,
        "verdict": row.verdict,
        "note": row.note,
    }
    groups: dict[str, dict[str, Any]] = {"params": row.params, "metrics": row.metrics, "tags": row.tags}
    return plain | {f"{group}.{key}": value for group, found in groups.items() for key, value in found.items()}
