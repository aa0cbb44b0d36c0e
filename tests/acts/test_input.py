"""Standard input of a run: recorded as it is read from a file or a pipe, and given again. What is typed is not."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.nouns.run import Run

Bis = Callable[..., subprocess.CompletedProcess[str]]
Verdict = Callable[[subprocess.CompletedProcess[str]], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("python3", "room", "kernel_trace")


def repeated(bis: Bis, verdict: Verdict) -> dict[str, Any]:
    return verdict(bis("repeat", "@", "--json"))


@pytest.fixture
def piped(project: Path, variables: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A line of shell, in which `bis` and `python3` are what one expects."""

    tool = project.parent / "bin" / "bis"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bis "$@"\n')
    tool.chmod(0o755)
    given = {**variables, "PATH": f"{tool.parent}:{variables['PATH']}"}

    def call(line: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-c", line]
        return subprocess.run(words, cwd=project, env=given, capture_output=True, text=True, timeout=120, check=False)

    return call


Piped = Callable[..., subprocess.CompletedProcess[str]]
SUM = "import os, stat, sys; print(stat.S_ISFIFO(os.fstat(0).st_mode), sum(map(int, sys.stdin)))"


def test_what_comes_through_a_pipe_is_recorded_and_given_again(
    piped: Piped, bis: Bis, verdict: Verdict, last: Callable[[], Run]
) -> None:
    done = piped(f'seq 1 50000 | bis run -- python3 -c "{SUM}"')
    assert done.stdout == "True 1250025000\n", done.stderr
    assert last().stdin
    assert not last().findings
    found = repeated(bis, verdict)
    assert found["sameness"] == "identical", found


def test_a_command_that_reads_a_part_of_an_endless_pipe_ends_and_so_does_the_producer(
    piped: Piped, bis: Bis, verdict: Verdict
) -> None:
    done = piped('yes | bis run -- head -c 10; echo "${PIPESTATUS[@]}"')
    assert done.stdout.splitlines()[-1] == "141 0", done
    assert repeated(bis, verdict)["sameness"] == "identical"


def test_a_producer_hears_at_once_that_nobody_reads_any_more(piped: Piped) -> None:
    command = "head -n 1; exec <&-; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.5; test -e ended && exit; done; exit 1"
    done = piped(f"(yes; touch ended) | bis run -- sh -c '{command}'")
    assert (done.stdout, done.returncode) == ("y\n", 0), done.stderr


def test_what_a_command_does_not_read_is_left_to_others(piped: Piped, last: Callable[[], Run]) -> None:
    done = piped("printf '1\\n2\\n3\\n' | while read number; do bis run -q -- echo $number; done")
    assert done.stdout == "1\n2\n3\n", done.stderr
    assert not last().stdin
    assert not any(finding.code == "piped-input" for finding in last().findings)


def test_what_is_in_a_pipe_is_there_when_the_command_looks(piped: Piped) -> None:
    look = "import select; print(bool(select.select([0], [], [], 0)[0]))"
    assert piped(f"echo 1 | bis run -- python3 -c '{look}'").stdout == "True\n"


def test_a_pipe_that_says_nothing_holds_nobody_up(piped: Piped) -> None:
    done = piped("mkfifo quiet; exec 3<>quiet; bis run -- echo 1 <&3")
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_a_producer_that_is_killed_is_the_end_of_the_input(piped: Piped) -> None:
    done = piped("(echo 1; echo 2; kill -9 $BASHPID) | bis run -- cat")
    assert (done.stdout, done.returncode) == ("1\n2\n", 0), done.stderr


def test_the_input_goes_on_when_bis_is_killed(project: Path, variables: dict[str, str]) -> None:
    source = "import sys\nfor line in sys.stdin: open('got', 'a').write(line)\nopen('got', 'a').write('end')"
    words = [sys.executable, "-m", "bis", "run", "--", "python3", "-c", source]
    quiet = subprocess.DEVNULL
    bis = subprocess.Popen(words, cwd=project, env=variables, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
    assert bis.stdin is not None
    bis.stdin.write(b"1\n" * 5000)
    bis.stdin.flush()
    got, limit = project / "got", time.monotonic() + 60
    while not got.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    bis.kill()
    bis.wait()
    bis.stdin.write(b"2\n" * 5000)
    bis.stdin.close()
    while not got.read_text().endswith("end") and time.monotonic() < limit:
        time.sleep(0.05)
    assert got.read_text() == "1\n" * 5000 + "2\n" * 5000 + "end"


def test_more_than_is_kept_is_passed_on_and_said(
    piped: Piped, project: Path, bis: Bis, verdict: Verdict, last: Callable[[], Run]
) -> None:
    (project / "bis.toml").write_text("limits.input_file = 1000000\n")
    done = piped("head -c 3000000 /dev/zero | bis run -- wc -c")
    assert done.stdout == "3000000\n", done.stderr
    assert [finding.blocks for finding in last().findings if finding.code == "piped-input"] == [True]
    assert not last().stdin
    found = repeated(bis, verdict)
    assert found["sameness"] == "different"
    assert any("standard input was a pipe" in cause for cause in found["causes"]), found


def at_a_terminal(words: list[str], folder: Path, variables: dict[str, str], keys: bytes = b"") -> str:
    """What bis shows to a person who answers the first question."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        os.execve(sys.executable, [sys.executable, "-m", "bis", *words], variables)
    shown, limit = b"", time.monotonic() + 120
    try:
        while time.monotonic() < limit:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            piece = os.read(terminal, 4096)
            shown += piece
            if keys and b"? " in shown:
                os.write(terminal, keys)
                keys = b""
    except OSError:
        return shown.decode()
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    raise AssertionError(f"it hung: {shown!r}")


def test_keys_are_not_recorded_and_a_repeat_does_not_wait_for_them(project: Path, variables: dict[str, str]) -> None:
    given = {**variables, "TERM": "xterm"}
    shown = at_a_terminal(["run", "--", "python3", "-c", "print(input('name? '))"], project, given, b"ana\n")
    assert "keys were typed" in shown
    interrupted = "import time; print('wait? ', flush=True); time.sleep(60)"
    assert "keys were typed" not in at_a_terminal(["run", "--", "python3", "-c", interrupted], project, given, b"\x03")
    shown = at_a_terminal(["repeat", "@~1"], project, given)
    assert "EOFError" in shown
    assert "keys were typed" in shown[shown.index("causes") :]
