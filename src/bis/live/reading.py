"""Runs, read back in a script or a notebook."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bis.digest import canonical, digest_value, short
from bis.errors import NotFound, UsageError
from bis.ledger import Row
from bis.live.saying import data
from bis.live.session import around
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
    what makes no sense. Where nothing was recorded yet, there are none. Under `bis run` the answer is data of the run,
    and a repeat gives it again.
    """
    asked = Asked(filter, tuple(order), limit)
    if os.environ.get("BIS_RUN") and around():
        return _declared(asked)
    try:
        return _found(asked)
    except NotFound:
        return Runs()


class Asked(NamedTuple):
    """A question, as `runs` takes it."""

    filter: str
    order: tuple[str, ...]
    limit: int | None


def _declared(asked: Asked) -> Runs:
    """The answer, declared as data of the run around this process: a repeat, which has no ledger, gives it again."""
    from bis.steps.model_place import data_folder

    project = find_project(Path.cwd())
    name = short(digest_value([os.fspath(project), asked.filter, list(asked.order), asked.limit]), 20)
    answer = data_folder(os.environ) / "models" / f"runs-{name}.json"
    try:
        found = _found(asked)
    except NotFound:
        if not answer.is_file():
            return Runs()
        found = Runs(msgspec.json.decode(answer.read_bytes(), type=list[Row], strict=False))
    else:
        answer.parent.mkdir(parents=True, exist_ok=True)
        draft = answer.with_name(f".{answer.name}-{os.getpid()}")
        draft.write_bytes(canonical(list(found)))
        draft.replace(answer)
    data(answer)
    return found


def _found(asked: Asked) -> Runs:
    """Raises NotFound where there is no ledger."""
    from bis.steps.home import open_home

    project = find_project(Path.cwd())
    home = open_home(project, load_settings(project, os.environ), create=False, variables=os.environ)
    try:
        return Runs(home.ledger.rows(asked.filter, asked.order, asked.limit))
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
