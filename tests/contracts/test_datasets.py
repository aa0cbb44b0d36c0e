"""What every ledger promises of data sets, whatever lies behind it: SQLite or PostgreSQL."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bis.digest import Digest, digest_value
from bis.errors import NotFound, UsageError
from bis.ledger import Ledger
from bis.ledger.moments import micros
from bis.ledger.runs import SqlLedger, open_ledger
from bis.ledger.used import Users, noted_users, sampled
from bis.nouns.dataset import DataAnnotation, DataVersion, Held
from bis.nouns.part import Part
from bis.nouns.reference import parse_data
from bis.nouns.run import Run

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    with open_ledger(ledger_place) as ledger:
        yield ledger


@pytest.fixture
def again(ledger_place: Path | str) -> Iterator[Callable[[], Ledger]]:
    """Opens one and the same ledger, each time anew."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(open_ledger(ledger_place))


def a_version(number: int, name: str = "customers", **fields: Any) -> DataVersion:
    content = digest_value([name, number])
    made = f"2026-05-{number:02}T10:00:00.000000Z"
    plain: dict[str, Any] = {"name": name, "number": number, "made": made, "tree": content, "content": content}
    return DataVersion(**{**plain, **fields})


def put(ledger: Ledger, *versions: DataVersion) -> list[Held]:
    found = [ledger.data.add(one.name, lambda number, newest, one=one: (one, digest_value(one))) for one in versions]  # type: ignore[misc]
    return [one for one in found if one]


def say(ledger: Ledger, held: Held, **said: Any) -> None:
    made = said.pop("made", "2026-06-01T00:00:00.000000Z")
    annotation = DataAnnotation(name=held.version.name, about=(held.record,), made=made, **said)
    ledger.data.annotate(annotation, digest_value(annotation))


def find(ledger: Ledger, text: str, **options: bool) -> str:
    held, path = ledger.data.find(parse_data(text, NOW), **options)
    return f"{held.reference}/{path}" if path else held.reference


def test_the_next_version_gets_the_next_number_and_is_told_the_newest(ledger: Ledger) -> None:
    told: list[tuple[int, str]] = []

    def make(number: int, newest: Held | None) -> tuple[DataVersion, Digest]:
        told.append((number, newest.reference if newest else ""))
        version = a_version(number)
        return version, digest_value(version)

    for _ in range(3):
        ledger.data.add("customers", make)
    assert told == [(1, ""), (2, "customers@v1"), (3, "customers@v2")]
    # A number that was given is never given again.
    say(ledger, ledger.data.versions()[0], hidden=True)
    ledger.data.add("customers", make)
    assert told[-1] == (4, "customers@v2")


def test_those_who_add_at_once_get_different_numbers(again: Callable[[], Ledger]) -> None:
    again().data.names()

    def add(_: int) -> int:
        def make(number: int, newest: Held | None) -> tuple[DataVersion, Digest]:
            version = a_version(number)
            return version, digest_value(version)

        mine = again()
        held = mine.data.add("customers", make)
        mine.close()
        assert held
        return held.version.number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add, range(20))) == list(range(1, 21))


def test_nothing_new_leaves_nothing(ledger: Ledger) -> None:
    assert ledger.data.add("customers", lambda number, newest: None) is None
    assert ledger.data.names() == []
    assert ledger.data.versions() == []


def test_versions_come_newest_first_by_their_time(ledger: Ledger) -> None:
    put(ledger, a_version(2), a_version(1), a_version(3, "other"))
    assert [one.reference for one in ledger.data.versions()] == ["other@v3", "customers@v2", "customers@v1"]
    assert [one.reference for one in ledger.data.versions("customers")] == ["customers@v2", "customers@v1"]
    assert ledger.data.names() == ["customers", "other"]


