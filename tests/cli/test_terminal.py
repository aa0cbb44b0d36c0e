"""On a terminal: colours, tables that fit, the pager; in a pipe: none of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Type = Callable[..., Any]
COLOUR = re.compile(r"\x1b\[\d+m")


def test_a_terminal_gets_a_table_in_colour_and_a_pipe_gets_tsv(bis: Type, terminal: Type, project: Path) -> None:
    seen = terminal("--no-pager", "log", folder=project)
    assert seen.status == 0
    assert COLOUR.search(seen.out)
    lines = COLOUR.sub("", seen.out).splitlines()
    assert lines[0].split()[:3] == ["run", "name", "status"]
    assert re.fullmatch(r"\w{8}  broken  failed 3  \d+[smh] ago  .*", lines[1])
    assert lines[-1] == "3 runs"
    piped = bis("log", folder=project)
    assert not COLOUR.search(piped.out + piped.err)
    assert [line.count("\t") for line in piped.out.splitlines()] == [piped.out.splitlines()[0].count("\t")] * 4
    assert piped.err == "3 runs\n"


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_when_none_is_wanted(more: dict[str, str], terminal: Type, project: Path) -> None:
    assert "\x1b" not in terminal("show", "high", folder=project, lines=200, **more).out


def test_colour_in_a_pipe_when_it_is_forced(bis: Type, project: Path) -> None:
    assert COLOUR.search(bis("show", "high", "--color", "always", folder=project).out)
    assert COLOUR.search(bis("show", "high", folder=project, FORCE_COLOR="1").out)
    assert not COLOUR.search(bis("--color", "never", "show", "high", folder=project, FORCE_COLOR="1").out)


def test_no_line_of_the_list_is_wider_than_the_terminal(terminal: Type, project: Path) -> None:
    for columns in (40, 60, 80, 200):
        lines = COLOUR.sub("", terminal("--no-pager", "log", folder=project, columns=columns).out).splitlines()
        assert max(map(len, lines[:4])) <= max(columns, 60)


def test_what_is_longer_than_the_screen_goes_through_the_pager(terminal: Type, project: Path, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged\ncat\n")
    pager.chmod(0o755)
    assert terminal("show", "high", folder=project, lines=5, BIS_PAGER=str(pager)).out.startswith("paged\n")
    assert terminal("show", "high", folder=project, lines=5, PAGER=str(pager)).out.startswith("paged\n")
    for words, lines, chosen in (
        (["show", "high"], 200, str(pager)),
        (["--no-pager", "show", "high"], 5, str(pager)),
        (["show", "high"], 5, ""),
        (["show", "high"], 5, "no-such-pager"),
    ):
        assert "paged" not in terminal(*words, folder=project, lines=lines, BIS_PAGER=chosen).out


def test_a_pager_that_is_left_early_is_no_failure(terminal: Type, project: Path) -> None:
    assert terminal("show", "high", folder=project, lines=5, BIS_PAGER="head -n 1").status == 0


def test_what_a_run_printed_keeps_its_order_and_its_bytes(bis: Type, terminal: Type, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "for step in range(3):\n"
        "    print('out', step, flush=True); time.sleep(0.05)\n"
        "    print('err', step, file=sys.stderr, flush=True); time.sleep(0.05)\n"
        "sys.stdout.buffer.write(b'\\xff\\x1b]0;title\\x07')\n"
    )
    (tmp_path / "talk.py").write_text(code)
    bis("run", "-q", "--", "python3", "talk.py", folder=tmp_path)
    assert bis("show", "--log", folder=tmp_path, LANG="C.ISO-8859-1").err == ""
    shown = terminal("--no-pager", "show", "--log", folder=tmp_path).out
    assert shown.splitlines()[:6] == [f"{stream} {step}" for step in range(3) for stream in ("out", "err")]
    assert "\x1b" not in shown
    assert bis("show", "--stderr", folder=tmp_path).out == "err 0\nerr 1\nerr 2\n"


def test_progress_of_a_long_piece_of_work_is_on_stderr_only(bis: Type, project: Path, tmp_path: Path) -> None:
    done = bis("restore", "high", str(tmp_path / "past"), folder=project)
    assert done.err == ""
