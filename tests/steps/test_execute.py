"""A command under supervision: its output, signals, ends, and what is known when something is killed."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.errors import NotFound, UsageError
from bis.steps.execute import execute, prepare, recover
from bis.steps.terminal import Screen
from bis.steps.trace import is_watched

Run = Callable[..., Any]
SOURCE = str(Path(msgspec.__file__).parent.parent), str(Path(__file__).resolve().parent.parent.parent / "src")


def wait_for(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What a condition gives once it is there."""
    limit = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < limit, f"{what} did not come about in {seconds} s"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Outside:
    """A process that supervises a command as bis does, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes], project: Path, scratch: Path) -> None:
        self.process, self.project, self.scratch = process, project, scratch

    @property
    def child(self) -> int:
        """The pid of the command."""
        return int(wait_for(lambda: (self.scratch / "started").exists() and (self.scratch / "started").read_text()))

    @property
    def tracer(self) -> int:
        return int(Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()[1])

    def says(self, text: str) -> None:
        """Wait until the command has said something."""
        output = self.scratch / "stdout"
        wait_for(lambda: output.exists() and text in output.read_text("utf-8", "replace"))

    def result(self) -> dict[str, Any]:
        self.process.wait(30)
        if not (self.scratch / "result.json").exists():
            raise AssertionError(self.process.stderr.read().decode() if self.process.stderr else "no result")
        found: dict[str, Any] = json.loads((self.scratch / "result.json").read_text())
        return found


@pytest.fixture
def outside(project: Path, tmp_path: Path) -> Iterator[Run]:
    """Start a supervisor in a process of its own, for Python source as the command."""
    started: list[Outside] = []

    def start(
        source: str, *, before: Callable[[Path], None] = lambda scratch: None, shell: str = "", **streams: Any
    ) -> Outside:
        scratch = tmp_path / f"outside{len(started)}"
        scratch.mkdir()
        before(scratch)
        (project / "train.py").write_text(source)
        code = f"""
import os, resource, sys
sys.path += {SOURCE!r}
from pathlib import Path
import msgspec
from bis.steps.execute import execute
scratch = Path({str(scratch)!r})
def started(pid):
    (scratch / "started.new").write_text(str(pid)); (scratch / "started.new").rename(scratch / "started")
ran = execute([sys.executable, "-u", "train.py"], folder=Path({str(project)!r}), variables=dict(os.environ),
    scratch=scratch, roots=(Path({str(project)!r}),), on_start=started)
