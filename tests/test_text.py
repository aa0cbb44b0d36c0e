"""Values as a person reads them."""

import shlex
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis import text
from bis.digest import spell

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine that has other things to do is no fault."""


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 10, "10 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")],
)
def test_bytes_are_told_in_the_unit_that_fits(count: int, shown: str) -> None:
    assert text.size(count) == shown


def test_a_sentence_names_a_few_and_counts_the_others() -> None:
    assert text.some(["a", spell(b"\xff"), "c"]) == r"a, \xff, c"
    assert text.some(["a", "b", "c", "d"]) == "a, b, c and 1 other"
    assert text.some(["a", "b", "c", "d"], 2) == "a, b and 2 others"


def test_numbers_stand_below_one_another_by_their_points() -> None:
    assert text.by_point(["1.5", "120", "2e-07", "nan", "5.0 MiB"]) == ["  1.5", "120", "  2e-07", "nan", "  5.0 MiB"]
    assert text.by_point([]) == []


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.42, "0.42s"),
        (9.94, "9.9s"),
        (12.34, "12.3s"),
        (59.97, "1m00s"),
        (280, "4m40s"),
        (7500, "2h05m"),
        (273600, "3d04h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s ago"), (59, "59s ago"), (60, "1m ago"), (7200, "2h ago"), (86400 * 3, "3d ago")]
)
def test_a_time_is_told_as_how_long_ago_it_was(seconds: float, shown: str) -> None:
    now = datetime(2026, 5, 3, 12, tzinfo=UTC)
    assert text.ago((now - timedelta(seconds=seconds)).isoformat(), now) == shown


def test_a_time_long_ago_or_ahead_is_told_as_a_date() -> None:
    now = datetime(2026, 5, 3, 12, tzinfo=UTC)
    assert text.ago("2026-01-15T12:00:00Z", now) == "2026-01-15"
    assert text.ago("2026-05-04T12:00:00Z", now).startswith("2026-05-04 ")


@patient
@given(st.lists(st.floats(allow_infinity=False, allow_nan=False), min_size=1, max_size=8))
def test_a_column_of_numbers_never_shows_two_different_ones_alike(values: list[float]) -> None:
    shown = text.numbers(values)
    # Minus zero is zero.
    assert len(set(shown)) >= len(set(values))


def test_a_column_of_numbers_takes_no_more_digits_than_it_needs() -> None:
    assert text.numbers([0.9533333333333334, 0.1 + 0.2, None]) == ["0.95333", "0.3", ""]
    assert text.numbers([0.30000001, 0.30000002]) == ["0.30000001", "0.30000002"]
    assert text.numbers([3.0, 1e300, float("nan")]) == ["3", "1e+300", "nan"]


@patient
@given(st.text())
def test_no_stored_text_can_steer_a_terminal(stored: str) -> None:
    assert text.plain(stored).isprintable()
    assert all(line.isprintable() for line in text.plain_lines(stored))
    assert text.command_line([stored]).isprintable()


@patient
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], max_codepoint=0x2FF), min_size=1)))
def test_a_command_is_shown_so_that_a_shell_reads_the_same_words(words: list[str]) -> None:
    printable = [word for word in words if word.isprintable()]
    assert shlex.split(text.command_line(printable)) == printable


def test_what_is_not_utf8_is_shown_and_can_be_typed() -> None:
    assert text.command_line(["cat", spell(b"caf\xe9's\n.txt")]) == r"cat $'caf\xe9\'s\n.txt'"


def test_wide_letters_take_two_columns() -> None:
    assert text.width("模型") == 4
    assert text.cut("模型模型", 6) == "模型.."
    assert text.cut("short", 6) == "short"


def test_a_clock_that_was_set_back_leaves_no_time_below_zero() -> None:
    assert text.seconds_between("2026-11-27T05:00:00.002Z", "2026-11-27T05:00:00.001Z") == 0
