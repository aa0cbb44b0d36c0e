"""Images of a real training and of its model, sent to a registry and run from there by programs that are not bis."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SUITE = "mmdebstrap:bookworm"
NAMES = ["length", "width"]
TRAIN = """
import json, pathlib, pickle
import numpy
from sklearn.linear_model import LinearRegression

rows = numpy.loadtxt("rows.csv", delimiter=",")
model = LinearRegression().fit(rows[:, :2], rows[:, 2])
numpy.savetxt("predictions.csv", model.predict(rows[:, :2]))
folder = pathlib.Path("model")
folder.mkdir(exist_ok=True)
(folder / "model.pkl").write_bytes(pickle.dumps(model))
inputs = [{"type": "double", "name": name, "required": True} for name in ("length", "width")]
(folder / "MLmodel").write_text(json.dumps({
    "flavors": {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
    },
    "signature": {"inputs": json.dumps(inputs)},
}))
print("trained", round(float(model.coef_[0]), 6))
"""
ASKED = {"dataframe_split": {"columns": NAMES, "data": [[1.0, 1.0], [3.0, 4.0]]}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bis' cache, with a base of Debian in it that is kept from one session of tests to the next."""
    folder = tmp_path_factory.mktemp("cache")
    kept = Path(os.environ.get("BIS_TEST_BASES") or Path.home() / ".cache" / "bis" / "images")
    (folder / "bis").mkdir()
    (folder / "bis" / "images").mkdir()
    for base in kept.glob("base-*.tar"):
        (folder / "bis" / "images" / base.name).symlink_to(base)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, bis: Any, training_python: Path) -> Path:
    """A project with a run that trained a model."""
    project = tmp_path_factory.mktemp("shipped")
    (project / "bis.toml").write_text("")
    (project / "train.py").write_text(TRAIN)
    (project / "rows.csv").write_text("".join(f"{n},{n * n % 7},{2 * n + 1 + n % 3}\n" for n in range(1, 40)))
    done = bis("run", "--", str(training_python), "train.py", folder=project)
    assert done.status == 0, done.err
    return project


@pytest.fixture(scope="module")
def programs(lacking: Callable[[str, str], None]) -> None:
    for name in ("mmdebstrap", "docker-registry", "skopeo", "umoci", "bwrap"):
        if shutil.which(name) is None:
            lacking(name, f"apt-get install {'bubblewrap' if name == 'bwrap' else name}")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, programs: None) -> Iterator[str]:
    """The name of a real registry on loopback."""
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None)
        yield f"127.0.0.1:{port}"
        process.kill()


@pytest.fixture(scope="module")
def shipped(bis: Any, trained: Path, cache: Path, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build an image, push it, pull it with skopeo, unpack it with umoci: what was answered, config, root."""

    def ship(what: str, name: str) -> tuple[dict[str, Any], dict[str, Any], Path]:
        words = ("build", "image", what, "--base", SUITE, "--push", f"{registry}/team/{name}:1", "--json")
        done = bis(*words, folder=trained, XDG_CACHE_HOME=str(cache))
        assert done.status == 0, done.err
        folder = tmp_path_factory.mktemp(name)
        source = f"docker://{done.json['pushed']}"
        call("skopeo", "copy", "--src-tls-verify=false", source, f"oci:{folder}/pulled:it")
        config = json.loads(call("skopeo", "inspect", "--config", f"oci:{folder}/pulled:it"))["config"]
        call("umoci", "unpack", "--rootless", "--image", f"{folder}/pulled:it", f"{folder}/bundle")
        return done.json, config, folder / "bundle" / "rootfs"

    return ship


def call(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


def until(done: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return done()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def inside(root: Path, config: dict[str, Any], *words: str, work: Path | None = None) -> list[str]:
    """The command line that runs an image: nobody, with a root that cannot be written to, and its own processes."""
    variables = [part for entry in config["Env"] for part in ("--setenv", *entry.partition("=")[::2])]
    mounts = ["--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    mounts += ["--bind", str(work), config["WorkingDir"]] if work else []
    user = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--uid", "65534", "--gid", "65534"]
    command = [*(config.get("Entrypoint") or ()), *(words or config["Cmd"])]
    folder = config["WorkingDir"]
    return ["bwrap", *user, *mounts, "--clearenv", *variables, "--chdir", folder, "--die-with-parent", "--", *command]


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_the_image_of_a_model_answers_as_nobody_and_ends_when_it_is_told(shipped: Any, trained: Path, bis: Any) -> None:
    answer, config, root = shipped("runs:/train-1/model", "cells")
    port = free_port()
    assert config["User"] == "65534:65534"
    with running(inside(root, config, "--host", "127.0.0.1", "--port", str(port))) as process:
        url = f"http://127.0.0.1:{port}/invocations"
        request = urllib.request.Request(url, json.dumps(ASKED).encode(), {"Content-Type": "application/json"})
        told = json.load(until(lambda: urllib.request.urlopen(request, timeout=10)))
        inner = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        (server,) = Path(f"/proc/{inner}/task/{inner}/children").read_text().split() or [str(inner)]
        os.kill(int(server), signal.SIGTERM)
        assert process.wait(30) == 0
    first = [float(line) for line in (trained / "predictions.csv").read_text().split()[:1]]
    assert told["predictions"][:1] == pytest.approx(first)
    found = bis("lineage", answer["pushed"], "--json", folder=trained).json["lineage"]
    assert [node["name"] for node in found["made_of"] if node["kind"] == "run"] == ["train-1"]


def test_the_image_of_a_run_trains_the_same_again(shipped: Any, trained: Path, tmp_path: Path) -> None:
    _, config, root = shipped("train-1", "training")
    work = tmp_path / "work"
    shutil.copytree(root / "work", work)
    assert not (work / "predictions.csv").exists()
    done = subprocess.run(inside(root, config, work=work), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.match("trained", done.stdout)
    for name in ("predictions.csv", "model/model.pkl"):
        assert (work / name).read_bytes() == (trained / name).read_bytes()


def test_a_run_is_repeated_in_the_system_of_its_image(shipped: Any, trained: Path, bis: Any, cache: Path) -> None:
    answer, _, _ = shipped("train-1", "training")
    done = bis("repeat", "train-1", "--in", "oci:image:train-1", "--json", folder=trained, XDG_CACHE_HOME=str(cache))
    assert done.status == 0, done.err + done.out
    (verdict,) = done.json["verdicts"]
    assert any(answer["digest"] in finding["text"] for finding in verdict["findings"])
    assert not verdict.get("leaks")
    assert verdict["sameness"] == "equivalent", "the system of the image was not compared"


def test_what_was_built_of_another_run_is_no_place_to_repeat_in(
    shipped: Any, trained: Path, bis: Any, cache: Path, training_python: Path
) -> None:
    shipped("train-1", "training")
    assert bis("run", "--", str(training_python), "train.py", folder=trained).status == 0
    done = bis("repeat", "@latest", "--in", "oci:image:train-1", folder=trained, XDG_CACHE_HOME=str(cache))
    assert done.status == 4
    assert "was not built of" in done.err
