"""Scoring by Ray and Dask for real: on a cluster that starts here, and on one that others started and that knows
nothing of bis. The same rows in the same order, also when machines are lost on the way."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bis.acts.clean import clean

Score = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.slow
LEFT = ("bis-score-*", "bis-ray-*", "bis-dask-*")


@pytest.fixture(scope="session")
def cluster_python(root: Path, lacking: Callable[[str, str], None]) -> Path:
    """The interpreter of machines that models are asked on; `make test-all` builds it at `.venv-clusters`."""
    python = Path(os.environ.get("BIS_TEST_CLUSTERS") or root / ".venv-clusters" / "bin" / "python")
    if not python.exists():
        lacking(f"the environment of clusters ({python})", "Type `make .venv-clusters`.")
    return python


@pytest.fixture
def on(cluster_python: Path, words: list[str], tmp_path: Path) -> Score:
    """`on("ray", "x.csv", "y.csv", RAY_ADDRESS=…)`: the program of a scoring, in a folder of the test."""

    def call(where: str, input: str, output: str, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        asked = [str(cluster_python), *words[1:], *told(where, input, output, *more)]
        return subprocess.run(
            asked, cwd=tmp_path, env=shell(tmp_path) | variables, capture_output=True, text=True, check=False
        )

    return call


def told(where: str, input: str, output: str, *more: str) -> list[str]:
    files = ["--input", input, "--output", output, "--format", "csv", "--work", "work"]
    return [*files, "--batch", "100", "--keep", "id", "--on", where, "--workers", "2", *more]


def shell(tmp_path: Path) -> dict[str, str]:
    """Of somebody with an empty home; with the common folder of temporary files, short enough for sockets of Ray."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}


def shell_of_dask(tmp_path: Path) -> dict[str, str]:
    """With a folder of temporary files that goes with the test, whatever was killed."""
    (tmp_path / "there").mkdir(exist_ok=True)
    return shell(tmp_path) | {"TMPDIR": str(tmp_path / "there")}


def write_csv(path: Path, number: int, *strange: str) -> None:
    rows = "".join(f"{place},{place % 7 - 3.0},{place % 5 - 2.0}\n" for place in range(number))
    path.write_text(f"id,age,income\n{rows}{''.join(f'{one}{chr(10)}' for one in strange)}")


@pytest.mark.parametrize("where", ["dask", "ray"])
def test_a_cluster_gives_the_same_rows_in_the_same_order_and_leaves_nothing(
    score: Score, on: Score, tmp_path: Path, where: str
) -> None:
    write_csv(tmp_path / "x.csv", 3000, "3000,secret,1.0")
    here = score("x.csv", "here.csv", "--batch", "100", "--keep", "id", "--skip")
    assert here.stdout == "3000 rows, 1 rejected\n", here.stderr
    with tempfile.TemporaryDirectory(prefix="b") as short:
        done = on(where, "x.csv", "there.csv", "--skip", TMPDIR=short)
        assert done.returncode == 0, done.stderr
        assert not left_by(Path(short))
    assert done.stdout == "3000 rows, 1 rejected\n"
    for name in ("{}.csv", "{}.csv.rejects.jsonl"):
        assert (tmp_path / name.format("there")).read_bytes() == (tmp_path / name.format("here")).read_bytes()
    assert not (tmp_path / "home" / ".ray").exists()  # where Ray would keep a token, which a record would hold


INTRUDE = """
import contextlib, os, socket, sys, urllib.request
import psutil
from distributed import Client

def speaks_first(address):
    with contextlib.suppress(OSError), socket.create_connection(address, 2) as one:
        one.settimeout(2)
        return bool(one.recv(8))

top = psutil.Process(int(sys.argv[1]))
below = top.children(recursive=True)
working = [one for one in below if "--worker" in one.cmdline()]
for one in working:
    one.suspend()  # so that there is time to look
for process in (top, *below):
    for one in process.net_connections("inet") if process not in working else ():
        if one.status != psutil.CONN_LISTEN:
            continue
        address, named = one.laddr, "%s:%d" % one.laddr
        print("listens on", address.ip)
        if speaks_first(address):  # as whatever takes orders in Dask does
            with contextlib.suppress(Exception), Client(f"tcp://{named}", timeout=5) as client:
                print("ran code in", client.run_on_scheduler(os.getpid))
            continue
        for page in ("info/main/workers.html", "json/counts.json", "metrics", "health"):
            with contextlib.suppress(OSError):
                print("told", urllib.request.urlopen(f"http://{named}/{page}", timeout=5).url)
for one in working:
    one.kill()
print("at work", len(working))
"""


