"""What the trace sees, and that it says what it does not see. Real processes, one route of access after another."""

import errno
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.errors import UsageError
from bis.nouns.trace import Trace
from bis.steps import strace, trace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="system calls are traced on Linux only")

Run = Callable[..., Any]


@pytest.fixture
def supervise(supervise: Run, request: pytest.FixtureRequest) -> Run:
    """By the kernel's trace, unless a test names another."""

    def run(*command: str | Path, **options: Any) -> Any:
        if "tracing" not in options:
            request.getfixturevalue("kernel_trace")
        return supervise(*command, **options)

    return run


ROUTES = {
    "open": "open('data.csv').read()",
    "os.open": "import os; os.read(os.open('data.csv', os.O_RDONLY), 10)",
    "folder descriptor": "import os; os.open('data.csv', os.O_RDONLY, dir_fd=os.open('.', os.O_RDONLY))",
    "changed folder": "import os; os.mkdir('sub'); os.chdir('sub'); open('../data.csv').read()",
    "dots and slashes": "open('.//./../project///data.csv').read()",
    "memory map": "import mmap; f = open('data.csv', 'r+b'); mmap.mmap(f.fileno(), 0)[:1]",
    "numpy-like fromfile": "import io; io.FileIO('data.csv').readall()",
    "/proc/self/fd": "import os; os.close(os.open(f'/proc/self/fd/{os.open(\"data.csv\", os.O_RDONLY)}', os.O_RDONLY))",
    "/proc/self/cwd": "open('/proc/self/cwd/data.csv').read()",
    "program in C": "import subprocess; subprocess.run(['cat', 'data.csv'])",
    "shell redirection": "import os; os.system('wc < data.csv')",
    "isolated interpreter": "import subprocess, sys; "
    "subprocess.run([sys.executable, '-I', '-S', '-c', 'open(\"data.csv\").read()'])",
    "thread": "import threading; t = threading.Thread(target=lambda: open('data.csv').read()); t.start(); t.join()",
    "fork": "import os; os.waitpid(os.fork() or (open('data.csv').read(), os._exit(0)), 0)",
    "abrupt exit": "import os; open('data.csv').read(); os._exit(0)",
    "sqlite": "import sqlite3; sqlite3.connect('file:data.csv?mode=ro', uri=True).execute('pragma user_version')",
    "sendfile": "import os; os.sendfile(os.open('copy', os.O_WRONLY | os.O_CREAT), os.open('data.csv', 0), 0, 4)",
}


@pytest.mark.parametrize("route", ROUTES)
def test_a_file_is_seen_whichever_way_it_is_opened(route: str, run_python: Run) -> None:
    ran = run_python("try:\n    " + ROUTES[route] + "\nexcept Exception as error:\n    print(error)\n")
    assert "r" in ran.how("data.csv")
    assert ran.access("data.csv").was_read
    assert ran.access("data.csv").before.size == 8
    assert ran.execution.trace.mechanism == "notify"
    assert ran.execution.trace.complete, ran.execution.trace.limits


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_are_seen_however_they_start(method: str, run_python: Run, project: Path) -> None:
    for number in range(8):
        (project / f"part{number}.csv").write_text("1")
    ran = run_python(f"""
        import multiprocessing as mp
        def load(number):
            return open(f"part{{number}}.csv").read()
        if __name__ == "__main__":
            with mp.get_context("{method}").Pool(2) as pool:
                print(pool.map(load, range(8)))
    """)
    assert ran.execution.exit == 0, ran.execution.stderr.read_text()
    assert all(ran.access(f"part{number}.csv").was_read for number in range(8))
    assert ran.execution.trace.complete, ran.execution.trace.limits


def test_what_a_program_opened_before_it_crashed_is_seen(run_python: Run) -> None:
    ran = run_python("import ctypes; open('data.csv').read(); ctypes.string_at(0)")
    assert ran.execution.signal == 11
    assert ran.execution.exit is None
    assert ran.how("data.csv") == "r"
    assert ran.execution.trace.complete


