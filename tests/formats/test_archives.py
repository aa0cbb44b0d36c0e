"""Archives and packed files: member by member."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pytest


def zipped(members: dict[str, bytes], year: int = 1980, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", how) as box:
        for name, content in members.items():
            box.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), content, how)
    return target.getvalue()


def tarred(members: dict[str, bytes], moment: int = 0, mode: int = 0o644, owner: str = "") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as box:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode, info.uname = len(content), moment, mode, owner
            box.addfile(info, io.BytesIO(content))
    return target.getvalue()


MEMBERS = {"a/data.csv": b"x,y\n1,2\n", "b.json": b'{"acc": 0.91}', "log.txt": b"took 1.2s\n"}
AGAIN = {"log.txt": b"took 1.9s\n", "b.json": b'{"acc":0.91}', "a/data.csv": b'x,"y"\n1,2\n'}


def test_a_zip_is_the_same_by_what_its_members_mean(judge) -> None:
    found = judge("out.zip", zipped(MEMBERS), zipped(AGAIN, 2026, zipfile.ZIP_STORED))
    assert (found.same, found.level, found.format) == (True, "meaning", "zip")
    assert {mask.rule for mask in found.masked} == {"duration", "order of members", "times and packing of members"}


def test_a_tar_is_the_same_by_what_its_members_mean(judge) -> None:
    found = judge("out.tar", tarred(MEMBERS), tarred(AGAIN, 1_800_000_000, owner="ana"))
    assert (found.same, found.format) == (True, "tar")
    assert judge("out.tar", tarred(MEMBERS), tarred(MEMBERS, 1, 0o755)).same is False


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_changed_member_is_named(judge, make) -> None:
    found = judge("out", make(MEMBERS), make({**AGAIN, "b.json": b'{"acc": 0.92}'}))
    assert (found.same, found.why.startswith("b.json: acc: 0.91 -> 0.92")) == (False, True)
    assert "c: only in the second" in judge("out", make(MEMBERS), make({**MEMBERS, "c": b""})).why
    assert "b.json: only in the first" in judge("out", make(MEMBERS), make({"a/data.csv": b"", "log.txt": b""})).detail


def test_the_one_folder_that_holds_all_may_have_another_name(judge) -> None:
    found = judge("m.zip", zipped({"a/x": b"1", "a/y": b"2"}), zipped({"b/x": b"1", "b/y": b"2"}))
    assert found.same is True
    assert "name of the inner folder" in {mask.rule for mask in found.masked}
    assert judge("m.zip", zipped({"a/x": b"1", "y": b"2"}), zipped({"b/x": b"1", "y": b"2"})).same is False


def test_a_link_in_a_tar_counts_by_where_it_points_and_is_not_followed(judge) -> None:
    def linked(target: str) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as box:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, target
            box.addfile(info)
        return made.getvalue()

    found = judge("t.tar", linked("/etc/passwd"), linked("/etc/shadow"))
    assert (found.same, "/etc/passwd" in found.why) == (False, True)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.csv.gz", lambda data, again: gzip.compress(data, 9 - again, mtime=again)),
        ("x.csv.bz2", lambda data, again: bz2.compress(data, 9 - again)),
        ("x.csv.xz", lambda data, again: lzma.compress(data, preset=1 + again)),
        ("x.csv.lzma", lambda data, again: lzma.compress(data, lzma.FORMAT_ALONE, preset=1 + again)),
    ],
)
def test_a_packed_file_is_compared_as_what_is_in_it(judge, name: str, pack) -> None:
    table = b"a,b\n" + b"1,2\n" * 3000
    if (one := pack(table, 0)) != (other := pack(table, 1)):
        assert judge(name, one, other).same is True
    found = judge(name, pack(table, 0), pack(table.replace(b"\n1,2\n", b"\n1,3\n", 1), 1))
    assert (found.same, "row 2.b: 2 -> 3" in found.why) == (False, True)
    assert found.format.endswith("CSV")


def test_a_tar_in_a_gzip(judge) -> None:
    one, other = gzip.compress(tarred(MEMBERS), mtime=1), gzip.compress(tarred(AGAIN, 7), mtime=2)
    assert judge("out.tar.gz", one, other).same is True
    assert judge("out.tgz", one, gzip.compress(tarred({**AGAIN, "b.json": b'{"acc": 0.92}'}), mtime=2)).same is False


def test_zstandard_is_unpacked(judge) -> None:
    zstd = pytest.importorskip("backports.zstd")
    one, other = zstd.compress(b"a,b\n1,2\n" * 50, 1), zstd.compress(b'a,"b"\n1,2\n' * 50, 9)
    assert judge("x.csv.zst", one, other).same is True
    assert judge("x.csv.zst", one, zstd.compress(b"a,b\n1,3\n" * 50)).same is False


def test_a_keras_file_but_for_the_moment_it_was_saved(judge) -> None:
    def saved(moment: str, units: int, address: int, weights: bytes = b"w") -> bytes:
        config = {"registered_name": None, "config": {"units": units, "shared_object_id": address}}
        head = {"keras_version": "3.15.1", "date_saved": moment}
        members = {"metadata.json": json.dumps(head), "config.json": json.dumps(config), "model.weights.h5": weights}
        return zipped({name: text.encode() if isinstance(text, str) else text for name, text in members.items()})

    one = saved("2026-11-22@12:00:07", 16, 140568956906512)
    found = judge("m.keras", one, saved("2026-11-23@15:00:01", 16, 139648376859152))
    assert (found.same, {mask.rule for mask in found.masked} >= {"time", "address"}) == (True, True)
    assert judge("m.keras", one, saved("2026-11-22@12:00:07", 17, 140568956906512)).same is False
    assert judge("m.keras", one, saved("2026-11-22@12:00:07", 16, 140568956906512, b"v")).same is False
