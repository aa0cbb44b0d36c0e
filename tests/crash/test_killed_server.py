"""A server that is killed (-9) while clients log to it: what it acknowledged is there, and what they sent again is
there once."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from bis.ledger import points, tracked
from bis.ledger.sqlite import SqliteDatabase

V = "/api/2.0/mlflow"
CLIENTS = 8


class Mortal:
    """A server that comes back at the same address each time it is killed."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "bis", "-C", str(self.folder), "server", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = ""
        while not re.search(r"http://", said):
            line = self.process.stdout.readline()
            assert line, f"the server does not listen: {said}"
            said += line

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


class Client(threading.Thread):
    """Logs one batch and one value after the other, each again until it is acknowledged."""

    def __init__(self, url, run, number, enough):
        super().__init__(daemon=True)
        self.url, self.run_id, self.number, self.enough = url, run, number, enough
        self.acknowledged = []
        self.again = 0
        self.trouble = None

    def run(self):
        step = 0
        try:
            with httpx.Client(base_url=self.url, timeout=10) as http:
                while not self.enough.is_set():
                    steps = range(step, step + (1 if step % 3 else 40))
                    found = [
                        {"key": f"k{self.number}", "value": step / 7, "timestamp": 1000 + step, "step": step}
                        for step in steps
                    ]
                    self.send(http, {"run_id": self.run_id, "metrics": found})
                    self.acknowledged += steps
                    step = steps.stop
        except BaseException as error:
            self.trouble = error

    def send(self, http, said):
        while True:
            try:
                answer = http.post(f"{V}/runs/log-batch", json=said)
            except httpx.TransportError:
                self.again += 1
                time.sleep(0.02)
                continue
            assert answer.status_code == 200, answer.text
            return


@pytest.fixture
def server(tmp_path):
    server = Mortal(tmp_path)
    yield server
    server.kill()


def test_no_acknowledged_point_is_lost_and_none_is_doubled(server, killer, rounds):
    run = httpx.post(f"{server.url}{V}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    enough = threading.Event()
    clients = [Client(server.url, run, number, enough) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(max(5, rounds // 10)):
        time.sleep(killer.draw.uniform(0.05, 1.0))
        server.kill()
        server.start()
    enough.set()
    for client in clients:
        client.join(60)
        assert client.trouble is None
    assert sum(client.again for client in clients), "nobody noticed that the server was killed"
    server.kill()
    ledger = SqliteDatabase(server.folder / ".bis" / "ledger")
    with ledger.reading() as connection:
        seq = tracked.seq_of(connection, run)
        for client in clients:
            found = points.history(connection, seq, f"k{client.number}", limit=1 << 40)
            assert [point.step for point in found] == client.acknowledged
            assert [point.value for point in found] == [step / 7 for step in client.acknowledged]
    ledger.close()
    server.start()
