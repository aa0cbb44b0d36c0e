"""The trace from inside: what is known where system calls cannot be traced."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.nouns.run import Chance
from bis.steps import chance

Run = Callable[..., Any]


@pytest.fixture
def run_heard(run_python: Run, tmp_path: Path) -> Run:
    """Execute Python source with the hooks inside, and no tracer."""

    def run(source: str) -> Any:
        inside = tmp_path / "inside"
        return run_python(
            source, tracing="audit", variables=chance.variables(Chance(), inside, os.environ, events=True)
        )

    return run


def test_what_python_opens_is_known_with_the_state_before(run_heard: Run, project: Path) -> None:
    before = (project / "data.csv").stat()
    ran = run_heard("""
        import os
        open("data.csv").read()
        open("out.txt", "w").write("1")
        open("out.txt").read()
        os.listdir(".")
        os.mkdir("made")
        os.listdir("made")
        os.makedirs(".", exist_ok=True)
        os.rename("out.txt", "result.txt")
        try: open("absent.txt")
        except OSError: pass
    """)
    assert ran.execution.exit == 0, ran.execution.stderr.read_text()
    access = ran.access("data.csv")
    assert (access.how, access.was_read, access.before.mtime_ns) == ("r", True, before.st_mtime_ns)
    assert ran.access("result.txt").was_written
    assert not ran.access("out.txt").was_read
    assert ran.access(project.resolve()).was_listed
    assert (ran.how("made"), ran.access("made").was_listed) == ("fl", False)
    assert ran.how("absent.txt") == "a"
    assert ran.execution.trace.mechanism == "audit"
    assert not ran.execution.trace.complete


def test_a_file_that_was_read_and_then_overwritten_counts_as_read_in_its_state_of_then(run_heard: Run) -> None:
    ran = run_heard("""
        open("data.csv").read()
        open("data.csv", "w").write("1")
    """)
    assert ran.access("data.csv").was_read
    assert ran.access("data.csv").before.size == 8


@pytest.mark.parametrize(("mode", "how", "read"), [("a", "w", True), ("r+", "rw", True), ("w", "tw", False)])
def test_a_file_that_is_appended_to_was_read_and_one_that_is_emptied_was_not(
    run_heard: Run, mode: str, how: str, read: bool
) -> None:
    ran = run_heard(f"open('data.csv', {mode!r}).write('1')")
    access = ran.access("data.csv")
    assert (access.how, access.was_read, access.before.size) == (how, read, 8)


def test_links_of_folders_are_resolved_and_links_of_files_are_known_with_what_they_lead_to(
    run_heard: Run, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "v2.csv").write_text("2")
    (tmp_path / "elsewhere" / "latest.csv").symlink_to("v2.csv")
    (project / "data").symlink_to(tmp_path / "elsewhere")
    ran = run_heard("open('data/../elsewhere/latest.csv').read()")
    assert ran.how(tmp_path / "elsewhere" / "latest.csv") == "r"
    assert ran.how(tmp_path / "elsewhere" / "v2.csv") == "r"


def test_of_several_processes_the_one_that_looked_first_tells_how_a_file_was(run_heard: Run) -> None:
    ran = run_heard("""
        import subprocess, sys
        subprocess.run([sys.executable, "-c", "open('made.csv', 'w').write('1')"])
        open("made.csv").read()
    """)
    assert ran.access("made.csv").before is None
    assert not ran.access("made.csv").was_read


def test_a_file_that_another_program_made_meanwhile_is_not_claimed_to_be_unchanged(run_heard: Run) -> None:
    ran = run_heard("""
        import os
        os.system("echo 1 > made.csv")
        open("made.csv").read()
    """)
    assert ran.access("made.csv").before.size == -1


def test_the_pythons_that_ran_are_listed(run_heard: Run) -> None:
    ran = run_heard("import subprocess, sys; subprocess.run([sys.executable, '-c', 'open(\"data.csv\")'])")
    assert len([each for each in ran.execution.trace.processes if each.argv]) >= 2
    assert ran.access("data.csv").was_read
