"""What every test of a format needs: two files, and what is known of the two runs that made them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.formats import Context, Side
from bis.formats.registry import compare
from bis.nouns.verdict import Comparison

NOON = 1_795_348_800.0
"""2026-11-22 12:00:00 UTC: the first run starts. The second starts the day after, at 15:00."""
NEXT_DAY = NOON + 27 * 3600

Judge = Callable[..., Comparison]


@pytest.fixture
def context() -> Context:
    """Two runs of a minute each, in two folders, on two days."""
    return Context(
        before=Side(roots=("/home/ana/churn",), names=("7f3a5c0d1e52",), started=NOON, ended=NOON + 60),
        after=Side(roots=("/tmp/again/churn",), names=("0b94d27c68aa",), started=NEXT_DAY, ended=NEXT_DAY + 60),
        slack=5.0,
    )


@pytest.fixture
def judge(tmp_path: Path, context: Context) -> Judge:
    """Compare two contents under one name: `judge("a.json", b"…", b"…")`; a text is written as UTF-8."""

    def run(name: str, before: bytes | str, after: bytes | str, **changed: object) -> Comparison:
        paths = []
        for side, content in (("before", before), ("after", after)):
            path = tmp_path / side
            path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
            paths.append(path)
        used = Context(before=context.before, after=context.after, **{"slack": context.slack, **changed})  # type: ignore[arg-type]
        found = compare(name, *paths, used)
        _is_consistent(found)
        assert compare(name, paths[1], paths[0], _turned(used)).same == found.same, "not symmetric"
        return found

    return run


def _turned(context: Context) -> Context:
    return Context(before=context.after, after=context.before, slack=context.slack, tolerance=context.tolerance)


def _is_consistent(found: Comparison) -> None:
    """What holds for every comparison, whatever was compared."""
    assert (found.level == "none") == (found.same is not True)
    assert found.why
    assert all(mask.count > 0 and mask.rule for mask in found.masked)
    assert not (found.same and found.causes)


Make = Callable[[str, dict[str, str]], Path]


@pytest.fixture
def make(tmp_path: Path, training_python: Path) -> Make:
    """Run a script with the training environment in a fresh folder, with variables; the folder it wrote into."""

    def run(script: str, variables: dict[str, str]) -> Path:
        folder = tmp_path / f"made-{len(list(tmp_path.glob('made-*')))}"
        folder.mkdir()
        done = subprocess.run(
            [training_python, "-c", script], cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return folder

    return run


@pytest.fixture
def judge_files(context: Context) -> Judge:
    """Compare two files as they are."""

    def run(before: Path, after: Path) -> Comparison:
        found = compare(before.name, before, after, context)
        _is_consistent(found)
        return found

    return run
