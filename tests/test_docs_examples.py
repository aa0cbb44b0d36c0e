"""Every command that a page shows is run, page by page, in a project like the one of `make demo`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```console\n(.*?)^```$", re.S | re.M)
PAGES = [
    path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if "$ bis " in path.read_text("utf-8")
]
TRAINING = """\
import argparse, json, random
from sklearn.linear_model import SGDClassifier
parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=2)
options = parser.parse_args()
rows = [[float(cell) for cell in line.split(",")] for line in open("data/cells.csv").read().splitlines()]
model = SGDClassifier(max_iter=options.depth, tol=None)
model.fit([row[:-1] for row in rows], [row[-1] for row in rows])
print("trained", random.random())
json.dump({"loss": float(abs(model.coef_).sum())}, open("metrics.json", "w"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed training script, and data that Git does not keep."""
    folder = tmp_path / "cells"
    (folder / "data").mkdir(parents=True)
    (folder / "train.py").write_text(TRAINING)
    (folder / ".gitignore").write_text("data/\nmetrics.json\n")
    rows = [f"{number % 7},{number % 5},{int(number % 7 > number % 5)}" for number in range(200)]
    (folder / "data" / "cells.csv").write_text("\n".join(rows))
    git = ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "A training"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work_as_they_are_shown(page: Path, project: Path, training_python: Path) -> None:
    bis = shutil.which("bis", path=str(Path(sys.executable).parent))
    assert bis is not None
    (project.parent / "bin").mkdir()
    (project.parent / "bin" / "bis").symlink_to(bis)
    search = f"{project.parent / 'bin'}:{training_python.parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": search, "HOME": str(project.parent), "XDG_CACHE_HOME": str(project.parent / "c")}
    variables.pop("VIRTUAL_ENV", None)

    def type_(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", line], cwd=project, env=variables, capture_output=True, text=True)

    for depth in (1, 2):
        before = type_(f"bis run -- python train.py --depth {depth}")
        assert before.returncode == 0, before.stderr
    for block in FENCE.findall(page.read_text("utf-8")):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ bis "):
                done = type_(line[2:])
                assert done.returncode in (0, 1), f"{line}\n{done.stdout}{done.stderr}"