def test_nobody_else_reaches_the_scheduler_that_starts_here(
    cluster_python: Path, words: list[str], tmp_path: Path
) -> None:
    """Whoever can send it something has it run code as the user whose scoring it is."""
    write_csv(tmp_path / "x.csv", 60_000)
    asked = [str(cluster_python), *words[1:], *told("dask", "x.csv", "y.csv")]
    with subprocess.Popen(asked, cwd=tmp_path, env=shell_of_dask(tmp_path), stderr=subprocess.DEVNULL) as process:
        try:
            patience = time.monotonic() + 60
            while not list((tmp_path / "work").glob("0*-*.csv")) and time.monotonic() < patience:
                time.sleep(0.01)
            probe = [str(cluster_python), "-c", INTRUDE, str(process.pid)]
            found = subprocess.run(probe, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        finally:
            process.kill()
    assert set(found.stdout.splitlines()) <= {"listens on 127.0.0.1", "at work 2"}
    assert "at work 2" in found.stdout


@pytest.mark.parametrize("where", ["dask", "ray"])
def test_a_model_that_cannot_be_loaded_there_is_told_in_words(
    on: Score, model: Path, words: list[str], tmp_path: Path, where: str
) -> None:
    write_csv(tmp_path / "x.csv", 10)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.skops").write_bytes((model / "model.skops").read_bytes()[:100])
    done = on(where, "x.csv", "y.csv", "--model", "broken")
    assert done.returncode == 4
    assert "error: the model cannot be loaded on a machine of the cluster" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_a_link_leads_to_is_not_sent_to_a_cluster(on: Score, model: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", 10)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "model.skops").write_bytes((model / "model.skops").read_bytes())
    (tmp_path / "linked" / "key").symlink_to(tmp_path / "x.csv")
    done = on("dask", "x.csv", "y.csv", "--model", "linked")
    assert (done.returncode, "'key' is a link to what is not in the model's folder" in done.stderr) == (4, True)


def test_a_cluster_that_is_not_there_is_told_in_words(on: Score, tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", 10)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = on("dask", "x.csv", "y.csv", DASK_SCHEDULER_ADDRESS=f"tcp://127.0.0.1:{port}", DASK_CONFIG=os.devnull)
    assert (done.returncode, "error: the cluster does not answer" in done.stderr) == (4, True), done.stderr


@pytest.fixture
def dask(cluster_python: Path, tmp_path: Path) -> Iterator[tuple[str, list["subprocess.Popen[str]"]]]:
    """The address of a scheduler, and its two machines: processes that were started elsewhere, before."""
    folder = tmp_path / "machines"
    folder.mkdir()
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> "subprocess.Popen[str]":
            asked = [str(cluster_python.with_name("dask")), *words]
            found = subprocess.Popen(
                asked,
                cwd=folder,
                env=shell_of_dask(tmp_path),
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.callback(found.wait)
            stack.callback(_end, found)
            return found

        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        assert scheduler.stderr is not None
        address = next(word for line in scheduler.stderr for word in line.split() if word.startswith("tcp://"))
        fixed = ("--nthreads", "1", "--no-dashboard", "--local-directory", str(folder), "--host", "127.0.0.1")
        machines = [start("worker", address, *fixed) for _ in range(2)]
        for one in machines:
            assert one.stderr is not None
            next(line for line in one.stderr if "Registered to" in line)
        yield address, machines


def left_by(folder: Path) -> list[Path]:
    return [one for pattern in LEFT for one in folder.glob(pattern)]


def workers_in(folder: Path) -> list[int]:
    """The processes that have the model, in a folder of temporary files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"--worker" in words and any(word.startswith(os.fsencode(folder)) for word in words):
                found.append(int(path.parent.name))
    return sorted(found)


def soon(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within a minute."""
    patience = time.monotonic() + 60
    while not true() and time.monotonic() < patience:
        time.sleep(0.05)
    return true()


def _end(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_a_machine_of_dask_that_is_lost_under_way_changes_nothing(
    score: Score,
    cluster_python: Path,
    words: list[str],
    dask: tuple[str, list["subprocess.Popen[str]"]],
    tmp_path: Path,
) -> None:
    address, machines = dask
    write_csv(tmp_path / "x.csv", 60_000)
    assert score("x.csv", "here.csv", "--batch", "100", "--keep", "id").returncode == 0
    asked = [str(cluster_python), *words[1:], *told("dask", "x.csv", "there.csv")]
    given = shell(tmp_path) | {"DASK_SCHEDULER_ADDRESS": address}
    with subprocess.Popen(asked, cwd=tmp_path, env=given, stderr=subprocess.PIPE, text=True) as process:
        patience = time.monotonic() + 60
        while not list((tmp_path / "work").glob("0*-*.csv")) and time.monotonic() < patience:
            time.sleep(0.01)
        assert process.poll() is None
        _end(machines[0])
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


@pytest.fixture
def ray_address(cluster_python: Path, tmp_path: Path) -> Iterator[str]:
    """A cluster that was started before, with a token in the home folder as Ray has it. Its temporary files are in the
    folder `there` of the test."""
    (tmp_path / "there").mkdir()
    with tempfile.TemporaryDirectory(prefix="b") as short, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        words = [str(cluster_python.with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=2"]
        process = subprocess.Popen(
            [*words, "--include-dashboard=false", f"--temp-dir={short}", "--disable-usage-stats"],
            env=shell(tmp_path) | {"TMPDIR": str(tmp_path / "there")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            patience = time.monotonic() + 60
            while time.monotonic() < patience and not _listens(port):
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)
            _end(process)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_a_scoring_on_a_cluster_goes_on_after_a_kill(
    score: Score, on: Score, cluster_python: Path, words: list[str], ray_address: str, tmp_path: Path
) -> None:
    write_csv(tmp_path / "x.csv", 60_000)
    assert score("x.csv", "here.csv", "--batch", "100", "--keep", "id").returncode == 0
    asked = [str(cluster_python), *words[1:], *told("ray", "x.csv", "there.csv")]
    given = shell(tmp_path) | {"RAY_ADDRESS": ray_address}
    with subprocess.Popen(asked, cwd=tmp_path, env=given, stderr=subprocess.DEVNULL) as process:
        patience = time.monotonic() + 90
        while not list((tmp_path / "work").glob("0*-*.csv")) and time.monotonic() < patience:
            time.sleep(0.01)
        assert process.poll() is None
        assert len(workers_in(tmp_path / "there")) == 2
        process.kill()
    assert soon(lambda: workers_in(tmp_path / "there") == []), "the cluster lives, and they do not"
    assert not (tmp_path / "there.csv").exists()
    done = on("ray", "x.csv", "there.csv", RAY_ADDRESS=ray_address)
    assert (done.returncode, done.stdout) == (0, "60000 rows, 0 rejected\n"), done.stderr
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert left_by(tmp_path / "there") == []


@pytest.fixture
def hasty(words: list[str], tmp_path: Path) -> str:
    """The program of a scoring, in which a process that nobody asks waits for a second, and not for ten minutes."""
    with zipfile.ZipFile(words[1]) as box, zipfile.ZipFile(tmp_path / "hasty.pyz", "w") as changed:
        for name in box.namelist():
            content = box.read(name)
            if name.endswith("clusters.py"):
                assert b"IDLE = 600.0" in content
                content = content.replace(b"IDLE = 600.0", b"IDLE = 1.0")
            changed.writestr(name, content)
    return str(tmp_path / "hasty.pyz")


@pytest.mark.parametrize("where", ["dask", "ray"])
def test_a_process_that_waits_long_for_another_one_lives_as_long_as_the_scoring(
    score: Score, cluster_python: Path, words: list[str], hasty: str, tmp_path: Path, where: str
) -> None:
    write_csv(tmp_path / "x.csv", 60_000)
    assert score("x.csv", "here.csv", "--batch", "100", "--keep", "id").returncode == 0
    with tempfile.TemporaryDirectory(prefix="b") as short:
        asked = [str(cluster_python), hasty, *words[2:], *told(where, "x.csv", "there.csv")]
        given = shell(tmp_path) | {"TMPDIR": short}
        with subprocess.Popen(asked, cwd=tmp_path, env=given, stderr=subprocess.PIPE, text=True) as process:
            assert soon(lambda: bool(list((tmp_path / "work").glob("0*-*.csv"))))
            slow, other = workers_in(Path(short))
            os.kill(slow, signal.SIGSTOP)
            time.sleep(4)
            os.kill(slow, signal.SIGCONT)
            assert workers_in(Path(short)) == [slow, other]
            _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


@pytest.mark.parametrize("where", ["dask", "ray"])
def test_a_scoring_that_was_killed_leaves_no_process_with_the_model_and_no_folder_that_clean_does_not_know(
    cluster_python: Path, words: list[str], tmp_path: Path, where: str
) -> None:
    """Agents of Ray's own notice after a minute that their cluster is gone."""
    write_csv(tmp_path / "x.csv", 60_000)
    with tempfile.TemporaryDirectory(prefix="b", ignore_cleanup_errors=True) as short:
        asked = [str(cluster_python), *words[1:], *told(where, "x.csv", "y.csv")]
        given = shell(tmp_path) | {"TMPDIR": short}
        with subprocess.Popen(asked, cwd=tmp_path, env=given, stderr=subprocess.DEVNULL) as process:
            assert soon(lambda: bool(list((tmp_path / "work").glob("0*-*.csv"))))
            assert clean(tmp_path / "none", Path(short), unused_since=0).removed == ()
            assert left_by(Path(short))
            assert len(workers_in(Path(short))) == 2
            process.kill()
        assert soon(lambda: workers_in(Path(short)) == [])
        clean(tmp_path / "none", Path(short), unused_since=0)
        assert left_by(Path(short)) == []
