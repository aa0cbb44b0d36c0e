"""Rows in, as many answers out, in their order, whatever the batches, processes and formats are; also after a kill."""

import datetime
import gzip
import json
import os
import random
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.flavors.signature import Column, Signature
from bis.flavors.values import Columns
from bis.scoring import tabular
from bis.scoring.bulk import Stop, reading
from bis.scoring.bulk.packed import batch_packed, batch_unpacked

Score = Callable[..., "subprocess.CompletedProcess[str]"]
TAKES = Signature((Column("age", "double"), Column("income", "double")))


def rows_of(number: int, seed: int = 1) -> list[tuple[int, float, float]]:
    draw = random.Random(seed)
    return [(place, draw.gauss(0, 1), draw.gauss(0, 1)) for place in range(number)]


def write_csv(path: Path, rows: list[tuple[int, float, float]]) -> None:
    path.write_text("id,age,income\n" + "".join(f"{id},{age!r},{income!r}\n" for id, age, income in rows))


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (7, 2), (100, 3), (1000, 1)])
def test_answers_are_those_of_the_model_in_the_order_of_the_rows(
    score: Score, own_answers: Callable[[str], list[str]], tmp_path: Path, batch: int, workers: int
) -> None:
    write_csv(tmp_path / "x.csv", rows_of(203))
    done = score("x.csv", "y.csv", "--batch", str(batch), "--workers", str(workers), "--keep", "id")
    assert (done.returncode, done.stdout) == (0, "203 rows, 0 rejected\n"), done.stderr
    found = [line.split(",") for line in (tmp_path / "y.csv").read_text().splitlines()]
    assert found[0] == ["id", "prediction"]
    assert [row[0] for row in found[1:]] == [str(place) for place in range(203)]
    assert [row[1] for row in found[1:]] == own_answers("x.csv")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_is_asked_for_what_it_can_say_and_nothing_is_written_for_what_it_cannot(
    score: Score, own_answers: Callable[[str], list[str]], tmp_path: Path, workers: str
) -> None:
    write_csv(tmp_path / "x.csv", rows_of(40))
    done = score("x.csv", "y.csv", "--method", "predict_proba", "--workers", workers)
    assert done.returncode == 0, done.stderr
    found = [line.split(",") for line in (tmp_path / "y.csv").read_text().splitlines()][1:]
    assert [str(int(float(one) > float(other))) for other, one in found] == own_answers("x.csv")
    assert all(float(one) + float(other) == pytest.approx(1) for other, one in found)
    for name in ("transform", "predict_chance"):
        done = score("x.csv", "z.csv", "--method", name, "--workers", workers)
        assert done.returncode == 4
        assert f"the model cannot be asked so\nbecause: LogisticRegression has no method {name}; " in done.stderr, (
            done.stderr
        )
        assert not (tmp_path / "z.csv").exists()


