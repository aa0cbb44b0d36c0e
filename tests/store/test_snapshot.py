"""Folders taken as trees, compared, and put back."""

import itertools
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.digest import Digest, canonical, spell
from bis.errors import BisError, Damaged, KeepingError
from bis.nouns.part import Finding
from bis.nouns.tree import Entry, Leaf, Tree
from bis.store import ObjectKind
from bis.store.local import LocalStore, open_store
from bis.store.snapshot import (
    difference,
    find_leaf,
    plant,
    put_leaves,
    put_paths,
    read_tree,
    read_trees,
    restore,
    snapshot,
    walk,
)
from bis.store.statcache import open_cache

NUMBERS = itertools.count()

names = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"/" not in name and b"\0" not in name and name.strip(b".")
)
modes = st.sampled_from([0o644, 0o755, 0o600, 0o444, 0o640])
files = st.tuples(st.binary(max_size=200), modes)
links = st.binary(min_size=1, max_size=30).filter(lambda target: b"\0" not in target)
folders = st.recursive(
    st.dictionaries(names, files | links, max_size=4),
    lambda inner: st.dictionaries(names, files | links | inner, max_size=4),
    max_leaves=8,
)


def make(folder: Path, content: dict[bytes, Any]) -> None:
    folder.mkdir()
    for name, value in content.items():
        path = folder / os.fsdecode(name)
        if isinstance(value, dict):
            make(path, value)
        elif isinstance(value, bytes):
            path.symlink_to(os.fsdecode(value))
        else:
            path.write_bytes(value[0])
            path.chmod(value[1])


