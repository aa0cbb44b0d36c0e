"""Parquet and Arrow."""

import datetime
import importlib
import math
import sys
from pathlib import Path

import pytest

arrow = pytest.importorskip("pyarrow")
for part in ("pyarrow.parquet", "pyarrow.feather"):
    importlib.import_module(part)


def table(**changed):
    columns = {
        "a": [number / 7 for number in range(100)],
        "s": [f"x{number}" for number in range(100)],
        "n": [None, math.nan, 1.5, -0.0] * 25,
        "l": [[1, 2], None] * 50,
        "t": [datetime.datetime(2020, 1, 1) + datetime.timedelta(days=number) for number in range(100)],
        "c": arrow.array(["u", "v"] * 50).dictionary_encode(),
    }
    return arrow.table({**columns, **changed})


def changed(column: str, row: int, value) -> dict:
    values = table().column(column).to_pylist()
    values[row] = value
    return {column: values}


def parquet(path: Path, content, **how) -> Path:
    arrow.parquet.write_table(content, path, **how)
    return path


def test_row_groups_and_encodings_are_set_aside(tmp_path: Path, judge_files) -> None:
    one = parquet(tmp_path / "one.parquet", table())
    other = parquet(tmp_path / "other.parquet", table(), row_group_size=7, compression="gzip", use_dictionary=False)
    found = judge_files(one, other)
    assert (found.same, found.level, found.format) == (True, "meaning", "Parquet")
    arrow.feather.write_feather(table(), tmp_path / "one.feather", compression="lz4")
    arrow.feather.write_feather(table(), tmp_path / "other.feather", compression="uncompressed", chunksize=9)
    assert judge_files(tmp_path / "one.feather", tmp_path / "other.feather").same is True
    arrow.feather.write_feather(table(**changed("s", 3, "y")), tmp_path / "third.feather")
    assert judge_files(tmp_path / "one.feather", tmp_path / "third.feather").same is False


@pytest.mark.parametrize(
    ("column", "row", "value", "told"),
    [
        ("a", 50, 50 / 7 + 1e-12, "row 50.a: 7.142857142857143 -> 7.1428571428581"),
        ("s", 3, "x4", "row 3.s: 'x3' -> 'x4'"),
        ("n", 0, 0.0, "row 0.n: NoneType None -> float 0.0"),
        ("n", 3, 0.0, "row 3.n: -0.0 -> 0.0"),
        ("l", 0, [1, 3], "row 0.l[1]: 2 -> 3"),
        ("t", 99, datetime.datetime(2021, 1, 1), "row 99.t: 2020-04-09 00:00:00 -> 2021-01-01 00:00:00"),
    ],
)
def test_one_changed_cell_is_named(tmp_path: Path, judge_files, column: str, row: int, value, told: str) -> None:
    one = parquet(tmp_path / "one.parquet", table())
    found = judge_files(
        one, parquet(tmp_path / "other.parquet", table(**changed(column, row, value)), row_group_size=9)
    )
    assert (found.same, found.why.startswith(told)) == (False, True), found.why


def test_types_columns_and_rows_count(tmp_path: Path, judge_files) -> None:
    one = parquet(tmp_path / "one.parquet", table())
    assert (
        judge_files(one, parquet(tmp_path / "b.parquet", table().drop_columns(["l"]))).why
        == "column l: only in the first"
    )
    floats = table().set_column(0, "a", table().column("a").cast("float32"))
    assert "type double -> float" in judge_files(one, parquet(tmp_path / "c.parquet", floats)).why
    assert "100 -> 99 rows" in judge_files(one, parquet(tmp_path / "d.parquet", table().slice(1))).why


def test_a_time_read_off_the_clock_is_a_difference_with_its_cause(tmp_path: Path, judge_files) -> None:
    def stamped(name: str, day: int, hour: int) -> Path:
        moments = [datetime.datetime(2026, 11, day, hour, 0, 7)] * 3
        return parquet(tmp_path / name, arrow.table({"event_timestamp": moments}))

    found = judge_files(stamped("one.parquet", 22, 12), stamped("other.parquet", 23, 15))
    assert (found.same, found.causes) == (False, ("clock",))


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, judge_files, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = parquet(tmp_path / "a.parquet", table()), parquet(tmp_path / "b.parquet", table(), row_group_size=3)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = judge_files(one, other)
    assert (found.same, "the extra 'formats' of bis" in found.why) == (False, True)


def column(values, kind=None):
    return arrow.table({"a": arrow.array(values, kind)})


CODES = arrow.DictionaryArray.from_arrays
ALMOST = [
    (column([[0.0]]), column([[-0.0]])),
    (column([{"x": 0.0}]), column([{"x": -0.0}])),
    (column([[[1.5, 0.0]]]), column([[[1.5, -0.0]]])),
    (
        column([[("k", 0.0)]], arrow.map_(arrow.string(), arrow.float32())),
        column([[("k", -0.0)]], arrow.map_(arrow.string(), arrow.float32())),
    ),
    (column([[]], arrow.list_(arrow.int8())), column([None], arrow.list_(arrow.int8()))),
    (column([1]), column([1]).cast(arrow.schema([arrow.field("a", arrow.int64(), nullable=False)]))),
    (column([1]), column([1]).cast(arrow.schema([arrow.field("a", arrow.int64(), metadata={"unit": "m"})]))),
    (column([1], arrow.timestamp("ns")), column([2], arrow.timestamp("ns"))),
    (column([1], arrow.timestamp("us", "UTC")), column([1], arrow.timestamp("us", "Europe/Rome"))),
    (column(CODES([0, 1], ["p", "q"])), column(CODES([1, 0], ["q", "p"]))),
    (column(CODES([0, 1], ["p", "q"])), column(CODES([0, 1], ["p", "q", "r"]))),
    (column(CODES([0, 1], ["p", "q"])), column(CODES([0, 1], ["p", "q"], ordered=True))),
]


@pytest.mark.parametrize(("one", "other"), ALMOST)
def test_what_is_almost_equal_is_another_column(tmp_path: Path, judge_files, one, other) -> None:
    found = judge_files(parquet(tmp_path / "one.parquet", one), parquet(tmp_path / "other.parquet", other))
    assert (found.same, found.format) == (False, "Parquet")


def test_columns_of_lists_and_categories_packed_otherwise_are_the_same(tmp_path: Path, judge_files) -> None:
    table = arrow.table({"a": [[float("nan")], [0.0]], "b": CODES([1, 0], ["p", "q"])})
    one = parquet(tmp_path / "one.parquet", table)
    assert (
        judge_files(one, parquet(tmp_path / "other.parquet", table, compression="gzip", row_group_size=1)).same is True
    )