(scratch / "peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
(scratch / "result.json").write_bytes(msgspec.json.encode(ran, enc_hook=str))
"""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        words = [sys.executable, "-c", code]
        if shell:
            ready, go = os.pipe()
            words = [
                sys.executable,
                "-c",
                shell.replace("os.read(3", f"os.read({ready}").replace("write(4", f"write({go}"),
            ]
            words += ["-c", code]
            streams["pass_fds"] = (ready, go)
        process = subprocess.Popen(words, **streams)
        started.append(Outside(process, project, scratch))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        for stream in filter(None, (each.process.stdin, each.process.stdout, each.process.stderr)):
            stream.close()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((each.scratch / "started").read_text()), signal.SIGKILL)


# Ends


@pytest.mark.parametrize("status", [0, 1, 3, 125, 255])
def test_the_exit_status_is_the_commands_own(status: int, run_python: Run) -> None:
    ran = run_python(f"import sys; sys.exit({status})")
    assert (ran.execution.exit, ran.execution.signal, ran.execution.failure) == (status, None, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_ended_the_command_is_told(number: signal.Signals, run_python: Run) -> None:
    ran = run_python(f"import os, signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), {int(number)})")
    assert (ran.execution.exit, ran.execution.signal) == (None, number)
    assert not ran.execution.interrupted


def test_a_command_that_is_not_there_is_told_apart(supervise: Run, project: Path) -> None:
    with pytest.raises(NotFound, match=r"no command nonexistent-command") as caught:
        supervise("nonexistent-command")
    assert caught.value.code == "B127"
    (project / "train.py").write_text("")
    with pytest.raises(NotFound, match=r"there is no command train\.py") as caught:
        supervise("train.py")
    assert caught.value.hint == "bis run -- python train.py"


def test_a_command_that_cannot_be_executed_is_told_apart(supervise: Run, project: Path) -> None:
    (project / "train.py").write_text("print(1)")
    with pytest.raises(UsageError, match=r"\./train\.py cannot be executed: Permission denied") as caught:
        supervise("./train.py")
    assert (caught.value.code, caught.value.hint) == ("B126", "bis run -- python ./train.py")
    (project / "tool").write_bytes(b"\0\1\2\3" * 100)
    (project / "tool").chmod(0o755)
    with pytest.raises(UsageError, match="Exec format error"):
        supervise("./tool")
    with pytest.raises(UsageError, match="cannot be executed"):
        supervise(project)


def test_a_script_without_a_first_line_is_executed_as_a_shell_would(supervise: Run, project: Path) -> None:
    (project / "run").write_text("echo $0 $1\n")
    (project / "run").chmod(0o755)
    assert supervise("./run", "x y").output == "./run x y\n"


def test_a_script_whose_interpreter_is_missing_is_told_apart(supervise: Run, project: Path) -> None:
    (project / "run").write_text("#!/nowhere/python\n")
    (project / "run").chmod(0o755)
    with pytest.raises(NotFound) as caught:
        supervise("./run")
    assert "the interpreter that its first line names is not" in caught.value.because


def test_a_folder_that_has_vanished_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"the folder .*gone cannot be entered") as caught:
        execute(["true"], folder=tmp_path / "gone", variables={}, scratch=tmp_path / "scratch", quiet=True)
    assert caught.value.code == "B128"


def test_nothing_is_left_behind_by_a_command_that_could_not_be_started(tmp_path: Path) -> None:
    with prepare() as tracer:
        child = tracer.facts["pid"]
        with pytest.raises(NotFound):
            execute(["nowhere"], folder=tmp_path, variables={}, scratch=tmp_path / "s", quiet=True, tracer=tracer)
    assert not alive(child)
    assert not alive(tracer.pid)


def test_a_tracer_that_is_not_used_ends(tmp_path: Path) -> None:
    with prepare() as tracer:
        child = tracer.facts["pid"]
    wait_for(lambda: not alive(child))
    assert not alive(tracer.pid)


# What the command is given


def test_the_command_has_the_folder_the_variables_and_the_mask_it_is_given(
    supervise: Run, project: Path, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        ran = supervise(
            "sh", "-c", "pwd; umask; echo $FLAVOUR; touch made; env | wc -l", variables={"FLAVOUR": "ä\udcff"}
        )
    finally:
        os.umask(before)
    where, mask, flavour, _count = ran.execution.stdout.read_bytes().splitlines()
    assert (os.fsdecode(where), mask, flavour) == (str(project.resolve()), b"0027", "ä".encode() + b"\xff")
    assert (project / "made").stat().st_mode & 0o777 == 0o640


def test_the_command_has_the_usual_signals_and_no_descriptors_of_ours(run_python: Run) -> None:
    ran = run_python("""
        import os, signal
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        # Python itself ignores SIGPIPE and SIGXFSZ.
        print(status["SigBlk"], int(status["SigIgn"], 16) & 0x7FFFFFFF & ~(1 << 12 | 1 << 24))
        print(sorted(int(number) for number in os.listdir("/proc/self/fd"))[:4])
    """)
    assert ran.output.splitlines() == ["True", "0000000000000000 0", "[0, 1, 2, 3]"]  # 3 is the listing itself


def test_a_descriptor_that_bis_was_given_reaches_the_command(tmp_path: Path, project: Path) -> None:
    """`bis run -- python train.py <(zcat data.gz)`"""
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    os.write(writer, b"from the pipe")
    os.close(writer)
    try:
        ran = execute(
            ["cat", f"/dev/fd/{reader}"], folder=project, variables=dict(os.environ), scratch=tmp_path / "s", quiet=True
        )
    finally:
        os.close(reader)
    assert ran.stdout.read_bytes() == b"from the pipe"


# Output


def test_outputs_are_kept_apart_byte_for_byte_with_the_time_they_came(run_python: Run) -> None:
    ran = run_python(r"""
        import os, time
        os.write(1, b"one\r\xff\x00 10%\r 20%\n"); os.write(2, b"problem\n")
        time.sleep(0.2)
        os.write(1, b"no newline at the end")
    """)
    execution = ran.execution
    assert execution.stdout.read_bytes() == b"one\r\xff\x00 10%\r 20%\nno newline at the end"
    assert execution.stderr.read_bytes() == b"problem\n"
    index = [line.split() for line in execution.lines.read_text().splitlines()]
    out = [(int(time_ns), int(offset)) for time_ns, letter, offset in index if letter == "o"]
    assert [offset for _, offset in out] == [0, 16]
    assert out[1][0] - out[0][0] >= 190_000_000
    assert not execution.screen.any


def test_a_long_output_comes_through_whole_and_is_indexed_sparingly(run_python: Run) -> None:
    ran = run_python("""
        for number in range(200000):
            print("line", number)
    """)
    lines = ran.execution.stdout.read_bytes().splitlines()
    assert len(lines) == 200000
    assert lines[-1] == b"line 199999"
    assert len(ran.execution.lines.read_text().splitlines()) < 5000


@pytest.mark.slow
def test_three_million_lines_come_through_in_bounded_memory(outside: Run) -> None:
    supervisor = outside(
        "import sys\nfor n in range(3000000): sys.stdout.write(f'line {n}\\n')", stdout=subprocess.DEVNULL
    )
    assert supervisor.result()["exit"] == 0
    assert (supervisor.scratch / "stdout").read_bytes().count(b"\n") == 3000000
    assert int((supervisor.scratch / "peak").read_text()) < 100 << 10


def test_a_reader_that_goes_away_does_not_end_the_command(outside: Run) -> None:
    supervisor = outside("import time\nfor n in range(50): print(n, 'x' * 5000); time.sleep(0.01)\nprint('end')")
    supervisor.process.stdout.read(100)
    supervisor.process.stdout.close()
    assert supervisor.result()["exit"] == 0
    assert (supervisor.scratch / "stdout").read_text().endswith("end\n")


def test_output_is_on_disk_and_passed_on_while_the_command_runs(outside: Run) -> None:
    supervisor = outside("import time; print('epoch 1'); time.sleep(60)")
    assert supervisor.process.stdout.readline() == b"epoch 1\n"
    assert (supervisor.scratch / "stdout").read_text() == "epoch 1\n"


def test_stdin_reaches_the_command_and_so_does_its_end(outside: Run) -> None:
    supervisor = outside("import sys; print(sys.stdin.read()[::-1])", stdin=subprocess.PIPE)
    supervisor.process.stdin.write(b"abc")
    supervisor.process.stdin.close()
    assert supervisor.result()["exit"] == 0
    assert (supervisor.scratch / "stdout").read_text() == "cba\n"


def test_a_full_disk_is_told_and_the_command_goes_on(outside: Run) -> None:
    def fill(scratch: Path) -> None:
        for name in ("stdout", "lines"):
            (scratch / name).symlink_to("/dev/full")

    supervisor = outside("import time\nfor n in range(20): print(n); time.sleep(0.05)", before=fill)
    result = supervisor.result()
    assert [int(line) for line in supervisor.process.stdout.read().split()] == list(range(20))
    assert result["exit"] == 0
    assert "output could not be kept: No space left on device" in result["failure"]


# Children that stay


def test_a_child_that_ends_soon_after_the_command_is_waited_for(run_python: Run) -> None:
    ran = run_python("""
        import os, time
        if os.fork() == 0:
            time.sleep(0.3)
            print("late", flush=True)
            open("late.txt", "w").write("1")
            os._exit(0)
        os._exit(0)
    """)
    assert ran.output == "late\n"
    assert ran.execution.left == ()
    trace = ran.execution.trace
    assert trace.mechanism == "audit" or (ran.how("late.txt"), trace.complete) == ("cw", True)


def test_a_daemon_that_stays_does_not_keep_the_run_from_ending_and_is_named(run_python: Run, project: Path) -> None:
    began = time.monotonic()
    ran = run_python("""
        import subprocess
        daemon = subprocess.Popen(["sh", "-c", "sleep 3; cat data.csv > copy.csv; echo still here"])
        print(daemon.pid, flush=True)
    """)
    pid = int(ran.output.split()[0])
    assert time.monotonic() - began < 20
    assert any(f"sh ({pid})" == left for left in ran.execution.left)
    assert not ran.execution.trace.complete
    assert any("went on after the command ended" in limit for limit in ran.execution.trace.limits)
    # It goes on: its calls are answered, and its output is taken.
    wait_for(lambda: not alive(pid))
    assert (project / "copy.csv").read_text() == "x,y\n1,2\n"


def test_a_stranger_that_holds_the_output_open_does_not_keep_the_run_from_ending(
    run_python: Run, tmp_path: Path
) -> None:
    """The end of a pipe can be handed to a process that is nobody's child."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "hand"))
    server.listen()
    ran = run_python(f"""
        import socket
        channel = socket.socket(socket.AF_UNIX)
        channel.connect("{tmp_path}/hand")
        socket.send_fds(channel, [b"x"], [1])
        print("handed over")
    """)
    connection, _ = server.accept()
    _, descriptors, _, _ = socket.recv_fds(connection, 10, 1)
    assert ran.output == "handed over\n"
    assert ran.execution.exit == 0
    for each in (*descriptors, server.detach(), connection.detach()):
        os.close(each)


# Signals


GRACEFUL = """
import signal, sys, time
def stop(number, frame):
    print("got", number); sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, stop)
print("ready")
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on_once(number: signal.Signals, outside: Run) -> None:
    supervisor = outside(GRACEFUL, start_new_session=True)
    supervisor.says("ready")
    os.killpg(supervisor.process.pid, number)  # as `timeout` and terminals do: to the whole group
    result = supervisor.result()
    assert (result["exit"], result["interrupted"]) == (7, True)
    assert (supervisor.scratch / "stdout").read_text().count("got") == 1


def test_a_command_that_ignores_the_first_interrupt_is_ended_by_the_second_or_third(outside: Run) -> None:
    supervisor = outside("""
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("no"))
signal.signal(signal.SIGTERM, lambda *_: print("never"))
print("ready")
while True: time.sleep(1)
""")
    supervisor.says("ready")
    for text in ("no", "never"):
        supervisor.process.send_signal(signal.SIGINT)
        supervisor.says(text)
        time.sleep(0.15)
    supervisor.process.send_signal(signal.SIGINT)
    result = supervisor.result()
    assert (result["signal"], result["interrupted"]) == (signal.SIGKILL, True)


def test_what_was_to_be_ignored_stays_ignored(outside: Run) -> None:
    """`nohup bis run …`"""
    supervisor = outside(
        "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert supervisor.result()["exit"] == 0
    assert (supervisor.scratch / "stdout").read_text() == "True\n"


# On a terminal


class Terminal:
    """A terminal with a person at it."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.seen = b""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def expect(self, text: bytes, seconds: float = 20.0) -> None:
        limit = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < limit, self.seen
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError:
                    break
        assert text in self.seen


