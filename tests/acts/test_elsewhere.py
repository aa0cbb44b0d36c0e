"""Parts taken from elsewhere: the environment of another run, or the one that is here now; and one put back alone."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.steps import rooms

Bis = Callable[..., subprocess.CompletedProcess[str]]
Verdict = Callable[[subprocess.CompletedProcess[str]], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("python3")


@pytest.fixture
def offline(uv_variables: dict[str, str], make_wheel: Callable[..., Path]) -> dict[str, str]:
    """Where uv finds the two versions of `tiny` that there are."""
    for version in ("1.0", "2.0"):
        # Of two sizes: one that is compiled already stays while size and second of the source are the same.
        make_wheel("tiny", version, {"tiny.py": f"x = {version}\n" + "#" * int(version[0])})
    return {name: value for name, value in uv_variables.items() if name.startswith("UV_")}


@pytest.fixture
def recorded(
    bis: Bis, project: Path, tmp_path: Path, make_environment: Callable[..., Path], offline: Mapping[str, str]
) -> Callable[[str], Path]:
    """Record the run `old` or `new` in an environment of its own, with tiny 1.0 or 2.0; its interpreter."""
    (project / "a.py").write_text("import tiny; print(tiny.x)")

    def record(name: str) -> Path:
        wheels = tmp_path / "wheels"
        wheel = wheels / f"tiny-{'1.0' if name == 'old' else '2.0'}-py3-none-any.whl"
        python = make_environment(tmp_path / name, wheel)
        done = bis("run", "--name", name, "--", "python", "a.py", python=python, env=offline)
        assert done.returncode == 0, done.stderr
        return python

    return record


def changed(found: dict[str, Any]) -> list[str]:
    return [part["name"] for part in found["parts"] if part["sameness"] != "identical"]


def test_the_environment_of_another_run_may_be_taken(
    bis: Bis, recorded: Callable[[str], Path], verdict: Verdict, offline: Mapping[str, str]
) -> None:
    recorded("old"), recorded("new")
    assert bis("repeat", "old", env=offline).returncode == 0
    done = bis("repeat", "old", "--with", "env=new", "--json", env=offline)
    found = verdict(done)
    assert (done.returncode, found["sameness"]) == (1, "different"), found
    assert "environment" in changed(found)
    assert any("tiny: 1.0 -> 2.0" in cause for cause in found["causes"]), found


THREADS = """
import numpy, threadpoolctl
numpy.ones((4, 4)) @ numpy.ones((4, 4))
print(*sorted(pool["num_threads"] for pool in threadpoolctl.threadpool_info()))
"""


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_the_conditions_of_the_machine_of_another_run_are_forced(
    bis: Bis, project: Path, training_python: Path, verdict: Verdict
) -> None:
    (project / "a.py").write_text(THREADS)
    allowed = os.sched_getaffinity(0)
    for name, some in (("wide", allowed), ("narrow", set(sorted(allowed)[:1]))):
        os.sched_setaffinity(0, some)
        try:
            done = bis("run", "--name", name, "--", "python", "a.py", python=training_python)
        finally:
            os.sched_setaffinity(0, allowed)
        assert (done.returncode, done.stdout) == (0, f"{len(some)}\n"), done.stderr
    assert bis("repeat", "wide").returncode == 0
    done = bis("repeat", "wide", "--with", "machine=narrow", "--json")
    found = verdict(done)
    assert (done.returncode, found["sameness"]) == (1, "different"), found
    assert any(f"openblas threads: {len(allowed)} -> 1" in cause for cause in found["causes"]), found
    assert bis("repeat", "narrow").returncode == 0


@pytest.mark.usefixtures("room", "kernel_trace")
def test_the_programs_of_the_infrastructure_of_another_run_are_put_in_place(
    bis: Bis, project: Path, tmp_path: Path, verdict: Verdict, tool: Callable[[str], Path]
) -> None:
    (tmp_path / "tools").mkdir()
    step = tmp_path / "tools" / "step"
    (project / "a.py").write_text(f"import subprocess; print(subprocess.call([{str(step)!r}]))")
    for name in ("old", "new"):
        step.unlink(missing_ok=True)
        shutil.copy(tool("true" if name == "old" else "false"), step)
        step.chmod(0o755)
        assert bis("run", "--name", name, "--", "python3", "a.py").returncode == 0
    assert bis("repeat", "old").returncode == 0
    done = bis("repeat", "old", "--with", "infra=new", "--json")
    found = verdict(done)
    assert "not-taken" not in [finding["code"] for finding in found.get("findings", ())]
    assert (done.returncode, found["sameness"]) == (1, "different"), found
    assert any(cause.startswith("infrastructure") and "step" in cause for cause in found["causes"]), found


@pytest.mark.parametrize("part", ["environment", "env", "machine"])
def test_what_is_taken_from_here_is_not_taken_from_a_run(bis: Bis, project: Path, part: str) -> None:
    assert bis("run", "--name", "old", "--", "true").returncode == 0
    done = bis("repeat", "old", "--here", "--with", f"{part}=old")
    assert done.returncode == 2, done.stderr
    assert f"--here and --with {part}=" in done.stderr
    assert re.search(rf"^help: bis repeat \w+ --with {part}=RUN$", done.stderr, re.M)


def test_a_repeat_here_shows_what_has_drifted(
    bis: Bis,
    recorded: Callable[[str], Path],
    make_environment: Callable[..., Path],
    verdict: Verdict,
    offline: Mapping[str, str],
    tmp_path: Path,
) -> None:
    python = recorded("old")
    assert bis("repeat", "old", "--here", python=python, env=offline).returncode == 0
    make_environment(tmp_path / "old", tmp_path / "wheels" / "tiny-2.0-py3-none-any.whl")
    done = bis("repeat", "old", "--here", "--json", python=python, env=offline)
    found = verdict(done)
    assert (done.returncode, found["sameness"]) == (1, "different"), found
    assert any("tiny: 1.0 -> 2.0" in cause for cause in found["causes"]), found
    assert bis("repeat", "old", python=python, env=offline).returncode == 0


def test_an_environment_is_put_back_beside_the_code(
    bis: Bis, recorded: Callable[[str], Path], offline: Mapping[str, str], tmp_path: Path
) -> None:
    recorded("old")
    done = bis("restore", "old", str(tmp_path / "back"), "--environment", "--json", env=offline)
    assert done.returncode == 0, done.stderr
    prefix = Path(msgspec.json.decode(done.stdout)["restored"]["environment"])
    said = subprocess.run([prefix / "bin" / "python", "a.py"], cwd=tmp_path / "back", capture_output=True, text=True)
    assert said.stdout == "1.0\n"


NO_ROOMS = (
    "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin,-sys_resource"
    ' --inh-caps=-all --ambient-caps=-all "$@"'
)


def test_a_machine_without_user_namespaces_says_that_it_cannot_repeat_in_an_image(
    bis: Bis, project: Path, variables: dict[str, str]
) -> None:
    assert bis("run", "--name", "one", "--", "sh", "-c", "echo x > out").returncode == 0
    words = [sys.executable, "-m", "bis", "repeat", "one", "--in", "oci:nothing"]
    if not rooms.usable():
        if shutil.which("unshare") is None or shutil.which("setpriv") is None:
            pytest.skip("util-linux is not installed")
        words = ["unshare", "--user", "--map-root-user", "sh", "-c", NO_ROOMS, "sh", *words]
    done = subprocess.run(words, cwd=project, env=variables, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "one cannot be repeated in an image here: " in done.stderr
    assert "in a room of its own" in done.stderr
    assert "help: " in done.stderr
