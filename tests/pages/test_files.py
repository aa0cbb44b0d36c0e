"""What a run wrote and printed, looked at in a browser."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.server.pages.files import indented


@pytest.mark.parametrize(
    ("path", "kind", "seen"),
    [
        ("metrics.json", "json", ".code .nt"),
        ("notes.md", "markdown", ".written em"),
        ("table.csv", "table", "td.number"),
        ("picture.svg", "image", "img.seen"),
        ("report.html", "html", "iframe.seen"),
    ],
)
def test_a_file_is_shown_as_what_it_is(visitor: Any, small_server: Any, path: str, kind: str, seen: str) -> None:
    # The report of the project reaches for the page around it, which the browser tells of.
    visitor.expected = ("Failed to read a named property", "Uncaught SecurityError", "Blocked a frame")
    page = visitor.go(f"{small_server.url}/runs/first/files/{path}")
    found = httpx.get(f"{small_server.url}/runs/first/files/{path}", params={"as": "json"}).json()
    assert found["file"]["kind"] == kind
    assert page.locator(seen).count() >= 1
    if kind == "image":
        assert page.evaluate("document.querySelector('img.seen').naturalWidth") == 9
    assert page.title() != "caught"


def test_a_file_comes_as_it_is(small_server: Any, person: Path) -> None:
    answer = httpx.get(f"{small_server.url}/raw/first/table.csv", params={"download": 1})
    assert answer.text == "name,age\nana,41\nlee,39\n"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert hashlib.sha256(answer.content).hexdigest() == hashlib.sha256((person / "table.csv").read_bytes()).hexdigest()


def test_a_part_of_a_file_comes_alone_so_that_a_download_goes_on(small_server: Any) -> None:
    url, whole = f"{small_server.url}/raw/first/table.csv", b"name,age\nana,41\nlee,39\n"
    first = httpx.get(url)
    assert (first.headers["accept-ranges"], first.content) == ("bytes", whole)
    etag = first.headers["etag"]
    for range, part, told in (
        ("bytes=9-", whole[9:], "bytes 9-22/23"),
        ("bytes=9-11", b"ana", "bytes 9-11/23"),
        ("bytes=-6", b"ee,39\n", "bytes 17-22/23"),
        ("bytes=9-99", whole[9:], "bytes 9-22/23"),
    ):
        answer = httpx.get(url, headers={"range": range, "if-range": etag})
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, part, told)
        assert answer.headers["content-length"] == str(len(part))
        assert answer.headers["content-type"] == first.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-security-policy"] == first.headers["content-security-policy"]
    for headers in ({"range": "bytes=9-", "if-range": '"another"'}, {"range": "bytes=0-1,4-5"}, {"range": "rows=1-2"}):
        answer = httpx.get(url, headers=headers)
        assert (answer.status_code, answer.content) == (200, whole), headers
    answer = httpx.get(url, headers={"range": "bytes=23-"})
    assert (answer.status_code, answer.headers["content-range"], answer.content) == (416, "bytes */23", b"")
    assert httpx.get(url, headers={"if-none-match": etag}).status_code == 304
    head = httpx.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "23", b"")


SOUND = """
import wave
with wave.open("tone.wav", "wb") as file:
    file.setparams((1, 1, 8000, 0, "NONE", ""))
    file.writeframes(bytes(8000) * 3600)
