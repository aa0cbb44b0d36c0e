"""Which file systems are of the network."""

import os
from pathlib import Path

import pytest

from bis.store.volume import cache_folder, network_file_system


def mounts(folder: Path, kind: str, tmp_path: Path) -> Path:
    device = folder.stat().st_dev
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 27 0:99 / /proc rw - proc proc rw\n"
        f"30 1 {os.major(device)}:{os.minor(device)} / / rw,relatime shared:1 master:2 - {kind} server:/export rw\n"
    )
    return table


@pytest.mark.parametrize(
    ("kind", "found"), [("nfs4", "nfs4"), ("cifs", "cifs"), ("fuse.sshfs", "fuse.sshfs"), ("ext4", "")]
)
def test_a_network_file_system_is_told_by_its_mount(tmp_path: Path, kind: str, found: str) -> None:
    assert network_file_system(tmp_path, mounts(tmp_path, kind, tmp_path)) == found
    assert network_file_system(tmp_path / "not" / "yet", mounts(tmp_path, kind, tmp_path)) == found


def test_a_system_that_does_not_tell_counts_as_local(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "absent") == ""


def test_the_cache_folder_follows_the_users_choice() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/bis")
    assert cache_folder({"HOME": "/h"}) == Path("/h/.cache/bis")
