"""Tables as text: the same answer whatever reads them, in whatever pieces."""

import csv
import io
import json
import math
import random
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.formats import Unreadable, delimited, json_lines, meeting, summary
from bis.formats.profile import Pair, profile, profile_both
from bis.formats.rows import RowChange
from bis.formats.sums import arrow_sums, sums

CELLS = [
    *("", "", "1", "2", "-3", "+7", "1.5", "255.07", " 5", "1_0", "nan", "inf", "1e400", "0x1F", "9" * 25, "-0.0"),
    *("5e-324", "3e300", "١", "nan(1)", "true", "False", "2020-01-02", "2020-01-02T03:04", "20200102", "0000-01-01"),
    *("2020-W01-1", "a", "é", "\U0001f600", "\ufb01", "\udc80", "x,y", 'q"q', "l\nl", "c\rc", "\ufeffb"),
    *("\x00", "\x1f"),
]  # fmt: skip
EASY = [cell for cell in CELLS if not set(cell) & set('",\r\n\x00\udc80')]


@contextmanager
def reading(*, arrow: bool, window: int = 1 << 19) -> Iterator[None]:
    """Whatever the size of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "WORTHWHILE", 0 if arrow else 1 << 60)
        patch.setattr(summary, "SHORT", 0)
        patch.setattr(delimited, "WINDOW", window)
        patch.setattr(json_lines, "WINDOW", window)
        patch.setattr(meeting, "PATIENCE", max(100, window))
        yield


def every_way(before: Path, after: Path) -> list[Pair | str]:
    found: list[Pair | str] = []
    for arrow in (False, True):
        for window in (5, 60, 1 << 19):
            with reading(arrow=arrow, window=window):
                try:
                    found.append(profile_both(before, after))
                except Unreadable as error:
                    found.append(str(error))
    return found


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two versions of a table: rows edited, inserted, removed, too short and too long; quoted here and there."""
    width = draw(st.integers(1, 3))
    pools = [
        draw(st.lists(st.sampled_from(draw(st.sampled_from([CELLS, EASY]))), min_size=1, max_size=4))
        for _ in range(width)
    ]
    noise = draw(st.randoms(use_true_random=False))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))

    def row() -> list[str]:
        cells = [noise.choice(pool) for pool in pools]
        return (
            cells[: noise.randrange(width + 1)]
            if noise.random() < 0.03
            else [*cells, "x"]
            if noise.random() < 0.03
            else cells
        )

    def quote(cell: str) -> str:
        needed = bool(set(cell) & set(',"\r\n')) and noise.random() < 0.95
        return '"' + cell.replace('"', '""') + '"' if needed or noise.random() < 0.1 else cell

    rows = [row() for _ in range(draw(st.integers(0, 10)))]
    edited = [one if noise.random() < 0.8 else row() for one in rows if noise.random() < 0.9]
    if draw(st.booleans()):
        noise.shuffle(edited)
    head = ["h", "i", "j"][:width]
    texts = (
        end.join(",".join(map(quote, one)) for one in [head, *some]) + end * noise.randrange(2)
        for some in (rows, edited)
    )
    first, second = (text.encode("utf-8", "surrogateescape") for text in texts)
    return first, second


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(pair=tables())
def test_pyarrow_and_python_find_the_same_in_whatever_windows(pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    files = [tmp_path / "x.csv", tmp_path / "y.csv"]
    for path, data in zip(files, pair, strict=True):
        path.write_bytes(data)
    first, *others = map(repr, every_way(files[0], files[1]))
    assert set(others) == {first}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(pair=tables())
def test_rows_are_those_that_the_csv_module_reads(pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    files, rows = [tmp_path / "x.csv", tmp_path / "y.csv"], []
    for path, data in zip(files, pair, strict=True):
        path.write_bytes(data)
        text = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
        head, *body = [row for row in csv.reader(text) if row]
        rows.append([tuple((row + [""] * len(head))[: len(head)]) for row in body])
    with reading(arrow=True, window=60):
        found = profile_both(*files)
    assert (found.before.rows, found.after.rows) == (len(rows[0]), len(rows[1]))
    left = list(rows[1])
    removed = sum(left.remove(row) is not None if row in left else 1 for row in rows[0])
    assert found.rows == RowChange(added=len(left), removed=removed)


values = st.one_of(
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=2),
    st.none(),
    st.booleans(),
    st.just(10**30),
    st.just([1, {"b": None}]),
)
rows_of_json = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), values, max_size=3) | values, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(first=rows_of_json, second=rows_of_json, plain=st.booleans())
def test_json_lines_are_the_same_in_whatever_windows(first: list, second: list, plain: bool, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    files = [tmp_path / "x.jsonl", tmp_path / "y.jsonl"]
    for path, some in zip(files, (first, [*second, *first[::2]]), strict=True):
        path.write_text("".join(json.dumps(row, ensure_ascii=plain) + "\n" for row in some), "utf-8", "surrogatepass")
    ways = every_way(files[0], files[1])
    assert {repr(way) for way in ways} == {repr(ways[0])}
    with reading(arrow=False):
        alone = [repr(profile(path)) for path in files]
    assert alone == [repr(ways[0].before), repr(ways[0].after)] if isinstance(ways[0], Pair) else True


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=200)
@given(
    numbers=st.lists(
        st.one_of(finite, st.floats(-1e6, 1e6), st.integers(-1000, 1000).map(float)), min_size=1, max_size=20
    )
)
def test_sums_are_exact_in_any_order_and_in_any_blocks(numbers: list[float]) -> None:
    pa = pytest.importorskip("pyarrow")
    compute = pytest.importorskip("pyarrow.compute")
    total, squares = sum(map(Fraction, numbers)), sum(Fraction(number) ** 2 for number in numbers)
    blocks = sums(numbers[::2])
    blocks.add(sums(numbers[1::2]))
    for found in (sums(numbers), blocks, arrow_sums(compute, pa.array(numbers))):
        assert (found.count, found.low, found.high) == (len(numbers), min(numbers), max(numbers))
        assert (found.total, found.squares) == (total, squares)
        assert found.mean == pytest.approx(statistics.fmean(numbers) if max(map(abs, numbers)) < 1e300 else found.mean)
        assert math.isfinite(found.deviation)


def test_a_table_in_another_order_has_the_same_statistics(tmp_path: Path) -> None:
    noise = random.Random(1)
    lines = [f"{noise.gauss(1e9, 1)!r}\n" for _ in range(1000)]
    files = [tmp_path / "x.csv", tmp_path / "y.csv"]
    for path in files:
        path.write_text("x\n" + "".join(lines))
        lines.reverse()
    found = profile_both(*files)
    assert found.before == found.after
    assert found.before.columns[0].deviation == pytest.approx(1, abs=0.1)


def test_a_cell_in_quotes_may_go_on_for_many_windows(tmp_path: Path) -> None:
    text = "line, with a comma\n" * 100
    files = [tmp_path / "x.csv", tmp_path / "y.csv"]
    for path, last in zip(files, ("1", "2"), strict=True):
        path.write_text(f'a,b\n1,"{text}"\n{last},"{text}"\n')
    with reading(arrow=True, window=64):
        found = profile_both(*files)
    assert (found.after.rows, found.rows) == (2, RowChange(added=1, removed=1))
