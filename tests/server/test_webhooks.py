"""Webhooks: what is sent, how it is signed, when it is sent again, and where it is never sent to."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from bis.errors import UsageError
from bis.ledger import webhooks
from bis.ledger.runs import open_ledger
from bis.ledger.webhooks import Webhook
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.guard import Guard
from bis.server.hooks import Hooks, address_of, send
from bis.store.local import open_store

API = "/api/2.0/mlflow"
SECRET = "between us"


class Listener:
    """Somebody who is told: a real HTTP server that keeps what came and answers what it is told to."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        """Status and headers of the next answers; then 200."""
        self.body = b"ok"
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.came.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, headers = listener.answers.pop(0) if listener.answers else (200, {})
                self.send_response(status)
                for name, value in {"Content-Length": "2", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(listener.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int = 1) -> list[tuple[str, dict[str, str], bytes]]:
        end = time.monotonic() + 20
        while len(self.came) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.came


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.server.shutdown()
    listening.server.server_close()


@pytest.fixture
def open_server(serving: Callable[..., Any], tmp_path: Path) -> Any:
    """A server that may tell private addresses."""
    (tmp_path / "bis.toml").write_text("webhooks_anywhere = true\n")
    return serving()


def a_webhook(url: str) -> Webhook:
    return Webhook(id="1", name="ops", url=url, events=("model_version.created",), secret=SECRET, made=0, changed=0)


def create(server: Any, url: str, *events: tuple[str, str]) -> Any:
    asked = {
        "name": "ops",
        "url": url,
        "secret": SECRET,
        "events": [{"entity": entity, "action": action} for entity, action in events],
    }
    return server.http.post(f"{API}/webhooks", json=asked)


def test_a_change_is_told_to_who_wants_to_hear_of_it_and_signed(open_server: Any, listener: Listener) -> None:
    assert create(open_server, f"{listener.url}/hook", ("MODEL_VERSION", "CREATED")).status_code == 200
    open_server.http.post(f"{API}/registered-models/create", json={"name": "churn"})
    asked = {"name": "churn", "source": "runs:/7/model", "run_id": "7", "tags": [{"key": "a", "value": "b"}]}
    open_server.http.post(f"{API}/model-versions/create", json=asked)
    ((path, headers, body),) = listener.wait()
    told = json.loads(body)
    assert (path, told["entity"], told["action"]) == ("/hook", "model_version", "created")
    assert told["data"] == {
        "name": "churn",
        "version": "1",
        "source": "runs:/7/model",
        "run_id": "7",
        "tags": {"a": "b"},
        "description": None,
    }
    signed = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.".encode() + body
    mark = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["x-mlflow-signature"] == f"v1,{mark}"
    assert abs(int(headers["x-mlflow-timestamp"]) - time.time()) < 60


def test_a_secret_is_never_shown(open_server: Any, listener: Listener) -> None:
    made = create(open_server, listener.url, ("REGISTERED_MODEL", "CREATED"))
    id = made.json()["webhook"]["webhook_id"]
    shown = [
        made.text,
        open_server.http.get(f"{API}/webhooks/{id}").text,
        open_server.http.get(f"{API}/webhooks").text,
        open_server.http.patch(f"{API}/webhooks/{id}", json={"description": "x"}).text,
        open_server.http.post(f"{API}/webhooks/{id}/test").text,
        repr(a_webhook("https://x")),
    ]
    assert all(SECRET not in text for text in shown)
    listener.wait()
    assert "x-mlflow-signature" in listener.came[0][1]


def test_a_webhook_is_changed_tested_disabled_and_removed(open_server: Any, listener: Listener) -> None:
    id = create(open_server, listener.url, ("REGISTERED_MODEL", "CREATED")).json()["webhook"]["webhook_id"]
    tested = open_server.http.post(f"{API}/webhooks/{id}/test").json()["result"]
    assert tested == {"success": True, "response_status": 200, "response_body": "ok"}
    assert json.loads(listener.came[0][2])["data"]["name"] == "example"
    changed = open_server.http.patch(f"{API}/webhooks/{id}", json={"status": "DISABLED", "name": "two"}).json()
    assert (changed["webhook"]["status"], changed["webhook"]["name"]) == ("DISABLED", "two")
    open_server.http.post(f"{API}/registered-models/create", json={"name": "churn"})
    assert open_server.http.request("DELETE", f"{API}/webhooks/{id}").json() == {}
    assert open_server.http.get(f"{API}/webhooks/{id}").status_code == 404
    time.sleep(0.3)
    assert len(listener.came) == 1


def test_a_delivery_that_fails_is_sent_again_and_a_refused_one_is_not(
    monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    monkeypatch.setattr("bis.server.hooks.FIRST_PAUSE", 0.01)
    hooks = Hooks(anywhere=True)
    listener.answers = [(503, {}), (500, {})]
    hooks.put(a_webhook(listener.url), "model_version.created", {"n": 1})
    assert [json.loads(body)["data"] for _, _, body in listener.wait(3)] == [{"n": 1}] * 3
    listener.answers = [(400, {})]
    hooks.put(a_webhook(listener.url), "model_version.created", {"n": 2})
    listener.wait(4)
    time.sleep(0.2)
    assert len(listener.came) == 4
    hooks.close()


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX-Word: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_who_answers_byte_by_byte_has_no_more_time_than_others(monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr("bis.server.hooks.PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening, answered_byte_by_byte(listening, begin):
        begun = time.monotonic()
        with pytest.raises(OSError, match=r"no whole answer within 0\.5 s"):
            send(
                a_webhook(f"http://127.0.0.1:{listening.getsockname()[1]}"), "model_version.created", {}, anywhere=True
            )
    assert time.monotonic() - begun < 5


@contextmanager
def answered_byte_by_byte(listening: socket.socket, begin: bytes) -> Iterator[None]:
    """Whoever connects first is given the beginning of an answer, then a byte each time, for ten seconds."""

    def drip() -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(begin)
            for _ in range(200):
                time.sleep(0.05)
                connection.sendall(b"x")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    yield
    thread.join()


def test_an_answer_is_read_as_it_comes_and_not_for_longer_than_it_is_shown(listener: Listener) -> None:
    packed = gzip.compress(b"x" * (50 << 20))
    listener.answers = [(200, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))})]
    listener.body = packed
    answer = send(a_webhook(listener.url), "model_version.created", {}, anywhere=True)
    assert 0 < len(answer.body) <= len(packed)
    listener.answers = [(200, {"Content-Length": str(1 << 20)})]
    listener.body = b"x" * (1 << 20)
    assert len(send(a_webhook(listener.url), "model_version.created", {}, anywhere=True).body) == 64 << 10


def test_more_than_can_wait_is_dropped_and_nothing_is_sent_after_the_end(
    monkeypatch: pytest.MonkeyPatch, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bis.server.hooks.WAITING", 3)
    hooks = Hooks(anywhere=True)
    for _ in range(5):
        hooks.put(a_webhook(listener.url), "model_version.created", {}, pause=30)
    assert caplog.text.count("dropped") == 2
    hooks.close()
    hooks.put(a_webhook(listener.url), "model_version.created", {})
    time.sleep(0.1)
    assert listener.came == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://10.1.2.3/x",
        "https://192.168.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/x",
        "https://0.0.0.0/x",
        "https://0x7f.1/x",
        "https://2130706433/x",
        "https://224.0.0.1/x",
        "http://example.org/x",
        "ftp://example.org/x",
        "https:///x",
        "https://[broken/x",
        "https://host.invalid/x",
        "https://[64:ff9b::7f00:1]",
        "https://[64:ff9b::a00:1]",
        "https://[::127.0.0.1]",
    ],
)
def test_no_address_that_only_the_server_can_reach_is_told_anything(url: str) -> None:
    with pytest.raises(UsageError):
        address_of(url)


def test_a_private_address_is_refused_when_it_is_given_and_when_it_is_sent_to(server: Any, listener: Listener) -> None:
    refused = create(server, listener.url.replace("http", "https"), ("MODEL_VERSION", "CREATED"))
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    with pytest.raises(UsageError):
        send(a_webhook(listener.url), "model_version.created", {})
    assert listener.came == []


def test_a_redirect_is_followed_where_it_may_go_and_each_place_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    listener.answers = [(307, {"Location": "/there"})]
    assert send(a_webhook(listener.url), "model_version.created", {}, anywhere=True).status == 200
    assert [path for path, _, _ in listener.came] == ["/", "/there"]
    looked: list[str] = []

    def first_only(url: str, *, anywhere: bool) -> str:
        looked.append(url)
        if len(looked) > 1:
            raise UsageError("not public")
        return "127.0.0.1"

    monkeypatch.setattr("bis.server.hooks.address_of", first_only)
    listener.answers = [(308, {"Location": "http://10.0.0.1/secret"})]
    with pytest.raises(UsageError):
        send(a_webhook(listener.url), "model_version.created", {})
    assert looked == [listener.url, "http://10.0.0.1/secret"]


def test_what_makes_no_sense_is_refused(open_server: Any, listener: Listener) -> None:
    def said(**changes: Any) -> tuple[int, str]:
        asked = {"name": "ops", "url": listener.url, "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}]}
        answer = open_server.http.post(f"{API}/webhooks", json=asked | changes)
        return answer.status_code, answer.json().get("message", "")

    assert said()[0] == 200
    assert said(name="-x")[0] == 400
    assert "Valid actions are: ['created']" in said(events=[{"entity": "MODEL_VERSION", "action": "SET"}])[1]
    assert said(events=[])[0] == 400
    assert said(status="ASLEEP")[0] == 400
    assert open_server.http.get(f"{API}/webhooks", params={"max_results": 5000}).status_code == 400


def test_what_is_changed_from_a_shell_is_told_too(open_server: Any, listener: Listener, tmp_path: Path) -> None:
    open_server.http.post(f"{API}/registered-models/create", json={"name": "churn"})
    open_server.http.post(f"{API}/model-versions/create", json={"name": "churn", "source": "s3://bucket/model"})
    create(open_server, f"{listener.url}/hook", ("MODEL_VERSION_ALIAS", "CREATED"), ("MODEL_VERSION_ALIAS", "DELETED"))
    for words in (("promote", "churn/1"), ("alias", "churn", "--remove", "champion")):
        done = subprocess.run(
            [sys.executable, "-m", "bis", "model", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, "not told" in done.stderr) == (0, False), done.stderr
    said = [json.loads(body) for _, _, body in listener.came]
    assert [one["action"] for one in said] == ["created", "deleted"]
    assert said[0]["data"] == {"name": "churn", "alias": "champion", "version": "1"}
    assert listener.came[0][1]["x-mlflow-signature"].startswith("v1,")


def test_a_shell_says_who_was_not_told_and_goes_on(open_server: Any, listener: Listener, tmp_path: Path) -> None:
    open_server.http.post(f"{API}/registered-models/create", json={"name": "churn"})
    open_server.http.post(f"{API}/model-versions/create", json={"name": "churn", "source": "s3://bucket/model"})
    create(open_server, "http://127.0.0.1:9/hook", ("MODEL_VERSION_ALIAS", "CREATED"))
    begun = time.monotonic()
    words = [sys.executable, "-m", "bis", "model", "promote", "churn/1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "not told of model_version_alias.created: ops (http://127.0.0.1:9/hook): " in done.stderr
    assert time.monotonic() - begun < 20


def test_the_own_api_tells_webhooks(open_server: Any, listener: Listener) -> None:
    create(open_server, f"{listener.url}/hook", ("REGISTERED_MODEL", "CREATED"), ("MODEL_VERSION_ALIAS", "CREATED"))
    open_server.http.post("/api/bis/1/models", json={"name": "churn"})
    open_server.http.post(f"{API}/model-versions/create", json={"name": "churn", "source": "s3://bucket/model"})
    open_server.http.put("/api/bis/1/models/churn/aliases/champion", json={"version": 1})
    said = [json.loads(body) for _, _, body in listener.wait(2)]
    assert sorted(one["entity"] for one in said) == ["model_version_alias", "registered_model"]


def test_a_change_that_was_made_is_answered_so_whatever_becomes_of_telling_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bis.server.desk.AGAIN", (0.01, 0.01))
    with a_desk(tmp_path) as desk:
        with desk.database.writing() as connection:
            connection.execute("DROP TABLE webhooks")

        async def asked() -> tuple[int, int]:
            transport = httpx.ASGITransport(Guard(Application(desk), desk))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                made = await client.post(f"{API}/registered-models/create", json={"name": "churn"})
                there = await client.get(f"{API}/registered-models/get", params={"name": "churn"})
            await until(lambda: "no webhook was told" in caplog.text)
            return made.status_code, there.status_code

        assert asyncio.run(asked()) == (200, 200)
    assert "registered_model.created" in caplog.text


def test_who_is_to_be_told_is_asked_again(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bis.server.desk.AGAIN", (0.01,) * 500)
    with a_desk(tmp_path) as desk:
        with desk.database.writing() as connection:
            webhooks.create(connection, "ops", listener.url, ["registered_model.created"], 1)
            connection.execute("ALTER TABLE webhooks RENAME TO away")

        async def told() -> None:
            desk.tell("registered_model.created", {"name": "churn"})
            await asyncio.sleep(0.1)
            assert not listener.came
            with desk.database.writing() as connection:
                connection.execute("ALTER TABLE away RENAME TO webhooks")
            await until(lambda: bool(listener.came))

        asyncio.run(told())
    assert json.loads(listener.came[0][2])["data"] == {"name": "churn"}


@contextmanager
def a_desk(folder: Path) -> Iterator[Desk]:
    with open_ledger(folder / "ledger") as ledger, open_store(folder / "store") as store:
        desk = Desk(ledger.database, store, folder / "uploads", Hooks(anywhere=True))
        with desk.database.writing():  # there from now on
            pass
        try:
            yield desk
        finally:
            desk.close()


async def until(held: Callable[[], bool]) -> None:
    for _ in range(1000):
        if held():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")
