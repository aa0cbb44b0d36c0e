"""Journals hold what was written whole, whatever became of the process that wrote."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bis.nouns.logged import End, File, Input, Params, Saying, Tags, Values
from bis.steps.journal import HEADER, create, entries, journals

TEXT = st.text(max_size=20)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
ENTRIES = st.one_of(
    st.builds(Values, INT64, INT64, st.dictionaries(TEXT, st.floats())),
    st.builds(Params, st.dictionaries(TEXT, TEXT)),
    st.builds(Tags, st.dictionaries(TEXT, TEXT)),
    st.builds(File, TEXT, TEXT),
    st.builds(Input, TEXT, TEXT, INT64, TEXT),
    st.builds(End, INT64, st.sampled_from(["finished", "failed", "interrupted"])),
)


def same(some: list[Saying], others: list[Saying]) -> bool:
    """Equal, NaN being NaN."""
    return repr(some) == repr(others)


@given(written=st.lists(ENTRIES, max_size=20), cut=st.integers(0, 40))
def test_what_is_read_is_what_was_written_up_to_where_it_was_cut_short(
    written: list[Saying], cut: int, tmp_path_factory: object
) -> None:
    folder = Path(tmp_path_factory.mktemp("journal"))  # type: ignore[attr-defined]
    path, append = create(folder)
    for entry in written:
        append(entry)
    whole = [told.entry for told in entries(path)]
    assert same(whole, written)
    os.truncate(path, max(0, path.stat().st_size - cut))
    rest = [told.entry for told in entries(path)]
    assert same(rest, written[: len(rest)])
    assert cut or len(rest) == len(written)


@given(written=st.lists(ENTRIES, min_size=1, max_size=20))
def test_reading_goes_on_where_it_stopped(written: list[Saying], tmp_path_factory: object) -> None:
    path, append = create(Path(tmp_path_factory.mktemp("journal")))  # type: ignore[attr-defined]
    for entry in written:
        append(entry)
    told = list(entries(path))
    middle = told[len(told) // 2]
    assert same([each.entry for each in entries(path, middle.end)], written[len(told) // 2 + 1 :])


def test_a_file_that_is_no_journal_and_a_damaged_one_hold_nothing_from_there_on(tmp_path: Path) -> None:
    (tmp_path / "x.journal").write_bytes(b"hello")
    assert not list(entries(tmp_path / "x.journal"))
    path, append = create(tmp_path)
    append(Params({"a": "1"}))
    with path.open("ab") as file:
        file.write(b"\xff\xff\xff\xff" + b"x" * 100)
    append(Params({"b": "2"}))
    assert [told.entry for told in entries(path)] == [Params({"a": "1"})]


def test_nothing_that_was_written_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from bis.nouns.logged import Values
from bis.steps.journal import create
path, append = create(Path(sys.argv[1]))
for step in range(10**9):
    append(Values(0, step, {"loss": 1 / (step + 1)}))
    os.write(1, b"%d\\n" % step)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(2000)]
    process.send_signal(signal.SIGKILL)
    acknowledged = int((lines + process.stdout.readlines())[-1])
    process.stdout.close()
    process.wait()
    (path,) = journals(tmp_path)
    steps = [told.entry.step for told in entries(path) if isinstance(told.entry, Values)]
    assert steps[: acknowledged + 1] == list(range(acknowledged + 1))
    assert path.read_bytes().startswith(HEADER)


def test_values_that_are_no_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    path, append = create(tmp_path)
    append(Values(1, 2, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": -0.0}))
    (told,) = entries(path)
    assert isinstance(told.entry, Values)
    found = told.entry.values
    assert math.isnan(found["a"])
    assert (found["b"], found["c"], math.copysign(1, found["d"])) == (math.inf, -math.inf, -1)
