"""`bis serve` from outside: real processes on loopback, models in the environment that made them."""

import base64
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from bis import __version__
from bis.steps.leftovers import USED

Serve = Callable[..., Any]


def test_a_folder_is_served_and_answers_what_the_model_answers(served: Serve, of: Callable[..., Any]) -> None:
    model = served("model", "--trust")
    assert of(model.ask([41, 52000, 3], [29, 31000, 12])) == pytest.approx([85, 70])
    assert model.http.get("/ping").status_code == 200
    assert model.http.get("/health").status_code == 200
    assert model.http.get("/version").text == __version__
    assert model.stop() == 0


def test_a_version_is_loaded_in_the_environment_that_its_run_recorded(
    served: Serve, project: Path, of: Callable[..., Any]
) -> None:
    """From the lock; it is neither that of bis nor the one that trained."""
    model = served("models:/churn/1", folder=project, python=False)
    assert of(model.ask([41, 52000, 3])) == pytest.approx([85])
    (worker,) = model.workers()
    command = Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")[0].decode()
    assert "/bis/environments/" in command


def test_a_pickle_of_a_stranger_is_not_opened(served: Serve) -> None:
    with pytest.raises(AssertionError, match=r"model\.pkl is not opened: it is a pickle[\s\S]*--trust"):
        served("model")


def test_an_interpreter_that_is_not_there_is_named(served: Serve) -> None:
    with pytest.raises(AssertionError, match="there is no interpreter /nowhere/python"):
        served("model", "--python", "/nowhere/python", python=False)


def test_the_answers_say_which_version_and_run_they_are_of(
    served: Serve, project: Path, alias: Callable[..., None]
) -> None:
    alias("told", 1)
    answer = served("models:/churn@told", folder=project).ask([1, 1, 1])
    assert answer.headers["x-model-name"] == "churn"
    assert answer.headers["x-model-version"] == "1"
    assert len(answer.headers["x-run-id"]) == 12


