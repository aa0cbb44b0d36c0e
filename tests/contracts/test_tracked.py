"""Runs, experiments and models that clients log, on every database: what is kept, what is refused, and in which pages
it is found."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.errors import AlreadyThere, UsageError
from bis.ledger import batches, experiments, logged_models, tracked
from bis.ledger.filter import Unfit
from bis.ledger.grammar import EXPERIMENTS
from bis.ledger.logged_models import By, OnData
from bis.ledger.places import database_at
from bis.ledger.refusals import BadToken, NoSuch, ParamChanged, Removed, Sealed
from bis.ledger.search import Query, both, compile_filter, compile_order
from bis.nouns.tracking import Described, Point, UsedData, UsedModel

NOW = 1_790_000_000_000_000


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Any]:
    """A transaction that is open for the whole test."""
    with contextlib.closing(database_at(ledger_place)) as base, base.writing(durable=False) as connection:
        yield connection


def a_run(ledger: Any, number: int = 1, experiment: int = 0, started: int = NOW, **tags: str) -> str:
    id = f"{number:032x}"
    tracked.create(ledger, id, experiment=experiment, name=f"run{number}", user="ada", started=started, tags=tags)
    return id


def found(ledger: Any, filter: str = "", order: tuple[str, ...] = (), **asked: Any) -> list[str]:
    runs, _ = tracked.search(ledger, compile_filter(filter), compile_order(order), **{"limit": 100, **asked})
    return [run.name for run in runs]


# runs


def test_what_a_client_logs_is_read_back(ledger: Any) -> None:
    id = a_run(ledger, team="fraud")
    batches.log(ledger, id, [Point("loss", 0.5, 10, 1), Point("loss", math.inf, 9, 2)], {"lr": "0.1"}, {"stage": "x"})
    tracked.update(ledger, id, status="failed", ended=NOW + 5, name="second")
    run = tracked.get(ledger, id)
    assert (run.name, run.status, run.ended, run.user, run.sealed) == ("second", "failed", NOW + 5, "ada", False)
    assert (run.params, run.tags) == ({"lr": "0.1"}, {"team": "fraud", "stage": "x"})
    assert run.metrics == (Point("loss", math.inf, 9, 2),)
    assert run.artifacts == f"mlflow-artifacts:/0/{id}/artifacts"


def test_a_param_keeps_its_first_value_and_nothing_of_the_batch_that_changes_it_is_kept_by_the_writer(
    ledger: Any,
) -> None:
    id = a_run(ledger)
    tracked.log_params(ledger, id, {"lr": "0.1"})
    tracked.log_params(ledger, id, {"lr": "0.1", "depth": "3"})
    with pytest.raises(ParamChanged) as refused:
        tracked.log_params(ledger, id, {"depth": "4", "new": "1"})
    assert refused.value.changes == [("depth", "3", "4")]
    assert tracked.get(ledger, id).params == {"lr": "0.1", "depth": "3"}


def test_a_removed_run_is_restored_before_it_is_logged_to(ledger: Any) -> None:
    id = a_run(ledger)
    tracked.remove(ledger, id, NOW)
    with pytest.raises(Removed):
        tracked.set_tags(ledger, id, {"a": "b"})
    assert [found(ledger, removed=which) for which in (False, True, None)] == [[], ["run1"], ["run1"]]
    tracked.restore(ledger, id)
    tracked.set_tags(ledger, id, {"a": "b"})
    assert found(ledger, "tags.a = 'b'") == ["run1"]


def test_a_sealed_run_is_seen_and_nothing_is_logged_to_it(ledger: Any) -> None:
    a_run(ledger)
    ledger.execute("UPDATE runs SET tracked = 0")
    assert tracked.get(ledger, f"{1:032x}").sealed
    for change in (
        lambda: tracked.log_params(ledger, f"{1:032x}", {"a": "b"}),
        lambda: tracked.remove(ledger, f"{1:032x}", NOW),
        lambda: tracked.move(ledger, f"{1:032x}", 0),
    ):
        with pytest.raises(Sealed):
            change()


def test_a_time_that_no_calendar_has_is_refused(ledger: Any) -> None:
    for moment in (10**20, -(10**18)):
        with pytest.raises(UsageError, match="no time"):
            a_run(ledger, started=moment)


def test_a_run_moves_to_another_experiment_and_its_artifacts_stay(ledger: Any) -> None:
    id = a_run(ledger)
    other = experiments.create(ledger, "other", "s3://bucket/there?region=x", {}, NOW)
    tracked.move(ledger, id, other)
    assert (tracked.get(ledger, id).experiment, tracked.get(ledger, id).artifacts) == (
        other,
        f"mlflow-artifacts:/0/{id}/artifacts",
    )
    assert tracked.get(ledger, a_run(ledger, 2, other)).artifacts == (f"s3://bucket/there/{2:032x}/artifacts?region=x")


# experiments


def test_an_experiment_takes_its_runs_along_when_it_is_removed_and_brings_those_back(ledger: Any) -> None:
    id = experiments.create(ledger, "a", "", {"k": "v"}, NOW)
    gone, here = a_run(ledger, 1, id), a_run(ledger, 2, id)
    tracked.remove(ledger, gone, NOW)
    experiments.remove(ledger, id, NOW + 1_000_000)
    assert found(ledger) == []
    with pytest.raises(Removed):
        a_run(ledger, 3, id)
    with pytest.raises(AlreadyThere, match="can be restored"):
        experiments.create(ledger, "a", "", {}, NOW)
    experiments.restore(ledger, id, NOW + 2_000_000)
    assert [tracked.get(ledger, one).removed != "" for one in (gone, here)] == [True, False]


def test_experiments_are_found_by_name_and_tags_the_newest_first(ledger: Any) -> None:
    for number, name in enumerate(("churn-1", "churn-2", "Fraud")):
        experiments.create(ledger, name, "", {"team": name[:2]} if number else {}, NOW + number * 1000)

    def names(filter: str, *order: str) -> list[str]:
        asked, by = compile_filter(filter, EXPERIMENTS), compile_order(order, EXPERIMENTS)
        return [one.name for one in experiments.search(ledger, asked, by, limit=10)[0]]

    assert names("name LIKE 'churn%'", "creation_time DESC") == ["churn-2", "churn-1"]
    assert names("name ILIKE 'f%' AND tags.team = 'Fr'") == ["Fraud"]
    assert names("tags.team IS NULL", "name") == ["Default", "churn-1"]
    assert names(f"creation_time = {NOW // 1000 + 1}") == ["churn-2"]
    for wrong in ("name IS NULL", "name < 'x'", "metrics.loss < 1", "size = 1"):
        with pytest.raises(Unfit):
            names(wrong)


# search


def test_runs_are_found_by_the_data_that_they_read(ledger: Any) -> None:
    for number, name in enumerate(("iris", "wine"), start=1):
        data = UsedData(Described(name, f"d{number}"), {}, "training" if number == 1 else "")
        tracked.log_inputs(ledger, a_run(ledger, number), [data, data], [UsedModel("m-1")])
    assert found(ledger, "datasets.name = 'iris'") == ["run1"]
    assert found(ledger, "dataset.context = 'training' AND dataset.digest IN ('d1', 'd2')") == ["run1"]
    assert found(ledger, "dataset.name LIKE '%i%'", ("run_name",)) == ["run1", "run2"]
    with pytest.raises(Unfit, match="no field 'size'"):
        found(ledger, "dataset.size = 1")


def test_what_has_no_value_comes_last_and_nan_before_it_whichever_way_it_is_ordered(ledger: Any) -> None:
    for number, value in enumerate((1.0, math.nan, -math.inf, None, 0.5), start=1):
        id = a_run(ledger, number)
        batches.log(ledger, id, [] if value is None else [Point("loss", value)])
    assert found(ledger, order=("metrics.loss",)) == ["run3", "run5", "run1", "run2", "run4"]
    assert found(ledger, order=("metrics.loss DESC",)) == ["run1", "run5", "run3", "run2", "run4"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(
        st.tuples(
            st.sampled_from([None, math.nan, -1.0, 0.0, 2.5]), st.sampled_from(["", "a", "b"]), st.integers(0, 3)
        ),
        min_size=1,
        max_size=12,
    ),
    order=st.lists(
        st.sampled_from(["metrics.loss", "metrics.loss DESC", "tags.t", "params.p DESC", "start_time", "end_time"]),
        max_size=3,
        unique_by=lambda term: term.split()[0],
    ),
    limit=st.integers(1, 5),
)
def test_pages_hold_each_run_once_in_order_also_when_runs_come_meanwhile(
    ledger: Any, runs: list[tuple[float | None, str, int]], order: list[str], limit: int
) -> None:
    for table in ("runs", "params", "metrics", "tags"):
        ledger.execute(f"DELETE FROM {table}")
    for number, (value, text, started) in enumerate(runs):
        id = a_run(ledger, number, started=started, **({"t": text} if text else {}))
        batches.log(ledger, id, [] if value is None else [Point("loss", value)], {"p": text} if text else {})
    whole = found(ledger, order=tuple(order))
    pages: list[str] = []
    place = None
    while True:
        page, place = tracked.search(
            ledger, Query("name LIKE 'run%'", ()), compile_order(order), limit=limit, after=place
        )
        pages += [run.name for run in page]
        if place is None:
            break
        came = a_run(ledger, 1000 + len(pages), started=4)
        tracked.update(ledger, came, name=f"later{came}")
    assert [name for name in pages if name in whole] == whole
    assert len(pages) == len(set(pages))


def test_a_place_in_another_order_is_refused(ledger: Any) -> None:
    with pytest.raises(BadToken):
        tracked.search(ledger, Query("", ()), compile_order(["metrics.loss"]), limit=1, after=[1, 2])


def test_an_order_names_a_field_once(ledger: Any) -> None:
    with pytest.raises(Unfit, match="twice"):
        compile_order(["metrics.loss", "metrics.loss DESC"])


def test_conditions_are_joined_and_empty_ones_left_out() -> None:
    assert both(Query("a = ?", (1,)), Query("", ()), Query("b = ?", (2,))) == Query("a = ? AND b = ?", (1, 2))


# logged models


def a_model(ledger: Any, number: int, **params: str) -> str:
    id = f"m-{number:032x}"
    logged_models.create(
        ledger, id, experiment=0, name=f"model{number}", run="", type="", params=params, tags={}, now=NOW + number
    )
    return id


def models(ledger: Any, filter: str = "", **asked: Any) -> list[str]:
    return [model.name for model in logged_models.search(ledger, [0], filter=filter, **{"limit": 10, **asked})[0]]


def test_models_are_found_by_what_was_measured_of_them_on_which_data(ledger: Any) -> None:
    one, two, run = a_model(ledger, 1), a_model(ledger, 2), a_run(ledger)
    for model, name, value, moment in (
        *((one, "train", 0.9, 1), (one, "test", 0.6, 2)),
        *((two, "train", 0.8, 3), (two, "test", 0.7, 4)),
    ):
        batches.log(ledger, run, [Point("accuracy", value, moment, 0, model, (name, "d"))])
    assert models(ledger, "metrics.accuracy > 0.85") == ["model1"]
    assert models(ledger, "metrics.accuracy > 0.85", on=[OnData("test")]) == []
    assert models(ledger, on=[OnData("train", "other")]) == []
    assert models(ledger, order=[By("metrics.accuracy", True, OnData("train"))]) == ["model1", "model2"]
    assert models(ledger, order=[By("metrics.accuracy", True, OnData("test", "d"))]) == ["model2", "model1"]
    assert models(ledger, order=[By("metrics.accuracy", False, OnData("", "d"))]) == ["model1", "model2"]
    (measured, _) = logged_models.get(ledger, one).metrics
    assert (measured.run, measured.point.dataset, measured.point.model) == (run, ("train", "d"), one)


def test_a_model_shows_every_point_that_is_about_it_and_is_found_by_any_of_them(ledger: Any) -> None:
    model, run, other = a_model(ledger, 1), a_run(ledger), a_run(ledger, 2)
    a_model(ledger, 2)
    points = [Point("loss", 1.0 - step / 4, step, step, model) for step in range(4)]
    batches.log(ledger, run, points)
    batches.log(ledger, run, [*points[:2], Point("loss", math.nan, 9, 9, model), Point("loss", 0.1, 0, 0, model)])
    batches.log(ledger, other, [Point("loss", 5.0, 0, 0, model)])
    shown = [(one.run, one.point.step, one.point.value) for one in logged_models.get(ledger, model).metrics]
    assert sorted(shown[:2]) == sorted([(run, 0, 1.0), (other, 0, 5.0)])
    assert shown[2:5] == [(run, 1, 0.75), (run, 2, 0.5), (run, 3, 0.25)]
    assert (len(shown), shown[5][:2], math.isnan(shown[5][2])) == (6, (run, 9), True)
    for asked in ("metrics.loss > 4.5", "metrics.loss = 0.75", "metrics.loss < 0.3", "metrics.loss != 1"):
        assert models(ledger, asked) == ["model1"]
    assert models(ledger, "metrics.loss < 0.25") == []


def test_models_are_paged_and_a_removed_one_is_gone(ledger: Any) -> None:
    ids = [a_model(ledger, number, depth=str(number)) for number in (1, 2, 3)]
    page, place = logged_models.search(ledger, [0], limit=2)
    a_model(ledger, 4)
    rest, end = logged_models.search(ledger, [0], limit=2, after=place)
    assert ([one.name for one in (*page, *rest)], end) == (["model3", "model2", "model1"], None)
    logged_models.remove(ledger, ids[1], NOW)
    assert models(ledger, "params.depth IN ('1', '2')") == ["model1"]
    with pytest.raises(NoSuch):
        logged_models.get(ledger, ids[1])
    assert logged_models.get(ledger, ids[1], removed=True).name == "model2"
    with pytest.raises(NoSuch):
        logged_models.drop_tag(ledger, ids[0], "none")
