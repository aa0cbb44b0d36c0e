"""What logging and asking cost: `bis server` and MLflow's own server, at the same work in the same session.

    .venv/bin/python benchmarks/tracking.py --mlflow VENV/bin/mlflow
    .venv/bin/python benchmarks/tracking.py --mlflow VENV/bin/mlflow --runs 100000
    .venv/bin/python benchmarks/tracking.py --mlflow VENV/bin/mlflow --bis-ledger URL --mlflow-store URL

CPU is that of the server and all processes below it, in user and system mode; what a client takes is not counted. The
two take turns at each kind of request. MLflow's server goes on starting helpers after it is healthy: it is measured
when they are calm. Runs to search and the long metric are put into both databases, not sent over HTTP. A request that
takes long is sent once; one that has no answer after `--patience` seconds is given up, and counts with what it took
until then: the ratio is larger than what is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bis.ledger import batches, experiments, points, tracked
from bis.ledger.places import database_at
from bis.nouns.tracking import Point

V = "/api/2.0/mlflow"
PAGES = "/ajax-api/2.0/mlflow"
TICK = os.sysconf("SC_CLK_TCK")
ENOUGH = 0.25
"""Seconds of CPU that a kind of request is measured for: the kernel counts in hundredths."""
LONGEST = 20
"""So many times the usual number of requests at most."""
LONG = 5.0
"""Seconds that an answer takes, of which one is enough."""
BEFORE = 1_000_000
"""Number of the first request that is not counted."""
CALM = 0.02
"""Of a core: what a server takes that does nothing."""
START = 1_700_000_000_000
PR_SET_PDEATHSIG = 1


class Facts(NamedTuple):
    """A run to be found by a search."""

    id: str
    started: int
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def made(runs: int) -> Iterator[Facts]:
    draw = random.Random(1)
    for number in range(runs):
        yield Facts(
            id=f"{number:032x}",
            started=START + 1000 * number,
            params={
                "lr": draw.choice(("0.1", "0.01", "0.001")),
                "model": draw.choice(("ridge", "lasso", "tree")),
                "depth": str(draw.randrange(10)),
                "seed": str(number),
            },
            metrics={key: draw.random() for key in ("loss", "acc", "f1", "auc")},
            tags={"team": draw.choice("abc"), "stage": draw.choice(("dev", "prod")), "note": "a remark of some words"},
        )


def long_metric(count: int) -> Iterator[tuple[int, int, float]]:
    draw = random.Random(2)
    for step in range(count):
        yield START + 50 * step, step, 1000.0 if step == count // 3 else draw.random()


class Server:
    """A server in a folder of its own, which answers at `http`."""

    name = ""

    def __init__(self, command: Sequence[str], folder: Path, port: int, patience: float = 900) -> None:
        self._patience = patience
        self.url = f"http://127.0.0.1:{port}"
        self._own = threading.local()
        self._log = (folder / "server.log").open("wb")
        began = time.perf_counter()
        variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        while not self._healthy():
            if self.process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended: {(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.01)
        self.seconds = time.perf_counter() - began

    @property
    def http(self) -> httpx.Client:
        """A connection for each thread that asks."""
        if not hasattr(self._own, "client"):
            self._own.client = httpx.Client(base_url=self.url, timeout=self._patience)
        client: httpx.Client = self._own.client
        return client

    def _healthy(self) -> bool:
        try:
            return self.http.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def calm_down(self) -> None:
        """Wait until its helpers have started."""
        quiet = 0
        while quiet < 3:
            before = self.cpu()
            time.sleep(2)
            quiet = quiet + 1 if self.cpu() - before <= 2 * CALM + 1 / TICK else 0

    def cpu(self) -> float:
        """Seconds so far, of all its processes, those that ended among them."""
        return sum(_cpu(pid) for pid in self.tree())

    def memory(self) -> int:
        """Bytes: what its processes share counts once."""
        return sum(_pss(pid) for pid in self.tree())

    def tree(self) -> list[int]:
        below: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                below.setdefault(int(fields[1]), []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found += below.get(pid, [])
        return found

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self._log.close()


def _end_with_parent() -> None:
    """However this process ends, what it started ends: it is told so by the kernel."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu(pid: int) -> float:
    return sum(map(int, _stat(pid)[11:15])) / TICK


def _pss(pid: int) -> int:
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# -- the two of them ---------------------------------------------------------------------------------------------


