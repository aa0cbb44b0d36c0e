"""Archives and packed files: member by member."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
import zlib

import pytest

import bis.formats


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


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.csv.gz", lambda data: gzip.compress(data, 1, mtime=1)),
        ("x.csv.bz2", lambda data: bz2.compress(data, 1)),
        ("x.csv.xz", lambda data: lzma.compress(data, preset=1)),
        ("x.csv.lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=1)),
        ("x.csv.z", lambda data: zlib.compress(data, 1)),
    ],
)
def test_what_is_behind_the_end_of_a_packed_file_is_no_packing(judge, name: str, pack) -> None:
    data = b"x,y\n" * 1000
    other = {"gz": gzip.compress(data, 9, mtime=2), "z": zlib.compress(data, 9)}.get(name.rpartition(".")[2])
    if other is None:
        other = pack(data[:2000]) + pack(data[2000:])  # two streams are one file
    assert judge(name, pack(data), other).same is True
    assert judge(name, pack(data), other + b"more").same is False
    assert judge(name, pack(data), other[:-3]).same is False


def entry(name: str, content: bytes, mode: int, comment: bytes = b"", whole: bytes = b"") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as box:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr, info.comment, box.comment = 3, mode << 16, comment, whole
        box.writestr(info, content)
        box.writestr("z", b"z")
    return target.getvalue()


def test_a_link_an_empty_folder_and_a_comment_in_a_zip_count(judge) -> None:
    file = entry("a", b"b", 0o100644)
    found = judge("x.zip", file, entry("a", b"b", 0o120644))
    assert (found.same, found.why) == (False, "a: mode 644 -> mode 644, type 120000")
    assert judge("x.zip", entry("a", b"b", 0o120777), entry("a", b"c", 0o120777)).same is False
    assert judge("x.zip", file, entry("a", b"b", 0o100644, comment=b"x")).same is False
    assert judge("x.zip", file, entry("a", b"b", 0o100644, whole=b"x")).same is False
    assert judge("x.zip", zipped({"a": b"1"}), zipped({"a": b"1", "f/g/": b""})).same is False
    assert judge("x.zip", zipped({"f/a": b"1", "b": b""}), zipped({"f/": b"", "f/a": b"1", "b": b""})).same is True


def test_members_behind_a_damaged_header_are_not_passed_over(judge) -> None:
    one, other = (bytearray(tarred({"a": b"1", "b": last, "c": b"3"})) for last in (b"1", b"2"))
    for data in (one, other):
        data[1024] ^= 255  # the header of b: Python's reader stops here and says nothing
    found = judge("x.tar", bytes(one), bytes(other))
    assert (found.same, "more follows" in found.why) == (False, True)
    assert (
        judge("x.tar", tarred({"a": b"1"}) + tarred({"b": b"1"}), tarred({"a": b"1"}) + tarred({"b": b"2"})).same
        is False
    )


def test_what_lies_before_the_first_member_of_a_zip_is_not_passed_over(judge) -> None:
    """Of two zips one behind the other, readers find the last."""
    found = judge("x.zip", zipped({"a": b"1"}) + zipped({"a": b"3"}), zipped({"a": b"2"}) + zipped({"a": b"3"}))
    assert (found.same, "lie before its first member" in found.why) == (False, True)


def described(
    kind: bytes = tarfile.REGTYPE, major: int = 0, whole: str = "", own: str = "", moment: float = 0
) -> bytes:
    target = io.BytesIO()
    with tarfile.open(
        fileobj=target, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": whole} if whole else {}
    ) as box:
        info = tarfile.TarInfo("a")
        info.type, info.devmajor, info.devminor, info.mtime = kind, major, 3, moment
        info.pax_headers = {"SCHILY.xattr.user.unit": own} if own else {}
        box.addfile(info)
    return target.getvalue()


def test_a_device_an_attribute_and_a_comment_in_a_tar_count(judge) -> None:
    found = judge("x.tar", described(tarfile.CHRTYPE, 1), described(tarfile.CHRTYPE, 5))
    assert (found.same, found.why) == (False, "a: mode 644, type 3, device 1:3 -> mode 644, type 3, device 5:3")
    assert judge("x.tar", described(own="m"), described(own="km")).same is False
    found = judge("x.tar", described(whole="a91c4f2"), described(whole="7f3a5c0"))  # as `git archive` writes it
    assert (found.same, found.why.partition(":")[0]) == (False, "comment of the archive")
    assert judge("x.tar", described(moment=1.5), described(moment=2.5)).same is True


def test_a_bomb_of_archives_in_archives_is_given_up_once(judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder of the bomb is small; all of them together are not."""
    monkeypatch.setattr(bis.formats, "UNPACKED", 1 << 20)

    def bomb(last: bytes) -> bytes:
        inner = zipped({"0": bytes(400_000) + last})
        for _ in range(3):
            inner = zipped({str(number): inner for number in range(8)})
        return inner

    found = judge("x.zip", bomb(b"1"), bomb(b"2"))
    assert (found.same, "unpacks to more than" in found.why) == (False, True)
