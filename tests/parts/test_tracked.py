"""Inputs that another system tracks say so, and say whether they are what its pointer says."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bis.digest import digest_bytes
from bis.foreign import annex, dvc, kedro, lfs, quilt
from bis.foreign.dvc import Member, Out
from bis.nouns.part import Part
from bis.nouns.trace import Trace
from bis.parts import Scene, data, tracked
from bis.store.local import LocalStore

Look = Callable[..., Part]


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def look(scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]) -> Look:
    """The data part of a run that read these files."""
    return lambda *paths: data.capture(scene(trace=reading(*paths)), store)


def told(part: Part) -> Any:
    (row,) = part.facts["inputs"]
    return row.get("tracked")


def test_a_file_of_dvc_says_its_hash_and_its_pointer(project: Path, look: Look) -> None:
    (project / ".dvc").mkdir()
    raw = write(project / "data" / "raw.csv", "a\n1\n")
    write(project / "data" / "raw.csv.dvc", dvc.write_pointer([Out(path="raw.csv", value=md5(b"a\n1\n"))]))
    part = look(raw)
    assert told(part) == {"by": "dvc", "file": "data/raw.csv.dvc", "md5": md5(b"a\n1\n"), "state": "same"}
    assert part.summary == f"data/raw.csv, 4 B, DVC {md5(raw.read_bytes())[:8]}"
    assert not part.findings


def test_a_file_that_is_not_what_its_pointer_says_is_a_finding(project: Path, look: Look) -> None:
    (project / ".dvc").mkdir()
    raw = write(project / "raw.csv", "a\n2\n")
    write(project / "raw.csv.dvc", dvc.write_pointer([Out(path="raw.csv", value=md5(b"a\n1\n"))]))
    part = look(raw)
    assert told(part)["state"] == "changed"
    (finding,) = part.findings
    assert finding.code == "pointer-differs"
    assert "raw.csv.dvc" in finding.text


def test_a_file_of_a_folder_of_dvc_says_its_own_hash(project: Path, look: Look) -> None:
    listing = dvc.write_listing([Member(path="deep/a.csv", value=md5(b"1"))])
    value = dvc.folder_value(listing)
    write(project / ".dvc/cache" / dvc.object_place(value), listing)
    write(project / "data.dvc", dvc.write_pointer([Out(path="data", value=value)]))
    read = write(project / "data" / "deep" / "a.csv", "1")
    expected = {"by": "dvc", "file": "data.dvc", "inside": "deep/a.csv", "folder": value, "md5": md5(b"1")}
    assert told(look(read)) == {**expected, "state": "same"}
    other = write(project / "data" / "new.csv", "1")
    assert told(look(other))["state"] == "changed"
    write(project / ".dvc/cache" / dvc.object_place(value), "[]")
    assert told(look(read)) == {
        "by": "dvc",
        "file": "data.dvc",
        "inside": "deep/a.csv",
        "folder": value,
        "state": "unchecked",
    }


def test_an_output_of_a_pipeline_and_a_hash_of_dvc_2_are_known(project: Path, look: Look) -> None:
    (project / ".dvc").mkdir()
    lock = f"schema: '2.0'\nstages:\n  fit:\n    cmd: x\n    outs:\n    - path: out.csv\n      md5: {md5(b'a')}\n"
    write(project / "dvc.lock", lock)
    assert told(look(write(project / "out.csv", "a")))["file"] == "dvc.lock"
    write(project / "old.csv.dvc", f"outs:\n- md5: {md5(b'a' + bytes([10]))}\n  path: old.csv\n")
    assert told(look(write(project / "old.csv", "a\r\n")))["state"] == "same"


def test_what_is_large_is_not_read_again_and_says_so(
    project: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked, "MOST_READ", 3)
    (project / ".dvc").mkdir()
    raw = write(project / "raw.csv", "a\n1\n")
    write(project / "raw.csv.dvc", dvc.write_pointer([Out(path="raw.csv", value=md5(b"a\n1\n"))]))
    assert told(look(raw))["state"] == "unchecked"


def test_pointers_outside_a_project_of_dvc_and_broken_ones_track_nothing(project: Path, look: Look) -> None:
    raw = write(project / "raw.csv", "a")
    write(project / "raw.csv.dvc", dvc.write_pointer([Out(path="raw.csv", value=md5(b"a"))]))
    assert told(look(raw)) is None
    (project / ".dvc").mkdir()
    assert told(look(raw)) is not None
    write(project / "raw.csv.dvc", "[")
    assert told(look(raw)) is None


def test_files_of_git_lfs_kedro_and_git_annex_are_known(project: Path, look: Look) -> None:
    content = write(project / "big.bin", b"\0big")
    write(project / ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    pointer = lfs.point_at(content)
    assert told(look(content)) is None
    write(project / ".git/lfs/objects" / lfs.object_place(pointer.oid), b"\0big")
    assert told(look(content)) == {"by": "lfs", "sha256": pointer.oid, "state": "same"}
    version = "2026-05-03T10.11.12.123Z"
    cars = write(project / kedro.version_place("data/cars.csv", version), "1")
    assert told(look(cars)) == {"by": "kedro", "version": version}
    write(project / "x.csv", "1")
    key = annex.make_key(project / "x.csv")
    place = f".git/annex/objects/{annex.object_places(key)[0]}"
    write(project / place, "1")
    (project / "x.csv").unlink()
    (project / "x.csv").symlink_to(place)
    assert told(look(project / "x.csv")) == {"by": "annex", "key": str(key)}


@pytest.fixture
def registry(project: Path) -> Path:
    """Where Quilt keeps the user's packages."""
    return project.parent / ".local" / "share" / "Quilt" / "packages"