"""
"""An hour, in 27 MiB."""


def test_a_long_recording_is_played_from_anywhere(served: Any, visitor: Any, tmp_path: Path) -> None:
    (tmp_path / "write.py").write_text(SOUND)
    command = [sys.executable, "-m", "bis", "run", "--name", "long", "--", sys.executable, "write.py"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    server = served(tmp_path)
    try:
        page = visitor.go(f"{server.url}/runs/long/files/tone.wav")
        page.wait_for_function("document.querySelector('audio').duration === 3600")
        with page.expect_response(lambda answer: "/raw/" in answer.url and answer.status == 206) as later:
            page.evaluate("document.querySelector('audio').currentTime = 3500")
        assert int(later.value.headers["content-range"].split()[1].partition("-")[0]) > 26 << 20
        page.wait_for_function("document.querySelector('audio').currentTime === 3500")
    finally:
        server.stop()


def test_the_code_is_there_as_it_ran(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/runs/second")
    page.locator(".parts th a", has_text="code").click()
    page.wait_for_url("**/code")
    page.get_by_role("link", name="train.py").click()
    page.wait_for_url("**/code/train.py")
    assert '"auc": 0.9 + lr / 100' in page.inner_text("pre.code")
    raw = page.get_by_role("link", name="Download").get_attribute("href")
    assert b"0.9 + lr / 100" in httpx.get(small_server.url + raw).content
    visitor.go(f"{small_server.url}/runs/changed/code/train.py")
    assert '"auc": 0.8 + lr / 100' in page.inner_text("pre.code")
    answer = httpx.get(f"{small_server.url}/runs/second/code/none.py")
    assert answer.status_code == 404
    assert "had no code" in answer.text
    told = httpx.get(f"{small_server.url}/runs/second/code.json").json()
    assert {"train.py", "Dockerfile"} <= {one["name"] for one in told["entries"]}


def test_what_is_not_there_is_named(small_server: Any) -> None:
    up = "%2e%2e/" * 8
    for place in (
        "/runs/first/files/no.txt",
        "/raw/first/no.txt",
        f"/runs/first/files/{up}etc/passwd",
        f"/raw/first/{up}etc/passwd",
    ):
        answer = httpx.get(small_server.url + place)
        assert (answer.status_code, "no file" in answer.text) == (404, True), place


def test_folders_lead_down_and_up(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/runs/first/files")
    names = page.locator("tbody th").all_inner_texts()
    assert {"metrics.json", "model.json", "table.csv"} <= set(names)
    page.get_by_role("link", name="table.csv").click()
    page.wait_for_url("**/table.csv")
    page.get_by_role("link", name="files", exact=True).click()
    page.wait_for_url("**/files")
    assert page.locator("tbody th").all_inner_texts() == names


ODD = """
import gzip, pathlib
import pyarrow, pyarrow.parquet
times = pyarrow.array([1790000000000000123], pyarrow.timestamp("ns"))
days = pyarrow.array([[10**8]], pyarrow.list_(pyarrow.date32()))
pyarrow.parquet.write_table(pyarrow.table({"at": times, "days": days, "n": [7]}), "odd.parquet")
pathlib.Path("deep.json").write_text("[" * 100_000)
pathlib.Path("deep.ipynb").write_text("[" * 100_000)
pathlib.Path("page.html.gz").write_bytes(gzip.compress(b"<h1>x</h1>"))
pathlib.Path("it's a model.json").write_text("[1.50, 1e400]")
"""


def test_odd_files_are_shown_as_far_as_they_can_be(served: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "write.py").write_text(ODD)
    command = [sys.executable, "-m", "bis", "run", "--name", "odd", "--", sys.executable, "write.py"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    server = served(tmp_path)
    try:

        def shown(path: str) -> Any:
            return httpx.get(f"{server.url}/runs/odd/files/{path}", params={"as": "json"}).json()["file"]

        table = shown("odd.parquet")
        assert (table["kind"], table["rows"]) == (
            "table",
            [["2026-09-21 14:13:20.000000123", "<list<element: date32[day]>>", "7"]],
        )
        assert [shown(path)["kind"] for path in ("deep.json", "deep.ipynb", "page.html.gz")] == [
            "text",
            "text",
            "binary",
        ]
        assert httpx.get(f"{server.url}/raw/odd/page.html.gz").headers["content-type"] == "application/gzip"
        assert shown("it's a model.json")["text"] == "[\n  1.50,\n  1e400\n]"
    finally:
        server.stop()


def test_a_file_of_columns_says_what_it_needs_where_that_is_not_installed(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, packages = tmp_path / "project", tmp_path / "packages"
    for folder in (project, packages):
        folder.mkdir()
    (packages / "pyarrow.py").write_text("raise ImportError('it is not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    (project / "write.py").write_text("open('t.parquet', 'wb').write(b'PAR1')\n")
    command = [sys.executable, "-m", "bis", "run", "--name", "one", "--", sys.executable, "write.py"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    server = served(project)
    try:
        html = httpx.get(f"{server.url}/runs/one/files/t.parquet").text
        assert "needs pyarrow where the server runs (the extra &#39;formats&#39; of bis)" in html
    finally:
        server.stop()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_set_line_by_line_as_everywhere(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, separators=(",", ":")), json.dumps(value, indent=7)):
        assert indented(text) == json.dumps(value, indent=2)


# -- what it printed -------------------------------------------------------------------------------------------------


def test_what_it_printed_is_there_line_by_line_and_is_searched(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/runs/first/log")
    assert page.locator(".lines tr").count() == 20
    page.locator("#q").fill("STEP 7")
    page.get_by_role("button", name="Look").click()
    page.wait_for_url("**q=STEP*")
    assert page.locator(".lines code").all_inner_texts() == ["step 7 loss 0.1235"]
    page.locator(".lines a").click()
    page.wait_for_url("**first=1*")
    assert page.locator(".lines tr").count() == 20


def test_an_error_is_in_its_own_stream(small_server: Any) -> None:
    found = httpx.get(f"{small_server.url}/runs/broken/log.json", params={"stream": "stderr"}).json()
    assert [line["text"] for line in found["lines"]] == ["the learning rate is too large"]


def test_a_run_under_way_is_followed(visitor: Any, served: Any, tmp_path: Path, training_python: Path) -> None:
    script = "import time\nfor n in range(600):\n print('line', n, flush=True)\n time.sleep(0.2)\n"
    (tmp_path / "slow.py").write_text(script)
    command = [sys.executable, "-m", "bis", "run", "--name", "slow", "--", str(training_python), "slow.py"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    server = served(tmp_path)
    try:
        end = time.monotonic() + 30
        while httpx.get(f"{server.url}/runs/slow/log.json").json().get("total", 0) < 3:
            assert time.monotonic() < end
            time.sleep(0.1)
        page = visitor.go(f"{server.url}/runs/slow/log")
        before = page.locator(".lines tr").count()
        page.locator(f".lines tr:nth-child({before + 4})").wait_for()
    finally:
        running.terminate()
        running.wait(30)
        server.stop()
