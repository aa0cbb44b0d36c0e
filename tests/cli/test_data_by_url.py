"""Typing `bis data` with a URL, to the web server that Python brings along."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Type = Callable[..., Any]
TABLE = "id,x\n1,2\n"
SERVER = """
import http.server, sys
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = [sys.executable, "-c", SERVER]
        self.process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.host = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "table.csv").write_text(TABLE)
    found = Site(folder)
    yield found
    found.close()


@pytest.fixture
def type_(tmp_path: Path, bis: Type) -> Type:
    project = tmp_path / "project"
    project.mkdir()
    (project / "bis.toml").write_text("")
    return lambda *words, **options: bis("data", *words, folder=project, **options)


def test_a_url_is_added_looked_at_and_fetched(site: Site, type_: Type, tmp_path: Path) -> None:
    url = f"http://{site.host}/table.csv"
    added = type_("add", "--by-reference", url, "-m", "from the site")
    assert (added.status, added.out.split()[:2]) == (0, ["added", "table@v1"])
    assert type_("cat", "table").out == TABLE
    assert type_("get", "table", "out").status == 0
    assert (tmp_path / "project" / "out" / "table.csv").read_text() == TABLE
    shown = type_("show", "table").out
    assert url in shown
    assert "by reference" in shown
    assert "server says" in shown
    (site.folder / "table.csv").write_text("id,x\n1,2\n2,3\n")
    for what in ((), ("table",), (url,)):
        changed = type_("status", *what)
        assert (changed.status, changed.out.split()) == (1, ["changed", "table@v1", url, "would", "be", "v2"])
    refused = type_("get", "table")
    assert (refused.status, "error[B065]" in refused.err, "bis data add --by-reference" in refused.err) == (
        4,
        True,
        True,
    )


def test_credentials_are_taken_out_and_that_is_said(site: Site, type_: Type, tmp_path: Path) -> None:
    added = type_("add", "--by-reference", f"http://ana:s3cr3t@{site.host}/table.csv?token=hush&part=1")
    assert added.status == 0
    assert "not recorded, as it gives access: user and password, token" in added.err
    told = added.out + added.err + type_("show", "table", "--json").out
    assert f"http://{site.host}/table.csv?part=1" in told
    files = [path for path in (tmp_path / "project" / ".bis").rglob("*") if path.is_file()]
    for secret in ("s3cr3t", "hush"):
        assert secret not in told
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_without_a_network_the_status_is_unknown_and_says_why(site: Site, type_: Type) -> None:
    url = f"http://{site.host}/table.csv"
    type_("add", "--by-reference", url)
    site.close()
    found = type_("status")
    assert (found.status, found.out.split()[0]) == (5, "unknown")
    assert f"cannot read {url}: Connection refused" in found.out
    got = type_("get", "table")
    assert (got.status, "error[B061]" in got.err, url in got.err) == (5, True, True)


def test_a_url_without_by_reference_is_no_path(site: Site, type_: Type) -> None:
    found = type_("add", f"http://ana:s3cr3t@{site.host}/table.csv")
    assert found.status == 2
    assert f"bis data add --by-reference http://{site.host}/table.csv" in found.err
    assert "s3cr3t" not in found.err


def test_a_file_url_is_a_path(site: Site, type_: Type) -> None:
    assert type_("add", f"file://{site.folder}/table.csv").out.split()[:2] == ["added", "table@v1"]