def test_joblib_workers_are_seen(supervise: Run, project: Path, training_python: Path) -> None:
    (project / "train.py").write_text(
        "from joblib import Parallel, delayed\n"
        "def load(number):\n    return open(f'part{number}.csv').read()\n"
        "print(Parallel(n_jobs=2)(delayed(load)(number) for number in range(4)))\n"
    )
    for number in range(4):
        (project / f"part{number}.csv").write_text("1")
    ran = supervise(training_python, "train.py")
    assert ran.execution.exit == 0, ran.execution.stderr.read_text()
    assert all(ran.access(f"part{number}.csv").was_read for number in range(4))


# Paths


def test_links_of_folders_are_resolved_and_links_of_files_are_seen_with_what_they_lead_to(
    run_python: Run, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "v2.csv").write_text("2")
    (project / "data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "latest.csv").symlink_to("v2.csv")
    ran = run_python("open('data/latest.csv').read()")
    assert ran.how(tmp_path / "elsewhere" / "latest.csv") == "r"
    assert ran.access(tmp_path / "elsewhere" / "v2.csv").was_read
    assert ran.how("data/latest.csv") == ""


def test_a_folder_that_the_run_made_or_moved_there_is_not_listed_as_one_from_before(
    run_python: Run, project: Path
) -> None:
    (project / "old").mkdir()
    (project / "source").mkdir()
    ran = run_python("""
        import os, tempfile
        os.mkdir("old/new")
        os.makedirs("old", exist_ok=True)
        os.rename("source", "moved")
        for name in ("old", "old/new", "moved"): os.listdir(name)
        try: os.mkdir("no/folder")
        except OSError: pass
    """)
    listed = {name: ran.access(name).was_listed for name in ("old", "old/new", "moved")}
    assert listed == {"old": True, "old/new": False, "moved": False}
    assert "f" not in ran.how("no/folder")


def test_a_name_in_a_folder_that_no_descriptor_stands_for_is_nothing_that_went_unseen(run_python: Run) -> None:
    ran = run_python("""
        import os
        try: os.open("data.csv", os.O_RDONLY, dir_fd=99)
        except OSError as error: print(error.errno)
    """)
    assert ran.execution.stdout.read_text() == f"{errno.EBADF}\n"
    assert ran.execution.trace.complete, ran.execution.trace.limits


def test_a_link_that_is_moved_during_the_run_is_followed_anew(run_python: Run, project: Path) -> None:
    for name in ("one", "two"):
        (project / name).mkdir()
        (project / name / "x.csv").write_text(name)
    ran = run_python("""
        import os
        os.symlink("one", "now")
        print(open("now/x.csv").read())
        os.symlink("two", "next")
        os.rename("next", "now")
        print(open("now/x.csv").read())
    """)
    assert ran.output.split() == ["one", "two"]
    assert ran.access("one/x.csv").was_read
    assert ran.access("two/x.csv").was_read


def test_names_with_newlines_and_bytes_that_are_no_text_are_kept_exactly(run_python: Run, project: Path) -> None:
    odd = [b"two\nlines \\n.csv", b"not utf-8 \xff\xfe.csv", "naïve ☃.csv".encode(), b" - ", b"A r - - x"]
    for name in odd:
        (project / os.fsdecode(name)).write_text("1")
    ran = run_python(f"""
        for name in {odd!r}:
            open(name).read()
        open(b"new \\xfa\\nfile", "w").write("1")
    """)
    assert all(ran.how(name) == "r" for name in odd)
    assert ran.how(b"new \xfa\nfile") == "cw"


def test_a_long_path_and_a_deep_one_are_seen(run_python: Run, project: Path) -> None:
    long = Path(*["d" * 200] * 5)
    (project / long).mkdir(parents=True)
    (project / long / "x.csv").write_text("1")
    ran = run_python(f"""
        open("{long}/x.csv").read()
        open("./" * 1900 + "data.csv").read()
    """)
    assert ran.how(long / "x.csv") == "r"
    assert ran.access("data.csv").was_read
    assert ran.execution.trace.complete, ran.execution.trace.limits


def test_a_process_in_another_root_is_seen_with_the_paths_it_used(
    run_python: Run, project: Path, tmp_path: Path, tool: Callable[[str], Path]
) -> None:
    """A private mount namespace: the same path means another file there."""
    tool("unshare")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "inside.csv").write_text("12345")
    (project / "place").mkdir()
    ran = run_python(f"""
        import subprocess, sys
        sys.exit(subprocess.call(["unshare", "-rm", "sh", "-c",
            "mount --bind {tmp_path}/other place && cat place/inside.csv && echo 1 > place/made.csv"]))
    """)
    if ran.execution.exit != 0:
        pytest.skip(f"no mount namespaces here: {ran.execution.stderr.read_text()}")
    assert ran.access("place/inside.csv").before.size == 5
    assert ran.how("place/made.csv") == "cw"


