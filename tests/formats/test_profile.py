"""What is in a file of data, in a few numbers."""

import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.formats import Unreadable, delimited
from bis.formats import rows as rows_module
from bis.formats.profile import is_profiled, profile, profile_both
from bis.formats.rows import RowChange
from bis.formats.summary import ColumnProfile

Put = Callable[[str, str | bytes], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def types(path: Path) -> dict[str, str]:
    return {column.name: column.type for column in profile(path).columns}


def test_the_types_of_columns_are_found(put: Put) -> None:
    text = "i,n,b,d,t,e,m\n1,1.5,true,2026-05-03,x,,1\n-2,2,False,2026-05-03T10:00:00,1x,,a\n"
    path = put("t.csv", text)
    found = {"i": "integer", "n": "number", "b": "boolean", "d": "date", "t": "text", "e": "empty", "m": "text"}
    assert types(path) == found
    assert profile(path).rows == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "a;b\n1;2\n"),
        ("t.tsv", "a\tb\n1\t2\n"),
        ("t.csv", '\ufeffa,b\n"1",2\n'),
        ("t.jsonl", '{"a": 1, "b": 2}\n'),
    ],
)
def test_a_table_is_read_however_it_is_written(name: str, text: str, put: Put) -> None:
    assert types(put(name, text)) == {"a": "integer", "b": "integer"}


def test_a_table_without_names_numbers_its_columns(put: Put) -> None:
    found = profile(put("t.csv", "1,x\n2,y\n"))
    assert (found.rows, [column.name for column in found.columns]) == (2, ["1", "2"])


def test_a_field_that_only_some_lines_have_is_empty_in_the_others(put: Put) -> None:
    found = profile(put("t.jsonl", '{"a": 1}\n{"a": null, "b": [1]}\n\n{"b": {"c": 1}}\n'))
    assert found.rows == 3
    assert [(column.name, column.empty) for column in found.columns] == [("a", 2), ("b", 1)]


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_statistics_are_those_of_the_numbers(values: list[float], put: Put) -> None:
    (column,) = profile(put("t.csv", "x\n" + "".join(f"{value!r}\n" for value in values))).columns
    assert column.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert column.deviation == pytest.approx(statistics.pstdev(values), abs=1e-3)
    assert (float(column.smallest), float(column.largest)) == (min(values), max(values))


