"""An interpreter for a model's folder."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.errors import CannotRepeat, NotFound, UsageError
from bis.steps.leftovers import leftovers
from bis.steps.model_environment import RESOLVED, Chosen, environment


def chosen(folder: Path, cache: Path, python: str = "") -> Chosen:
    return environment(folder, home=None, python=python, variables=os.environ, cache=cache)


def test_an_interpreter_that_is_named_is_taken_as_it_is(training_python: Path, tmp_path: Path) -> None:
    for named in (training_python, training_python.parent.parent):
        assert Path(chosen(tmp_path, tmp_path, str(named)).python).samefile(training_python)
    with pytest.raises(UsageError, match="there is no interpreter"):
        chosen(tmp_path, tmp_path, str(tmp_path / "nowhere"))


def test_requirements_are_resolved_once_and_what_they_came_to_is_kept(
    tmp_path: Path, make_wheel: Callable[..., Path]
) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    wheel = make_wheel("idle", "1.0", {"idle.py": ""})
    (folder / "requirements.txt").write_text(f"# of the model\nmlflow==99.99\nidle @ {wheel.as_uri()}\n")
    first = chosen(folder, cache)
    assert (first.how, first.cached) == ("requirements", False)
    assert "no lock" in first.told
    subprocess.run([first.python, "-c", "import idle"], check=True)
    assert "idle" in (first.python.parent.parent / RESOLVED).read_text()
    again = chosen(folder, cache)
    assert (again.python, again.cached) == (first.python, True)
    assert [one.path for one in leftovers(cache, tmp_path / "none")] == [first.python.parent.parent]


LOCKED = """
lock-version = "1.0"
created-by = "a test"
[[packages]]
name = "idle"
version = "1.0"
{where}
"""


def test_the_lock_of_a_folder_is_installed_with_its_hashes(tmp_path: Path, make_wheel: Callable[..., Path]) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    wheel = make_wheel("idle", "1.0", {"idle.py": ""})

    def lock(digest: str) -> None:
        where = f'archive = {{ path = "{wheel}", hashes = {{ sha256 = "{digest}" }} }}'
        (folder / "pylock.toml").write_text(LOCKED.format(where=where))

    (folder / "requirements.txt").write_text("nothing-that-there-is==1.0\n")
    lock("0" * 64)
    with pytest.raises(CannotRepeat, match="cannot be installed"):
        chosen(folder, cache)
    lock(hashlib.sha256(wheel.read_bytes()).hexdigest())
    first = chosen(folder, cache)
    assert (first.how, first.cached, first.told) == ("lock", False, "")
    subprocess.run([first.python, "-c", "import idle"], check=True)
    assert chosen(folder, cache).cached


def test_a_lock_that_cannot_be_installed_is_said_to_be_none(tmp_path: Path, make_wheel: Callable[..., Path]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    wheel = make_wheel("idle", "1.0", {"idle.py": ""})
    (folder / "pylock.toml").write_text(LOCKED.format(where=""))
    (folder / "requirements.txt").write_text(f"idle @ {wheel.as_uri()}\n")
    found = chosen(folder, tmp_path / "cache")
    assert found.how == "requirements"
    assert "pylock.toml cannot be installed as it is (Exactly one of " in found.told
    assert "requirements.txt was resolved to" in found.told


def test_what_cannot_be_installed_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    (folder / "requirements.txt").write_text("idle @ file:///nowhere/idle-1.0-py3-none-any.whl\n")
    with pytest.raises(CannotRepeat, match="cannot be installed"):
        chosen(folder, cache)
    assert not list(cache.iterdir())


def test_a_folder_that_says_nothing_of_packages_needs_an_interpreter(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing says which packages"):
        chosen(tmp_path, tmp_path)


def test_mlflow_is_left_out_of_an_environment_unless_it_alone_can_load_the_model(
    tmp_path: Path, make_wheel: Callable[..., Path]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    wheel = make_wheel("mlflow_skinny", "9.9", {"mlflow/__init__.py": ""})
    (folder / "requirements.txt").write_text(f"mlflow-skinny @ {wheel.as_uri()}\n")

    def packages(flavors: str) -> str:
        (folder / "MLmodel").write_text(f"flavors: {flavors}\n")
        return (chosen(folder, tmp_path / "cache").python.parent.parent / RESOLVED).read_text()

    assert "mlflow" not in packages("{python_function: {loader_module: mlflow.pyfunc.model, python_model: x.pkl}}")
    assert "mlflow" not in packages("{sklearn: {}, python_function: {loader_module: mlflow.sklearn}}")
    assert "mlflow" in packages("{prophet: {}, python_function: {loader_module: mlflow.prophet}}")
