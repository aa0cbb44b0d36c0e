"""Who may ask a server, for what, and how much: by real requests to real servers."""

import asyncio
import base64
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from bis.ledger import tokens
from bis.ledger.runs import open_ledger
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.guard import Guard, _kind
from bis.server.roles import ADMIN, DOOR, OPEN, SEARCHES, needed
from bis.store.local import open_store

CREATE = "/api/2.0/mlflow/experiments/create"
GET = "/api/2.0/mlflow/experiments/get?experiment_id=0"
UPLOAD = "/api/2.0/mlflow-artifacts/artifacts"


def bis(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bis", "-C", folder, *words], capture_output=True, text=True)


def token(folder: Path, name: str, role: str, *options: str) -> str:
    return bis(folder, "server", "token", "add", name, "--role", role, *options).stdout.strip()


def status(server: Any, method: str, path: str, given: str = "", **more: Any) -> int:
    headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {given}"} if given else {})}
    return int(server.http.request(method, path, headers=headers, **more).status_code)


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    with open_ledger(tmp_path / "ledger") as ledger, open_store(tmp_path / "store") as store:
        desk = Desk(ledger.database, store, tmp_path / "uploads")
        yield Application(desk)
        desk.close()


# -- which call needs which role -------------------------------------------------------------------------------------


def test_nothing_that_changes_something_is_open_to_readers(application: Application) -> None:
    calls = list(application.calls())
    assert len(calls) > 50
    for method, path in calls:
        role = needed(method, path.replace("{upload_id}", "0" * 32).replace("{number:int}", "1"))
        changes = method not in ("GET", "HEAD")
        if changes and role not in ("writer", "admin"):
            call = path.split("/", 3)[-1]
            assert call in SEARCHES or "mpu/part" in call or path.startswith(DOOR), (method, path, role)
        if not changes:
            assert role in ("reader", "admin") or path in OPEN or path.startswith(DOOR), (method, path, role)


def test_the_table_of_roles_names_calls_that_are_there(application: Application) -> None:
    paths = {path for _, path in application.calls()}
    for call in {*SEARCHES, *ADMIN}:
        assert any(path.endswith(call) for path in paths), call


@pytest.mark.parametrize(
    ("role", "looks", "changes", "webhooks"),
    [("reader", 200, 403, 403), ("writer", 200, 200, 403), ("admin", 200, 200, 200)],
)
def test_a_token_allows_what_its_role_says(
    serving: Callable[..., Any], tmp_path: Path, role: str, looks: int, changes: int, webhooks: int
) -> None:
    given = token(tmp_path, "somebody", role)
    server = serving()
    assert status(server, "GET", GET, given) == looks
    assert status(server, "POST", CREATE, given, json={"name": "x"}) == changes
    assert status(server, "GET", "/api/2.0/mlflow/webhooks", given) == webhooks
    assert status(server, "PUT", f"{UPLOAD}/0/a", given, content=b"x") == changes
    assert status(server, "DELETE", f"{UPLOAD}/0/a", given) == changes
    assert status(server, "GET", "/metrics", given) == 200


def test_a_slash_more_asks_for_the_same_role(serving: Callable[..., Any], tmp_path: Path) -> None:
    given = token(tmp_path, "somebody", "writer")
    server = serving()
    for method, path in (("PATCH", "webhooks/w"), ("DELETE", "webhooks/w"), ("POST", "webhooks/w/test")):
        for slashes in ("/", "//", "///"):
            assert status(server, method, f"{server.url}{slashes}api/2.0/mlflow/{path}", given, json={}) == 403


def test_who_comes_while_the_tokens_are_read_for_the_first_time_is_let_in_no_sooner(
    application: Application,
) -> None:
    with application.desk.database.writing() as connection:
        tokens.add(connection, "somebody", "admin", application.desk.now())

    async def several() -> list[int]:
        transport = httpx.ASGITransport(Guard(application, application.desk))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answers = await asyncio.gather(*(client.get(GET) for _ in range(5)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(several()) == [401] * 5


def test_where_tokens_were_given_nobody_comes_in_without_one(serving: Callable[..., Any], tmp_path: Path) -> None:
    given = token(tmp_path, "somebody", "admin")
    server = serving()
    for path in (GET, "/metrics", "/get-artifact", UPLOAD, "/nonsense", "/api/2.0/mlflow/nonsense"):
        answer = server.http.get(path)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED"), path
        assert answer.headers["www-authenticate"].startswith("Basic")
    for wrong in (given[:-1], given + "x", "bis_", "ä" * 10, "x" * 10_000):
        header = {b"Authorization": b"Bearer " + wrong.encode()}
        assert server.http.get(GET, headers=header).status_code == 401
    assert status(server, "GET", "/health") == 200
    assert status(server, "GET", "/version") == 200


def test_a_token_is_taken_as_a_password_of_any_user(serving: Callable[..., Any], tmp_path: Path) -> None:
    given = token(tmp_path, "somebody", "reader")
    server = serving()
    assert server.http.get(GET, auth=("anybody", given)).status_code == 200
    assert server.http.get(GET, auth=(given, "anything")).status_code == 401
    for header in ("Basic", "Basic !!!", f"Basic {base64.b64encode(given.encode()).decode()}", f"Digest {given}"):
        assert status(server, "GET", GET, headers={"Authorization": header}) == 401


def test_tokens_come_and_go_while_the_server_runs(serving: Callable[..., Any], tmp_path: Path) -> None:
    server = serving()
    assert status(server, "GET", GET) == 200
    given = token(tmp_path, "somebody", "writer")
    time.sleep(1.1)
    assert status(server, "GET", GET) == 401
    assert status(server, "GET", GET, given) == 200
    other = token(tmp_path, "another", "reader")
    time.sleep(0.1)
    assert status(server, "GET", GET, other) == 200
    assert bis(tmp_path, "server", "token", "rm", "somebody").returncode == 0
    time.sleep(1.1)
    assert status(server, "GET", GET, given) == 401


def test_a_token_is_told_once_and_kept_as_its_digest(tmp_path: Path) -> None:
    made = bis(tmp_path, "server", "token", "add", "ci", "--days", "30")
    given = made.stdout.strip()
    assert given.startswith("bis_")
    assert len(given) > 40
    listed = bis(tmp_path, "server", "token", "list").stdout
    assert "ci  writer" in listed
    assert "expires" in listed
    files = [path for path in (tmp_path / ".bis").rglob("*") if path.is_file()]
    assert files
    assert not any(given.encode() in path.read_bytes() for path in files)
    again = bis(tmp_path, "server", "token", "add", "ci")
    assert (again.returncode, "already" in again.stderr) == (2, True)
    assert bis(tmp_path, "server", "token", "rm", "nobody").returncode == 3


def test_only_what_moves_files_may_be_of_any_size() -> None:
    """And no page whose address a person has chosen to look so."""
    for method, path, moves in (
        ("GET", "/raw/first/model.json", True),
        ("PUT", f"{UPLOAD}/0/x/artifacts/model.json", True),
        ("POST", "/data/raw/customers/v1/tag", False),
        ("GET", "/runs/first/files/raw/customers.csv", False),
        ("POST", "/data/artifacts/files/v1/tag", False),
    ):
        assert _kind(method, path)[1] == moves, path


# -- who is let in from where ----------------------------------------------------------------------------------------


def test_a_server_that_others_can_reach_does_not_start_without_a_token(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    refused = bis(tmp_path, "server", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "bis server token add NAME --role admin" in refused.stderr
    server = serving("--host", "0.0.0.0", "--open")
    assert httpx.get(server.url.replace("0.0.0.0", "127.0.0.1") + GET).status_code == 200
    server.stop()
    given = token(tmp_path, "somebody", "reader")
    server = serving("--host", "0.0.0.0")
    url = server.url.replace("0.0.0.0", "127.0.0.1") + GET
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": f"Bearer {given}"}).status_code == 200
    bis(tmp_path, "server", "token", "rm", "somebody")
    time.sleep(1.1)
    assert httpx.get(url).status_code == 401, "the last token was taken back; that opens nothing"


def test_a_name_that_was_made_to_mean_this_machine_is_refused(server: Any, serving: Callable[..., Any]) -> None:
    for host in (
        "evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::2]:1",
    ):
        assert status(server, "GET", GET, headers={"Host": host}) == 403, host
    for host in ("localhost", "localhost:1", "127.0.0.1:5000", "[::1]:80", "LOCALHOST"):
        assert status(server, "GET", GET, headers={"Host": host}) == 200, host
    server.stop()
    named = serving("--allow-host", "mlflow.internal")
    assert status(named, "GET", GET, headers={"Host": "mlflow.internal"}) == 200


def test_pages_of_other_servers_change_nothing(server: Any) -> None:
    own = server.url
    for headers, expected in [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": own, "Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ]:
        answer = server.http.post(CREATE, json={"name": f"{headers}".replace("/", "")[:60]}, headers=headers)
        assert answer.status_code == expected, headers
        assert "access-control-allow-origin" not in answer.headers
    assert status(server, "PUT", f"{UPLOAD}/a", content=b"x", headers={"Origin": "https://evil.example"}) == 403
    seen = server.http.get(GET, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in seen.headers


def test_a_page_that_was_named_may_use_the_server(serving: Callable[..., Any]) -> None:
    server = serving("--allow-origin", "https://notebooks.example")
    asks = {"Origin": "https://notebooks.example", "Access-Control-Request-Method": "POST"}
    before = server.http.options(CREATE, headers=asks)
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (204, "https://notebooks.example")
    answer = server.http.post(CREATE, json={"name": "x"}, headers={"Origin": "https://notebooks.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://notebooks.example")
    other = server.http.options(CREATE, headers={**asks, "Origin": "https://evil.example"})
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)


# -- how much ----------------------------------------------------------------------------------------------------------


def test_hostile_requests_get_an_answer_that_says_so_and_no_trace(server: Any) -> None:
    deep = b"[" * 200_000
    for body in (
        deep,
        b'{"name": ' + deep,
        b'{"name": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"name": "' + b"n" * 100_000 + b'"}',
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": ' + b"9" * 100_000 + b"}",
        b"\xff\xfe",
        b'{"name": "\\ud800"}',
        b'{"name": "x\\u0000y"}',
        b'"x"',
        b"[]",
        b"{",
    ):
        answer = server.http.post(CREATE, content=body)
        assert 400 <= answer.status_code < 500, (body[:40], answer.status_code, answer.text[:200])
        assert "Traceback" not in answer.text
    assert "Traceback" not in server.told
    assert status(server, "GET", "/health") == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Any) -> None:
    assert status(server, "POST", CREATE, content=b"x" * (33 << 20)) == 413

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * (1 << 20)

    assert 400 <= server.http.post(CREATE, content=endless()).status_code < 500
    assert status(server, "GET", "/health") == 200


def test_a_head_without_end_is_not_listened_to(server: Any) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for start in (b"GET /", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "):
        with socket.create_connection((host, int(port))) as wire:
            answer = b""
            try:
                wire.sendall(start)
                for _ in range(64):
                    wire.sendall(b"a" * 65536)
                answer = wire.recv(1000)
            except (ConnectionResetError, BrokenPipeError):
                pass
            assert not answer or b" 4" in answer[:12]
    assert status(server, "GET", "/health", headers={"X-Long": "a" * 70_000}) == 431
    assert status(server, "GET", "/health") == 200


def test_a_connection_that_asks_again_after_a_large_body_is_kept(server: Any) -> None:
    for number in range(20):
        assert status(server, "PUT", f"{UPLOAD}/{number}", content=b"x" * 600_000) == 200
        assert status(server, "GET", GET) == 200
    assert "408" not in server.told


def test_a_request_that_is_cut_off_does_nothing(server: Any) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for body in (b"", b'{"experiment_id": "0"'):
        with socket.create_connection((host, int(port))) as wire:
            head = "POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"
            wire.sendall(head.encode() + body)
            time.sleep(0.2)
    time.sleep(0.2)
    found = server.http.post("/api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"]}).json()
    assert not found.get("runs")


def test_what_is_too_much_at_once_is_told_to_come_again(serving: Callable[..., Any]) -> None:
    server = serving("--max-requests", "3")
    host, port = server.url.removeprefix("http://").split(":")
    held = []
    for number in range(3):
        wire = socket.create_connection((host, int(port)))
        wire.sendall(f"PUT {UPLOAD}/{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n".encode())
        held.append(wire)
    time.sleep(0.5)
    answer = server.http.get(GET)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    for wire in held:
        wire.sendall(b"123456789")
        assert b"200 OK" in wire.recv(1000)
        wire.close()
    assert status(server, "GET", GET) == 200


# -- what is told ------------------------------------------------------------------------------------------------------


def test_requests_are_logged_as_json_and_tokens_are_not(serving: Callable[..., Any], tmp_path: Path) -> None:
    given = token(tmp_path, "alice", "writer")
    server = serving("--log", "json")
    answer = server.http.post(
        f"{CREATE}?token={given}",
        json={"name": "x"},
        headers={"Authorization": f"Bearer {given}", "X-Request-ID": "mine-1"},
    )
    assert answer.headers["x-request-id"] == "mine-1"
    server.http.get(GET, headers={"X-Request-ID": "no\tgood"}, auth=("u", given))
    server.stop()
    lines = [json.loads(line) for line in server.told.splitlines() if line.startswith("{")]
    first = next(line for line in lines if line["request"] == "mine-1")
    assert (first["user"], first["method"], first["path"], first["status"]) == ("alice", "POST", CREATE, 200)
    assert first["ms"] > 0
    assert given not in server.told
    assert len(lines) == 2


def test_a_failure_is_logged_without_what_its_path_may_tell_or_forge(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    with application.desk.database.writing():  # there from now on
        pass

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def ask() -> int:
        path = f"/api/2.0/mlflow-artifacts/mpu/part/abc123/1%0A2026-01-01 all is well{'x' * 1000}"
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(Guard(fails, application.desk)), base_url="http://127.0.0.1"
        ) as client:
            return (await client.put(path)).status_code

    assert asyncio.run(ask()) == 500
    (said,) = [record.getMessage() for record in caplog.records if record.name == "bis.server"]
    assert "ZeroDivisionError" in caplog.text
    assert "/mpu/part/..." in said
    assert "abc123" not in said
    assert "\n" not in said
    assert len(said) < 500


def test_a_path_does_not_write_lines_of_its_own_into_the_log(serving: Callable[..., Any]) -> None:
    server = serving("--log", "text")
    server.http.get("/a%0a2026-01-01 forged GET /x 200%1b[31m")
    server.stop()
    assert not any(line.startswith("2026-01-01 forged") for line in server.told.splitlines())
    assert "\x1b" not in server.told


def test_what_the_server_counts_is_there_for_prometheus(server: Any) -> None:
    for _ in range(3):
        server.http.get(GET)
    server.http.get("/nonsense/123")
    server.http.get(f"{UPLOAD}/not/there")
    run = server.http.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    points = [{"key": "m", "value": step, "timestamp": 1, "step": step} for step in range(5)]
    server.http.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run, "metrics": points})
    server.http.post("/api/2.0/mlflow/runs/log-metric", json={"run_id": run, **points[0]})
    text = server.http.get("/metrics").text
    assert "bis_points_written_total 6" in text
    call = GET.partition("?")[0]
    assert f'bis_requests_total{{method="GET",call="{call}",status="200"}} 3' in text
    assert f'bis_request_seconds_bucket{{call="{call}",le="+Inf"}} 3' in text
    assert 'call="other",status="404"} 1' in text
    assert f'call="{UPLOAD}/{{path:path}}",status="404"}} 1' in text
    assert "bis_writer_queue 0" in text
    assert "nonsense" not in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rpartition(" ")[2]) >= 0