# What is done


def test_each_thing_done_to_a_file_has_its_letter(run_python: Run, project: Path) -> None:
    for name in ("appended", "emptied", "updated", "removed", "moved", "cut", "replaced", "linked"):
        (project / name).write_text(name)
    ran = run_python("""
        import os
        open("created", "w").write("1")
        open("appended", "a").write("1")
        open("emptied", "w").write("1")
        open("updated", "r+").write("1")
        os.remove("removed")
        os.rename("moved", "target")
        os.truncate("cut", 1)
        open("new", "w").write("1")
        os.replace("new", "replaced")
        os.link("linked", "second")
        os.symlink("linked", "link")
        os.listdir(".")
        os.path.exists("tested")
        try: open("absent")
        except OSError: pass
        try: open("/etc/absent-for-bis")
        except OSError: pass
        os.system("true")
    """)
    found = {name: ran.how(name) for name in (
        "created", "appended", "emptied", "updated", "removed", "moved", "target", "cut", "new", "replaced",
        "linked", "second", "link", "absent", "tested",
    )}  # fmt: skip
    assert found == {
        "created": "cw", "appended": "w", "emptied": "tw", "updated": "rw", "removed": "d", "moved": "m",
        "target": "n", "cut": "tw", "new": "cwm", "replaced": "n", "linked": "r", "second": "cn", "link": "cw",
        "absent": "a", "tested": "",
    }  # fmt: skip
    assert "l" in ran.how(project.resolve())
    assert ran.how("/etc/absent-for-bis") == ""
    assert ran.how(os.path.realpath("/bin/sh")) == "xr" or "x" in ran.how(os.path.realpath("/bin/sh"))


def test_the_state_before_is_the_one_at_the_first_opening(run_python: Run, project: Path) -> None:
    before = (project / "data.csv").stat()
    ran = run_python("""
        open("data.csv").read()
        open("data.csv", "w").write("longer than it was")
        open("data.csv").read()
        open("made.csv", "w").write("1")
        open("made.csv").read()
    """)
    access = ran.access("data.csv")
    assert (access.how, access.was_read) == ("rtw", True)
    assert (access.before.size, access.before.mtime_ns, access.before.inode) == (
        before.st_size, before.st_mtime_ns, before.st_ino,
    )  # fmt: skip
    assert ran.how("made.csv") == "cwr"
    assert not ran.access("made.csv").was_read


OVERWRITES = {
    "written": "open('data.csv', 'w').write('new')",
    "changed in place": "f = open('data.csv', 'r+'); f.seek(2); f.write('ZZZ')",
    "appended to": "open('data.csv', 'a').write('new')",
    "cut": "os.truncate('data.csv', 1)",
    "removed": "os.remove('data.csv')",
    "replaced": "open('new', 'w').write('n'); os.replace('new', 'data.csv')",
    "moved away": "os.rename('data.csv', 'elsewhere'); open('elsewhere', 'w').write('n')",
    "written by a shell": "os.system('echo new > data.csv')",
    "written through a link": "os.symlink('data.csv', 'link'); open('link', 'w').write('new')",
    "read first": "open('data.csv').read(); open('data.csv', 'w').write('new')",
    "written twice": "open('data.csv', 'w').write('new'); open('data.csv', 'w').write('newer')",
    "exchanged": "open('new', 'w').write('n'); import ctypes; "
    "ctypes.CDLL(None).renameat2(-100, b'new', -100, b'data.csv', 2)",
}