def pack(registry: Path, name: str, day: int, files: dict[str, bytes], keys: str = "s3://lab/{}") -> str:
    """Put a package into a registry, as `quilt3 install` does; its top hash."""
    rows = []
    for key, content in files.items():
        hash = quilt.hash_file(write(registry.parent / "content", content))
        rows.append(quilt.Row(logical_key=key, physical_keys=(keys.format(key),), size=len(content), hash=hash))
    return quilt.write_package(registry, name, quilt.package(rows), datetime(2026, 5, day, tzinfo=UTC))


def test_a_file_of_an_installed_package_of_quilt_says_package_top_hash_and_logical_key(
    project: Path, look: Look, registry: Path
) -> None:
    old = pack(registry, "ada/cars", 1, {"deep/ü a.csv": b"1", "b.csv": b"2"})
    new = pack(registry, "ada/cars", 2, {"deep/ü a.csv": b"3", "b.csv": b"2"})
    installed = {"by": "quilt", "package": "ada/cars", "inside": "deep/ü a.csv", "state": "same"}
    by_default = write(registry / "ada" / "cars" / "deep" / "ü a.csv", "3")
    assert told(look(by_default)) == {**installed, "top": new}
    elsewhere = write(project / "data" / "deep" / "ü a.csv", "1")
    part = look(elsewhere)
    assert told(part) == {**installed, "top": old}
    assert part.summary == f"data/deep/ü a.csv, 1 B, Quilt ada/cars@{old[:8]}"
    assert not part.findings


def test_of_the_versions_that_have_a_file_the_one_counts_whose_manifest_was_read(
    project: Path, look: Look, registry: Path
) -> None:
    old = pack(registry, "ada/cars", 1, {"a.csv": b"1", "b.csv": b"2"})
    new = pack(registry, "ada/cars", 2, {"a.csv": b"1", "b.csv": b"3"})
    read = write(project / "a.csv", "1")
    assert told(look(read))["top"] == new
    manifest = registry / ".quilt" / "packages" / old
    rows = {row["path"]: row.get("tracked") for row in look(read, manifest).facts["inputs"]}
    assert rows["a.csv"]["top"] == old


def test_a_file_of_quilt_that_was_changed_is_a_finding_where_its_package_has_it(
    project: Path, look: Look, registry: Path
) -> None:
    own = write(project / "own.csv", "other")
    top = pack(registry, "ada/own", 1, {"x.csv": b"1"}, keys=own.as_uri())
    part = look(own)
    assert told(part) == {"by": "quilt", "package": "ada/own", "top": top, "inside": "x.csv", "state": "changed"}
    (finding,) = part.findings
    assert finding.code == "pointer-differs"
    assert "Quilt" in finding.text
    assert told(look(write(project / "x.csv", "2"))) is None, "a name alone makes nothing a file of a package"


