"""Fixtures that every test may use."""

import base64
import hashlib
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from uv import find_uv_bin

from bis.steps.trace import start

BACKEND = """
import base64, hashlib, os, zipfile
NAME, VERSION = "{name}", "{version}"

def _wheel(directory, files):
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    files[f"{{info}}/METADATA"] = f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n"
    files[f"{{info}}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{{info}}/entry_points.txt"] = f"[console_scripts]\\n{{NAME}}-say = {{NAME}}:say\\n"
    name = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        rows = []
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{{path}},sha256={{digest}},{{len(text.encode())}}\\n")
        archive.writestr(f"{{info}}/RECORD", "".join(rows) + f"{{info}}/RECORD,,\\n")
    return name

def build_wheel(directory, settings=None, metadata=None):
    return _wheel(directory, {{f"{{NAME}}/__init__.py": open(f"src/{{NAME}}/__init__.py").read()}})

def build_editable(directory, settings=None, metadata=None):
    return _wheel(directory, {{f"__editable__.{{NAME}}.pth": os.path.abspath("src") + "\\n"}})
"""

# A test run under `nohup` would hand ignored signals down to every command that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str, remedy: str) -> None:
    """Fail on CI, where a check that is skipped would pass for one that was made; elsewhere skip, loudly."""
    message = f"{what} is missing. {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    warnings.warn(message, stacklevel=2)
    pytest.skip(message)


@pytest.fixture(scope="session")
def lacking() -> Callable[[str, str], None]:
    """For a test that finds out by itself that something it needs is not there: `lacking(what, remedy)`."""
    return missing


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def training_python() -> Path:
    """The interpreter of a user's environment: it has scikit-learn, pandas, joblib and ipykernel, and not bis.

    `make test` builds it at `.venv-training`; the variable BIS_TEST_TRAINING names another one.
    """
    chosen = os.environ.get("BIS_TEST_TRAINING")
    python = Path(chosen) if chosen else ROOT / ".venv-training" / "bin" / "python"
    if not python.exists():
        missing(f"the training environment ({python})", "Type `make .venv-training`.")
    return python


@pytest.fixture(scope="session")
def clients() -> Path:
    """The interpreter of an environment that has MLflow's own client, and not bis; `make test` builds it."""
    python = Path(os.environ.get("BIS_TEST_CLIENTS") or ROOT / ".venv-clients" / "bin" / "python")
    if not python.exists():
        missing(f"the environment of clients ({python})", "Type `make .venv-clients`.")
    return python


@pytest.fixture(scope="session")
def models_python() -> Path:
    """The interpreter of an environment with the light frameworks of models, MLflow's client and what bis needs."""
    python = Path(os.environ.get("BIS_TEST_MODELS") or ROOT / ".venv-models" / "bin" / "python")
    if not python.exists():
        missing(f"the environment of models ({python})", "Type `make .venv-models`.")
    return python


@pytest.fixture(scope="session")
def heavy_python() -> Path:
    """The interpreter of an environment with PyTorch, TensorFlow, Keras and mlflow."""
    python = Path(os.environ.get("BIS_TEST_HEAVY") or ROOT / ".venv-heavy" / "bin" / "python")
    if not python.exists():
        missing(f"the environment of heavy frameworks ({python})", "Type `make .venv-heavy`.")
    return python


@pytest.fixture(scope="session")
def tracing() -> str:
    """How bis traces what these tests run: `auto` as a user has it, or what the variable BIS_TEST_TRACE says.

    `audit` is what macOS has. Tests hand it on as BIS_TRACE, as bis is started with a shell's variables, not theirs.
    """
    return os.environ.get("BIS_TEST_TRACE") or "auto"


@pytest.fixture(scope="session")
def kernel_trace(tracing: str) -> None:
    """A test of what only a trace by the kernel can tell; where there is none, it says why."""
    if tracing not in ("auto", "notify", "full"):
        pytest.skip(f"needs the kernel's trace, and this is a run with BIS_TEST_TRACE={tracing}")
    with start(tracing) as tracer:
        if tracer.facts.get("mechanism") != "notify":
            pytest.skip(f"needs the kernel's trace, and there is none here: {tracer.facts.get('why', sys.platform)}")


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """Where a system tool is: `tool("strace")`. A missing one fails the test on CI and skips it elsewhere."""

    def find(name: str) -> Path:
        found = shutil.which(name)
        if found is None:
            missing(f"the system tool {name}", "Type `make system-packages` (as root), or install it yourself.")
        assert found is not None
        return Path(found)

    return find