@pytest.mark.parametrize("way", OVERWRITES)
def test_what_a_file_held_before_it_was_overwritten_is_kept(way: str, run_python: Run) -> None:
    ran = run_python(f"import os\n{OVERWRITES[way]}\n")
    assert ran.execution.exit == 0, ran.execution.stderr.read_text()
    assert ran.kept("data.csv") == b"x,y\n1,2\n"


def test_a_large_file_that_is_removed_is_kept_by_a_second_name(run_python: Run, project: Path) -> None:
    content = os.urandom(3 << 20)
    (project / "large.bin").write_bytes(content)
    ran = run_python("import os; open('large.bin').close(); os.remove('large.bin')", preimage_limit=10)
    assert ran.kept("large.bin") == content


def test_a_file_too_large_to_be_kept_is_named(run_python: Run, project: Path) -> None:
    (project / "large.bin").write_bytes(b"0" * 5000)
    ran = run_python("open('large.bin', 'r+').write('1')", preimage_limit=4000)
    if ran.kept("large.bin") is None:  # it is kept where the file system clones files
        assert any("large.bin" in limit and "5000 bytes" in limit for limit in ran.execution.trace.limits)
    assert ran.execution.trace.complete


def test_a_large_file_that_nobody_read_is_not_kept_when_it_is_written_anew(run_python: Run, project: Path) -> None:
    """A checkpoint of the last run has no part in this one."""
    for name in ("checkpoint.bin", "resumed.bin", "log.bin"):
        (project / name).write_bytes(b"0" * (2 << 20))
    ran = run_python("""
        open("checkpoint.bin", "w").write("1")
        open("resumed.bin").read(1); open("resumed.bin", "w").write("1")
        open("log.bin", "a").write("1")
    """)
    assert ran.kept("checkpoint.bin") is None
    assert ran.kept("resumed.bin") == b"0" * (2 << 20)
    assert ran.kept("log.bin") == b"0" * (2 << 20)
    assert ran.access("checkpoint.bin").before.size == 2 << 20


def test_nothing_is_kept_of_files_the_run_made_itself(run_python: Run) -> None:
    ran = run_python("""
        for _ in range(3):
            open("made.txt", "w").write("1")
    """)
    assert ran.kept("made.txt") is None


