"""Versions of data: their times, and what annotations make of them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bis.digest import Digest
from bis.nouns.dataset import DataAnnotation, DataVersion, hold, made_at, stamp_of

ONE, TWO = Digest("b3:" + "1" * 64), Digest("b3:" + "2" * 64)


def version(number: int) -> DataVersion:
    return DataVersion(
        name="x",
        number=number,
        made=f"2026-05-0{number}T00:00:00.000000Z",
        tree=ONE,
        content=ONE,
        metadata={"licence": "CC0"},
        checksums={"md5": "aa"},
    )


def said(*about: Digest, **fields: object) -> DataAnnotation:
    return DataAnnotation(name="x", about=about, made="2026-06-01T00:00:00.000000Z", **fields)  # type: ignore[arg-type]


def test_a_tag_means_one_version_and_leaves_the_one_that_it_meant_before() -> None:
    both = [(version(1), ONE), (version(2), TWO)]
    first, second = hold(both, [said(ONE, tags=("live", "old")), said(TWO, tags=("live",))])
    assert (first.tags, second.tags) == (("old",), ("live",))
    # Taking it from a version that has it no more takes it from nobody.
    first, second = hold(both, [said(ONE, tags=("live",)), said(TWO, tags=("live",)), said(ONE, removed=("live",))])
    assert (first.tags, second.tags) == ((), ("live",))


def test_what_is_said_later_lies_beside_what_was_said_first() -> None:
    later = said(ONE, note="checked", metadata={"rows": "10"}, checksums={"sha1": "bb"})
    (one,) = hold([(version(1), ONE)], [later])
    assert one.metadata == {"licence": "CC0", "rows": "10"}
    assert one.checksums == {"b3": "1" * 64, "md5": "aa", "sha1": "bb"}
    assert [note.note for note in one.notes] == ["checked"]
    assert one.version == version(1)


def test_a_removal_can_be_taken_back() -> None:
    steps = [said(ONE, TWO, hidden=True), said(TWO, hidden=False), said(TWO, note="nothing of hiding")]
    assert [one.hidden for one in hold([(version(1), ONE), (version(2), TWO)], steps)] == [True, False]


def test_the_time_of_a_version_is_its_name_as_kedro_writes_it() -> None:
    made = made_at(datetime(2026, 5, 3, 12, 11, 12, 123999, tzinfo=UTC))
    assert made == "2026-05-03T12:11:12.123000Z"
    assert stamp_of(made) == "2026-05-03T12.11.12.123Z"


moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(moments, moments)
def test_a_version_is_later_than_the_one_before_whatever_the_clock_says(before: datetime, clock: datetime) -> None:
    first = made_at(before)
    second = made_at(clock, first)
    assert stamp_of(second) > stamp_of(first)
    assert clock - datetime.fromisoformat(second) < timedelta(milliseconds=1)
