"""Typing bis as a person or a script does, and runs to look at."""

import fcntl
import http.server
import json
import os
import pty
import queue
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import pytest
from uv import find_uv_bin

from bis.digest import Digest
from bis.nouns.part import Finding, Part
from bis.nouns.run import Chance, Coverage, Output, Run, Usage
from bis.oci.layers import Entry, write_layer
from bis.oci.layout import Layout, machine

SCRIPT = """
import json, random, sys
rate = float(sys.argv[sys.argv.index("--lr") + 1]) if "--lr" in sys.argv else 0.1
rows = open("data.csv").read().split()
print("rows", len(rows))
print("careful", file=sys.stderr)
json.dump({"accuracy": 0.9 + rate / 100, "loss": 1.5}, open("metrics.json", "w"))
open("model.bin", "wb").write(bytes(1000) + str(rate).encode())
"""


class Typed(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def variables(tmp_path_factory: pytest.TempPathFactory, tracing: str) -> dict[str, str]:
    """The environment variables of somebody who has set nothing up."""
    home = tmp_path_factory.mktemp("home")
    kept = ("PATH", "PYTHONPATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "BIS_TRACE": tracing,
        "GIT_CONFIG_GLOBAL": os.devnull,
        # Compiled once, where a checkout may not be written to.
        "PYTHONPYCACHEPREFIX": str(home / "compiled"),
    }


@pytest.fixture(scope="session")
def bis(variables: dict[str, str]) -> Callable[..., Typed]:
    """`bis("log", "--json", folder=project)`: the command in a pipe, as a script uses it."""

    def type_(*words: str, folder: Path | None = None, **more: str) -> Typed:
        done = subprocess.run(
            [sys.executable, "-m", "bis", *words],
            cwd=folder,
            env={**variables, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        return Typed(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode())

    return type_


@pytest.fixture(scope="session")
def terminal(variables: dict[str, str]) -> Callable[..., Typed]:
    """`terminal("log", folder=project, lines=10)`: the command on a terminal of its own; both streams are `out`."""

    def type_(*words: str, folder: Path | None = None, columns: int = 100, lines: int = 40, **more: str) -> Typed:
        pid, master = pty.fork()
        if pid == 0:
            try:
                os.chdir(folder or ".")
                os.execve(sys.executable, [sys.executable, "-m", "bis", *words], {**variables, **more})
            finally:
                os._exit(99)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        out = b""
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:
                break
            if not block:
                break
            out += block
        os.close(master)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return Typed(status, out.decode().replace("\r\n", "\n"), "")

    return type_


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, bis: Callable[..., Typed]) -> Path:
    """A project with two runs of one script, `low` and `high`, and one, `broken`, that failed. Read only."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "train.py").write_text(SCRIPT)
    (folder / "data.csv").write_text("1\n2\n3\n")
    (folder / "bis.toml").write_text("")
    for name, words in (("low", ["train.py"]), ("high", ["train.py", "--lr", "2"]), ("broken", ["-c", "exit(3)"])):
        done = bis("run", "--name", name, "--", sys.executable, *words, folder=folder)
        assert done.status == (3 if name == "broken" else 0), done.err
    return folder


@pytest.fixture
def some_run() -> Callable[..., Run]:
    """A run made by hand, with something to say in each of its fields: `some_run(id="…", metrics={…})`."""

    def make(**changed: Any) -> Run:
        run = Run(
            id="7f3a91c20b41",
            name="train-12",
            command=("python", "train.py", "--lr", "0.1"),
            project="/home/ana/churn",
            user="ana",
            host="gpu-3",
            version="0.1.0",
            started="2026-05-03T12:00:00.000000Z",
            ended="2026-05-03T12:04:40.000000Z",
            status="finished",
            exit=0,
            parts={
                "code": _part("code", "a91c4f2 main, 2 changed"),
                "data": _part("data", "train.csv, 1.2 GiB"),
                "params": _part("params", "1 value", options={"lr": "0.1"}),
                "environment": _part("environment", "Python 3.11.7, 84 packages"),
            },
            outputs=(
                Output(path="<stdout>", digest=named("0a"), size=212),
                Output(path="model.pkl", digest=named("0b"), size=5 << 20),
                Output(path="big.bin", digest=named("0c"), size=5 << 30, kept=False),
            ),
            metrics={"accuracy": 0.934, "loss": 0.205},
            chance=Chance(seed=7, hash_seed=7, streams={"numpy": 3, "random": 1}, own=("torch",)),
            usage=Usage(seconds=280.0, cpu_seconds=542.0, peak_bytes=1200 << 20),
            coverage=Coverage(mechanism="notify", complete=True),
            findings=(Finding(code="os-randomness", text="uuid4 was called", hint="seed it"),),
        )
        return msgspec.structs.replace(run, **changed)

    return make


def named(digits: str) -> Digest:
    """A digest that begins with these digits."""
    return Digest("b3:" + f"{digits:0<64}")


def _part(kind: Any, summary: str, **facts: Any) -> Part:
    digits = {"code": "c0de", "data": "da7a", "params": "9a7a", "environment": "e0e0"}[kind]
    return Part(kind=kind, digest=named(digits), summary=summary, facts=facts)


# -- what is built of


@pytest.fixture
def base(tmp_path: Path) -> Callable[..., str]:
    """A base of some files, by the way to name it."""

    def make(*names: str) -> str:
        layout = Layout(tmp_path / f"base{len(names)}")
        layout.make()
        with layout.new_blob() as file:
            written = write_layer([Entry(name, b"", executable=True) for name in names], file, 0)
            layout.keep(file, written.descriptor.digest)
        config = {
            "architecture": machine(),
            "os": "linux",
            "config": {"Env": ["PATH=/usr/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [written.diff_id]},
        }
        layout.name(layout.put_image(config, (written.descriptor,), {}).descriptor, "base")
        return f"oci:{layout.folder}"

    return make


@pytest.fixture
def trained(tmp_path: Path, bis: Any, variables: dict[str, str]) -> Path:
    """A project with a run in a virtual environment of its own."""
    project = tmp_path / "project"
    project.mkdir()
    subprocess.run([find_uv_bin(), "venv", "--quiet", "-p", sys.executable, ".venv"], cwd=project, check=True)
    for words in (
        ("init", "-q"),
        ("add", "train.py"),
        ("-c", "user.email=a@b", "-c", "user.name=a", "commit", "-qm", "x"),
    ):
        (project / "train.py").write_text("open('out.txt', 'w').write('7')\nprint('trained')\n")
        subprocess.run(["git", *words], cwd=project, env=variables, check=True)
    assert bis("run", "--", ".venv/bin/python", "train.py", folder=project).status == 0
    return project


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as MLflow would write it."""
    folder = tmp_path / "model"
    folder.mkdir()
    flavors = {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}}
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavors, "utc_time_created": "2026-01-01 00:00:00.000000"}))
    (folder / "python_model.pkl").write_bytes(b"\x80\x05N.")
    return folder


