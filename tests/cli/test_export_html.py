"""`bis export html`: where it writes, what it answers, and what it needs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Type = Callable[..., Any]

WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from bis.__main__ import main
sys.exit(main())
"""
"""bis where some packages are not installed."""


def test_it_answers_a_script_with_the_file_and_the_runs_in_it(bis: Type, project: Path, tmp_path: Path) -> None:
    file = tmp_path / "both.html"
    done = bis("export", "html", "low", "high", "low", "--output", str(file), "--json", folder=project)
    ids = [bis("show", name, "--json", folder=project).json["run"]["id"] for name in ("low", "high")]
    assert done.json == {
        "schema": "bis.export.html/1",
        "file": str(file),
        "bytes": file.stat().st_size,
        "runs": ids,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["both.html"]


def test_what_it_wrote_itself_is_replaced_and_nothing_else(bis: Type, project: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "low.html", tmp_path / "thesis.html"
    assert bis("export", "html", "low", "-o", str(file), folder=project).status == 0
    before = file.read_bytes()
    assert bis("export", "html", "high", "-o", str(file), folder=project).status == 0
    assert file.read_bytes() != before
    other.write_text("<!doctype html><title>years of work</title>")
    done = bis("export", "html", "low", "-o", str(other), folder=project)
    assert done.status == 2
    assert done.err == f"error[B002]: {other} is there already, and bis did not write it\nhelp: --output ANOTHER.html\n"
    assert "years of work" in other.read_text()


def test_a_folder_or_a_run_that_is_not_there_is_named(bis: Type, project: Path, tmp_path: Path) -> None:
    done = bis("export", "html", "low", "-o", str(tmp_path / "no" / "low.html"), folder=project)
    assert (done.status, f"the folder {tmp_path / 'no'} is not there" in done.err) == (2, True)
    done = bis("export", "html", "low", "-o", str(tmp_path), folder=project)
    assert (done.status, "is a folder" in done.err) == (2, True)
    done = bis("export", "html", "hihg", "-o", str(tmp_path / "x.html"), folder=project)
    assert (done.status, "high" in done.err) == (3, True)
    assert not list(tmp_path.iterdir())


def test_it_needs_no_web_server_and_says_what_it_needs(
    variables: dict[str, str], project: Path, tmp_path: Path
) -> None:
    def typed(without: str) -> subprocess.CompletedProcess[str]:
        words = ["export", "html", "low", "-o", str(tmp_path / f"{without}.html")]
        return subprocess.run(
            [sys.executable, "-c", WITHOUT, without, *words],
            cwd=project,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    assert typed("starlette,uvicorn,httptools,uvloop").returncode == 0
    done = typed("jinja2,markupsafe")
    assert done.returncode == 2
    assert done.stderr.startswith("error[B137]: this command needs jinja2")
    assert "pip install" in done.stderr
    assert not (tmp_path / "jinja2.html").exists()
