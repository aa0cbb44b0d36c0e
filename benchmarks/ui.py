"""What looking costs: the pages of bis and MLflow's own, in one browser, over the same runs, in the same session.

    .venv/bin/python benchmarks/ui.py --mlflow VENV/bin/mlflow
    .venv/bin/python benchmarks/ui.py --mlflow VENV/bin/mlflow --runs 10000 --rounds 3

Both have the same runs and the same long metric in their databases. A round looks at both, one after the other, each
time with a browser that knows nothing yet: until the first run stands in the table, and until the long metric is drawn.
Times are what a person waits on this machine, so that only their ratio says something; bytes are all that the server
sent, compressed where it compresses. Where nothing is drawn after `--patience` seconds, that time counts: the ratio is
larger than what is shown. CPU is that of the server and all processes below it, for one page of runs of a ledger with
`--many` runs; of MLflow for the questions that its page asks.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Request, sync_playwright
from playwright.sync_api import Error as BrowserError
from tracking import Server, bis_server, fill_bis, fill_mlflow, mlflow_server, row

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
BROWSERS = ("chromium-headless-shell", "chromium")
"""The first of them that is there. Beside each page, chromium loads what its own window shows, which takes as long as a
page of ours."""
LONG = f"{0:032x}"
"""The run that has the long metric."""
WATCH = """(() => {
  const there = %s;
  const look = () => {
    if (!there()) return setTimeout(() => requestAnimationFrame(look), 10);
    requestAnimationFrame(() => { window.seen = performance.now(); });
  };
  requestAnimationFrame(look);
})()"""
"""Note in the page when something is there, in milliseconds since it was asked for: what the browser itself takes to be
told to go somewhere is no page's."""
ROW_OF_BIS = "() => document.querySelector('table.runs tbody a[data-row]')"
ROW_OF_MLFLOW = """() => [...document.querySelectorAll('a, [role=row] span')]
  .some((one) => /^run-[0-9a-f]{6}$/.test(one.textContent))"""
CHART_OF_BIS = """() => [...document.querySelectorAll('canvas')].some((canvas) => {
  if (!canvas.width || !canvas.height) return false;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let inked = 0;
  for (let at = 3; at < data.length; at += 4) inked += data[at] > 0;
  return inked > 500;
})"""
"""Whether some canvas has more on it than a few pixels."""
CHART_OF_MLFLOW = """() => [...document.querySelectorAll('.js-plotly-plot .scatterlayer path.js-line')]
  .some((path) => (path.getAttribute('d') || '').length > 100)"""
"""Whether some line has points."""
FILTERS = {
    "newest": ("", ""),
    "metric and param": ("metrics.acc > 0.5 and params.model = 'ridge'", ""),
    "the same, few match": ("metrics.acc > 0.98 and params.lr = '0.1'", ""),
    "by a metric": ("", "metrics.loss"),
    "metric and param, by a metric": ("metrics.acc > 0.5 and params.model = 'ridge'", "metrics.loss"),
}
HEAD = "\n| | bis | MLflow | ratio |\n|---|---|---|---|"
PAGES = 20
"""Requests that CPU is measured over."""


class Look(NamedTuple):
    """One look at a page."""

    seconds: float
    bytes: int
    requests: int
    given_up: bool = False


def look(browser: Browser, url: str, there: str, patience: float) -> Look:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")  # not that of a bare shell
    context.add_init_script(WATCH % there)
    page = context.new_page()
    sent: list[int] = []

    def note(request: Request) -> None:
        with contextlib.suppress(BrowserError):
            sizes = request.sizes()
            sent.append(sizes["responseBodySize"] + sizes["responseHeadersSize"])

    page.on("requestfinished", note)
    try:
        page.goto(url, wait_until="commit", timeout=patience * 1000)
        until = time.monotonic() + patience
        while not (seen := page.evaluate("window.seen")) and time.monotonic() < until:
            page.wait_for_timeout(100)
        seconds, given_up = (seen / 1000, False) if seen else (patience, True)
    except BrowserError as error:
        if "Timeout" not in str(error):
            raise
        seconds, given_up = patience, True
    page.wait_for_timeout(1000)  # what is still on its way is counted, too
    context.close()
    return Look(seconds, sum(sent), len(sent), given_up)


# -- the two of them -----------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Where the same is looked at."""

    name: str
    ours: str
    theirs: str
    there: tuple[str, str]
    """What says in each that it is."""


def pairs(experiment: str) -> Iterator[Pair]:
    yield Pair(
        "first row of the runs",
        "/",
        f"/#/experiments/{experiment}/runs",
        (ROW_OF_BIS, ROW_OF_MLFLOW),
    )
    yield Pair(
        "the long metric is drawn",
        f"/runs/{LONG}/chart?metric=long",
        f"/#/experiments/{experiment}/runs/{LONG}/model-metrics",
        (CHART_OF_BIS, CHART_OF_MLFLOW),
    )


def rounds(
    browser: Browser, urls: Sequence[str], pair: Pair, times: int, patience: float
) -> tuple[list[Look], list[Look]]:
    """Both by turns."""
    ours, theirs = [], []
    for _ in range(times):
        ours.append(look(browser, urls[0] + pair.ours, pair.there[0], patience))
        theirs.append(look(browser, urls[1] + pair.theirs, pair.there[1], patience))
    return ours, theirs


