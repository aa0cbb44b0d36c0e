"""What version control says, asked from real repositories."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.parts.vcs import Checkout, look, permalink, without_credentials

VARIABLES = {
    **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    "GIT_AUTHOR_NAME": "Ana",
    "GIT_AUTHOR_EMAIL": "ana@example.org",
    "GIT_COMMITTER_NAME": "Ana",
    "GIT_COMMITTER_EMAIL": "ana@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "HGUSER": "Ana",
}


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *words]
    return subprocess.run(command, cwd=folder, env=VARIABLES, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("print(1)\n")
    (folder / ".gitignore").write_text("ignored/\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_clean_checkout_is_described_in_gits_own_words(repository: Path) -> None:
    seen = look(repository, VARIABLES)
    assert seen.system == "git"
    assert seen.revision == git(repository, "rev-parse", "HEAD")
    assert seen.branch == "main"
    assert seen.tracked == (".gitignore", "train.py")
    assert (seen.changed, seen.untracked) == ((), ())


def test_changed_untracked_and_ignored_files_are_told_apart(repository: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    (repository / "new file\n.py").write_text("")
    (repository / "ignored").mkdir()
    (repository / "ignored" / "x").write_text("")
    seen = look(repository, VARIABLES)
    assert seen.changed == ("train.py",)
    assert seen.untracked == ("new file\n.py",)


def test_a_folder_inside_a_repository_names_its_own_files(repository: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    (inner / "a.py").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    (inner / "a.py").write_text("x = 1\n")
    (inner / "b.py").write_text("")
    (repository / "outside.py").write_text("")
    seen = look(inner, VARIABLES)
    assert seen.tracked == ("a.py",)
    assert seen.changed == ("a.py",)
    assert seen.untracked == ("b.py",)


def test_looking_writes_nothing_under_git(repository: Path) -> None:
    os.utime(repository / "train.py", (1, 1))  # what makes `git status` want to refresh its index
    before = {path: path.read_bytes() for path in (repository / ".git").rglob("*") if path.is_file()}
    look(repository, VARIABLES)
    assert before == {path: path.read_bytes() for path in (repository / ".git").rglob("*") if path.is_file()}


def test_names_that_are_not_utf8_are_spelled(repository: Path) -> None:
    with open(os.fsencode(repository) + b"/\xff.py", "w"):
        pass
    assert look(repository, VARIABLES).untracked == ("\0ff.py",)


def test_a_repository_without_a_commit_is_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("")
    seen = look(tmp_path, VARIABLES)
    assert (seen.system, seen.revision, seen.untracked) == ("git", "", ("a.py",))


def test_a_broken_repository_is_a_finding_and_not_a_failure(repository: Path) -> None:
    (repository / ".git" / "HEAD").write_text("nonsense")
    seen = look(repository, VARIABLES)
    assert seen.system == "none"
    assert seen.findings[0].code == "checkout-unreadable"
    assert seen.findings[0].hint == "git status"


def test_submodules_and_their_files_are_seen(repository: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q", "-b", "main")
    (library / "lib.py").write_text("")
    git(library, "add", ".")
    git(library, "commit", "-qm", "lib")
    git(repository, "submodule", "add", "-q", str(library), "lib")
    git(repository, "commit", "-qm", "with lib")
    seen = look(repository, VARIABLES)
    assert seen.submodules == {"lib": git(library, "rev-parse", "HEAD")}
    assert "lib/lib.py" in seen.tracked


def test_a_pushed_revision_has_a_page_on_its_host(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "upstream.git")
    git(repository, "remote", "add", "origin", str(tmp_path / "upstream.git"))
    git(repository, "push", "-q", "-u", "origin", "main")
    seen = look(repository, VARIABLES)
    assert seen.pushed
    git(repository, "commit", "-q", "--allow-empty", "-m", "not pushed")
    assert not look(repository, VARIABLES).pushed


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("git@github.com:ana/churn.git", "https://github.com/ana/churn/tree/abc"),
        ("https://gitlab.com/team/sub/churn.git", "https://gitlab.com/team/sub/churn/-/tree/abc"),
        ("https://bitbucket.org/ana/churn", "https://bitbucket.org/ana/churn/src/abc"),
        ("/srv/git/churn.git", ""),
    ],
)
def test_permalinks_follow_the_hosts_own_form(remote: str, page: str) -> None:
    assert permalink(Checkout(system="git", revision="abc", remote=remote, pushed=True)) == page


def test_credentials_never_stay_in_a_url() -> None:
    assert without_credentials("https://ana:t0ken@example.org/x.git") == "https://example.org/x.git"
    assert without_credentials("git@example.org:ana/x.git") == "git@example.org:ana/x.git"


def test_mercurial_is_asked_in_its_own_words(tmp_path: Path, tool: Callable[[str], Path]) -> None:
    tool("hg")
    run = lambda *words: subprocess.run(["hg", *words], cwd=tmp_path, env=VARIABLES, check=True, capture_output=True)  # noqa: E731
    run("init")
    (tmp_path / "a.py").write_text("")
    (tmp_path / "b.py").write_text("")
    run("add", "a.py", "b.py")
    run("commit", "-m", "first")
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "c.py").write_text("")
    seen = look(tmp_path, VARIABLES)
    assert (seen.system, seen.branch, len(seen.revision)) == ("hg", "default", 40)
    assert (seen.tracked, seen.changed, seen.untracked) == (("a.py", "b.py"), ("b.py",), ("c.py",))


def test_subversion_is_asked_in_its_own_words(tmp_path: Path, tool: Callable[[str], Path]) -> None:
    tool("svn")
    run = lambda *words: subprocess.run(words, cwd=tmp_path, env=VARIABLES, check=True, capture_output=True)  # noqa: E731
    run("svnadmin", "create", "repository")
    run("svn", "checkout", f"file://{tmp_path}/repository", "work")
    work = tmp_path / "work"
    (work / "a.py").write_text("")
    run("svn", "add", "work/a.py")
    run("svn", "commit", "-m", "first", "work")
    (work / "a.py").write_text("x = 1\n")
    (work / "b.py").write_text("")
    seen = look(work, VARIABLES)
    assert seen.system == "svn"
    assert (seen.tracked, seen.changed, seen.untracked) == (("a.py",), ("a.py",), ("b.py",))


def test_a_repository_of_another_user_says_how_to_trust_it(repository: Path) -> None:
    seen = look(repository, {**VARIABLES, "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"})
    assert seen.system == "none"
    assert seen.findings[0].hint == f"git config --global --add safe.directory {repository}"