def bis_server(folder: Path, ledger: str) -> Server:
    port = free_port()
    words = ["--ledger", ledger] if ledger else []
    return Server([sys.executable, "-m", "bis", "-C", str(folder), "server", "--port", str(port), *words], folder, port)


def mlflow_server(folder: Path, mlflow: str, store: str, patience: float) -> Server:
    port = free_port()
    uri = store or f"sqlite:///{folder}/mlflow.db"
    words = ["--backend-store-uri", uri, "--default-artifact-root", str(folder / "artifacts"), "--workers", "1"]
    return Server([mlflow, "server", *words, "--host", "127.0.0.1", "--port", str(port)], folder, port, patience)


def fill_bis(place: Path | str, runs: int, count: int) -> None:
    database = database_at(place)
    facts = made(runs)
    with database.writing(durable=False) as connection:
        experiment = experiments.create(connection, "many", "", {}, 1000 * START)
    while some := [one for one, _ in zip(facts, range(1000), strict=False)]:
        with database.writing(durable=False) as connection:
            for run in some:
                tracked.create(
                    connection,
                    run.id,
                    experiment=experiment,
                    name=f"run-{run.id[-6:]}",
                    user="ada",
                    started=1000 * run.started,
                    tags=run.tags,
                )
                metrics = [Point(key, value, run.started, 1) for key, value in run.metrics.items()]
                batches.log(connection, run.id, metrics, run.params)
    with database.writing(durable=False) as connection:
        seq = tracked.seq_of(connection, f"{0:032x}")
        rows = [Point("long", value, moment, step) for moment, step, value in long_metric(count)]
        for start in range(0, count, 1000):
            points.append(connection, seq, rows[start : start + 1000])
    database.close()


def fill_mlflow(place: Path | str, runs: int, count: int) -> None:
    insert = _inserter(place)
    now = START
    insert(
        "experiments",
        "experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time",
        [(77, "many", "/nowhere", "active", now, now)],
    )
    ids = [(run, f"run-{run.id[-6:]}") for run in made(runs)]
    insert(
        "runs",
        "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,"
        " source_version, lifecycle_stage, artifact_uri, experiment_id",
        [
            (run.id, name, "UNKNOWN", "", "", "ada", "RUNNING", run.started, None, "", "active", "/nowhere", 77)
            for run, name in ids
        ],
    )
    for table, of in (("params", "params"), ("tags", "tags")):
        rows = ((key, value, run.id) for run, _ in ids for key, value in getattr(run, of).items())
        insert(table, "key, value, run_uuid", rows)
    for table in ("metrics", "latest_metrics"):
        measured = ((key, value, run.started, run.id, 1, False) for run, _ in ids for key, value in run.metrics.items())
        insert(table, "key, value, timestamp, run_uuid, step, is_nan", measured)
    points = "key, value, timestamp, run_uuid, step, is_nan"
    long = (("long", value, moment, f"{0:032x}", step, False) for moment, step, value in long_metric(count))
    insert("metrics", points, long)
    *_, (moment, step, value) = long_metric(count)
    insert("latest_metrics", points, [("long", value, moment, f"{0:032x}", step, False)])  # else no page shows it


Insert = Callable[[str, str, Iterable[Sequence[Any]]], None]


def _inserter(place: Path | str) -> Insert:
    if isinstance(place, Path):

        def insert(table: str, names: str, rows: Iterable[Sequence[Any]]) -> None:
            with contextlib.closing(sqlite3.connect(place, timeout=60)) as connection, connection:
                marks = ", ".join("?" for _ in names.split(","))
                connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)

        return insert

    import psycopg

    def copy(table: str, names: str, rows: Iterable[Sequence[Any]]) -> None:
        url = str(place).replace("+psycopg2", "")
        with psycopg.connect(url) as connection, connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as out:
            for row in rows:
                out.write_row(row)

    return copy


# -- the work ----------------------------------------------------------------------------------------------------


class Work(NamedTuple):
    """Requests of one kind."""

    name: str
    times: int
    ask: Callable[[Server, str, int], httpx.Response]
    """Given a server, the id of a run there and a number."""
    clients: int = 1
    """Who ask at once."""
    each: int = 1
    """What one request counts for."""
    unit: str = "requests"