def test_a_damaged_manifest_of_quilt_and_a_hash_that_is_not_known_claim_nothing(
    project: Path, look: Look, registry: Path
) -> None:
    top = pack(registry, "ada/cars", 1, {"a.csv": b"1"})
    read = write(project / "a.csv", "1")
    manifest = registry / ".quilt" / "packages" / top
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b"s3://lab", b"s4://lab").replace(b'"size": 1', b'"size":  1'))
    assert told(look(read)) is not None, "where a file lies is no part of the top hash"
    manifest.write_bytes(whole.replace(b'"message": null', b'"message": "x"'))
    assert told(look(read)) is None
    manifest.write_bytes(b"{")
    assert told(look(read)) is None


def test_a_registry_around_a_file_knows_it_and_quilts_own_settings_are_heeded(
    project: Path, look: Look, registry: Path
) -> None:
    pack(project / "lab", "ada/cars", 1, {"a.csv": b"1"})
    assert told(look(write(project / "lab" / "x" / "a.csv", "1")))["package"] == "ada/cars"
    assert told(look(write(project / "a.csv", "1"))) is None
    write(registry.parent / "config.yml", f"default_local_registry: {(project / 'lab').as_uri()}\n")
    assert told(look(write(project / "a.csv", "1")))["package"] == "ada/cars"


@pytest.mark.slow
def test_what_quilt_itself_installed_is_known(
    project: Path, look: Look, tmp_path: Path, shell: Callable[..., str], peer: Callable[[str], Path]
) -> None:
    write(project / "cars" / "deep" / "a.csv", "1")
    asked = """
import quilt3
top = quilt3.Package().set_dir("/", "cars").build("ada/cars", registry="lab")
quilt3.Package.install("ada/cars", registry="lab", dest="there")
print(top)
"""
    share = {"XDG_DATA_HOME": str(tmp_path / ".local" / "share")}
    top = shell(project, peer("python"), "-c", asked, **share).splitlines()[-1]
    expected = {"by": "quilt", "package": "ada/cars", "top": top, "inside": "deep/a.csv", "state": "same"}
    assert told(look(project / "there" / "deep" / "a.csv")) == expected


def by_reference(path: str, content: bytes) -> dict[str, Any]:
    return {"path": path, "size": len(content), "digest": digest_bytes(content), "read": True, "kept": False}


def test_an_input_of_git_lfs_that_is_gone_by_now_is_no_failure(
    project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    write(project / ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    rows = [by_reference("gone.bin", b"abc")]
    assert tracked.mark(rows, scene(), store) == (rows, [])


def test_thousands_of_pointers_in_one_folder_cost_no_more_than_each_of_them(
    project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    (project / ".dvc").mkdir()
    rows = []
    for number in range(5000):
        content = b"%d" % number
        write(project / f"{number}.jpg", content)
        write(project / f"{number}.jpg.dvc", f"outs:\n- md5: {md5(content)}\n  path: {number}.jpg\n")
        rows.append(by_reference(f"{number}.jpg", content))
    began = time.process_time()
    marked, _ = tracked.mark(rows, scene(), store)
    assert time.process_time() - began < 3
    assert all(row["tracked"]["state"] == "same" for row in marked)


def test_a_comparison_names_the_hashes_of_both(project: Path, look: Look, store: LocalStore) -> None:
    (project / ".dvc").mkdir()
    parts = []
    for text in (b"1", b"2"):
        raw = write(project / "raw.csv", text)
        write(project / "raw.csv.dvc", dvc.write_pointer([Out(path="raw.csv", value=md5(text))]))
        parts.append(look(raw))
    (change,) = data.compare(*parts, store)
    assert change.before is not None
    assert change.after is not None
    assert f"DVC {md5(b'1')[:8]}" in change.before
    assert f"DVC {md5(b'2')[:8]}" in change.after
