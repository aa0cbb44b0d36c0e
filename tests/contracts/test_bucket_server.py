"""A server whose store is a bucket: several of them, on machines that share nothing else but the ledger."""

import concurrent.futures
import contextlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bis.acts.share import clone, pull, push
from bis.digest import digest_bytes
from bis.settings import Settings
from bis.steps.home import open_home
from bis.store.sweep import verify

pytestmark = pytest.mark.slow

FILES = "/api/2.0/mlflow-artifacts/artifacts"
MPU = "/api/2.0/mlflow-artifacts/mpu"
MIB = 1 << 20
CHANCE = random.Random(20261127)


CLIENT = """
import os, mlflow
with mlflow.start_run() as run:
    mlflow.log_artifact("large.bin", "models/deep")
    mlflow.log_text("hello", "notes.txt")
for _ in range(4):
    got = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="models/deep/large.bin")
    assert open(got, "rb").read() == open("large.bin", "rb").read()
    assert mlflow.artifacts.load_text(run.info.artifact_uri + "/notes.txt") == "hello"
"""
IN_PARTS = {
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "1000000",
    "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20),
}


class Server:
    """A `bis server` process, in a folder of its own as on a machine of its own."""

    def __init__(self, folder: Path, place: Any, ledger: str, *options: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        words = [sys.executable, "-m", "bis", "-C", str(folder), "server", "--port", "0"]
        self.process = subprocess.Popen(
            [*words, "--ledger", ledger, "--store", place.url, *options],
            stderr=subprocess.PIPE,
            text=True,
            env=place.variables,
        )
        self.told = ""
        assert self.process.stderr
        while not (found := re.search(r"(https?://\S+)", self.told)):
            line = self.process.stderr.readline()
            assert line, f"the server does not listen: {self.told}"
            self.told += line
        threading.Thread(target=self._read, daemon=True).start()
        self.http = httpx.Client(base_url=found[1], timeout=90)
        self.url = found[1]

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.told += line

    def put(self, path: str, content: bytes) -> httpx.Response:
        return self.http.put(f"{FILES}/{path}", content=content)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(f"{FILES}/{path}", **more)

    @property
    def cache(self) -> Path:
        return self.folder / ".bis" / "bucket"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.http.close()


@pytest.fixture
def ledger(postgres: Any) -> str:
    return str(postgres.url(postgres.database()))


@pytest.fixture
def machine(tmp_path: Path, ledger: str) -> Iterator[Callable[..., Server]]:
    """`machine("a", place)`: a server on a machine of that name, with the ledger that all share."""
    started: list[Server] = []

    def start(name: str, place: Any, *options: str) -> Server:
        started.append(Server(tmp_path / name, place, ledger, *options))
        return started[-1]

    yield start
    for server in started:
        server.process.terminate()
        server.process.wait(60)
        server.http.close()


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_what_a_server_acknowledged_another_has(
    machine: Callable[..., Server], kind: str, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue(kind)
    one, two = machine("one", place), machine("two", place)
    large = CHANCE.randbytes(9 * MIB)
    assert one.put("0/run/model/weights.bin", large).status_code == 200
    assert one.put("0/run/notes.txt", b"fine").status_code == 200
    assert two.get("0/run/notes.txt").content == b"fine"
    assert two.get("0/run/model/weights.bin").content == large
    part = two.get("0/run/model/weights.bin", headers={"Range": f"bytes={5 * MIB}-{5 * MIB + 99}"})
    assert (part.status_code, part.content) == (206, large[5 * MIB : 5 * MIB + 100])
    names = [one["path"] for one in two.http.get(FILES, params={"path": "0/run"}).json()["files"]]
    assert names == ["model", "notes.txt"]
    assert two.http.delete(f"{FILES}/0/run/notes.txt").status_code == 200
    assert one.get("0/run/notes.txt").status_code == 404


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    machine: Callable[..., Server], wire: Any, s3: Any
) -> None:
    line, place = wire
    one = machine("one", place)
    line.pause = 0.1  # what is acknowledged too early has not arrived when the server is killed
    contents = {f"0/run/{number}": CHANCE.randbytes(1 + number * 9000) for number in range(60)}
    acknowledged = []

    def put(path: str) -> None:
        if one.put(path, contents[path]).status_code == 200:
            acknowledged.append(path)
        if len(acknowledged) == 25:
            one.process.kill()
            line.cut_after = 0

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(_suppressing(put), contents))
    one.process.wait()
    assert 25 <= len(acknowledged) < 60
    assert len(s3.names()) < len(acknowledged), "those that came together are in one pack"
    two = machine("two", s3)
    assert all(two.get(path).content == contents[path] for path in acknowledged)
    listed = two.http.get(FILES, params={"path": "0/run"}).json()["files"]
    assert {f"0/run/{file['path']}" for file in listed} >= {*acknowledged}
    again = machine("one", s3)
    for path, content in contents.items():
        assert again.put(path, content).status_code == 200
    assert all(two.get(path).content == contents[path] for path in contents)


