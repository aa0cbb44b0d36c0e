"""How people name runs, and versions of data."""

import contextlib
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.errors import UsageError
from bis.nouns.reference import DataReference, Reference, is_data_name, is_tag, parse, parse_data

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize("text", ["@", "@latest", " @latest ", "@{}", "@{latest}"])
def test_the_newest_run(text: str) -> None:
    assert parse(text, NOW) == Reference(text=text)


@pytest.mark.parametrize("text", ["7f3a", "train-12", "été", "my run", "7f3a00000000"])
def test_an_id_or_a_name(text: str) -> None:
    assert parse(text, NOW) == Reference(text=text, base=text)


@pytest.mark.parametrize(
    ("text", "base", "back"),
    [
        ("7f3a~1", "7f3a", 1),
        ("train-12~", "train-12", 1),
        ("@~2", "", 2),
        ("@latest~3", "", 3),
        ("x~~", "x", 2),
        ("x~1~2", "x", 3),
    ],
)
def test_so_many_runs_before(text: str, base: str, back: int) -> None:
    assert parse(text, NOW) == Reference(text=text, base=base, back=back)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("@{2026-05-03}", "2026-05-03T21:59:59.999999Z"),  # the end of that day, where the person is
        ("@2026-05-03", "2026-05-03T21:59:59.999999Z"),
        ("@{2026-05-03T10:00}", "2026-05-03T08:00:00.000000Z"),
        ("@{2026-05-03 10:00:30}", "2026-05-03T08:00:30.000000Z"),
        ("@{2026-05-03T10:00:00Z}", "2026-05-03T10:00:00.000000Z"),
        ("@{2026-05-03T10:00:00.5-05:00}", "2026-05-03T15:00:00.500000Z"),
        ("@{2 days ago}", "2026-11-21T10:00:00.000000Z"),
        ("@{1 hour ago}", "2026-11-23T09:00:00.000000Z"),
        ("@{an hour ago}", "2026-11-23T09:00:00.000000Z"),
        ("@{3h ago}", "2026-11-23T07:00:00.000000Z"),
        ("@{90 Minutes ago}", "2026-11-23T08:30:00.000000Z"),
        ("@{2 weeks ago}", "2026-11-09T10:00:00.000000Z"),
        ("@{yesterday}", "2026-11-22T21:59:59.999999Z"),
        ("@{now}", "2026-11-23T10:00:00.000000Z"),
        ("@{99999999 years ago}", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_the_newest_run_by_then(text: str, moment: str) -> None:
    assert parse(text, NOW) == Reference(text=text, moment=moment)


def test_without_a_zone_the_clock_of_this_machine_counts_in_summer_and_winter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        now = datetime(2026, 11, 23, 12, 0)
        assert parse("@{2026-05-03}", now).moment == "2026-05-03T21:59:59.999999Z"
        assert parse("@{2026-01-03}", now).moment == "2026-01-03T22:59:59.999999Z"
        assert parse("@{2026-05-03 10:00}", now).moment == "2026-05-03T08:00:00.000000Z"
        assert parse("@{1 hour ago}", now).moment == "2026-11-23T10:00:00.000000Z"
        assert parse("@{1 hour ago}", datetime(2026, 10, 25, 3, 30)).moment == "2026-10-25T01:30:00.000000Z"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_a_misspelled_time_names_what_was_meant() -> None:
    for typed, meant in (("yesteday", "@{yesterday}"), ("lates", "@{latest}"), ("2 dasy ago", "@{2 days ago}")):
        with pytest.raises(UsageError) as error:
            parse(f"@{{{typed}}}", NOW)
        assert f"Did you mean {meant}?" in error.value.because


def test_a_name_by_then_and_before() -> None:
    assert parse("train@{2026-05-03T00:00Z}~2", NOW) == Reference(
        text="train@{2026-05-03T00:00Z}~2", base="train", moment="2026-05-03T00:00:00.000000Z", back=2
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("  ", ""),
        ("@{someday}", "someday"),
        ("@{2026-13-01}", "2026-13-01"),
        ("@nonsense", "nonsense"),
        ("train-12@latest", "already names one run"),
        ("7f3a~x", ""),
        ("7f3a~-1", ""),
        ("7f3a~" + "9" * 5000, ""),
        ("@{" + "9" * 5000 + " days ago}", "is no date"),
        ("@{2026-05-03", ""),
        ("a@b@c", "b@c"),
        ("models:/churn@champion", "model"),
        ("data:/customers@v3", "data"),
    ],
)
def test_what_is_no_reference_gets_examples(text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text, NOW)
    assert why in error.value.because
    assert "@latest" in error.value.hint
    assert repr(text) in error.value.what


