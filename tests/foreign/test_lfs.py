"""Git LFS: pointers as git-lfs 3.3.0 writes them, and objects where it looks for them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bis.foreign import lfs
from bis.foreign.lfs import Pointer

OID = "622cb3371c1a08096eaac564fb59acccda1fcdbe13a9dd10b486e6463c8c2525"
TEXT = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 6\n".encode()


def test_a_pointer_is_read_and_written_in_its_one_spelling() -> None:
    pointer = lfs.read_pointer(TEXT)
    assert pointer == Pointer(oid=OID, size=6)
    assert lfs.write_pointer(pointer) == TEXT


def test_lines_of_extensions_are_kept_in_order() -> None:
    text = TEXT.replace(b"oid", b"ext-0-crypt sha256:" + b"a" * 64 + b"\noid")
    pointer = lfs.read_pointer(text)
    assert pointer is not None
    assert pointer.others == (("ext-0-crypt", "sha256:" + "a" * 64),)
    assert lfs.write_pointer(pointer) == text


def test_keys_are_written_in_order_whatever_the_order_they_came_in() -> None:
    pointer = Pointer(oid=OID, size=6, others=(("z", "1"), ("a", "2")))
    keys = [line.split()[0] for line in lfs.write_pointer(pointer).decode().splitlines()]
    assert keys == ["version", "a", "oid", "size", "z"]


def test_a_pointer_of_the_time_before_the_name_is_read() -> None:
    assert lfs.read_pointer(TEXT.replace(b"git-lfs.github.com", b"hawser.github.com")) is not None


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"version\n", TEXT[:-2] + b"-1\n", TEXT.replace(b"sha256", b"md5"), TEXT.replace(b"62", b"../", 1)),
        *(TEXT + b"x" * 1024, b"\xff" + TEXT, TEXT.replace(b"spec/v1", b"spec/v9"), b"a,b\n1,2\n"),
    ],
)
def test_what_is_no_pointer_is_content(data: bytes) -> None:
    assert lfs.read_pointer(data) is None


def test_the_pointer_of_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert lfs.point_at(tmp_path / "a") == lfs.EMPTY
    assert lfs.write_pointer(lfs.EMPTY) == b""


def test_a_content_is_found_by_its_size_and_proved_by_its_bytes(tmp_path: Path) -> None:
    place = tmp_path / lfs.object_place(OID)
    place.parent.mkdir(parents=True)
    pointer = Pointer(oid=OID, size=6)
    assert lfs.find_content(pointer, (tmp_path,)) is None
    place.write_bytes(b"hallo\n")
    assert lfs.find_content(pointer, (tmp_path / "none", tmp_path)) == place
    assert lfs.is_content(place, pointer)
    place.write_bytes(b"hello\n")
    assert not lfs.is_content(place, pointer)
    place.write_bytes(b"hal")
    assert lfs.find_content(pointer, (tmp_path,)) is None


@pytest.mark.slow
def test_pointers_are_those_of_git_lfs_and_its_check_is_clean(
    tmp_path: Path, shell: Callable[..., str], tool: Callable[[str], Path]
) -> None:
    tool("git-lfs")
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, "git", "lfs", "install", "--local")
    shell(tmp_path, "git", "lfs", "track", "*.bin")
    (tmp_path / "a.bin").write_bytes(b"\0" * 5_000_000)
    (tmp_path / "empty.bin").touch()
    shell(tmp_path, "git", "add", ".")
    shell(tmp_path, "git", "commit", "-q", "-m", "data")
    pointer = lfs.point_at(tmp_path / "a.bin")
    assert shell(tmp_path, "git", "show", ":a.bin").encode() == lfs.write_pointer(pointer)
    assert lfs.find_content(pointer, (tmp_path / ".git/lfs/objects",)) is not None
    # What is written by hand, in the place where the content is looked for, passes the check and is checked out.
    (tmp_path / "new").write_bytes(b"new data")
    own = lfs.point_at(tmp_path / "new")
    place = tmp_path / ".git/lfs/objects" / lfs.object_place(own.oid)
    place.parent.mkdir(parents=True)
    (tmp_path / "new").rename(place)
    (tmp_path / "b.bin").write_bytes(lfs.write_pointer(own))
    shell(tmp_path, "git", "add", "b.bin")
    shell(tmp_path, "git", "commit", "-q", "-m", "by hand")
    assert "OK" in shell(tmp_path, "git", "lfs", "fsck")
    shell(tmp_path, "git", "lfs", "checkout", "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == b"new data"
