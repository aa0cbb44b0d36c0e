"""Where results and advice go, and in which form."""

import io
import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.cli.predict import watched
from bis.cli.render import Column, Terminal, as_json
from bis.text import clear_lines

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine that has other things to do is no fault."""


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on(stream: io.StringIO, **variables: str) -> Terminal:
    return Terminal(variables, out=stream, err=stream)


@pytest.mark.parametrize(
    ("stream", "variables", "color", "coloured"),
    [
        (Screen, {}, "auto", True),
        (Screen, {"NO_COLOR": "1"}, "auto", False),
        (Screen, {"NO_COLOR": ""}, "auto", True),
        (Screen, {"TERM": "dumb"}, "auto", False),
        (Screen, {}, "never", False),
        (io.StringIO, {}, "auto", False),
        (io.StringIO, {"FORCE_COLOR": "1"}, "auto", True),
        (io.StringIO, {"CLICOLOR_FORCE": "1"}, "auto", True),
        (io.StringIO, {"FORCE_COLOR": "0"}, "auto", False),
        (io.StringIO, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "auto", False),
        (io.StringIO, {"NO_COLOR": "1"}, "always", True),
    ],
)
def test_colours_are_used_when_they_are_wanted(
    stream: type[io.StringIO], variables: dict[str, str], color: str, coloured: bool
) -> None:
    terminal = Terminal(variables, out=stream(), err=stream(), color=color)
    assert (terminal.paint("same", "green") == "\x1b[32msame\x1b[0m") is coloured


def test_a_table_is_aligned_on_a_terminal_and_tsv_in_a_pipe() -> None:
    columns = [Column("name"), Column("took", right=True)]
    rows = [["low", "12s"], [("higher", "cyan"), "1s"]]
    assert on(Screen(), NO_COLOR="1").table(columns, rows) == ["name    took", "low      12s", "higher    1s"]
    assert on(io.StringIO()).table(columns, rows) == ["name\ttook", "low\t12s", "higher\t1s"]


def test_a_column_that_may_shrink_is_cut_where_the_terminal_is_narrow() -> None:
    terminal = on(Screen(), NO_COLOR="1")
    terminal.width = 24
    lines = terminal.table([Column("run"), Column("note", shrinks=True)], [["7f3a91c2", "a long story of a run"]])
    assert lines[1] == "7f3a91c2  a long story.."


def test_advice_is_silent_when_it_is_not_wanted() -> None:
    stream = io.StringIO()
    terminal = Terminal({}, out=stream, err=stream, quiet=True)
    terminal.say("finished")
    terminal.tell("help: bis log")
    terminal.progress("restoring")
    assert stream.getvalue() == ""


def test_progress_is_one_line_on_a_terminal_and_leaves_no_trace_before_a_result() -> None:
    stream = Screen()
    terminal = on(stream, NO_COLOR="1")
    terminal.progress("restoring code")
    terminal.progress("executing")
    terminal.show(["identical"])
    assert stream.getvalue() == "\r\x1b[Kbis  restoring code\r\x1b[Kbis  executing\r\x1b[Kidentical\n"


def test_progress_in_a_pipe_is_a_line_each() -> None:
    stream = io.StringIO()
    terminal = on(stream)
    terminal.progress("restoring code")
    terminal.progress("executing")
    assert stream.getvalue() == "bis  restoring code\nbis  executing\n"


def test_a_meter_says_how_long_the_rest_will_take_and_nothing_of_what_is_done_soon() -> None:
    stream = Screen()
    terminal = on(stream, NO_COLOR="1")
    terminal.meter("read 1 of 100", 1, 100)
    assert stream.getvalue() == ""
    time.sleep(0.6)
    terminal.meter("read 10 of 100", 10, 100)
    shown = re.fullmatch(r"\r\x1b\[Kbis  read 10 of 100, (\d+\.\d)s left", stream.getvalue())
    assert shown
    assert float(shown[1]) >= 5.4
    terminal.meter("read 11 of 100", 11, 100)
    assert "read 11" not in stream.getvalue()  # not so soon after the last


def test_a_meter_in_a_pipe_is_a_line_in_ten_seconds() -> None:
    stream = io.StringIO()
    terminal = on(stream)
    time.sleep(0.6)
    terminal.meter("read 10 of 100", 10, 100)
    assert stream.getvalue() == ""


def test_a_scoring_tells_rows_their_rate_and_how_long_the_rest_will_take() -> None:
    stream = Screen()
    told = watched(on(stream, NO_COLOR="1"))
    told(20_000, 0.2)  # scored before by a command that was killed
    time.sleep(0.6)
    told(26_000, 0.26)
    shown = re.search(r"26,000 rows, ([\d,]+) a second, (\d+\.\d)s left", stream.getvalue())
    assert shown, stream.getvalue()
    assert 1_000 < int(shown[1].replace(",", "")) <= 10_000
    assert float(shown[2]) > 5


def test_times_are_relative_on_a_terminal_exact_in_a_pipe_and_utc_when_wanted() -> None:
    then, now = "2026-05-03T12:00:00.000000Z", datetime(2026, 5, 3, 14, tzinfo=UTC)
    terminal = on(Screen())
    assert terminal.time(then, now) == "2h ago"
    terminal.utc = True
    assert terminal.time(then, now) == "2026-05-03 12:00:00Z"
    assert on(io.StringIO()).time(then, now) == then


def test_nobody_reading_the_advice_is_no_reason_to_stop() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Terminal({}, out=io.StringIO(), err=Gone()).say("finished")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@patient
@given(st.dictionaries(st.text(), json_values))
def test_json_is_valid_safe_on_a_terminal_and_complete(value: dict[str, Any]) -> None:
    text = as_json(value, indent=2)
    assert text.replace("\n", "").isprintable()
    assert json.loads(text, parse_constant=pytest.fail) == _spelled(value)


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value


def test_what_a_program_printed_is_shown_as_it_stood_last_and_steers_nothing() -> None:
    printed = "10%\r50%\r100%\r\n\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jdone\nlast\x07"
    assert clear_lines(printed) == ["100%", "red done", r"last\x07"]
    assert clear_lines("") == []


@patient
@given(st.text())
def test_whatever_a_program_printed_is_safe(printed: str) -> None:
    assert all(line.isprintable() for line in clear_lines(printed))


def test_a_stream_that_cannot_hold_a_letter_gets_it_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Terminal({}, out=stream, err=stream).show(["mod\u00e8le"])
    assert raw.getvalue() == b"mod\\xe8le\n"
