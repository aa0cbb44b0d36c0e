"""Quilt: hashes, manifests and registries as quilt3 8.0.0 makes and takes them."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bis.errors import UsageError
from bis.foreign import quilt
from bis.foreign.quilt import Hash, Row

MADE = datetime(2026, 5, 3, 10, 11, 12, tzinfo=UTC)


def row(key: str, content: bytes, meta: dict[str, object] | None = None, folder: Path = Path("/data")) -> Row:
    value = quilt.chunked(io.BytesIO(content), len(content))
    place = (folder / key).as_uri()
    return Row(
        logical_key=key, physical_keys=(place,), size=len(content), hash=Hash(quilt.CHUNKED, value), meta=meta or {}
    )


CONTENT = {"a.txt": b"a\n", "a/x": b"x", "ü ñ.csv": b"", "sub/deep/b.bin": b"\0" * 9_000_000}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        (b"a\n", "Il8bu8Sxo9l8YipJLZHqjWhY1+EWS7u1lT90MR1tIi4="),
        (b"\0" * (8 << 20), "MIsGKY+ykqN4CPj3gGGu4Gv03N7OWKWpsZqEf+OrGJs="),
        (b"\0" * 9_000_000, "Ct4qowoty1UrrORxANYfrkYZI7eqC3+d8135bE51TVc="),
    ],
)
def test_a_chunked_hash_is_that_of_quilt(content: bytes, value: str) -> None:
    assert quilt.chunked(io.BytesIO(content), len(content)) == value


def test_parts_grow_so_that_there_are_never_more_than_ten_thousand() -> None:
    sizes = [1, 80_000 << 20, (80_000 << 20) + 1, 5 << 40]
    assert [quilt.part_size(size) >> 20 for size in sizes] == [8, 8, 16, 1024]


def test_the_top_hash_is_that_of_quilt_whatever_the_order_of_rows_and_where_files_are() -> None:
    rows = [row(key, content, {"user_meta": {"k": "ü"}} if key == "a/x" else {}) for key, content in CONTENT.items()]
    whole = quilt.package(rows, message="first", metadata={"by": "Ada", "n": 1.5})
    assert quilt.top_hash(whole) == TOP
    elsewhere = [
        row(key, content, {"user_meta": {"k": "ü"}} if key == "a/x" else {}, Path("/"))
        for key, content in CONTENT.items()
    ]
    assert quilt.top_hash(quilt.package(elsewhere[::-1], message="first", metadata={"by": "Ada", "n": 1.5})) == TOP
    assert quilt.top_hash(quilt.package(rows, message="second")) != TOP


TOP = "0ca0123a47beaa057522eb1acf4159e438001646fe11690e3806406725a82493"


def test_a_manifest_is_read_as_it_was_written() -> None:
    whole = quilt.package([row(key, content) for key, content in CONTENT.items()], message="m")
    data = quilt.write_manifest(whole)
    assert quilt.read_manifest(data, "m") == whole
    assert [json.loads(line).get("logical_key") for line in data.splitlines()] == [
        *(None, "a/x", "a.txt", "sub/deep/b.bin", "ü ñ.csv")
    ]


def test_lines_about_folders_are_kept() -> None:
    data = b'{"version": "v0", "message": null}\n{"logical_key": "sub/", "meta": {"a": 1}}\n'
    whole = quilt.read_manifest(data, "m")
    assert whole.folders == ({"logical_key": "sub/", "meta": {"a": 1}},)
    assert quilt.write_manifest(whole) == data


@pytest.mark.parametrize("key", ["../a", "/a", "a/../../b", ""])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="no path inside"):
        quilt.read_manifest(
            quilt.write_manifest(quilt.package([row("x", b"")])).replace(b'"x"', b'"%s"' % key.encode()), "m"
        )


@pytest.mark.parametrize("data", [b"", b"[]\n", b"{}\n[]\n", b'{"version": "v0"}\n{"physical_keys": 3}\n', b"\xff"])
def test_what_is_no_manifest_is_named(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"odd\.jsonl"):
        quilt.read_manifest(data, "odd.jsonl")


def test_a_registry_gives_back_what_was_put_into_it_by_time(tmp_path: Path) -> None:
    first, second = quilt.package([row("a", b"1")]), quilt.package([row("a", b"2")])
    tops = [quilt.write_package(tmp_path, "ada/cars", first, MADE)]
    tops.append(quilt.write_package(tmp_path, "ada/cars", second, MADE.replace(year=2027)))
    assert quilt.names(tmp_path) == ["ada/cars"]
    assert [(version.made, version.top) for version in quilt.versions(tmp_path, "ada/cars")] == [
        (MADE, tops[0]),
        (MADE.replace(year=2027), tops[1]),
    ]
    assert quilt.read_package(tmp_path, tops[0]) == first


def test_a_package_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    top = quilt.write_package(tmp_path, "ada/cars", quilt.package([row("a", b"1")]), MADE)
    manifest = tmp_path / ".quilt/packages" / top
    manifest.write_bytes(manifest.read_bytes().replace(b'"size": 1', b'"size": 2'))
    with pytest.raises(UsageError, match="top hash"):
        quilt.read_package(tmp_path, top)


def test_only_files_of_this_machine_have_a_path() -> None:
    assert quilt.local_path("file:///a%20b/%C3%BC") == Path("/a b/ü")
    assert quilt.local_path("s3://bucket/key?versionId=1") is None
    assert quilt.local_path("file://host/a") is None


def test_a_hash_that_cannot_be_computed_is_not_called_right(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    about = Row(logical_key="a", physical_keys=("x",), size=1, hash=Hash("CRC64NVME", "AAAA"))
    assert quilt.is_content(tmp_path / "a", about) is None
    (tmp_path / "a").write_bytes(b"ab")
    assert quilt.is_content(tmp_path / "a", about) is False


@pytest.mark.slow
def test_quilt_takes_what_is_written_and_what_it_makes_is_read(
    tmp_path: Path, shell: Callable[..., str], peer: Callable[[str], Path]
) -> None:
    data, registry = tmp_path / "data", tmp_path / "registry"
    for key, content in CONTENT.items():
        (data / key).parent.mkdir(parents=True, exist_ok=True)
        (data / key).write_bytes(content)
    rows = [
        row(key, content, {"user_meta": {"k": "ü"}} if key == "a/x" else {}, data) for key, content in CONTENT.items()
    ]
    top = quilt.write_package(
        registry, "ada/cars", quilt.package(rows, message="first", metadata={"by": "Ada", "n": 1.5}), MADE
    )
    asked = f"""
