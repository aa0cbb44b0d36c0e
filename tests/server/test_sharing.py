"""A server as a remote: who may push and pull, what is refused, and what becomes of a push that breaks off."""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from bis.acts.share import pull, push
from bis.errors import KeepingError
from bis.settings import Settings
from bis.steps.home import open_home
from bis.store import deltas
from bis.store.packs import DELTA, RAW, Form, PackWriter
from bis.store.remote import REFUSED
from bis.store.remote.http import NOT_A_SERVER, PUSH, HttpRemote
from bis.store.writers import alive

PACKS = "/api/bis/1/store/packs"
NAME = "0" * 64 + ".pack"


def bis(folder: Path, *words: str) -> str:
    words = (sys.executable, "-m", "bis", "-C", str(folder), *words)
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def team(serving: Callable[..., Any], tmp_path: Path) -> tuple[Any, dict[str, str]]:
    """A server, and a token for each role."""
    folder = tmp_path / "team"
    folder.mkdir()
    given = {
        role: bis(folder, "server", "token", "add", role, "--role", role) for role in ("reader", "writer", "admin")
    }
    return serving(folder=folder), given


def recorded(folder: Path) -> Path:
    folder.mkdir()
    (folder / "train.py").write_text("open('model.bin', 'w').write('model')\n")
    bis(folder, "run", "--", sys.executable, "train.py")
    return folder


def pack(folder: Path, *objects: tuple[bytes, Form]) -> tuple[str, bytes]:
    folder.mkdir()
    writer = PackWriter(folder)
    for told, form in objects:
        writer.add("chunk", blake3(told).digest(), len(told), form)
    name, _ = writer.finish()
    return name, (folder / name).read_bytes()


def ask(team: tuple[Any, dict[str, str]], role: str, method: str, path: str, **more: Any) -> Any:
    server, given = team
    return server.http.request(method, path, headers={"Authorization": f"Bearer {given[role]}"}, **more)


@pytest.mark.usefixtures("many_files")
def test_a_connection_is_used_again_however_many_files_are_open(team: Any) -> None:
    server, given = team
    remote = HttpRemote(server.url, {"BIS_TOKEN": given["reader"]})
    assert [remote.list() for _ in range(3)] == [{}, {}, {}]
    remote.close()


def test_a_run_that_one_pushed_is_listed_by_the_server_and_pulled_by_another(team: Any, tmp_path: Path) -> None:
    server, given = team
    ana = open_home(recorded(tmp_path / "ana"), Settings())
    sent = push(ana, server.url, {"BIS_TOKEN": given["writer"]})
    found = ask(team, "reader", "POST", "/api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"]}).json()["runs"]
    (run,) = ana.ledger.runs()
    assert [one["info"]["run_id"] for one in found] == [run.id]
    (tmp_path / "bea").mkdir()
    bea = open_home(tmp_path / "bea", Settings())
    shared = pull(bea, server.url, {"MLFLOW_TRACKING_TOKEN": given["reader"]})
    assert (shared.runs, shared.objects) == (1, sent.objects)
    assert bea.ledger.runs() == [run]


def test_who_may_only_look_pulls_and_does_not_push(team: Any, tmp_path: Path) -> None:
    server, given = team
    ana = open_home(recorded(tmp_path / "ana"), Settings())
    for variables, said in (
        ({}, "who you are"),
        ({"BIS_TOKEN": "wrong"}, "token in BIS_TOKEN"),
        ({"BIS_TOKEN": given["reader"]}, "the role writer"),
    ):
        with pytest.raises(KeepingError, match=said) as error:
            push(ana, server.url, {"HOME": str(tmp_path), **variables})
        assert error.value.code == REFUSED
        assert "bis server token add" in error.value.hint
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login ana password {given['writer']}\n")
    assert push(ana, server.url, {"HOME": str(tmp_path)}).objects
    name = next(iter(ask(team, "reader", "GET", PACKS).json()["packs"]))
    for role, status in (("reader", 403), ("writer", 403), ("admin", 202)):
        assert ask(team, role, "DELETE", f"{PACKS}/{name}").status_code == status
    assert name not in ask(team, "reader", "GET", PACKS).json()["packs"], "it is about to be deleted"
    assert ask(team, "reader", "GET", f"{PACKS}/{name}").status_code == 200, "and can still be read"


