"""git-annex: keys, links, pointer files and places as git-annex 10.20230126 has them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bis.foreign import annex
from bis.foreign.annex import Key

VALUE = "622cb3371c1a08096eaac564fb59acccda1fcdbe13a9dd10b486e6463c8c2525"
KEY = f"SHA256E-s6--{VALUE}.txt"
TARGET = f"../.git/annex/objects/vK/KG/{KEY}/{KEY}"


def test_a_key_is_read_and_written() -> None:
    key = annex.read_key(KEY)
    assert key == Key(backend="SHA256E", size=6, name=f"{VALUE}.txt")
    assert (str(key), key.hash) == (KEY, ("sha256", VALUE))


@pytest.mark.parametrize("text", ["WORM-s3-m1287765018--a-b--c.txt", "MD5-s0--d41d8cd98f00b204e9800998ecf8427e"])
def test_further_fields_stay(text: str) -> None:
    assert str(annex.read_key(text)) == text


@pytest.mark.parametrize("text", ["", "SHA256E", "notes.txt", "SHA256E-s6-abc", f"{KEY}\n", "sha256-s1--a"])
def test_what_is_no_key_is_none(text: str) -> None:
    assert annex.read_key(text) is None


def test_a_key_that_does_not_say_what_the_content_is_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    for text in ("WORM-s3-m1--a", "URL-s3--http&c%%x%a", "BLAKE2B256-s3--aa"):
        key = annex.read_key(text)
        assert key is not None
        assert annex.is_content(tmp_path / "a", key) is None
    assert annex.is_content(tmp_path / "a", Key(backend="WORM", size=4, name="a")) is False


def test_links_and_pointer_files_name_their_key(tmp_path: Path) -> None:
    key = annex.read_key(KEY)
    assert key is not None
    assert annex.key_of_link(TARGET) == key
    assert annex.key_of_link("../data/objects/x") is None
    assert annex.write_pointer(key) == f"/annex/objects/{KEY}\n".encode()
    (tmp_path / "link").symlink_to(TARGET)
    (tmp_path / "pointer").write_bytes(annex.write_pointer(key))
    (tmp_path / "content").write_bytes(b"see /annex/objects/ for more\n")
    found = [annex.key_of_file(tmp_path / name) for name in ("link", "pointer", "content", "none")]
    assert found == [key, key, None, None]


def test_letters_that_no_file_name_has_are_escaped() -> None:
    key = annex.key_of_link(".git/annex/objects/qv/xf/URL--http&c%%a.b%c&a&s/URL--http&c%%a.b%c&a&s")
    assert key is not None
    assert key.name == "http://a.b/c&%"
    assert annex.key_of_pointer(annex.write_pointer(key)) == key


@pytest.mark.parametrize(
    ("text", "mixed", "lower"),
    [
        ("SHA256E-s4--abc.txt", "ZP/z1", "5e1/d2a"),
        ("SHA256-s0--e3", "0Q/0J", "367/801"),
        ("MD5E-s1--x.csv", "3Q/XQ", "d66/0e3"),
    ],
)
def test_objects_lie_where_git_annex_puts_them(text: str, mixed: str, lower: str) -> None:
    key = annex.read_key(text)
    assert key is not None
    assert annex.object_places(key) == (f"{mixed}/{text}/{text}", f"{lower}/{text}/{text}")


@pytest.mark.slow
def test_keys_of_files_are_those_of_git_annex(
    tmp_path: Path, shell: Callable[..., str], tool: Callable[[str], Path]
) -> None:
    tool("git-annex")
    repository = annexed(tmp_path / "r", shell)
    names = "a.txt b.tar.gz c.verylong .hid d.a.b.c e.x-y f.gz.c+d .x.tar.gz g..txt ü.tär h.1234 i.12345.txt".split()
    for name in names:
        (tmp_path / name).write_text(name)
        assert shell(repository, "git", "annex", "calckey", f"../{name}").strip() == str(
            annex.make_key(tmp_path / name)
        )


@pytest.mark.slow
def test_what_is_put_by_hand_passes_the_check_of_git_annex_and_what_it_added_is_found(
    tmp_path: Path, shell: Callable[..., str], tool: Callable[[str], Path]
) -> None:
    tool("git-annex")
    repository = annexed(tmp_path / "r", shell)
    (tmp_path / "new.csv").write_text("a,b\n1,2\n")
    key = annex.make_key(tmp_path / "new.csv")
    place, _ = annex.object_places(key)
    target = repository / ".git/annex/objects" / place
    target.parent.mkdir(parents=True)
    (tmp_path / "new.csv").rename(target)
    (repository / "new.csv").symlink_to(f".git/annex/objects/{place}")
    (repository / "own.bin").write_bytes(b"\0own")
    shell(repository, "git", "annex", "add", "-q", ".")
    shell(repository, "git", "commit", "-q", "-m", "data")
    shell(repository, "git", "annex", "fsck", "-q")
    own = annex.key_of_file(repository / "own.bin")
    assert own is not None
    found = annex.find_content(own, (repository / ".git/annex/objects",))
    assert found is not None
    assert annex.is_content(found, own) is True
    shell(repository, "git", "annex", "unlock", "-q", "new.csv")
    assert annex.key_of_pointer(shell(repository, "git", "show", ":new.csv").encode()) == key


def annexed(folder: Path, shell: Callable[..., str]) -> Path:
    folder.mkdir()
    shell(folder, "git", "init", "-q")
    shell(folder, "git", "annex", "init", "-q")
    return folder
