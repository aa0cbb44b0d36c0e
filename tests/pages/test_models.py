"""Registered models: what is in use, what was, who changed it; promoted and rolled back from the page."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

IRIS = """
import sys
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

rows, kinds = load_iris(return_X_y=True)
skops.io.dump(LogisticRegression(C=float(sys.argv[1]), max_iter=500).fit(rows, kinds), "iris.skops")
"""


def test_the_list_says_what_is_in_use(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/models")
    assert "champion → version 2" in page.locator("tbody tr").inner_text()
    (model,) = httpx.get(f"{small_server.url}/models.json").json()["models"]
    assert (model["versions"], model["newest"], model["aliases"][0]["number"]) == (2, 2, 2)


def test_the_history_is_what_the_command_tells(told: Any, small_server: Any, person: Path) -> None:
    said = told(person, "model", "history", "churn")["events"]
    page = httpx.get(f"{small_server.url}/models/churn.json").json()
    assert [one["record"] for one in page["events"]] == [one["record"] for one in said]
    assert [one["reason"] for one in page["events"] if one["action"] == "alias"] == ["better", "the first"]
    assert httpx.get(f"{small_server.url}/models/churn.csv").text.count("\n") == len(said) + 1


def test_a_moment_shows_what_the_champion_was(small_server: Any, visitor: Any) -> None:
    events = httpx.get(f"{small_server.url}/models/churn.json").json()["events"]
    second = next(one for one in events if one["action"] == "alias" and one["after"] == "2")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second["made"] / 1e6))
    asof = f"{moment}.{second['made'] % 1_000_000 - 1:06d}Z"
    then = httpx.get(f"{small_server.url}/models/churn.json", params={"asof": asof}).json()
    assert [(one["alias"], one["number"]) for one in then["aliases"]] == [("champion", 1)]
    assert second["seq"] not in [one["seq"] for one in then["events"]]
    page = visitor.go(f"{small_server.url}/models?asof=2001-01-01")
    assert "by then" in page.locator(".empty").inner_text()


def test_a_version_says_what_it_was_made_of(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/models/churn/1")
    assert "identical" in page.inner_text("main")
    page.get_by_role("link", name="first", exact=True).click()
    page.wait_for_url("**/runs/*")


def test_the_difference_is_what_the_command_tells(
    told: Any, served: Any, visitor: Any, tmp_path: Path, models_python: Path
) -> None:
    (tmp_path / "train.py").write_text(IRIS)
    for strength in ("0.1", "1"):
        for words in (
            ("run", "--name", f"iris-{strength}", "--", str(models_python), "train.py", strength),
            ("model", "register", "iris", f"iris-{strength}"),
        ):
            subprocess.run([sys.executable, "-m", "bis", *words], cwd=tmp_path, check=True, capture_output=True)
    said = told(tmp_path, "model", "diff", "iris/1", "iris/2", "--python", str(models_python))
    server = served(tmp_path)
    try:
        found = httpx.get(f"{server.url}/models/iris/2/diff.json", params={"other": 1}).json()["difference"]
        for name in ("identities", "params", "tensors", "metrics", "parts", "changes", "files"):
            assert found.get(name) == said.get(name), name
        page = visitor.go(f"{server.url}/models/iris/2/diff?other=1")
        assert "coef_" in page.locator("[aria-label=Weights]").inner_text()
        for place in ("/models/iris/2", "/runs/iris-1/files/iris.skops"):
            page = visitor.go(server.url + place)
            assert "LogisticRegression" in page.inner_text("main")
    finally:
        server.stop()


def test_a_model_is_rolled_back_and_promoted_from_the_page(
    told: Any, visitor: Any, small_server: Any, person: Path
) -> None:
    page = visitor.go(f"{small_server.url}/models/churn")
    page.locator("summary", has_text="Roll back").click()
    assert "will mean the version that it meant before 2" in page.locator(".card details").inner_text()
    page.locator("[name=reason]").first.fill("<b>worse</b>")
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_load_state()
    assert "version 1" in page.locator(".cards .card").first.inner_text()
    assert "<b>worse</b>" in page.locator("#history + .scroll").inner_text()
    page.locator("summary", has_text="Promote").click()
    page.get_by_role("button", name="Promote").click()
    page.wait_for_load_state()
    assert told(person, "model", "show", "churn/2")["version"]["aliases"] == ["champion"]


def test_a_promotion_from_elsewhere_changes_nothing(small_server: Any) -> None:
    answer = httpx.post(f"{small_server.url}/models/churn/promote", data={"version": "1", "alias": "champion"})
    assert answer.status_code == 403
