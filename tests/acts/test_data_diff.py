"""What is different between two versions of data: files, and what is in them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.acts.data_diff import EVERY, Bounds, DataDifference, FileChange, diff
from bis.formats.rows import RowChange
from bis.nouns.dataset import Held
from bis.nouns.tree import Entry
from bis.settings import Settings
from bis.steps.add_data import Adding, add
from bis.steps.home import Home, open_home
from bis.store.snapshot import walk

Make = Callable[..., Held]


@pytest.fixture
def home(project: Path) -> Home:
    return open_home(project, Settings())


@pytest.fixture
def make(project: Path, home: Home) -> Make:
    """`make({"a.csv": "1"})`: a version of these files."""

    def put(files: dict[str, str | bytes]) -> Held:
        folder = project / f"in-{len(list(project.iterdir()))}"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return add(Adding(path=folder, name="x"), home).held

    return put


def told(found: DataDifference) -> list[tuple[str, str, str]]:
    return [(change.kind, change.was, change.path) for change in found.changes]


def test_files_added_removed_changed_and_moved_are_told_apart(make: Make, home: Home) -> None:
    before = make({"a": "1", "b": "2", "old/c": "3", "same": "4", "empty": ""})
    after = make({"a": "other", "new/c": "3", "d": "5", "same": "4", "empty2": ""})
    found = diff(before, after, home)
    assert told(found) == [
        ("changed", "", "a"),
        ("removed", "", "b"),
        ("added", "", "d"),
        ("removed", "", "empty"),
        ("added", "", "empty2"),
        ("moved", "old/c", "new/c"),
    ]
    assert found.alike == 1
    assert diff(before, before, home).changes == ()


def applied(changes: tuple[FileChange, ...], before: dict[str, Entry]) -> dict[str, Entry]:
    found = dict(before)
    for change in changes:
        found.pop(change.was or change.path, None)
    return found | {change.path: change.after for change in changes if change.after}


contents = st.dictionaries(
    st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "f"]), st.sampled_from(["", "1", "2", "3"]), min_size=1
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(first=contents, second=contents)
def test_a_difference_turns_the_first_into_the_second(
    first: dict[str, str], second: dict[str, str], make: Make, home: Home
) -> None:
    before, after = make(first), make(second)
    files = [{leaf.path: leaf.entry for leaf in walk(home.store, held.version.tree)} for held in (before, after)]
    found = diff(before, after, home)
    assert {path: entry.digest for path, entry in applied(found.changes, files[0]).items()} == {
        path: entry.digest for path, entry in files[1].items()
    }
    assert found.alike == sum(files[0].get(path) == entry for path, entry in files[1].items())


def test_a_table_is_told_by_rows_columns_types_and_statistics(make: Make, home: Home) -> None:
    before = make({"t.csv": "id,age,city,old\n1,30,Rome,x\n2,40,Bern,x\n3,50,Rome,x\n"})
    after = make({"t.csv": "id,age,city,new\n1,30,Rome,1\n2,,Bern,2\n3,50,Rome,3\n4,60.5,Oslo,4\n"})
    (change,) = diff(before, after, home).changes
    assert change.inside
    assert (change.inside.before.rows, change.inside.after.rows) == (3, 4)
    # By the columns that both have: one row was edited, and one is new.
    assert change.inside.rows == RowChange(added=2, removed=1)
    columns = {one.name: one for one in change.inside.columns}
    assert columns["old"].after is None
    assert columns["new"].before is None
    age = columns["age"]
    assert age.before
    assert age.after
    assert (age.before.type, age.after.type, age.after.empty) == ("integer", "number", 1)
    assert (age.before.mean, age.after.largest) == (40.0, "60.5")
    assert "city" in columns  # one more value
    assert [one.name for one in change.inside.columns][:3] == ["age", "old", "new"]


def test_two_single_files_are_two_states_of_one_whatever_their_names(project: Path, home: Home) -> None:
    (project / "may.csv").write_text("a\n1\n")
    (project / "june.csv").write_text("a\n1\n2\n")
    before, after = (add(Adding(path=project / name, name="x"), home).held for name in ("may.csv", "june.csv"))
    (change,) = diff(before, after, home).changes
    assert (change.kind, change.was, change.path) == ("changed", "may.csv", "june.csv")
    assert change.inside
    assert change.inside.rows == RowChange(added=1, removed=0)


def test_what_was_not_looked_into_says_why(make: Make, home: Home) -> None:
    before, after = make({"a.csv": "x\n1\n", "b.png": b"no image"}), make({"a.csv": "x\n2\n", "b.png": b"no picture"})
    csv, png = diff(before, after, home).changes
    assert (csv.why, png.why) == ("", "it is no image that is known")
    assert diff(before, after, home, look=False).changes[0].inside is None
    assert diff(before, after, home, bounds=Bounds(EVERY, EVERY)).changes[0].inside


@pytest.mark.parametrize(
    ("bounds", "whys"),
    [
        (Bounds(largest=3), ("larger than 0 MiB: --all", "larger than 0 MiB: --all")),
        (Bounds(files=1), ("", "more than 1 file: --all")),
        (Bounds(together=9, beyond="bis data diff"), ("", "more than 0 MiB together: bis data diff")),
    ],
)
def test_only_what_lies_within_the_bounds_is_looked_into(
    make: Make, home: Home, bounds: Bounds, whys: tuple[str, str]
) -> None:
    before, after = make({"a.csv": "x\n1\n", "b.csv": "x\n1\n"}), make({"a.csv": "x\n2\n", "b.csv": "x\n2\n"})
    found = diff(before, after, home, bounds=bounds).changes
    assert [bool(change.inside) for change in found] == [not why for why in whys]
    assert all(change.why.startswith(why) for change, why in zip(found, whys, strict=True))


def test_a_file_by_reference_is_not_read_where_nothing_is_to_be_fetched(project: Path, home: Home) -> None:
    file, held = project / "t.csv", []
    for text in ("a\n1\n", "a\n2\n"):
        file.write_text(text)
        held.append(add(Adding(path=file, name="far", by_reference=True), home).held)
    (change,) = diff(held[0], held[1], home, bounds=Bounds(fetched=False)).changes
    assert change.inside is None
    assert change.why.startswith("recorded by reference")


def test_a_file_by_reference_that_changed_is_not_looked_into(project: Path, home: Home) -> None:
    file = project / "t.csv"
    file.write_text("a\n1\n")
    before = add(Adding(path=file, by_reference=True), home).held
    file.write_text("a\n2\n")
    after = add(Adding(path=file), home).held
    (change,) = diff(before, after, home).changes
    assert "recorded by reference, and it has changed" in change.why