def test_what_a_file_elsewhere_held_is_kept_but_for_some_folders(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    files = [tmp_path / "outside.txt", tmp_path / "cache" / "x.txt"]
    for file in files:
        file.write_text("before")
        file.chmod(0o640)
    ran = run_python(
        f"for name in {list(map(str, files))}: open(name, 'a').write('after')", unkept=(str(files[1].parent),)
    )
    assert ran.kept(files[0]) == b"before"
    assert Path(ran.access(files[0]).preimage).stat().st_mode & 0o777 == 0o640
    assert ran.access(files[1]).preimage == ""
    assert [ran.access(file).how for file in files] == ["w", "w"]


def test_an_output_written_beside_and_moved_into_place_is_seen_as_such(run_python: Run) -> None:
    ran = run_python("""
        import os, tempfile
        number, name = tempfile.mkstemp(dir=".")
        os.write(number, b"weights")
        os.rename(name, "model.bin")
    """)
    assert ran.how("model.bin") == "n"
    assert ran.access("model.bin").was_written


def test_what_lies_in_a_folder_that_is_moved_into_place_is_seen_there(run_python: Run, project: Path) -> None:
    (project / "old").mkdir()
    (project / "old" / "kept.txt").write_text("1")
    ran = run_python("""
        import os
        os.makedirs("tmp-1/deep")
        open("tmp-1/deep/weights.bin", "w").write("1")
        os.rename("tmp-1", "checkpoint")
        os.rename("old", "new")
    """)
    assert "n" in ran.how("checkpoint/deep/weights.bin")
    assert "m" in ran.how("tmp-1/deep/weights.bin")
    assert ran.how("new/kept.txt") == "n"


def test_a_file_that_vanishes_again_is_seen(run_python: Run) -> None:
    ran = run_python("import os; open('lock', 'w'); os.remove('lock')")
    assert ran.how("lock") == "cwd"


def test_a_file_made_without_a_name_is_seen_when_it_gets_one(run_python: Run) -> None:
    ran = run_python("""
        import ctypes, os, sys
        number = os.open(".", os.O_TMPFILE | os.O_WRONLY)
        os.write(number, b"1")
        sys.exit(ctypes.CDLL(None).linkat(-100, f"/proc/self/fd/{number}".encode(), -100, b"model.bin", 0x400))
    """)
    if ran.execution.exit != 0:
        pytest.skip(f"no unnamed files here: {ran.execution.stderr.read_text()}")
    assert ran.access("model.bin").was_written


# Programs and connections


def test_programs_are_listed_with_their_arguments_and_their_parent(run_python: Run) -> None:
    ran = run_python("import subprocess; subprocess.run(['cat', '/dev/null', 'odd\\nword \\udcff'], stderr=-3)")
    python, cat = ran.execution.trace.processes[0], ran.execution.trace.processes[-1]
    assert python.argv == (sys.executable, "train.py")
    assert cat.argv == ("cat", "/dev/null", "odd\nword \0ff")
    assert cat.executable == os.path.realpath(shutil.which("cat") or "")
    assert cat.parent == python.pid


def test_a_script_is_seen_with_its_interpreter(supervise: Run, project: Path) -> None:
    (project / "run.sh").write_text("#!/bin/sh\ncat data.csv\n")
    (project / "run.sh").chmod(0o755)
    ran = supervise("./run.sh")
    assert ran.execution.exit == 0
    assert ran.how("run.sh") == "xr"
    assert "x" in ran.how(os.path.realpath("/bin/sh"))
    assert ran.how("data.csv") == "r"


def test_a_command_that_is_looked_for_in_many_folders_is_listed_once(run_python: Run) -> None:
    ran = run_python("import os; os.environ['PATH'] = '/nowhere:' + os.environ['PATH']; os.execvp('true', ['true'])")
    assert [each.argv[0] for each in ran.execution.trace.processes][-1] == "true"
    assert len(ran.execution.trace.processes) == 2


def test_connections_are_listed(run_python: Run) -> None:
    ran = run_python("""
        import os, socket
        server = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(server.getsockname())
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.connect(("127.0.0.1", 5353))
        unix = socket.socket(socket.AF_UNIX)
        unix.bind("here.sock"); unix.listen()
        socket.socket(socket.AF_UNIX).connect("here.sock")
        print(server.getsockname()[1])
    """)
    assert ran.execution.exit == 0, ran.execution.stderr.read_text()
    assert f"tcp:127.0.0.1:{ran.output.strip()}" in ran.execution.trace.connections
    assert "udp:127.0.0.1:5353" in ran.execution.trace.connections
    assert "unix:here.sock" in ran.execution.trace.connections


def test_what_a_wrapper_does_before_it_starts_the_command_is_not_part_of_the_trace(
    supervise: Run, project: Path
) -> None:
    (project / "wrapper.py").write_text(
        "import os, sys; open('wrapper.txt', 'w').write('1'); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    ran = supervise("cat", "data.csv", wrapper=(sys.executable, str(project / "wrapper.py")))
    assert ran.execution.exit == 0
    assert ran.how("data.csv") == "r"
    assert ran.how("wrapper.py") == ran.how("wrapper.txt") == ""
    assert [each.argv for each in ran.execution.trace.processes] == [("cat", "data.csv")]


def test_the_scratch_folder_is_not_part_of_the_trace(run_python: Run, tmp_path: Path) -> None:
    ran = run_python(f"open('{tmp_path}/scratch/0/note', 'w').write('1')")
    assert ran.execution.exit == 0
    assert not [each for each in ran.execution.trace.accesses if "/scratch/0/" in each.path]


# When it cannot be done as usual


def test_a_trace_inside_a_trace_says_what_it_lacks_and_the_outer_one_sees_it_all(
    supervise: Run, project: Path, tmp_path: Path
) -> None:
    (project / "train.py").write_text("open('data.csv').read()")
    (project / "inner.py").write_text(f"""
import os, sys
from pathlib import Path
from bis.steps.execute import execute
ran = execute([sys.executable, "train.py"], folder=Path.cwd(), variables=dict(os.environ), quiet=True,
    scratch=Path({str(tmp_path)!r}) / "inner", roots=(Path.cwd(),))
print(ran.exit, ran.trace.mechanism, ran.trace.complete, ran.trace.limits)
""")
    ran = supervise(sys.executable, "inner.py")
    assert ran.output.startswith("0 audit False"), ran.execution.stderr.read_text()
    assert "another trace is already around this command" in ran.output
    assert ran.access("data.csv").was_read
    assert ran.execution.trace.complete, ran.execution.trace.limits


def test_without_system_calls_the_trace_says_what_is_not_known(run_python: Run) -> None:
    ran = run_python("open('data.csv').read()", tracing="audit")
    assert ran.execution.exit == 0
    assert ran.execution.trace.mechanism == "audit"
    assert not ran.execution.trace.complete
    assert any("compiled libraries" in limit for limit in ran.execution.trace.limits)


def test_with_tracing_off_nothing_is_claimed(run_python: Run) -> None:
    ran = run_python("open('data.csv').read()", tracing="off")
    assert (ran.execution.trace.mechanism, ran.execution.trace.complete) == ("none", False)
    assert ran.execution.trace.limits


def test_a_way_of_tracing_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="no way of tracing named 'ebpf'"):
        trace.start("ebpf")


def test_a_program_of_32_bits_is_seen(supervise: Run, project: Path, tmp_path: Path) -> None:
    source = (
        'int main(){volatile int f=0;__asm__ volatile("int $0x80":"=a"(f):"a"(5),"b"("data.csv"),"c"(0));return f<0;}'
    )
    (tmp_path / "old.c").write_text(source)
    build = ["gcc", "-m32", "-nostdlib", "-static", "-o", str(tmp_path / "old"), str(tmp_path / "old.c")]
    built = shutil.which("gcc") and subprocess.run(build, capture_output=True, check=False).returncode == 0
    if not built:
        # A 64-bit program may use the old calls too, with addresses below 4 GiB.
        pytest.skip("no compiler for 32-bit programs here")
    assert supervise(tmp_path / "old").how("data.csv") == "r"


def test_the_use_of_io_uring_is_noticed(run_python: Run) -> None:
    ran = run_python("import ctypes; ctypes.CDLL(None).syscall(425, 1, (ctypes.c_char * 120)())")
    assert not ran.execution.trace.complete
    assert any("io_uring" in limit for limit in ran.execution.trace.limits)


def test_without_proc_the_command_runs_all_the_same(project: Path, tmp_path: Path, tool: Callable[[str], Path]) -> None:
    """As on a system that has none."""
    tool("unshare")
    (project / "train.py").write_text("open('data.csv').read()")
    (tmp_path / "go.py").write_text(f"""
import os, sys
from pathlib import Path
from bis.steps.execute import execute
ran = execute([sys.executable, "train.py"], folder=Path({str(project)!r}), variables=dict(os.environ), quiet=True,
    scratch=Path({str(tmp_path)!r}) / "scratch", roots=(Path({str(project)!r}),))
print(ran.exit, ran.trace.mechanism, ran.trace.complete, ran.failure, *ran.trace.limits, sep="\\n")
""")
    words = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh", sys.executable]
    done = subprocess.run([*words, str(tmp_path / "go.py")], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr}")
    assert done.stdout.splitlines()[:4] == ["0", "audit", "False", ""], done.stderr
    assert "the memory of a child process cannot be read" in done.stdout


@pytest.fixture
def ordinary_user(project: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """Execute a script of the project as a user without privileges; what is to be known of it, in two lines."""
    python = next((each for each in (sys.executable, "/usr/bin/python3") if _anyone_may(each)), None)
    if python is None:
        pytest.skip(f"no Python {sys.version_info[0]}.{sys.version_info[1]} here that an ordinary user may execute")
    work = tmp_path / "work"
    work.mkdir()
    user = 65534 if os.getuid() == 0 else None
    above = [folder for folder in tmp_path.parents if Path(tempfile.gettempdir()) in folder.parents]

    def run(script: str) -> list[str]:
        for folder in (work, project, tmp_path, *above) if user else ():  # any pytest that starts closes the topmost
            folder.chmod(0o777)
        (work / "go.py").write_text(f"""
import os, sys
sys.path += {[str(Path(msgspec.__file__).parent.parent), str(Path(trace.__file__).parent.parent.parent)]!r}
from pathlib import Path
from bis.steps.execute import execute
ran = execute(["{python}", "-S", "{script}"], folder=Path({str(project)!r}), variables=dict(os.environ),
    scratch=Path({str(work)!r}) / "scratch", roots=(Path({str(project)!r}),), quiet=True)
print(ran.exit, ran.trace.mechanism, ran.trace.complete, ran.trace.limits, ran.stderr.read_text())
print([each.how for each in ran.trace.accesses if each.path.endswith(("data.csv", "/out"))])
""")
        words = [python, str(work / "go.py")]
        child = subprocess.run(words, user=user, group=user, capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stderr
        return child.stdout.splitlines()

    return run


def test_an_ordinary_user_is_traced_too(project: Path, ordinary_user: Callable[[str], list[str]]) -> None:
    """Without privileges the filter needs no_new_privs, and the tracer may read only what its user may."""
    (project / "train.py").write_text("open('data.csv').read(); open('out', 'w').write('1')")
    assert ordinary_user("train.py") == ["0 notify True () ", "['r', 'cw']"]


def test_a_process_that_hides_its_memory_is_counted(
    project: Path, tmp_path: Path, ordinary_user: Callable[[str], list[str]]
) -> None:
    """Programs that hold secrets do (ssh-agent, gpg). An ordinary user's tracer cannot read what they open."""
    (project / "train.py").write_text("import ctypes; ctypes.CDLL(None).prctl(4, 0); open('data.csv').read()")
    lines = ordinary_user("train.py")
    assert lines[0].startswith("0 notify False ('")
    assert "could not be attributed to a path" in lines[0]


def _anyone_may(python: str) -> bool:
    """Whether an ordinary user can run this interpreter, and with it the packages of the one that runs the tests."""
    code = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        user = 65534 if os.getuid() == 0 else None
        return subprocess.run([python, "-c", code], user=user, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


# Full tracing, by strace


def test_full_tracing_also_sees_what_is_looked_for_and_absent(run_python: Run, tool: Callable[[str], Path]) -> None:
    tool("strace")
    ran = run_python(
        """
        import os
        os.path.exists("looked for\\n.csv")
        os.chdir("/"); os.path.exists("elsewhere")
        open("data.csv") if os.path.exists("data.csv") else None
        """,
        tracing="full",
    )
    assert ran.execution.exit == 0, ran.execution.stderr.read_text()
    assert ran.how("looked for\n.csv") == "a"
    assert ran.how("/elsewhere") == ""
    seen = ran.execution.trace
    assert (seen.mechanism, seen.complete, seen.limits) == ("strace", True, ())
    assert ran.access("train.py").was_read
    assert [each.argv for each in seen.processes] == [(sys.executable, "train.py")]


def test_full_tracing_passes_signals_and_statuses(run_python: Run, tool: Callable[[str], Path]) -> None:
    tool("strace")
    ran = run_python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tracing="full")
    assert (ran.execution.exit, ran.execution.signal) == (None, signal.SIGKILL)
    ran = run_python("import sys; sys.exit(9)", tracing="full")
    assert ran.execution.exit == 9


def test_where_there_can_be_no_notifications_strace_stands_in(
    supervise: Run, project: Path, tmp_path: Path, tool: Callable[[str], Path]
) -> None:
    tool("strace")
    (project / "train.py").write_text("""
import os, socket, subprocess
open("data.csv").read(); open("out.txt", "w").write("1"); os.rename("out.txt", "result.txt"); os.listdir(".")
subprocess.run(["cat", "data.csv"], stdout=-3)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect(("127.0.0.1", 5353))
""")
    (project / "inner.py").write_text(f"""
import os, sys, msgspec
from pathlib import Path
from bis.steps.execute import execute
ran = execute([sys.executable, "train.py"], folder=Path.cwd(), variables=dict(os.environ), quiet=True,
    scratch=Path({str(tmp_path)!r}) / "inner", roots=(Path.cwd(),), tracing="full")
print(msgspec.json.encode(ran, enc_hook=str).decode())
""")
    ran = supervise(sys.executable, "inner.py")
    inner = msgspec.json.decode(ran.output, type=dict[str, Any])
    seen = msgspec.convert(inner["trace"], Trace)
    found = {Path(each.path).name: each for each in seen.accesses if each.path.startswith(str(project.resolve()))}
    assert (inner["exit"], seen.mechanism, seen.complete) == (0, "strace", False)
    assert (found["data.csv"].how, found["data.csv"].was_read) == ("r", True)
    assert found["result.txt"].was_written
    assert "l" in found["project"].how
    assert ("cat", "data.csv") in [each.argv for each in seen.processes]
    assert "udp:127.0.0.1:5353" in seen.connections


def test_a_program_that_is_executed_by_its_descriptor_goes_by_its_own_path(
    tmp_path: Path, tool: Callable[[str], Path]
) -> None:
    tool("strace")
    program = os.path.realpath(tool("true"))
    code = f"import os; os.execve(os.open({program!r}, os.O_RDONLY), ['true', '-v'], {{}})"
    subprocess.run([*strace.prefix(tmp_path, alone=True), sys.executable, "-c", code], check=True)
    log, limit = tmp_path / strace.FILE, time.monotonic() + 10
    while b"execveat" not in log.read_bytes() and time.monotonic() < limit:  # strace writes after its command has ended
        time.sleep(0.05)
    told = strace.Told(log, 0)
    assert (told.processes[-1].executable, told.processes[-1].argv) == (program, ("true", "-v"))


def test_full_tracing_without_strace_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="needs strace"):
        trace.start("full")


# Machines that do not allow it

FORBID = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number, answer = int(sys.argv[1]), int(sys.argv[2])
code = b"".join(struct.pack("=HBBI", *each) for each in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | answer), (0x06, 0, 0, 0x7FFF0000)))
buffer = ctypes.create_string_buffer(code, len(code))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, struct.pack("@HP", 4, ctypes.addressof(buffer))) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("call", "answer", "reason"),
    [
        (317, errno.EPERM, "seccomp(2) is not allowed here (Operation not permitted)"),
        (317, errno.ENOSYS, "this kernel has no seccomp user notification (Function not implemented)"),
    ],
)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of the call is that of x86-64")
def test_where_it_is_not_allowed_the_trace_says_so_and_the_command_runs(
    call: int, answer: int, reason: str, project: Path, tmp_path: Path
) -> None:
    """Containers forbid system calls in this way."""
    (project / "train.py").write_text("open('data.csv').read()")
    (tmp_path / "forbid.py").write_text(FORBID)
    (tmp_path / "go.py").write_text(f"""
import os, sys
from pathlib import Path
from bis.steps.execute import execute
ran = execute([sys.executable, "train.py"], folder=Path({str(project)!r}), variables=dict(os.environ), quiet=True,
    scratch=Path({str(tmp_path)!r}) / "scratch", roots=(Path({str(project)!r}),))
print(ran.exit, ran.trace.mechanism, ran.trace.complete, *ran.trace.limits, sep="\\n")
""")
    words = [
        sys.executable,
        str(tmp_path / "forbid.py"),
        str(call),
        str(answer),
        sys.executable,
        str(tmp_path / "go.py"),
    ]
    lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    assert lines[:4] == ["0", "audit", "False", f"system calls could not be traced: {reason}"]


def test_arguments_that_are_too_long_to_be_listed_whole_are_told(run_python: Run, kernel_trace: None) -> None:
    ran = run_python("import subprocess; subprocess.run(['true', *(['x' * 1000] * 200)], check=True)")
    assert any("bytes of the arguments of" in limit for limit in ran.execution.trace.limits)
    assert ran.execution.trace.complete