@given(
    rows=st.lists(st.tuples(st.floats(allow_nan=False, width=64), st.integers(-(2**40), 2**40)), max_size=60),
    batch=st.integers(1, 25),
    quoted=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_each_row_of_a_file_is_in_one_chunk_and_comes_through_unchanged(
    rows: list[tuple[float, int]], batch: int, quoted: bool, tmp_path: Path
) -> None:
    mark = '"' if quoted else ""
    (tmp_path / "x.csv").write_text("age,income\n" + "".join(f"{mark}{a!r}{mark},{b}\n" for a, b in rows))
    (tmp_path / "x.jsonl").write_text("".join(f'{{"age": {json.dumps(a)}, "income": {b}}}\n' for a, b in rows))
    table = pyarrow.table(
        {
            "age": pyarrow.array([a for a, _ in rows], pyarrow.float64()),
            "income": pyarrow.array([b for _, b in rows], pyarrow.int64()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", row_group_size=7)
    with pyarrow.OSFile(str(tmp_path / "x.arrow"), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, 11)
    for end in ("csv", "jsonl", "parquet", "arrow"):
        chunks = list(reading.opened(str(tmp_path / f"x.{end}"), "", batch, TAKES).chunks())
        assert [n for chunk in chunks for n in chunk.numbers] == list(range(1, len(rows) + 1)), end
        assert all(len(chunk.numbers) == batch for chunk in chunks[:-1]), end
        batches = [batch_unpacked(*_sent(chunk.columns(["age", "income"]))) for chunk in chunks]
        came = [(a, b) for one in batches for a, b in zip(one.column("age"), one.column("income"), strict=True)]
        assert came == rows, end


def _sent(batch: Any) -> tuple[dict[str, Any], bytes]:
    head, bodies = batch_packed(batch)
    return json.loads(json.dumps(head)), b"".join(bodies)


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet", "arrow", "csv.gz", "csv.zst"])
def test_what_is_kept_of_the_input_comes_back_in_every_format(score: Score, tmp_path: Path, end: str) -> None:
    rows = rows_of(40)
    texts = ['Ulm, "old"', "Bonn\nam Rhein", "Köln", ""]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("id", "age", "income"))}
    table = pyarrow.table({**columns, "town": [texts[row[0] % 4] for row in rows]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    first = score("x.parquet", f"y.{end}", "--batch", "7", "--keep-all")
    assert first.returncode == 0, first.stderr
    second = score(f"y.{end}", "z.parquet", "--batch", "9", "--keep", "town")
    assert second.returncode == 0, second.stderr
    found = pyarrow.parquet.read_table(tmp_path / "z.parquet")
    assert found.column("town").to_pylist() == table.column("town").to_pylist()


@pytest.mark.parametrize("pack", ["gz", "zst"])
def test_a_packed_csv_is_read(score: Score, tmp_path: Path, pack: str) -> None:
    write_csv(tmp_path / "x.csv", rows_of(50))
    content = (tmp_path / "x.csv").read_bytes()
    (tmp_path / f"p.csv.{pack}").write_bytes(gzip.compress(content) if pack == "gz" else zstd.compress(content))
    assert score("x.csv", "a.csv").returncode == 0
    done = score(f"p.csv.{pack}", "b.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_folders_and_globs_are_read_by_name(score: Score, tmp_path: Path) -> None:
    rows = rows_of(30)
    (tmp_path / "in").mkdir()
    for place in range(3):
        write_csv(tmp_path / "in" / f"{place}.csv", rows[place * 10 : place * 10 + 10])
    for given_ in ("in", "in/*.csv"):
        done = score(given_, "y.csv", "--keep", "id")
        assert done.returncode == 0, done.stderr
        ids = [line.split(",")[0] for line in (tmp_path / "y.csv").read_text().splitlines()[1:]]
        assert ids == [str(place) for place in range(30)]


@pytest.mark.parametrize(
    ("line", "column", "given_"),
    [("5,secret,1.0", "age", "other text"), ("5,1.0", "", "one of 2"), ('5,"secret",1.0', "age", "other text")],
)
def test_a_row_that_does_not_fit_is_named_and_what_is_in_it_is_not_told(
    score: Score, tmp_path: Path, line: str, column: str, given_: str
) -> None:
    write_csv(tmp_path / "x.csv", rows_of(20))
    lines = (tmp_path / "x.csv").read_text().splitlines()
    (tmp_path / "x.csv").write_text("\n".join([*lines[:13], line, *lines[13:]]) + "\n")
    done = score("x.csv", "y.csv", "--batch", "8", "--keep", "id")
    assert done.returncode == 2
    assert "x.csv, row 13" in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "y.csv").exists()
    again = score("x.csv", "y.csv", "--batch", "8", "--skip", "--keep", "id")
    assert again.stdout == "20 rows, 1 rejected\n", again.stderr
    (reject,) = map(json.loads, (tmp_path / "y.csv.rejects.jsonl").read_text().splitlines())
    assert (reject["file"], reject["row"], reject["column"], reject["given"]) == ("x.csv", 13, column, given_)
    assert [row.split(",")[0] for row in (tmp_path / "y.csv").read_text().splitlines()[1:]] == list(map(str, range(20)))


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("more", [(), ("--skip",)])
def test_a_column_that_a_file_has_not_is_told_once_and_is_no_fault_of_its_rows(
    score: Score, tmp_path: Path, end: str, more: tuple[str, ...]
) -> None:
    write_csv(tmp_path / "a.csv", rows_of(5))
    wide = pyarrow.table({"id": list(range(5000)), "age": [1.0] * 5000})
    if end == "parquet":
        pyarrow.parquet.write_table(wide, tmp_path / "b.parquet")
    else:
        rows = (json.dumps({"id": place, "age": 1.0}) if end == "jsonl" else f"{place},1.0" for place in range(5000))
        (tmp_path / f"b.{end}").write_text("".join(f"{row}\n" for row in ([] if end == "jsonl" else ["id,age"])))
        with (tmp_path / f"b.{end}").open("a") as file:
            file.writelines(f"{row}\n" for row in rows)
    for place in ("a.csv", f"b.{end}"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / place).rename(tmp_path / "in" / place)
    done = score("in", "y.csv", "--batch", "3", *more)
    assert done.returncode == 2
    assert done.stderr == f"error: in/b.{end} has no column 'income', which the model takes\nbecause: It has id, age.\n"
    assert not list(tmp_path.glob("y.csv*"))


def test_a_row_without_a_column_that_others_have_is_a_row_that_does_not_fit(score: Score, tmp_path: Path) -> None:
    rows = [{"age": 1.0, "income": 2.0}, {"age": 1.0}, {"age": 3.0, "income": 1.0}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = score("x.jsonl", "y.csv", "--skip")
    assert done.stdout == "2 rows, 1 rejected\n", done.stderr
    assert json.loads((tmp_path / "y.csv.rejects.jsonl").read_text())["row"] == 2


def test_rows_before_one_that_does_not_fit_are_kept_as_it_is_said(score: Score, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("age,income\n" + "1.0,2.0\n" * 20 + "1.0,two\n")
    done = score("x.csv", "y.csv", "--batch", "4")
    assert "because: Rows before it are kept." in done.stderr
    (part,) = (tmp_path / "work").glob("0*.csv")
    assert len(part.read_text().splitlines()) == 20


@pytest.mark.parametrize("cut", [0.0, 0.4])
@pytest.mark.parametrize("mark", ["", '"'])
def test_a_packed_file_that_is_cut_off_or_damaged_is_told_in_words(
    score: Score, tmp_path: Path, cut: float, mark: str
) -> None:
    rows = "".join(f"{mark}{age!r}{mark},{income!r}\n" for _, age, income in rows_of(20_000))
    packed = bytearray(gzip.compress(f"age,income\n{rows}".encode()))
    half = len(packed) // 2
    if cut:
        del packed[half:]
    else:
        packed[half : half + 500] = b"\xff" * 500
    (tmp_path / "x.csv.gz").write_bytes(packed)
    done = score("x.csv.gz", "y.csv")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: x.csv.gz is damaged, or cut off")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("before", ["", '"1.0",2.0\n'])
def test_a_lone_carriage_return_is_a_fault_of_its_row(score: Score, tmp_path: Path, before: str) -> None:
    (tmp_path / "x.csv").write_bytes(f"age,income\n{before}1.0,2.0\n1.0,2.0\r3.0,4.0\n5.0,6.0\n".encode())
    done = score("x.csv", "y.csv")
    assert done.returncode == 2
    assert f"x.csv, row {3 if before else 2}: " in done.stderr
    assert ("it is no row of CSV" if before else "a row of CSV is expected") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_quote_that_is_not_closed_does_not_take_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CELL", 1 << 20)
    with (tmp_path / "x.csv").open("w") as file:
        file.write('age,income\n1.0,"2.0\n')
        file.writelines("1.0,2.0\n" for _ in range(1 << 19))
    with pytest.raises(Stop, match=r"x\.csv, row 1: ") as found:
        list(reading.opened(str(tmp_path / "x.csv"), "", 10, TAKES).chunks())
    assert "is not closed" in found.value.because


def test_a_place_that_cannot_be_written_to_is_told_in_words(score: Score, tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", rows_of(5))
    done = score("x.csv", "x.csv/y.csv")
    assert done.returncode == 5
    assert done.stderr.splitlines()[0].startswith("error: x.csv cannot be written or read: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_opened_for_whoever_trusts_it_is_told_so_and_nothing_else(
    score: Score, model: Path, tmp_path: Path, workers: str
) -> None:
    write_csv(tmp_path / "x.csv", rows_of(5))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.skops").write_bytes((model / "model.skops").read_bytes()[:100])
    broken = score("x.csv", "y.csv", "--model", "broken", "--workers", workers)
    assert broken.stderr.splitlines()[0] == "error: the model cannot be loaded"
    assert "because: sklearn cannot load it: " in broken.stderr
    assert "hint" not in broken.stderr
    with zipfile.ZipFile(tmp_path / "broken" / "model.skops", "w", zipfile.ZIP_DEFLATED) as box:
        box.writestr("schema.json", b"0" * (300 << 20))
    burst = score("x.csv", "y.csv", "--model", "broken", "--workers", workers)
    assert "because: model.skops is not opened: it unpacks to 300 MiB" in burst.stderr
    assert "hint: --trust opens it" in burst.stderr
    assert (broken.returncode, burst.returncode) == (4, 4)


def test_all_rows_of_a_table_can_be_rejected(score: Score, tmp_path: Path) -> None:
    texts = pyarrow.table({"age": ["x"] * 5, "income": [1.0] * 5})
    pyarrow.parquet.write_table(texts, tmp_path / "x.parquet")
    done = score("x.parquet", "y.csv", "--skip")
    assert done.stdout == "0 rows, 5 rejected\n", done.stderr


def test_whatever_a_column_holds_is_the_same_to_another_process() -> None:
    moment = datetime.datetime(2026, 5, 3, 12, 0, 1, 5, datetime.UTC)
    values: list[Any] = [moment.date(), moment, moment.time(), Decimal("1.20"), datetime.timedelta(days=2), None]
    values += [{"in": [moment.date(), b"\x00\xff"]}, ["text", 1, 1.5, True, float("inf")]]
    column = numpy.empty(len(values), dtype=object)
    column[:] = values
    came = batch_unpacked(*_sent(Columns(("x",), None, (column,)))).column("x")
    assert came.tolist() == values
    assert [type(one) for one in came.tolist()] == [type(one) for one in values]


def test_a_model_may_write_into_what_another_process_is_asked_with(tmp_path: Path) -> None:
    came = batch_unpacked(*_sent(Columns(("a", "b"), numpy.zeros((2, 2)))))
    came.block[:, 0] += 1
    assert came.block.tolist() == [[1, 0], [1, 0]]


def test_a_gap_on_which_the_model_fails_is_a_row_that_cannot_be_scored(score: Score, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,age,income\n0,1.0,2.0\n1,,2.0\n2,3.0,1.0\n")
    done = score("x.csv", "y.csv", "--skip", "--keep", "id")
    assert done.stdout == "2 rows, 1 rejected\n", done.stderr
    assert "ValueError" in (tmp_path / "y.csv.rejects.jsonl").read_text()


def test_a_file_of_names_alone_has_no_answers_and_an_empty_one_is_refused(score: Score, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("age,income\n")
    for end in ("csv", "parquet"):
        done = score("x.csv", f"y.{end}")
        assert done.stdout == "0 rows, 0 rejected\n", done.stderr
    assert (tmp_path / "y.csv").read_text() == "prediction\n"
    assert pyarrow.parquet.read_table(tmp_path / "y.parquet").column_names == ["prediction"]
    (tmp_path / "x.csv").write_text("")
    done = score("x.csv", "y.csv")
    assert (done.returncode, "x.csv is empty" in done.stderr) == (2, True)


def test_rows_of_megabytes_are_read(score: Score, tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("w") as file:
        file.write("age,income,text\n")
        file.writelines(f"{place},1.0,{'x' * (3 << 20)}\n" for place in range(8))
    done = score("x.csv", "y.csv")
    assert done.stdout == "8 rows, 0 rejected\n", done.stderr


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_killed_at_any_point_it_goes_on_and_the_output_is_the_same(words: list[str], tmp_path: Path, end: str) -> None:
    write_csv(tmp_path / "x.csv", rows_of(6000))
    more = ["--input", "x.csv", "--format", end, "--batch", "10", "--keep", "id", "--skip"]
    subprocess.run([*words, *more, "--output", f"whole.{end}", "--work", "w1"], cwd=tmp_path, check=True)
    asked = [*words, *more, "--output", f"y.{end}", "--work", "w2"]
    draw, kills, most = random.Random(5), 0, 0
    for _ in range(8):
        process = subprocess.Popen(asked, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL)
        before = _parts(tmp_path / "w2")
        patience = time.monotonic() + 20
        while process.poll() is None and _parts(tmp_path / "w2") <= before and time.monotonic() < patience:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills, most = kills + 1, max(most, _parts(tmp_path / "w2"))
    assert kills >= 3
    assert most >= 2
    subprocess.run(asked, cwd=tmp_path, check=True)
    assert (tmp_path / f"y.{end}").read_bytes() == (tmp_path / f"whole.{end}").read_bytes()


def _parts(folder: Path) -> int:
    return len(list(folder.glob("[0-9]*-*.*")))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_two_million_rows_take_no_more_memory_than_a_few(words: list[str], tmp_path: Path, end: str) -> None:
    draw = random.Random(2)
    table = pyarrow.table({name: [draw.gauss(0, 1) for _ in range(2_000_000)] for name in ("age", "income")})
    if end == "csv":
        from pyarrow import csv

        csv.write_csv(table, tmp_path / "x.csv")
        csv.write_csv(table.slice(0, 10), tmp_path / "few.csv")
    else:
        pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
        pyarrow.parquet.write_table(table.slice(0, 10), tmp_path / "few.parquet")
    few, many = (_peak(words, tmp_path, f"{name}.{end}", end) for name in ("few", "x"))
    assert many - few < 100 << 20
    assert many < few + (300 << 20)


def _peak(words: list[str], folder: Path, input: str, end: str) -> int:
    asked = [*words, "--input", input, "--output", f"y.{end}", "--format", end, "--work", "work"]
    process = subprocess.Popen(asked, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_maxrss << 10


def test_rows_of_numbers_are_scored_without_pandas(words: list[str], tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", rows_of(20))
    asked = [words[0], "-X", "importtime", *words[1:], "--input", "x.csv", "--output", "y.csv", "--format", "csv"]
    done = subprocess.run([*asked, "--work", "w"], cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "sklearn" in imported
    assert "pandas.core" not in imported  # which takes longer to import than a million rows take to be scored


def test_numbers_of_arrow_are_what_arrow_itself_makes_of_them() -> None:
    names = ["double", "float", *(f"{sign}int{width}" for sign in ("", "u") for width in (8, 16, 32, 64))]
    for kind in map(pyarrow.type_for_alias, names):
        whole = pyarrow.array([3, 1, 4, 1, 5, 9, 2, 6], kind)
        gaps = pyarrow.array([None, 7, None], kind) if pyarrow.types.is_floating(kind) else pyarrow.array([8], kind)
        for pieces in ([whole], [whole.slice(3, 2), gaps.slice(1), whole.slice(8)], [gaps, whole], []):
            column = pyarrow.chunked_array(pieces, kind)
            found = tabular.numbers_of(column)
            assert found.dtype == column.to_numpy().dtype
            assert numpy.array_equal(found, column.to_numpy(), equal_nan=found.dtype.kind == "f"), (kind, pieces)
