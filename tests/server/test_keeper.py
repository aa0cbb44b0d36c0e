"""The keeper of a server: what has ended comes into the store by itself, whatever went wrong before."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from bis.ledger import kept, tracked
from bis.ledger.places import database_at
from bis.server import keeper
from bis.store.local import LocalStore, open_store

ID = "a" * 32


class Faulty(LocalStore):
    """Fails once, as no store should."""

    failed = False

    def another(self) -> LocalStore:
        if not self.failed:
            self.failed = True
            raise ZeroDivisionError("a fault of ours")
        return super().another()


def test_a_fault_of_one_look_does_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper, "EVERY", 0.02)
    open_store(tmp_path / "store").close()
    store = Faulty(tmp_path / "store")
    with closing(database_at(tmp_path / "ledger")) as database, closing(store):
        with database.writing() as connection:
            tracked.create(connection, ID, experiment=0, name="first", user="", started=1, tags={})
            tracked.update(connection, ID, status="finished", ended=2)
        with closing(keeper.Keeper(database, store)):
            end = time.monotonic() + 20
            record = ""
            while not record and time.monotonic() < end:
                time.sleep(0.02)
                with database.reading() as connection:
                    record = kept.newest(connection, ID)
        assert store.failed
        assert "a fault of ours" in caplog.text
        assert record
        assert store.another().has(record)
