"""Names and texts that want to be markup, in everything that a user can name: on every page they come out as text; and
every link of every page leads somewhere."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from starlette.routing import compile_path

from bis.server.pages.routes import PAGES

MARKUP = '<img src=x onerror=document.title="caught">'
FILE = "<img src=x onerror=document.title='caught'>"
"""The same, as a file may be called."""
ROWS = f"{FILE},x\n{FILE},1\n"
SCRIPT = f"""
import json, pathlib, sys
print({MARKUP!r})
pathlib.Path({FILE + ".txt"!r}).write_text({MARKUP!r})
pathlib.Path("page.html").write_text({MARKUP!r})
pathlib.Path("table.csv").write_text({ROWS!r})
pathlib.Path("note.md").write_text({MARKUP!r})
outputs = [dict(text={MARKUP!r}), dict(data={{"text/html": {MARKUP!r}, "text/plain": {MARKUP!r}}})]
cells = [dict(cell_type=kind, source={MARKUP!r}, outputs=outputs) for kind in ("markdown", "code")]
pathlib.Path("book.ipynb").write_text(json.dumps(dict(cells=cells)))
pathlib.Path("model.json").write_text(json.dumps({{{MARKUP!r}: sys.argv[1:]}}))
pathlib.Path("metrics.json").write_text(json.dumps({{{MARKUP!r}: len(sys.argv)}}))
pathlib.Path({FILE + ".csv"!r}).read_text()
"""
LINKS = "all => all.map(one => new URL(one.getAttribute('href'), location).href)"
EACH = 4
"""Pages that are looked at of each kind."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, training_python: Path, served: Any) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("hostile") / "project"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / f"{FILE}.csv").write_text(f"{FILE},age\n{FILE},1\n")

    def bis(*words: str, ok: bool = True) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "bis", *words], cwd=folder, capture_output=True, text=True, timeout=240, check=False
        )
        assert not ok or done.returncode == 0, done.stdout + done.stderr

    git = ("git", "-c", f"user.name={MARKUP}", "-c", "user.email=ana@x.example")
    for words in (("init", "-q", "-b", "<i>branch</i>", "."), ("add", "train.py"), ("commit", "-qm", MARKUP)):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)
    script = (str(training_python), "train.py")
    bis("data", "add", f"{FILE}.csv", "--message", MARKUP, "--tag", "production")
    bis("run", "--name", MARKUP, "--note", MARKUP, "--", *script, MARKUP)
    bis("repeat", "@latest", ok=False)
    (folder / "train.py").write_text(SCRIPT + f"# {MARKUP}\n")
    (folder / f"{FILE}.csv").write_text(f"{FILE},age\n{FILE},1\n{FILE},2\n")
    bis("data", "add", f"{FILE}.csv", "--message", MARKUP)
    bis("run", "--name", f"{MARKUP} 2", "--", *script, f"--{MARKUP}={MARKUP}")
    bis("tag", "@latest", f"{MARKUP}={MARKUP}")
    for number, run in enumerate(("@latest", "@~1"), 1):
        bis("model", "register", MARKUP, run, "--path", "model.json")
        bis("model", "promote", f"{MARKUP}/{number}", "--reason", MARKUP)
    server = served(folder)
    try:
        _log(server.url)
        yield server
    finally:
        server.stop()


def _log(url: str) -> None:
    """As a client does."""

    def call(path: str, /, **said: Any) -> Any:
        answer = httpx.post(f"{url}/api/2.0/mlflow/{path}", json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    experiment = call("experiments/create", name=MARKUP)["experiment_id"]
    for _ in range(2):
        run = call("runs/create", experiment_id=experiment, user_id=MARKUP, run_name=MARKUP, start_time=1)["run"]
        id = run["info"]["run_id"]
        metrics = [{"key": "loss", "value": step, "step": step, "timestamp": step} for step in range(3)]
        call(
            "runs/log-batch",
            run_id=id,
            metrics=metrics,
            tags=[{"key": "team", "value": MARKUP}],
            params=[{"key": "lr", "value": MARKUP}],
        )
        call("runs/set-tag", run_id=id, key="mlflow.note.content", value=MARKUP)


def test_whatever_people_name_so_comes_out_as_text_and_every_link_leads_somewhere(visitor: Any, hostile: Any) -> None:
    patterns = [compile_path(page.path)[0] for page in PAGES]
    looked: dict[Any, int] = {}
    waiting, known, dead = ["/", "/settings", f"/search?q={quote(MARKUP)}", "/overlay"], set[str](), []
    visitor.expected = ("Refused to", "Loading the image", "Connecting to")
    """What is shown in a frame asks in vain."""
    while waiting:
        place = waiting.pop(0)
        path = urlsplit(place).path
        kind = (next((one for one in patterns if one.match(path)), None), path.rpartition(".")[2] in ("json", "csv"))
        if looked.get(kind, 0) >= EACH:
            continue
        looked[kind] = looked.get(kind, 0) + 1
        answer = httpx.get(hostile.url + place, follow_redirects=True)
        dead += [place] if answer.status_code >= 400 else []
        if kind[0] is None or not answer.headers["content-type"].startswith("text/html"):
            continue
        page = visitor.go(hostile.url + place)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert page.title() != "caught", place
        assert not page.locator("img[src=x], main script:not([src]), [onerror]").count(), place
        for link in page.eval_on_selector_all("a[href]", LINKS):
            where = urlsplit(link)._replace(scheme="", netloc="", fragment="").geturl()
            if link.startswith(hostile.url) and where not in known:
                known.add(where)
                waiting.append(where)
    assert not dead
    missed = [page.path for page, one in zip(PAGES, patterns, strict=True) if (one, False) not in looked]
    assert set(missed) <= {"/tag", "/models/{name}/{number}/diff", "/data/{name:path}/v{number}/diff"}, missed
