"""Lines of a file, many at a time: cut where their contents say, whatever was read at once."""

import dataclasses
import gzip
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.flavors import checking
from bis.flavors.signature import Column, Signature
from bis.flavors.values import Columns
from bis.scoring.bulk import Stop, reading, writing

TAKES = Signature(inputs=(Column("a", "double"), Column("b", "double")), outputs=())
KINDS = ["1.5,2\n", "1,2,3\n", "\n", "  \n", "1\r,2\n", '"1",2\n', "1000000000.25,-3e300\r\n"]
LINES = st.lists(st.sampled_from(KINDS))


def chunks(path: Path, batch: int) -> list[list[bytes]]:
    """The lines of each chunk; of what is quoted, its cells. The last one says what is no CSV."""
    found = []
    try:
        for chunk in reading.opened(str(path), "", batch, TAKES).chunks():
            assert isinstance(chunk, reading.CsvChunk)
            if chunk.text is not None:
                found.append(chunk.text.removesuffix(b"\n").split(b"\n"))
            else:
                found.append([",".join(row).encode() for row in chunk.cells or ()])
            assert len(chunk.numbers) == len(found[-1])
    except Stop as stop:
        found.append([stop.what.encode()])
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.integers(1, 7), st.integers(1, 40), st.booleans(), st.booleans())
def test_a_chunk_is_cut_at_the_same_lines_whatever_is_read_at_once(
    tmp_path: Path, lines: list[str], batch: int, piece: int, whole: bool, packed: bool
) -> None:
    text = ("a,b\n" + "".join(lines)).encode()
    text = text if whole else text.removesuffix(b"\n")
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", piece)
        few = chunks(path, batch)
    assert few == chunks(path, batch)
    if b'"' not in text and b"\r" not in text:
        rows = [line for line in text.split(b"\n")[1:] if line.strip()]
        assert [line for some in few for line in some if line.strip()] == rows


def test_rows_that_do_not_fit_are_a_chunk_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 100)
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 30 + f"1,{'0' * 300}\n" + "3,4\n" * 2)
    assert [len(lines) for lines in chunks(tmp_path / "x.csv", 1000)] == [25, 6, 2]


def test_lines_of_numbers_are_not_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1.5,2.25\n" * 20_000)
    file = reading.opened(str(tmp_path / "x.csv"), "", 20_000, TAKES)
    before = sys.getallocatedblocks()
    (chunk,) = file.chunks()
    assert sys.getallocatedblocks() - before < 1000
    assert chunk.columns(["a", "b"]).matrix().shape == (20_000, 2)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "uint64"])
@pytest.mark.parametrize("values", [[], [0, 9, 3], [0, 10], [9], [127, 1, 0]])
def test_whole_numbers_are_written_as_python_writes_them(tmp_path: Path, kind: str, values: list[int]) -> None:
    part = writing.part(tmp_path / "part", "csv")
    for numbers in (values, [-one for one in values] if kind[0] == "i" else values):
        if values:
            part.add([("prediction", numpy.array(numbers, kind))], len(numbers))
    part.close()
    signs = (1, -1) if kind[0] == "i" else (1, 1)
    assert (tmp_path / "part").read_text() == "".join(f"{sign * one}\n" for sign in signs for one in values)


VALUES = ["1", "-2.5", "0", "-0", "-0.0", "1e-320", "9007199254740993", "1e400", "NaN", "null", "true"]
VALUES += ['"1"', "[1]", "{}"]
OBJECTS = [
    *(f'{{"a": 1.5, "b": {value}}}' for value in VALUES),
    *(f'{{"b": {value}, "a": 0.1}}' for value in VALUES[:4]),
    *('{"a": 1, "b": 2, "a": 3}', '{"a": 1}', '{"a": 1, "b": 2, "c": "\\u00fc{"}', '{"a": 1, "\\u0062": 2}', "[]", "7"),
    *('{"a": 1, "b": 2} {"a": 3, "b": 4}', '{"a": 1,', '"b": 2}', "  ", "", '{"a": 1, "b": 2}\r', '{"a": 1, "b": 2} x'),
    *('{"a": 1, "b": 2, "c": "\u00fc"}', '{"a": 123456789.123456789, "b": 1e22}', '{"a": 0.30000000000000004, "b": 3}'),
]


def outcome(chunk: Any) -> Any:
    try:
        found = checking.check(TAKES, chunk.columns(["a", "b"]))
    except (reading.Bad, checking.Mismatch) as error:
        return str(error)
    assert isinstance(found, Columns)
    return found.names, [(found.column(name).dtype.str, found.column(name).tobytes()) for name in found.names]


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(OBJECTS[:1] * 30 + OBJECTS), min_size=1, max_size=6))
def test_objects_of_numbers_are_what_python_reads(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    for chunk in reading.opened(str(tmp_path / "x.jsonl"), "", 4, TAKES).chunks():
        assert isinstance(chunk, reading.JsonChunk)
        assert outcome(chunk) == outcome(dataclasses.replace(chunk, types={}))


def test_objects_of_numbers_become_no_objects_of_python(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1.5, "b": 2}\n' * 5000)
    (chunk,) = reading.opened(str(tmp_path / "x.jsonl"), "", 5000, TAKES).chunks()
    chunk.columns(["a", "b"])
    before = sys.getallocatedblocks()
    columns = chunk.columns(["a", "b"])
    assert sys.getallocatedblocks() - before < 500
    assert columns.block is not None
