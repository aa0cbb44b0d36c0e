"""What a project declares, in the files of every tool, beside what is installed."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bis.digest import Digest
from bis.parts.installed import Installed
from bis.parts.interpreter import Interpreter
from bis.parts.requirements import Compared, Difference, _caret, against, collect, declaration

PYTHON = Interpreter(version="3.11.7")
Compare = Callable[..., Compared]


def have(name: str, version: str, **more: object) -> Installed:
    return Installed(name=name, version=version, record=Digest("b3:0"), **more)  # type: ignore[arg-type]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Write `files` into a project and compare them with `packages`."""

    def run(files: dict[str, str], *packages: Installed, command: tuple[str, ...] = ()) -> Compared:
        project = tmp_path / "project"
        for name, text in files.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(textwrap.dedent(text))
        return against(project, project, command, packages, PYTHON, tmp_path / "cache")

    return run


DECLARING_NUMPY_BELOW_2 = {
    "requirements.txt": "numpy<2  # not yet\n",
    "pyproject.toml": '[project]\nname = "x"\ndependencies = ["numpy<2"]\n',
    "setup.cfg": "[options]\ninstall_requires =\n    numpy<2\n",
    "Pipfile": '[packages]\nnumpy = "<2"\n',
    "Pipfile.lock": '{"_meta": {}, "default": {"numpy": {"version": "==1.26.4"}}}',
    "uv.lock": 'version = 1\n[[package]]\nname = "numpy"\nversion = "1.26.4"\n',
    "poetry.lock": '[[package]]\nname = "numpy"\nversion = "1.26.4"\n',
    "pdm.lock": '[[package]]\nname = "numpy"\nversion = "1.26.4"\n',
    "pylock.toml": 'lock-version = "1.0"\n[[packages]]\nname = "numpy"\nversion = "1.26.4"\n',
    "environment.yml": "dependencies:\n  - python=3.11\n  - pip:\n    - numpy<2\n",
    "environment.yaml": "dependencies:\n  - conda-forge::numpy=1.26\n",
    "conda-lock.yml": "package:\n- {name: numpy, version: 1.26.4, manager: conda, platform: linux-64}\n",
    "constraints.txt": "numpy<2\n",
    "requirements-dev.txt": "numpy<2\n",
}


@pytest.mark.parametrize("name", sorted(DECLARING_NUMPY_BELOW_2))
def test_another_version_than_declared_is_told_for_every_kind_of_file(compare: Compare, name: str) -> None:
    files = {name: DECLARING_NUMPY_BELOW_2[name]}
    (line,) = compare(files, have("numpy", "2.4.6")).difference.other
    assert line.startswith("numpy 2.4.6, declared ")
    assert line.endswith(f"({name})")


@pytest.mark.parametrize("name", sorted(DECLARING_NUMPY_BELOW_2))
def test_a_version_as_declared_is_no_difference(compare: Compare, name: str) -> None:
    assert compare({name: DECLARING_NUMPY_BELOW_2[name]}, have("numpy", "1.26.4")).difference == Difference()


def test_a_missing_package_is_told_where_it_is_needed_and_only_there(compare: Compare) -> None:
    files = {
        "requirements.txt": "here\ngone>=1 ; python_version >= '3.8'\nelsewhere ; sys_platform == 'plan9'\n",
        "pyproject.toml": '[project]\nname = "x"\n[project.optional-dependencies]\ngpu = ["cupy"]\n'
        '[dependency-groups]\ndev = ["pytest", {include-group = "x"}]\n',
        "constraints.txt": "unneeded==1\n",
    }
    assert compare(files, have("here", "1")).difference.missing == ("gone>=1 (requirements.txt)",)


