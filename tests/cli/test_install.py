"""bis installs alone, and starts quickly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bis import __version__

FORBIDDEN_AT_START = {
    *("numpy", "pandas", "pyarrow", "h5py", "nbclient", "nbformat", "yaml", "blake3", "uv", "packaging"),
    *("sqlite3", "asyncio", "multiprocessing", "socket", "ssl", "http", "email", "urllib.request", "subprocess"),
    *("concurrent.futures", "ctypes", "bis.store", "bis.ledger", "bis.parts", "bis.formats", "bis.steps", "bis.acts"),
}
MOST_MODULES = 160
"""`python -c pass` loads about 35 modules, and importing click about 60 more."""


def ran(*words: str | Path, folder: Path | None = None) -> str:
    """The standard output of a command that must succeed, run as somebody would who has nothing of ours set up."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in words], cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def loaded_by(*words: str) -> set[str]:
    """The modules that the entry point has imported when it has answered."""
    code = f"import sys; sys.argv = ['bis', *{words!r}]; import bis.__main__ as m; m.main(); print(*sys.modules)"
    return set(ran(sys.executable, "-c", code).splitlines()[-1].split())


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of what bis is built from, so that a build leaves nothing in the real one."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    ran("cp", "-R", *(root / name for name in ("src", "pyproject.toml", "README.md", "LICENSE", "docs")), copy)
    return copy


def uses_it_elsewhere(bis: Path, folder: Path, training_python: Path) -> None:
    """Records a training whose environment does not contain bis."""
    folder.mkdir()
    (folder / "train.py").write_text("import sklearn\nopen('metrics.json', 'w').write('{\"version\": 1}')\n")
    ran(bis, "run", "--", training_python, "train.py", folder=folder)
    assert "metrics.json" in ran(bis, "show", "@latest", folder=folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pip_installs_it_alone_and_it_records_a_training(checkout: Path, tmp_path: Path, training_python: Path) -> None:
    python = tmp_path / "fresh" / "bin" / "python"
    ran(sys.executable, "-m", "venv", tmp_path / "fresh")
    ran(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", checkout)
    bis = python.with_name("bis")
    assert ran(bis, "--version") == f"bis {__version__}\n"
    assert ran(python, "-m", "bis", "--version") == f"bis {__version__}\n"
    uses_it_elsewhere(bis, tmp_path / "project", training_python)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_uv_installs_it_as_a_tool_and_it_records_a_training(
    checkout: Path, tmp_path: Path, training_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = Path(sys.executable).with_name("uv")
    monkeypatch.setenv("UV_TOOL_DIR", str(tmp_path / "tools"))
    monkeypatch.setenv("UV_TOOL_BIN_DIR", str(tmp_path / "bin"))
    ran(uv, "tool", "install", "--quiet", "--python", sys.executable, checkout)
    bis = tmp_path / "bin" / "bis"
    assert ran(bis, "--version") == f"bis {__version__}\n"
    uses_it_elsewhere(bis, tmp_path / "project", training_python)


@pytest.mark.slow
def test_every_file_that_runs_inside_the_users_interpreter_is_in_the_wheel(checkout: Path, tmp_path: Path) -> None:
    ran(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist", folder=checkout)
    (wheel,) = (tmp_path / "dist").iterdir()
    listed = set(ran(sys.executable, "-m", "zipfile", "-l", wheel).split())
    source = checkout / "src"
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.suffix in (".py", ".sql", ".typed")}
    assert not files - listed


def test_help_imports_no_more_than_it_prints(root: Path) -> None:
    if not (root / "src" / "bis" / "cli" / "main.py").exists():
        pytest.skip("there are no commands yet")
    loaded = loaded_by("--help")
    assert not {module for module in FORBIDDEN_AT_START if module in loaded}
    assert len(loaded) <= MOST_MODULES


def test_the_version_is_told_at_once() -> None:
    """The margin is wide: the ratio itself is measured by benchmarks/startup.py."""
    assert len(loaded_by("--version")) <= len(ran(sys.executable, "-c", "import sys; print(*sys.modules)").split()) + 5
