"""A server for a team: several workers over PostgreSQL, and a copy that brings everything back."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MLFLOW = "/api/2.0/mlflow"


def logged(http: httpx.Client, number: int) -> str:
    made = http.post(f"{MLFLOW}/runs/create", json={"experiment_id": "0", "run_name": f"run{number}"})
    id: str = made.json()["run"]["info"]["run_id"]
    point = {"run_id": id, "key": "loss", "value": number / 2, "timestamp": 1, "step": 0}
    assert http.post(f"{MLFLOW}/runs/log-metric", json=point).status_code == 200
    assert http.put(f"{ARTIFACTS}/0/{id}/artifacts/a.bin", content=os.urandom(100_000)).status_code == 200
    return id


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended; whoever inherited it may not have asked how it did."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False


def children(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def test_several_workers_answer_over_postgresql_and_one_that_dies_is_replaced(
    serving: Callable[..., Any], postgres: Any
) -> None:
    server = serving("--ledger", postgres.url(postgres.database()), "--workers", "2")
    assert eventually(lambda: httpx.get(f"{server.url}/health").text == "OK")

    def work(number: int) -> str:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            return logged(http, number)

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(work, range(20)))
    found = httpx.post(f"{server.url}{MLFLOW}/runs/search", json={"experiment_ids": ["0"], "max_results": 100}).json()
    assert {run["info"]["run_id"] for run in found["runs"]} == set(ids)
    before = children(server.process.pid)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    assert eventually(lambda: len(children(server.process.pid)) == 2 and before[0] not in children(server.process.pid))
    assert work(99)
    for id in ids[:5]:  # whichever worker took it, and whichever is asked
        assert len(httpx.get(f"{server.url}{ARTIFACTS}/0/{id}/artifacts/a.bin").content) == 100_000
    assert server.stop(signal.SIGTERM) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)


def test_workers_end_with_the_one_that_started_them(serving: Callable[..., Any], postgres: Any) -> None:
    server = serving("--ledger", postgres.url(postgres.database()), "--workers", "2")
    assert eventually(lambda: httpx.get(f"{server.url}/health").text == "OK")
    workers = children(server.process.pid)
    server.process.kill()
    assert len(workers) == 2
    assert eventually(lambda: not any(map(runs, workers)))


def test_a_server_whose_database_is_away_says_so_and_goes_on_when_it_is_back(
    serving: Callable[..., Any], postgres: Any
) -> None:
    server = serving("--ledger", postgres.url(postgres.database()))
    assert server.http.get("/health").text == "OK"
    postgres.stop()
    try:
        answer = server.http.get("/health", timeout=60)
        assert answer.status_code == 503
        failed = server.http.get(f"{MLFLOW}/experiments/get?experiment_id=0", timeout=120)
        assert failed.status_code == 503
        assert "Traceback" not in failed.text
    finally:
        postgres.start()
    assert eventually(lambda: bool(server.http.get("/health").text == "OK"))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_backup_that_was_taken_while_clients_log_is_a_server_again(
    serving: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """As docs/howto/server.md says: first the ledger, then the store."""
    project, backup, restored = tmp_path / "project", tmp_path / "backup", tmp_path / "restored"
    project.mkdir()
    postgres = request.getfixturevalue("postgres") if kind == "postgres" else None
    options = ["--ledger", postgres.url(postgres.database())] if postgres else []
    server = serving(*options, folder=project)
    ids = [logged(server.http, number) for number in range(5)]
    content = server.http.get(f"{ARTIFACTS}/0/{ids[0]}/artifacts/a.bin").content
    (backup / "store").mkdir(parents=True)
    if postgres:
        words = ["pg_dump", "--format=custom", f"--file={backup / 'ledger.dump'}", options[1]]
        subprocess.run([postgres.programs / words[0], *words[1:]], check=True)
    else:
        sqlite3.connect(project / ".bis" / "ledger").execute(f"VACUUM INTO '{backup / 'ledger'}'")
    late = logged(server.http, 6)
    shutil.copytree(project / ".bis" / "store", backup / "store", dirs_exist_ok=True)
    server.stop(signal.SIGKILL)

    (restored / ".bis").mkdir(parents=True)
    shutil.copytree(backup / "store", restored / ".bis" / "store")
    if postgres:
        options = ["--ledger", postgres.url(postgres.database())]
        words = ["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={options[1]}", str(backup / "ledger.dump")]
        subprocess.run([postgres.programs / words[0], *words[1:]], check=True)
    else:
        shutil.copy(backup / "ledger", restored / ".bis" / "ledger")
    again = serving(*options, folder=restored)
    found = again.http.post(f"{MLFLOW}/runs/search", json={"experiment_ids": ["0"]}).json()["runs"]
    assert {run["info"]["run_id"] for run in found} == set(ids)
    assert again.http.get(f"{ARTIFACTS}/0/{ids[0]}/artifacts/a.bin").content == content
    assert again.http.get(f"{MLFLOW}/runs/get?run_id={late}").status_code == 404
    again.stop()
    variables = {**os.environ, **({"BIS_LEDGER": options[1]} if postgres else {})}
    done = subprocess.run(
        [sys.executable, "-m", "bis", "-C", restored, "verify"], capture_output=True, text=True, env=variables
    )
    assert (done.returncode, "sound" in done.stdout) == (0, True), done.stderr