def test_a_version_is_found_by_number_time_checksum_tag_and_steps_back(ledger: Ledger) -> None:
    one, two, _ = put(ledger, a_version(1), a_version(2, checksums={"md5": "5afc23"}), a_version(3))
    say(ledger, two, tags=("live",))
    assert find(ledger, "customers") == find(ledger, "customers@latest") == "customers@v3"
    assert find(ledger, "customers@v1") == "customers@v1"
    assert find(ledger, "customers@2026-05-02T10.00.00.000Z") == "customers@v2"
    assert find(ledger, "customers@2026-05-02") == "customers@v2"
    assert find(ledger, "customers@{2026-05-02T09:59:59Z}") == "customers@v1"
    assert find(ledger, f"customers@{one.version.content[:11]}") == find(ledger, one.version.content) == "customers@v1"
    assert find(ledger, "md5:5afc") == find(ledger, "customers@live") == "customers@v2"
    assert find(ledger, "customers~1") == find(ledger, "customers@v3~1/a")[:-2] == "customers@v2"


def test_a_path_may_follow_the_name_which_may_hold_slashes(ledger: Ledger) -> None:
    put(ledger, a_version(1, "team"), a_version(1, "team/customers"))
    assert find(ledger, "team/customers/2026/may.csv") == "team/customers@v1/2026/may.csv"
    assert find(ledger, "team/others/x") == "team@v1/others/x"
    assert find(ledger, "team/customers@v1/x") == "team/customers@v1/x"


def test_the_same_content_again_is_found_by_checksum_as_the_newest(ledger: Ledger) -> None:
    content = digest_value("x")
    put(ledger, a_version(1, content=content, tree=content), a_version(2), a_version(3, content=content, tree=content))
    assert find(ledger, content) == "customers@v3"


def test_what_is_ambiguous_names_the_candidates(ledger: Ledger) -> None:
    """Two people may both have made a second version."""
    put(
        ledger,
        a_version(2, user="ana"),
        a_version(2, user="bo", made="2026-05-09T10:00:00.000000Z", content=digest_value(9)),
    )
    with pytest.raises(UsageError) as error:
        find(ledger, "customers@v2")
    assert all(word in error.value.because for word in ("ana", "bo", "2026-05-02T10.00.00.000Z", "b3:"))
    assert "customers@2026-05-09T10.00.00.000Z" in error.value.hint
    with pytest.raises(UsageError, match="needs 4"):
        find(ledger, "customers@b3:a")


def test_what_is_not_there_names_what_is_near(ledger: Ledger) -> None:
    with pytest.raises(NotFound) as error:
        find(ledger, "customers")
    assert error.value.hint == "bis data add PATH"
    (one,) = put(ledger, a_version(1, source="data/customers.csv"))
    say(ledger, one, tags=("production",))
    for text, meant in (
        ("custmers", "Did you mean customers?"),
        ("zzz", "There are customers."),
        ("customers@v12", "v1"),
        ("customers@prodction", "@production"),
        ("customers@2026-01-01", "2026-05-01T10.00.00.000Z"),
        ("customers@2026-05-01T10.00.00.001Z", "2026-05-01T10.00.00.000Z"),
        ("data/customers.csv", "was added from"),
    ):
        with pytest.raises(NotFound) as error:
            find(ledger, text)
        assert meant in error.value.because
        assert error.value.hint.startswith("bis data log")
    with pytest.raises(NotFound, match="no version lies before"):
        find(ledger, "customers~1")


def test_a_removed_version_is_hidden_until_that_is_taken_back(ledger: Ledger) -> None:
    _, two = put(ledger, a_version(1), a_version(2))
    say(ledger, two, hidden=True)
    assert find(ledger, "customers") == "customers@v1"
    assert find(ledger, "customers@v2", hidden=True) == "customers@v2"
    with pytest.raises(NotFound) as error:
        find(ledger, "customers@v2")
    assert error.value.hint == "bis data rm --undo customers@v2"
    assert [one.hidden for one in ledger.data.versions(hidden=True)] == [True, False]
    say(ledger, two, hidden=False, made="2026-06-02T00:00:00.000000Z")
    assert find(ledger, "customers") == "customers@v2"


def test_annotations_may_come_before_their_version(ledger: Ledger) -> None:
    """As when a ledger is rebuilt from records in any order."""
    version = a_version(1)
    say(ledger, Held(version=version, record=digest_value(version)), tags=("live",), note="checked")
    put(ledger, version)
    (one,) = ledger.data.versions()
    assert (one.tags, one.notes[0].note) == (("live",), "checked")


