"""Typing `bis remote`, `push`, `pull`, `fetch`, `clone` and `verify --repair`: what they say, and their statuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.digest import short
from bis.store.local import open_store

Type = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, bis: Type) -> Path:
    """A project with a version of data, and a remote that holds nothing yet."""
    folder = tmp_path / "ana"
    folder.mkdir()
    (folder / "bis.toml").touch()
    (folder / "rows.csv").write_text("id\n1\n2\n")
    assert bis("data", "add", "rows.csv", folder=folder).status == 0
    assert bis("remote", "add", "origin", "../shared", folder=folder).out == f"origin  {tmp_path}/shared\n"
    return folder


def test_what_one_pushes_another_clones_and_pulls(project: Path, bis: Type, tmp_path: Path) -> None:
    where = f"origin ({tmp_path}/shared)"
    pushed = bis("push", folder=project)
    assert pushed.status == 0
    assert pushed.out.startswith(f"sent to {where}: 3 objects, ")
    assert pushed.out.endswith(", 1 record\n")
    assert bis("push", folder=project).out == f"nothing to send to {where}\n"
    cloned = bis("clone", "shared", "bea", folder=tmp_path)
    assert cloned.status == 0
    assert cloned.out.startswith(f"pulled from {where}: 3 objects")
    assert "cloned into" in cloned.err
    assert bis("data", "cat", "rows", folder=tmp_path / "bea").out == "id\n1\n2\n"
    (project / "rows.csv").write_text("id\n1\n2\n3\n")
    assert bis("data", "add", "rows.csv", folder=project).status == 0
    assert bis("push", folder=project).status == 0
    assert bis("fetch", folder=tmp_path / "bea").out.startswith(f"fetched from {where}: 3 objects")
    assert "rows@v2" not in bis("data", "log", folder=tmp_path / "bea").out
    assert bis("pull", folder=tmp_path / "bea").out == f"nothing new in {where}\n"
    assert bis("data", "cat", "rows@v2", folder=tmp_path / "bea").out == "id\n1\n2\n3\n"


def test_a_run_is_pushed_by_its_reference_with_what_was_said_of_it(project: Path, bis: Type, tmp_path: Path) -> None:
    (project / "train.py").write_text("open('model', 'w').write('weights')")
    for _ in range(2):
        assert bis("run", "--", "python3", "train.py", folder=project).status == 0
    assert bis("tag", "train-1", "good=yes", folder=project).status == 0
    assert bis("push", "train-1", folder=project).status == 0
    assert bis("clone", "shared", "bea", folder=tmp_path).status == 0
    assert "train-1" in bis("log", folder=tmp_path / "bea").out
    assert "good" in bis("show", "train-1", folder=tmp_path / "bea").out
    assert "train-2" not in bis("log", folder=tmp_path / "bea").out


def test_a_damaged_store_names_the_command_that_repairs_it(project: Path, bis: Type) -> None:
    assert bis("push", folder=project).status == 0
    pack = max((project / ".bis/store/packs").glob("*.pack"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[80] ^= 1
    pack.unlink()
    pack.write_bytes(data)
    found = bis("verify", folder=project)
    assert found.status == 5
    assert "bis verify --repair origin" in found.err
    mended = bis("verify", "--repair", "origin", folder=project)
    assert (mended.status, mended.out[:5]) == (0, "sound")
    assert "repaired" in mended.err
    assert bis("verify", folder=project).status == 0


def test_a_run_is_not_changed_by_who_pushes_a_second_record_of_it(project: Path, bis: Type, tmp_path: Path) -> None:
    (project / "train.py").write_text("open('metrics.json', 'w').write('{\"loss\": 0.5}')")
    assert bis("run", "--", "python3", "train.py", folder=project).status == 0
    assert bis("push", folder=project).status == 0
    assert bis("clone", "shared", "bea", folder=tmp_path).status == 0
    store = open_store(tmp_path / "bea/.bis/store")
    (record,) = [digest for digest in store.list("record") if b'"bis.run/1"' in store.get_bytes(digest)]
    better = store.put_bytes(store.get_bytes(record).replace(b'"loss":0.5', b'"loss":0.1'), "record")
    store.flush()
    assert bis("push", folder=tmp_path / "bea").status == 0
    pulled = bis("pull", folder=project)
    assert pulled.status == 0
    (row,) = bis("log", "--json", folder=project).json["runs"]
    assert (row["metrics"], row["record"]) == ({"loss": 0.5}, record)
    checked = bis("verify", folder=project)
    assert checked.status == 0
    for said in (checked, pulled):
        assert f"run {row['id'][:8]} (train-1) has a second record, {short(better)}, which was passed over" in said.out
        assert "ask whoever pushed the second record of it" in said.err
    again = bis("pull", folder=project)
    assert (again.status, "second record" in again.out) == (0, False)


def test_a_damaged_remote_is_told_with_status_5_and_what_to_type(project: Path, bis: Type, tmp_path: Path) -> None:
    assert bis("push", folder=project).status == 0
    (pack,) = (tmp_path / "shared" / "packs").glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[80] ^= 1
    pack.unlink()
    pack.write_bytes(data)
    cloned = bis("clone", "shared", "bea", folder=tmp_path)
    assert cloned.status == 5
    assert f"pack {pack.name[:12]} of {tmp_path}/shared is damaged" in cloned.out
    assert f"remove packs/{pack.name} there" in cloned.err
    pack.unlink()
    assert bis("push", folder=project).status == 0
    assert bis("pull", folder=tmp_path / "bea").status == 0
    assert bis("verify", folder=tmp_path / "bea").status == 0


def test_remotes_are_listed_shown_and_forgotten(project: Path, bis: Type, tmp_path: Path) -> None:
    assert bis("remote", "list", folder=project).out == f"name\turl\norigin\t{tmp_path}/shared\n"
    assert bis("remote", "show", folder=project).status == 3, "nothing lies there yet"
    assert bis("push", "--json", folder=project).json["objects"] == 3
    shown = bis("remote", "show", "--json", folder=project).json["remote"]
    assert (shown["packs"], shown["to_push"], shown["to_pull"]) == (1, 0, 0)
    assert bis("remote", "remove", "origin", folder=project).status == 0
    gone = bis("push", folder=project)
    assert gone.status == 3
    assert "help: bis remote add origin URL" in gone.err
    assert (tmp_path / "shared" / "format").exists()


def test_what_is_neither_a_remote_nor_a_reference_is_named(project: Path, bis: Type) -> None:
    done = bis("push", "orign", folder=project)
    assert done.status == 3
    assert "A remote of that name is not known" in done.err
    secret = bis("remote", "add", "lab", "s3://key:secret@bucket/x", folder=project)
    assert secret.status == 2
    assert "secret" not in secret.err


def test_a_new_project_can_pull_from_a_remote_that_was_added(project: Path, bis: Type, tmp_path: Path) -> None:
    assert bis("push", folder=project).status == 0
    (tmp_path / "bea").mkdir()
    (tmp_path / "bea" / "bis.toml").write_text('[remotes]\norigin = "../shared"\n')
    assert bis("pull", folder=tmp_path / "bea").status == 0
    assert bis("data", "cat", "rows", folder=tmp_path / "bea").out == "id\n1\n2\n"