def work(scale: float, many: str) -> Iterator[Work]:
    def post(path: str, said: Callable[[str, int], Any]) -> Callable[[Server, str, int], httpx.Response]:
        return lambda server, run, number: server.http.post(f"{V}/{path}", json=said(run, number))

    def get(path: str, **asked: Any) -> Callable[[Server, str, int], httpx.Response]:
        return lambda server, run, number: server.http.get(path, params={**asked, "run_id": run})

    def times(number: int) -> int:
        return max(1, int(number * scale))

    yield Work("create run", times(100), post("runs/create", lambda run, number: {"experiment_id": "0"}))
    yield Work("log one value", times(400), post("runs/log-metric", one_value), unit="values")
    yield Work("the same, 8 clients at once", times(400), post("runs/log-metric", one_value), 8, unit="values")
    yield Work("log 1,000 values of one metric", times(20), post("runs/log-batch", batch_of_one), 1, 1000, "values")
    yield Work("log 1,000 values of 100 metrics", times(20), post("runs/log-batch", batch_of_many), 1, 1000, "values")
    yield Work("get run", times(100), get(f"{V}/runs/get"))
    for name, asked in searches(many).items():
        yield Work(f"search: {name}", times(5), post("runs/search", lambda run, number, asked=asked: asked))
    zero = f"{0:032x}"
    yield Work(
        "1,000 values of the long metric",
        times(5),
        lambda server, run, number: server.http.get(
            f"{V}/metrics/get-history", params={"run_id": zero, "metric_key": "long", "max_results": 1000}
        ),
    )
    yield Work(
        "chart of the long metric, 320 steps",
        times(2),
        lambda server, run, number: server.http.get(
            f"{PAGES}/metrics/get-history-bulk-interval",
            params={"run_ids": [zero], "metric_key": "long", "max_results": 320},
        ),
    )


def one_value(run: str, number: int) -> Any:
    return {
        "run_id": run,
        "key": f"k{number % 4}",
        "value": number / 7,
        "timestamp": START + number,
        "step": number,
    }


def batch_of_one(run: str, number: int) -> Any:
    steps = range(1000 * number, 1000 * (number + 1))
    found = [{"key": "loss", "value": step % 977 / 7, "timestamp": START + step, "step": step} for step in steps]
    return {"run_id": run, "metrics": found}


