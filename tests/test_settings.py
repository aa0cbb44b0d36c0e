"""Where settings come from, which of them wins, and what is said of those that make no sense."""

from pathlib import Path

import pytest

from bis.errors import UsageError
from bis.settings import Settings, find_project, load_settings


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment variables of somebody who has a file for all projects."""
    (tmp_path / ".config" / "bis").mkdir(parents=True)
    return {"HOME": str(tmp_path)}


def test_there_need_not_be_any(project: Path, variables: dict[str, str]) -> None:
    assert load_settings(project, variables) == Settings()
    assert load_settings(project, {}) == Settings()


def test_the_later_file_wins_key_by_key_and_variables_win_over_all(
    project: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".config" / "bis" / "config.toml").write_text('store = "/a"\nseed = false\n[tolerance]\nauc = 1e-3\n')
    (project / "pyproject.toml").write_text(
        '[tool.bis]\nstore = "/b"\ntrace = "audit"\n[tool.bis.tolerance]\nf1 = 1.0\n'
    )
    (project / "bis.toml").write_text('store = "/c"\ncopy-data = true\n')
    found = load_settings(project, {**variables, "BIS_TRACE": "off"})
    assert (found.store, found.seed, found.trace, found.copy_data) == ("/c", False, "off", True)
    assert found.tolerance == {"auc": 1e-3, "f1": 1.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sed = true", "there is no setting sed ("),
        ("[limits]\ninput_fil = 3", "there is no setting limits.input_fil ("),
        ('seed = "x"', "the setting seed is true or false, not text ("),
        ('data = "x"', "the setting data is a list, not text ("),
        ('trace = "foo"', "the setting trace is 'foo' ("),
        ("store = 3", "the setting store is text, not a whole number ("),
        ('[tolerance]\na = "x"', "the setting tolerance[...] is a number, not text ("),
        ("limits = 3", "the setting limits is a table, not a whole number ("),
        ("[limits]\ninput_file = -1", "the setting limits.input_file makes no sense: Expected `int` >= 0"),
        ("x = [", "is not valid TOML"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told_with_its_file(
    text: str, told: str, project: Path, variables: dict[str, str]
) -> None:
    (project / "bis.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        load_settings(project, variables)
    assert told in error.value.what
    assert str(project / "bis.toml") in error.value.what
    assert error.value.hint


def test_a_misspelled_setting_names_what_was_meant(project: Path, variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".config" / "bis" / "config.toml").write_text("[limits]\ninputfile = 3")
    with pytest.raises(UsageError, match=r"limits\.inputfile \(.*config\.toml\)") as error:
        load_settings(project, variables)
    assert error.value.because == "Did you mean input_file?"


def test_a_file_that_cannot_be_read_is_not_taken_for_one_that_is_not_there(
    project: Path, variables: dict[str, str]
) -> None:
    (project / "bis.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_settings(project, variables)


def test_a_faulty_pyproject_is_told_only_where_it_speaks_of_bis(project: Path, variables: dict[str, str]) -> None:
    (project / "pyproject.toml").write_text("x = [")
    assert load_settings(project, variables) == Settings()
    (project / "pyproject.toml").write_text("[tool.bis]\nx = [")
    with pytest.raises(UsageError, match=r"pyproject\.toml is not valid TOML"):
        load_settings(project, variables)


@pytest.mark.parametrize("sign", ["bis.toml", ".git/", ".hg/", ".svn/", ".bis/store/", "pyproject.toml"])
def test_a_project_is_the_nearest_folder_that_looks_like_one(sign: str, project: Path) -> None:
    deep = project / "src" / "deep"
    deep.mkdir(parents=True)
    (project / ".bis").mkdir()  # of another use: no sign of a project
    if sign.endswith("/"):
        (project / sign).mkdir(parents=True)
    else:
        (project / sign).write_text("[tool.bis]\n" if sign == "pyproject.toml" else "")
    assert find_project(deep) == project


def test_where_no_folder_looks_like_a_project_it_is_the_one_where_one_is(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.other]\n")
    assert find_project(project) == project
    (project / "deep").mkdir()
    assert find_project(project / "deep") == project / "deep"
