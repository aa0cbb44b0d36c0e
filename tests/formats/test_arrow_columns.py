"""What is in a file of columns, Parquet or Arrow: the same as in a table as text that holds the same."""

import decimal
import random
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.formats import Unreadable, arrow_columns
from bis.formats.bins import bins, ranges_of
from bis.formats.profile import profile, profile_both
from bis.formats.summary import ColumnProfile

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")


def as_stream(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, 3)


WAYS: dict[str, Callable[[Any, Path], None]] = {
    "t.parquet": lambda table, path: parquet.write_table(table, path, row_group_size=3, compression="zstd"),
    "plain.pq": lambda table, path: parquet.write_table(table, path, use_dictionary=False),
    "t.feather": lambda table, path: feather.write_feather(table, path, compression="lz4", chunksize=3),
    "plain.arrow": lambda table, path: feather.write_feather(table, path, compression="uncompressed"),
    "stream.arrow": as_stream,
}
"""Of writing one table: each is read in another way."""


def column(table: Any, folder: Path, way: str = "t.parquet", place: int = 0) -> ColumnProfile:
    WAYS[way](table, folder / way)
    return profile(folder / way).columns[place]


numbers = st.lists(st.none() | st.floats() | st.integers(-3, 3).map(float), min_size=1, max_size=30)


