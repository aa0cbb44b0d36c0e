"""SQLite, and in it what MLflow writes."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bis.formats import Context
from bis.formats.registry import compare

ONE, TWO = "098f6bcd462144739ade4e832627b4f6", "a7f35d1e22c84c0d9b1e6a5f7d3c2b1a"


def database(
    path: Path,
    *,
    run: str = ONE,
    name: str = "clumsy-bird-123",
    started: int = 1_795_348_807_123,
    accuracy: float = 0.91,
    root: str = "/home/ana/churn",
    checks: tuple[str, str] = ("a", "b"),
    turned: bool = False,
    lasted: float = 1.5,
) -> Path:
    """Two runs, their metrics and tags, as MLflow lays them out."""
    made = sqlite3.connect(path)
    made.execute(
        "CREATE TABLE runs (run_uuid TEXT, name TEXT, start_time BIGINT, artifact_uri TEXT, duration REAL,\n"
        f"\tCHECK (name != '{checks[0]}'),\n\tCHECK (name != '{checks[1]}')\n)"
    )
    made.execute("CREATE TABLE metrics (key TEXT, value REAL, run_uuid TEXT, step INT)")
    made.execute("CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT)")
    rows = [("acc", accuracy, run, 1), ("loss", 0.25, run, 1)]
    made.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", rows[::-1] if turned else rows)
    made.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", (run, name, started, f"{root}/mlruns/0/{run}", lasted))
    made.execute("INSERT INTO tags VALUES ('mlflow.runName', ?, ?)", (name, run))
    made.commit()
    if turned:
        made.execute("VACUUM")
    made.close()
    return path


AGAIN = {"run": TWO, "name": "sassy-wolf-20", "started": 1_795_446_001_456, "root": "/tmp/again/churn", "turned": True}


def test_ids_times_names_and_paths_of_a_run_are_masked(tmp_path: Path, judge_files) -> None:
    found = judge_files(database(tmp_path / "one.db"), database(tmp_path / "two.db", checks=("b", "a"), **AGAIN))
    assert (found.same, found.level, found.format) == (True, "meaning", "SQLite"), found.detail
    assert {mask.rule for mask in found.masked} == {"id", "time", "run name", "path", "order in the schema"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"accuracy": 0.92}, "table metrics.value: 0.91 -> 0.92"),
        ({"name": "something else"}, "table runs"),
        ({"started": 1_795_550_000_000}, "table runs.start_time"),
        ({"root": "/srv/other"}, "table runs.artifact_uri"),
    ],
)
def test_one_changed_value_is_named(tmp_path: Path, judge_files, changed: dict, told: str) -> None:
    found = judge_files(database(tmp_path / "one.db"), database(tmp_path / "two.db", **{**AGAIN, **changed}))
    assert found.same is False
    assert told in found.detail, found.detail


def test_a_duration_in_a_table_is_a_difference_with_its_cause(tmp_path: Path, judge_files) -> None:
    found = judge_files(database(tmp_path / "one.db"), database(tmp_path / "two.db", **AGAIN, lasted=1.75))
    assert (found.same, found.causes) == (False, ("clock",))


def test_a_missing_table_and_a_missing_row_are_told(tmp_path: Path, judge_files) -> None:
    one, two = database(tmp_path / "one.db"), database(tmp_path / "two.db")
    with sqlite3.connect(two) as made:
        made.execute("DELETE FROM metrics WHERE key = 'loss'")
    made.close()
    assert "table metrics: only in the first" in judge_files(one, two).why
    with sqlite3.connect(two) as made:
        made.execute("DROP TABLE tags")
    made.close()
    assert "schema table tags" in judge_files(one, two).why


def test_nothing_is_written_beside_a_database(tmp_path: Path, judge_files) -> None:
    one, two = database(tmp_path / "one.db"), database(tmp_path / "two.db", **AGAIN)
    before = sorted(path.name for path in tmp_path.iterdir())
    judge_files(one, two)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_damaged_database_is_no_crash(tmp_path: Path, judge_files) -> None:
    one = database(tmp_path / "one.db")
    content = one.read_bytes()
    for cut in (50, 1000, len(content) - 10):
        other = tmp_path / "other.db"
        other.write_bytes(content[:cut] + b"\xff" * 40)
        assert judge_files(one, other).same is False


def of(tmp_path: Path, *statements: str) -> bytes:
    path = tmp_path / "x.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["CREATE TABLE sqlite3data(a)", "INSERT INTO sqlite3data VALUES (1)"], ["CREATE TABLE sqlite3data(a)"]),
        (["PRAGMA user_version = 1"], ["PRAGMA user_version = 2"]),
        (["INSERT INTO counted VALUES (5)", "DELETE FROM counted"], []),
    ],
)
def test_tables_of_any_name_versions_and_counters_count(
    judge, tmp_path: Path, one: list[str], other: list[str]
) -> None:
    counted = "CREATE TABLE counted(a INTEGER PRIMARY KEY AUTOINCREMENT)"
    found = judge("x.db", of(tmp_path, counted, *one), of(tmp_path, counted, *other))
    assert (found.same, found.format) == (False, "SQLite")


def test_a_value_that_a_schema_makes_out_of_nothing_is_not_read(judge, tmp_path: Path) -> None:
    table = "CREATE TABLE t(a, b GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL)"
    one, other = (of(tmp_path, table, f"INSERT INTO t(a) VALUES ({number})") for number in (1, 2))
    found = judge("x.db", one, other)
    assert (found.same, "a damaged database" in found.why) == (False, True)


def test_a_metric_that_is_called_a_duration_is_one(judge_files, tmp_path: Path) -> None:
    def logged(file: str, key: str, value: float, turned: bool = False) -> Path:
        path = database(tmp_path / file, turned=turned)
        with closing(sqlite3.connect(path)) as made:
            made.execute("INSERT INTO metrics VALUES (?, ?, ?, 1)", (key, value, ONE))
            made.commit()
        return path

    one, two = logged("1.db", "mean_fit_time", 0.25), logged("2.db", "mean_fit_time", 0.125, turned=True)
    found = judge_files(one, two)
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["duration"])
    assert judge_files(one, logged("3.db", "mean_fit_time", 90000.5)).same is False
    assert judge_files(logged("4.db", "fit_score", 0.25), logged("5.db", "fit_score", 0.125)).same is False


def experiments(path: Path, *runs: tuple[str, float, str], turned: bool = False) -> Path:
    """Runs of a name: each with its metric in one table, its param in another, and the run that it is part of."""
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE metrics (value REAL, run_uuid TEXT)")
        made.execute("CREATE TABLE params (value TEXT, run_uuid TEXT, parent TEXT)")
        for name, metric, param in runs[::-1] if turned else runs:
            made.execute("INSERT INTO metrics VALUES (?, ?)", (metric, name))
            made.execute("INSERT INTO params VALUES (?, ?, ?)", (param, name, runs[0][0]))
        made.commit()
    return path


def made_of(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as made:
        for statement in statements:
            made.execute(statement)
        made.commit()
    return path


def test_columns_in_another_order_are_a_difference(tmp_path: Path, judge_files) -> None:
    """A row is read by the places of its cells: the same two numbers are not the same row any more."""

    def scores(file: str, *columns: str) -> Path:
        lines = ",\n".join(f"\t{column} INTEGER" for column in columns)
        return made_of(tmp_path / file, f"CREATE TABLE scores (\n{lines}\n)", "INSERT INTO scores VALUES (1, 2)")

    found = judge_files(scores("1.db", "won", "lost"), scores("2.db", "lost", "won"))
    assert (found.same, found.why) == (
        False,
        "table scores: columns in another order: won, lost -> lost, won",
    )


def test_a_whole_number_is_no_real_one(tmp_path: Path, judge_files) -> None:
    def value(file: str, text: str) -> Path:
        return made_of(tmp_path / file, "CREATE TABLE t (a)", f"INSERT INTO t VALUES ({text})")

    found = judge_files(value("1.db", "1"), value("2.db", "1.0"))
    assert (found.same, found.why) == (False, "table t.a: 1 -> 1.0")


def test_the_order_of_what_a_trigger_does_counts(tmp_path: Path, judge_files) -> None:
    def doing(file: str, *steps: str) -> Path:
        body = "\n".join(f"UPDATE t SET a = {step};" for step in steps)
        trigger = f"CREATE TRIGGER g AFTER INSERT ON t BEGIN\n{body}\nEND"
        return made_of(tmp_path / file, "CREATE TABLE t (a)", trigger)

    assert judge_files(doing("1.db", "a + 1", "a * 2"), doing("2.db", "a * 2", "a + 1")).same is False


def drawn(count: int) -> list[str]:
    return [uuid.uuid4().hex for _ in range(count)]


def test_a_metric_of_another_run_is_a_difference_though_both_tables_hold_the_same_rows(
    tmp_path: Path, judge_files
) -> None:
    def pair(file: str, first: float, second: float, turned: bool = False) -> Path:
        one, two = drawn(2)
        return experiments(tmp_path / file, (one, first, "lr 0.1"), (two, second, "lr 0.5"), turned=turned)

    one = pair("1.db", 0.91, 0.62)
    assert judge_files(one, pair("2.db", 0.91, 0.62, turned=True)).same is True
    found = judge_files(one, pair("3.db", 0.62, 0.91))
    assert (found.same, found.causes) == (False, ())
    assert "another id connects them" in found.why


def test_runs_that_are_alike_in_all_but_their_ids_stand_for_each_other(tmp_path: Path, judge_files) -> None:
    def many(file: str, turned: bool) -> Path:
        return experiments(tmp_path / file, *((name, 0.5, "lr 0.1") for name in drawn(300)), turned=turned)

    assert judge_files(many("1.db", False), many("2.db", True)).same is True


def test_ids_that_both_databases_hold_stand_for_themselves(tmp_path: Path, judge_files) -> None:
    one = experiments(tmp_path / "1.db", (ONE, 0.91, "lr 0.1"), (TWO, 0.62, "lr 0.5"))
    other = experiments(tmp_path / "2.db", (TWO, 0.91, "lr 0.1"), (ONE, 0.62, "lr 0.5"))
    assert judge_files(one, other).same is False


def test_rings_of_another_length_are_no_pairing(tmp_path: Path, judge_files) -> None:
    """Each row looks like any other from any distance; only the whole tells one ring of six from two of three."""

    def rings(file: str, *lengths: int) -> Path:
        path = tmp_path / file
        with closing(sqlite3.connect(path)) as made:
            made.execute("CREATE TABLE spans (span TEXT, next TEXT)")
            for length in lengths:
                ids = drawn(length)
                made.executemany("INSERT INTO spans VALUES (?, ?)", zip(ids, ids[1:] + ids[:1], strict=True))
            made.commit()
        return path

    assert judge_files(rings("1.db", 6), rings("2.db", 6)).same is True
    assert judge_files(rings("3.db", 3, 3), rings("4.db", 3, 3)).same is True
    assert judge_files(rings("5.db", 6), rings("6.db", 3, 3)).same is False


def test_a_tolerance_of_metrics_pairs_no_ids_anew(tmp_path: Path, context: Context) -> None:
    def pair(file: str, first: float, second: float) -> Path:
        one, two = drawn(2)
        return experiments(tmp_path / file, (one, first, "lr 0.1"), (two, second, "lr 0.5"))

    loose = msgspec.structs.replace(context, tolerance=1e-3)
    one = pair("1.db", 0.91, 0.62)
    assert compare("x.db", one, pair("2.db", 0.9101, 0.6201), loose).level == "tolerance"
    assert compare("x.db", one, pair("3.db", 0.6201, 0.9101), loose).same is False
