"""CSV and TSV: cell by cell."""

import pytest

TABLE = 'name,acc,fit_time,when\nalpha,0.91,0.123,2026-11-22 12:00:07\n"b, c",1e-05,0.2,\n'


def test_quoting_and_line_ends_are_set_aside(judge) -> None:
    found = judge("r.csv", TABLE, TABLE.replace("alpha", '"alpha"').replace("\n", "\r\n"))
    assert (found.same, found.level, found.format) == (True, "meaning", "CSV")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("0.91", "0.92", "row 2.acc: 0.91 -> 0.92"),
        ("0.91", "0.910", "row 2.acc: 0.91 -> 0.910"),
        ("alpha", "alphb", "row 2.name: 'alpha' -> 'alphb'"),
        ("1e-05", "", "row 3.acc: '1e-05' -> ''"),
        ("acc", "f1", "row 1.column 2: 'acc' -> 'f1'"),
        ("b, c", "b; c", "row 3.name: 'b, c' -> 'b; c'"),
    ],
)
def test_one_changed_cell_is_named(judge, old: str, new: str, told: str) -> None:
    found = judge("r.csv", TABLE, TABLE.replace(old, new, 1))
    assert found.same is False
    assert found.why.startswith(told), found.why


def test_a_fit_time_is_a_result_and_its_cause_the_clock(judge) -> None:
    found = judge("cv_results.csv", TABLE, TABLE.replace("0.123", "0.125"))
    assert (found.same, found.causes) == (False, ("clock",))


def test_a_time_within_the_run_is_masked_in_a_cell(judge) -> None:
    found = judge("r.csv", TABLE, TABLE.replace("2026-11-22 12:00:07", "2026-11-23 15:00:09"))
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["time"])
    assert judge("r.csv", TABLE, TABLE.replace("2026-11-22 12:00:07", "2026-11-22 19:30:09")).same is False


def test_missing_rows_and_cells_are_told(judge) -> None:
    assert "1 row only in the first" in judge("r.csv", "a\n1\n2\n", "a\n1\n").why
    assert judge("r.csv", "a,b\n1,2\n", "a,b\n1\n").why == "row 2: 2 -> 1 cell"


def test_the_same_rows_in_another_order_are_different(judge) -> None:
    found = judge("r.csv", "a,b\n1,2\n3,4\n5,6\n", "a,b\n5,6\n1,2\n3,4\n")
    assert (found.same, found.causes) == (False, ("row order",))
    assert judge("r.csv", "a,b\n1,2\n3,4\n", "a,b\n3,4\n1,3\n").causes == ()


def test_tabs_and_semicolons(judge) -> None:
    assert "row 2.b: 2 -> 3" in judge("r.tsv", "a\tb\n1\t2\n", "a\tb\n1\t3\n").why
    assert "row 2.b: '2,5' -> '2,6'" in judge("r.csv", "a;b\n1;2,5\n", "a;b\n1;2,6\n").why


def test_a_tolerance_holds_for_reals_only(judge) -> None:
    found = judge("metrics.csv", TABLE, TABLE.replace("0.91", "0.9101"), tolerance=1e-3)
    assert (found.same, found.level) == (True, "tolerance")


def test_a_day_in_a_column_is_data_though_it_be_the_day_of_the_run(judge) -> None:
    found = judge("t.csv", "date,sales\n2026-11-22,5\n", "date,sales\n2026-11-23,5\n")
    assert (found.same, found.causes) == (False, ("clock",))
    assert judge("t.csv", "at,x\n2026-11-22 12:00:07,5\n", "at,x\n2026-11-23 15:00:09,5\n").same is True