def _suppressing(put: Callable[[str], None]) -> Callable[[str], None]:
    def work(path: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            put(path)

    return work


def test_two_workers_serve_what_either_took(machine: Callable[..., Server], s3: Any) -> None:
    server = machine("one", s3, "--workers", "2")
    contents = {f"a/{number}": CHANCE.randbytes(3000) for number in range(30)}
    for path, content in contents.items():
        # A connection each: either worker may take it.
        assert httpx.put(f"{server.url}{FILES}/{path}", content=content, timeout=60).status_code == 200
    for path, content in contents.items():
        assert httpx.get(f"{server.url}{FILES}/{path}", timeout=60).content == content


def test_an_upload_in_parts_may_come_to_several_machines(machine: Callable[..., Server], s3: Any) -> None:
    machines = machine("one", s3), machine("two", s3)
    parts = [CHANCE.randbytes(6 * MIB), CHANCE.randbytes(6 * MIB), CHANCE.randbytes(100)]
    begun = machines[0].http.post(f"{MPU}/create/0/run/model", json={"path": "w.bin", "num_parts": 3}).json()
    id = begun["upload_id"]
    told = [
        {
            "part_number": number,
            "etag": machines[number % 2].http.put(f"{MPU}/part/{id}/{number}", content=part).headers["etag"],
        }
        for number, part in enumerate(parts, 1)
    ]
    finish = {"path": "w.bin", "upload_id": id, "parts": told}
    other = machines[1].http.post(f"{MPU}/complete/0/other", json=finish)
    assert (other.status_code, "is not one to" in other.text) == (400, True)
    strange = {**finish, "parts": [{"part_number": 1, "etag": digest_bytes(b"never sent")}]}
    assert machines[1].http.post(f"{MPU}/complete/0/run/model", json=strange).status_code == 400
    assert machines[1].http.post(f"{MPU}/complete/0/run/model", json=finish).status_code == 200
    assert machines[0].get("0/run/model/w.bin").content == b"".join(parts)
    assert sum(len(s3.read(f"packs/{name}")) for name in s3.names()) < 1.5 * 12 * MIB, "the parts are its pieces"
    late = machines[0].http.put(f"{MPU}/part/{id}/1", content=parts[0])
    assert (late.status_code, late.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_the_client_of_mlflow_sends_parts_to_several_workers(
    machine: Callable[..., Server], s3: Any, clients: Path, tmp_path: Path
) -> None:
    (tmp_path / "large.bin").write_bytes(CHANCE.randbytes(22_000_000))
    server = machine("one", s3, "--workers", "2", "--log", "text")
    variables = {"PATH": s3.variables["PATH"], "MLFLOW_TRACKING_URI": server.url, "HOME": str(tmp_path), **IN_PARTS}
    done = subprocess.run([clients, "-c", CLIENT], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert server.told.count("/mpu/part/") >= 5


def test_an_upload_in_parts_is_aborted_on_any_machine(machine: Callable[..., Server], s3: Any) -> None:
    one, two = machine("one", s3), machine("two", s3)
    id = one.http.post(f"{MPU}/create/a", json={"path": "w.bin", "num_parts": 1}).json()["upload_id"]
    assert two.http.post(f"{MPU}/abort/a", json={"path": "w.bin", "upload_id": id}).status_code == 200
    assert one.http.put(f"{MPU}/part/{id}/1", content=b"x").status_code == 404


def test_runs_are_pushed_to_one_server_and_cloned_from_another_and_from_the_bucket(
    machine: Callable[..., Server], s3: Any, tmp_path: Path
) -> None:
    one, two = machine("one", s3), machine("two", s3)
    (tmp_path / "ana").mkdir()
    (tmp_path / "ana" / "train.py").write_text("import os\nopen('model.bin', 'wb').write(os.urandom(3 << 20))\n")
    words = [sys.executable, "-m", "bis", "-C", str(tmp_path / "ana"), "run", "--", sys.executable, "train.py"]
    subprocess.run(words, check=True, capture_output=True)
    ana = open_home(tmp_path / "ana", Settings())
    push(ana, one.url, s3.variables)
    (run,) = ana.ledger.runs()
    found = two.http.post("/api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"]}).json()["runs"]
    assert [each["info"]["run_id"] for each in found] == [run.id]
    model = next(output.digest for output in run.outputs if output.path == "model.bin")
    for name, url in (("by-server", two.url), ("by-bucket", s3.url)):
        home, _ = clone(url, tmp_path / name, s3.variables, seen_from=tmp_path)
        assert home.ledger.runs() == [run]
        assert home.store.get_bytes(model) == (tmp_path / "ana" / "model.bin").read_bytes()
        assert not [finding for finding in verify(home.store) if finding.blocks]
    # What goes into the bucket as into any remote, the servers have: it is listed when somebody asks for it.
    subprocess.run(words, check=True, capture_output=True)
    push(ana, s3.url, s3.variables)
    (tmp_path / "bea").mkdir()
    assert pull(open_home(tmp_path / "bea", Settings()), one.url, s3.variables).runs == 2
    found = two.http.post("/api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"]}).json()["runs"]
    assert len(found) == 2, "and they are in the ledger then"


