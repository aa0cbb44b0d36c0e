"""Today's data in the place of what a run read."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bis.digest import Digest, spell
from bis.errors import CannotRepeat, KeepingError, NotFound, UsageError
from bis.nouns.dataset import Held
from bis.nouns.part import Part
from bis.parts import Place
from bis.parts import data as data_part
from bis.settings import Settings
from bis.steps.add_data import Adding, add
from bis.steps.exchange_data import data_from_path, data_from_version
from bis.steps.home import Home, open_home
from bis.store.snapshot import plant, put_leaves


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "project").mkdir()
    return open_home(tmp_path / "project", Settings())


@pytest.fixture
def put(home: Home) -> Callable[..., Held]:
    """`put("data", name="x", a_csv="1")`: write files below the project and add the path."""

    def work(path: str, files: dict[str, str], **fields: object) -> Held:
        for name, text in files.items():
            place = home.project / path / name if name else home.project / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return add(Adding(path=home.project / path, **fields), home).held  # type: ignore[arg-type]

    return work


@pytest.fixture
def recorded(home: Home, tmp_path: Path) -> Callable[..., Part]:
    """The data part of a run that read these files: in the project, or at absolute paths."""

    def work(files: dict[str, str]) -> Part:
        pairs = []
        for number, (name, text) in enumerate(files.items()):
            place = tmp_path / "read" / str(number)
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
            pairs.append((name, place))
        leaves = put_leaves(pairs, home.store)
        rows = [
            {"path": leaf.path, "size": leaf.entry.size, "digest": leaf.entry.digest, "how": "discovered", "read": True}
            for leaf in leaves
        ]
        inside = [leaf for leaf in leaves if not leaf.path.startswith("/")]
        outside = [msgspec.structs.replace(leaf, path=leaf.path[1:]) for leaf in leaves if leaf not in inside]
        trees = {role: plant(some, home.store) for role, some in (("project", inside), ("outside", outside)) if some}
        facts = {"inputs": rows, "project": spell(str(home.project))}
        return Part(kind="data", digest=Digest("b3:" + "0" * 64), trees=trees, facts=facts)

    return work


def brought(part: Part, into: Path, home: Home) -> dict[str, str]:
    into.mkdir()
    data_part.restore(part, Place(project=into, outside=None), home.store)
    return {str(path.relative_to(into)): path.read_text() for path in into.rglob("*") if path.is_file()}


def test_a_file_is_replaced_where_the_data_set_was_added_from(
    put: Callable[..., Held], recorded: Callable[..., Part], home: Home, tmp_path: Path
) -> None:
    held = put("data/customers.csv", {"": "new\n"})
    part = data_from_version(held, "", recorded({"data/customers.csv": "old\n", "other/customers.csv": "mine\n"}), home)
    assert brought(part, tmp_path / "out", home) == {"data/customers.csv": "new\n", "other/customers.csv": "mine\n"}
    (row,) = [row for row in part.facts["inputs"] if row["path"] == "data/customers.csv"]
    assert (row["how"], row["digest"], row["size"]) == ("taken", held.version.content, 4)
    assert part.digest != recorded({"data/customers.csv": "old\n"}).digest


def test_data_outside_the_project_is_replaced_there(recorded: Callable[..., Part], home: Home, tmp_path: Path) -> None:
    far = tmp_path / "far" / "customers.csv"
    far.parent.mkdir()
    far.write_text("new\n")
    held = add(Adding(path=far), home).held
    part = data_from_version(held, "", recorded({str(far): "old\n", "k.yaml": "k\n"}), home)
    (tmp_path / "out").mkdir()
    data_part.restore(part, Place(project=tmp_path / "out", outside=tmp_path / "out" / "outside"), home.store)
    assert (tmp_path / "out" / "outside" / str(far)[1:]).read_text() == "new\n"
    assert (tmp_path / "out" / "k.yaml").read_text() == "k\n"


def test_a_folder_is_replaced_as_a_whole(
    put: Callable[..., Held], recorded: Callable[..., Part], home: Home, tmp_path: Path
) -> None:
    held = put("data", {"a.csv": "new a\n", "deep/c.csv": "c\n"})
    part = data_from_version(held, "", recorded({"data/a.csv": "a\n", "data/b.csv": "b\n", "config.yaml": "k\n"}), home)
    assert brought(part, tmp_path / "out", home) == {
        "data/a.csv": "new a\n",
        "data/deep/c.csv": "c\n",
        "config.yaml": "k\n",
    }


def test_where_another_path_was_read_files_are_matched_by_name(
    put: Callable[..., Held], recorded: Callable[..., Part], home: Home, tmp_path: Path
) -> None:
    held = put("elsewhere", {"x/train.csv": "new\n", "y/test.csv": "test\n"}, name="customers")
    part = data_from_version(held, "", recorded({"data/train.csv": "old\n", "k.yaml": "k\n"}), home)
    assert brought(part, tmp_path / "out", home) == {"data/train.csv": "new\n", "k.yaml": "k\n"}


def test_of_several_files_of_one_name_the_one_in_a_folder_of_the_same_name_is_meant(
    put: Callable[..., Held], recorded: Callable[..., Part], home: Home, tmp_path: Path
) -> None:
    held = put("elsewhere", {"x/part.csv": "new x\n", "y/part.csv": "new y\n"})
    part = data_from_version(held, "", recorded({"data/x/part.csv": "x\n", "data/y/part.csv": "y\n"}), home)
    assert brought(part, tmp_path / "out", home) == {"data/x/part.csv": "new x\n", "data/y/part.csv": "new y\n"}
    with pytest.raises(UsageError, match=r"x/part\.csv, y/part\.csv could each be z/part\.csv") as error:
        data_from_version(held, "", recorded({"z/part.csv": "old\n"}), home)
    assert "--with data=DIR" in error.value.hint
    one = put("one/part.csv", {"": "new\n"})
    with pytest.raises(UsageError, match="could each be part"):
        data_from_version(one, "", recorded({"a/part.csv": "1\n", "b/part.csv": "2\n"}), home)


def test_a_data_set_that_the_run_did_not_read_is_told(
    put: Callable[..., Held], recorded: Callable[..., Part], home: Home
) -> None:
    with pytest.raises(NotFound, match="customers@v1 holds no stand-in") as error:
        data_from_version(put("customers.csv", {"": "1\n"}), "", recorded({"sales.csv": "2\n"}), home)
    assert "sales.csv" in error.value.because


def test_data_by_reference_is_checked_before_it_stands_for_anything(
    put: Callable[..., Held], recorded: Callable[..., Part], home: Home, tmp_path: Path
) -> None:
    held = put("data/a.csv", {"": "new\n"}, by_reference=True)
    same_place = data_from_version(held, "", recorded({"data/a.csv": "old\n"}), home)
    assert brought(same_place, tmp_path / "one", home) == {"data/a.csv": "new\n"}
    (home.project / "data" / "a.csv").write_text("changed\n")
    with pytest.raises(CannotRepeat):
        brought(same_place, tmp_path / "two", home)
    with pytest.raises(KeepingError):
        data_from_version(held, "", recorded({"other/a.csv": "old\n"}), home)


def test_one_file_stands_for_the_one_input_of_its_name_among_thousands(
    home: Home, tmp_path: Path, recorded: Callable[..., Part]
) -> None:
    (tmp_path / "b.csv").write_text("2")
    part = recorded({"a.csv": "1", "deep/b.csv": "1"})
    assert brought(data_from_path(tmp_path / "b.csv", part, home), tmp_path / "into", home)["deep/b.csv"] == "2"
    rows = [{**part.facts["inputs"][0], "path": f"data/{number}.csv"} for number in range(5000)]
    many = msgspec.structs.replace(part, facts={**part.facts, "inputs": rows})
    began = time.process_time()
    with pytest.raises(NotFound, match="no stand-in"):
        data_from_path(tmp_path / "b.csv", many, home)
    assert time.process_time() - began < 5


def test_a_folder_stands_in_by_paths_and_by_a_name_only_where_it_is_one_inputs(
    home: Home, tmp_path: Path, recorded: Callable[..., Part]
) -> None:
    part = recorded({"data.csv": "1", "test/data.csv": "1", "train/data.csv": "1", "train/other.csv": "1"})
    other = tmp_path / "other"
    (other / "train").mkdir(parents=True)
    (other / "data.csv").write_text("2")
    (other / "other.csv").write_text("2")
    taken = brought(data_from_path(other, part, home), tmp_path / "one", home)
    assert taken == {"data.csv": "2", "test/data.csv": "1", "train/data.csv": "1", "train/other.csv": "2"}
    part = recorded({"test/data.csv": "1", "train/data.csv": "1"})
    with pytest.raises(UsageError, match=r"could stand for each of test/data\.csv, train/data\.csv") as error:
        data_from_path(other, part, home)
    assert str(other / "test" / "data.csv") in error.value.hint
    (other / "train" / "data.csv").write_text("3")
    taken = brought(data_from_path(other, part, home), tmp_path / "two", home)
    assert taken == {"test/data.csv": "2", "train/data.csv": "3"}


def test_a_folder_of_a_version_by_reference_is_found_where_it_lies(
    home: Home, put: Callable[..., Held], recorded: Callable[..., Part], tmp_path: Path
) -> None:
    held = put("data", {"sub/a.csv": "new", "b.csv": "other"}, by_reference=True)
    for path in ("sub", "sub/a.csv"):
        part = data_from_version(held, path, recorded({"in/a.csv": "old"}), home)
        assert brought(part, tmp_path / path.replace("/", "-"), home) == {"in/a.csv": "new"}