@pytest.mark.parametrize("way", WAYS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(values=numbers)
def test_numbers_are_told_as_those_of_a_table_as_text(way: str, values: list[float | None], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{'' if one is None else repr(one)},a\n" for one in values))
    WAYS[way](pa.table({"x": pa.array(values, "float64")}), tmp_path / way)
    text, found = profile(tmp_path / "t.csv"), profile(tmp_path / way)
    wanted, told = text.columns[0], found.columns[0]
    assert told.type == "double"
    for name in ("empty", "smallest", "largest", "mean", "deviation", "distinct"):
        assert getattr(told, name) == getattr(wanted, name), name
    if ranges_of(text):
        assert bins(tmp_path / way, ranges_of(found)) == bins(tmp_path / "t.csv", ranges_of(text))
    assert ranges_of(found) == ranges_of(text)


@pytest.mark.parametrize("kind", ["int8", "uint64", "int64", "float32", "decimal128(20, 0)"])
def test_numbers_of_all_types_are_spread(kind: str, tmp_path: Path) -> None:
    type = pa.decimal128(20, 0) if kind.startswith("decimal") else kind
    found = column(pa.table({"x": pa.array([1, 2, None, 4]).cast(type)}), tmp_path)
    assert (found.smallest, found.largest, found.empty, found.distinct) == ("1", "4", 1, 3)
    assert found.mean == pytest.approx(7 / 3)
    (spread,) = bins(tmp_path / "t.parquet", {"x": (1.0, 4.0)}).values()
    assert {place: count for place, count in enumerate(spread.counts) if count} == {0: 1, 6: 1, 19: 1}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("values", "kind", "smallest", "largest"),
    [
        (["b", None, "ä" * 50, "b"], "string", "b", "ä" * 40),
        (["b", "", "a"], "large_string", "", "b"),
        ([b"\xff", None], "binary", r"b'\xff'", r"b'\xff'"),
        ([True, False, None], "bool", "False", "True"),
        ([date(2026, 5, 3), date(1, 1, 1)], "date32", "0001-01-01", "2026-05-03"),
        ([time(1, 2, 3), None], "time64[us]", "01:02:03", "01:02:03"),
        ([1_790_000_000_000_000_123, -1], pa.timestamp("ns"), "1969-12-31 23:59:59.999999", "2026-09-21 14:13:20"),
        ([0, 3_600_000], pa.timestamp("ms", "UTC"), "1970-01-01 00:00:00+00:00", "1970-01-01 01:00:00+00:00"),
        ([2**62], pa.timestamp("us"), str(2**62), str(2**62)),
        ([5, 90], pa.duration("s"), "0:00:05", "0:01:30"),
        ([decimal.Decimal("-2.50"), decimal.Decimal("1.25")], pa.decimal128(9, 2), "-2.50", "1.25"),
        ([2**63, 2**64 - 1], "uint64", str(2**63), str(2**64 - 1)),
        (pa.array(["y", "x", "y", None]).dictionary_encode(), None, "x", "y"),
    ],
)
def test_the_ends_of_columns_of_other_types_are_found(
    values: Any, kind: Any, smallest: str, largest: str, way: str, tmp_path: Path
) -> None:
    found = column(pa.table({"x": values if kind is None else pa.array(values, kind)}), tmp_path, way)
    assert (found.smallest, found.largest) == (smallest, largest)
    assert found.distinct == len({one for one in (values if kind else values.to_pylist()) if one is not None})


def test_what_is_nested_or_empty_is_named_and_the_rest_is_told(tmp_path: Path) -> None:
    table = pa.table([[[1], [2]], pa.nulls(2), [1, 2], ["a", "b"]], names=["l", "n", "x", "x"])
    WAYS["t.parquet"](table, tmp_path / "t.parquet")
    found = profile(tmp_path / "t.parquet").columns
    assert [(one.name, one.empty, one.smallest) for one in found] == [
        ("l", 0, ""),
        ("n", 2, ""),
        ("x", 0, "1"),
        ("x", 0, "a"),
    ]


def test_of_very_many_cells_the_footer_alone_is_read_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in (("few.parquet", 50), ("many.parquet", 51)):
        parquet.write_table(pa.table({"x": range(rows), "y": range(rows)}), tmp_path / name)
    monkeypatch.setattr(arrow_columns, "CELLS", 100)
    few, many = (profile(tmp_path / name) for name in ("few.parquet", "many.parquet"))
    assert (few.columns[0].mean, few.facts) == (24.5, {})
    assert many.columns[0] == ColumnProfile(name="x", type="int64", smallest="0", largest="50")
    assert "of the footer alone" in many.facts["statistics"]
    assert bins(tmp_path / "many.parquet", ranges_of(many)) == {}
    pair = profile_both(tmp_path / "few.parquet", tmp_path / "many.parquet")
    assert [one.mean for side in (pair.before, pair.after) for one in side.columns] == [None] * 4


LOOK = """
import re, sys
from pathlib import Path
from bis.formats.bins import bins, ranges_of
from bis.formats.profile import profile
for name in sys.argv[1:]:
    found = profile(Path(name))
    bins(Path(name), ranges_of(found))
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_a_large_file_is_looked_into_in_bounded_memory(tmp_path: Path) -> None:
    """One that is long, and two that are small but for a text that is said very often."""
    draw = random.Random(1)
    for name, rows in (("warm", 20_000), ("long", 1_000_000)):
        values = [draw.random() for _ in range(rows)]
        parquet.write_table(
            pa.table({"x": values, "t": [str(value) for value in values]}), tmp_path / f"{name}.parquet"
        )
    often = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, "int32"), pa.array(["long" * 50_000]))
    parquet.write_table(pa.table({"t": often}), tmp_path / "often.parquet", store_schema=False)
    feather.write_feather(pa.table({"t": often}), tmp_path / "often.feather")
    files = [tmp_path / name for name in ("warm.parquet", "long.parquet", "often.parquet", "often.feather")]
    assert all(file.stat().st_size < 1 << 20 for file in files[2:])
    done = subprocess.run([sys.executable, "-c", LOOK, *files], capture_output=True, text=True, check=True)
    warm, *others = map(int, done.stdout.split())
    assert max(others) - warm < 60 << 10  # the values of the long one are 30 MiB, the texts of the others 40 GB


def test_arrow_files_are_compared_by_their_columns_and_not_called_the_same_row_by_row(tmp_path: Path) -> None:
    for name, values in (("a.arrow", [1, 2]), ("b.arrow", [2, 1])):
        feather.write_feather(pa.table({"x": values}), tmp_path / name)
    pair = profile_both(tmp_path / "a.arrow", tmp_path / "b.arrow")
    assert (pair.before, pair.rows) == (pair.after, None)
    assert pair.unmatched == "Arrow files are compared by their columns alone"


@pytest.mark.parametrize("way", ["t.parquet", "t.feather"])
def test_a_file_that_is_damaged_in_its_middle_is_told(way: str, tmp_path: Path) -> None:
    WAYS[way](pa.table({"x": ["a text that is long enough to be packed"] * 3}), tmp_path / way)
    content = (tmp_path / way).read_bytes()
    at = re.search(rb"\x28\xb5\x2f\xfd|\x04\x22\x4d\x18", content)
    assert at
    (tmp_path / way).write_bytes(content[: at.end()] + b"\xff" * 8 + content[at.end() + 8 :])
    with pytest.raises(Unreadable, match="its columns cannot be read"):
        profile(tmp_path / way)


def test_what_is_no_such_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.arrow").write_text("nothing of the kind")
    with pytest.raises(Unreadable, match="it is no Arrow file"):
        profile(tmp_path / "t.arrow")


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WAYS["t.parquet"](pa.table({"x": [1]}), tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Unreadable, match=r"needs pyarrow \(the extra 'formats' of bis\)"):
        profile(tmp_path / "t.parquet")
