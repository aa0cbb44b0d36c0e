"""What clients removed is deleted for good, on every database: all of it, and nothing that somebody needs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.digest import digest_bytes
from bis.errors import NotFound
from bis.ledger import artifacts, batches, collecting, experiments, gone, history, logged_models, registry, tracked
from bis.ledger.collecting import Counted, Version
from bis.ledger.places import database_at
from bis.ledger.refusals import Collected, NoSuch
from bis.nouns.model import By
from bis.nouns.tracking import Described, Point, UsedData, UsedModel

NOW = 1_790_000_000_000_000
HOUR = 3_600_000_000
DATA = UsedData(Described("iris", "d1", "local", "{}"), {}, "training")
TABLES = ("runs", "params", "tags", "metrics", "metric_tail", "metric_chunks", "series", "run_datasets", "run_models")


def by(at: int) -> By:
    return By("ada", at)


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Any]:
    """A transaction that is open for the whole test."""
    with contextlib.closing(database_at(ledger_place)) as base, base.writing(durable=False) as connection:
        yield connection


def a_run(ledger: Any, number: int = 1, experiment: int = 0) -> str:
    """With something in every table, and a model file of 100 bytes."""
    id, model = f"{number:032x}", f"m-{number:032x}"
    tracked.create(ledger, id, experiment=experiment, name=f"run{number}", user="ada", started=NOW, tags={"team": "x"})
    batches.log(ledger, id, [Point("loss", 1 / (step + 1), step, step) for step in range(5000)], {"lr": "0.1"})
    tracked.log_inputs(ledger, id, [DATA], [UsedModel("m-of-another")])
    logged_models.create(
        ledger, model, experiment=experiment, name="net", run=id, type="", params={"a": "1"}, tags={"b": "2"}, now=NOW
    )
    tracked.log_outputs(ledger, id, [UsedModel(model)])
    batches.log(ledger, id, [Point("auc", 0.9, 1, 1, model, ("iris", "d1"))])
    for folder in (f"{experiment}/{id}", f"{experiment}/models/{model}"):
        artifacts.put(ledger, f"{folder}/artifacts/model/weights", digest_bytes(folder.encode()), 100, NOW)
    tracked.update(ledger, id, status="finished", ended=NOW + 5)
    return id


def rows(ledger: Any, *tables: str) -> int:
    return sum(ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


def collect(ledger: Any, until: int) -> Counted:
    doomed = collecting.doomed(ledger, until)
    for step in collecting.steps(doomed):
        collecting.delete(ledger, step, by(until))
    return collecting.counted(doomed)


def test_a_run_is_deleted_with_all_its_rows_and_the_rows_of_others_stay(ledger: Any) -> None:
    other = a_run(ledger, 1)
    before, data = rows(ledger, *TABLES), rows(ledger, "tracked_datasets")
    id = a_run(ledger, 2)
    tracked.remove(ledger, id, NOW)
    assert collect(ledger, NOW) == Counted(runs=1, files=1, size=100)
    assert (rows(ledger, *TABLES), rows(ledger, "tracked_datasets")) == (before, data)
    assert [one.path for one in artifacts.below(ledger, "0")] == [
        f"0/{other}/artifacts/model/weights",
        *(f"0/models/m-{number:032x}/artifacts/model/weights" for number in (1, 2)),
    ]
    logged_models.remove(ledger, f"m-{2:032x}", NOW)
    assert collect(ledger, NOW).logged_models == 1
    assert rows(ledger, "logged_model_params", "logged_model_tags", "logged_model_metrics") == 3
    tracked.remove(ledger, other, NOW)
    logged_models.remove(ledger, f"m-{1:032x}", NOW)
    assert collect(ledger, NOW).runs == 1
    assert rows(ledger, *TABLES, "tracked_datasets", "artifacts", "logged_models", "logged_model_metrics") == 0


def test_what_was_removed_lately_or_restored_stays(ledger: Any) -> None:
    lately, back = a_run(ledger, 1), a_run(ledger, 2)
    tracked.remove(ledger, lately, NOW + HOUR)
    tracked.remove(ledger, back, NOW)
    doomed = collecting.doomed(ledger, NOW)
    assert doomed.runs == (back,)
    tracked.restore(ledger, back)
    for step in collecting.steps(doomed):
        collecting.delete(ledger, step, by(NOW))
    assert {tracked.get(ledger, id).params["lr"] for id in (lately, back)} == {"0.1"}
    assert rows(ledger, "artifacts") == 4


def test_who_restores_what_was_collected_is_told_that_it_is_gone(ledger: Any) -> None:
    id = a_run(ledger)
    tracked.remove(ledger, id, NOW)
    tracked.restore(ledger, id)
    tracked.remove(ledger, id, NOW)
    collect(ledger, NOW)
    with pytest.raises(Collected, match="is gone: it was removed, and collected on 2026"):
        tracked.restore(ledger, id)
    with pytest.raises(Collected):
        gone.refuse_run(ledger, id[:8])
    with pytest.raises(NoSuch) as refused:
        tracked.restore(ledger, "f" * 32)
    assert not isinstance(refused.value, Collected)


def test_an_experiment_goes_with_all_in_it_and_its_name_is_free(ledger: Any) -> None:
    number = experiments.create(ledger, "old", "", {"a": "b"}, NOW)
    id = a_run(ledger, 1, number)
    experiments.remove(ledger, number, NOW)
    assert collect(ledger, NOW) == Counted(runs=1, experiments=1, logged_models=1, files=2, size=200)
    assert rows(ledger, *TABLES, "experiment_tags", "tracked_datasets", "artifacts") == 0
    assert experiments.create(ledger, "old", "", {}, NOW) > number, "a number is not given again"
    with pytest.raises(NotFound):
        tracked.get(ledger, id)


def test_an_experiment_of_which_a_run_was_restored_stays_with_it(ledger: Any) -> None:
    number = experiments.create(ledger, "old", "", {}, NOW)
    a_run(ledger, 1, number)
    back = a_run(ledger, 2, number)
    experiments.remove(ledger, number, NOW)
    tracked.restore(ledger, back)
    assert collect(ledger, NOW) == Counted(runs=1, logged_models=2, files=3, size=300)
    assert experiments.get(ledger, number).name == "old"


@pytest.mark.parametrize("source", ["runs:/{id}/model", "mlflow-artifacts:/0/{id}/artifacts/model", "models:/m-{id}"])
def test_a_registered_version_keeps_what_it_came_from(ledger: Any, source: str) -> None:
    id = a_run(ledger)
    registry.create(ledger, "churn", by(NOW))
    registry.add_version(ledger, "churn", by(NOW), source=source.format(id=id))
    tracked.remove(ledger, id, NOW)
    logged_models.remove(ledger, f"m-{id}", NOW)
    done = collect(ledger, NOW)
    assert (done.kept, done.runs + done.logged_models) == (1, 1)
    registry.remove_version(ledger, "churn", 1, by(NOW + HOUR))
    assert collect(ledger, NOW).kept == 1, "the version can still be restored"
    registry.restore_version(ledger, "churn", 1, by(NOW + HOUR))
    registry.remove_version(ledger, "churn", 1, by(NOW + HOUR))
    done = collect(ledger, NOW + HOUR)
    assert (done.kept, done.versions, done.runs + done.logged_models) == (0, 1, 1)
    assert rows(ledger, "artifacts") == 0


def test_of_a_model_its_history_is_left_and_its_numbers_stay_given(ledger: Any) -> None:
    registry.create(ledger, "churn", by(NOW), tags={"team": "x"})
    for number in (1, 2, 3):
        registry.add_version(ledger, "churn", by(NOW), source="s", tags={"n": str(number)})
    registry.set_alias(ledger, "churn", "champion", 2, by(NOW))
    third = registry.remove_version(ledger, "churn", 3, by(NOW)).record
    model = registry.get(ledger, "churn")
    assert collecting.doomed(ledger, NOW).versions == (Version(model.id, 3, third),)
    assert collect(ledger, NOW) == Counted(versions=1)
    with pytest.raises(Collected, match="model version 3 of churn is gone"):
        registry.restore_version(ledger, "churn", 3, by(NOW))
    assert [one.number for one in registry.versions(ledger)] == [2, 1]
    registry.remove(ledger, "churn", by(NOW))
    assert collect(ledger, NOW) == Counted(models=1)
    assert rows(ledger, "registered_models", "model_versions", "model_version_tags", "model_aliases") == 0
    with pytest.raises(Collected, match="registered model churn is gone"):
        registry.restore(ledger, "churn", by(NOW))
    gone_id = model.id
    told = history.events(ledger, registry.once(ledger, "churn"))
    assert (told[0].action, told[-1].action) == ("collected", "created")
    assert registry.create(ledger, "churn", by(NOW)).id > gone_id
    assert registry.add_version(ledger, "churn", by(NOW), source="s").number == 4
