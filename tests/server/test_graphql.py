"""What MLflow's pages ask in GraphQL, and how many calls it takes to answer that."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from bis.ledger.runs import open_ledger
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.mlflow import graphql
from bis.store.local import open_store

API = "/api/2.0/mlflow"
QUERY = """query Q($in: MlflowSearchRunsInput) { mlflowSearchRuns(input: $in) { runs {
    info { runId runName } experiment { name } modelVersions { name version } } } }"""


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    with open_ledger(tmp_path / "ledger") as ledger, open_store(tmp_path / "store") as store:
        with ledger.database.writing():  # there from now on
            pass
        desk = Desk(ledger.database, store, tmp_path / "uploads")
        yield Application(desk)
        desk.close()


def test_experiments_and_versions_of_many_runs_are_asked_for_once(application: Application) -> None:
    calls: list[str] = []

    async def work() -> dict[str, Any]:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:

            async def call(method: str, path: str, asked: Mapping[str, Any]) -> Any:
                calls.append(path)
                how: dict[str, Any] = {"params": asked} if method == "GET" else {"json": asked}
                answer = await client.request(method, f"{API}/{path}", **how)
                assert answer.status_code == 200, answer.text
                return answer.json()

            await call("POST", "registered-models/create", {"name": "churn"})
            for number in range(20):
                made = await call("POST", "runs/create", {"experiment_id": "0", "run_name": f"run-{number}"})
                run = made["run"]["info"]["run_id"]
                for _ in range(number % 3):
                    asked = {"name": "churn", "source": "s3://bucket/model", "run_id": run}
                    await call("POST", "model-versions/create", asked)
            calls.clear()
            variables = {"in": {"experimentIds": ["0"], "maxResults": 100}}
            return await graphql.answer(graphql.Asked(QUERY, variables), call)

    answer = asyncio.run(work())
    assert answer["errors"] is None
    runs = answer["data"]["mlflowSearchRuns"]["runs"]
    assert len(runs) == 20
    for run in runs:
        assert run["experiment"]["name"] == "Default"
        assert len(run["modelVersions"]) == int(run["info"]["runName"].partition("-")[2]) % 3
    assert sorted(calls) == ["experiments/get", "model-versions/search", "runs/search"]
