"""Lists of runs are the same whatever keeps the ledger; `tests/ledger/test_listed.py` says what they promise."""

from pathlib import Path

import pytest

from bis.ledger import groups, listed, points, searching, tracked
from bis.ledger.listed import View
from bis.ledger.runs import open_ledger
from bis.ledger.searching import Known
from bis.nouns.tracking import Point

START = 1_790_000_000_000_000


def test_a_list_counts_orders_and_groups_its_runs(ledger_place: Path | str) -> None:
    with open_ledger(ledger_place) as ledger:
        with ledger.database.writing() as connection:
            for number in range(40):
                id = f"{number:032x}"
                started, tags = START + number, {"team": "ab"[number % 2]}
                tracked.create(connection, id, experiment=0, name="r", user="", started=started, tags=tags)
                tracked.log_params(connection, id, {"lr": ("9", "10", "many")[number % 3]} if number % 8 else {})
                points.append(connection, tracked.seq_of(connection, id), [Point("auc", number / 40), Point("f1", 1.0)])
                if number % 10 == 0:
                    tracked.remove(connection, id, started)
        with ledger.database.reading() as connection:
            for filter in ("", "metrics.auc >= 0.5", "metrics.auc >= 0.5 AND tags.team = 'a'", "status = 'running'"):
                for view in (View(), View(experiment=0), View(removed=True, repeats=True), View(until=START + 30)):
                    found, _ = listed.rows(connection, filter, [], limit=100, view=view, known=Known(40, 40))
                    assert listed.count(connection, view, filter) == len(found)
            rows, place = listed.rows(connection, "", ["params.lr DESC"], limit=20, view=View())
            rest, _ = listed.rows(connection, "", ["params.lr DESC"], limit=20, view=View(), after=place)
            values = [row.params.get("lr") for row in (*rows, *rest)]
            assert list(dict.fromkeys(values)) == ["10", "9", "many", None]
            assert len(values) == len({row.id for row in (*rows, *rest)}) == 36
            assert listed.names(connection) == {"metrics": ["auc", "f1"], "params": ["lr"], "tags": ["team"]}
            found = groups.groups(connection, "params.lr", "auc", "", view=View(), limit=2, best="greatest")
            assert (found.total, len(found.groups)) == (4, 2)
            assert [group.greatest for group in found.groups] == [39 / 40, 38 / 40]


def test_each_order_and_each_group_is_the_same_as_when_all_runs_are_read(
    ledger_place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FIRST": 2, "SAMPLE": 4, "NEAR": 6, "RARE": 1}.items():
        monkeypatch.setattr(searching, name, value)
    for name, value in {"NEAR": 1, "LEAST": 3, "FEW": 2}.items():
        monkeypatch.setattr(groups, name, value)
    columns = "status = ?, code = ?, machine = ?, verdict = ?, note = ?, host = ?, ended = ?"
    with open_ledger(ledger_place) as ledger:
        with ledger.database.writing() as connection:
            for number in range(40):
                id, started = f"{number:032x}", START + number % 7
                tracked.create(connection, id, experiment=0, name="r", user="", started=started, tags={})
                tracked.log_params(connection, id, {"lr": ("9", "10", "1e1", "many")[number % 4]} if number % 5 else {})
                if number % 3:
                    points.append(connection, tracked.seq_of(connection, id), [Point("auc", number % 11 / 10)])
                facts = ("failed" if number % 6 == 0 else "finished", f"b3:{number % 3}" if number % 2 else "")
                more = (facts[1], "identical" if number % 9 == 0 else "", "fine" if number % 8 == 0 else "", facts[1])
                ended = started + 5 if number % 4 else None
                connection.execute(f"UPDATE runs SET {columns} WHERE id = ?", (*facts, *more, ended, id))
        with ledger.database.reading() as connection:
            for order in (
                "params.lr",
                "metrics.auc",
                "status",
                "code",
                "verdict",
                "note",
                "host",
                "seconds",
                "experiment",
            ):
                for by in (order, f"{order} DESC"):
                    found, place = [], None
                    while not found or place is not None:
                        rows, place = listed.rows(
                            connection, "", [by], limit=7, view=View(), after=place, known=Known(40, 40)
                        )
                        found += [row.id for row in rows]
                    assert found == [row.id for row in ledger.rows("", [by])], by
            for by in ("params.lr", "status", "code", "machine", "host", "user"):
                of = {row.id: row for row in ledger.rows()}
                counted = groups.groups(connection, by, "auc", "", view=View(), limit=9)
                best = groups.groups(connection, by, "auc", "", view=View(), limit=9, best="least")
                assert sorted(counted.groups, key=repr) == sorted(best.groups, key=repr)
                assert sum(group.runs for group in counted.groups) == len(of) == 40
                few = groups.groups(connection, by, "auc", "", view=View(), limit=1, best="greatest")
                assert few.groups[0].greatest == 1.0
                assert few.total == counted.total
