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


FULL = """
import resource, sys
from pathlib import Path
from bis.nouns.logged import Params
from bis.steps.journal import create

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
path, append = create(folder)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for number in range(20):
    try:
        append(Params({"n": str(number)}))
    except OSError:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        print(number)
"""


def test_what_is_written_when_there_is_room_again_is_read(tmp_path: Path) -> None:
    """At each size of the file, one entry finds no room for the whole of itself, and those behind it do."""
    for limit in range(len(HEADER) + 1, len(HEADER) + 20):
        folder = tmp_path / str(limit)
        folder.mkdir()
        said = subprocess.run(
            [sys.executable, "-c", FULL, str(folder), str(limit)], check=True, capture_output=True, text=True
        )
        (path,) = journals(folder)
        found = [told.entry.values["n"] for told in entries(path) if isinstance(told.entry, Params)]
        assert found == said.stdout.split()
        assert len(found) == 19


NO_ROOM = """
import os, resource, sys
from pathlib import Path
from bis.nouns.logged import Params
from bis.steps.journal import create

resource.setrlimit(resource.RLIMIT_FSIZE, (3, resource.RLIM_INFINITY))
for _ in range(3):
    try:
        create(Path(sys.argv[1]))
    except OSError:
        print(len(os.listdir("/dev/fd")))
"""


def test_a_journal_that_finds_no_room_leaves_neither_a_file_nor_a_descriptor(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path)], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(said) == 3
    assert len(set(said)) == 1
    assert not journals(tmp_path)
