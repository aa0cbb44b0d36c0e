"""Data of other systems is imported with its history, and versions exported are theirs. Real Git, real files."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bis.foreign import annex, dvc, kedro, lfs, quilt
from bis.foreign.dvc import Member, Out

Bis = Callable[..., subprocess.CompletedProcess[str]]
Shell = Callable[..., str]
Peer = Callable[[str], Path]
NAME = "2026-05-03T10.11.12.123Z"


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def commit(shell: Shell, folder: Path, message: str, day: int, author: str = "Ada") -> str:
    shell(folder, "git", "add", "-A")
    when = f"2026-05-{day:02}T10:00:00+00:00"
    made = {"GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when, "GIT_AUTHOR_NAME": author}
    shell(folder, "git", "commit", "-q", "--allow-empty", "-m", message, **made)
    return shell(folder, "git", "rev-parse", "HEAD").strip()


def tracked(project: Path, name: str, content: bytes | dict[str, bytes], kind: str = dvc.MD5) -> str:
    """What `dvc add` leaves behind, made by hand: the pointer, and the contents in the cache."""
    cache = project / ".dvc" / "cache"

    def keep(data: bytes) -> str:
        value = hashlib.md5(data.replace(b"\r\n", b"\n") if kind == dvc.OLD else data).hexdigest()
        write(cache / dvc.object_place(value, kind), data)
        return value

    if isinstance(content, bytes):
        out = Out(path=Path(name).name, value=keep(content), hash=kind, size=len(content))
    else:
        listing = dvc.write_listing(Member(path=path, value=keep(data)) for path, data in content.items())
        out = Out(path=Path(name).name, value=dvc.folder_value(listing), hash=kind, nfiles=len(content))
        write(cache / dvc.object_place(out.value, kind), listing)
    write(project / f"{name}.dvc", dvc.write_pointer([out]))
    return out.value


@pytest.fixture
def dvc_project(tmp_path: Path, shell: Shell) -> Path:
    """A file that was tracked by DVC 2 and then by DVC 3, a folder that changed on a branch, and another file."""
    project = tmp_path / "old"
    write(project / ".gitignore", "/.dvc/cache\n")
    write(project / ".dvc" / "config", "[core]\n    remote = store\n['remote \"store\"']\n    url = ../../store\n")
    shell(project, "git", "init", "-q", "-b", "main")
    tracked(project, "data/raw.csv", b"a\r\n1\r\n", dvc.OLD)
    commit(shell, project, "first data", 1)
    tracked(project, "data/raw.csv", b"a\r\n2\r\n")
    tracked(project, "images", {"x.png": b"x", "deep/y.png": b"y"})
    commit(shell, project, "more data\n\nand pictures", 2, "Grace")
    write(project / "README", "no data")
    commit(shell, project, "words only", 3)
    shell(project, "git", "checkout", "-q", "-b", "side", "HEAD~1")
    tracked(project, "images", {"x.png": b"x", "deep/y.png": b"z"})
    commit(shell, project, "one picture", 4, "Grace")
    shell(project, "git", "checkout", "-q", "main")
    when = {"GIT_COMMITTER_DATE": "2026-05-05T10:00:00+00:00"}
    shell(project, "git", "merge", "-q", "--no-ff", "-m", "merged", "side", **when)
    return project


def log(bis: Bis, name: str) -> list[dict[str, Any]]:
    """The versions of a data set, oldest first."""
    told = bis("data", "log", name, "--json")
    assert told.returncode == 0, told.stderr
    versions: list[dict[str, Any]] = json.loads(told.stdout)["versions"]
    return versions[::-1]


def test_each_commit_that_changed_an_output_becomes_a_version(dvc_project: Path, project: Path, bis: Bis) -> None:
    done = bis("import", "dvc", str(dvc_project))
    assert done.returncode == 0, done.stderr
    told = [(one["made"][:10], one["user"], one["message"]) for one in log(bis, "raw")]
    assert told == [("2026-05-01", "Ada", "first data"), ("2026-05-02", "Grace", "more data\n\nand pictures")]
    # A merge that only takes over what a branch has is no version of its own.
    told = [(one["made"][:10], one["user"], one["message"]) for one in log(bis, "images")]
    assert told == [("2026-05-02", "Grace", "more data\n\nand pictures"), ("2026-05-04", "Grace", "one picture")]
    for reference, content in (("raw@v1", b"a\r\n1\r\n"), ("raw@2026-05-03", b"a\r\n2\r\n")):
        assert bis("data", "get", reference, str(project / reference)).returncode == 0
        assert (project / reference / "raw.csv").read_bytes() == content
    assert bis("data", "get", "images@v2", "back").returncode == 0
    assert files_of(project / "back") == {"x.png": b"x", "deep/y.png": b"z"}


def test_a_version_that_dvc_named_is_found_by_its_md5(dvc_project: Path, bis: Bis) -> None:
    bis("import", "dvc", str(dvc_project))
    value = hashlib.md5(b"a\r\n2\r\n").hexdigest()
    assert bis("data", "cat", f"raw@md5:{value[:8]}").stdout == "a\n2\n"


def test_to_import_again_adds_only_what_is_new(dvc_project: Path, bis: Bis, shell: Shell) -> None:
    bis("import", "dvc", str(dvc_project))
    tracked(dvc_project, "data/raw.csv", b"a\r\n1\r\n")
    commit(shell, dvc_project, "back again", 6)
    told = json.loads(bis("import", "dvc", str(dvc_project), "--json").stdout)
    assert [one["message"] for one in told["versions"]] == ["back again"]
    assert told["known"] == 4
    assert [one["number"] for one in log(bis, "raw")] == [1, 2, 3]


def test_two_imports_at_once_make_each_version_once(dvc_project: Path, bis: Bis) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: bis("import", "dvc", str(dvc_project)), range(2)))
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert [one["number"] for name in ("raw", "images") for one in log(bis, name)] == [1, 2, 1, 2]


def test_what_is_not_committed_yet_is_the_newest_version(dvc_project: Path, bis: Bis) -> None:
    tracked(dvc_project, "data/raw.csv", b"new")
    bis("import", "dvc", str(dvc_project))
    assert bis("data", "cat", "raw").stdout == "new"
    assert "git.commit" not in log(bis, "raw")[-1]["metadata"]


def test_missing_content_is_named_and_the_rest_is_imported(dvc_project: Path, bis: Bis) -> None:
    (dvc_project / ".dvc/cache" / dvc.object_place(hashlib.md5(b"z").hexdigest())).unlink()
    done = bis("import", "dvc", str(dvc_project))
    assert done.returncode == 4
    assert "deep/y.png" in done.stdout
    assert "neither in the cache nor in a remote" in done.stdout
    assert (len(log(bis, "images")), len(log(bis, "raw"))) == (1, 2)


def test_content_comes_from_a_remote_that_is_a_folder(dvc_project: Path, bis: Bis) -> None:
    (dvc_project / ".dvc/cache").rename(dvc_project.parent / "store")
    assert bis("import", "dvc", str(dvc_project)).returncode == 0
    assert len(log(bis, "images")) == 2


def test_content_that_only_the_working_copy_has_is_taken_from_there(dvc_project: Path, bis: Bis) -> None:
    shutil.rmtree(dvc_project / ".dvc/cache")
    write(dvc_project / "data/raw.csv", "a\r\n2\r\n")
    done = bis("import", "dvc", str(dvc_project))
    assert done.returncode == 4
    assert [one["message"] for one in log(bis, "raw")] == ["more data\n\nand pictures"]


def test_damaged_content_is_not_taken_for_what_it_was(dvc_project: Path, bis: Bis) -> None:
    place = dvc_project / ".dvc/cache" / dvc.object_place(hashlib.md5(b"a\r\n2\r\n").hexdigest())
    place.chmod(0o644)
    place.write_bytes(b"a\r\n3\r\n")
    place.chmod(dvc.MODE)
    done = bis("import", "dvc", str(dvc_project))
    assert done.returncode == 4
    assert "damaged" in done.stdout
    shutil.copytree(dvc_project / ".dvc/cache", dvc_project.parent / "store")
    whole = dvc_project.parent / "store" / dvc.object_place(hashlib.md5(b"a\r\n2\r\n").hexdigest())
    whole.chmod(0o644)
    whole.write_bytes(b"a\r\n2\r\n")
    assert bis("import", "dvc", str(dvc_project)).returncode == 0
    assert bis("data", "cat", "raw").stdout == "a\n2\n"


def test_outputs_that_would_be_called_alike_keep_their_folders(tmp_path: Path, bis: Bis) -> None:
    (tmp_path / "p" / ".dvc").mkdir(parents=True)
    tracked(tmp_path / "p", "train/data.csv", b"1")
    tracked(tmp_path / "p", "test/data.csv", b"2")
    assert bis("import", "dvc", str(tmp_path / "p"), "--prefix", "old").returncode == 0
    assert bis("data", "cat", "old/train/data").stdout == "1"
    assert bis("data", "cat", "old/test/data").stdout == "2"


def test_a_data_set_of_another_source_is_not_continued(dvc_project: Path, project: Path, bis: Bis) -> None:
    write(project / "raw.csv", "mine")
    bis("data", "add", "raw.csv")
    done = bis("import", "dvc", str(dvc_project))
    assert done.returncode == 2
    assert "--prefix" in done.stderr
    assert len(log(bis, "raw")) == 1


def test_what_is_no_such_project_is_told(project: Path, bis: Bis) -> None:
    for system in ("dvc", "quilt", "kedro", "lfs", "annex", "croissant"):
        done = bis("import", system, str(project))
        assert done.returncode == 3, (system, done.stdout, done.stderr)


def test_pointers_of_git_lfs_are_imported_with_their_content(
    tmp_path: Path, project: Path, bis: Bis, shell: Shell
) -> None:
    repository = tmp_path / "r"
    write(repository / "data" / "README", "words")
    shell(repository, "git", "init", "-q")
    commit(shell, repository, "no pointer yet", 1)
    for day, content in ((2, b"one"), (3, b"two")):
        write(tmp_path / "content", content)
        pointer = lfs.point_at(tmp_path / "content")
        write(repository / ".git/lfs/objects" / lfs.object_place(pointer.oid), content)
        write(repository / "data" / "big.bin", lfs.write_pointer(pointer))
        commit(shell, repository, f"day {day}", day)
    assert bis("import", "lfs", str(repository / "data")).returncode == 0
    assert [one["message"] for one in log(bis, "data")] == ["day 2", "day 3"]
    bis("data", "get", "data@v1", "back")
    assert files_of(project / "back") == {"README": b"words", "big.bin": b"one"}
    write(repository / ".git/lfs/objects" / lfs.object_place(pointer.oid), b"TWO")
    done = bis("import", "lfs", str(repository / "data" / "big.bin"))
    assert done.returncode == 4
    assert "git lfs fsck" in done.stdout
    assert [one["message"] for one in log(bis, "big")] == ["day 2"]


def test_links_of_git_annex_are_imported_with_their_content(
    tmp_path: Path, project: Path, bis: Bis, shell: Shell
) -> None:
    repository = tmp_path / "r"
    write(tmp_path / "x.csv", "1\n")
    key = annex.make_key(tmp_path / "x.csv")
    place = f".git/annex/objects/{annex.object_places(key)[0]}"
    repository.mkdir()
    shell(repository, "git", "init", "-q")
    write(repository / place, "1\n")
    (repository / "locked.csv").symlink_to(place)
    write(repository / "unlocked.csv", annex.write_pointer(key))
    commit(shell, repository, "data", 1)
    assert bis("import", "annex", str(repository), "--prefix", "lab").returncode == 0
    bis("data", "get", "lab/r", "back")
    assert files_of(project / "back") == {"locked.csv": b"1\n", "unlocked.csv": b"1\n"}


def test_versions_of_kedro_keep_their_time_and_go_back_to_their_place(tmp_path: Path, bis: Bis, project: Path) -> None:
    for version, content in ((NAME, "1"), ("2026-06-01T00.00.00.000Z", "2")):
        write(tmp_path / "k" / kedro.version_place("data/cars.csv", version), content)
    write(tmp_path / "k/conf/base/catalog.yml", kedro.write_entry("cars", "data/cars.csv"))
    assert bis("import", "kedro", str(tmp_path / "k")).returncode == 0
    assert bis("data", "cat", f"cars@{NAME}").stdout == "1"
    assert bis("export", "kedro", "cars@v1", "out").returncode == 0
    assert files_of(project / "out") == {f"cars.csv/{NAME}/cars.csv": b"1"}


def test_a_croissant_description_comes_back(tmp_path: Path, project: Path, bis: Bis) -> None:
    write(project / "cars" / "a.csv", "1")
    write(project / "cars" / "deep" / "b c.csv", "2")
    bis("data", "add", "cars", "-m", "all cars")
    assert bis("export", "croissant", "cars", "out").returncode == 0
    assert bis("import", "croissant", "out", "--name", "again").returncode == 0
    assert bis("data", "get", "again", "back").returncode == 0
    assert files_of(project / "back") == files_of(project / "cars")
    write(project / "out/data/a.csv", "x")
    done = bis("import", "croissant", "out", "--name", "third")
    assert done.returncode == 4
    assert "another sha256" in done.stdout


def test_a_quilt_package_goes_out_and_comes_back_with_its_top_hash(project: Path, bis: Bis) -> None:
    write(project / "cars" / "a.csv", "1")
    write(project / "cars" / "deep" / "b.csv", "2")
    bis("data", "add", "cars", "-m", "all cars", "--meta", "by=Ada")
    told = json.loads(bis("export", "quilt", "cars", "registry", "--package", "ada/cars", "--json").stdout)
    (version,) = quilt.versions(project / "registry", "ada/cars")
    assert told["exported"]["name"] == f"ada/cars@{version.top}"
    assert bis("import", "quilt", "registry").returncode == 0
    (one,) = log(bis, "ada/cars")
    assert (one["message"], one["metadata"]["by"], one["metadata"]["quilt.top"]) == ("all cars", "Ada", version.top)
    bis("data", "get", "ada/cars", "back")
    assert files_of(project / "back") == files_of(project / "cars")


def test_what_no_other_system_keeps_is_not_exported_as_if_it_were(project: Path, bis: Bis) -> None:
    write(project / "d" / "a", "1")
    (project / "d" / "b").symlink_to("a")
    bis("data", "add", "d")
    for system in ("dvc", "quilt", "kedro", "croissant"):
        done = bis("export", system, "d", "out")
        assert done.returncode == 2
        assert "symbolic links" in done.stderr
    assert not (project / "out").exists()


def test_an_export_writes_over_nothing(project: Path, bis: Bis) -> None:
    write(project / "a.csv", "1")
    bis("data", "add", "a.csv")
    write(project / "out" / "a.csv.dvc", "outs: []\n")
    done = bis("export", "dvc", "a", "out")
    assert done.returncode == 2
    assert files_of(project / "out") == {"a.csv.dvc": b"outs: []\n"}


# Slow: the other programs --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("with_git", [True, False])
def test_dvc_takes_what_is_exported_and_brings_the_bytes(
    tmp_path: Path, project: Path, bis: Bis, shell: Shell, peer: Peer, with_git: bool
) -> None:
    write(project / "cars" / "a.csv", "1\r\n")
    write(project / "cars" / "deep" / "ü b.csv", "2")
    write(project / "one.csv", "3")
    bis("data", "add", "cars", "-m", "all: 'cars'")
    bis("data", "add", "one.csv")
    into = tmp_path / "out"
    into.mkdir()
    if with_git:
        shell(into, "git", "init", "-q")
    for name in ("cars", "one"):
        done = bis("export", "dvc", name, str(into))
        assert done.returncode == 0, done.stderr
    shell(into, peer("dvc"), "checkout")
    assert files_of(into / "cars") == files_of(project / "cars")
    assert (into / "one.csv").read_text() == "3"
    assert "up to date" in shell(into, peer("dvc"), "status")
    if with_git:
        shell(into, "git", "add", "-A")
        assert "cars.dvc" in shell(into, "git", "ls-files")
        assert "cars/a.csv" not in shell(into, "git", "ls-files")
    shell(into, peer("dvc"), "remote", "add", "-d", "store", str(tmp_path / "store"))
    shell(into, peer("dvc"), "push", "-q")
    shutil.rmtree(into / ".dvc" / "cache")
    assert bis("import", "dvc", str(into), "--prefix", "again").returncode == 0
    assert bis("data", "cat", "again/one").stdout == "3"


@pytest.mark.slow
def test_a_project_that_dvc_made_is_imported_with_its_pipeline(
    tmp_path: Path, project: Path, bis: Bis, shell: Shell, peer: Peer
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    shell(old, "git", "init", "-q")
    shell(old, peer("dvc"), "init", "-q")
    for day, text in ((1, "a\n1\n"), (2, "a\n2\n")):
        write(old / "raw.csv", text)
        shell(old, peer("dvc"), "add", "-q", "raw.csv")
        command = "python3 -c \"import os; os.makedirs('out'); open('out/m', 'w').write(open('raw.csv').read()[2:])\""
        if day == 1:
            shell(old, peer("dvc"), "stage", "add", "-q", "-n", "fit", "-d", "raw.csv", "-o", "out", command)
        shell(old, peer("dvc"), "repro", "-q")
        commit(shell, old, f"day {day}", day)
    assert bis("import", "dvc", str(old)).returncode == 0
    assert [one["message"] for one in log(bis, "out")] == ["day 1", "day 2"]
    assert log(bis, "out")[0]["metadata"]["dvc.stage"] == "fit"
    assert [bis("data", "cat", f"out@v{number}/m").stdout for number in (1, 2)] == ["1\n", "2\n"]


@pytest.mark.slow
def test_quilt_verifies_what_is_exported_and_what_it_builds_is_imported(
    tmp_path: Path, project: Path, bis: Bis, shell: Shell, peer: Peer
) -> None:
    write(project / "cars" / "a.csv", "1")
    write(project / "cars" / "deep" / "ü b.csv", "2")
    bis("data", "add", "cars", "-m", "all cars", "--meta", "by=Ada")
    told = json.loads(bis("export", "quilt", "cars", "registry", "--package", "ada/cars", "--json").stdout)
    top = told["exported"]["name"].partition("@")[2]
    asked = f"""