def test_included_files_are_read_as_what_they_are_included_as(compare: Compare) -> None:
    files = {
        "requirements.txt": "-r requirements/base.txt\n-c limits.txt\n--index-url https://u:p@host.example\n",
        "requirements/base.txt": "gone == 1.0 \\\n    --hash=sha256:abc\n",
        "limits.txt": "numpy<2\nabsent<1\n",
    }
    found = compare(files, have("numpy", "2.0")).difference
    assert found.missing == ("gone==1.0 (requirements/base.txt)",)
    assert found.other == ("numpy 2.0, declared <2 (limits.txt)",)


def test_files_that_include_each_other_end(compare: Compare) -> None:
    files = {"requirements.txt": "-r requirements-two.txt\ngone\n", "requirements-two.txt": "-r requirements.txt\n"}
    assert compare(files).difference.missing == ("gone (requirements.txt)",)


def test_a_script_names_its_own_requirements(compare: Compare) -> None:
    script = "# /// script\n# requires-python = '>=3.11'\n# dependencies = ['rich>13']\n# ///\nimport rich\n"
    found = compare({"train.py": script}, command=("python", "train.py"))
    assert found.difference.missing == ("rich>13 (train.py)",)
    assert found.files[0].python == ">=3.11"


def test_what_was_asked_for_by_name_and_is_declared_nowhere_is_extra(compare: Compare) -> None:
    packages = [
        have("numpy", "1", requested=True),
        have("ipdb", "0.13", requested=True),
        have("dependency", "1"),
        have("mine", "1", requested=True, origin="project"),
    ]
    assert compare({"requirements.txt": "NumPy\n"}, *packages).difference.extra == ("ipdb 0.13",)


def test_a_project_that_declares_nothing_has_no_difference(compare: Compare) -> None:
    assert compare({"README.md": "hello"}, have("ipdb", "0.13", requested=True)) == Compared()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "= broken"),
        ("Pipfile.lock", "{"),
        ("uv.lock", "package = 3"),
        ("environment.yml", "- : -\n:"),
    ],
)
def test_a_broken_file_is_a_problem_of_that_file(compare: Compare, name: str, text: str) -> None:
    found = compare({name: text, "requirements.txt": "gone\nnot a / requirement\n"})
    assert next(file for file in found.files if file.path == name).problem
    assert found.difference.missing == ("gone (requirements.txt)",)


def test_a_changed_file_or_set_is_looked_at_again(compare: Compare) -> None:
    assert compare({"requirements.txt": "gone\n"}).difference.missing
    assert not compare({"requirements.txt": "gone\n"}, have("gone", "1")).difference.missing
    assert compare({"requirements.txt": "gone>1\n"}, have("gone", "1")).difference.other


def test_poetry_is_understood(compare: Compare) -> None:
    text = """
        [tool.poetry.dependencies]
        python = "^3.10"
        numpy = "^1.26"
        pandas = { version = "~2.1", optional = true }
        [tool.poetry.group.dev.dependencies]
        pytest = "*"
    """
    found = compare({"pyproject.toml": text}, have("numpy", "2.0.0"), have("pandas", "2.2.0"))
    assert found.difference.missing == ()
    assert [line.split(",")[0] for line in found.difference.other] == ["numpy 2.0.0", "pandas 2.2.0"]


@pytest.mark.parametrize(
    ("poetry", "standard"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^1", ">=1,<2"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("*", ""),
        ("1.2.*", "==1.2.*"),
        (">=1,<3", ">=1,<3"),
        ("^1 || ^2", ""),
    ],
)
def test_poetrys_carets_are_ranges(poetry: str, standard: str) -> None:
    assert _caret(poetry) == standard


def test_a_lock_with_two_versions_for_two_platforms_fixes_neither(compare: Compare) -> None:
    lock = '[[package]]\nname = "numpy"\nversion = "1.26.4"\n[[package]]\nname = "numpy"\nversion = "2.0.0"\n'
    assert compare({"uv.lock": lock}, have("numpy", "2.1.0")).difference == Difference()


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_a_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "texts"
    folder.mkdir(exist_ok=True)
    for name in DECLARING_NUMPY_BELOW_2:
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    for source in collect(folder, folder):
        declaration(source)
