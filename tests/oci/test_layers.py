"""A layer is the same whoever makes it, when and where."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.oci.layers import Entry, Written, entries_of, pack, write_layer

NAMES = st.text("ab/.é", min_size=1, max_size=6).filter(
    lambda name: all(part not in ("", ".", "..") for part in name.split("/"))
)


def layer(*entries: Entry, moment: int = 0) -> tuple[Written, bytes]:
    out = io.BytesIO()
    return write_layer(entries, out, moment), out.getvalue()


def files_of(content: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content)) as box:
        return {info.name: info for info in box}


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=6), st.randoms())
def test_the_order_in_which_files_come_changes_nothing(files: dict[str, bytes], chance: object) -> None:
    files = {name: data for name, data in files.items() if not any(other.startswith(f"{name}/") for other in files)}
    entries = [Entry(name, data) for name, data in files.items()]
    shuffled = entries.copy()
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert layer(*entries) == layer(*shuffled)


def test_owners_times_modes_and_hard_links_of_this_machine_are_left_behind(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_text("x")
    os.utime(tmp_path / "one" / "sub" / "file", (1, 1))
    (tmp_path / "one" / "sub" / "file").chmod(0o600)
    (tmp_path / "one" / "link").hardlink_to(tmp_path / "one" / "sub" / "file")
    (tmp_path / "two" / "link").write_text("x")
    (tmp_path / "two" / "__pycache__").mkdir()
    (tmp_path / "two" / "__pycache__" / "a.pyc").write_text("x")
    one, two = (layer(*entries_of(tmp_path / name, "opt"), moment=5)[1] for name in ("one", "two"))
    assert one == two
    found = files_of(one)
    assert sorted(found) == ["opt", "opt/link", "opt/sub", "opt/sub/file"]
    assert {(info.uid, info.gid, info.mtime, info.uname) for info in found.values()} == {(0, 0, 5, "")}
    assert all(info.isreg() for name, info in found.items() if name.endswith(("link", "file")))


def test_what_can_be_run_can_be_run_and_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o700)
    (tmp_path / "here").symlink_to("run")
    (tmp_path / "empty").mkdir()
    found = files_of(layer(*entries_of(tmp_path, "/bin"))[1])
    assert found["bin/run"].mode == 0o755
    assert found["bin/here"].linkname == "run"
    assert found["bin/empty"].isdir()


@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", "", "/"])
def test_nothing_lands_outside_of_the_image(name: str) -> None:
    with pytest.raises(ValueError, match="no path inside an image"):
        layer(Entry(name, b""))


def test_names_of_any_bytes_and_length_are_kept(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff" + b"n" * 200)
    (tmp_path / odd).write_text("x")
    first, second = (layer(*entries_of(tmp_path, "a")) for _ in range(2))
    assert first == second
    assert f"a/{odd}" in files_of(first[1])


@given(st.binary(max_size=40), st.integers(0, 2), st.lists(st.integers(1, 70_000), max_size=3))
def test_a_stored_layer_is_gzip_of_blocks_that_any_zlib_would_write(
    some: bytes, blocks: int, lengths: list[int]
) -> None:
    content = some * 3000 * blocks + b"".join(bytes([length % 251]) * length for length in lengths)
    stored, plain = io.BytesIO(), io.BytesIO()
    written = write_layer([Entry("file", content)], stored, 0, "stored")
    assert written.diff_id == write_layer([Entry("file", content)], plain, 0).diff_id
    assert gzip.decompress(stored.getvalue()) == plain.getvalue()
    assert written.descriptor.size == len(stored.getvalue())
    whole, rest = divmod(len(plain.getvalue()), 0xFFFF)
    assert len(stored.getvalue()) == 10 + whole * (5 + 0xFFFF) + 5 + rest + 8, "nothing is compressed"


def test_a_layer_that_is_there_is_packed_as_it_would_have_been_written() -> None:
    plain, packed, stored = io.BytesIO(), io.BytesIO(), io.BytesIO()
    write_layer([Entry("file", b"x" * 100_000)], plain, 0)
    plain.seek(0)
    written = write_layer([Entry("file", b"x" * 100_000)], stored, 0, "stored")
    assert pack(plain, packed, "stored") == written.descriptor
    assert packed.getvalue() == stored.getvalue()