def test_a_bucket_that_cannot_be_reached_is_told_of_and_uploads_go_on_when_it_can(
    machine: Callable[..., Server], wire: Any
) -> None:
    line, place = wire
    server = machine("one", place)
    assert server.put("a/kept", b"kept").status_code == 200
    assert server.get("a/kept").content == b"kept"
    far = CHANCE.randbytes(3 * MIB)
    assert server.put("a/far", far).status_code == 200
    shutil.rmtree(next(server.cache.glob("*/objects")))
    assert server.get("a/kept").content == b"kept"
    line.cut_after = 0
    for answer in (server.put("a/new", b"new"), server.get("a/far")):
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert place.url in answer.json()["message"]
    assert server.get("a/kept").content == b"kept", "what was read before is read here"
    assert server.get("a/new").status_code == 404
    line.cut_after = None
    assert server.put("a/new", b"new").status_code == 200
    assert server.get("a/new").content == b"new"
    assert server.get("a/far").content == far
    assert "Traceback" not in server.told


def test_an_answer_of_the_bucket_that_is_cut_is_asked_for_again(machine: Callable[..., Server], wire: Any) -> None:
    line, place = wire
    one, two = machine("one", place), machine("two", place)
    content = CHANCE.randbytes(3 * MIB)
    assert one.put("a/b", content).status_code == 200
    line.cut_answers_after = line.received + MIB
    mended = threading.Timer(1, lambda: setattr(line, "cut_answers_after", None))
    mended.start()
    answer = two.get("a/b")
    mended.join()
    assert (answer.status_code, answer.content) == (200, content)


def test_all_who_wait_for_a_bucket_hear_at_once_that_it_cannot_be_reached(
    machine: Callable[..., Server], wire: Any
) -> None:
    line, place = wire
    server = machine("one", place)
    line.cut_after = 0
    began = time.monotonic()
    assert server.put("a/first", b"first").status_code == 503
    alone, began = time.monotonic() - began, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(server.put, f"a/{number}", b"%d" % number) for number in range(12)]
        assert {answer.result().status_code for answer in answers} == {503}
    assert time.monotonic() - began < 3 * alone + 5, "not one after the other"
    assert server.http.get("/health").text == "OK"
    line.cut_after = None
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(server.put, f"a/{number}", b"%d" % number) for number in range(12)]
        assert {answer.result().status_code for answer in answers} == {200}
    assert machine("two", place).get("a/7").content == b"7"


def test_the_folder_of_what_was_read_may_be_deleted_while_the_server_runs(
    machine: Callable[..., Server], s3: Any
) -> None:
    server = machine("one", s3)
    content = CHANCE.randbytes(3 * MIB)
    for number in range(3):
        assert server.put(f"a/{number}", content + b"%d" % number).status_code == 200
        shutil.rmtree(server.cache)
        assert server.get(f"a/{number}").content == content + b"%d" % number
    assert server.put("a/b", b"small").status_code == 200
    assert server.get("a/b").content == b"small"


