"""Code: the tree as it ran."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.nouns.trace import Trace
from bis.parts import Place, Scene, code
from bis.settings import Limits
from bis.store.local import LocalStore
from bis.store.snapshot import walk

GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "ana@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@pytest.fixture
def repository(project: Path) -> Path:
    (project / "train.py").write_text("import lib\nprint(1)\n")
    (project / "lib.py").write_text("x = 1\n")
    (project / "small.csv").write_text("a,b\n1,2\n")
    for words in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run(["git", *words], cwd=project, env=GIT, check=True)
    return project


def paths(part: object, store: LocalStore) -> list[str]:
    return [leaf.path for leaf in walk(store, part.trees["tree"])]  # type: ignore[attr-defined]


def test_dirty_and_untracked_files_are_code(
    repository: Path, scene: Callable[..., Scene], store: LocalStore, tmp_path: Path
) -> None:
    (repository / "lib.py").write_text("x = 2\n")
    (repository / "new.py").write_text("y = 1\n")
    part = code.capture(scene(variables=GIT), store)
    assert part.facts["changed"] == ["lib.py"]
    assert part.facts["untracked"] == ["new.py"]
    code.restore(part, Place(project=tmp_path / "back"), store)
    assert (tmp_path / "back" / "lib.py").read_text() == "x = 2\n"
    assert (tmp_path / "back" / "new.py").read_text() == "y = 1\n"


def test_secrets_large_files_and_untracked_data_are_left_out_with_the_reason(
    repository: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    (repository / ".env").write_text("TOKEN=1")
    (repository / "huge.py").write_text("#" * 2000)
    (repository / "more.csv").write_text("a\n")
    (repository / "report.html").write_text("made")
    limits = Limits(untracked_file=1000)
    part = code.capture(scene(variables=GIT, limits=limits, known_outputs=frozenset({"report.html"})), store)
    assert part.facts["left out"] == {
        ".env": "secret",
        "huge.py": "untracked and large (2000 bytes)",
        "more.csv": "untracked data",
        "report.html": "output of an earlier run",
    }
    assert paths(part, store) == ["lib.py", "small.csv", "train.py"]


def test_the_digest_follows_the_code_and_not_tracked_data(
    repository: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    before = code.capture(scene(variables=GIT), store)
    (repository / "small.csv").write_text("a,b\n1,3\n")
    data_changed = code.capture(scene(variables=GIT), store)
    assert data_changed.digest == before.digest
    assert [change.weight for change in code.compare(before, data_changed, store)] == ["minor"]
    (repository / "lib.py").write_text("x = 2\n")
    assert code.capture(scene(variables=GIT), store).digest != before.digest


def test_a_changed_line_is_shown_as_a_unified_difference(
    repository: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    before = code.capture(scene(variables=GIT), store)
    (repository / "lib.py").write_text("x = 2\n")
    (change,) = code.compare(before, code.capture(scene(variables=GIT), store), store)
    assert change.name == "lib.py"
    assert "-x = 1\n+x = 2\n" in change.detail


def test_an_executable_bit_is_a_change(repository: Path, scene: Callable[..., Scene], store: LocalStore) -> None:
    before = code.capture(scene(variables=GIT), store)
    (repository / "lib.py").chmod(0o755)
    (change,) = code.compare(before, code.capture(scene(variables=GIT), store), store)
    assert change.after is not None
    assert change.after.endswith("executable")


def test_without_version_control_the_sources_that_the_run_read_are_code(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    for name in ("train.py", "lib.py", "unread.py", "data.csv"):
        (project / name).write_text("")
    early = code.capture(scene(), store)
    assert paths(early, store) == ["train.py"]
    seen = reading(project / "train.py", project / "lib.py", project / "data.csv")
    part = code.capture(scene(trace=seen), store, early)
    assert paths(part, store) == ["lib.py", "train.py"]
    assert part.facts["system"] == "none"


def test_git_lfs_pointers_are_named(repository: Path, scene: Callable[..., Scene], store: LocalStore) -> None:
    (repository / ".gitattributes").write_text("*.bin filter=lfs\n")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    (repository / "weights.bin").write_text(pointer)
    subprocess.run(["git", "-c", "filter.lfs.clean=cat", "add", "."], cwd=repository, env=GIT, check=True)
    part = code.capture(scene(variables=GIT), store)
    assert part.facts["pointers"] == ["weights.bin"]
    assert [finding.code for finding in part.findings] == ["lfs-pointer"]


def test_notebooks_are_compared_by_their_sources(
    repository: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    cell = '{"cells": [{"cell_type": "code", "source": ["x = %d"], "outputs": []}], "metadata": {}}'
    (repository / "nb.ipynb").write_text(cell % 1)
    before = code.capture(scene(variables=GIT), store)
    (repository / "nb.ipynb").write_text(cell % 2)
    (change,) = code.compare(before, code.capture(scene(variables=GIT), store), store)
    assert "-x = 1\n+x = 2\n" in change.detail
    assert "outputs" not in change.detail


def test_a_followed_link_is_kept_though_another_beside_it_leads_to_itself(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    (project / "train.py").write_text("")
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "x.csv").write_text("1")
    (project / "data").symlink_to(tmp_path / "big")
    (project / "around").symlink_to("around")
    early = code.capture(scene(), store)
    part = code.capture(scene(trace=reading(project / "train.py", tmp_path / "big" / "x.csv")), store, early)
    assert paths(part, store) == ["data", "train.py"]


def test_a_program_of_the_project_that_was_executed_is_code_though_version_control_ignores_it(
    repository: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    (repository / ".gitignore").write_text("built\n")
    (repository / "built").write_bytes(b"\x7fELF")
    (repository / "built").chmod(0o755)
    early = code.capture(scene(variables=GIT), store)
    part = code.capture(scene(variables=GIT, trace=reading(repository / "built", how="x")), store, early)
    code.restore(part, Place(project=tmp_path / "back"), store)
    assert os.access(tmp_path / "back" / "built", os.X_OK)