def report(name: str, ours: Sequence[Look], theirs: Sequence[Look]) -> None:
    mine, other = (statistics.median(one.seconds for one in some) for some in (ours, theirs))
    least = "over " if any(one.given_up for one in theirs) else ""
    print(row(f"{name}, s", _seconds(ours), _seconds(theirs), other / mine, least))
    mine, other = (statistics.median(one.bytes for one in some) for some in (ours, theirs))
    print(row("the same, KB", f"{mine / 1000:,.0f}", f"{other / 1000:,.0f}", other / max(mine, 1)))
    mine, other = (statistics.median(one.requests for one in some) for some in (ours, theirs))
    print(row("the same, requests", f"{mine:.0f}", f"{other:.0f}", other / max(mine, 1)), flush=True)


def _seconds(looks: Sequence[Look]) -> str:
    said = f"{statistics.median(one.seconds for one in looks):.2f}"
    return f"nothing after {said}" if all(one.given_up for one in looks) else said


def cpu_of(server: Server, ask: Callable[[], Any], times: int) -> float:
    """Seconds for one."""
    ask()  # not counted: what is done once
    before = server.cpu()
    for _ in range(times):
        ask()
    return (server.cpu() - before) / times


def asked_of_bis(server: Server, filter: str, order: str) -> None:
    asked = {name: value for name, value in (("filter", filter), ("sort", order)) if value}
    answer = server.http.get("/", params=asked)
    assert answer.status_code == 200, answer.text[:500]


def asked_of_mlflow(server: Server, experiment: str, filter: str, order: str) -> None:
    """What its page asks for the table alone: the first hundred runs."""
    asked = {"experiment_ids": [experiment], "filter": filter, "max_results": 100}
    asked["order_by"] = [f"{order} ASC" if order else "attributes.start_time DESC"]
    answer = server.http.post("/ajax-api/2.0/mlflow/runs/search", json=asked)
    assert answer.status_code == 200, answer.text[:500]


# -- the table -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def servers(folder: Path, options: argparse.Namespace, runs: int, points: int) -> Iterator[tuple[Server, Server]]:
    """Both, over the same runs, when they are calm."""
    ours, theirs = folder / "bis", folder / "mlflow"
    ours.mkdir(parents=True)
    theirs.mkdir()

    def start() -> tuple[Server, Server]:
        return bis_server(ours, ""), mlflow_server(theirs, options.mlflow, "", options.patience)

    first, second = start()  # makes the databases
    second.calm_down()
    first.close()
    second.close()
    fill_bis(ours / ".bis" / "ledger", runs, points)
    fill_mlflow(theirs / "mlflow.db", runs, points)
    first, second = start()
    try:
        second.calm_down()
        yield first, second
    finally:
        first.close()
        second.close()


def experiment_of(server: Server) -> str:
    answer = server.http.get("/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "many"})
    return str(answer.json()["experiment"]["experiment_id"])


def compare_looks(options: argparse.Namespace, folder: Path) -> None:
    chromium = next(filter(None, map(shutil.which, BROWSERS)), "")
    if not chromium:
        raise SystemExit("there is no chromium: apt install chromium-headless-shell")
    with servers(folder, options, options.runs, options.points) as both, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        told = f"{options.runs:,} runs, a metric of {options.points:,} points, {Path(chromium).name}"
        print(f"{told}; load {os.getloadavg()[0]:.1f}{HEAD}")
        for pair in pairs(experiment_of(both[1])):
            urls = [server.url for server in both]
            report(pair.name, *rounds(browser, urls, pair, options.rounds, options.patience))
        browser.close()


def compare_cpu(options: argparse.Namespace, folder: Path) -> None:
    with servers(folder, options, options.many, 1000) as (first, second):
        many = experiment_of(second)
        print(f"\n{options.many:,} runs: CPU of the server for one page; load {os.getloadavg()[0]:.1f}{HEAD}")
        for name, (filter, order) in FILTERS.items():
            ours = cpu_of(first, functools.partial(asked_of_bis, first, filter, order), PAGES)
            theirs = cpu_of(second, functools.partial(asked_of_mlflow, second, many, filter, order), PAGES // 5)
            ratio = theirs / max(ours, 1e-6)
            print(row(f"{name}, ms", f"{ours * 1000:.1f}", f"{theirs * 1000:.1f}", ratio), flush=True)


def compare(options: argparse.Namespace, folder: Path) -> None:
    if options.runs:
        compare_looks(options, folder / "few")
    if options.many:
        compare_cpu(options, folder / "many")
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mlflow", required=True, help="the command of MLflow in an environment of its own")
    parser.add_argument("--runs", type=int, default=10_000, help="to look at (default 10,000; 0: none)")
    parser.add_argument("--many", type=int, default=100_000, help="to measure CPU with (default 100,000; 0: none)")
    parser.add_argument("--points", type=int, default=1_000_000, help="of the long metric (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="looks at each page (default 3)")
    parser.add_argument("--patience", type=float, default=180, help="seconds for one look at a page (default 180)")
    for number in (signal.SIGTERM, signal.SIGHUP):  # as `timeout` sends them: servers and folders are ended, too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as folder:
        compare(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