def batch_of_many(run: str, number: int) -> Any:
    places = range(1000 * number, 1000 * (number + 1))
    found = [
        {"key": f"m{at % 100}", "value": at % 977 / 7, "timestamp": START + at, "step": at // 100} for at in places
    ]
    return {"run_id": run, "metrics": found}


def searches(many: str) -> dict[str, Any]:
    def asked(filter: str, *order: str) -> Any:
        return {"experiment_ids": [many], "filter": filter, "order_by": order, "max_results": 100}

    return {
        "newest 100": asked(""),
        "metric and param, by a metric": asked("metrics.acc > 0.5 and params.model = 'ridge'", "metrics.loss ASC"),
        "the same, few match": asked("metrics.acc > 0.98 and params.lr = '0.1'", "metrics.loss ASC"),
        "tag and metric, by a metric": asked("tags.team = 'a' and metrics.f1 > 0.3", "metrics.auc DESC"),
    }


class Figure(NamedTuple):
    cpu: float
    """Seconds of the server for one request."""
    given_up: bool = False
    """Whether there was no answer: it takes more."""


def measured(server: Server, run: str, one: Work) -> Figure:
    def ask(number: int) -> None:
        answer = one.ask(server, run, number)
        if answer.status_code != 200:
            raise SystemExit(f"{one.name}: {answer.status_code} {answer.text[:500]}")

    with ThreadPoolExecutor(one.clients) as pool:
        cpu, began = server.cpu(), time.perf_counter()
        try:
            list(pool.map(ask, range(BEFORE, BEFORE + one.clients)))  # not counted: what is done once
        except httpx.ReadTimeout:
            return Figure(server.cpu() - cpu, given_up=True)
        if time.perf_counter() - began > LONG:
            return Figure((server.cpu() - cpu) / one.clients)
        cpu, times = server.cpu(), 0
        while not times or (server.cpu() - cpu < ENOUGH and times < LONGEST * one.times):
            list(pool.map(ask, range(times, times + one.times)))
            times += one.times
        return Figure((server.cpu() - cpu) / times)


def new_run(server: Server) -> str:
    answer = server.http.post(f"{V}/runs/create", json={"experiment_id": "0", "start_time": START})
    return str(answer.json()["run"]["info"]["run_id"])


def experiment_of(server: Server) -> str:
    answer = server.http.get(f"{V}/experiments/get-by-name", params={"experiment_name": "many"})
    return str(answer.json()["experiment"]["experiment_id"])


# -- the table ---------------------------------------------------------------------------------------------------


def row(name: str, ours: str, theirs: str, ratio: float, least: str = "") -> str:
    return f"| {name} | {ours} | {theirs} | {least}{ratio:.1f} |"


def shown(one: Work, figure: Figure) -> str:
    if figure.given_up:
        return f"given up after {figure.cpu * 1000:,.0f} ms"
    return f"{figure.cpu * 1000:.2f} ms ({one.each / max(figure.cpu, 1e-6):,.0f} {one.unit}/s)"


def compare(options: argparse.Namespace, folder: Path) -> None:
    ours, theirs = folder / "bis", folder / "mlflow"
    ours.mkdir()
    theirs.mkdir()
    with contextlib.ExitStack() as stack:

        def start_mlflow() -> Server:
            server = mlflow_server(theirs, options.mlflow, options.mlflow_store, options.patience)
            stack.callback(server.close)
            return server

        def start() -> tuple[Server, Server]:
            first = bis_server(ours, options.bis_ledger)
            stack.callback(first.close)
            return first, start_mlflow()

        first, second = start()  # makes the databases
        second.calm_down()
        first.close()
        second.close()
        fill_bis(options.bis_ledger or ours / ".bis" / "ledger", options.runs, options.points)
        fill_mlflow(options.mlflow_store or theirs / "mlflow.db", options.runs, options.points)
        first, second = start()
        began = (first.cpu(), second.cpu())
        second.calm_down()
        print(f"{options.runs:,} runs, a metric of {options.points:,} points; load {os.getloadavg()[0]:.1f}\n")
        print("| | bis | MLflow | ratio |\n|---|---|---|---|")
        print(
            row("start to healthy, s", f"{first.seconds:.2f}", f"{second.seconds:.2f}", second.seconds / first.seconds)
        )
        print(row("the same, CPU s", f"{began[0]:.2f}", f"{began[1]:.2f}", began[1] / max(began[0], 0.01)))
        idle = (first.memory() / 1e6, second.memory() / 1e6)
        print(row("idle memory, MB", f"{idle[0]:.0f}", f"{idle[1]:.0f}", idle[1] / idle[0]))
        print(
            row(
                "idle processes",
                f"{len(first.tree())}",
                f"{len(second.tree())}",
                len(second.tree()) / len(first.tree()),
            )
        )
        runs = [new_run(server) for server in (first, second)]
        for mine, other in zip(
            *(work(options.scale, experiment_of(server)) for server in (first, second)), strict=True
        ):
            here, there = measured(first, runs[0], mine), measured(second, runs[1], other)
            ratio, least = there.cpu / max(here.cpu, 1e-6), "over " if there.given_up else ""
            print(row(mine.name, shown(mine, here), shown(other, there), ratio, least), flush=True)
            if there.given_up:  # it goes on with that
                second.close()
                second = start_mlflow()
                second.calm_down()
        after = (first.memory() / 1e6, second.memory() / 1e6)
        print(row("memory after it, MB", f"{after[0]:.0f}", f"{after[1]:.0f}", after[1] / after[0]))
        print(f"\nLoad at the end {os.getloadavg()[0]:.1f}. Figures of requests are CPU of the server for one.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mlflow", required=True, help="the command of MLflow in an environment of its own")
    parser.add_argument("--runs", type=int, default=10_000, help="to search (default 10,000)")
    parser.add_argument("--points", type=int, default=1_000_000, help="of the long metric (default 1,000,000)")
    parser.add_argument("--scale", type=float, default=1.0, help="how many requests of each kind, times the usual")
    parser.add_argument("--bis-ledger", default="", help="URL of an empty PostgreSQL database; SQLite without")
    parser.add_argument("--mlflow-store", default="", help="URL of another one, as SQLAlchemy spells it")
    parser.add_argument("--patience", type=float, default=900, help="seconds for one answer of MLflow (default 900)")
    for number in (signal.SIGTERM, signal.SIGHUP):  # as `timeout` sends them: servers and folders are ended, too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as folder:
        compare(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
