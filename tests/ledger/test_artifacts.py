"""Which content lies at which path."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bis.digest import digest_bytes
from bis.errors import NotFound, UsageError
from bis.ledger import artifacts
from bis.ledger.connection import Connection
from bis.ledger.runs import open_ledger
from bis.nouns.artifact import Listed

A, B = digest_bytes(b"a"), digest_bytes(b"b")


@pytest.fixture
def connection(ledger_place: Path | str) -> Iterator[Connection]:
    with open_ledger(ledger_place) as ledger, ledger.database.writing() as connection:
        yield connection


def put(connection: Connection, *paths: str) -> None:
    for number, path in enumerate(paths):
        artifacts.put(connection, path, A, number, 0)


def test_what_was_put_is_found_and_what_comes_later_replaces_it(connection: Connection) -> None:
    artifacts.put(connection, "0/run/a.txt", A, 1, 0)
    artifacts.put(connection, "0/run/a.txt", B, 2, 1)
    assert artifacts.get(connection, "0/run/a.txt") == ("0/run/a.txt", B, 2)
    with pytest.raises(NotFound, match=r"0/run/b\.txt"):
        artifacts.get(connection, "0/run/b.txt")


def test_a_folder_lists_its_files_and_folders_by_name(connection: Connection) -> None:
    put(connection, "run/b", "run/a/x", "run/a/y/z", "run/a.txt", "run/a0", "running", "ru")
    assert artifacts.listing(connection, "run") == [
        Listed("a", None),
        Listed("a.txt", 3),
        Listed("a0", 4),
        Listed("b", 0),
    ]
    assert artifacts.listing(connection, "run/a") == [Listed("x", 1), Listed("y", None)]
    assert [listed.name for listed in artifacts.listing(connection, "")] == ["ru", "run", "running"]
    assert artifacts.listing(connection, "run/b") == []


def test_a_folder_with_very_many_files_is_passed_over_by_who_lists_the_one_around_it(connection: Connection) -> None:
    put(connection, *(f"run/many/{number:06}" for number in range(3000)), "run/z", "run/many0")
    asked: list[str] = []

    class Counting:
        def execute(self, statement: str, values: object = ()) -> object:
            asked.append(statement)
            return connection.execute(statement, values)

    names = [listed.name for listed in artifacts.listing(Counting(), "run")]  # type: ignore[arg-type]
    assert names == ["many", "many0", "z"]
    assert len(asked) == 2
    assert len(artifacts.listing(connection, "run/many")) == 3000
    assert len(list(artifacts.below(connection, "run"))) == 3002


def test_a_path_is_a_file_or_a_folder_and_never_both(connection: Connection) -> None:
    put(connection, "run/model/weights")
    with pytest.raises(UsageError, match="is a folder"):
        put(connection, "run/model")
    with pytest.raises(UsageError, match="is a file"):
        put(connection, "run/model/weights/layer")


def test_a_folder_is_removed_with_all_in_it_and_nothing_beside_it(connection: Connection) -> None:
    put(connection, "run/a", "run/a.txt", "run/b/c", "run/b/d/e", "run/b0")
    assert artifacts.remove(connection, "run/b") == 2
    assert artifacts.remove(connection, "run/a") == 1
    assert [one.path for one in artifacts.below(connection, "")] == ["run/a.txt", "run/b0"]


def test_the_content_that_is_needed_is_named_once(connection: Connection) -> None:
    put(connection, *(f"run/{number}" for number in range(1200)))
    artifacts.put(connection, "run/other", B, 1, 0)
    assert sorted(artifacts.digests(connection)) == sorted([A, B])
