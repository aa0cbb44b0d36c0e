"""`bis rm` and `bis gc` as a person types them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.store.local import open_store

Bis = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, bis: Bis) -> Path:
    """A project with two runs, each with an output of its own, and a version of data.

    Their command is surely no Python. Where it may be one, as with a shell, the set that is installed is put into the
    store before it starts, and stays there unneeded when no Python ran.
    """
    for number in (1, 2):
        (tmp_path / f"in-{number}.txt").write_text("".join(f"{line}\n" for line in range(number, 10_000)))
        words = ("sort", "--numeric-sort", "--reverse", f"--output=out-{number}.txt", f"in-{number}.txt")
        bis("run", "--name", f"sort-{number}", "--", *words, folder=tmp_path)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n" * 1000)
    bis("data", "add", "table.csv", folder=tmp_path)
    return tmp_path


def names(answer: Any) -> list[str]:
    return [run["name"] for run in answer.json["runs"]]


def test_a_removed_run_is_listed_no_more_and_comes_back_until_it_is_collected(project: Path, bis: Bis) -> None:
    assert bis("rm", "sort-1", folder=project).status == 0
    assert names(bis("log", "--json", folder=project)) == ["sort-2"]
    assert names(bis("log", "--removed", "--json", folder=project)) == ["sort-1"]
    told = bis("show", "sort-1", folder=project)
    assert (told.status, "bis rm --undo sort-1" in told.err) == (3, True)
    assert bis("rm", "--undo", "sort-1", folder=project).status == 0
    assert names(bis("log", "--json", folder=project)) == ["sort-2", "sort-1"]
    bis("rm", "sort-1", folder=project)
    assert bis("gc", "--json", folder=project).json["waiting"] > 0
    assert bis("rm", "--undo", "sort-1", folder=project).status == 0
    assert bis("gc", "--now", folder=project).status == 0
    assert bis("verify", folder=project).status == 0
    assert bis("restore", "sort-1", "back", folder=project).status == 0
    bis("rm", "sort-1", folder=project)
    assert bis("gc", "--now", "--json", folder=project).json["freed"] > 0
    told = bis("rm", "--undo", "sort-1", folder=project)
    assert (told.status, "was collected" in told.err) == (3, True)
    assert names(bis("log", "--removed", "--json", folder=project)) == ["sort-1"]


def test_gc_tells_what_would_go_then_takes_two_rounds(project: Path, bis: Bis) -> None:
    assert "nothing" in bis("gc", folder=project).out
    bis("data", "rm", "table", folder=project)
    would = bis("gc", "--dry-run", "--json", folder=project).json
    assert would["unneeded"]["blob"]["objects"] == 1
    assert would["unneeded"]["tree"]["objects"] == 1
    first = bis("gc", folder=project)
    assert "to be deleted" in first.out
    assert "bis gc --now" in first.err
    assert bis("verify", folder=project).status == 0
    assert bis("gc", "--grace", "0s", "--json", folder=project).json["deleted"] == 1
    assert bis("verify", folder=project).status == 0
    assert bis("data", "add", "table.csv", folder=project).status == 0
    assert bis("data", "get", "table@v2", "back", folder=project).status == 0


def test_gc_waits_for_whoever_writes_and_says_so(project: Path, bis: Bis) -> None:
    bis("data", "rm", "table", folder=project)
    with open_store(project / ".bis" / "store") as writer:
        writer.put_bytes(b"begun")
        for pack in writer.packs.glob("*.pack"):
            os.utime(pack, (0, 0))
        told = bis("gc", "--now", folder=project)
        assert "waits for 1 process" in told.err
    assert "deleted" in bis("gc", "--now", folder=project).out


def test_a_version_comes_back_until_it_is_collected(project: Path, bis: Bis) -> None:
    bis("data", "rm", "table", folder=project)
    bis("gc", folder=project)
    assert bis("data", "rm", "--undo", "table", folder=project).status == 0
    assert bis("gc", "--now", folder=project).status == 0
    assert bis("data", "get", "table", "back", folder=project).status == 0
    bis("data", "rm", "table", folder=project)
    bis("gc", "--now", folder=project)
    told = bis("data", "rm", "--undo", "table", folder=project)
    assert (told.status, "collected" in told.err) == (3, True)


def test_what_room_is_taken_is_told_of_pieces_too(project: Path, bis: Bis) -> None:
    (project / "large.bin").write_bytes(os.urandom(5 << 20))
    bis("data", "add", "large.bin", folder=project)
    assert "pieces of files" in bis("du", folder=project).out
