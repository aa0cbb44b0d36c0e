"""A user's project, and bis as the user has it: another program, on the PATH of nobody's environment."""

import os
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.nouns.run import Run
from bis.settings import load_settings
from bis.steps import rooms
from bis.steps.home import Home, open_home

Bis = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project in a home folder of its own."""
    folder = tmp_path / "home" / "project"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def variables(project: Path, tracing: str) -> dict[str, str]:
    """The environment of a shell in which the user works."""
    kept = ("LANG", "LC_ALL", "TMPDIR", "UV_CACHE_DIR", "PIP_FIND_LINKS", "SSL_CERT_FILE", "HOME")
    taken = {name: os.environ[name] for name in kept if name in os.environ}
    # Environments are rebuilt from what uv has in its cache: that of the machine, not of this test's home.
    cache = taken.get("UV_CACHE_DIR") or f"{os.environ.get('HOME', '/root')}/.cache/uv"
    shell = {"HOME": str(project.parent), "UV_CACHE_DIR": cache, "PATH": "/usr/bin:/bin"}
    return {**taken, **shell, "BIS_TRACE": tracing}


@pytest.fixture(scope="session")
def plain_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which nothing is installed: a repeat rebuilds it in no time."""
    folder = tmp_path_factory.mktemp("plain") / "env"
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python3"


@pytest.fixture
def python3(variables: dict[str, str], plain_python: Path) -> None:
    """`python3` on the user's PATH is that one."""
    variables["PATH"] = f"{plain_python.parent}{os.pathsep}{variables['PATH']}"


@pytest.fixture
def bis(project: Path, variables: dict[str, str]) -> Bis:
    """Call bis in the project: `bis("run", "--", "sh", "-c", "true")`; `python=` is first on its PATH."""

    def call(
        *words: str,
        python: Path | None = None,
        folder: Path = project,
        env: Mapping[str, str] | None = None,
        stdin: Path = Path("/dev/null"),
    ) -> subprocess.CompletedProcess[str]:
        given = {**variables, **(env or {})}
        if python is not None:
            given["PATH"] = f"{python.parent}{os.pathsep}{given['PATH']}"
        with stdin.open("rb") as source:
            return subprocess.run(
                [sys.executable, "-m", "bis", *words],
                cwd=folder,
                env=given,
                capture_output=True,
                text=True,
                stdin=source,
                check=False,
            )

    return call


@pytest.fixture
def home(project: Path, variables: dict[str, str]) -> Callable[[], Home]:
    """Open what bis has recorded of the project."""
    return lambda: open_home(project, load_settings(project, variables), create=False)


@pytest.fixture
def last(home: Callable[[], Home]) -> Callable[[], Run]:
    """The newest run."""
    return lambda: home().ledger.runs(limit=1)[0]


@pytest.fixture
def verdict() -> Callable[[subprocess.CompletedProcess[str]], dict[str, object]]:
    """The verdict that `bis repeat --json` printed."""

    def read(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
        found = msgspec.json.decode(done.stdout or "{}")
        assert "verdicts" in found, done.stderr
        return found["verdicts"][0]  # type: ignore[no-any-return]

    return read


@pytest.fixture
def identical(verdict: Callable[..., dict[str, Any]], tracing: str) -> Callable[..., dict[str, Any]]:
    """`identical(bis("repeat", "@", "--json"))`: every output came out with the same bytes. The verdict says
    identical then; where the trace is not complete, it says equivalent, and that nothing but that is in doubt."""

    def check(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        found = verdict(done)
        assert done.returncode == 0, found
        assert {one["sameness"] for one in (*found["outputs"], *found.get("metrics", ()))} == {"identical"}, found
        if tracing == "audit":
            assert found["sameness"] == "equivalent", found
            (doubt,) = found["not_compared"]
            assert "audit trace" in doubt
        else:
            assert found["sameness"] == "identical", found
        return found

    return check


@pytest.fixture
def room() -> None:
    """A test that needs the original paths in a private mount namespace; where there can be none, it says why."""
    if reason := rooms.usable():
        pytest.skip(f"no room can be made here: {reason}")
