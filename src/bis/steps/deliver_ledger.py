"""The ledger of a project as the place for runs that scripts begin."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from bis.errors import UsageError
from bis.ledger import batches, experiments, inputs, locations, tracked
from bis.ledger.moments import micros
from bis.ledger.naming import drawn_name
from bis.ledger.refusals import NoSuch, Removed
from bis.ledger.runs import SqlLedger
from bis.nouns.artifact import path_of
from bis.nouns.logged import File, Input, Params, Saying, Tags, Values
from bis.nouns.run import Status
from bis.nouns.tracking import Described, Point, UsedData
from bis.steps.deliver import Beginning, Gone
from bis.steps.home import Home

DIGITS: Final = 36
"""Of a digest, as clients know it."""


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
                experiment = experiments.found_or_made(connection, beginning.experiment, moment)
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

    def take(self, beginning: Beginning, told: Sequence[Saying], folder: Path) -> None:
        try:
            self._take(beginning, told, folder)
        except (NoSuch, Removed):
            raise Gone("the ledger", beginning) from None
        except struct.error:
            said = f"a step of run {beginning.id[:8]} has more than 63 bits, and was not kept with its values"
            raise UsageError(said, hint="bis.log(step=...) takes numbers up to 9,223,372,036,854,775,807") from None

    def _take(self, beginning: Beginning, told: Sequence[Saying], folder: Path) -> None:
        files = {entry.path: folder / entry.content for entry in told if isinstance(entry, File)}
        kept = {name: (self._home.store.put_file(path), path.stat().st_size) for name, path in files.items()}
        if kept:
            self._home.store.flush()
        # What a kill of the process may lose in a power cut is still in the journal: only the end waits for the disk.
        with self._database.writing(durable=False) as connection:
            run = tracked.get(connection, beginning.id)
            batches.log(
                connection,
                beginning.id,
                [point for entry in told for point in _points(entry)],
                {key: value for entry in told if isinstance(entry, Params) for key, value in entry.values.items()},
                {key: value for entry in told if isinstance(entry, Tags) for key, value in entry.values.items()},
            )
            declared = [UsedData(_described(entry), {}, "") for entry in told if isinstance(entry, Input)]
            inputs.add_datasets(connection, tracked.seq_of(connection, beginning.id), run.experiment, declared)
            for name, (digest, size) in kept.items():
                place = f"{path_of(run.artifacts)}/{name}"
                locations.put(connection, place, digest, size, micros(beginning.started))

    def end(self, beginning: Beginning, status: Status, moment: int) -> None:
        try:
            with self._database.writing() as connection:
                tracked.update(connection, beginning.id, status=status, ended=moment * 1000)
        except (NoSuch, Removed):
            raise Gone("the ledger", beginning) from None


def _points(entry: Saying) -> list[Point]:
    if not isinstance(entry, Values):
        return []
    return [Point(key, value, entry.moment, entry.step) for key, value in entry.values.items()]


def _described(entry: Input) -> Described:
    source = {"uri": entry.path, "digest": entry.digest, "size": entry.size}
    name = entry.name or Path(entry.path).name
    return Described(name, entry.digest.removeprefix("b3:")[:DIGITS], "local", json.dumps(source), None, None)
