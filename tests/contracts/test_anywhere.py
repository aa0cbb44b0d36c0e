"""What is searched, what went wrong lately and what changed when are the same whatever keeps the ledger."""

from pathlib import Path

from bis.digest import digest_bytes
from bis.ledger import anywhere, artifacts, history, lately, moves, registry, tracked
from bis.ledger.history import MOVES
from bis.ledger.runs import open_ledger
from bis.nouns.model import By
from bis.nouns.part import Part
from bis.nouns.run import Output, Run
from bis.nouns.verdict import Verdict
from bis.server.pages.lineage import OFFERED, OFFERS

START = 1_790_000_000_000_000
FILE = digest_bytes(b"the weights")
COMMIT = "4f2a91c" + "0" * 33


def _run(number: int, host: str, environment: str) -> Run:
    kinds = {"environment": environment, "infrastructure": "1", "code": "c"}
    facts = {"code": {"revision": COMMIT}}
    return Run(
        id=f"{number:012x}",
        name=f"train-{number}",
        command=("python", "Train.py"),
        host=host,
        started=f"2026-10-0{number}T00:00:00.000000Z",
        ended=f"2026-10-0{number}T00:01:00.000000Z",
        status="failed" if number == 2 else "finished",
        parts={
            kind: Part(kind=kind, digest=f"b3:{digit * 64}", summary="", facts=facts.get(kind, {}))  # type: ignore[arg-type,misc]
            for kind, digit in kinds.items()
        },
        outputs=(Output(path="out/weights.bin", digest=FILE, size=11),),
    )


def test_a_word_is_found_in_everything(ledger_place: Path | str) -> None:
    with open_ledger(ledger_place) as ledger:
        with ledger.database.writing() as connection:
            for number in range(30):
                id = f"{number:032x}"
                tracked.create(
                    connection, id, experiment=0, name=f"Adam-{number}", user="", started=START + number, tags={}
                )
                tracked.log_params(connection, id, {"lr": ("0.1", "0.01", "1")[number % 3], "100%_'": "x"})
            tracked.remove(connection, f"{0:032x}", START)
            artifacts.put(connection, f"0/{1:032x}/artifacts/plot.png", FILE, 11, START)
            by = By("ana", START, "")
            registry.create(connection, "churn", by, "who leaves")
            registry.add_version(connection, "churn", by, source="x")
            registry.set_alias(connection, "churn", "champion", 1, by)
        for number, host in ((1, "gpu-1"), (2, "gpu-1")):
            run = _run(number, host, "e")
            ledger.begin(run)
            ledger.seal(run, digest_bytes(run.id.encode()))
        with ledger.database.reading() as connection:
            named = anywhere.runs_named(connection, "adam", 3)
            assert ([one.name for one in named.some], named.total) == (["Adam-29", "Adam-28", "Adam-27"], 29)
            assert anywhere.runs_named(connection, "%", 3).total == 0
            assert anywhere.runs_with_id(connection, "0000000000000000000000000000001", 20).total == 14
            assert [one.why for one in anywhere.runs_that_say(connection, "train.PY", 9).some] == [
                "python Train.py"
            ] * 2
            found = anywhere.values(connection, "params", "0.", 9)
            assert [tuple(one) for one in found.some] == [("lr", "0.01", 10), ("lr", "0.1", 9)]
            assert [one.runs for one in anywhere.values(connection, "params", "lr=1", 9).some] == [10]
            assert [tuple(one) for one in anywhere.values(connection, "params", "100%", 9).some] == [
                ("100%_'", None, 29)
            ]
            assert anywhere.values(connection, "tags", "x", 9).total == 0
            assert anywhere.experiments(connection, "DEF", 9).some == ["Default"]
            for word in ("chu", "leaves", "CHAMP"):
                assert [tuple(one) for one in anywhere.models(connection, word, 9).some] == [("churn", "who leaves")]
            assert anywhere.data_sets(connection, "x", 9).total == 0
            assert [one[0] for one in anywhere.environments_with(connection, "eeee", 9).some] == ["b3:" + "e" * 64]
            assert anywhere.environments_with(connection, "numpy==2", 9).total == 0
            assert anywhere.machines(connection, "GPU", 9).some == ["gpu-1"]
            assert [tuple(one) for one in anywhere.commits(connection, "4f2a", 9).some] == [(COMMIT, 2)]
            assert [tuple(one) for one in anywhere.contents(connection, FILE[:12], 9).some] == [(FILE[3:27], 2)]
            assert [one.path for one in anywhere.files(connection, "weights", 9).some] == ["out/weights.bin"]
            assert [one[1] for one in anywhere.uploads(connection, "PLOT", 9).some] == [11]
            offered = {kind: connection.execute(asked, (OFFERED,)).fetchall() for kind, asked in OFFERS.items()}
            assert {kind: len(rows) for kind, rows in offered.items()} == {"model": 1, "data": 0, "run": 4, "commit": 1}


def test_what_went_wrong_and_what_changed_is_known(ledger_place: Path | str) -> None:
    with open_ledger(ledger_place) as ledger:
        for number, host, environment in ((1, "a", "1"), (2, "a", "2"), (3, "b", "2"), (4, "a", "2")):
            run = _run(number, host, environment)
            ledger.begin(run)
            ledger.seal(run, digest_bytes(run.id.encode()))
        for number, word in enumerate(("identical", "different")):
            verdict = Verdict(
                run=f"{1:012x}", again=f"{4:012x}", sameness=word, made=f"2026-11-0{number + 1}T00:00:00Z"
            )  # type: ignore[arg-type]
            ledger.add_verdict(verdict, digest_bytes(word.encode()))
        with ledger.database.writing() as connection:
            for at in (1, 2):
                by = By("ana", START + at, "better")
                if at == 1:
                    registry.create(connection, "churn", by)
                registry.add_version(connection, "churn", by, source="x")
                registry.set_alias(connection, "churn", "champion", at, by)
        with ledger.database.reading() as connection:
            first, last = moves.span(connection) or (0, 0)
            assert first == START + 1 < last
            assert [one.name for one in lately.failed(connection, until=last, limit=9)] == ["train-2"]
            assert [one.sameness for one in lately.doubts(connection, until=1 << 62, limit=9)] == ["different"]
            assert lately.doubts(connection, until=last, limit=9) == []
            assert moves.read_since(connection, first, last) == first
            assert [(one.what, one.name, one.runs) for one in moves.commits(connection, first, last)] == [
                (COMMIT, "train-1", 4)
            ]
            second = moves.commits(connection, first, last)[0].made + 1
            assert moves.commits(connection, second, last) == []
            stood = moves.stood(connection, second, last)
            assert [one.name for one in moves.changes(stood, "environment", second)] == ["train-2", "train-3"]
            assert [one.name for one in moves.changes(stood, "system", second)] == ["train-3"]
            assert moves.data(connection, first, last, 9) == ([], 0)
            assert moves.alias_moves_there(connection, START, START + 1) == 1
            events = history.newest(connection, since=START, until=START + 2, limit=9, actions=MOVES)
            assert [one.after for one in events] == ["2", "1"]
            found = registry.version_before(connection, registry.get(connection, "churn"), "champion")
            assert found is not None
            assert found.number == 1
