"""Croissant: descriptions that mlcroissant 1.1.1 takes without complaint, and odd ones that are read all the same."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.errors import UsageError
from bis.foreign import croissant
from bis.foreign.croissant import Description, File

SHA = hashlib.sha256(b"a,b\n").hexdigest()


def test_a_description_is_read_as_it_was_written() -> None:
    files = croissant.beside([("sub/ü a.csv", 4, SHA), ("b.bin", 0, SHA)])
    whole = Description(
        name="cars", files=files, description="of 2026", version="3", published="2026-05-03", license="CC0-1.0"
    )
    assert croissant.read(croissant.write(whole), "x") == whole
    assert [croissant.local_place(file) for file in files] == ["data/sub/ü a.csv", "data/b.bin"]
    assert [file.format for file in files] == ["text/csv", "application/octet-stream"]


def described(**file: object) -> str:
    row = {"@type": "cr:FileObject", "@id": "a.csv", "contentUrl": "a.csv"} | file
    return json.dumps({"@type": "sc:Dataset", "sc:name": ["cars"], "distribution": row})


def test_a_checksum_that_is_none_is_told_and_not_checked() -> None:
    whole = croissant.read(described(sha256="d41d8cd98f00b204e9800998ecf8427e"), "x")
    assert whole.files[0].sha256 == ""
    assert "is not checked" in whole.notes[0]
    assert croissant.read(described(sha256=SHA.upper()), "x").files[0].sha256 == SHA


def test_names_are_understood_short_with_prefix_and_whole() -> None:
    row = {
        "@type": "http://mlcommons.org/croissant/FileObject",
        "@id": "f",
        "https://schema.org/name": {"@value": "n.csv"},
    }
    row |= {"https://schema.org/contentUrl": "n.csv", "http://mlcommons.org/croissant/md5": "0" * 32}
    graph = {"@graph": [{"@id": "x"}, {"https://schema.org/distribution": [row]}]}
    (file,) = croissant.read(json.dumps(graph), "x").files
    assert (file.path, file.url, file.md5) == ("n.csv", "n.csv", "0" * 32)


@pytest.mark.parametrize("url", ["../a.csv", "/etc/passwd", "a/%2e%2e/%2e%2e/b", "https://example.org/a.csv", ""])
def test_what_lies_elsewhere_is_not_looked_for_here(url: str) -> None:
    assert croissant.local_place(File(path="a", url=url)) == ""


def test_sizes_are_taken_where_they_are_exact() -> None:
    sizes = ("4 B", "4", "4 KB", "1.5 MB", "many")
    assert [croissant.read(described(contentSize=size), "x").files[0].size for size in sizes] == [
        4,
        4,
        None,
        None,
        None,
    ]


def test_sets_of_files_are_told_to_be_left_out() -> None:
    whole = croissant.read(described(**{"@type": "cr:FileSet", "includes": "*.jpg"}), "x")
    assert whole.files == ()
    assert "set of files" in whole.notes[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', "[" * 100_000])
def test_what_is_no_description_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"odd\.json"):
        croissant.read(text, "odd.json")


@pytest.mark.slow
def test_mlcroissant_takes_the_description_without_a_complaint(
    tmp_path: Path, shell: Callable[..., str], peer: Callable[[str], Path]
) -> None:
    files = croissant.beside([("a.csv", 4, SHA), ("sub/ü b.csv", 4, SHA)])
    whole = Description(
        name="cars",
        files=files,
        description="of 2026",
        version="3",
        published="2026-05-03",
        license="https://creativecommons.org/publicdomain/zero/1.0/",
        url="https://example.org/cars",
    )
    (tmp_path / "croissant.json").write_text(croissant.write(whole))
    asked = """
import mlcroissant
dataset = mlcroissant.Dataset("croissant.json")
print(sorted(dataset.metadata.ctx.issues.errors))
print([(file.name, file.sha256) for file in dataset.metadata.distribution])
"""
    told = shell(tmp_path, peer("python"), "-W", "ignore", "-c", asked)
    assert told.splitlines()[0] == "[]"
    assert told.splitlines()[1] == str([("a.csv", SHA), ("sub/ü b.csv", SHA)])