def test_a_large_table_is_read_in_bounded_memory(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "WINDOW", 1 << 16)
    path = put("t.csv", "a,b\n" + "".join(f"{number},row {number}\n" for number in range(100_000)))
    tracemalloc.start()
    found = profile(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.rows == 100_000
    assert found.columns[0].distinct is None
    assert peak < 5 << 20


table = st.lists(st.sampled_from(["1,a", "2,b", "3,c"]), max_size=8)


@given(first=table, second=table)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rows_are_matched_wherever_they_stand(first: list[str], second: list[str], put: Put) -> None:
    before, after = (
        put(f"{name}.csv", "n,t\n" + "".join(f"{row}\n" for row in some))
        for name, some in (("x", first), ("y", second))
    )
    found = profile_both(before, after).rows
    assert found
    assert found.added == (Counter(second) - Counter(first)).total()
    assert found.removed == (Counter(first) - Counter(second)).total()


def test_rows_are_matched_by_the_columns_that_both_have(put: Put) -> None:
    before, after = put("x.csv", "a,b\n1,x\n2,y\n"), put("y.csv", "b,c,a\nx,9,1\ny,9,3\n")
    found = profile_both(before, after)
    assert found.rows == RowChange(added=1, removed=1)
    assert (found.before, found.after) == (profile(before), profile(after))


def test_a_cell_that_a_short_row_has_not_is_empty(put: Put) -> None:
    assert profile_both(put("x.csv", "a,b,c\n1,,\n"), put("y.csv", "a,b,c\n1\n")).rows == RowChange(added=0, removed=0)


def test_json_lines_are_matched_by_the_fields_that_both_files_have(put: Put) -> None:
    before = put("x.jsonl", '{"a": 1, "b": [2]}\n{"b": 3, "a": null}\n')
    assert profile_both(before, put("y.jsonl", '{"b": 3}\n{"b": [2], "a": 1}\n')).rows == RowChange(added=0, removed=0)
    assert profile_both(before, put("z.jsonl", '{"b": 3, "c": 1}\n{"b": 4, "a": 1}\n')).rows == RowChange(
        added=1, removed=1
    )


@pytest.mark.parametrize(
    ("names", "texts", "why"),
    [
        (("x.csv", "y.csv"), ("a\nx\n", "b\nx\n"), "no column is in both"),
        (("x.jsonl", "y.jsonl"), ('{"a": 1}', '{"b": 1}'), "no column is in both"),
        (("x.csv", "y.jsonl"), ("a\nx\n", '{"a": "x"}'), "one is CSV, the other JSON lines"),
    ],
)
def test_rows_that_cannot_be_matched_say_why(
    names: tuple[str, str], texts: tuple[str, str], why: str, put: Put
) -> None:
    found = profile_both(*(put(name, text) for name, text in zip(names, texts, strict=True)))
    assert (found.rows, found.unmatched) == (None, why)


MANY = """
import re, sys
from pathlib import Path
from bis.formats import delimited, meeting, rows
from bis.formats.profile import profile_both
rows.FULL = 64
delimited.WINDOW = meeting.PATIENCE = 1 << 16
small, large = (Path(sys.argv[1]), Path(sys.argv[2])), (Path(sys.argv[3]), Path(sys.argv[4]))
held = []
for pair in (small, large):
    found = profile_both(*pair).rows
    held.append(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]))
print(found.added, found.removed, held[1] - held[0])
"""


def test_a_large_table_is_matched_in_bounded_memory(put: Put) -> None:
    """The hashes of both alone are 3 MiB; in a dictionary they would take 25."""
    count = 200_000
    lines = [f"row {number}\n" for number in range(count)]
    edited = [f"row {number}\n" if number % 100 else f"row {number} edited\n" for number in range(count)]
    edited.insert(5, "inserted\n")
    tables = [put(f"{name}.csv", "t\n" + "".join(some)) for name, some in (("x", lines), ("y", edited))]
    warm = [put(f"{name}.csv", "t\n" + "".join(some[:20_000])) for name, some in (("v", lines), ("w", edited))]
    done = subprocess.run([sys.executable, "-c", MANY, *warm, *tables], capture_output=True, text=True, check=True)
    added, removed, grown = map(int, done.stdout.split())
    assert (added, removed) == (count // 100 + 1, count // 100)
    assert grown < 2 << 10


@given(first=table, second=table, full=st.integers(1, 4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rows_that_do_not_fit_in_memory_are_matched_as_others(
    first: list[str], second: list[str], full: int, put: Put
) -> None:
    files = [put("x.csv", "\n".join(["n,t", *first])), put("y.csv", "\n".join(["n,t", *second]))]
    expected = profile_both(*files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "FULL", full)
        patch.setattr(rows_module, "BINS", 2)
        assert profile_both(*files) == expected


def test_where_there_is_no_room_for_the_rows_of_a_large_table_it_is_said(
    put: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rows_module, "FULL", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(Unreadable, match=r"cannot be matched in .*gone: No such file"):
        profile_both(put("x.csv", "a\nx\n"), put("y.csv", "a\ny\n"))


def png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("name", "content", "size"),
    [
        ("a.png", png(640, 480), "640 x 480"),
        ("a.gif", b"GIF89a" + struct.pack("<HH", 3, 4), "3 x 4"),
        ("a.bmp", b"BM" + bytes(16) + struct.pack("<ii", 5, -6), "5 x 6"),
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08\0\x07\0\x09\x03\x01\x11\0", "9 x 7"),
    ],
)
def test_the_size_of_an_image_is_read_from_its_head(name: str, content: bytes, size: str, put: Put) -> None:
    assert profile(put(name, content)).facts["size"] == size


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jsonl", "a.parquet"])
def test_what_is_not_what_its_name_says_is_told(name: str, put: Put) -> None:
    with pytest.raises(Unreadable):
        profile(put(name, "nothing of the kind"))
    assert is_profiled(name)
    assert not is_profiled("a.bin")


def test_a_jpeg_that_is_cut_off_in_its_size_is_told(put: Put) -> None:
    with pytest.raises(Unreadable):
        profile(put("a.jpg", b"\xff\xd8\xff\xc0\0\x0b\x08"))


def test_lines_with_a_field_of_their_own_each_cost_no_more_than_others(put: Put) -> None:
    began = time.process_time()
    found = profile(put("a.jsonl", "".join(f'{{"user-{number}": 1}}\n' for number in range(20_000))))
    assert (found.rows, len(found.columns), {column.empty for column in found.columns}) == (20_000, 20_000, {19_999})
    assert time.process_time() - began < 10


def test_parquet_is_told_over_all_of_its_groups_of_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"n": [1, 2, None], "t": ["a", "b", "c"], "l": [[1], [2], [3]]})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    found = profile(tmp_path / "t.parquet")
    assert (found.kind, found.rows) == ("Parquet", 3)
    assert found.columns[0] == ColumnProfile(
        name="n", type="int64", empty=1, distinct=2, smallest="1", largest="2", mean=1.5, deviation=0.5
    )
    assert [column.type for column in found.columns[1:]] == ["string", "list<element: int64>"]


def test_rows_of_parquet_are_matched_by_their_values(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    before = {
        "f": [float("nan"), 0.0, 1.5, None],
        "t": ["a", "b", None, "d"],
        "l": [[1], None, [float("nan")], [3]],
        "when": pa.array([1, 2, 3, 1_000_000_001], pa.timestamp("ns")),
        "kind": pa.array(["x", "y", "x", "y"]).dictionary_encode(),
        "old": [1, 2, 3, 4],
    }
    after = {name: pa.array(values).take(pa.array([3, 2, 1, 0])) for name, values in before.items() if name != "old"}
    after["f"] = pa.array([None, 1.5, -0.0, float("nan")])
    parquet.write_table(pa.table(before), tmp_path / "x.parquet", row_group_size=2)
    parquet.write_table(pa.table(after), tmp_path / "y.parquet", compression="gzip")
    found = profile_both(tmp_path / "x.parquet", tmp_path / "y.parquet")
    assert [one.smallest for one in found.before.columns if one.name == "when"] == ["1970-01-01 00:00:00"]
    assert found.rows == RowChange(added=1, removed=1)  # 0.0 became -0.0
    assert (found.before, found.after) == (profile(tmp_path / "x.parquet"), profile(tmp_path / "y.parquet"))


def test_a_large_parquet_file_is_matched_in_bounded_memory(tmp_path: Path) -> None:
    """It has 40 MB more than another one, in groups of rows."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    tables = []
    for name, groups in (("v", 20), ("w", 20), ("x", 60), ("y", 60)):
        tables.append(tmp_path / f"{name}.parquet")
        with parquet.ParquetWriter(tables[-1], pa.schema([("t", pa.binary())])) as writer:
            for group in range(groups):
                noise = random.Random(f"{name} {group}" if group == 1 else group)
                writer.write_table(pa.table({"t": pa.array([noise.randbytes(500) for _ in range(2000)])}))
    done = subprocess.run([sys.executable, "-c", MANY, *tables], capture_output=True, text=True, check=True)
    added, removed, grown = map(int, done.stdout.split())
    assert (added, removed) == (2000, 2000)
    assert grown < 15 << 10
