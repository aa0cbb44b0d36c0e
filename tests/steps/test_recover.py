"""Runs under way are sealed when they are lost, and only then."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from bis.digest import canonical
from bis.nouns.run import Run
from bis.settings import Settings
from bis.steps.home import Home, open_home
from bis.steps.recover import alone, recover_lost
from bis.steps.samples import started_at
from bis.steps.seal import seal

RUN = Run(id="a" * 12, name="train-1", command=("true",), started="2026-05-03T00:00:00.000000Z", status="running")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path, Settings())


@pytest.fixture
def left(home: Home) -> Path:
    """What a supervisor leaves that was killed."""
    scratch = home.live / RUN.id
    scratch.mkdir()
    (scratch / "run").write_bytes(msgspec.json.encode(RUN))
    home.ledger.begin(RUN)
    return scratch


def test_a_run_whose_supervisor_is_gone_is_sealed_as_lost(home: Home, left: Path) -> None:
    (lost,) = recover_lost(home, {})
    assert (lost.status, home.ledger.get(RUN.id).status) == ("lost", "lost")
    assert not left.exists()


@pytest.mark.parametrize("end", [b"{}", b'{"time_ns": "soon"}'])
def test_a_run_that_cannot_be_read_back_says_so_and_is_in_nobodys_way(home: Home, left: Path, end: bytes) -> None:
    (left / "order").write_bytes(
        b'{"started_ns": 1, "mode": "audit", "facts": {}, "screen": {}, "roots": [], "inside": ""}'
    )
    (left / "end").write_bytes(end)
    (lost,) = recover_lost(home, {})
    assert lost.status == home.ledger.get(RUN.id).status == "lost"
    assert [finding.code for finding in lost.findings] == ["lost-unread"]
    assert (home.folder / "unread" / RUN.id / "end").read_bytes() == end
    assert recover_lost(home, {}) == []


def test_a_run_that_was_sealed_stays_as_it_was(home: Home, left: Path) -> None:
    """Its supervisor was killed, or simply ended, between the seal and the removal of its folder."""
    sealed = msgspec.structs.replace(RUN, status="finished", exit=0)
    record = seal(sealed, home.store, home.ledger)
    assert recover_lost(home, {}) == []
    assert (home.ledger.get(RUN.id), home.ledger.record(RUN.id)) == (sealed, record)
    assert not left.exists()


def test_a_run_whose_record_was_written_last_is_not_lost(home: Home, left: Path) -> None:
    """Its supervisor was killed before it could tell the ledger."""
    sealed = msgspec.structs.replace(RUN, status="finished", exit=0)
    record = home.store.put_bytes(canonical(sealed), "record")
    home.store.put_bytes(canonical(msgspec.structs.replace(sealed, id="b" * 12)), "record")
    home.store.flush()
    assert recover_lost(home, {}) == []
    assert (home.ledger.get(RUN.id), home.ledger.record(RUN.id)) == (sealed, record)
    assert home.ledger.count() == 1


def test_a_lost_run_is_sealed_by_one_commandalone(home: Home, left: Path) -> None:
    with alone(left) as ours:
        assert ours
        assert recover_lost(home, {}) == []
        assert home.ledger.get(RUN.id).status == "running"
    assert len(recover_lost(home, {})) == 1


def test_a_folder_that_is_gone_when_it_is_looked_at_is_nobodys(home: Home, left: Path) -> None:
    shutil.rmtree(left)
    with alone(left) as ours:
        assert not ours


def test_a_run_whose_parts_are_still_captured_is_not_taken_away_however_long_that_lasts(home: Home) -> None:
    scratch = home.live / RUN.id
    scratch.mkdir()
    (scratch / "supervisor").write_text(f"{os.getpid()} {started_at(os.getpid())}")
    os.utime(scratch, (0, 0))
    assert recover_lost(home, {}) == []
    assert scratch.exists()
    (scratch / "supervisor").write_text(f"{os.getpid()} 1")
    os.utime(scratch, (0, 0))
    assert recover_lost(home, {}) == []
    assert not scratch.exists()
