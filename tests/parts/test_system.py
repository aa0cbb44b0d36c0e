"""The packages of the operating system, from databases as their managers write them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bis.parts import system

STATUS = """Package: libc6
Status: install ok installed
Multi-Arch: same
Architecture: amd64
Version: 2.36-9+deb12u10
Description: C library
 Package: no
 Version: no

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36-9+deb12u10

Package: tzdata
Status: hold ok installed
Architecture: all
Version: 2025b-0+deb12u1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    folder = tmp_path / "debian" / "var/lib/dpkg"
    (folder / "info").mkdir(parents=True)
    (folder / "status").write_text(STATUS)
    (folder / "info" / "libc6:amd64.list").write_text("/.\n/lib/x86_64-linux-gnu/libc.so.6\n/usr/share/doc/libc6\n")
    (folder / "info" / "tzdata.list").write_text("/usr/share/zoneinfo/UTC\n/usr/sbin/tzconfig\n")
    return tmp_path / "debian"


def test_dpkg(debian: Path, tmp_path: Path) -> None:
    found = system.observe(tmp_path / "cache", debian)
    assert found is not None
    assert found.manager == "dpkg"
    assert found.versions == {
        "libc6:amd64": "2.36-9+deb12u10",
        "libc6:i386": "2.36-9+deb12u10",
        "tzdata": "2025b-0+deb12u1",
    }
    assert found.owners == {"/lib/x86_64-linux-gnu/libc.so.6": "libc6:amd64", "/usr/sbin/tzconfig": "tzdata"}


def test_a_file_is_owned_wherever_lib_lies(debian: Path, tmp_path: Path) -> None:
    found = system.observe(tmp_path / "cache", debian)
    assert found is not None
    assert found.owner("/usr/lib/x86_64-linux-gnu/libc.so.6") == "libc6:amd64"
    assert found.owner("/sbin/tzconfig") == "tzdata"
    assert found.owner("/opt/x.so") is None


def test_what_is_kept_reads_back(debian: Path, tmp_path: Path) -> None:
    found = system.observe(tmp_path / "cache", debian)
    assert found is not None
    assert system.parsed(found.text) == found.versions
    assert found.text.splitlines() == sorted(found.text.splitlines())


def test_an_unchanged_database_is_not_read_again(debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = system.observe(tmp_path / "cache", debian)
    monkeypatch.setattr(system, "_paragraphs", lambda _: pytest.fail("it was read"))
    assert system.observe(tmp_path / "cache", debian) == first


def test_a_changed_database_is_read_again(debian: Path, tmp_path: Path) -> None:
    system.observe(tmp_path / "cache", debian)
    (debian / "var/lib/dpkg/status").write_text(STATUS.replace("2025b", "2026a"))
    found = system.observe(tmp_path / "cache", debian)
    assert found is not None
    assert found.versions["tzdata"] == "2026a-0+deb12u1"


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 0}', b"\xff\xff"])
def test_a_broken_cache_costs_time_only(content: bytes, debian: Path, tmp_path: Path) -> None:
    first = system.observe(tmp_path / "cache", debian)
    (tmp_path / "cache" / "system-packages.json").write_bytes(content)
    assert system.observe(tmp_path / "cache", debian) == first


def test_a_cache_that_cannot_be_written_costs_time_only(debian: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert system.observe(tmp_path / "cache", debian) is not None


def test_apk(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "lib/apk/db"
    folder.mkdir(parents=True)
    text = "C:Q1\nP:musl\nV:1.2.5-r0\nF:lib\nR:ld-musl-x86_64.so.1\nR:x\n\nP:busybox\nV:1.36\nF:bin\nR:busybox\n"
    (folder / "installed").write_text(text)
    found = system.observe(tmp_path / "cache", tmp_path / "root")
    assert found is not None
    assert (found.manager, found.versions) == ("apk", {"musl": "1.2.5-r0", "busybox": "1.36"})
    assert found.owners == {"/lib/ld-musl-x86_64.so.1": "musl", "/bin/busybox": "busybox"}


def test_pacman(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "var/lib/pacman/local" / "gcc-libs-14.2.1-1"
    folder.mkdir(parents=True)
    (folder / "files").write_text("%FILES%\nusr/\nusr/lib/libgomp.so.1\n")
    (folder.parent / "ALPM_DB_VERSION").write_text("9\n")
    found = system.observe(tmp_path / "cache", tmp_path / "root")
    assert found is not None
    assert found.versions == {"gcc-libs": "14.2.1-1"}
    assert found.owner("/usr/lib/libgomp.so.1") == "gcc-libs"


RPM = r"""#!/bin/sh
case "$*" in
  *FILENAMES*)
    printf 'glibc.x86_64\t/usr/lib64/libc.so.6\nglibc.x86_64\t/usr/share/doc/x\n'
    printf 'bash.x86_64\t/usr/bin/bash\n';;
  *) printf 'glibc.x86_64=2.34-100.el9\nbash.x86_64=5.1.8-9.el9\n';;
esac
"""


def test_rpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "root" / "usr/lib/sysimage/rpm"
    folder.mkdir(parents=True)
    (folder / "rpmdb.sqlite").write_bytes(b"SQLite format 3\0")
    (tmp_path / "rpm").write_text(RPM)
    (tmp_path / "rpm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = system.observe(tmp_path / "cache", tmp_path / "root")
    assert found is not None
    assert found.versions == {"glibc.x86_64": "2.34-100.el9", "bash.x86_64": "5.1.8-9.el9"}
    assert found.owners == {"/usr/lib64/libc.so.6": "glibc.x86_64", "/usr/bin/bash": "bash.x86_64"}


def test_a_database_without_its_program_is_an_error_not_an_empty_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "root" / "var/lib/rpm"
    folder.mkdir(parents=True)
    (folder / "Packages").write_bytes(b"")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="the program rpm"):
        system.observe(tmp_path / "cache", tmp_path / "root")


def test_a_program_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "root" / "var/lib/rpm"
    folder.mkdir(parents=True)
    (folder / "Packages").write_bytes(b"")
    (tmp_path / "rpm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "rpm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(OSError, match="did not tell"):
        system.observe(tmp_path / "cache", tmp_path / "root")


def test_no_package_manager_is_none(tmp_path: Path) -> None:
    assert system.observe(tmp_path / "cache", tmp_path) is None


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this system has no dpkg")
def test_dpkg_itself_says_the_same(tmp_path: Path) -> None:
    ask = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]
    said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in said.splitlines()]
    found = system.observe(tmp_path / "cache")
    assert found is not None
    plain = {(name.partition(":")[0], version) for name, version in found.versions.items()}
    assert plain == {(row[1], row[2]) for row in rows if row[0] == "installed"}