@pytest.fixture
def at_terminal(outside: Run) -> Iterator[Callable[[str], tuple[Outside, Terminal]]]:
    masters = []

    def start(source: str, **streams: Any) -> tuple[Outside, Terminal]:
        master, slave = pty.openpty()
        masters.append(master)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        session = {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0)}
        if "shell" in streams:
            session = {}
        supervisor = outside(source, **{"stdin": slave, "stdout": slave, "stderr": slave, **session, **streams})
        # The slave stays open here: what the terminal is set to at the end can then be looked at.
        return supervisor, Terminal(master)

    yield start
    for master in masters:
        os.close(master)


def test_on_a_terminal_the_command_has_one_too(at_terminal: Run) -> None:
    supervisor, terminal = at_terminal("""
import os, sys
print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size(), os.ctermid())
open("/dev/tty", "w").write("to the terminal\\n")
sys.stderr.write("10%|#   |\\r20%|##  |\\r")
print()
""")
    result = supervisor.result()
    expected = (
        b"True True True os.terminal_size(columns=101, lines=33) /dev/tty\r\nto the terminal\r\n"
        b"10%|#   |\r20%|##  |\r\r\n"
    )
    terminal.expect(expected)
    assert terminal.seen == expected
    assert (supervisor.scratch / "stdout").read_bytes() == expected
    assert (supervisor.scratch / "stderr").read_bytes() == b""
    assert result["screen"] == {"stdin": True, "stdout": True, "stderr": True, "rows": 33, "columns": 101}


