"""What answering costs: `bis serve` and `mlflow models serve`, the same models in the same environment, in turn.

    .venv/bin/python benchmarks/serving.py --environment VENV
    .venv/bin/python benchmarks/serving.py --environment VENV --seconds 10 --rounds 5 --check
    .venv/bin/python benchmarks/serving.py --environment VENV --cold

VENV holds mlflow, scikit-learn, skops and xgboost; the models are made in it, by MLflow. `wrk` asks for two rows over
1 and 16 connections (`apt-get install wrk`). CPU is that of the server and all processes below it, in user and system
mode, for each request; on a machine that does other things it says more than requests per second do. Both servers must
give the same answers, or there is nothing to compare.

`--cold` measures another thing, of bis alone: `bis serve models:/sklearn@champion` from its start to the first
prediction, when the environment that the run recorded was built before, and the files of the model are in the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

TICK = os.sysconf("SC_CLK_TCK")
NAMES = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
BODY = {"dataframe_split": {"columns": NAMES, "data": [[5.1, 3.5, 1.4, 0.2], [6.9, 3.0, 5.4, 2.0]]}}
TARGETS = {"sklearn": 10.0, "xgboost": 4.0}
"""Times the requests per second of MLflow that are wanted."""
MEMORY = 1 / 3
COLD = 2.0
"""Seconds of CPU to the first prediction, the environment being there."""
MAKE = """
import mlflow, xgboost
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rows, label = load_iris(return_X_y=True, as_frame=True)
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, label)
mlflow.sklearn.save_model(model, "sklearn", signature=infer_signature(rows, model.predict(rows)))
model = xgboost.XGBClassifier(n_estimators=20).fit(rows, label)
mlflow.xgboost.save_model(model, "xgboost", signature=infer_signature(rows, model.predict(rows)))
"""
LUA = "wrk.method='POST'\nwrk.headers['Content-Type']='application/json'\nwrk.body=[==[%s]==]\n"


class Measured(NamedTuple):
    """One load on one server."""

    rate: float
    """Requests per second."""
    p50: float
    p99: float
    """Milliseconds."""
    cpu: float
    """Microseconds for each request."""


class Server(NamedTuple):
    """A server that answers."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    seconds: float
    """To the first prediction."""
    cpu: float
    """Seconds of CPU that it took until then."""

    @property
    def all(self) -> list[int]:
        return below(self.process.pid)