# -- beginning and ending --------------------------------------------------------------------------------------------


def test_what_is_under_way_is_answered_when_the_server_is_told_to_end(serving: Callable[..., Any]) -> None:
    server = serving()
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.putrequest("PUT", f"{UPLOAD}/0/late")
    connection.putheader("Content-Length", "6")
    connection.endheaders()
    connection.send(b"one")
    time.sleep(0.3)
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(server.stop(signal.SIGTERM)))
    thread.start()
    time.sleep(0.5)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=1)
    connection.send(b"two")
    assert connection.getresponse().status == 200
    thread.join()
    assert ended == [0]
    again = serving()
    assert again.http.get(f"{UPLOAD}/0/late").content == b"onetwo"


def test_one_that_never_comes_to_an_end_is_waited_for_no_longer_than_said(serving: Callable[..., Any]) -> None:
    server = serving("--grace", "1")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(f"PUT {UPLOAD}/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1".encode())
        time.sleep(0.3)
        began = time.monotonic()
        assert server.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 8


def test_a_port_that_is_in_use_is_named(server: Any, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    done = bis(tmp_path, "server", "--port", port)
    assert (done.returncode, f"port {port}" in done.stderr, "--port 0" in done.stderr) == (5, True, True)


def test_several_workers_need_postgresql(tmp_path: Path) -> None:
    done = bis(tmp_path, "server", "--workers", "2", "--port", "0")
    assert done.returncode == 2
    assert "PostgreSQL" in done.stderr


@pytest.mark.parametrize(
    "store", ["ssh://host/srv/store", "http://host:5000", "s3:///prefix", "s3://key:secret@bucket"]
)
def test_a_store_of_a_server_is_a_folder_or_a_bucket(tmp_path: Path, store: str) -> None:
    done = bis(tmp_path, "server", "--store", store, "--port", "0")
    assert done.returncode == 2
    assert "s3://" in done.stderr or "AWS_" in done.stderr
    assert "secret" not in done.stderr


def test_it_speaks_tls_with_a_certificate(serving: Callable[..., Any], tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {key} -out {cert}"
    )
    subprocess.run([*words.split(), "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True)
    server = serving("--tls-cert", str(cert), "--tls-key", str(key))
    assert server.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(cert))
    assert httpx.get(server.url + "/health", verify=context).text == "OK"
    with pytest.raises(httpx.HTTPError):
        httpx.get(server.url.replace("https", "http") + "/health")
    for wrong in (["--tls-cert", str(key)], ["--tls-cert", "absent.pem"], ["--tls-key", str(key)]):
        done = bis(tmp_path, "server", "--port", "0", *wrong)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), wrong


def test_below_a_path_of_a_proxy_every_call_is_found(serving: Callable[..., Any]) -> None:
    server = serving("--root-path", "/team/bis/", "--proxy", "127.0.0.1")
    assert server.url.endswith("/team/bis")
    server.http.base_url = server.url.removesuffix("/team/bis")
    for root in ("", "/team/bis"):
        assert status(server, "GET", root + GET) == 200
        assert status(server, "PUT", f"{root}{UPLOAD}/0/x", content=b"x") == 200
        assert server.http.get(f"{root}{UPLOAD}/0/x").content == b"x"
    begun = server.http.post(
        "/team/bis/api/2.0/mlflow-artifacts/mpu/create",
        json={"path": "a", "num_parts": 1},
        headers={"X-Forwarded-Proto": "https", "Host": "localhost"},
    ).json()
    assert begun["credentials"][0]["url"].startswith("https://localhost/team/bis/api/2.0/mlflow-artifacts/mpu/part/")


def test_it_forgets_everything_only_where_that_was_switched_on(serving: Callable[..., Any], tmp_path: Path) -> None:
    plain = serving()
    assert status(plain, "POST", "/__reset__") in (404, 405)
    plain.http.post(CREATE, json={"name": "x"})
    plain.stop()
    server = serving(variables={"BIS_SERVER_RESET": "1"})
    assert status(server, "POST", CREATE, json={"name": "x"}) == 400
    assert status(server, "POST", "/__reset__") == 200
    assert status(server, "POST", CREATE, json={"name": "x"}) == 200
    assert status(server, "GET", GET) == 200
