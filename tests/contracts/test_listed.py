"""Lists of runs are the same whatever keeps the ledger; `tests/ledger/test_listed.py` says what they promise."""

from pathlib import Path

from bis.ledger import groups, listed, points, tracked
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