def test_ctrl_c_on_a_terminal_reaches_the_command_once(at_terminal: Run) -> None:
    supervisor, terminal = at_terminal(GRACEFUL)
    before = termios.tcgetattr(terminal.master)
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    result = supervisor.result()
    assert (result["exit"], result["interrupted"]) == (7, True)
    assert (supervisor.scratch / "stdout").read_bytes().count(b"got") == 1
    assert termios.tcgetattr(terminal.master) == before


def test_what_is_typed_on_a_terminal_reaches_the_command(at_terminal: Run) -> None:
    supervisor, terminal = at_terminal("print('name', input('who? '))")
    terminal.expect(b"who? ")
    terminal.type(b"ana\n")
    terminal.expect(b"name ana\r\n")
    assert supervisor.result()["exit"] == 0


def test_a_terminal_that_changes_its_size_tells_the_command(at_terminal: Run) -> None:
    supervisor, terminal = at_terminal("""
import os, signal, time
signal.signal(signal.SIGWINCH, lambda *_: print(os.get_terminal_size().columns))
print("ready")
time.sleep(2)
""")
    terminal.expect(b"ready")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 77, 0, 0))
    terminal.expect(b"77\r\n")
    assert supervisor.result()["exit"] == 0


def test_a_terminal_for_one_stream_only_is_passed_on_as_one(at_terminal: Run) -> None:
    """`bis run -- python train.py > out.txt`: the progress bar on stderr lives on."""
    supervisor, terminal = at_terminal(
        "import sys; print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty()); sys.stderr.write('10%\\r')",
        stdout=subprocess.PIPE,
    )
    assert supervisor.process.stdout.read() == b"True False True\n"
    terminal.expect(b"10%\r")
    result = supervisor.result()
    assert (supervisor.scratch / "stderr").read_bytes() == b"10%\r"
    assert result["screen"]["stderr"]


