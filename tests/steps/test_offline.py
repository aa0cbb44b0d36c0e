"""Offline, no index is asked."""

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bis.steps.installing import find_uv


class Index(http.server.BaseHTTPRequestHandler):
    """An index of packages that has none, and remembers what it was asked."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    Index.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@pytest.mark.parametrize("offline", [False, True])
def test_an_index_is_asked_unless_one_is_offline(
    offline: bool, index: str, uv_variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    uv = find_uv({**uv_variables, "UV_DEFAULT_INDEX": index}, tmp_path / "home", None, offline=offline)
    words = ("pip", "install", "--target", str(tmp_path / "site"), "--python", sys.executable, "not-there-at-all==1.0")
    assert uv.run(*words).returncode != 0
    assert bool(Index.asked) is not offline