def below(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += below(int(child))
    return found


def cpu_of(pids: Sequence[int]) -> float:
    """Seconds, with children that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return total / TICK


def memory_of(pids: Sequence[int]) -> int:
    """Bytes resident, of all of them together."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


@contextlib.contextmanager
def served(name: str, command: Sequence[str], port: int, environment: Path) -> Iterator[Server]:
    """A server from its start to its first prediction, and to its end."""
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}/invocations"
    try:
        while True:
            if process.poll() is not None or time.perf_counter() - began > 300:
                raise SystemExit(f"{name} does not answer: {' '.join(command)}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.post(url, json=BODY, timeout=60).status_code == 200:
                    break
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        yield Server(name, process, url, seconds, cpu_of(below(process.pid)))
    finally:
        for pid in below(process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        process.wait(60)


def load(server: Server, connections: int, seconds: int, lua: Path) -> Measured:
    before = cpu_of(server.all)
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(lua), server.url]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{server.name} failed requests:\n{said}")
    spent = cpu_of(server.all) - before
    requests = int(_told(r"(\d+) requests in", said)[0])
    rate = float(_told(r"Requests/sec:\s+([\d.]+)", said)[0])
    return Measured(rate, _percentile(said, 50), _percentile(said, 99), 1e6 * spent / max(1, requests))


def _told(pattern: str, said: str) -> tuple[str, ...]:
    """What wrk says at that place. Ends the benchmark where it says nothing of the kind."""
    found = re.search(pattern, said)
    if found is None:
        raise SystemExit(f"wrk said something else:\n{said}")
    return found.groups()


def _percentile(said: str, which: int) -> float:
    number, unit = _told(rf"{which}%\s+([\d.]+)(us|ms|s)", said)
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def compare(kind: str, folder: Path, environment: Path, seconds: int, rounds: int, lua: Path) -> list[str]:
    """Print both servers at one model; returns which targets are missed."""
    ports = free_port(), free_port()
    mlflow = [str(environment / "bin" / "mlflow"), "models", "serve", "-m", str(folder), "--env-manager", "local"]
    bis = [sys.executable, "-m", "bis", "serve", str(folder), "--python", str(environment)]
    with (
        served("mlflow", [*mlflow, "-p", str(ports[0])], ports[0], environment) as theirs,
        served("bis", [*bis, "--port", str(ports[1])], ports[1], environment) as ours,
    ):
        if answers(theirs) != answers(ours):
            raise SystemExit(f"{kind}: the answers differ: {answers(theirs)} and {answers(ours)}")
        print(f"\n{kind}: both answer {answers(ours)}")
        print(f"{'':8}{'connections':>12}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'CPU us/req':>12}")
        missed = []
        for connections in (1, 16):
            found = measure((theirs, ours), connections, seconds, rounds, lua)
            for server, one in zip((theirs, ours), found, strict=True):
                numbers = f"{one.rate:10.0f}{one.p50:10.2f}{one.p99:10.2f}{one.cpu:12.0f}"
                print(f"{server.name:8}{connections:12}{numbers}")
            faster, later, less = _ratios(*found)
            print(f"{'':8}{'':12}{f'x{faster:.1f}':>10}{'':10}{f'x{later:.1f}':>10}{f'x{less:.1f}':>12}")
            for what, ratio in (("requests per second", faster), ("p99", later)):
                if ratio < TARGETS[kind]:
                    missed.append(f"{kind}, {connections} connections: {what} x{ratio:.1f} of x{TARGETS[kind]:.0f}")
        share = memory_of(ours.all) / memory_of(theirs.all)
        sizes = [memory_of(server.all) >> 20 for server in (theirs, ours)]
        print(f"memory: mlflow {sizes[0]} MiB, bis {sizes[1]} MiB, {100 * share:.0f} %")
        print(f"to the first prediction: mlflow {theirs.seconds:.1f} s (CPU {theirs.cpu:.1f} s), ", end="")
        print(f"bis {ours.seconds:.1f} s (CPU {ours.cpu:.1f} s)")
    if share > MEMORY:
        missed.append(f"{kind}: memory {100 * share:.0f} % of MLflow's, where a third is wanted")
    if kind == "sklearn" and ours.cpu > COLD:
        missed.append(f"{kind}: {ours.cpu:.1f} s of CPU to the first prediction, where {COLD:g} are wanted")
    return missed


def cold(folder: Path, environment: Path, rounds: int) -> list[str]:
    """Print how long a registered model takes to its first prediction, by its alias; returns which target is missed."""
    (folder / "bis.toml").write_text("")
    bis = [sys.executable, "-m", "bis", "-C", str(folder)]
    for words in (
        ["run", "--name", "made", "--", str(environment / "bin" / "python"), "make.py"],
        ["model", "register", "sklearn", "made", "--path", "sklearn"],
        ["model", "alias", "sklearn/1", "champion"],
    ):
        subprocess.run([*bis, *words], check=True, capture_output=True)
    found = []
    for number in range(rounds + 1):
        port = free_port()
        with served("bis", [*bis, "serve", "models:/sklearn@champion", "--port", str(port)], port, environment) as one:
            print(f"{'cached' if number else 'first time'}: {one.seconds:.2f} s (CPU {one.cpu:.2f} s)", flush=True)
            found += [(one.seconds, one.cpu)] if number else []
    seconds, cpu = (statistics.median(some) for some in zip(*found, strict=True))
    print(f"median of {rounds}: {seconds:.2f} s to the first prediction (CPU {cpu:.2f} s)")
    return [f"{cpu:.1f} s of CPU to the first prediction, where {COLD:g} are wanted"] if cpu > COLD else []


def measure(servers: Sequence[Server], connections: int, seconds: int, rounds: int, lua: Path) -> list[Measured]:
    """The median of each figure; the servers take turns."""
    found: list[list[Measured]] = [[] for _ in servers]
    for _ in range(rounds):
        for server, measured in zip(servers, found, strict=True):
            measured.append(load(server, connections, seconds, lua))
    return [Measured(*map(statistics.median, zip(*some, strict=True))) for some in found]


def _ratios(theirs: Measured, ours: Measured) -> tuple[float, float, float]:
    return ours.rate / theirs.rate, theirs.p99 / ours.p99, theirs.cpu / ours.cpu


def answers(server: Server) -> Any:
    return httpx.post(server.url, json=BODY, timeout=60).json()["predictions"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, required=True, help="environment with mlflow and the frameworks")
    parser.add_argument("--models", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="the start alone, of a registered model by its alias")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    asked = parser.parse_args()
    if shutil.which("wrk") is None and not asked.cold:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    environment = asked.environment.absolute()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, processors: {os.cpu_count()}")
    missed = []
    with tempfile.TemporaryDirectory(prefix="bis-serving-") as place:
        folder = Path(place)
        (folder / "make.py").write_text(MAKE)
        if asked.cold:
            missed = cold(folder, environment, asked.rounds)
            print(missed[0] if missed else "the target is met")
            return 1 if missed and asked.check else 0
        subprocess.run([environment / "bin" / "python", "make.py"], cwd=folder, check=True, capture_output=True)
        lua = folder / "post.lua"
        lua.write_text(LUA % json.dumps(BODY))
        for kind in asked.models:
            missed += compare(kind, folder / kind, environment, asked.seconds, asked.rounds, lua)
    print("\n" + ("all targets are met" if not missed else "missed: " + "; ".join(missed)))
    return 1 if missed and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
