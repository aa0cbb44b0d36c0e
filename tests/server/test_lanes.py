"""Questions that take long, and those that are answered at once: which wait for which."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bis.ledger.connection import Connection
from bis.ledger.runs import open_ledger
from bis.server.app import Application
from bis.server.desk import SEARCHERS, Desk
from bis.server.guard import Guard, Limits, Rules
from bis.store.local import open_store

API = "/api/2.0/mlflow"
QUICK = (
    ("GET", "/health", {}),
    ("GET", f"{API}/experiments/get?experiment_id=0", {}),
    ("GET", f"{API}/registered-models/get?name=churn", {}),
    ("GET", f"{API}/model-versions/get?name=churn&version=1", {}),
    ("GET", f"{API}/metrics/get-history?run_id=%s&metric_key=loss", {}),
    ("GET", f"{API}/artifacts/list?run_id=%s", {}),
    ("GET", "/api/bis/1/runs/%s", {}),
    ("POST", f"{API}/runs/log-metric", {"run_id": "%s", "key": "loss", "value": 1, "timestamp": 1}),
)
SLOW = (
    ("POST", f"{API}/runs/search", {"experiment_ids": ["0"]}),
    ("POST", f"{API}/experiments/search", {"max_results": 10}),
    ("POST", f"{API}/experiments/search-datasets", {"experiment_ids": ["0"]}),
    ("POST", f"{API}/logged-models/search", {"experiment_ids": ["0"]}),
    ("GET", f"{API}/registered-models/search", {}),
    ("GET", f"{API}/model-versions/search", {}),
    ("GET", f"{API}/metrics/get-history-bulk?run_id=%s&metric_key=loss", {}),
    ("GET", f"{API}/metrics/get-history-bulk-interval?run_ids=%s&metric_key=loss", {}),
    ("GET", "/api/bis/1/runs", {}),
    ("GET", "/api/bis/1/experiments", {}),
    ("GET", "/api/bis/1/models", {}),
    ("GET", "/api/bis/1/models/churn", {}),
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_ledger(tmp_path / "ledger") as ledger, open_store(tmp_path / "store") as store:
        with ledger.database.writing():
            pass
        desk = Desk(ledger.database, store, tmp_path / "uploads")
        yield desk
        desk.close()


def asked(desk: Desk, work: Callable[[httpx.AsyncClient], Awaitable[None]], limits: Limits | None = None) -> None:
    async def run() -> None:
        transport = httpx.ASGITransport(Guard(Application(desk), desk, rules=Rules(open=True), limits=limits))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=30) as client:
            await work(client)

    asyncio.run(run())


async def filled(client: httpx.AsyncClient) -> str:
    """The id of a run with a metric and a version of a model."""
    run: str = (await client.post(f"{API}/runs/create", json={"experiment_id": "0"})).json()["run"]["info"]["run_id"]
    for path, what in (
        ("runs/log-metric", {"run_id": run, "key": "loss", "value": 1, "timestamp": 1}),
        ("registered-models/create", {"name": "churn"}),
        ("model-versions/create", {"name": "churn", "source": "s3://bucket/model"}),
    ):
        assert (await client.post(f"{API}/{path}", json=what)).status_code == 200
    return run


async def call(client: httpx.AsyncClient, method: str, path: str, what: Any, run: str) -> int:
    body = {key: value % run if value == "%s" else value for key, value in what.items()} or None
    return (await client.request(method, path % run if "%s" in path else path, json=body)).status_code


def test_searches_that_take_long_hold_up_no_question_that_is_answered_at_once(desk: Desk) -> None:
    release = threading.Event()

    def long(_: Connection) -> None:
        assert release.wait(60)

    async def work(client: httpx.AsyncClient) -> None:
        run = await filled(client)
        held = [asyncio.ensure_future(desk.search(long)) for _ in range(SEARCHERS)]
        searches = [asyncio.ensure_future(call(client, *one, run)) for one in SLOW]
        try:
            assert [await call(client, *one, run) for one in QUICK] == [200] * len(QUICK)
            assert not any(one.done() for one in (*held, *searches))
        finally:
            release.set()
        assert await asyncio.gather(*searches) == [200] * len(SLOW)
        await asyncio.gather(*held)

    asked(desk, work)


def test_a_search_that_is_given_up_ends_in_the_ledger_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i > 0) SELECT count(*) FROM n"
    ended = threading.Semaphore(0)

    def search(connection: Connection, *_: Any, **__: Any) -> Any:
        try:
            connection.execute(endless).fetchall()
        finally:
            ended.release()

    monkeypatch.setattr("bis.server.mlflow.runs.tracked.search", search)

    async def work(client: httpx.AsyncClient) -> None:
        several = [client.post(f"{API}/runs/search", json={}) for _ in range(SEARCHERS)]
        answers = await asyncio.gather(*several)
        assert {answer.status_code for answer in answers} == {503}
        assert "took too long" in answers[0].text
        for _ in range(SEARCHERS):
            assert await asyncio.to_thread(ended.acquire, timeout=30)

    asked(desk, work, Limits(seconds=0.4))