@given(st.text(max_size=30))
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    try:
        reference = parse(text, NOW)
    except UsageError:
        return
    assert reference.text == text
    assert reference.back >= 0


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)), st.integers(-12, 14))
def test_a_time_stamp_means_the_same_moment_in_every_zone(moment: datetime, hours: int) -> None:
    zoned = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
    parsed = parse(f"@{{{zoned.isoformat()}}}", NOW).moment
    assert datetime.fromisoformat(parsed) == zoned


@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_the_ends_of_the_calendar_are_moments_in_every_zone(hours: int) -> None:
    now = NOW.astimezone(timezone(timedelta(hours=hours)))
    assert parse("@{0001-01-01T00:00:00}", now).moment <= "0001-01-01T12:00:00.000000Z"
    assert parse("@{9999-12-31}", now).moment >= "9999-12-31T09:59:59.999999Z"


# versions of data


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("data:/customers", {"base": "customers"}),
        ("customers", {"base": "customers"}),
        ("customers@", {"base": "customers"}),
        ("customers@latest", {"base": "customers"}),
        ("customers@v3", {"base": "customers", "number": 3}),
        ("team/customers@v3", {"base": "team/customers", "number": 3}),
        ("team/customers/2026/may.csv", {"base": "team/customers/2026/may.csv"}),
        ("customers@v3/2026/may@x.csv", {"base": "customers", "number": 3, "path": "2026/may@x.csv"}),
        ("customers@{v3}/a b.csv", {"base": "customers", "number": 3, "path": "a b.csv"}),
        ("customers~2/a", {"base": "customers", "back": 2, "path": "a"}),
        ("customers@v3~", {"base": "customers", "number": 3, "back": 1}),
        ("customers@2026-05-03T10.11.12.123Z", {"base": "customers", "stamp": "2026-05-03T10:11:12.123000Z"}),
        ("customers@2026-05-03", {"base": "customers", "moment": "2026-05-03T21:59:59.999999Z"}),
        ("customers@{2026-05-03T10:00:00Z}", {"base": "customers", "moment": "2026-05-03T10:00:00.000000Z"}),
        (
            "customers@2026-05-03T10:00:00Z/x",
            {"base": "customers", "moment": "2026-05-03T10:00:00.000000Z", "path": "x"},
        ),
        ("customers@{2 hours ago}", {"base": "customers", "moment": "2026-11-23T08:00:00.000000Z"}),
        ("customers@b3:8E4c", {"base": "customers", "checksum": ("b3", "8e4c")}),
        ("data:/@md5:5afc", {"checksum": ("md5", "5afc")}),
        ("sha256:75a1d74a", {"checksum": ("sha256", "75a1d74a")}),
        ("customers@production", {"base": "customers", "tag": "production"}),
        ("customers@v3.1", {"base": "customers", "tag": "v3.1"}),
    ],
)
def test_a_version_of_data(text: str, fields: dict[str, object]) -> None:
    assert parse_data(text, NOW) == DataReference(text=text, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "data:/", "customers@{v3", "customers@a b!", "customers@md4:aa", "customers@{}}"])
def test_what_is_no_reference_to_data_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_data(text, NOW)
    assert "customers@v3" in error.value.hint


@given(st.text())
def test_any_text_is_a_reference_to_data_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_data(text, NOW)


@given(st.text(max_size=12))
def test_a_tag_is_found_by_what_is_typed(tag: str) -> None:
    if is_tag(tag):
        assert parse_data(f"x@{tag}", NOW) == DataReference(text=f"x@{tag}", base="x", tag=tag)


@pytest.mark.parametrize("word", ["Today", "YESTERDAY", "now", "latest", "v3", "v" + "9" * 5000, "2026-05-03"])
def test_what_means_something_else_behind_an_at_is_no_tag(word: str) -> None:
    assert not is_tag(word)
    with contextlib.suppress(UsageError):
        assert parse_data(f"x@{word}", NOW).tag == ""


@given(st.text(max_size=12))
def test_a_name_of_data_is_found_by_what_is_typed(name: str) -> None:
    if is_data_name(name):
        assert parse_data(f"{name}@v1", NOW) == DataReference(text=f"{name}@v1", base=name, number=1)
