"""Rebuilding a ledger from the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.digest import canonical, digest_value
from bis.ledger.runs import SqlLedger, open_ledger, reindex
from bis.nouns.annotation import Annotation
from bis.nouns.dataset import DataAnnotation, DataVersion
from bis.nouns.part import Part
from bis.nouns.run import Run
from bis.nouns.verdict import Verdict
from bis.store.local import LocalStore, open_store


def a_run(number: int, **fields: Any) -> Run:
    started = f"2026-05-03T00:00:{number:02}.000000Z"
    plain = {"id": f"{number:012x}", "name": f"run-{number}", "command": ("python", "x.py"), "started": started}
    return Run(**{**plain, "status": "finished", **fields})


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[SqlLedger]:
    with open_ledger(ledger_place) as ledger:
        yield ledger


@pytest.fixture
def kept(tmp_path: Path) -> LocalStore:
    """A store with the records of two runs, a verdict and two annotations, and other things."""
    store = open_store(tmp_path / "store")
    one = a_run(1, metrics={"loss": float("nan")})
    verdict = Verdict(run=one.id, again=a_run(2).id, sameness="identical", made=one.started)
    said = Annotation(run=one.id, made=one.started, tags={"state": "draft"})
    again = Annotation(run=one.id, made=a_run(2).started, tags={"state": "final"}, note="the one that we ship")
    for value in (one, a_run(2), verdict, said, again):
        store.put_bytes(canonical(value), "record")
    store.put_bytes(b'{"schema":"bis.later/7"}', "record")
    store.put_bytes(b"no json", "record")
    store.put_bytes(b"weights")
    store.flush()
    return store


def test_a_ledger_can_be_rebuilt_from_the_records_of_the_store(ledger: SqlLedger, kept: LocalStore) -> None:
    seen: list[tuple[int, int]] = []
    assert reindex(kept, ledger, lambda done, total: seen.append((done, total))) == 7
    assert seen[-1] == (7, 7)
    assert [(row.name, row.verdict) for row in ledger.rows()] == [("run-2", ""), ("run-1", "identical")]
    assert (ledger.rows()[1].tags, ledger.rows()[1].note) == ({"state": "final"}, "the one that we ship")
    run = a_run(2)
    assert ledger.get(run.id) == run
    assert kept.get_bytes(ledger.record(run.id)) == canonical(run)
    assert [verdict.sameness for verdict in ledger.verdicts(a_run(1).id)] == ["identical"]


def test_rebuilding_brings_data_back_and_which_runs_used_it(ledger: SqlLedger, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    file = digest_value("a file")
    version = DataVersion(name="x", number=1, made=a_run(1).started, tree=file, content=file)
    record = store.put_bytes(canonical(version), "record")
    store.put_bytes(
        canonical(DataAnnotation(name="x", about=(record,), made=a_run(2).started, tags=("live",))), "record"
    )
    used = Part(kind="data", digest=file, facts={"inputs": [{"path": "x.csv", "digest": file, "size": 1}]})
    store.put_bytes(canonical(a_run(3, parts={"data": used})), "record")
    store.flush()
    assert reindex(store, ledger) == 3
    (held,) = ledger.data.versions("x")
    assert (held.version, held.record, held.tags) == (version, record, ("live",))
    assert ledger.data.users([file]) == [a_run(3).id]
    assert ledger.records() == set(store.list("record"))


def test_rebuilding_again_changes_nothing(ledger: SqlLedger, kept: LocalStore) -> None:
    reindex(kept, ledger)
    before = [canonical(row) for row in ledger.rows()]
    ledger.begin(a_run(9, status="running"))
    reindex(kept, ledger)
    assert [canonical(row) for row in ledger.rows()[1:]] == before
    assert ledger.rows()[0].status == "running"


def test_a_run_whose_sealing_was_cut_off_before_the_ledger_heard_of_it_is_found(
    ledger: SqlLedger, kept: LocalStore
) -> None:
    ledger.begin(a_run(2, status="running"))
    reindex(kept, ledger)
    assert ledger.get(a_run(2).id).status == "finished"


def test_of_two_records_of_a_run_one_and_the_same_counts_whenever_a_ledger_is_rebuilt(
    ledger: SqlLedger, kept: LocalStore
) -> None:
    written = [
        kept.put_bytes(canonical(a_run(5, note=text, history=kept.put_bytes(b"no points"))), "record")
        for text in "abcd"
    ]
    kept.flush()
    reindex(kept, ledger)
    assert ledger.record(a_run(5).id) == min(written)
    assert [other.record for other in ledger.passed_over()] == sorted(written)[1:]
    assert ledger.records() >= set(written)


def test_a_damaged_record_does_not_keep_the_others_from_being_found(ledger: SqlLedger, kept: LocalStore) -> None:
    (pack,) = kept.packs.glob("*.pack")
    content = pack.read_bytes()
    at = content.find(b'"name"') if b'"name"' in content else len(content) // 3
    pack.chmod(0o644)
    pack.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    reindex(open_store(kept.path), ledger)
    assert len(ledger.rows()) >= 1