def look(folder: Path) -> dict[Path, tuple[int, object]]:
    """Everything below a folder: mode and content by path."""
    found: dict[Path, tuple[int, object]] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)  # noqa: PTH115 - as it was written
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        found[path.relative_to(folder)] = (status.st_mode, content)
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small project."""
    folder = tmp_path / "source"
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "train.py").write_text("print(1)\n")
    (folder / "src" / "model.py").write_text("x = 1\n")
    (folder / "src" / "deep" / "data.csv").write_text("1,2\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/./model.py")
    return folder


def paths(store: LocalStore, digest: Digest) -> list[str]:
    return [leaf.path for leaf in walk(store, digest)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(folders)
def test_a_restored_folder_is_the_folder_that_was_taken(
    tmp_path: Path, store: LocalStore, content: dict[bytes, Any]
) -> None:
    number = next(NUMBERS)
    source = tmp_path / f"source{number}"
    try:
        make(source, content)
    except OSError as error:  # a file system that does not take every name
        pytest.skip(str(error))
    digest = snapshot(source, store)
    store.flush()
    assert restore(store, digest, tmp_path / f"back{number}") == []
    assert look(tmp_path / f"back{number}") == look(source)
    assert snapshot(tmp_path / f"back{number}", None) == digest
    assert list(difference(store, digest, digest)) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(folders, folders)
def test_a_difference_turns_one_tree_into_the_other(
    tmp_path: Path, store: LocalStore, one: dict[bytes, Any], two: dict[bytes, Any]
) -> None:
    number = next(NUMBERS)
    digests = []
    for side, content in (("a", one), ("b", two)):
        try:
            make(tmp_path / f"{side}{number}", content)
        except OSError as error:
            pytest.skip(str(error))
        digests.append(snapshot(tmp_path / f"{side}{number}", store))
    before, after = ({leaf.path: leaf.entry for leaf in walk(store, digest)} for digest in digests)
    changed = dict(before)
    for path, old, new in difference(store, *digests):
        if old and old.kind != "tree":
            assert changed.pop(path) == old
        if new and new.kind != "tree":
            changed[path] = new
    assert changed == after
    assert (not list(difference(store, *digests))) == (digests[0] == digests[1])


def test_walking_names_files_and_links_in_order(store: LocalStore, source: Path) -> None:
    digest = snapshot(source, store)
    assert paths(store, digest) == ["link", "run.sh", "src/deep/data.csv", "src/model.py", "train.py"]
    with_folders = [leaf.path for leaf in walk(store, digest, folders=True)]
    assert with_folders == [
        "empty",
        "link",
        "run.sh",
        "src",
        "src/deep",
        "src/deep/data.csv",
        "src/model.py",
        "train.py",
    ]


def test_many_trees_are_read_with_few_questions(store: LocalStore, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / "many" / f"{number}").mkdir(parents=True)
        (tmp_path / "many" / f"{number}" / "x").write_text(f"{number}")
    top = read_tree(store, snapshot(tmp_path / "many", store))
    store.flush()
    asked: list[str] = []
    store.index._connection.set_trace_callback(asked.append)
    trees = dict(read_trees(store, [entry.digest for entry in top.entries]))
    assert trees == {entry.digest: read_tree(store, entry.digest) for entry in top.entries}
    assert len([one for one in asked if " IN (" in one]) == 1
    assert len(asked) == 301


def test_the_same_content_is_the_same_tree_wherever_it_lies(store: LocalStore, source: Path, tmp_path: Path) -> None:
    digest = snapshot(source, store)
    source.rename(tmp_path / "moved")
    assert snapshot(tmp_path / "moved", store) == digest
    assert snapshot(tmp_path / "moved", None) == digest


def test_a_folder_reached_through_a_link_is_that_folder(store: LocalStore, source: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(source)
    assert snapshot(tmp_path / "way", store) == snapshot(source, store)


def test_a_folder_that_is_not_there_is_no_empty_folder(store: LocalStore, source: Path) -> None:
    for path in (source / "absent", source / "train.py"):
        with pytest.raises(KeepingError) as error:
            snapshot(path, store)
        assert error.value.code == "B059"


def test_an_empty_folder_is_put_back_as_one(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    restore(store, snapshot(tmp_path / "empty", store), tmp_path / "deep" / "back")
    assert list((tmp_path / "deep" / "back").iterdir()) == []


def test_some_paths_can_be_taken_under_other_names(store: LocalStore, source: Path) -> None:
    digest = put_paths([("inputs/a.csv", source / "src/deep/data.csv"), ("inputs/code", source / "src")], store)
    assert paths(store, digest) == ["inputs/a.csv", "inputs/code/deep/data.csv", "inputs/code/model.py"]
    assert paths(store, snapshot(source, store, paths=["src/model.py", "train.py"])) == ["src/model.py", "train.py"]


def test_leaves_may_carry_absolute_paths_as_long_as_no_tree_is_made_of_them(store: LocalStore, source: Path) -> None:
    name = spell(str(source / "src"))
    leaves = put_leaves([(name, source / "src")], store)
    assert f"{name}/model.py" in {leaf.path for leaf in leaves}


def test_files_not_to_be_kept_are_hashed_and_named_when_they_are_wanted_back(
    store: LocalStore, source: Path, tmp_path: Path
) -> None:
    asked = []

    def keep(path: str, status: os.stat_result) -> bool:
        asked.append((path, status.st_size))
        return not path.endswith(".csv")

    digest = snapshot(source, store, keep=keep)
    leaf = find_leaf(store, digest, "src/deep/data.csv")
    assert leaf
    assert not leaf.entry.kept
    assert not store.has(leaf.entry.digest)
    assert ("src/deep/data.csv", 4) in asked
    assert [leaf.path for leaf in restore(store, digest, tmp_path / "back")] == ["src/deep/data.csv"]
    assert (tmp_path / "back" / "train.py").exists()
    assert not (tmp_path / "back" / "src" / "deep" / "data.csv").exists()
    assert snapshot(source, None, keep=keep) == digest
    assert not list(difference(store, digest, snapshot(source, store)))


def test_folders_have_the_modes_they_had_also_those_that_cannot_be_written(
    store: LocalStore, source: Path, tmp_path: Path
) -> None:
    (source / "src" / "deep").chmod(0o500)
    (source / "src").chmod(0o550)
    (source / "empty").chmod(0o700)
    digest = snapshot(source, store)
    restore(store, digest, tmp_path / "back")
    assert look(tmp_path / "back") == look(source)
    for folder in (source, tmp_path / "back"):
        (folder / "src").chmod(0o755)
        (folder / "src" / "deep").chmod(0o755)


def test_modes_can_be_taken_as_git_takes_them(store: LocalStore, source: Path) -> None:
    before = snapshot(source, store, modes="exec")
    for path in source.rglob("*"):
        path.chmod(path.stat().st_mode | 0o020)
    assert snapshot(source, store, modes="exec") == before
    (source / "train.py").chmod(0o755)
    assert [path for path, _, _ in difference(store, before, snapshot(source, store, modes="exec"))] == ["train.py"]


def test_a_difference_names_what_changed_and_nothing_else(store: LocalStore, source: Path) -> None:
    before = snapshot(source, store)
    (source / "src" / "model.py").write_text("x = 2\n")
    (source / "empty").rmdir()
    (source / "new").mkdir()
    (source / "run.sh").chmod(0o644)
    (source / "link").unlink()
    (source / "link").mkdir()
    (source / "link" / "inside").touch()
    found = {
        path: (old.kind if old else None, new.kind if new else None)
        for path, old, new in difference(store, before, snapshot(source, store))
    }
    assert found == {
        "empty": ("tree", None),
        "link": ("link", None),
        "link/inside": (None, "file"),
        "new": (None, "tree"),
        "run.sh": ("file", "file"),
        "src/model.py": ("file", "file"),
    }


def test_equal_folders_are_not_even_read_for_a_difference(store: LocalStore, source: Path) -> None:
    before = snapshot(source, store)
    (source / "train.py").write_text("print(22)\n")
    after = snapshot(source, store)
    read: list[Digest] = []

    class Counting:
        def get_bytes(self, digest: Digest) -> bytes:
            read.append(digest)
            return store.get_bytes(digest)

    assert [path for path, _, _ in difference(Counting(), before, after)] == ["train.py"]  # type: ignore[arg-type]
    assert len(read) == 2


def test_sockets_pipes_and_what_cannot_be_read_become_findings(
    store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        notes: list[Finding] = []
        digest = put_paths([("", source), ("gone.csv", source / "gone.csv")], store, notes=notes)
    assert "pipe" not in paths(store, digest)
    assert sorted((note.code, note.text.split()[0]) for note in notes) == [
        ("not-a-file", "pipe"),
        ("not-a-file", "socket"),
        ("vanished", "gone.csv"),
    ]


def test_a_file_that_may_not_be_read_becomes_a_finding(plain_folder: Path, apart: Any) -> None:
    (plain_folder / "secret").write_text("x")
    (plain_folder / "secret").chmod(0)
    (plain_folder / "closed").mkdir(mode=0)
    (plain_folder / "open").write_text("x")

    def work() -> tuple[list[str], list[str]]:
        notes: list[Finding] = []
        leaves = put_leaves([("", plain_folder)], None, notes=notes)
        return sorted(leaf.path for leaf in leaves), sorted(f"{note.code} {note.text}" for note in notes)

    found, notes = apart(work)
    assert found == ["closed", "open"]
    assert notes == [
        "unreadable closed cannot be read: Permission denied",
        "unreadable secret cannot be read: Permission denied",
    ]


def test_a_file_that_is_written_to_while_it_is_read_becomes_a_finding(
    store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LocalStore.put_file

    def put_file(self: LocalStore, path: Path | str, **rest: Any) -> Digest:
        digest = plain(self, path, **rest)
        with Path(path).open("a") as file:
            file.write("one more line\n")
        return digest

    monkeypatch.setattr(LocalStore, "put_file", put_file)
    notes: list[Finding] = []
    (source / "large.csv").write_bytes(bytes(1 << 20))
    put_paths([("large.csv", source / "large.csv")], store, notes=notes)
    assert [(note.code, note.blocks) for note in notes] == [("changed-while-read", True)]


def test_a_small_file_that_changes_before_it_is_read_is_kept_as_it_then_is(store: LocalStore, source: Path) -> None:
    def keep(path: str, status: os.stat_result) -> bool:
        (source / "train.py").write_text("print(22)\n")
        return True

    notes: list[Finding] = []
    digest = put_paths([("train.py", source / "train.py")], store, keep=keep, notes=notes)
    (leaf,) = walk(store, digest)
    assert (store.get_bytes(leaf.entry.digest), leaf.entry.size) == (b"print(22)\n", 10)
    assert notes == []


def test_restoring_never_overwrites_and_says_so_before_it_writes_anything(
    store: LocalStore, source: Path, tmp_path: Path
) -> None:
    digest = snapshot(source, store)
    into = tmp_path / "into"
    (into / "src").mkdir(parents=True)
    (into / "src" / "model.py").write_text("my work")
    with pytest.raises(KeepingError, match=r"src/model\.py") as error:
        restore(store, digest, into)
    assert error.value.code == "B057"
    assert sorted(path.name for path in into.rglob("*")) == ["model.py", "src"]
    assert (into / "src" / "model.py").read_text() == "my work"
    restore(store, digest, into, overwrite=True)
    assert snapshot(into, None) == digest


def test_restoring_can_be_told_which_files(store: LocalStore, source: Path, tmp_path: Path) -> None:
    restore(store, snapshot(source, store), tmp_path / "back", only=lambda path: path.startswith("src/deep"))
    assert [path.name for path in sorted((tmp_path / "back").rglob("*"))] == ["src", "deep", "data.csv"]


def test_restoring_does_not_follow_links_out_of_the_folder(store: LocalStore, source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    into = tmp_path / "into"
    into.mkdir()
    (into / "src").symlink_to(outside)
    for overwrite in (False, True):
        with pytest.raises(KeepingError) as error:
            restore(store, snapshot(source, store), into, overwrite=overwrite)
        assert error.value.code == "B057"
    assert list(outside.iterdir()) == []


ESCAPES = ["..", ".", "", "a/b", "/etc", "../x", "x\0" + "2f" + "y", "\0" + "00", "\0zz", "\0"]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_tree_with_names_that_lead_elsewhere_is_refused(store: LocalStore, tmp_path: Path, name: str) -> None:
    blob = store.put_bytes(b"evil")
    entry = Entry(name=name, kind="file", digest=blob, size=4)
    evil = store.put_bytes(canonical(Tree(entries=(entry,))), "tree")
    for use in (lambda: restore(store, evil, tmp_path / "into"), lambda: list(walk(store, evil))):
        with pytest.raises(Damaged) as error:
            use()
        assert error.value.code == "B058"
    with pytest.raises(BisError):
        plant([Leaf(path=f"a/{name}/b", entry=entry)], store) if "/" not in name else plant(
            [Leaf(path=name + "/", entry=entry)], store
        )
    assert not (tmp_path / "into").exists()


def test_a_tree_with_a_name_twice_is_refused(store: LocalStore, tmp_path: Path) -> None:
    """A link and a folder of one name would lead out through the link."""
    inner = plant([Leaf(path="x", entry=Entry(name="x", kind="file", digest=store.put_bytes(b"x")))], store)
    (tmp_path / "outside").mkdir()
    link = Entry(name="a", kind="link", target=spell(str(tmp_path / "outside")))
    entries = (link, Entry(name="a", kind="tree", digest=inner))
    evil = store.put_bytes(canonical(Tree(entries=entries)), "tree")
    with pytest.raises(Damaged, match="twice"):
        restore(store, evil, tmp_path / "into")
    assert list((tmp_path / "outside").iterdir()) == []


def test_one_path_cannot_be_planted_twice(store: LocalStore) -> None:
    file = Entry(name="", kind="file", digest=store.put_bytes(b"x"))
    for twice in (["a", "a"], ["a", "a/b"], ["a/b", "a"]):
        with pytest.raises(KeepingError):
            plant([Leaf(path=path, entry=file) for path in twice], store)


def test_an_object_that_is_no_tree_says_so(store: LocalStore) -> None:
    with pytest.raises(Damaged, match="not a tree"):
        read_tree(store, store.put_bytes(b"just a file"))


def test_what_lies_at_a_path_can_be_found(store: LocalStore, source: Path) -> None:
    digest = snapshot(source, store)
    assert find_leaf(store, digest, "src/model.py").entry.size == 6  # type: ignore[union-attr]
    assert find_leaf(store, digest, "src").entry.kind == "tree"  # type: ignore[union-attr]
    assert find_leaf(store, digest, "src/none") is None
    assert find_leaf(store, digest, "train.py/x") is None


def test_a_very_deep_folder_is_no_problem(store: LocalStore, tmp_path: Path) -> None:
    deep = "/".join(["d"] * 1100)
    digest = plant([Leaf(path=f"{deep}/x", entry=Entry(name="x", kind="file", digest=store.put_bytes(b"x")))], store)
    assert paths(store, digest) == [f"{deep}/x"]
    other = plant([Leaf(path=f"{deep}/y", entry=Entry(name="y", kind="file", digest=store.put_bytes(b"x")))], store)
    assert [path[-1] for path, _, _ in difference(store, digest, other)] == ["x", "y"]


def test_an_unchanged_folder_is_not_read_again(store: LocalStore, source: Path, tmp_path: Path) -> None:
    moment = 10**18
    for path in source.rglob("*"):
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    later = open_cache(tmp_path / "cache.db", clock=lambda: 4 * 10**18)
    digest = snapshot(source, store, later)
    later.close()
    read = []

    class Watching(LocalStore):
        def put_bytes(self, data: bytes, kind: ObjectKind = "blob") -> Digest:
            if kind == "blob":
                read.append(data)
            return super().put_bytes(data, kind)

    store.flush()
    again = Watching(store.path)
    with open_cache(tmp_path / "cache.db") as cache:
        assert snapshot(source, again, cache) == digest
        assert read == []
        (source / "train.py").write_text("print(3)\n")
        assert snapshot(source, again, cache) != digest
        assert read == [b"print(3)\n"]


def test_a_file_known_to_the_cache_and_not_to_the_store_is_kept(source: Path, tmp_path: Path) -> None:
    with open_cache(tmp_path / "cache.db", clock=lambda: 4 * 10**18) as cache:
        digest = snapshot(source, None, cache)
        with open_store(tmp_path / "other") as store:
            assert snapshot(source, store, cache) == digest
            assert restore(store, digest, tmp_path / "back") == []