@pytest.fixture(scope="session")
def chromium(tool: Callable[[str], Path]) -> Path:
    """The browser that has no window, and so opens a page in a third of the time; else the one that has."""
    return tool("chromium-headless-shell" if shutil.which("chromium-headless-shell") else "chromium")


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """Where a program of the environment of other systems is: `peer("dvc")`, `peer("python")`.

    `make test-all` builds it at `.venv-peers`; the variable BIS_TEST_PEERS names the interpreter of another one.
    """

    def find(name: str) -> Path:
        chosen = os.environ.get("BIS_TEST_PEERS")
        program = (Path(chosen).parent if chosen else ROOT / ".venv-peers" / "bin") / name
        if not program.exists():
            missing(f"{program}, of the environment of other systems,", "Type `make .venv-peers`.")
        return program

    return find


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., str]:
    """Run another program in a folder, as its users do, and return what it printed; its failure fails the test, with
    its words. Its home is one of its own, and it says nothing to anybody."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "share"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "DO_NOT_TRACK": "1",
        "QUILT_DISABLE_USAGE_METRICS": "true",
        "QUILT_MINIMIZE_STDOUT": "true",
        "LC_ALL": "C.UTF-8",
    }

    def call(folder: Path, *words: str | Path, **more: str) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            env=variables | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    return call


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[..., Path]:
    """Write a wheel by hand into `tmp_path/wheels`: `make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})`."""

    def make(name: str, version: str, files: dict[str, str], *, folder: Path | None = None, **more: str) -> Path:
        info = f"{name}-{version}.dist-info"
        tag = more.pop("tag", "py3-none-any")
        whole = {
            **files,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
            **{f"{info}/{key}.txt": text for key, text in more.items()},
        }
        rows = []
        path = (folder or tmp_path / "wheels") / f"{name}-{version}-{tag}.whl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for place, text in whole.items():
                archive.writestr(place, text)
                digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
                rows.append(f"{place},sha256={digest},{len(text.encode())}\n")
            archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
        return path

    return make


@pytest.fixture
def uv_variables(tmp_path: Path) -> dict[str, str]:
    """Environment variables with which uv and pip know no network and nothing of the person who runs the tests."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (tmp_path / "no-index").mkdir(exist_ok=True)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": (tmp_path / "no-index").as_uri(),
        "UV_FIND_LINKS": str(tmp_path / "wheels"),
        "PIP_CONFIG_FILE": os.devnull,
    }


@pytest.fixture
def make_environment(tmp_path: Path, uv_variables: dict[str, str]) -> Callable[..., Path]:
    """Make a virtual environment with uv and install into it, from `tmp_path/wheels` only; its interpreter."""

    def make(prefix: Path, *what: str | Path) -> Path:
        (tmp_path / "wheels").mkdir(exist_ok=True)
        uv = [str(find_uv_bin())]
        made = [*uv, "venv", "--quiet", "--no-project", "--allow-existing", "-p", os.path.realpath(sys.executable)]
        subprocess.run([*made, str(prefix)], env=uv_variables, check=True, timeout=60)
        if what:
            install = [*uv, "pip", "install", "--quiet", "--no-deps", "--offline", "-p", str(prefix / "bin" / "python")]
            subprocess.run([*install, *map(str, what)], env=uv_variables, check=True, timeout=60)
        return prefix / "bin" / "python"

    return make


@pytest.fixture
def make_source() -> Callable[..., Path]:
    """Write a package's source tree with a build backend of its own, so that installing it needs nothing else."""

    def make(folder: Path, name: str, version: str = "1.0") -> Path:
        (folder / "src" / name).mkdir(parents=True)
        (folder / "src" / name / "__init__.py").write_text("VALUE = 1\n")
        (folder / "backend.py").write_text(BACKEND.format(name=name, version=version))
        told = 'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        project = f'[project]\nname = "{name}"\nversion = "{version}"\n'
        (folder / "pyproject.toml").write_text(f"[build-system]\n{told}{project}")
        return folder

    return make


