"""What a killed command had among the temporary files is removed by `bis clean`, and nothing else there is."""

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import bis
from bis.acts.clean import clean
from bis.store.drafts import MAKER, SAID
from bis.store.temporary import left_in, temporary

Having = Callable[..., AbstractContextManager[subprocess.Popen[str]]]

HAVE = """
import subprocess, sys, time
from bis.store.temporary import temporary_held

with temporary_held("compare") as (folder, lock):
    (folder / "half").write_text("x" * 5000)
    if "child" in sys.argv:
        subprocess.Popen(["sleep", "600"], pass_fds=(lock,), stdout=subprocess.DEVNULL)
    print(folder, flush=True)
    time.sleep(600)
"""
SCORE = """
import sys, time
from bis.scoring.bulk.clusters import ROOM

names = {}
exec(ROOM, names)
print(names["Room"]("score").top, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder for temporary files."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def having(place: Path) -> Having:
    """Another process, which has a temporary folder until it is killed."""

    @contextlib.contextmanager
    def begin(*more: str, script: str = HAVE) -> Iterator[subprocess.Popen[str]]:
        words = [sys.executable, "-c", script, *more]
        variables = os.environ | {"TMPDIR": str(place)}
        with subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, text=True, start_new_session=True) as one:
            assert one.stdout
            assert one.stdout.readline().startswith(str(place))
            try:
                yield one
            finally:
                one.send_signal(signal.SIGKILL)

    return begin


def cleaned(place: Path, *, dry: bool = False) -> list[str]:
    """What was removed: nothing there has an age that would matter."""
    nowhere = place.parent / "nowhere"
    return [one.what for one in clean(nowhere, place, unused_since=0, dry=dry).removed]


@pytest.mark.parametrize("script", [HAVE, SCORE], ids=["of a command", "of a scoring on a cluster"])
def test_the_temporary_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(
    having: Having, place: Path, script: str
) -> None:
    with having(script=script):
        (left,) = place.iterdir()
        os.utime(left, (1, 1))  # nothing is told by age
        assert cleaned(place) == []
        assert left.stat().st_mode & 0o777 == 0o700
    assert cleaned(place, dry=True) == ["temporary"]
    assert left.exists()
    assert cleaned(place) == ["temporary"]
    assert list(place.iterdir()) == []


def test_where_nobody_cleans_the_next_scoring_on_that_machine_removes_what_the_dead_left(
    having: Having, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bis.scoring.bulk.clusters import ROOM

    monkeypatch.setattr("tempfile.tempdir", str(place))
    names: dict[str, Any] = {}
    exec(ROOM, names)
    with having(script=SCORE):
        names["remove_left"]("score")
        assert len(list(place.iterdir())) == 1
    (place / "bis-score-12345678").mkdir()
    (place / "bis-score-12345678" / MAKER).write_text("me")
    names["remove_left"]("score")
    assert [path.name for path in place.iterdir()] == ["bis-score-12345678"]


def test_it_stays_while_a_process_lives_that_the_killed_one_had_begun_in_it(having: Having, place: Path) -> None:
    with having("child") as killed:
        pass
    try:
        assert (cleaned(place), len(list(place.iterdir()))) == ([], 1)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
    patience = time.monotonic() + 20  # until the kernel has ended it
    while cleaned(place) == [] and time.monotonic() < patience:
        time.sleep(0.01)
    assert list(place.iterdir()) == []


def test_it_is_gone_with_its_maker_also_when_that_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place))

    def fail() -> None:
        with temporary("meaning") as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").touch()
            (folder / "deep").chmod(0o500)  # as a run's own folder may be, and nothing is removed from it
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["bis-compare-mine_one", "bis-compare-notes", "bis-kept-12345678", "bis-8a8a8a8a"])
@pytest.mark.parametrize("held", ["file", "other maker", "link"])
def test_a_folder_that_bis_did_not_make_stays(name: str, held: str, place: Path) -> None:
    theirs = place / name
    theirs.mkdir()
    if held == "link":
        (theirs / MAKER).symlink_to("nowhere")
    else:
        (theirs / (MAKER if held == "other maker" else "thesis.txt")).write_text("years of work")
    for path in (*theirs.glob("*.txt"), theirs):
        os.utime(path, (1, 1))
    assert cleaned(place) == []
    assert len(list(theirs.iterdir())) == 1


def test_a_folder_that_somebody_calls_otherwise_stays_though_bis_made_it(having: Having, place: Path) -> None:
    with having():
        pass
    (left,) = place.iterdir()
    left.rename(place / "mine")
    assert cleaned(place) == []
    assert (place / "mine" / "in" / "half").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_the_temporary_folder_of_another_user_stays(having: Having, place: Path) -> None:
    with having():
        pass
    (left,) = place.iterdir()
    os.chown(left, 12345, 12345)
    assert cleaned(place) == []
    shutil.chown(left, os.getuid())
    assert cleaned(place) == ["temporary"]


def test_what_says_that_bis_made_it_is_the_same_text_on_machines_that_do_not_have_bis() -> None:
    from bis.scoring.bulk.clusters import ROOM

    names: dict[str, Any] = {}
    exec(ROOM, names)
    assert names["SAID"] == SAID


def test_every_temporary_folder_that_bis_makes_is_one_that_clean_knows() -> None:
    """Those that `bis repeat` makes are known by name; what a person keeps and what Lambda throws away need not be."""
    top = Path(bis.__file__).parent
    known = {"store/temporary.py", "acts/repeat.py", "cli/repeat.py", "inside/called.py", "__main__.py"}
    makers = {"mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile"}
    found = {
        f"{path.relative_to(top)}:{node.lineno}"
        for path in top.rglob("*.py")
        if str(path.relative_to(top)) not in known
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in makers
        if not any(word.arg == "dir" for word in node.keywords)  # in a folder that is somebody's already
    }
    assert found == set()
    assert left_in(top) == []