import quilt3
package = quilt3.Package.browse("ada/cars", registry="registry")
assert package.top_hash == {top!r}, package.top_hash
assert package.meta["by"] == "Ada"
assert package.verify("cars") is True
quilt3.Package().set_dir("/", "cars").build("ada/own", registry="registry", message="own")
"""
    shell(project, peer("python"), "-c", asked)
    assert bis("import", "quilt", "registry", "--package", "ada/own", "--prefix", "q").returncode == 0
    bis("data", "get", "q/ada/own", "back")
    assert files_of(project / "back") == files_of(project / "cars")


@pytest.mark.slow
def test_repositories_of_git_lfs_and_git_annex_are_imported(
    tmp_path: Path, project: Path, bis: Bis, shell: Shell, tool: Callable[[str], Path]
) -> None:
    tool("git-lfs")
    tool("git-annex")
    large, lab = tmp_path / "large", tmp_path / "lab"
    for folder in (large, lab):
        folder.mkdir()
        shell(folder, "git", "init", "-q")
    shell(large, "git", "lfs", "install", "--local")
    shell(large, "git", "lfs", "track", "*.bin")
    shell(lab, "git", "annex", "init", "-q")
    for number in (1, 2):
        write(large / "data" / "a.bin", b"\0" * number)
        commit(shell, large, f"l{number}", number)
        (lab / "b.csv").unlink(missing_ok=True)
        write(lab / "b.csv", str(number))
        shell(lab, "git", "annex", "add", "-q", ".")
        commit(shell, lab, f"a{number}", number)
    assert bis("import", "lfs", str(large / "data")).returncode == 0
    assert bis("import", "annex", str(lab)).returncode == 0
    assert [one["message"] for one in log(bis, "data")] == ["l1", "l2"]
    assert bis("data", "cat", "data@v2/a.bin").stdout == "\0\0"
    assert [bis("data", "cat", f"lab@v{number}/b.csv").stdout for number in (1, 2)] == ["1", "2"]