S3_SERVER = """
import os, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until the tests end, however they end
os._exit(0)
"""


@pytest.fixture(scope="session")
def s3_port(peer: Callable[[str], Path]) -> Iterator[int]:
    """A server of S3 on this machine, which ends when the tests do."""
    words = [str(peer("python")), "-c", S3_SERVER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.stdin.close()


@pytest.fixture
def bucket_name(tmp_path: Path) -> str:
    """Letters and digits alone: for Google obstore writes `%2D`, which the server of S3 takes for three letters."""
    return f"{re.sub(r'[^a-z0-9]+', '', tmp_path.name.lower())[:50]}{os.getpid()}"


@pytest.fixture
def bucket(s3_port: int, bucket_name: str) -> str:
    """An empty bucket on the server of S3."""
    with socket.create_connection(("127.0.0.1", s3_port)) as connection:
        request = f"PUT /{bucket_name} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(request.encode())
        assert b" 200 " in connection.recv(4096)
    return bucket_name


class Postgres:
    """A PostgreSQL server of its own on this machine, which ends when the tests do, however they end. It asks for a
    password on its port, and for none on its socket."""

    PASSWORD = "open sesame"
    UNTIL_WE_END = 'exec 3<&0; "$@" <&- 3<&- & read -r _ <&3; kill -INT $!; wait'

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.numbers = itertools.count(1)
        self._owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # which the server refuses to be
            account = next((one for one in pwd.getpwall() if one.pw_name == "postgres"), pwd.getpwnam("nobody"))
            self._owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(folder, account.pw_uid, account.pw_gid)
        secret = folder / "password"
        secret.write_text(self.PASSWORD)
        secret.chmod(0o644)
        made = ["initdb", "--no-sync", "-U", "ada", "-A", "scram-sha-256", "--auth-local=trust", "-E", "UTF8"]
        self._call(*made, "--locale=C.UTF-8", f"--pwfile={secret}", "-D", str(folder / "data"))
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        words = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k"]
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60"]
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", self.UNTIL_WE_END, "sh", *words, str(self.folder), *settings],
            stdin=subprocess.PIPE,
            stdout=(self.folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            **self._owner,
        )
        for _ in range(600):
            if (
                subprocess.run(
                    [self.programs / "pg_isready", "-q", "-h", str(self.folder), "-p", str(self.port)], check=False
                ).returncode
                == 0
            ):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self, how: int = signal.SIGINT) -> None:
        """End it: its clients are cut off. SIGQUIT: at once, as a crash would."""
        os.kill(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]), how)
        self._shell.communicate()

    def database(self) -> str:
        """A new one, for one test; its name."""
        name = f"test{next(self.numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def url(self, name: str, *, port: bool = False, user: str = "ada", password: str = "", schema: str = "") -> str:
        """By the socket, or by the port."""
        if port:
            return f"postgresql://{user}{f':{quote(password)}' if password else ''}@127.0.0.1:{self.port}/{name}"
        chosen = f"&options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://{user}@/{name}?host={self.folder}&port={self.port}{chosen}"

    def sql(self, statement: str, name: str = "postgres") -> str:
        """What `psql` prints."""
        done = subprocess.run(
            [self.programs / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", self.url(name), "-c", statement],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _call(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._owner,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL. Debian keeps its programs out of the way of the shell."""
    ways = (shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True))
    program = next(filter(None, ways), None)
    if program is None:
        missing("PostgreSQL (initdb, postgres)", "Type `make system-packages` (as root), or install it yourself.")
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="bis-postgres-") as name:
        Path(name).chmod(0o755)
        server = Postgres(Path(program).resolve().parent, Path(name))
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty ledger may be: a path, and the URL of a database. What every ledger promises is tested on both."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url("postgres", schema=f"test_{next(server.numbers)}")  # quicker than a database of its own


def pytest_report_header() -> str:
    """Say in each report which interpreter, which training environment and which trace the tests use."""
    training = os.environ.get("BIS_TEST_TRAINING", str(ROOT / ".venv-training"))
    tracing = os.environ.get("BIS_TEST_TRACE") or "auto"
    return f"bis: {sys.executable}; training environment: {training}; trace: {tracing}"
