"""A command whose packages are not installed says so, and what to type."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("command", "module"), [("ui", "jinja2"), ("server", "starlette"), ("server", "markdown_it")])
def test_what_is_missing_is_named_with_its_extra(tmp_path: Path, command: str, module: str) -> None:
    """A module of that name stands for one that is not installed."""
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / f"{module}.py").write_text(f"raise ModuleNotFoundError('No module named {module}', name='{module}')\n")
    done = subprocess.run(
        [sys.executable, "-m", "bis", command, "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(stub)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"needs {module}, which is not installed" in done.stderr
    assert "extra 'server'" in done.stderr
    assert "[server]" in done.stderr.splitlines()[-1]
    assert "serving" not in done.stderr
