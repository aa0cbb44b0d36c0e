"""What goes wrong around a run is told, and loses nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bis.digest import canonical
from bis.nouns.run import Run
from bis.steps.home import Home

PYTHON = Path(sys.base_prefix) / "bin" / "python3"
Bis = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small_disk(project: Path) -> Iterator[Path]:
    """The project on a disk of 3 MiB, where this machine lets us mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", project], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield project
    subprocess.run(["umount", "-l", project], check=True)


def test_a_disk_that_fills_up_loses_nothing_of_the_run(bis: Bis, small_disk: Path, last: Callable[[], Run]) -> None:
    noise = small_disk / "ballast"
    (small_disk / "a.py").write_text("import os; open('out.bin', 'wb').write(os.urandom(900_000)); print('made')")
    assert bis("run", "--", "sh", "-c", "true").returncode == 0
    free = shutil.disk_usage(small_disk).free
    noise.write_bytes(b"x" * max(0, free - 1_300_000))
    done = bis("run", "--", str(PYTHON), "a.py")
    assert done.stdout == "made\n"
    assert done.returncode == 125, done.stderr
    assert "error[B129]" in done.stderr
    noise.unlink()
    assert bis("show", "@").returncode == 0
    run = last()
    assert (run.exit, [output.size for output in run.outputs if output.path == "out.bin"]) == (0, [900_000])


