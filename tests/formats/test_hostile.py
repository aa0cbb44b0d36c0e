"""Files that are made to break their reader end as different, soon and in little memory."""

import io
import subprocess
import sys
import warnings
import zipfile

import pytest

LAUGHS = "a0: &a0 [{leaf}]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
"""Nine to the fortieth values in forty lines."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LAUGHS.format(leaf=1), LAUGHS.format(leaf=2)),
        (LAUGHS.format(leaf=1) + "? *a39\n: 1\n", LAUGHS.format(leaf=1) + "? *a39\n: 2\n"),
        (LAUGHS.format(leaf=1) + "? *a39\n: 1\n", LAUGHS.format(leaf=2) + "? *a39\n: 1\n"),
        ("? &x [*x, 1]\n: 1\n", "? &x [*x, 2]\n: 1\n"),
    ],
)
def test_yaml_that_refers_to_itself(judge, one: str, other: str) -> None:
    found = judge("m.yaml", one, other)
    assert (found.same, found.format) == (False, "YAML")


def test_yaml_that_is_too_deep_ends_no_process() -> None:
    """In a process of its own: what is tested is that it lives."""
    script = """
import pathlib, tempfile
from bis.formats import Context
from bis.formats.registry import compare
with tempfile.TemporaryDirectory() as folder:
    files = [pathlib.Path(folder) / side for side in ("before", "after")]
    for opening in ("[", "- "):
        for file, leaf in zip(files, "12"):
            file.write_text(opening * 100_000 + leaf)
        found = compare("m.yaml", *files, Context())
        print(found.same, "nested more than" in found.detail)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False True\n" * 2), done.stderr


@pytest.mark.timeout(60)
def test_many_keys_of_one_name_and_many_names_without_a_partner(judge) -> None:
    def repeated(first: int) -> str:
        return "{" + ",".join(f'"a":{number}' for number in range(first, first + 30_000)) + "}"

    assert judge("m.json", repeated(0), repeated(1)).same is False
    assert judge("m.json", '{"a": 1, "a": 2}', '{"a": 3, "a": 2}').same is False
    assert judge("m.yaml", "a: 1\na: 2\n", "a: 3\na: 2\n").same is False
    one, other = ("{" + ",".join(f'"{word}{n} 12": 1' for n in range(5_000)) + "}" for word in "kq")
    assert judge("m.json", one, other).same is False


@pytest.mark.timeout(60)
def test_a_number_and_a_text_of_a_million_letters(judge) -> None:
    assert judge("m.json", "1" * 1_000_000, "1" * 999_999 + "2").same is False
    assert judge("m.json", '"' + "1 " * 500_000 + '"', '"' + "1 " * 499_999 + "2 " + '"').same is False


@pytest.mark.timeout(60)
def test_many_members_of_one_name(judge) -> None:
    def box(last: bytes) -> bytes:
        target = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(target, "w") as archive:
            warnings.simplefilter("ignore")
            for number in range(3_000):
                archive.writestr("a", b"%d" % number if number < 2_999 else last)
        return target.getvalue()

    assert judge("x.zip", box(b"1"), box(b"2")).same is False


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a: 2020-01-01", "a: '2020-01-01'"),
        ("1: a", "'1': a"),
        ("true: a", "'true': a"),
        ("? [1, 2]\n: a", "? [1, 3]\n: a"),
    ],
)
def test_yaml_says_of_what_type_a_value_and_a_key_are(judge, one: str, other: str) -> None:
    found = judge("m.yaml", one, other)
    assert (found.same, found.format) == (False, "YAML")


def test_a_moment_in_another_time_zone_is_another_value(judge) -> None:
    assert judge("m.toml", "a = 2020-01-01T00:00:00Z", "a = 2020-01-01T01:00:00+01:00").same is False


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", [b"stream\n", b"/ModDate (D:"])
def test_a_pdf_in_which_much_begins_and_nothing_ends(judge, piece: bytes) -> None:
    one, other = (b"%PDF-1.4\n" + piece * 300_000 + last for last in (b"1", b"2"))
    assert judge("f.pdf", one, other).same is False
