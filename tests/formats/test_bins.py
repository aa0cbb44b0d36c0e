"""How the numbers of a column are spread."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.formats.bins import BINS, bins, ranges_of
from bis.formats.profile import profile


def test_each_value_is_counted_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,age,city\n1,0,x\n2,10,y\n3,5,z\n4,,x\n5,20,x\n")
    ranges = ranges_of(profile(tmp_path / "t.csv"))
    assert ranges == {"id": (1.0, 5.0), "age": (0.0, 20.0)}
    found = bins(tmp_path / "t.csv", ranges)["age"]
    assert {place: count for place, count in enumerate(found.counts) if count} == {0: 1, 5: 1, 10: 1, BINS - 1: 1}


def test_two_tables_are_counted_over_one_range(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,1\n2,1\n")
    (tmp_path / "b.csv").write_text("x,y\n1,one\n40,two\n")
    ranges = ranges_of(profile(tmp_path / "a.csv"), profile(tmp_path / "b.csv"))
    assert ranges == {"x": (1.0, 40.0)}  # the other is text in one of them
    assert bins(tmp_path / "a.csv", ranges)["x"].counts[0] == 2
    assert bins(tmp_path / "b.csv", ranges)["x"].counts[-1] == 1


def test_what_is_no_table_as_text_has_none(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"x": 1}\n')
    assert bins(tmp_path / "t.jsonl", ranges_of(profile(tmp_path / "t.jsonl"))) == {}


def test_numbers_that_are_as_close_as_can_be_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x\n0.0\n5e-324\n")
    ranges = ranges_of(profile(tmp_path / "t.csv"))
    assert sum(bins(tmp_path / "t.csv", ranges)["x"].counts) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_no_value_is_lost(tmp_path: Path, values: list[float]) -> None:
    (tmp_path / "t.csv").write_text("x\n" + "".join(f"{value!r}\n" for value in values))
    ranges = ranges_of(profile(tmp_path / "t.csv"))
    assert sum(bins(tmp_path / "t.csv", ranges)["x"].counts) == len(values)