@pytest.mark.parametrize(
    "name", ["x.pack", "..%2fformat", "%2e%2e/format", "tmp-1", NAME[1:], NAME + "%00", "a" * 9000]
)
def test_nothing_but_packs_is_reached_by_their_names(team: Any, name: str) -> None:
    for method in ("GET", "PUT"):
        assert 400 <= ask(team, "writer", method, f"{PACKS}/{name}").status_code < 500
    assert ask(team, "admin", "DELETE", f"{PACKS}/{name}").status_code in range(400, 500)
    assert "Traceback" not in team[0].told


def test_a_pack_that_is_not_what_it_says_is_not_kept(team: Any, tmp_path: Path) -> None:
    base, told, true = b"base" * 9000, b"told" * 9000, b"true" * 9000
    forged = deltas.write(deltas.Delta((blake3(base).digest(),), deltas.make(true, base)))
    sound = (base, Form(RAW, base))
    lies, data = pack(tmp_path / "lies", sound, (told, Form(DELTA, forged, 1)))
    alone, without = pack(tmp_path / "alone", (true, Form(DELTA, forged, 1)))
    good, whole = pack(tmp_path / "good", sound, (true, Form(DELTA, forged, 1)))
    flipped = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    for name, content in (
        (lies, data),
        (alone, without),
        (good, flipped),
        (good, whole[:-1]),
        (NAME, whole),
        (good, b""),
    ):
        answer = ask(team, "writer", "PUT", f"{PACKS}/{name}", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "B006")
    folder = team[0].folder / ".bis" / "store" / "packs"
    end = time.monotonic() + 10
    while list(folder.iterdir()) and time.monotonic() < end:  # removed behind the answer
        time.sleep(0.05)
    assert list(folder.iterdir()) == []
    assert ask(team, "writer", "PUT", f"{PACKS}/{good}", content=whole).status_code == 201
    assert ask(team, "writer", "PUT", f"{PACKS}/{alone}", content=without).status_code == 201, "its base is there now"
    assert (
        ask(
            team,
            "reader",
            "GET",
            f"{PACKS}/{good}",
        ).content
        == whole
    )


def test_a_push_that_breaks_off_leaves_nothing_half(team: Any, tmp_path: Path) -> None:
    server, given = team
    content = bytes(3 << 20)
    name, data = pack(tmp_path / "made", (content, Form(RAW, content)))
    connection = http.client.HTTPConnection(server.http.base_url.host, server.http.base_url.port)
    connection.putrequest("PUT", f"{PACKS}/{name}")
    connection.putheader("Authorization", f"Bearer {given['writer']}")
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data[: 2 << 20])
    folder = server.folder / ".bis" / "store" / "packs"
    assert wait_for(lambda: [path.name[:4] for path in folder.iterdir()] == ["tmp-"])
    connection.close()
    assert wait_for(lambda: not list(folder.iterdir()))
    assert ask(team, "writer", "PUT", f"{PACKS}/{name}", content=data).status_code == 201


def wait_for(holds: Callable[[], bool]) -> bool:
    turn = threading.Event()
    return any(holds() or turn.wait(0.05) for _ in range(200))


def test_who_pushes_is_a_writer_for_gc_until_they_end_and_is_told_when_they_were_given_up(team: Any) -> None:
    server, given = team
    store = server.folder / ".bis" / "store"
    remote = HttpRemote(server.url, {"BIS_TOKEN": given["writer"]})
    remote.list()
    (push_id,) = alive(store)
    assert ask(team, "reader", "GET", PACKS).headers.get(PUSH) is None, "who only looks relies on nothing"
    remote.close()
    assert list(alive(store)) == []
    gone = server.http.put(f"{PACKS}/{NAME}", headers={"Authorization": f"Bearer {given['writer']}", PUSH: push_id})
    assert (gone.status_code, gone.json()["error"]["code"]) == (409, "B056")


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A web server that is no bis server; what it was told of tokens."""
    seen: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b"<html>nothing</html>")

        def log_message(self, *words: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def test_another_server_is_said_to_be_none_and_a_redirect_does_not_take_the_token_there(elsewhere: Any) -> None:
    url, seen = elsewhere
    with pytest.raises(KeepingError) as error:
        HttpRemote(url, {}).list()
    assert error.value.code == NOT_A_SERVER
    seen.clear()

    class Sends(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307)
            self.send_header("Location", f"{url}{self.path}")
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Sends) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(KeepingError, match="where it was meant for") as refused:
            HttpRemote(f"http://127.0.0.1:{server.server_port}", {"BIS_TOKEN": "secret"}).list()
        server.shutdown()
    assert refused.value.code == REFUSED
    assert seen == []
