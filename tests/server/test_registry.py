"""The model registry over HTTP, as MLflow's clients speak to it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

API = "/api/2.0/mlflow"


@pytest.fixture
def call(server: Any) -> Any:
    """`call("POST", "registered-models/create", name="churn")`: status and answer."""

    def ask(method: str, path: str, **asked: Any) -> tuple[int, Any]:
        given: dict[str, Any] = {"params": asked} if method == "GET" else {"json": asked}
        answer = server.http.request(method, f"{API}/{path}", **given)
        return answer.status_code, answer.json()

    return ask


@pytest.fixture
def churn(call: Any) -> Any:
    """A model with two versions, of which the second is champion."""
    assert call("POST", "registered-models/create", name="churn")[0] == 200
    for number in ("1", "2"):
        status, told = call(
            "POST", "model-versions/create", name="churn", source=f"runs:/{number}/model", run_id=number
        )
        assert (status, told["model_version"]["version"]) == (200, number)
    assert call("POST", "registered-models/alias", name="churn", alias="champion", version="2") == (200, {})
    return call


def test_a_model_is_shown_with_its_newest_versions_and_aliases(churn: Any) -> None:
    churn("POST", "model-versions/transition-stage", name="churn", version="1", stage="production")
    status, told = churn("GET", "registered-models/get", name="churn")
    model = told["registered_model"]
    assert status == 200
    assert model["aliases"] == [{"alias": "champion", "version": "2"}]
    assert {(one["version"], one["current_stage"]) for one in model["latest_versions"]} == {
        ("1", "Production"),
        ("2", "None"),
    }
    assert churn("GET", "registered-models/alias", name="churn", alias="champion")[1]["model_version"]["version"] == "2"
    assert churn("POST", "registered-models/get-latest-versions", name="churn", stages=["Production"])[1][
        "model_versions"
    ][0]["version"] == ("1")


def test_what_clients_change_stands_in_the_history(server: Any, churn: Any) -> None:
    churn("POST", "model-versions/set-tag", name="churn", version="1", key="ok", value="yes")
    words = [sys.executable, "-m", "bis", "-C", str(server.folder), "model", "history", "churn", "--json"]
    told = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert [(one["action"], one["version"]) for one in told["events"]] == [
        ("tagged", 1),
        ("alias", 2),
        ("created", 2),
        ("created", 1),
        ("created", None),
    ]


@pytest.mark.parametrize(
    ("method", "path", "asked", "status", "code", "said"),
    [
        ("GET", "registered-models/get", {"name": "x"}, 404, "RESOURCE_DOES_NOT_EXIST", "with name=x not found"),
        ("GET", "registered-models/get", {}, 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter"),
        ("POST", "registered-models/create", {"name": "a/b"}, 400, "INVALID_PARAMETER_VALUE", "cannot contain"),
        ("POST", "registered-models/create", {"name": ".."}, 400, "INVALID_PARAMETER_VALUE", "'..'"),
        ("POST", "registered-models/create", {"name": "churn"}, 400, "RESOURCE_ALREADY_EXISTS", "already exists"),
        ("GET", "model-versions/get", {"name": "churn", "version": "9"}, 404, "RESOURCE_DOES_NOT_EXIST", "version=9"),
        ("GET", "model-versions/get", {"name": "churn", "version": "x"}, 400, "INVALID_PARAMETER_VALUE", "got 'x'"),
        (
            "GET",
            "model-versions/get",
            {"name": "churn", "version": "9" * 40},
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "not found",
        ),
        (
            "GET",
            "registered-models/alias",
            {"name": "churn", "alias": "none"},
            400,
            "INVALID_PARAMETER_VALUE",
            "none not found",
        ),
        (
            "POST",
            "registered-models/alias",
            {"name": "churn", "alias": "Latest", "version": "1"},
            400,
            "INVALID_PARAMETER_VALUE",
            "reserved",
        ),
        (
            "GET",
            "registered-models/search",
            {"filter": "' OR 1=1 --"},
            400,
            "INVALID_PARAMETER_VALUE",
            "Invalid clause(s)",
        ),
        ("GET", "registered-models/search", {"page_token": "@@"}, 400, "INVALID_PARAMETER_VALUE", "page token"),
        ("GET", "registered-models/search", {"max_results": "0"}, 400, "INVALID_PARAMETER_VALUE", "positive integer"),
        (
            "POST",
            "model-versions/transition-stage",
            {"name": "churn", "version": "1", "stage": "live"},
            400,
            "INVALID_PARAMETER_VALUE",
            "Value must be one of None, Staging, Production, Archived.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words_that_clients_know(
    churn: Any, method: str, path: str, asked: dict[str, str], status: int, code: str, said: str
) -> None:
    got, told = churn(method, path, **asked)
    assert (got, told["error_code"]) == (status, code)
    assert said in told["message"]


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "model",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts://host/..%2f..%2fetc",
        "s3:/bucket/a/../../b",
        "http://host/a%252e%252e/%252e%252e/b",
        "http://host/a%00",
        "models:/churn/99",
        "models:/m-00000000000000000000000000000000",
    ],
)
def test_a_source_outside_the_artifacts_is_refused(churn: Any, source: str) -> None:
    status, told = churn("POST", "model-versions/create", name="churn", source=source)
    assert 400 <= status < 500, told
    assert len(churn("GET", "model-versions/search")[1]["model_versions"]) == 2


def test_a_copy_leads_to_the_files_of_the_first(churn: Any) -> None:
    churn("POST", "model-versions/create", name="churn", source="models:/churn/2")
    told = churn("GET", "model-versions/get-download-uri", name="churn", version="3")[1]
    assert told == {"artifact_uri": "runs:/2/model"}
    assert churn("GET", "model-versions/get", name="churn", version="3")[1]["model_version"]["run_id"] == "2"


def test_pages_of_a_search_follow_one_another(call: Any) -> None:
    for number in range(7):
        call("POST", "registered-models/create", name=f"m{number}", tags=[{"key": "odd", "value": str(number % 2)}])
    found, token = [], ""
    while True:
        told = call("GET", "registered-models/search", max_results=3, page_token=token, filter="tags.odd = '0'")[1]
        found += [model["name"] for model in told["registered_models"]]
        if not (token := told.get("next_page_token", "")):
            break
    assert found == ["m0", "m2", "m4", "m6"]


def test_conditions_that_are_enforced_hold_for_clients_too(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "bis.toml").write_text('[promotion.champion]\ntags = ["reviewed=yes"]\nenforce = true\n')
    http = serving().http
    http.post(f"{API}/registered-models/create", json={"name": "churn"})
    http.post(f"{API}/model-versions/create", json={"name": "churn", "source": "s3://bucket/model"})
    asked = {"name": "churn", "alias": "champion", "version": "1"}
    refused = http.post(f"{API}/registered-models/alias", json=asked)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "models:/churn/1 has no tag reviewed" in refused.json()["message"]
    assert http.get("/api/bis/1/models/churn/history").json()["events"][0]["action"] == "refused"
    assert http.post(f"{API}/registered-models/alias", json={**asked, "alias": "other"}).status_code == 200
    tag = {"name": "churn", "version": "1", "key": "reviewed", "value": "yes"}
    assert http.post(f"{API}/model-versions/set-tag", json=tag).status_code == 200
    assert http.post(f"{API}/registered-models/alias", json=asked).status_code == 200