def test_ctrl_c_with_both_outputs_redirected_reaches_the_command_once(at_terminal: Run) -> None:
    """Here the command shares the terminal's process group with bis, as it may read from the terminal."""
    supervisor, terminal = at_terminal(GRACEFUL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    supervisor.says("ready")
    terminal.type(b"\x03")
    result = supervisor.result()
    assert (result["exit"], result["interrupted"]) == (7, True)
    assert (supervisor.scratch / "stdout").read_text().count("got") == 1


def test_a_signal_sent_to_bis_alone_is_passed_on_when_the_group_is_shared(at_terminal: Run) -> None:
    supervisor, _terminal = at_terminal(GRACEFUL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    supervisor.says("ready")
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.result()["exit"] == 7
    assert (supervisor.scratch / "stdout").read_text().count("got") == 1


SHELL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.read(3, 1)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
os.setpgid(child, child)
os.tcsetpgrp(0, child)
os.write(4, b"x")
pid, status = os.waitpid(child, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
print("SHELL: stopped", os.WIFSTOPPED(status), termios.tcgetattr(0)[3] & termios.ICANON > 0, flush=True)
sys.stdin.readline()
os.tcsetpgrp(0, child)
os.killpg(child, signal.SIGCONT)
pid, status = os.waitpid(child, 0)
"""


def test_ctrl_z_stops_the_command_and_bis_and_both_go_on(at_terminal: Run) -> None:
    """A shell with job control stands above."""
    supervisor, terminal = at_terminal(
        "print('ready'); print('read', input()); import time; time.sleep(0.5); print('over')", shell=SHELL
    )
    terminal.expect(b"ready")
    terminal.type(b"\x1a")
    terminal.expect(b"SHELL: stopped True True")
    wait_for(lambda: Path(f"/proc/{supervisor.child}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    terminal.type(b"fg\n")
    time.sleep(0.3)
    terminal.type(b"abc\n")
    terminal.expect(b"read abc")
    terminal.expect(b"over")
    assert supervisor.result()["exit"] == 0


def test_what_outlives_the_command_on_a_terminal_is_not_ended_with_it(at_terminal: Run) -> None:
    """As it would not be without bis: a server that was started in the background, a process that tidies up."""
    supervisor, terminal = at_terminal("""
import subprocess
print(subprocess.Popen(["sh", "-c", "sleep 1; echo tidied; echo 1 > tidy.txt; sleep 2; echo 1 > later.txt"]).pid)
""")
    result = supervisor.result()
    assert result["exit"] == 0
    pid = int((supervisor.scratch / "stdout").read_text().split()[0])
    terminal.expect(b"tidied")
    wait_for(lambda: not alive(pid))
    assert (supervisor.project / "later.txt").exists()


def test_a_repeat_can_be_given_the_same_terminal_without_there_being_one(run_python: Run) -> None:
    ran = run_python(
        "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size(1).columns)",
        screen=Screen(stdout=True, stderr=True, columns=123),
    )
    assert ran.execution.stdout.read_bytes() == b"True 123\r\n"


# Killed


def test_the_training_goes_on_when_its_tracer_is_killed(outside: Run) -> None:
    supervisor = outside("""
import sys, time
open("data.csv").read(); print("ready")
while not __import__("os").path.exists("go"): time.sleep(0.05)
for n in range(300): open("data.csv").read()
open("result.txt", "w").write("1"); print("end"); sys.exit(5)
""")
    supervisor.says("ready")
    time.sleep(0.5)  # what was seen is on disk after half a second
    os.kill(supervisor.tracer, signal.SIGKILL)
    (supervisor.project / "go").write_text("")
    result = supervisor.result()
    assert (result["exit"], result["signal"]) == (5, None)
    assert (supervisor.scratch / "stdout").read_text() == "ready\nend\n"
    assert (supervisor.project / "result.txt").exists()
    trace = result["trace"]
    assert not trace["complete"]
    assert any("tracer ended early" in limit for limit in trace["limits"]), trace["limits"]
    assert any(access["path"].endswith("/data.csv") for access in trace["accesses"])


def test_the_training_goes_on_when_bis_is_killed_and_its_end_is_known_afterwards(outside: Run) -> None:
    supervisor = outside("""
import sys, time
print("ready")
while not __import__("os").path.exists("go"): time.sleep(0.05)
for n in range(2000): print("line", n)
open("data.csv").read()
open("result.txt", "w").write("1"); sys.exit(5)
""")
    supervisor.says("ready")
    child, tracer = supervisor.child, supervisor.tracer
    supervisor.process.kill()
    supervisor.process.communicate()
    assert recover(supervisor.scratch) is None
    assert is_watched(supervisor.scratch)
    (supervisor.project / "go").write_text("")
    wait_for(lambda: not alive(child) and not alive(tracer))
    ran = recover(supervisor.scratch)
    assert ran is not None
    assert (ran.exit, ran.signal) == (5, None)
    assert "bis was killed" in ran.failure
    assert ran.trace.complete, ran.trace.limits
    assert any(access.path.endswith("/result.txt") and access.how == "cw" for access in ran.trace.accesses)
    wait_for(lambda: ran.stdout.read_text().endswith("line 1999\n"))
    assert ran.stdout.read_text() == "ready\n" + "".join(f"line {n}\n" for n in range(2000))


def test_when_bis_and_the_tracer_are_killed_the_training_goes_on_and_nothing_is_made_up(outside: Run) -> None:
    supervisor = outside("""
import time
print("ready")
while not __import__("os").path.exists("go"): time.sleep(0.05)
print("more"); open("result.txt", "w").write("1")
""")
    supervisor.says("ready")
    child, tracer = supervisor.child, supervisor.tracer
    os.kill(supervisor.process.pid, signal.SIGKILL)
    os.kill(tracer, signal.SIGKILL)
    (supervisor.project / "go").write_text("")
    wait_for(lambda: not alive(child))
    assert (supervisor.project / "result.txt").exists()
    ran = recover(supervisor.scratch)
    assert ran is not None
    assert (ran.exit, ran.signal, ran.trace.complete) == (None, None, False)
    assert "how the command ended is not known" in ran.failure


def test_a_tracer_that_hangs_does_not_hang_the_training(outside: Run) -> None:
    """It may wait for a file system that waits for the command. Here it is stopped."""
    supervisor = outside("""
print("ready")
while not __import__("os").path.exists("go"): __import__("time").sleep(0.05)
open("data.csv").read(); print("read"); open("result.txt", "w").write("1"); print("written")
""")
    supervisor.says("ready")
    tracer = supervisor.tracer
    os.kill(tracer, signal.SIGSTOP)
    try:
        (supervisor.project / "go").write_text("")
        supervisor.says("written")
    finally:
        os.kill(tracer, signal.SIGCONT)
    result = supervisor.result()
    assert result["exit"] == 0
    assert not result["trace"]["complete"]
    assert any("before they could be looked at" in limit for limit in result["trace"]["limits"])


def test_what_fails_in_bis_while_the_command_runs_does_not_end_it(run_python: Run) -> None:
    def trouble(pid: int) -> None:
        raise ValueError("the ledger is locked")

    ran = run_python("import time; time.sleep(0.3); print('end')", on_start=trouble)
    assert ran.execution.exit == 0
    assert ran.output == "end\n"
    assert "the ledger is locked" in ran.execution.failure


def test_nothing_is_recovered_where_nothing_was_started(tmp_path: Path) -> None:
    assert recover(tmp_path) is None


# Use of the machine


def test_the_use_of_the_machine_is_measured(run_python: Run, tmp_path: Path) -> None:
    ran = run_python(
        """
        import time
        block = bytearray(80 << 20)
        end = time.process_time() + 0.3
        while time.process_time() < end: pass
        time.sleep(1.2)
        """,
    )
    usage = ran.execution.usage
    assert usage.seconds > 1.4
    assert 0.3 <= usage.cpu_seconds < 5
    assert usage.peak_bytes > 80 << 20
    header, *samples = ran.execution.samples_csv.read_text().splitlines()
    assert header.startswith("seconds,processes,cpu_seconds,rss_bytes")
    assert len(samples) >= 2
    assert float(samples[0].split(",")[0]) < 1.0
    assert max(int(sample.split(",")[3]) for sample in samples) > 80 << 20


def test_a_child_process_counts(run_python: Run) -> None:
    ran = run_python("import os; os.system('python3 -c \"x = bytearray(60 << 20); import time; time.sleep(1.5)\"')")
    assert ran.execution.usage.peak_bytes > 60 << 20