# -- AWS Lambda --------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """What a function said of an event."""

    kind: str
    """`response`, `error`, or `init` where it did not start."""
    content: Any
    text: str


class Runtime:
    """The API that Lambda has for its runtimes, as far as Amazon's client asks it, and a process that asks it."""

    def __init__(self) -> None:
        self.events: queue.Queue[bytes] = queue.Queue()
        self.said: queue.Queue[Said] = queue.Queue()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._answers())
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _answers(self) -> type[http.server.BaseHTTPRequestHandler]:
        events, said = self.events, self.said

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = events.get()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "event-1")
                self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:1234:function:cells")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                kind = "init" if "/init/" in self.path else self.path.rpartition("/")[2]
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                said.put(Said(kind, json.loads(text), text))

            def log_message(self, *words: Any) -> None:
                pass

        return Answers

    @contextmanager
    def calling(self, command: list[str], folder: Path, **variables: str) -> Iterator[Self]:
        """While a function runs that asks this API for events."""
        given = {"PATH": os.environ["PATH"], **variables, "AWS_LAMBDA_RUNTIME_API": self.address}
        with subprocess.Popen(
            command, cwd=folder, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield self
            finally:
                process.kill()
                self.server.shutdown()
                print(process.stdout and process.stdout.read())

    def call(self, event: Any, seconds: float = 60) -> Said:
        self.events.put(json.dumps(event).encode())
        return self.said.get(timeout=seconds)


@pytest.fixture(scope="session")
def lambda_runtime() -> type[Runtime]:
    """`with lambda_runtime().calling(command, folder) as runtime: runtime.call(event)`."""
    return Runtime