def test_what_was_there_at_a_moment_is_told_as_it_was_then(ledger: Ledger) -> None:
    one, _ = put(ledger, a_version(1), a_version(2))
    say(ledger, one, tags=("production",), made="2026-06-01T00:00:00.000000Z")
    say(ledger, one, hidden=True, made="2026-06-03T00:00:00.000000Z")
    seen = {
        moment: [(held.version.number, held.tags) for held in ledger.data.versions(until=micros(f"2026-{moment}"))]
        for moment in ("04-30T00:00", "05-01T12:00", "06-02T00:00", "06-04T00:00")
    }
    assert seen == {
        "04-30T00:00": [],
        "05-01T12:00": [(1, ())],
        "06-02T00:00": [(2, ()), (1, ("production",))],
        "06-04T00:00": [(2, ())],
    }


# who used it


def a_run(number: int, *digests: Digest) -> Run:
    rows = [{"path": str(place), "digest": digest, "size": 1} for place, digest in enumerate(digests)]
    part = Part(kind="data", digest=digest_value(rows), facts={"inputs": rows})
    started = f"2026-05-03T00:00:{number:02}.000000Z"
    return Run(
        id=f"{number:012x}",
        name=f"run-{number}",
        command=("x",),
        started=started,
        status="finished",
        parts={"data": part},
    )


def seal(ledger: Ledger, *runs: Run) -> None:
    for run in runs:
        ledger.seal(run, digest_value(run))


def test_the_runs_that_used_a_file_are_found_by_its_digest_newest_first(ledger: Ledger) -> None:
    files = [digest_value(number) for number in range(5)]
    assert ledger.data.users(files) == []
    seal(ledger, a_run(1, files[0], files[1]), a_run(2, files[4]), a_run(3, files[1]), a_run(4))
    assert ledger.data.users(files[:2]) == [a_run(3).id, a_run(1).id]
    assert ledger.data.users([digest_value("other")]) == []
    # Sealed again with other inputs: those count.
    seal(ledger, a_run(1, files[4]))
    assert ledger.data.users(files[:2]) == [a_run(3).id]


def test_a_run_that_read_a_large_data_set_is_found_by_it(ledger: Ledger) -> None:
    files = [digest_value(number) for number in range(6000)]
    seal(ledger, a_run(1, *files[:5000]))
    assert ledger.data.users(files) == [a_run(1).id]


def test_a_run_with_very_many_inputs_is_found_by_each_of_them_alone(ledger: Ledger) -> None:
    files = [digest_value(number) for number in range(10_000)]
    seal(ledger, a_run(1, *files[:5000]), a_run(2, *files[:5000]), a_run(3, *files[5000:]))
    last = max(files[:5000])
    assert ledger.data.users([last]) == [a_run(2).id, a_run(1).id]
    assert ledger.data.users([max(files[5000:])]) == [a_run(3).id]
    assert ledger.data.users([digest_value("other")]) == []
    assert all(ledger.data.users([file]) == [a_run(2).id, a_run(1).id] for file in files[:5000:500])


def test_what_is_noted_of_runs_tells_who_used_files_and_how_many_might_be_missed(ledger: Ledger) -> None:
    files = [digest_value(number) for number in range(6000)]
    seal(ledger, a_run(1, files[0]), a_run(2, files[1]), a_run(3, files[0]), a_run(4, *files))
    assert isinstance(ledger, SqlLedger)
    with ledger.database.reading() as connection:

        def ask(digest: Digest, moment: str = "2026-06-01", limit: int = 9) -> Users:
            return noted_users(connection, [digest], until=micros(moment), limit=limit)

        seldom, often = max(files), min(files)
        assert sampled(connection) == 1
        assert ask(often).newest == [a_run(4).id]
        assert ask(seldom) == Users(0, [])
        assert ask(files[0]).newest[-2:] == [a_run(3).id, a_run(1).id]
        assert ask(files[0], limit=1).total == ask(files[0]).total
        assert ask(files[0], "2026-05-03T00:00:02") == Users(1, [a_run(1).id])