import quilt3, pathlib
package = quilt3.Package.browse("ada/cars", registry={str(registry)!r})
assert package.top_hash == {top!r} == {TOP!r}, package.top_hash
assert package.verify({str(data)!r}) is True
assert [key for key, _ in package.walk()] == {sorted(CONTENT, key=lambda key: key.split("/"))!r}
assert package.meta == {{"by": "Ada", "n": 1.5}}
own = quilt3.Package().set_dir("/", {str(data)!r})
own["a/x"].set_meta({{"k": "ü"}})
own.set_meta({{"by": "Ada", "n": 1.5}})
built = own.build("ada/own", registry={str(registry)!r}, message="first")
quilt3.Package.install("ada/cars", registry={str(registry)!r}, dest={str(tmp_path / "installed")!r})
print("built", built)
"""
    built = shell(tmp_path, peer("python"), "-c", asked).split()[-1]
    assert built == TOP
    (made,) = quilt.versions(registry, "ada/own")
    package = quilt.read_package(registry, made.top)
    assert (package.message, package.metadata) == ("first", {"by": "Ada", "n": 1.5})
    for about in package.rows:
        path = quilt.local_path(about.physical_keys[0])
        assert path is not None
        assert quilt.is_content(path, about) is True
        assert (tmp_path / "installed" / about.logical_key).read_bytes() == CONTENT[about.logical_key]
