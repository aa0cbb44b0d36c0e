"""Kernel, C library, distribution, container: what can be observed of a system, from its files."""

import os
import shutil
from pathlib import Path

import pytest

from bis.parts.surroundings import in_container, surroundings, surroundings_in


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return tmp_path / "system"


def put(system: Path, path: str, content: str = "") -> None:
    (system / path).parent.mkdir(parents=True, exist_ok=True)
    (system / path).write_text(content)


def test_this_system(tmp_path: Path) -> None:
    found = surroundings(tmp_path, {})
    assert found["kernel"] == f"{os.uname().sysname} {os.uname().release}"
    assert found["file systems"]["project"]
    assert set(found) <= {
        *("kernel", "libc", "distribution", "time zones", "host", "container", "limits", "file systems", "modules")
    }


def test_an_empty_system_is_no_trouble(system: Path, tmp_path: Path) -> None:
    found = surroundings(tmp_path, {}, system)
    assert "distribution" not in found
    assert "container" not in found
    assert not in_container(found)


def test_the_c_library_of_an_image_is_told_by_its_file(system: Path, tmp_path: Path) -> None:
    assert surroundings_in(system, "x@sha256:1")["libc"] == ""
    known = surroundings(tmp_path, {})["libc"]
    files = [*Path("/usr/lib").glob("*/libc.so.6"), *Path("/usr/lib64").glob("libc.so.6")]
    if not (known.startswith("glibc") and files):
        pytest.skip("this system has no glibc where distributions put it")
    (system / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    shutil.copy(files[0], system / "usr/lib/x86_64-linux-gnu/libc.so.6")
    assert surroundings_in(system, "x@sha256:1")["libc"] == known


def test_distribution_and_time_zones(system: Path, tmp_path: Path) -> None:
    put(system, "etc/os-release", '# x\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n')
    put(system, "etc/debian_version", "12.11\n")
    put(system, "usr/share/zoneinfo/tzdata.zi", "# version 2025b\n")
    found = surroundings(tmp_path, {}, system)
    assert found["distribution"] == {
        "name": "Debian GNU/Linux 12 (bookworm)",
        "id": "debian",
        "version": "12.11",
    }
    assert found["time zones"] == "2025b"


def test_os_release_in_its_other_place(system: Path, tmp_path: Path) -> None:
    put(system, "usr/lib/os-release", "ID='alpine'\nVERSION_ID=3.20.1\n")
    assert surroundings(tmp_path, {}, system)["distribution"] == {"id": "alpine", "version": "3.20.1"}


def test_one_sign_is_no_proof_of_a_container(system: Path, tmp_path: Path) -> None:
    put(system, ".dockerenv")
    found = surroundings(tmp_path, {}, system)
    assert found["container"]["signs"] == ["/.dockerenv"]
    assert not in_container(found)
    put(system, "proc/self/mountinfo", "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw - proc proc rw\n")
    found = surroundings(tmp_path, {}, system)
    assert found["container"]["signs"] == ["/.dockerenv", "root file system: overlay"]
    assert in_container(found)


def test_pods_tell_themselves(system: Path, tmp_path: Path) -> None:
    put(system, "proc/self/cgroup", "0::/kubepods.slice/pod1/cri-containerd-abc.scope\n")
    found = surroundings(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, system)
    assert found["container"]["signs"] == [
        "control group: containerd",
        "control group: kubepods",
        "variable KUBERNETES_SERVICE_HOST",
    ]


def test_the_image_is_handed_in_or_told_by_podman(system: Path, tmp_path: Path) -> None:
    image = "ghcr.io/team/train@sha256:" + "0" * 64
    assert surroundings(tmp_path, {"BIS_IMAGE": image}, system)["container"] == {"image": image}
    put(system, "run/.containerenv", 'engine="podman-4.3.1"\nimage="docker.io/library/python:3.11"\nimageid="abc"\n')
    found = surroundings(tmp_path, {}, system)["container"]
    assert (found["image"], found["image id"]) == ("docker.io/library/python:3.11", "abc")
    assert surroundings(tmp_path, {"BIS_IMAGE": image}, system)["container"]["image"] == image


def test_file_systems_are_told_by_the_nearest_mount(system: Path, tmp_path: Path) -> None:
    odd = str(tmp_path / "a b").replace(" ", "\\040")
    lines = ["1 0 8:1 / / rw - ext4 /dev/vda rw", f"2 1 0:9 / {odd} rw,shared:1 - nfs4 host:/x rw"]
    put(system, "proc/self/mountinfo", "\n".join(lines) + "\n")
    assert surroundings(tmp_path / "a b" / "c", {}, system)["file systems"] == {
        "project": "nfs4 (network)",
        "/tmp": "ext4",
        "/dev/shm": "ext4",
    }
    assert surroundings(tmp_path / "a bc", {}, system)["file systems"]["project"] == "ext4"


def test_environment_modules(system: Path, tmp_path: Path) -> None:
    found = surroundings(tmp_path, {"LOADEDMODULES": "python/3.11:cuda/12.4"}, system)
    assert found["modules"] == ["cuda/12.4", "python/3.11"]
