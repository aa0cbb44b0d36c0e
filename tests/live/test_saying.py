"""What a script may log, and what it is told when that makes no sense."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bis
from bis.live import saying
from bis.live.session import STACK, Session
from bis.nouns.logged import File, Input, Params, Saying, Tags, Values
from bis.steps.journal import entries, journals


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of journals of the run that this process logs to."""
    folder = tmp_path / "journals"
    folder.mkdir()
    monkeypatch.setattr(saying, "_warned", set())
    STACK.append(Session(folder))
    yield folder
    STACK.pop()


def told(folder: Path) -> list[Saying]:
    return [told.entry for path in journals(folder) for told in entries(path)]


class Tensor:
    """One that was computed from others, and warns when it is made a number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def detach(self) -> float:
        return self.value

    def __float__(self) -> float:
        warnings.warn("converted", stacklevel=1)
        return self.value


def test_whatever_is_a_number_is_one(journal: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bis.log({"a": 1, "b": True, "c": Tensor(2.5)}, step=7, d=0.5)
    (entry,) = told(journal)
    assert isinstance(entry, Values)
    assert (entry.step, entry.values) == (7, {"a": 1.0, "b": 1.0, "c": 2.5, "d": 0.5})


def test_without_a_step_the_calls_are_counted(journal: Path) -> None:
    for _ in range(3):
        bis.log(loss=1)
    steps = [entry.step for entry in told(journal) if isinstance(entry, Values)]
    assert [step - steps[0] for step in steps] == [0, 1, 2]


@pytest.mark.parametrize("value", ["text", None, [1, 2], object()])
def test_what_is_no_number_is_warned_of_once_and_the_rest_is_logged(journal: Path, value: Any) -> None:
    with pytest.warns(RuntimeWarning, match="bad was not logged"):
        bis.log(step=0, bad=value, good=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bis.log(step=1, bad=value, good=1)
    assert [entry.values for entry in told(journal) if isinstance(entry, Values)] == [{"good": 1.0}] * 2


def test_a_step_that_is_no_number_is_warned_of(journal: Path) -> None:
    with pytest.warns(RuntimeWarning, match="the step 'first' is no whole number"):
        bis.log({"loss": 1}, step="first")  # type: ignore[arg-type]  # what a script may do
    assert not told(journal)


def test_nested_params_have_dotted_names_and_one_that_holds_itself_an_end(journal: Path) -> None:
    loop: dict[str, Any] = {"x": 1}
    loop["again"] = loop
    bis.params({"model": {"layers": 3, "empty": {}}}, lr=0.1)
    bis.params(loop)
    first, second = told(journal)
    assert first == Params({"model.layers": "3", "model.empty": "{}", "lr": "0.1"})
    assert isinstance(second, Params)
    assert len(second.values) == 22


def test_files_are_kept_as_they_are_now_under_names_that_stay_where_they_belong(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "a.txt").write_text("one")
    bis.log_artifact(tmp_path / "folder")
    (tmp_path / "folder" / "deep" / "a.txt").write_text("two")
    bis.log_text("text", "notes/b.txt")
    for name in ("../out.txt", "", "/"):
        with pytest.warns(RuntimeWarning, match="was not kept"):
            bis.log_text("text", name)
    found = {entry.path: (journal / entry.content).read_text() for entry in told(journal) if isinstance(entry, File)}
    assert found == {"folder/deep/a.txt": "one", "notes/b.txt": "text"}


def test_a_file_that_is_not_there_is_warned_of(journal: Path, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="was not kept"):
        bis.log_artifact(tmp_path / "absent")
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        assert bis.data(tmp_path / "absent") == tmp_path / "absent"


@pytest.mark.parametrize("rows", [[{"a": 1, "b": "x"}, {"a": 2, "c": 3}], {"a": [1, 2], "b": ["x", ""], "c": ["", 3]}])
def test_a_table_is_kept_as_csv(journal: Path, rows: Any) -> None:
    bis.log_table(rows, "table.csv")
    (entry,) = told(journal)
    assert isinstance(entry, File)
    assert (journal / entry.content).read_text() == "a,b,c\n1,x,\n2,,3\n"


def test_declared_data_is_known_by_its_content(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("x")
    bis.data(tmp_path / "rows.csv", "rows")
    bis.data(tmp_path / "folder")
    one, two = told(journal)
    assert isinstance(one, Input)
    assert isinstance(two, Input)
    assert (one.size, one.name, two.size) == (4, "rows", 1)
    assert one.digest != two.digest
    assert one.digest.startswith("b3:")


def test_tags_are_text(journal: Path) -> None:
    bis.tags(team="fraud", number=3)
    assert told(journal) == [Tags({"team": "fraud", "number": "3"})]
