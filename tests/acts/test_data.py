"""Versions of data: added, brought back, compared, tagged and removed, on real files and a real store."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.acts.data import look, remove, tag, versions_with
from bis.acts.standing import standing
from bis.digest import digest_bytes
from bis.errors import CannotRepeat, Damaged, KeepingError, NotFound, UsageError
from bis.ledger.runs import open_ledger, reindex
from bis.nouns.dataset import Held
from bis.nouns.tree import Leaf
from bis.settings import Settings
from bis.steps.add_data import Added, Adding, Delta, add
from bis.steps.bring import Brought, bring, opened
from bis.steps.home import Home, open_home
from bis.store.snapshot import walk
from bis.store.statcache import open_cache

Put = Callable[..., Added]


@pytest.fixture
def home(project: Path) -> Home:
    """What bis keeps of the project; files count as left alone at once, so that no test has to wait for that."""
    made = open_home(project, Settings())
    later = open_cache(made.folder / "cache", clock=lambda: 1 << 62)
    return Home(**{name: getattr(made, name) for name in made.__struct_fields__} | {"cache": later})


@pytest.fixture
def put(project: Path, home: Home) -> Put:
    """`put("data", name="x")`: add a path of the project."""
    return lambda path, **fields: add(Adding(path=project / path, **fields), home)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_csv", ".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# adding


def test_what_was_added_comes_back_byte_by_byte(project: Path, home: Home, put: Put) -> None:
    write(project / "data", a_csv="1\n", deep__b_csv="2\n")
    (project / "data" / "run.sh").write_text("#!/bin/sh\n")
    (project / "data" / "run.sh").chmod(0o755)
    (project / "data" / "link").symlink_to("a.csv")
    (project / "data" / "empty").mkdir()
    held = put("data").held
    assert (held.reference, held.version.files, held.version.size, held.version.source) == ("data@v1", 4, 14, "data")
    brought = bring(held, "", project / "back", home)
    assert (brought.written, brought.same, brought.size) == (4, 0, 14)
    assert files_of(project / "back") == files_of(project / "data")
    assert (project / "back" / "link").readlink() == Path("a.csv")
    assert (project / "back" / "empty").is_dir()
    assert os.access(project / "back" / "run.sh", os.X_OK)


names = st.text(st.characters(blacklist_characters="/\0", codec="utf-8"), min_size=1, max_size=8)
paths = (
    st.lists(names, min_size=1, max_size=3).map("/".join).filter(lambda path: not {".", ".."} & set(path.split("/")))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(contents=st.dictionaries(paths, st.binary(max_size=64), min_size=1, max_size=6))
def test_whatever_is_added_comes_back(
    contents: dict[str, bytes], home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for path, content in contents.items():
        try:
            (folder / "in" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "in" / path).write_bytes(content)
        except OSError:  # one is a folder of another, or too long a name for this disk
            continue
    if not files_of(folder / "in"):
        return
    held = add(Adding(path=folder / "in", name="any"), home).held
    bring(held, "", folder / "out", home)
    assert files_of(folder / "out") == files_of(folder / "in")


def test_a_single_file_is_named_by_the_checksum_of_its_bytes(project: Path, put: Put) -> None:
    write(project / "data", customers_csv="id\n1\n")
    held = put("data/customers.csv").held
    assert (held.reference, held.version.single, held.version.files) == ("customers@v1", True, 1)
    assert held.version.content == digest_bytes(b"id\n1\n")


def test_the_same_content_is_no_new_version(project: Path, put: Put) -> None:
    write(project / "data", a_csv="1\n")
    first = put("data", message="first")
    os.utime(project / "data" / "a.csv")
    (project / "data").chmod(0o700)
    again = put("data")
    assert (first.new, again.new, again.held) == (True, False, first.held)
    write(project / "data", a_csv="2\n")
    third = put("data")
    assert third.like == ""
    assert (third.new, third.held.reference, third.before) == (True, "data@v2", first.held)
    assert third.held.version.parent == first.held.record


def test_what_is_said_of_a_version_that_is_there_lies_beside_it(project: Path, put: Put) -> None:
    write(project / "data", a_csv="1\n")
    put("data", message="first", metadata={"licence": "CC0"})
    held = put("data", message="checked", metadata={"licence": "CC-BY"}, tags=("live",), checksums=("md5",)).held
    assert held.version.message == "first"
    assert ([note.note for note in held.notes], held.metadata, held.tags) == (
        ["checked"],
        {"licence": "CC-BY"},
        ("live",),
    )
    assert "md5" in held.checksums
    assert put("data", message="checked").held.notes == held.notes


def test_an_unchanged_file_is_not_read_again(
    project: Path, home: Home, put: Put, tool: Callable[[str], Path], variables: dict[str, str]
) -> None:
    write(project / "data", a_csv="1\n", b_csv="2\n")
    put("data")
    write(project / "data", b_csv="changed\n")
    traced = [str(tool("strace")), "-f", "-qq", "-e", "trace=open,openat", "-o", str(project / "trace")]
    typed = [sys.executable, "-m", "bis", "data", "add", "data"]
    subprocess.run([*traced, *typed], cwd=project, env=variables, check=True, capture_output=True)
    opened = (project / "trace").read_text()
    assert "b.csv" in opened
    assert "a.csv" not in opened


def test_checksums_are_those_of_the_tools_that_people_have(project: Path, put: Put) -> None:
    write(project / "data", b_csv="1\n", a__z_csv="2\n")
    listing = "find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs sha1sum | sha1sum"
    told = subprocess.run(["sh", "-c", listing], cwd=project / "data", capture_output=True, text=True, check=True)
    assert put("data", checksums=("sha1", "md5")).held.checksums["sha1"] == told.stdout.split()[0]
    assert put("data/b.csv", checksums=("md5",)).held.checksums["md5"] == hashlib.md5(b"1\n").hexdigest()


def test_the_name_of_a_data_set_comes_from_the_path_and_stays_with_it(project: Path, put: Put) -> None:
    write(project, raw__customers_csv="1\n", clean__customers_csv="2\n")
    put("raw/customers.csv")
    with pytest.raises(UsageError, match=r"comes from raw/customers\.csv") as error:
        put("clean/customers.csv")
    assert "--name customers" in error.value.hint
    assert put("clean/customers.csv", name="customers").held.reference == "customers@v2"
    (project / "raw" / "t.csv.gz").write_text("x")
    assert put("raw/t.csv.gz").held.version.name == "t"


def test_nothing_is_added_that_could_not_be_whole(project: Path, home: Home, put: Put) -> None:
    for wrong, kind in (
        ({"path": project / "nothing"}, NotFound),
        ({"path": project}, UsageError),  # it holds the store
        ({"path": write(project / "d", a_csv="1"), "name": "a@b"}, UsageError),
        ({"path": project / "d", "tags": ("v3",)}, UsageError),
        ({"path": project / "d", "checksums": ("md4",)}, UsageError),
    ):
        with pytest.raises(kind):
            add(Adding(**wrong), home)  # type: ignore[arg-type]
    (project / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no files"):
        put("empty")
    assert home.ledger.data.versions() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_named(project: Path, put: Put) -> None:
    write(project / "data", a_csv="1").joinpath("a.csv").chmod(0)
    with pytest.raises(KeepingError, match=r"a\.csv"):
        put("data")


def test_two_versions_never_have_the_same_time(project: Path, put: Put) -> None:
    stamps = []
    for number in range(5):
        write(project / "data", a_csv=str(number))
        stamps.append(put("data").held.version.stamp)
    assert sorted(set(stamps)) == stamps


def test_all_of_it_comes_back_from_the_store_alone(project: Path, home: Home, put: Put, tmp_path: Path) -> None:
    write(project / "data", a_csv="1\n")
    put("data", message="first", tags=("live",))
    write(project / "data", a_csv="2\n")
    put("data")
    known = home.ledger.data.versions()
    fresh = open_ledger(tmp_path / "fresh.db")
    reindex(home.store, fresh)
    assert fresh.data.versions() == known


# bringing


@pytest.fixture
def two(project: Path, put: Put) -> list[Held]:
    """Two versions of a folder."""
    write(project / "data", a_csv="1\n", b_csv="2\n", deep__c_csv="3\n")
    first = put("data").held
    write(project / "data", a_csv="other\n", new_csv="4\n")
    return [first, put("data").held]


def test_what_is_there_is_never_touched_unless_told_to(project: Path, home: Home, two: list[Held]) -> None:
    mine = write(project / "mine", a_csv="my own work\n", b_csv="2\n", notes_csv="mine\n")
    with pytest.raises(UsageError, match=r"a\.csv in .*mine has other content") as error:
        bring(two[0], "", mine, home, ours="bis data get data@v1 mine")
    assert "bis data get data@v1 mine --force" in error.value.hint
    assert files_of(mine) == {"a.csv": b"my own work\n", "b.csv": b"2\n", "notes.csv": b"mine\n"}
    brought = bring(two[0], "", mine, home, force=True)
    assert brought == Brought(into=mine, written=1, replaced=1, same=1, others=1, size=4)
    assert (mine / "a.csv").read_text() == "1\n"
    assert (mine / "notes.csv").read_text() == "mine\n"
    assert bring(two[0], "", mine, home) == Brought(into=mine, same=3, others=1)


def test_nothing_is_written_through_a_link_or_over_a_folder(project: Path, home: Home, two: list[Held]) -> None:
    (project / "elsewhere").mkdir()
    mine = write(project / "mine", x_csv="")
    (mine / "deep").symlink_to(project / "elsewhere")
    with pytest.raises(UsageError, match="in the way of a folder"):
        bring(two[0], "", mine, home, force=True)
    assert not list((project / "elsewhere").iterdir())
    (mine / "deep").unlink()
    (mine / "a.csv").mkdir()
    with pytest.raises(UsageError, match=r"a\.csv"):
        bring(two[0], "", mine, home, force=True)
    assert not (mine / "b.csv").exists()


def test_a_folder_or_a_file_of_a_version_comes_by_itself(project: Path, home: Home, two: list[Held]) -> None:
    assert bring(two[0], "deep", project / "out", home).written == 1
    assert files_of(project / "out") == {"c.csv": b"3\n"}
    assert bring(two[0], "deep/c.csv", project / "one", home, name="renamed").into == project / "one" / "renamed"
    assert files_of(project / "one") == {"renamed": b"3\n"}
    with pytest.raises(NotFound) as error:
        bring(two[0], "deep/d.csv", project / "no", home)
    assert error.value.because == "Did you mean deep/c.csv?"
    assert not (project / "no").exists()


def test_a_damaged_file_is_never_handed_out(project: Path, home: Home, two: list[Held]) -> None:
    (pack,) = [path for path in home.store.packs.iterdir() if b"other\n" in path.read_bytes()]
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes().replace(b"other\n", b"0ther\n"))
    fresh = open_home(project, Settings())
    with pytest.raises(Damaged), opened(two[1], "a.csv", fresh) as blocks:
        list(blocks)
    with pytest.raises(Damaged):
        bring(two[1], "", project / "out", fresh)
    assert b"0ther\n" not in files_of(project / "out").values()


# by reference


def test_data_by_reference_is_not_copied_and_checked_when_it_is_used(project: Path, home: Home, put: Put) -> None:
    content = os.urandom(100_000)
    (project / "big.bin").write_bytes(content)
    held = put("big.bin", by_reference=True).held
    assert not home.store.has(held.version.content)
    assert held.version.content == digest_bytes(content)
    bring(held, "", project / "out", home)
    assert (project / "out" / "big.bin").read_bytes() == content
    with opened(held, "", home) as blocks:
        assert b"".join(blocks) == content
    (project / "big.bin").write_bytes(content[::-1])
    for use in (lambda: bring(held, "", project / "more", home), lambda: read(held, "", home)):
        with pytest.raises(CannotRepeat, match=r"recorded by reference, and it has changed: 100,000 bytes now"):
            use()
    assert not (project / "more").exists()
    (project / "big.bin").unlink()
    with pytest.raises(CannotRepeat, match="not there any more"):
        read(held, "", home)


def read(held: Held, path: str, home: Home) -> bytes:
    with opened(held, path, home) as blocks:
        return b"".join(blocks)


def test_data_by_reference_can_be_kept_later(project: Path, home: Home, put: Put) -> None:
    write(project / "data", a_csv="1\n")
    assert not put("data", by_reference=True).held.version.parent
    assert not put("data", by_reference=True).new
    kept = put("data")
    assert (kept.new, kept.held.reference) == (True, "data@v2")
    (project / "data" / "a.csv").unlink()
    assert read(kept.held, "a.csv", home) == b"1\n"
    write(project / "data", a_csv="1\n")
    # Copied already: to note it again by reference would say less.
    assert not put("data", by_reference=True).new


# what would be new


def test_a_place_is_told_to_be_as_the_version_or_how_it_differs(project: Path, home: Home, two: list[Held]) -> None:
    assert standing(two[1], home).state == "same"
    write(project / "data", b_csv="changed\n", more_csv="5\n")
    (project / "data" / "deep" / "c.csv").unlink()
    found = standing(two[1], home)
    assert (found.state, found.next) == ("changed", 3)
    assert found.delta == Delta(added=("more.csv",), removed=("deep/c.csv",), changed=("b.csv",))
    bring(two[0], "", project / "again", home)
    assert standing(two[1], home, project / "again").like == "data@v1"
    subprocess.run(["rm", "-r", project / "data"], check=True)
    assert standing(two[1], home).state == "gone"


def test_looking_keeps_nothing(project: Path, home: Home, two: list[Held]) -> None:
    before = files_of(home.store.packs)
    write(project / "data", b_csv="changed\n")
    standing(two[1], home)
    assert files_of(home.store.packs) == before


# tags and removals


def test_a_tag_moves_from_one_version_to_another(home: Home, two: list[Held]) -> None:
    tag(two[0], ["live", "old"], home)
    tag(two[1], ["live"], home)
    assert [one.tags for one in home.ledger.data.versions()] == [("live",), ("old",)]
    assert tag(home.ledger.data.versions()[1], [], home, removed=["old"]).tags == ()
    with pytest.raises(NotFound, match="no tag 'lvie'"):
        tag(two[1], [], home, removed=["lvie"])
    with pytest.raises(UsageError, match="cannot be a tag"):
        tag(two[1], ["2026-05-03"], home)


def test_a_removed_version_is_not_listed_and_its_content_stays_until_it_is_collected(
    project: Path, home: Home, put: Put, two: list[Held]
) -> None:
    remove([two[1]], home)
    assert [one.reference for one in home.ledger.data.versions()] == ["data@v1"]
    assert read(two[1], "a.csv", home) == b"other\n"
    # What was removed may be added again: it gets a number of its own.
    assert put("data").held.reference == "data@v3"
    remove([two[1]], home, undo=True)
    assert [one.reference for one in home.ledger.data.versions()] == ["data@v3", "data@v2", "data@v1"]


# looking


def leaf_of(held: Held, home: Home, path: str) -> Leaf:
    return next(leaf for leaf in walk(home.store, held.version.tree) if leaf.path == path)


def test_of_each_data_set_the_newest_version_that_holds_a_file_is_named(project: Path, home: Home, put: Put) -> None:
    write(project / "data", a_csv="x\n1\n", deep__b_csv="x\n2\n")
    put("data")
    put("data/a.csv", name="single")
    write(project / "data", c_csv="x\n3\n")
    newest = put("data").held
    a, b, c = (leaf_of(newest, home, path).entry.digest for path in ("a.csv", "deep/b.csv", "c.csv"))
    found = versions_with({a, b}, home)
    assert {(held.reference, path) for held, path in found[a]} == {("data@v2", "a.csv"), ("single@v1", "")}
    assert [(held.reference, path) for held, path in found[b]] == [("data@v2", "deep/b.csv")]
    assert c not in found


def test_one_file_is_looked_into_as_far_as_it_is_small_and_here(project: Path, home: Home, put: Put) -> None:
    write(project / "data", a_csv="x,y\n1,a\n3,b\n", notes="some words")
    held = put("data").held
    found = look(held, "a.csv", leaf_of(held, home, "a.csv"), home, largest=100)
    assert found.profile
    assert [column.name for column in found.profile.columns] == ["x", "y"]
    assert [(name, sum(bins.counts)) for name, bins in found.bins.items()] == [("x", 2)]
    assert look(held, "a.csv", leaf_of(held, home, "a.csv"), home, largest=5).why == "it is larger than 5 B"
    assert look(held, "notes", leaf_of(held, home, "notes"), home, largest=100).why == ""
    write(project, far_csv="z\n1\n")
    far = put("far.csv", by_reference=True).held
    assert "by reference" in look(far, "", leaf_of(far, home, "far.csv"), home, largest=100).why
