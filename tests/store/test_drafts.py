"""What a killed command was putting into a folder is removed by the next one, and nothing else is."""

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

import pytest

from bis.acts.clean import clean
from bis.digest import Digest
from bis.store.drafts import MAKER, drafting, left_in, remove, remove_left
from bis.store.local import LocalStore
from bis.store.snapshot import restore, snapshot

Restoring = Callable[[], AbstractContextManager[subprocess.Popen[str]]]

HALF = """
import sys, time
from pathlib import Path
from bis.store.local import LocalStore, open_store
from bis.store.snapshot import restore

class Stuck(LocalStore):
    def get_many(self, digests):
        yield from list(super().get_many(digests))[:1]
        print("half", flush=True)
        time.sleep(600)

    def get_file(self, digest, path, mode=0o644):
        from bis.store import new_file
        new_file._write_out = lambda into, blocks: (print("half", flush=True), time.sleep(600))
        super().get_file(digest, path, mode)

restore(Stuck(open_store(Path(sys.argv[1])).path), sys.argv[2], Path(sys.argv[3]))
"""


@pytest.fixture(params=["many small files", "a large file"])
def tree(request: pytest.FixtureRequest, store: LocalStore, tmp_path: Path) -> Digest:
    """A folder, of which a restore is stopped half-way."""
    made = tmp_path / "made" / "deep"
    made.mkdir(parents=True)
    for number in range(5):
        (made / f"{number}").write_bytes(bytes([number]) * (10 if request.param == "many small files" else 300_000))
    digest = snapshot(tmp_path / "made", store)
    store.flush()
    return digest


@pytest.fixture
def restoring(store: LocalStore, tree: Digest, tmp_path: Path) -> Restoring:
    """Another process, which is half-way through putting the tree below `into`."""

    @contextlib.contextmanager
    def begin() -> Iterator[subprocess.Popen[str]]:
        words = [sys.executable, "-c", HALF, store.path, tree, tmp_path / "into"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "half\n"
            try:
                yield process
            finally:
                process.send_signal(signal.SIGKILL)

    return begin


def drafts_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".bis-*"))


def test_what_a_killed_restore_left_is_removed_by_the_next_one(
    store: LocalStore, tree: Digest, restoring: Restoring, tmp_path: Path
) -> None:
    with restoring():
        pass
    assert drafts_below(tmp_path)
    restore(store, tree, tmp_path / "into")
    assert drafts_below(tmp_path) == []
    assert sorted(path.name for path in (tmp_path / "into" / "deep").iterdir()) == ["0", "1", "2", "3", "4"]


def test_it_is_removed_by_a_restore_of_something_else_beside_it(
    store: LocalStore, restoring: Restoring, tmp_path: Path
) -> None:
    with restoring():
        pass
    (left,) = drafts_below(tmp_path)
    (tmp_path / "other").mkdir()
    other = snapshot(tmp_path / "other", store)
    restore(store, other, left.parent / "beside")
    assert drafts_below(tmp_path) == []


def test_what_a_living_restore_is_writing_is_left_alone(
    store: LocalStore, restoring: Restoring, tmp_path: Path
) -> None:
    with restoring():
        (left,) = drafts_below(tmp_path)
        os.utime(left, (1, 1))  # nothing is told by age
        assert left_in(str(left.parent)) == []
        assert not remove(str(left))
        remove_left(str(left.parent))
        assert (left / MAKER).exists()
    assert left_in(str(left.parent)) == [str(left)]


def test_clean_removes_it_in_a_project_and_beside_it_whatever_its_age(restoring: Restoring, tmp_path: Path) -> None:
    project = tmp_path / "into"
    project.mkdir()
    (project / ".bis").mkdir()
    nowhere = tmp_path / "nowhere"
    with restoring():
        assert clean(nowhere, nowhere, project, unused_since=0).removed == ()
    (left,) = drafts_below(project)
    shutil.copytree(left, tmp_path / left.name)
    assert [one.what for one in clean(nowhere, nowhere, project, unused_since=0, dry=True).removed] == ["draft"] * 2
    assert len(drafts_below(tmp_path)) == 2
    assert len(clean(nowhere, nowhere, project, unused_since=0).removed) == 2
    assert drafts_below(tmp_path) == []


@pytest.mark.parametrize("name", [".bis-0123456789abcdef", ".bis-notes", ".bis"])
@pytest.mark.parametrize("held", ["nothing", "file", "other maker", "folder", "link"])
def test_a_folder_that_bis_did_not_make_is_left_alone(name: str, held: str, tmp_path: Path) -> None:
    theirs = tmp_path / name
    theirs.mkdir()
    if held == "file":
        (theirs / "thesis.txt").write_text("years of work")
    elif held == "other maker":
        (theirs / MAKER).write_text("me")
    elif held == "folder":
        (theirs / MAKER).mkdir()
    elif held == "link":
        (theirs / MAKER).symlink_to("nowhere")
    before = sorted(theirs.iterdir())
    remove_left(str(tmp_path))
    assert not remove(str(theirs))
    assert sorted(theirs.iterdir()) == before


@pytest.mark.parametrize("begun", ["nothing", "an empty maker"])
def test_what_was_killed_before_it_said_who_made_it_goes_after_a_day(begun: str, tmp_path: Path) -> None:
    left = tmp_path / ".bis-0123456789abcdef"
    left.mkdir()
    if begun == "an empty maker":
        (left / MAKER).touch()
    day_old = time.time() - 25 * 3600
    for path in left.iterdir():
        os.utime(path, (day_old, day_old))
    remove_left(str(tmp_path))
    assert left.exists(), "one that is about to say it may be alive"
    os.utime(left, (day_old, day_old))
    remove_left(str(tmp_path))
    assert not left.exists()


@pytest.mark.parametrize("held", ["thesis.txt", "maker with words", "link"])
def test_whatever_its_age_a_folder_with_something_in_it_is_left_alone(held: str, tmp_path: Path) -> None:
    theirs = tmp_path / ".bis-0123456789abcdef"
    theirs.mkdir()
    if held == "link":
        (theirs / MAKER).symlink_to("nowhere")
    else:
        (theirs / (MAKER if held.startswith(MAKER) else held)).write_text("words")
    for path in (*theirs.glob("*.txt"), theirs):
        os.utime(path, (1, 1))
    remove_left(str(tmp_path))
    assert not remove(str(theirs))
    assert len(list(theirs.iterdir())) == 1


def test_a_link_to_drafts_is_no_draft(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with drafting(str(tmp_path / "theirs")) as drafts:
        kept = Path(drafts, MAKER).read_bytes()
    (tmp_path / "theirs" / MAKER).write_bytes(kept)
    (tmp_path / ".bis-0123456789abcdef").symlink_to("theirs")
    remove_left(str(tmp_path))
    assert (tmp_path / "theirs" / MAKER).exists()


def test_drafts_go_with_their_maker_also_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ZeroDivisionError), drafting(str(tmp_path / "folder")) as drafts:
        assert 1 / Path(drafts, "half").write_text("")
    assert list((tmp_path / "folder").iterdir()) == []