def test_a_damaged_pack_is_not_handed_out(machine: Callable[..., Server], s3: Any) -> None:
    one, two = machine("one", s3), machine("two", s3)
    assert one.put("a/b", CHANCE.randbytes(50_000)).status_code == 200
    (name,) = s3.names()
    data = bytearray(s3.read(f"packs/{name}"))
    data[1000] ^= 1
    s3.write(f"packs/{name}", bytes(data))
    answer = two.get("a/b")
    assert answer.status_code == 503
    assert "damaged" in answer.json()["message"]


def test_other_commands_say_what_to_type(s3: Any, tmp_path: Path) -> None:
    variables = {**s3.variables, "BIS_STORE": s3.url}
    for words in (["log"], ["gc"], ["verify"], ["run", "--", "true"]):
        done = subprocess.run(
            [sys.executable, "-m", "bis", "-C", str(tmp_path), *words], capture_output=True, text=True, env=variables
        )
        assert done.returncode == 2, done.stderr
        assert s3.url in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_needs_is_collected_in_a_copy(machine: Callable[..., Server], s3: Any, ledger: str) -> None:
    """As docs/howto/team-ledger.md says."""
    server = machine("one", s3)
    kept, gone = CHANCE.randbytes(70_000), CHANCE.randbytes(90_000)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # mostly in one pack
        list(pool.map(server.put, ("a/kept", "a/gone"), (kept, gone)))
    assert server.http.delete(f"{FILES}/a/gone").status_code == 200
    words = [sys.executable, "-m", "bis", "-C", str(server.folder)]
    refused = subprocess.run([*words, "gc"], capture_output=True, text=True, env={**s3.variables, "BIS_STORE": s3.url})
    assert (refused.returncode, "team-ledger.md" in refused.stderr) == (2, True)
    server.process.terminate()
    server.process.wait(60)
    copy = server.folder / "copy"
    (copy / "packs").mkdir(parents=True)
    for name in ("format", *(f"packs/{name}" for name in s3.names())):
        (copy / name).write_bytes(s3.read(name))
    variables = {**s3.variables, "BIS_STORE": str(copy), "BIS_LEDGER": ledger}
    subprocess.run([*words, "gc", "--now"], check=True, capture_output=True, env=variables)
    there = {path.name for path in (copy / "packs").glob("*.pack")}
    for name in there - {*s3.names()}:
        s3.write(f"packs/{name}", (copy / "packs" / name).read_bytes())
    for name in {*s3.names()} - there:
        s3.remove(f"packs/{name}")
    assert sum(len(s3.read(f"packs/{name}")) for name in s3.names()) < 90_000
    again = machine("one", s3)
    assert again.get("a/kept").content == kept
    assert again.put("a/gone", gone).status_code == 200, "what it knew of the bucket before does not count"
    assert machine("two", s3).get("a/gone").content == gone


def test_the_cache_is_bounded(s3: Any, tmp_path: Path) -> None:
    from bis.store.bucket import open_bucket_store

    store = open_bucket_store(s3.url, tmp_path / "one", s3.variables)
    store.prepare()
    contents = [CHANCE.randbytes(MIB) for _ in range(12)]
    digests = []
    for content in contents:
        digests.append(store.put_bytes(content))
        store.flush()
    store.close()
    other = open_bucket_store(s3.url, tmp_path / "two", s3.variables, most=4 * MIB)
    for _ in range(2):
        assert [other.get_bytes(digest) for digest in digests] == contents
    taken = sum(path.stat().st_size for path in (tmp_path / "two").glob("*/objects/*/*"))
    assert 2 * MIB < taken < 6 * MIB
    other.close()


def test_a_large_upload_takes_little_memory(machine: Callable[..., Server], s3: Any) -> None:
    server = machine("one", s3)
    block = CHANCE.randbytes(MIB)

    def body() -> Iterator[bytes]:
        for number in range(200):
            yield number.to_bytes(4, "big") + block[4:]

    began = _peak(server)
    assert server.http.put(f"{FILES}/a/large", content=body()).status_code == 200
    with server.http.stream("GET", f"{FILES}/a/large") as answer:
        assert sum(map(len, answer.iter_bytes())) == 200 * MIB
    assert _peak(server) - began < 300 * MIB


def _peak(server: Server) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) << 10


def test_idle_time_is_not_needed_between_machines(machine: Callable[..., Server], s3: Any) -> None:
    """What one has just put another finds at once, however often it looked before."""
    one, two = machine("one", s3), machine("two", s3)
    for number in range(10):
        assert one.put(f"a/{number}", b"%d" % number).status_code == 200
        began = time.monotonic()
        assert two.get(f"a/{number}").content == b"%d" % number
        assert time.monotonic() - began < 30