def test_a_folder_that_is_read_only_is_said_before_the_command_starts(
    bis: Bis, project: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    mount = f"mount --bind {project} {project} && mount -o remount,ro,bind {project} && cd {project} && exec "
    inner = f"{sys.executable} -m bis run -- touch {tmp_path}/ran"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount + inner], env=variables, capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no private mounts here: {done.stderr}")
    assert done.returncode == 125, done.stderr
    assert "error[B05" in done.stderr
    assert "help:" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_data_file_that_is_not_there_is_the_commands_trouble_and_no_input(
    bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    (project / "a.py").write_text("try:\n    open('nowhere.csv')\nexcept OSError as e:\n    print(e)")
    done = bis("run", "--", "python3", "a.py", python=PYTHON)
    assert (done.returncode, done.stdout) == (0, "[Errno 2] No such file or directory: 'nowhere.csv'\n"), done.stderr
    assert last().parts["data"].facts["inputs"] == []


def test_a_file_that_another_program_changes_meanwhile_is_a_finding(
    bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    (project / "x.csv").write_text("before")
    # A program that the run does not know of: started by nobody in it, as a cron job would be.
    (project / "a.py").write_text("import time; open('x.csv').read(); open('go', 'w').close(); time.sleep(1)")
    watch = "while [ ! -e go ]; do sleep 0.05; done; echo changed > x.csv"
    other = subprocess.Popen(["sh", "-c", watch], cwd=project)
    done = bis("run", "--", "python3", "a.py", python=PYTHON)
    other.wait()
    assert done.returncode == 0
    assert "input-changed" in [finding.code for finding in last().parts["data"].findings]
    assert "x.csv" in done.stderr


def test_a_store_of_a_newer_version_is_left_alone(bis: Bis, project: Path) -> None:
    bis("run", "--", "true")
    format_file = project / ".bis" / "store" / "format"
    newer = "bis store 999\n"
    format_file.write_text(newer)
    done = bis("run", "--", "touch", "ran")
    assert done.returncode == 125
    assert "999" in done.stderr
    assert not (project / "ran").exists()
    assert format_file.read_text() == newer


def test_unknown_and_ambiguous_references_name_what_there_is(
    bis: Bis, project: Path, home: Callable[[], Home], last: Callable[[], Run]
) -> None:
    bis("run", "--name", "first", "--", "true")
    unknown = bis("show", "frist")
    assert unknown.returncode == 3
    assert "first" in unknown.stderr
    run = last()
    # Ids are drawn: that another one begins with the same four digits takes some hundred runs.
    other = msgspec.structs.replace(run, id=f"{run.id[:4]}{(int(run.id[4:], 16) + 1) % (1 << 32):08x}", name="second")
    opened = home()
    opened.ledger.begin(other)
    opened.ledger.seal(other, opened.store.put_bytes(canonical(other), "record"))
    opened.store.flush()
    for command in (("show",), ("repeat",), ("restore",), ("diff", "first")):
        ambiguous = bis(*command, run.id[:4])
        assert ambiguous.returncode == 2, ambiguous.stderr
        assert all(word in ambiguous.stderr for word in (run.id, "first", other.id, "second", "help: a digit more: "))
    (line,) = [line for line in ambiguous.stderr.splitlines() if line.startswith("help: ")]
    assert bis("show", line.rpartition(" ")[2]).returncode == 0
    assert bis("show", "second").returncode == 0


def test_names_with_newlines_and_other_bytes_survive_run_and_restore(bis: Bis, project: Path, tmp_path: Path) -> None:
    odd = b"out\n\xff.bin"
    (project / "a.py").write_text(f"open({odd!r}, 'wb').write(b'x')")
    assert bis("run", "--", "python3", "a.py", python=PYTHON).returncode == 0
    assert "\\xff" in bis("show", "@").stdout
    assert bis("restore", "@", str(tmp_path / "back"), "--outputs").returncode == 0
    assert (Path(os.fsdecode(os.fsencode(tmp_path) + b"/back/" + odd))).read_bytes() == b"x"
    assert bis("repeat", "@").returncode == 0


def test_a_partial_trace_still_finds_what_other_programs_write(
    bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    assert bis("run", "--trace", "audit", "--", "sh", "-c", "echo x > out.txt").returncode == 0
    run = last()
    assert "out.txt" in [output.path for output in run.outputs]
    assert not run.coverage.complete
    assert run.coverage.limits


def test_restore_never_writes_over_what_is_there(bis: Bis, project: Path, tmp_path: Path) -> None:
    (project / "a.py").write_text("print(1)")
    bis("run", "--", "python3", "a.py", python=PYTHON)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("uncommitted")
    done = bis("restore", "@", str(tmp_path / "mine"))
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["work.txt"]


def test_verify_finds_a_flipped_bit_and_a_repeat_refuses_the_damage(bis: Bis, project: Path) -> None:
    (project / "a.py").write_text("print(1)  # " + "x" * 500)
    bis("run", "--", "python3", "a.py", python=PYTHON)
    assert bis("verify").returncode == 0
    pack = max((project / ".bis" / "store" / "packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    pack.chmod(0o644)
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    done = bis("verify")
    assert done.returncode not in (0, 125), done.stdout
    assert done.stdout


def test_a_project_with_a_name_of_any_bytes_is_run_and_repeated(bis: Bis, project: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(project) + b"/pr\xff\n"))
    odd.mkdir()
    (odd / "a.py").write_text("print(open('x.csv').read())")
    (odd / "x.csv").write_text("1")
    done = bis("run", "--", "python3", "a.py", python=PYTHON, folder=odd)
    assert done.returncode == 0, done.stderr
    repeated = bis("repeat", "@", folder=odd)
    assert repeated.returncode == 0, repeated.stdout + repeated.stderr
    assert "every output is the same, byte for byte" in repeated.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_caller_has_closed_is_not_taken_for_a_file_of_bis(
    closed: str, project: Path, variables: dict[str, str], last: Callable[[], Run]
) -> None:
    source = "import sys; print(len(sys.stdin.read())); print('told', file=sys.stderr)"
    line = f'exec "$0" -m bis run -- {PYTHON} -c "{source}" {closed} '
    done = subprocess.run(["sh", "-c", line, sys.executable], cwd=project, env=variables, timeout=60, check=False)
    assert done.returncode == 0
    assert {output.path: output.size for output in last().outputs} == {"<stdout>": 2, "<stderr>": 5}