class Load:
    """Asks a model all the time, from six clients, what is ten by its first version."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.seen: list[tuple[int, str, float]] = []
        """Of each answer its status, the version that gave it, and the prediction."""
        self._done = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(6)

    def __enter__(self) -> "Load":
        self._asking = [self._pool.submit(self._ask) for _ in range(6)]
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._pool.shutdown()
        for one in self._asking:
            one.result()

    def _ask(self) -> None:
        while not self._done.is_set():
            answer = self.model.ask([10, 0, 0])
            value = answer.json()["predictions"][0] if answer.status_code == 200 else -1.0
            self.seen.append((answer.status_code, answer.headers.get("x-model-version", ""), value))

    def wait_for(self, *versions: str) -> None:
        """Until answers are of these versions, all of them and no others."""
        end = time.monotonic() + 60
        while {one for _, one, _ in self.seen[-40:]} != set(versions):
            assert time.monotonic() < end
            time.sleep(0.01)


def test_an_alias_that_moves_under_load_fails_no_request(
    served: Serve, project: Path, alias: Callable[..., None], bis: Callable[..., str]
) -> None:
    alias("moving", 1, "slow")
    model = served("models:/slow@moving", "--watch", "0.1", "--workers", "2", folder=project)
    with Load(model) as load:
        load.wait_for("1")
        alias("moving", 2, "slow")
        load.wait_for("2")
        bis(project, "model", "rollback", "slow", "--alias", "moving")
        load.wait_for("1")
    assert {status for status, _, _ in load.seen} == {200}
    assert {version for _, version, _ in load.seen} == {"1", "2"}
    assert all(value == (10 if version == "1" else 20) for _, version, value in load.seen)


def test_the_alias_of_a_canary_moves_under_load_and_no_request_fails(
    served: Serve, project: Path, alias: Callable[..., None]
) -> None:
    alias("trial", 1, "slow")
    words = ["models:/slow/1", "--canary", "models:/slow@trial", "--percent", "50", "--watch", "0.1"]
    model = served(*words, folder=project)
    with Load(model) as load:
        load.wait_for("1")
        alias("trial", 2, "slow")
        load.wait_for("1", "2")
        alias("trial", 1, "slow")
        load.wait_for("1")
    assert {status for status, _, _ in load.seen} == {200}
    assert all(value == (10 if version == "1" else 20) for _, version, value in load.seen)
    assert "slow has version 2 as its canary now" in model.told


def test_a_canary_that_cannot_be_loaded_leaves_the_one_that_was_there(
    served: Serve, project: Path, alias: Callable[..., None]
) -> None:
    alias("trial", 2)
    words = ["models:/churn/1", "--canary", "models:/churn@trial", "--percent", "100", "--watch", "0.1"]
    model = served(*words, folder=project)
    alias("trial", 3)
    model.wait_for("churn version 2 goes on as the canary")
    assert model.ask([10, 0, 0]).headers["x-model-version"] == "2"
    (told,) = model.http.get("/models").json()["models"]
    assert (told["version"], told["canary"]["version"]) == ("1", "2")
    assert "SIGABRT" in told["trouble"]


def test_the_alias_of_a_shadow_is_followed(served: Serve, project: Path, alias: Callable[..., None]) -> None:
    alias("beside", 1)
    model = served("models:/churn/1", "--shadow", "models:/churn@beside", "--watch", "0.1", folder=project)
    alias("beside", 2)
    model.wait_for("churn has version 2 as its shadow now")
    assert model.ask([10, 0, 0]).headers["x-model-version"] == "1"
    end = time.monotonic() + 20
    while 'bis_shadow_requests_total{model="churn",version="1",other="2"} 1' not in model.http.get("/metrics").text:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_does_not_answer_any_more_is_not_held_in_the_cache(
    served: Serve, project: Path, alias: Callable[..., None]
) -> None:
    """Else a server that follows an alias for weeks can open no file any more, and `bis clean` removes nothing."""
    alias("held", 1)
    model = served("models:/churn@held", "--watch", "0.05", folder=project)

    def holds() -> int:
        return sum(one.readlink().name.endswith(USED) for one in Path(f"/proc/{model.process.pid}/fd").iterdir())

    assert holds() == 1
    for version in (2, 1, 2):
        alias("held", version)
        model.wait_for(f"answered by version {version} now")
        model.told = ""
    alias("held", 3)
    model.wait_for("churn version 2 goes on answering")
    end = time.monotonic() + 20
    while holds() != 1:
        assert time.monotonic() < end, holds()
        time.sleep(0.05)


def test_an_alias_that_moves_while_the_model_loads_is_followed(
    served: Serve, project: Path, alias: Callable[..., None]
) -> None:
    alias("early", 3, "slow")
    moving = threading.Timer(1.0, alias, ("early", 1, "slow"))  # version 3 takes two seconds to load
    moving.start()
    model = served("models:/slow@early", "--watch", "0.1", folder=project)
    moving.join()
    end = time.monotonic() + 30
    while model.ask([10, 0, 0]).headers["x-model-version"] != "1":
        assert time.monotonic() < end, "the move was not noticed"
        time.sleep(0.05)


def test_a_version_that_takes_all_memory_as_it_loads_never_takes_over(
    served: Serve, project: Path, alias: Callable[..., None]
) -> None:
    alias("hungry", 1)
    model = served("models:/churn@hungry", "--watch", "0.1", "--memory", "2G", folder=project)
    with Load(model) as load:
        alias("hungry", 4)
        model.wait_for(r"MemoryError.*; churn version 1 goes on answering")
    assert {(status, version) for status, version, _ in load.seen} == {(200, "1")}


def test_a_version_that_never_ends_to_load_is_given_up(
    served: Serve, project: Path, alias: Callable[..., None], of: Callable[..., Any]
) -> None:
    alias("stuck", 1)
    words = ["models:/churn@stuck", "--watch", "0.1", "--load-timeout", "20"]
    model = served(*words, folder=project)
    alias("stuck", 5)
    end = time.monotonic() + 30
    while len(model.workers()) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    alias("stuck", 2)  # it is not waited for, once another is meant
    model.wait_for("churn is answered by version 2 now", seconds=15)
    assert of(model.ask([10, 0, 0])) == pytest.approx([30])


def test_a_model_that_does_not_load_in_time_is_not_served(served: Serve, project: Path) -> None:
    with pytest.raises(AssertionError, match=r"churn version 5 cannot be served[\s\S]*did not load within 3 seconds"):
        served("models:/churn/5", "--load-timeout", "3", folder=project)


def test_a_version_that_crashes_as_it_loads_never_takes_over(
    served: Serve, project: Path, alias: Callable[..., None], of: Callable[..., Any]
) -> None:
    alias("risky", 1)
    model = served("models:/churn@risky", "--watch", "0.1", folder=project)
    alias("risky", 3)
    model.wait_for(r"it was ended by SIGABRT; churn version 1 goes on answering")
    answer = model.ask([10, 0, 0])
    assert answer.headers["x-model-version"] == "1"
    assert of(answer) == pytest.approx([20])
    assert "SIGABRT" in model.http.get("/models").json()["models"][0]["trouble"]
    alias("risky", 2)
    model.wait_for("churn is answered by version 2 now")
    assert of(model.ask([10, 0, 0])) == pytest.approx([30])


def test_a_model_that_does_not_answer_its_own_example_is_not_served(served: Serve) -> None:
    with pytest.raises(AssertionError, match=r"refusing cannot be served[\s\S]*does not answer its own input example"):
        served("refusing", "--trust")


def test_a_worker_that_dies_takes_only_what_was_with_it(served: Serve, of: Callable[..., Any]) -> None:
    model = served("odd", "--trust", "--workers", "2")

    def ask(first: int) -> int:
        return int(model.ask([first, 0, 0]).status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, [1, 2, 666, 3, 4, 5, 6, 7] * 3))
    assert found == [200, 200, 503, 200, 200, 200, 200, 200] * 3
    dead = model.ask([666, 0, 0])
    assert dead.headers["retry-after"]
    assert "died" in dead.json()["message"]
    assert of(model.ask([1, 2, 3])) == [6]
    assert "SIGABRT" in model.told


def test_a_worker_that_is_killed_under_load_fails_one_request_at_most(served: Serve) -> None:
    model = served("model", "--trust")
    (worker,) = model.workers()
    found: list[int] = []

    def ask(_: int) -> None:
        found.append(model.ask([10, 0, 0]).status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(400)]
        while len(found) < 100:
            time.sleep(0.001)
        os.kill(worker, signal.SIGKILL)
        for one in asking:
            one.result()
    assert found.count(200) >= 399
    assert set(found) <= {200, 503}
    assert "SIGKILL" in model.told


def test_a_request_that_hangs_is_given_up_and_others_go_on(served: Serve, of: Callable[..., Any]) -> None:
    model = served("odd", "--trust", "--timeout", "1.5")
    assert model.ask([555, 0, 0]).status_code == 504
    assert of(model.ask([1, 0, 0])) == [1]


def test_a_failure_in_the_model_is_told_without_what_was_asked(served: Serve) -> None:
    model = served("odd", "--trust")
    answer = model.ask([444, 987654321, 0])
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert "987654321" not in answer.text
    model.wait_for("RuntimeError at")
    assert "987654321" not in model.told


def test_memory_is_bounded(served: Serve, of: Callable[..., Any]) -> None:
    model = served("odd", "--trust", "--memory", "2G")
    answer = model.ask([333, 0, 0])
    assert answer.status_code == 503
    assert "out of memory" in answer.json()["message"]
    assert of(model.ask([1, 0, 0])) == [1]


def test_workers_share_so_many_processors(served: Serve, of: Callable[..., Any]) -> None:
    model = served("model", "--trust", "--cpus", "1", "--workers", "2")
    assert of(model.ask([10, 0, 0])) == pytest.approx([20])
    shared = [
        os.sched_getaffinity(int(thread.name))
        for one in model.workers()
        for thread in Path(f"/proc/{one}/task").iterdir()
    ]
    assert len(shared) >= 2
    assert len(shared[0]) == 1
    assert all(one == shared[0] for one in shared)


def test_a_worker_that_leaks_is_replaced_and_nobody_is_answered_wrongly(served: Serve, of: Callable[..., Any]) -> None:
    model = served("odd", "--trust", "--memory", "1G", "--workers", "2")
    first = set(model.workers())
    found = [model.ask([111, 0, 0]) for _ in range(60)]  # 40 MiB are left behind by each
    assert {one.status_code for one in found} == {200, 503}
    assert [one.status_code for one in found].count(503) < 6
    assert all(of(one) == [111] for one in found if one.status_code == 200)
    assert of(model.ask([1, 0, 0])) == [1]
    end = time.monotonic() + 20
    while len(model.workers()) != 2 or first & set(model.workers()):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_worker_that_holds_too_much_after_an_answer_is_replaced(served: Serve, of: Callable[..., Any]) -> None:
    model = served("odd", "--trust", "--memory", "1G")
    (first,) = model.workers()
    for _ in range(2):
        assert of(model.ask([222, 0, 0])) == [222]
    model.wait_for("a worker uses more than 1024 MiB and is replaced")
    end = time.monotonic() + 20
    while len(found := model.workers()) != 1 or first in found:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert of(model.ask([1, 0, 0])) == [1]


def test_several_models_have_addresses_of_their_own(served: Serve, of: Callable[..., Any]) -> None:
    models = served("first=model", "second=odd", "--trust")
    assert of(models.ask([10, 0, 0], at="/models/first/invocations")) == pytest.approx([20])
    assert of(models.ask([10, 0, 0], at="/models/second/invocations")) == [10]
    answer = models.ask([10, 0, 0])
    assert answer.status_code == 404
    assert "/models/first/invocations" in answer.json()["message"]
    assert [one["name"] for one in models.http.get("/models").json()["models"]] == ["first", "second"]


def test_requests_are_answered_before_it_ends(served: Serve, of: Callable[..., Any]) -> None:
    model = served("model", "--trust")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(model.ask, [10, 0, 0]) for _ in range(64)]
        time.sleep(0.05)
        assert model.stop() == 0
        answered = [one.result() for one in waiting if one.exception() is None]
    assert answered
    assert all(of(one) == pytest.approx([20]) for one in answered)


def test_a_request_that_takes_longer_than_the_grace_does_not_keep_it_from_ending(served: Serve) -> None:
    model = served("odd", "--trust", "--grace", "1")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(model.ask, [555, 0, 0]) for _ in range(2)]  # a minute; the other one waits
        time.sleep(0.5)
        begun = time.monotonic()
        assert model.stop() == 0
        assert time.monotonic() - begun < 30
        assert all(one.exception() or one.result().status_code == 503 for one in asking)


def test_its_workers_end_with_it_however_it_ends(served: Serve) -> None:
    model = served("model", "--trust")
    workers = model.workers()
    assert workers
    model.stop(signal.SIGKILL)
    end = time.monotonic() + 20
    while any(Path(f"/proc/{worker}/statm").exists() and _alive(worker) for worker in workers):
        assert time.monotonic() < end, "a worker goes on without its front"
        time.sleep(0.05)


def _alive(worker: int) -> bool:
    try:
        return Path(f"/proc/{worker}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_body_that_is_too_large_is_refused(served: Serve, of: Callable[..., Any]) -> None:
    model = served("model", "--trust")
    answer = model.http.post(
        "/invocations", content=b" " * 100_000_000, headers={"content-type": "application/json"}, timeout=60
    )
    assert answer.status_code == 413
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    chunks = (b" " * 1_000_000 for _ in range(100))
    answer = model.http.post("/invocations", content=chunks, headers={"content-type": "application/json"}, timeout=60)
    assert answer.status_code == 413
    assert of(model.ask([10, 0, 0])) == pytest.approx([20])


def test_a_body_that_does_not_come_is_not_waited_for(served: Serve, of: Callable[..., Any]) -> None:
    model = served("model", "--trust", "--timeout", "2")
    place = urlsplit(model.url)
    head = (
        b"POST /invocations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n"
    )
    slow = [socket.create_connection((place.hostname, place.port)) for _ in range(50)]
    for one in slow:
        one.sendall(head + b"{")
    assert of(model.ask([10, 0, 0])) == pytest.approx([20])
    end = time.monotonic() + 20
    for one in slow:
        one.settimeout(max(0.1, end - time.monotonic()))
        assert one.recv(100).startswith(b"HTTP/1.1 408")
        one.close()


def test_a_packed_body_is_unpacked_within_bounds(served: Serve, of: Callable[..., Any]) -> None:
    import gzip

    model = served("model", "--trust", "--max-body", "1M")
    body = json.dumps({"dataframe_split": {"columns": ["age", "income", "visits"], "data": [[10, 0, 0]]}}).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert of(model.http.post("/invocations", content=gzip.compress(body), headers=headers)) == pytest.approx([20])
    bomb = gzip.compress(b" " * 50_000_000)
    assert model.http.post("/invocations", content=bomb, headers=headers).status_code == 413
    assert model.http.post("/invocations", content=b"no gzip", headers=headers).status_code == 400


def test_beyond_loopback_a_token_is_needed(
    served: Serve, project: Path, alias: Callable[..., None], bis: Callable[..., str]
) -> None:
    with pytest.raises(AssertionError, match="nobody was given a token yet"):
        served("model", "--trust", "--host", "0.0.0.0")
    alias("guarded", 1)
    token = bis(project, "server", "token", "add", "client", "--role", "reader").strip()
    try:
        model = served("models:/churn@guarded", "--host", "0.0.0.0", folder=project)
        model.http = httpx.Client(base_url=model.url.replace("0.0.0.0", "127.0.0.1"), timeout=30)
        assert model.ask([1, 1, 1]).status_code == 401
        assert model.http.get("/ping").status_code == 200
        assert model.http.get("/metrics").status_code == 401
        model.http.headers["authorization"] = f"Bearer {token}"
        assert model.ask([1, 1, 1]).status_code == 200
        assert model.http.get("/metrics").status_code == 200
        bis(project, "server", "token", "rm", "client")
        end = time.monotonic() + 10
        while model.ask([1, 1, 1]).status_code != 401:
            assert time.monotonic() < end, "a token that was taken back still lets in"
            time.sleep(0.1)
    finally:
        model.stop()


def test_a_page_whose_name_was_made_to_mean_this_machine_gets_no_answer(served: Serve) -> None:
    model = served("model", "--trust")
    assert model.http.get("/models", headers={"host": "evil.example"}).status_code == 403
    assert model.http.get("/models", headers={"host": "localhost:80"}).status_code == 200


def test_a_shadow_is_compared_and_nobody_gets_its_answers(
    served: Serve, project: Path, alias: Callable[..., None], of: Callable[..., Any]
) -> None:
    alias("first", 1)
    alias("second", 2)
    words = ["models:/churn@first", "--shadow", "models:/churn@second", "--compare"]
    model = served(*words, folder=project)
    assert "shadow  churn version 2 is asked, too" in model.wait_for(r"(?s)serving .*form with an example")
    for age in (0, 0, 10):
        answer = model.ask([age, 0, 1])
        assert answer.headers["x-model-version"] == "1"
        assert of(answer) == pytest.approx([2 * age + 1], abs=1e-6)
    end = time.monotonic() + 20
    while 'bis_shadow_requests_total{model="churn",version="1",other="2"} 3' not in model.http.get("/metrics").text:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert model.stop() == 0
    assert "churn: version 2 beside 1:" in model.told
    assert "of 3 requests; numbers at most 10 apart" in model.told


def test_a_canary_answers_its_share(served: Serve, project: Path, alias: Callable[..., None]) -> None:
    alias("first", 1)
    alias("second", 2)
    words = ["models:/churn@first", "--canary", "models:/churn@second", "--percent", "50"]
    model = served(*words, folder=project)
    told = model.wait_for(r"(?s)serving .*/models/churn/invocations")
    assert "canary  churn version 2 answers 50 % of the requests" in told
    versions = [model.ask([1, 1, 1]).headers["x-model-version"] for _ in range(200)]
    assert 50 < versions.count("2") < 150
    assert model.stop() == 0
    assert "churn version 2: " in model.told


def test_requests_are_written_down_only_where_somebody_asked_for_it(
    served: Serve, project: Path, alias: Callable[..., None], tmp_path: Path
) -> None:
    alias("logged", 1)
    model = served("models:/churn@logged", "--log-requests", str(tmp_path / "log"), folder=project)
    asked = model.ask([10, 0, 0])
    assert model.stop() == 0
    (line,) = (tmp_path / "log" / "churn-v1.jsonl").read_text().splitlines()
    written = json.loads(line)
    assert written["version"] == "1"
    assert written["run"] == asked.headers["x-run-id"]
    assert written["request"]["dataframe_split"]["data"] == [[10, 0, 0]]
    assert written["answer"] == asked.json()


def test_what_is_written_down_goes_with_the_version_that_answered(
    served: Serve, project: Path, alias: Callable[..., None], tmp_path: Path
) -> None:
    alias("written", 1)
    log = tmp_path / "log"
    model = served("models:/churn@written", "--watch", "0.1", "--log-requests", str(log), folder=project)
    inputs = [{"name": "x", "shape": [1, 3], "datatype": "FP64", "parameters": {"binary_data_size": 24}}]
    wanted = [{"name": "predictions", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
    tensor = struct.pack("<3d", 10, 0, 0)
    length = {"inference-header-content-length": str(len(head))}
    asked = model.http.post("/v2/models/churn/infer", content=head + tensor, headers=length)
    assert asked.status_code == 200, asked.text
    alias("written", 2)
    model.wait_for("churn is answered by version 2 now")
    refused = model.ask(["ten", 0, 0])
    assert model.stop() == 0
    (first,) = map(json.loads, (log / "churn-v1.jsonl").read_text().splitlines())
    assert first["request"] == {"json": json.loads(head), "base64": base64.b64encode(tensor).decode()}
    assert base64.b64decode(first["answer"]["base64"]) == asked.content[-8:]
    (second,) = map(json.loads, (log / "churn-v2.jsonl").read_text().splitlines())
    assert (second["status"], second["answer"]) == (400, refused.json())
    assert second["run"] != first["run"]
    assert second["identity"] == refused.headers.get("x-model-identity", "")
    assert log.stat().st_mode & 0o077 == 0


def test_a_sample_is_a_share_of_the_requests(served: Serve, tmp_path: Path) -> None:
    model = served("model", "--trust", "--log-requests", str(tmp_path / "log"), "--sample", "25")
    for _ in range(400):
        model.ask([10, 0, 0])
    assert model.stop() == 0
    assert 50 < len((tmp_path / "log" / "model.jsonl").read_text().splitlines()) < 150


def test_what_is_counted_is_told_to_prometheus(served: Serve) -> None:
    model = served("model", "--trust")
    model.ask([10, 0, 0], [11, 0, 0])
    model.ask(["x", 0, 0])
    told = model.http.get("/metrics").text
    assert 'bis_model_requests_total{model="model",version="",protocol="invocations",status="200"} 1' in told
    assert 'bis_model_requests_total{model="model",version="",protocol="invocations",status="400"} 1' in told
    assert 'bis_model_rows_total{model="model",version=""} 2' in told
    assert 'bis_model_ready{model="model",version=""} 1' in told


def test_the_page_has_a_form_with_the_example_of_the_model(served: Serve) -> None:
    model = served("model", "--trust")
    page = model.http.get("/").text
    assert "52000.0" in page
    assert "<form action='models/model/invocations'>" in page
    described = model.http.get("/openapi.json").json()
    example = described["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert model.http.post("/invocations", json=example).status_code == 200


@pytest.mark.slow
def test_large_bodies_together_do_not_fill_the_memory(served: Serve, of: Callable[..., Any]) -> None:
    model = served("model", "--trust", "--max-body", "60M")
    place = urlsplit(model.url)
    lines = [
        "POST /invocations HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        "content-length: 60000000",
    ]
    head = "\r\n".join([*lines, "", ""]).encode()
    piece = b" " * 1_000_000
    begun = [socket.create_connection((place.hostname, place.port), timeout=30) for _ in range(12)]
    refused = 0
    for one in begun:
        one.sendall(head)
        try:
            for _ in range(55):
                one.sendall(piece)
        except OSError:
            refused += 1
    statm = Path(f"/proc/{model.process.pid}/statm")
    if statm.exists():
        assert int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") < 1200 << 20
    assert of(model.ask([10, 0, 0])) == pytest.approx([20])
    answers = []
    for one in begun[-2:]:
        one.settimeout(10)
        with contextlib.suppress(OSError):
            answers.append(one.recv(12))
        one.close()
    assert refused or b"HTTP/1.1 503" in answers
