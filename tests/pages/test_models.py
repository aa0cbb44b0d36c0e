"""Registered models: what is in use, what was, who changed it; promoted and rolled back from the page."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from tests.pages.conftest import Pages, logged

from bis.ledger import registry
from bis.ledger.runs import SqlLedger
from bis.nouns.model import By

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


def registered(ledger: SqlLedger, versions: int, **aliases: int) -> None:
    """A model with so many versions of one run, one made each second, and aliases that mean some of them."""
    run = logged(ledger, 1, 0, auc=[0.5])
    with ledger.database.writing() as connection:
        registry.create(connection, "many", By("ana", 0))
        for number in range(1, versions + 1):
            registry.add_version(connection, "many", By("ana", number * 1_000_000), source="runs:/1/m", run=run)
        for alias, number in aliases.items():
            registry.set_alias(connection, "many", alias, number, By("ana", 10**12))


def versions_of(html: str) -> list[int]:
    """Those in the rows of the page."""
    return [int(number) for number in re.findall(r'<th scope="row"><a href="/bis/models/many/(\d+)', html)]


def test_the_versions_of_a_model_come_page_by_page_those_in_use_on_each(pages: Pages, ledger: SqlLedger) -> None:
    registered(ledger, 120, champion=30, shadow=118)
    found, next = list[list[int]](), ""
    while not found or next:
        html = pages.get("/models/many", params={"next": next} if next else {}).text
        told = pages.get("/models/many.json", params={"next": next} if next else {}).json()
        found.append([row["version"]["number"] for row in told["versions"]])
        assert (told["total"], [row["version"]["number"] for row in told["in_use"]]) == (120, [118, 30])
        assert versions_of(html) == [118, 30, *(number for number in found[-1] if number not in (118, 30))]
        assert "<small>120 versions</small>" in html
        assert f"<small>{len(found[-1])} of 120, what is in use on top</small>" in html
        assert ("First page</a>" in html, "Next page</a>" in html) == (bool(next), bool(told["next"]))
        next = told["next"]
    assert found == [list(range(120, 70, -1)), list(range(70, 20, -1)), list(range(20, 0, -1))]
    few = pages.get("/models/many.json", params={"limit": 7}).json()
    assert [row["version"]["number"] for row in few["versions"]] == list(range(120, 113, -1))


def test_a_page_of_versions_goes_on_where_it_ended_though_others_came_and_went(pages: Pages, ledger: SqlLedger) -> None:
    registered(ledger, 60)
    next = pages.get("/models/many.json").json()["next"]
    with ledger.database.writing() as connection:
        registry.add_version(connection, "many", By("ana", 10**12), source="x")
        registry.remove_version(connection, "many", 11, By("ana", 10**12))  # the last one of that page
    told = pages.get("/models/many.json", params={"next": next}).json()
    assert [row["version"]["number"] for row in told["versions"]] == list(range(10, 0, -1))
    assert told["total"] == 60
    for wrong, query in (("many", {"next": "xyz"}), ("many", {"next": next, "asof": "1 hour ago"})):
        answer = pages.get(f"/models/{wrong}", params=query)
        assert (answer.status_code, "mark of a page" in answer.text) == (400, True)


def test_at_a_moment_there_are_the_versions_of_then(pages: Pages, ledger: SqlLedger) -> None:
    registered(ledger, 60, champion=60)
    told = pages.get("/models/many.json", params={"asof": "1970-01-01T00:00:55Z"}).json()
    assert (told["total"], told["versions"][0]["version"]["number"], told["in_use"]) == (55, 55, [])
    further = pages.get("/models/many.json", params={"asof": "1970-01-01T00:00:55Z", "next": told["next"]}).json()
    assert [row["version"]["number"] for row in further["versions"]] == [5, 4, 3, 2, 1]


def test_of_very_many_aliases_and_versions_some_are_shown_and_all_are_counted(pages: Pages, ledger: SqlLedger) -> None:
    registered(ledger, 120, **{f"v{number}": number for number in range(1, 120)}, champion=1)
    html = pages.get("/models/many").text
    assert versions_of(html)[:50] == list(range(119, 69, -1))
    assert html.count('class="card"') == 50
    assert '<strong>champion</strong> → <a href="/bis/models/many/1">' in html
    assert "50 of 120 aliases" in html
    assert "bis model alias many" in html
    one = pages.get("/models/many/7").text
    assert re.findall(r'<option value="(\d+)">', one) == [str(number) for number in range(120, 20, -1)]
    assert 'name="other" value="120"' in one


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
