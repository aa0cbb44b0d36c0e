"""A real browser before a real server, and projects for it to look at: a person's, and one as large as a team's."""

import asyncio
import json
import math
import os
import random
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from bis.digest import Digest
from bis.ledger import points, tracked
from bis.ledger.runs import SqlLedger, open_ledger
from bis.nouns.part import Part, PartKind
from bis.nouns.run import Run
from bis.nouns.tracking import Point
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.guard import Guard
from bis.store.local import open_store

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
HOSTILE = (
    '<script>document.title="caught"</script>',
    '"><img src=x onerror=document.title="caught">',
    "javascript:document.title='caught'",
    "{{ 7 * 7 }}",
    "'; DROP TABLE runs; --",
    "名前 имя όνομα اسم 🎼",
    "a" * 300,
    "\u202eright to left",
)
"""What users call things."""
RUNS = 10_000
LONG = 1_000_000
SPIKE = 3.1
"""The value of one point of the long metric, where all others lie between 0 and 0.2."""
SPIKE_STEP = 654_321
NOW = 1_790_000_000_000_000

TRAIN = """
import json, pathlib, random, sys

lr = float(sys.argv[1])
rows = pathlib.Path("data/customers.csv").read_text().splitlines()
for step in range(20):
    print(f"step {step} loss {1 / (step + 1 + lr):.4f}")
if lr > 1:
    sys.exit("the learning rate is too large")
json.dump({"auc": 0.9 + lr / 100, "loss": 0.2 - lr / 100}, open("metrics.json", "w"))
pathlib.Path("model.json").write_text(json.dumps({"weights": [lr, len(rows)]}))
pathlib.Path("report.html").write_text("<h1>Report</h1><script>parent.document.title='caught'</script>")
pathlib.Path("notes.md").write_text("# Notes\\n\\nA *good* run.\\n")
pathlib.Path("table.csv").write_text("name,age\\nana,41\\nlee,39\\n")
pathlib.Path("picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
"""


