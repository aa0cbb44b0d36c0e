"""Records of runs that clients log, on every database: written once, again after a change, and taken back."""

import contextlib
from pathlib import Path

import msgspec

from bis.digest import canonical, digest_bytes
from bis.ledger import artifacts, batches, kept, logged_models, tracked
from bis.ledger.places import database_at
from bis.nouns.tracking import Point

NOW = 1_790_000_000_000_000
ID = "a" * 32


def test_a_run_is_claimed_when_it_has_ended_and_again_when_it_has_changed(
    ledger_place: Path | str, tmp_path: Path
) -> None:
    with contextlib.closing(database_at(ledger_place)) as base, base.writing(durable=False) as ledger:
        tracked.create(ledger, ID, experiment=0, name="first", user="ada", started=NOW, tags={"team": "x"})
        batches.log(ledger, ID, [Point("loss", step / 7, step, step) for step in range(5000)], {"lr": "0.1"})
        own = kept.token(NOW, "one")
        assert not kept.are_there(ledger, NOW, 0)
        tracked.update(ledger, ID, status="finished", ended=NOW)
        ((seq, _),) = kept.claim(ledger, own, NOW, 0, 10)
        assert kept.claim(ledger, kept.token(NOW, "two"), NOW, 0, 10) == []
        value = kept.facts(ledger, ID, NOW)
        assert list(kept.every_point(ledger, seq)) == [Point("loss", step / 7, step, step) for step in range(5000)]
        tracked.set_tags(ledger, ID, {"late": "yes"})
        kept.note(ledger, seq, own, value, digest_bytes(canonical(value)))
        assert kept.are_there(ledger, NOW, 0), "it was changed while the record was written"
        ((seq, _),) = kept.claim(ledger, own, NOW, 0, 10)
        value = kept.facts(ledger, ID, NOW + 1)
        record = digest_bytes(canonical(value))
        kept.note(ledger, seq, own, value, record)
        assert (kept.are_there(ledger, NOW, 0), kept.newest(ledger, ID)) == (False, record)
    other = tmp_path / "other"
    with contextlib.closing(database_at(other)) as base, base.writing(durable=False) as ledger:
        assert kept.take(ledger, value, record)
        without_points = msgspec.structs.replace(value, metrics={})
        assert kept.facts(ledger, ID, NOW + 1) == without_points, "points come with the history"


def test_a_record_speaks_of_its_own_files_alone(ledger_place: str | Path) -> None:
    """A record may come from somebody else."""
    with contextlib.closing(database_at(ledger_place)) as database, database.writing() as connection:
        experiment = {"experiment": 0, "user": "", "started": 1, "tags": {}}
        mine = tracked.create(connection, "a" * 32, name="mine", **experiment)
        theirs = tracked.create(connection, "b" * 32, name="theirs", **experiment)
        artifacts.put(connection, f"0/{mine.id}/artifacts/model.bin", digest_bytes(b"mine"), 4, 1)
        tracked.update(connection, theirs.id, status="finished", ended=2)
        said = msgspec.structs.replace(kept.facts(connection, theirs.id, 3), id="c" * 32, place=mine.artifacts)
        assert kept.take(connection, said, digest_bytes(canonical(said)))
        assert [one.path for one in artifacts.below(connection, f"0/{mine.id}/artifacts")] == [
            f"0/{mine.id}/artifacts/model.bin"
        ]


def test_a_record_brings_every_point_of_its_models_and_leaves_those_of_other_runs(
    ledger_place: str | Path, tmp_path: Path
) -> None:
    experiment = {"experiment": 0, "user": "", "started": 1, "tags": {}}
    model = {"name": "forest", "type": "", "params": {}, "tags": {}, "now": NOW, "experiment": 0}
    with contextlib.closing(database_at(ledger_place)) as database, database.writing() as connection:
        tracked.create(connection, ID, name="first", **experiment)
        logged_models.create(connection, "m-1", run=ID, **model)
        batches.log(connection, ID, [Point("loss", 1.0 / step, step, step, "m-1") for step in (1, 2, 3)])
        tracked.update(connection, ID, status="finished", ended=2)
        there, value = logged_models.get(connection, "m-1"), kept.facts(connection, ID, NOW)
    with contextlib.closing(database_at(tmp_path / "other")) as database, database.writing() as connection:
        assert kept.take(connection, value, digest_bytes(canonical(value)))
        assert logged_models.get(connection, "m-1").metrics == there.metrics
        (saved,) = value.models
        claims = (msgspec.structs.replace(saved, name="mine now", metrics=()),)
        forged = msgspec.structs.replace(value, id="b" * 32, models=claims)
        kept.take(connection, forged, digest_bytes(canonical(forged)))
        model_after = logged_models.get(connection, "m-1")
        assert (model_after.name, model_after.run, model_after.metrics) == ("forest", ID, there.metrics)
