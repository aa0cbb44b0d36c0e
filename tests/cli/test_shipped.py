"""Images of a real training and of its model, sent to a registry and run from there by programs that are not bis."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from uv import find_uv_bin

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

    def ship(what: str, name: str, kind: str = "image") -> tuple[dict[str, Any], dict[str, Any], Path]:
        words = ("build", kind, what, "--base", SUITE, "--push", f"{registry}/team/{name}:1", "--json")
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


def started(
    root: Path, config: dict[str, Any], container: dict[str, Any], volumes: dict[str, Path], pod: str = "pod-1"
) -> list[str]:
    """The command line that does with a container of a manifest, and the image that it names, what a cluster does."""
    command = container.get("command") or config.get("Entrypoint") or []
    args = container.get("args") or ([] if "command" in container else config["Cmd"])
    variables = {**dict(entry.partition("=")[::2] for entry in config["Env"]), "POD_NAME": pod}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    mounts = ["--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    for mount in container["volumeMounts"]:
        (root / mount["mountPath"].strip("/")).mkdir(exist_ok=True)
        folder = volumes[mount["name"]] / mount.get("subPathExpr", "").replace("$(POD_NAME)", pod)
        mounts += ["--bind", str(folder), mount["mountPath"]]
    user = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--uid", "65534", "--gid", "65534"]
    given = [part for name, value in variables.items() for part in ("--setenv", name, value)]
    words = [word.replace("$(POD_NAME)", pod) for word in (*command, *args)]
    folder = config["WorkingDir"]
    return ["bwrap", *user, *mounts, "--clearenv", *given, "--chdir", folder, "--die-with-parent", "--", *words]


def memory(pid: int) -> int:
    """Bytes of a process and of all that it started."""
    told = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(told[1]) << 10 if told else 0) + sum(memory(int(child)) for child in below)


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
    answer, _, root = shipped("train-1", "training")
    for where in ("oci:image:train-1", answer["pushed"]):
        done = bis("repeat", "train-1", "--in", where, "--json", folder=trained, XDG_CACHE_HOME=str(cache))
        assert done.status == 0, done.err + done.out
        (verdict,) = done.json["verdicts"]
        assert any(answer["digest"] in finding["text"] for finding in verdict["findings"])
        assert not verdict.get("leaks")
        assert done.json["same"], verdict
        # An image has the Python of its base, which may be another patch than that of this machine.
        doubts = verdict.get("not_compared", ())
        assert all(doubt.startswith("environment is not as recorded: python: ") for doubt in doubts), doubts
        again = bis("show", verdict["again"], "--json", folder=trained).json["run"]
        infrastructure = again["parts"]["infrastructure"]
        status = (root / "var/lib/dpkg/status").read_text()
        assert infrastructure["facts"]["packages"] == {"manager": "dpkg", "count": status.count("\nPackage: ") + 1}
        assert infrastructure["facts"]["container"]["image"].endswith(answer["digest"])
        assert "libc6" in infrastructure["facts"]["used"]


def test_an_image_of_a_registry_that_may_be_another_tomorrow_is_named_by_its_digest_first(
    shipped: Any, trained: Path, bis: Any, cache: Path, registry: str
) -> None:
    answer, _, _ = shipped("train-1", "training")
    done = bis("repeat", "train-1", "--in", f"{registry}/team/training:1", folder=trained, XDG_CACHE_HOME=str(cache))
    assert done.status == 2
    assert "may mean another image tomorrow" in done.err
    assert f"--in {answer['pushed']}" in done.err


def test_what_was_built_of_another_run_is_no_place_to_repeat_in(
    shipped: Any, trained: Path, bis: Any, cache: Path, training_python: Path
) -> None:
    shipped("train-1", "training")
    assert bis("run", "--", str(training_python), "train.py", folder=trained).status == 0
    done = bis("repeat", "@latest", "--in", "oci:image:train-1", folder=trained, XDG_CACHE_HOME=str(cache))
    assert done.status == 4
    assert "was not built of" in done.err


# -- functions of AWS Lambda -------------------------------------------------------------------------------------


def called_inside(root: Path, config: dict[str, Any], runtime: Any) -> Any:
    """The function of an image, which a runtime on loopback calls."""
    program, *words = inside(root, config)
    at = words.index("--clearenv") + 1
    words[at:at] = ["--setenv", "AWS_LAMBDA_RUNTIME_API", runtime.address]
    return runtime.calling([program, *words], root)


def test_the_function_of_a_model_answers_from_its_image(
    shipped: Any, trained: Path, bis: Any, lambda_runtime: Any
) -> None:
    answer, config, root = shipped("runs:/train-1/model", "function", "lambda")
    with called_inside(root, config, lambda_runtime()) as runtime:
        said = runtime.call(ASKED).content
        by_url = {
            "rawPath": "/invocations",
            "headers": {"content-type": "application/json"},
            "requestContext": {"http": {"method": "POST"}},
            "body": json.dumps(ASKED),
        }
        by_http = runtime.call(by_url).content
    first = [float(line) for line in (trained / "predictions.csv").read_text().split()[:1]]
    assert said["predictions"][:1] == pytest.approx(first)
    assert json.loads(by_http["body"]) == said
    run = bis("show", "train-1", "--json", folder=trained).json["run"]["id"]
    assert by_http["headers"]["x-run-id"] == run
    found = bis("lineage", answer["pushed"], "--json", folder=trained).json["lineage"]
    assert found["thing"]["kind"] == "lambda"
    assert [node["name"] for node in found["made_of"] if node["kind"] == "run"] == ["train-1"]


def test_the_function_of_a_run_trains_the_same_again(shipped: Any, trained: Path, lambda_runtime: Any) -> None:
    _, config, root = shipped("train-1", "trainer", "lambda")
    with called_inside(root, config, lambda_runtime()) as runtime:
        said = runtime.call({"anything": "at all"}, seconds=120).content
    assert said["output"].startswith("trained")
    written = hashlib.sha256((trained / "model" / "model.pkl").read_bytes()).hexdigest()
    assert said["outputs"]["model/model.pkl"] == f"sha256:{written}"


def test_the_function_of_a_model_answers_from_a_zip_in_a_runtime_that_has_nothing_else(
    bis: Any, trained: Path, tmp_path: Path, lambda_runtime: Any
) -> None:
    project = tmp_path / "project"
    shutil.copytree(trained, project, ignore=shutil.ignore_patterns(".bis", "image", "model", "predictions.csv"))
    # Wheels that run on Amazon Linux 2 as well.
    wanted = ["scikit-learn==1.6.1", "numpy==2.2.6", "scipy==1.15.3", "joblib==1.4.2", "threadpoolctl==3.5.0"]
    runtime = tmp_path / "runtime"
    for place, packages in ((project / ".venv", wanted), (runtime, ["awslambdaric==4.2.2"])):
        call(find_uv_bin(), "venv", "-q", "-p", sys.executable, str(place))
        call(find_uv_bin(), "pip", "install", "-q", "-p", str(place), *packages)
    assert bis("run", "--", ".venv/bin/python", "train.py", folder=project).status == 0
    words = ("build", "lambda", "runs:/train-1/model", "--zip", "model.zip", "--json")
    done = bis(*words, folder=project)
    assert done.status == 0, done.err
    assert bis(*words[:-2], "again.zip", "--json", folder=project).json["digest"] == done.json["digest"]
    task = tmp_path / "task"
    with zipfile.ZipFile(project / "model.zip") as box:
        box.extractall(task)
    command = [str(runtime / "bin" / "python"), "-m", "awslambdaric", done.json["handler"]]
    with lambda_runtime().calling(command, task, LAMBDA_TASK_ROOT=str(task)) as called:
        said = called.call(ASKED).content
    first = [float(line) for line in (project / "predictions.csv").read_text().split()[:1]]
    assert said["predictions"][:1] == pytest.approx(first)


@pytest.fixture
def manifests(bis: Any, trained: Path, tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """What is written for a cluster, by its kind."""

    def written(*words: str) -> dict[str, dict[str, Any]]:
        file = tmp_path / "it.yaml"
        done = bis("build", "k8s", *words, "--output", str(file), folder=trained)
        assert done.status == 0, done.err
        return {one["kind"]: one for one in yaml.safe_load_all(file.read_bytes())}

    return written


def test_a_pod_of_the_manifests_is_found_alive_and_ready_and_answers(
    shipped: Any, manifests: Any, trained: Path, tmp_path: Path
) -> None:
    answer, config, root = shipped("runs:/train-1/model", "cells")
    pod = manifests("runs:/train-1/model", "--cpu", "2")["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == answer["pushed"]
    port = free_port()
    container["args"] = [str(port) if word == "8080" else word for word in container["args"]]
    for one in pod["volumes"]:
        (tmp_path / one["name"]).mkdir()

    def asked(path: str, body: bytes | None = None) -> Any:
        # As a cluster asks: by the address of the pod, which is no name that the server knows.
        headers = {"Content-Type": "application/json", "Host": "10.8.0.7:8080"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
        return urllib.request.urlopen(request, timeout=10)

    with running(started(root, config, container, {"tmp": tmp_path / "tmp"})) as process:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert until(lambda path=container[probe]["httpGet"]["path"]: asked(path)).status == 200  # type: ignore[misc]
        first = [float(line) for line in (trained / "predictions.csv").read_text().split()[:1]]
        assert json.load(asked("/invocations", json.dumps(ASKED).encode()))["predictions"][:1] == pytest.approx(first)
        assert json.load(asked("/v2/models/train-1"))["name"] == "train-1"
        limit = container["resources"]["limits"]["memory"]
        assert memory(process.pid) < int(limit[:-2]) << {"Mi": 20, "Gi": 30}[limit[-2:]]
        last = {**container, "command": container["lifecycle"]["preStop"]["exec"]["command"], "args": []}
        subprocess.run(started(root, config, last, {"tmp": tmp_path / "tmp"}), check=True, timeout=60)
        assert asked("/invocations", json.dumps(ASKED).encode()).status == 200, (
            "it still answers until it is told to end"
        )


def test_each_pod_of_a_job_trains_the_same_into_a_folder_of_its_own(
    shipped: Any, manifests: Any, trained: Path, tmp_path: Path
) -> None:
    answer, config, root = shipped("train-1", "training")
    spec = manifests("train-1")["Job"]["spec"]["template"]["spec"]
    volumes = {name: tmp_path / name for name in ("outputs", "tmp")}
    for folder in volumes.values():
        folder.mkdir()
    for pod in ("train-1-x7k2p", "train-1-q9d4m"):
        for container in (*spec["initContainers"], *spec["containers"]):
            assert container["image"] == answer["pushed"]
            command = started(root, config, container, volumes, pod)
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("trained")
        for name in ("predictions.csv", "model/model.pkl"):
            assert (volumes["outputs"] / pod / name).read_bytes() == (trained / name).read_bytes()