class Served:
    """A `bis server` over a folder, on a port of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bis", "-C", str(folder), "server", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        said = self.process.stdout.readline() if ready else "nothing"
        found = re.search(r"https?://\S+", said)
        assert found, f"the server says {said}"
        self.url = found[0]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="session")
def served() -> Callable[..., Served]:
    """Starts a server over a folder; who does so stops it."""
    return Served


@pytest.fixture(scope="session")
def told() -> Callable[..., Any]:
    """What a command says in JSON of the project in a folder: `told(person, "show", "first")`."""

    def ask(folder: Path, *asked: str) -> Any:
        command = [sys.executable, "-m", "bis", *asked, "--json"]
        return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout)

    return ask


@pytest.fixture(scope="session")
def person_seed(tmp_path_factory: pytest.TempPathFactory, training_python: Path) -> Path:
    """A project as a person has it after a day: runs of a script under Git, a repeat, a failure, data, a model."""
    folder = tmp_path_factory.mktemp("pages") / "churn"
    (folder / "data").mkdir(parents=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "data" / "customers.csv").write_text("id,age\n1,41\n2,39\n")
    (folder / "Dockerfile").write_text("FROM python:3.11\nCOPY . /app\n")

    def do(*words: str, ok: bool = True) -> str:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bis(*words: str, ok: bool = True) -> str:
        return do(sys.executable, "-m", "bis", *words, ok=ok)

    git = ("git", "-c", "user.name=ana", "-c", "user.email=ana@x.example")
    do(*git, "init", "-q", ".")
    do(*git, "add", "train.py", "Dockerfile")
    do(*git, "commit", "-qm", "Train")
    bis("data", "add", "data/customers.csv", "--message", "the first customers")
    bis("run", "--name", "first", "--note", "the **baseline**", "--", str(training_python), "train.py", "0.1")
    bis("repeat", "first")
    bis("run", "--name", "second", "--", str(training_python), "train.py", "0.2")
    (folder / "train.py").write_text(TRAIN.replace("0.9 +", "0.8 +"))
    (folder / "data" / "customers.csv").write_text("id,age\n1,41\n2,39\n3,50\n")
    bis("data", "add", "data/customers.csv", "--message", "one more")
    bis("run", "--name", "changed", "--", str(training_python), "train.py", "0.2")
    bis("run", "--name", "broken", "--", str(training_python), "train.py", "2", ok=False)
    bis("tag", "second", f"note={HOSTILE[0]}")
    for name in ("first", "changed"):
        bis("model", "register", "churn", name, "--path", "model.json")
    bis("model", "promote", "churn/1", "--reason", "the first")
    bis("model", "promote", "churn/2", "--reason", "better")
    return folder


@pytest.fixture(scope="session")
def large_seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 runs of clients, with hostile names among them, a metric of 1,000,000 points with one spike, and runs that
    are under way or have failed."""
    folder = tmp_path_factory.mktemp("pages") / "team"
    (folder / ".bis").mkdir(parents=True)
    draw = random.Random(1)
    with open_ledger(folder / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        for number in range(RUNS):
            name = HOSTILE[number % len(HOSTILE)] if number < 16 else f"adam-{number}"
            started = NOW + number * 60_000_000
            id = f"{number:032x}"
            tags = {"team": draw.choice("abc"), "hostile": HOSTILE[number % len(HOSTILE)]}
            tracked.create(connection, id, experiment=0, name=name, user="ana", started=started, tags=tags)
            params = {"lr": draw.choice(("0.1", "0.01", "0.001")), "layers": str(draw.randrange(2, 9)), "opt": "adam"}
            tracked.log_params(connection, id, params | ({HOSTILE[0]: HOSTILE[1]} if number < 16 else {}))
            seq = tracked.seq_of(connection, id)
            found = [Point(key, draw.random(), started // 1000, 0) for key in ("auc", "loss", "f1")]
            points.append(connection, seq, found)
            if number % 100 == 99:
                tracked.update(connection, id, status="failed", ended=started + 5_000_000)
            elif number < RUNS - 3:
                tracked.update(connection, id, status="finished", ended=started + 60_000_000)
        seq = tracked.seq_of(connection, f"{1:032x}")
        for start in range(0, LONG, 10_000):
            steps = range(start, start + 10_000)
            points.append(connection, seq, [Point("long", value_at(step), NOW // 1000 + step, step) for step in steps])
        points.fold(connection, seq)
        odd = [math.nan, math.inf, -math.inf, 0.5]
        points.append(connection, seq, [Point("odd", value, NOW // 1000 + n, n) for n, value in enumerate(odd)])
    return folder


def value_at(step: int) -> float:
    """Of the long metric."""
    return SPIKE if step == SPIKE_STEP else 0.1 + 0.1 * math.sin(step / 5000)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory, person_seed: Path) -> Path:
    """The same, for the tests of one module, which may change it."""
    return Path(shutil.copytree(person_seed, tmp_path_factory.mktemp("person") / person_seed.name, symlinks=True))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, large_seed: Path) -> Path:
    return Path(shutil.copytree(large_seed, tmp_path_factory.mktemp("large") / large_seed.name))


@pytest.fixture(scope="module")
def small_server(person: Path) -> Iterator[Served]:
    """Of the project that a person has."""
    served = Served(person)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def large_server(large: Path) -> Iterator[Served]:
    """Of the one with 10,000 runs."""
    served = Served(large)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """Of a module, as Playwright keeps a loop of its own while it is there, which other tests stumble over."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(chromium), args=list(FLAGS))
        yield found
        found.close()


class Visitor:
    """A browser window. What no page may do is looked for at the end: errors on the console, requests to elsewhere."""

    def __init__(self, browser: Browser, **how: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.expected: tuple[str, ...] = ()
        """Beginnings of errors that the test itself makes."""
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_default_timeout(15_000)

    def go(self, url: str) -> Page:
        answer = self.page.goto(url)
        if answer and answer.status >= 400:  # which the browser tells of on its console
            self.expected += ("Failed to load resource: the server responded with a status of 4",)
        return self.page

    def end(self) -> None:
        here = {urlsplit(url).netloc for url in self.requests if not url.startswith(("data:", "blob:"))}
        self.context.close()
        assert len(here) <= 1, f"asked elsewhere: {here}"
        unexpected = [error for error in self.errors if not error.startswith(self.expected or ("\0",))]
        assert not unexpected, unexpected


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    found = Visitor(browser)
    yield found
    found.end()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Visitors of other kinds: `visit(color_scheme="dark")`, `visit(java_script_enabled=False)`."""
    found: list[Visitor] = []

    def make(**how: Any) -> Visitor:
        found.append(Visitor(browser, **how))
        return found[-1]

    yield make
    for one in found:
        one.end()


# -- pages without a browser and a server around them ----------------------------------------------------------------


class Pages:
    """As a proxy shows them: below /bis. They are asked in a thread, as Playwright has the loop of this one."""

    def __init__(self, application: Application) -> None:
        self._guard = Guard(application, application.desk, root="/bis")
        self._thread = ThreadPoolExecutor(1)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self._thread.submit(asyncio.run, self._asked("GET", path, **more)).result()

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self._thread.submit(asyncio.run, self._asked("POST", path, **more)).result()

    def close(self) -> None:
        self._thread.shutdown()

    async def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._guard, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/bis") as client:
            return await client.request(method, path, **more)


@pytest.fixture
def ledger(ledger_place: Any) -> Iterator[SqlLedger]:
    """One that is empty, of each kind."""
    with open_ledger(ledger_place) as found:
        with found.database.writing():
            pass  # it is there from now on, as with a server
        yield found


@pytest.fixture
def pages(ledger: SqlLedger, tmp_path: Path) -> Iterator[Pages]:
    """Of that ledger."""
    with open_store(tmp_path / "store") as store:
        desk = Desk(ledger.database, store, tmp_path / "uploads")
        found = Pages(Application(desk))
        yield found
        found.close()
        desk.close()


def logged(ledger: SqlLedger, number: int, started: int, **metrics: list[float]) -> str:
    """A run of a client, with the values of its metrics a second apart; its id."""
    id = f"{number:032x}"
    with ledger.database.writing() as connection:
        tracked.create(connection, id, experiment=0, name=f"run-{number}", user="ana", started=started, tags={})
        seq = tracked.seq_of(connection, id)
        for key, values in metrics.items():
            found = [Point(key, value, started // 1000 + 1000 * n, n) for n, value in enumerate(values)]
            points.append(connection, seq, found)
    return id


def begun(ledger: SqlLedger, number: int, **parts: str) -> Run:
    """A run of bis that has these parts until now."""
    run = Run(
        id=f"{number:012x}",
        name=f"own-{number}",
        command=("x",),
        host="gpu-3",
        started=f"2026-01-0{number}T00:00:00.000000Z",
        status="running",
        parts={
            kind: Part(kind=kind, digest=Digest("b3:" + parts[kind] * 64), facts={})
            for kind in get_args(PartKind)
            if kind in parts
        },
    )
    ledger.begin(run)
    return run
