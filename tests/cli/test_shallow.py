"""Shallow clones: records come at once, contents when they are needed."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

Type = Callable[..., Any]
TRAIN = "import hashlib; open('model.bin', 'wb').write(hashlib.sha512(open('data.csv', 'rb').read()).digest() * 2000)"


class Lab(NamedTuple):
    """A project that was pushed, and a shallow clone of it."""

    ana: Path
    ben: Path
    remote: Path


@pytest.fixture
def lab(tmp_path: Path, bis: Type) -> Lab:
    """A run, and two versions of a folder of 40 files of 50 KB each, the second with one file changed."""
    ana = tmp_path / "ana"
    (ana / "images").mkdir(parents=True)
    (ana / "bis.toml").write_text("")
    (ana / "data.csv").write_bytes(os.urandom(100_000))
    for number in range(40):
        (ana / "images" / f"{number}.png").write_bytes(os.urandom(50_000))
    assert bis("run", "--name", "first", "--", sys.executable, "-c", TRAIN, folder=ana).status == 0
    assert bis("data", "add", "images", folder=ana).status == 0
    (ana / "images" / "7.png").write_bytes(b"seven")
    assert bis("data", "add", "images", folder=ana).status == 0
    remote = tmp_path / "remote"
    assert bis("remote", "add", "origin", str(remote), folder=ana).status == 0
    assert bis("push", folder=ana).status == 0
    made = bis("clone", "--shallow", str(remote), "ben", folder=tmp_path)
    assert made.status == 0, made.err
    return Lab(ana, tmp_path / "ben", remote)


def packed(project: Path) -> int:
    """Bytes of all packs."""
    return sum(path.stat().st_size for path in (project / ".bis" / "store" / "packs").glob("*.pack"))


def test_a_shallow_clone_has_the_records_and_no_contents(lab: Lab, bis: Type) -> None:
    assert packed(lab.ben) < 100_000 < packed(lab.ana)
    assert "first" in bis("log", folder=lab.ben).out
    assert bis("data", "log", "images", folder=lab.ben).out == bis("data", "log", "images", folder=lab.ana).out
    assert bis("data", "ls", "images", folder=lab.ben).out == bis("data", "ls", "images", folder=lab.ana).out
    changed = bis("data", "diff", "images", "--files", folder=lab.ben)
    assert (changed.status, "7.png" in changed.out) == (1, True)
    assert bis("show", "first", folder=lab.ben).status == 0


def test_a_file_is_brought_when_it_is_asked_for_and_no_other(lab: Lab, bis: Type) -> None:
    before = packed(lab.ben)
    assert bis("data", "cat", "images/7.png", folder=lab.ben).out == "seven"
    assert packed(lab.ben) - before < 5_000
    got = bis("data", "get", "images@v1", "old", folder=lab.ben)
    assert (got.status, got.out.split()[:2]) == (0, ["brought", "images@v1"])
    new = {path.name: path.read_bytes() for path in (lab.ana / "images").iterdir() if path.name != "7.png"}
    old = {path.name: path.read_bytes() for path in (lab.ben / "old").iterdir() if path.name != "7.png"}
    assert (old, len(old)) == (new, 39)
    assert (lab.ben / "old" / "7.png").stat().st_size == 50_000


def test_a_run_is_restored_and_repeated_from_what_is_brought(lab: Lab, bis: Type) -> None:
    restored = bis("restore", "first", "back", "--outputs", folder=lab.ben)
    assert restored.status == 0, restored.err
    assert (lab.ben / "back" / "data.csv").read_bytes() == (lab.ana / "data.csv").read_bytes()
    assert (lab.ben / "back" / "model.bin").read_bytes() == (lab.ana / "model.bin").read_bytes()


def test_what_runs_printed_and_made_is_brought_when_it_is_looked_at(tmp_path: Path, bis: Type) -> None:
    ana, ben = tmp_path / "ana", tmp_path / "ben"
    ana.mkdir()
    for name, word in (("one", "north"), ("two", "south")):
        (ana / "train.py").write_text(f"print('{word}'); open('model.txt', 'w').write('{word}' * 9)\n")
        assert bis("run", "--name", name, "--", sys.executable, "train.py", folder=ana).status == 0
    assert bis("push", str(tmp_path / "remote"), folder=ana).status == 0
    assert bis("clone", "--shallow", str(tmp_path / "remote"), "ben", folder=tmp_path).status == 0
    (tmp_path / "remote").rename(tmp_path / "away")
    alone = bis("diff", "one", "two", folder=ben)
    assert alone.status == 1
    assert "is not in the store" in alone.out
    assert "bis push makes one" in bis("show", "one", "--log", folder=ben).err
    (tmp_path / "away").rename(tmp_path / "remote")
    assert bis("show", "one", "--log", folder=ben).out == "north\n"
    told = bis("diff", "one", "two", folder=ben)
    assert (told.status, told.out) == (1, bis("diff", "one", "two", folder=ana).out)
    assert "-print('north')" in told.out


@pytest.mark.slow
def test_a_run_is_repeated_in_a_shallow_clone(lab: Lab, bis: Type) -> None:
    repeated = bis("repeat", "first", "--json", folder=lab.ben)
    assert repeated.status == 0, repeated.err


def test_contents_are_brought_beforehand_by_fetch_and_all_of_them_by_pull(lab: Lab, bis: Type) -> None:
    fetched = bis("fetch", "first", "data:/images@v1", folder=lab.ben)
    assert fetched.status == 0, fetched.err
    away = lab.remote.rename(lab.remote.with_name("away"))
    assert bis("data", "get", "images@v1", "old", folder=lab.ben).status == 0
    missed = bis("data", "cat", "images@v2/7.png", folder=lab.ben)
    assert missed.status != 0
    assert missed.out == ""
    away.rename(lab.remote)
    assert bis("pull", "--whole", folder=lab.ben).status == 0
    lab.remote.rename(away)
    assert bis("data", "cat", "images@v2/7.png", folder=lab.ben).out == "seven"
    assert bis("verify", "--json", folder=lab.ben).json["away"] == 0
    assert bis("gc", "--dry-run", folder=lab.ben).status == 0


def test_a_shallow_clone_stays_shallow_and_what_is_recorded_in_it_is_sent(lab: Lab, bis: Type, tmp_path: Path) -> None:
    (lab.ana / "more.bin").write_bytes(os.urandom(200_000))
    bis("data", "add", "more.bin", folder=lab.ana)
    bis("push", folder=lab.ana)
    before = packed(lab.ben)
    assert bis("pull", folder=lab.ben).status == 0
    assert packed(lab.ben) - before < 10_000
    (lab.ben / "own.txt").write_text("of ben\n")
    assert bis("data", "add", "own.txt", folder=lab.ben).status == 0
    assert bis("push", folder=lab.ben).status == 0
    assert bis("push", "origin", "data:/own", folder=lab.ben).status == 0
    assert bis("pull", folder=lab.ana).status == 0
    assert bis("data", "cat", "own", folder=lab.ana).out == "of ben\n"
    assert bis("verify", folder=lab.ana).status == 0


def test_what_is_not_here_is_told_of_and_not_called_damaged(lab: Lab, bis: Type) -> None:
    checked = bis("verify", folder=lab.ben)
    assert (checked.status, checked.out.split()[0]) == (0, "sound")
    assert "in origin only, not looked at" in checked.out
    pack = next((lab.ben / ".bis" / "store" / "packs").glob("*.pack"))
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    assert bis("verify", folder=lab.ben).status == 5


def test_what_would_lose_or_spread_half_of_it_is_refused(lab: Lab, bis: Type, tmp_path: Path) -> None:
    for words in (("gc",), ("push", str(tmp_path / "other"))):
        refused = bis(*words, folder=lab.ben)
        assert refused.status == 2
        assert "shallow clone" in refused.err
        assert "bis pull --whole" in refused.err
    assert not (tmp_path / "other").exists()
