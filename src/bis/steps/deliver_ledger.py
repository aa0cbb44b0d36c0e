"""The ledger of a project as the place for runs that scripts begin."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bis.ledger import experiments, locations, points, tracked
from bis.ledger.moments import micros
from bis.ledger.naming import drawn_name
from bis.ledger.refusals import NoSuch
from bis.ledger.runs import SqlLedger
from bis.nouns.logged import Entry, File, Params, Tags, Values
from bis.nouns.run import Status
from bis.nouns.tracking import Point
from bis.steps.deliver import Beginning
from bis.steps.home import Home


class Recorded:
    """Takes runs into a ledger, and their artifacts into the store beside it."""

    def __init__(self, home: Home) -> None:
        assert isinstance(home.ledger, SqlLedger)
        self._home, self._database = home, home.ledger.database

    def begin(self, beginning: Beginning) -> None:
        moment = micros(beginning.started)
        with self._database.writing() as connection:
            with suppress(NoSuch):
                tracked.get(connection, beginning.id)
                return  # by a process that was killed before it could note it
            experiment = 0
            if beginning.experiment:
                try:
                    experiment = experiments.find(connection, beginning.experiment).id
                except NoSuch:
                    experiment = experiments.create(connection, beginning.experiment, "", {}, moment)
            name = beginning.name or drawn_name()
            told = {
                "mlflow.runName": name,
                "mlflow.user": beginning.user,
                "mlflow.source.name": " ".join(beginning.command),
                "mlflow.note.content": beginning.note,
                "mlflow.parentRunId": beginning.parent,
            }
            tracked.create(
                connection,
                beginning.id,
                experiment=experiment,
                name=name,
                user=beginning.user,
                started=moment,
                tags={key: value for key, value in told.items() if value},
            )

    def take(self, beginning: Beginning, told: Sequence[Entry], folder: Path) -> None:
        files = {entry.path: folder / entry.content for entry in told if isinstance(entry, File)}
        kept = {name: (self._home.store.put_file(path), path.stat().st_size) for name, path in files.items()}
        if kept:
            self._home.store.flush()
        # What a kill of the process may lose in a power cut is still in the journal: only the end waits for the disk.
        with self._database.writing(durable=False) as connection:
            run = tracked.get(connection, beginning.id)
            seq = tracked.seq_of(connection, beginning.id)
            points.append(connection, seq, [point for entry in told for point in _points(entry)])
            for entry in told:
                match entry:
                    case Params():
                        tracked.log_params(connection, beginning.id, entry.values)
                    case Tags():
                        tracked.set_tags(connection, beginning.id, entry.values)
            for name, (digest, size) in kept.items():
                place = f"{locations.path_of(run.artifacts)}/{name}"
                locations.put(connection, place, digest, size, micros(beginning.started))

    def end(self, beginning: Beginning, status: Status, moment: int) -> None:
        with self._database.writing() as connection:
            tracked.update(connection, beginning.id, status=status, ended=moment * 1000)


def _points(entry: Entry) -> list[Point]:
    if not isinstance(entry, Values):
        return []
    return [Point(key, value, entry.moment, entry.step) for key, value in entry.values.items()]

