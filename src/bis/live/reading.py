"""Runs, read back in a script or a notebook."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from bis.digest import canonical, digest_value, short
from bis.errors import NotFound, UsageError
from bis.ledger import Row
from bis.ledger.search import compile_filter
from bis.live import runs_shown
from bis.live.saying import data
from bis.live.session import around
from bis.live.shown import Table, as_html, as_markdown, bundle
from bis.settings import find_project, load_settings
from bis.steps.abreast import Head
from bis.steps.home import Home
from bis.steps.listing import as_plain

T = TypeVar("T")

MOST: Final = 20
"""Runs that are compared at once."""


class OneRun(Row, frozen=True, kw_only=True, omit_defaults=True):
    """A run in one line of facts: `run.name`, `run.params`, `run.metrics`, `run.tags`, `run.started`, …"""

    def _repr_html_(self) -> str:
        """For notebooks."""
        return as_html(runs_shown.one(self, _drawn))

    def _repr_markdown_(self) -> str:
        return as_markdown(runs_shown.one(self))

    def __str__(self) -> str:
        return self._repr_markdown_()

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        return bundle(runs_shown.one(self, _drawn), "run", {"run": as_plain(self)}, include, exclude)


class Runs(list[OneRun]):
    """Runs, one line of facts each: `run.name`, `run.params`, `run.metrics`, `run.tags`, `run.started`, …"""

    def frame(self) -> Any:
        """As a pandas data frame: a row for each run; columns `params.lr`, `metrics.loss`, `tags.team` and so on."""
        return _pandas().DataFrame([_flat(row) for row in self])

    def _repr_html_(self) -> str:
        """For notebooks."""
        return as_html(runs_shown.several(self, _drawn))

    def _repr_markdown_(self) -> str:
        return as_markdown(runs_shown.several(self))

    def __str__(self) -> str:
        return self._repr_markdown_()

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        told = {"total": len(self), "runs": [as_plain(row) for row in self[: runs_shown.ROWS]]}
        return bundle(runs_shown.several(self, _drawn), "runs", told, include, exclude)


class Unlike(msgspec.Struct, frozen=True, kw_only=True):
    """A fact in which runs differ."""

    kind: str
    """code, data, params, …, metrics, outputs"""
    name: str
    values: tuple[str | None, ...]
    """Of each run; None: it has none."""
    detail: str = ""
    """How two differ, where that takes lines."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """In what runs differ: `compared.rows`, each with its `kind`, `name` and the `values` of the runs."""

    runs: list[Head]
    rows: list[Unlike]
    same: list[str]
    """The kinds in which they do not differ."""

    def frame(self) -> Any:
        """As a pandas data frame: a row for each difference, a column for each run."""
        titles = [run.name for run in self.runs]
        index = _pandas().MultiIndex.from_tuples([(row.kind, row.name) for row in self.rows], names=["kind", "name"])
        return _pandas().DataFrame([row.values for row in self.rows], columns=titles, index=index)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return as_html(self._table())

    def _repr_markdown_(self) -> str:
        return as_markdown(self._table())

    def __str__(self) -> str:
        return self._repr_markdown_()

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        return bundle(self._table(), "compared", msgspec.structs.asdict(self), include, exclude)

    def _table(self) -> Table:
        rows = [(row.kind, row.name, row.values, row.detail) for row in self.rows]
        return runs_shown.compared([run.name for run in self.runs], rows, self.same)


def runs(filter: str = "", *, order: Sequence[str] = (), limit: int | None = None) -> Runs:
    """Runs of the project in the current folder, newest first: `bis.runs("metrics.loss < 0.3")`.

    `filter` and `order` (`["metrics.loss"]`, `["start_time DESC"]`) are in MLflow's language. Those that `bis repeat`
    made are left out, as in `bis log`, unless the filter speaks of `repeats`. Raises UsageError for what makes no
    sense. Where nothing was recorded yet, there are none. Under `bis run` the answer is data of the run, and a repeat
    gives it again.
    """
    asked = Asked(filter, tuple(order), limit)
    try:
        return Runs(_answered("runs", asked, list[OneRun], lambda home: _found(home, asked)))
    except NotFound:
        return Runs()


def compare(first: str | Row, second: str | Row, *others: str | Row) -> Compared:
    """In what runs of the project in the current folder differ: `bis.compare("train-1", "@latest")`.

    A run is named as for `bis show`, or is one that `bis.runs` gave. Of two runs it says what `bis diff` says. Raises
    NotFound for a run that is not there. Under `bis run` the answer is data of the run, and a repeat gives it again.
    """
    names = tuple(run.id if isinstance(run, Row) else run for run in (first, second, *others))
    if len(names) > MOST:
        raise UsageError(f"{len(names)} runs are named, and at most {MOST} are compared", hint="bis.runs(…).frame()")
    return _answered("compared", names, Compared, lambda home: _compared(home, names))


class Asked(NamedTuple):
    """A question, as `runs` takes it."""

    filter: str
    order: tuple[str, ...]
    limit: int | None


# -- from the ledger -----------------------------------------------------------------------------------------------


def _found(home: Home, asked: Asked) -> list[OneRun]:
    compile_filter(asked.filter)  # read alone first: an error must not speak of what was not asked
    own = "" if "repeats" in asked.filter else "repeats = ''"
    rows = home.ledger.rows(" AND ".join(filter(None, (asked.filter, own))), asked.order, asked.limit)
    return [OneRun(**msgspec.structs.asdict(row)) for row in rows]


def _compared(home: Home, names: Sequence[str]) -> Compared:
    from bis.nouns.reference import parse
    from bis.steps.abreast import groups, head
    from bis.steps.uploaded import with_uploaded

    here = datetime.now().astimezone().replace(tzinfo=None)
    found = [with_uploaded(home.ledger.find(parse(name, here)), home) for name in names]
    heads = [head(run) for run in found]
    if len(found) == 2:
        return _pair(home, heads, found)
    told = groups(found)
    rows = [Unlike(kind=group.name, name=row.name, values=row.values) for group in told for row in group.differing]
    return Compared(runs=heads, rows=rows, same=[group.name for group in told if not group.differing])


def _pair(home: Home, heads: list[Head], runs: Sequence[Any]) -> Compared:
    from bis.acts.explain import difference

    found = difference(runs[0], runs[1], home)
    rows: list[Unlike] = []
    same = []
    for part in found.parts:
        changes = [one for kind, some in found.changes.items() if kind == part.name for one in some]
        matter = [one for one in changes if one.weight == "matters"]
        if part.sameness in ("identical", "equivalent"):
            same.append(part.name)
        elif matter:
            rows += [
                Unlike(kind=part.name, name=one.name, values=(one.before, one.after), detail=one.detail.strip("\n"))
                for one in matter
            ]
        else:
            rows.append(Unlike(kind=part.name, name=part.name, values=_sides(part), detail=part.why))
    for kind, judged in (("metrics", found.metrics), ("outputs", found.outputs)):
        unlike = [one for one in judged if one.sameness not in ("identical", "equivalent")]
        rows += [Unlike(kind=kind, name=one.name, values=_sides(one), detail=one.detail or one.why) for one in unlike]
        if judged and not unlike:
            same.append(kind)
    return Compared(runs=heads, rows=rows, same=same)


def _sides(judged: Any) -> tuple[str | None, str | None]:
    return judged.before or None, judged.after or None


def _drawn(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[str, str], str]:
    """Small drawings of metrics that have a history, by run and metric. None of a ledger that cannot be asked now: they
    are beside the numbers, and never instead of them."""
    from bis.errors import BisError

    if os.environ.get("BIS_RUN") and around():
        return {}
    try:
        with _opened() as home:
            return runs_shown.drawn(home, rows, keys)
    except BisError:
        return {}


@contextmanager
def _opened() -> Iterator[Home]:
    """Raises NotFound where there is no ledger."""
    from bis.steps.home import open_home

    project = find_project(Path.cwd())
    home = open_home(project, load_settings(project, os.environ), create=False, variables=os.environ)
    try:
        yield home
    finally:
        home.ledger.close()


# -- under bis run -------------------------------------------------------------------------------------------------


def _answered(kind: str, question: Any, answer: type[T], find: Callable[[Home], T]) -> T:
    """What the ledger says. Under `bis run` it is declared as data of the run around this process: a repeat, which has
    no ledger, gives it again. Raises NotFound where there is neither."""
    if not (os.environ.get("BIS_RUN") and around()):
        with _opened() as home:
            return find(home)
    from bis.steps.model_place import data_folder

    project = find_project(Path.cwd())
    name = short(digest_value([os.fspath(project), *map(_plain, question)]), 20)
    place = data_folder(os.environ) / "models" / f"{kind}-{name}.json"
    try:
        with _opened() as home:
            found = find(home)
    except NotFound:
        if not place.is_file():
            raise
        found = msgspec.json.decode(place.read_bytes(), type=answer, strict=False)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}-{os.getpid()}")
        draft.write_bytes(canonical(found))
        draft.replace(place)
    data(place)
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# -- as a data frame -----------------------------------------------------------------------------------------------


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise UsageError("a data frame needs pandas", hint="pip install pandas") from None
    return pandas


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
