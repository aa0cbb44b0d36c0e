"""Search: one word, looked for in everything, with how much there is."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.pages.conftest import NOW, Pages

from bis.ledger import anywhere, tracked
from bis.ledger.runs import SqlLedger, open_ledger

BY_NAME, BY_ID = "runs by name", "runs by id"


def found(server: Any, text: str) -> dict[str, Any]:
    answer = httpx.get(f"{server.url}/search.json", params={"q": text}).json()
    return {kind["name"]: kind for kind in answer["kinds"]}


def test_a_key_leads_to_the_field_and_a_word_to_what_is_called_so(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/models")
    page.keyboard.press("/")
    page.keyboard.type("first")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=first")
    links = page.locator("section", has_text="Runs by name").locator("a")
    assert links.all_inner_texts() == ["first", "first-repeat"]
    links.first.click()
    page.wait_for_url("**/runs/*")
    page.go_back()
    assert page.locator("#q").input_value() == "first"


def test_everything_is_found_by_what_people_know_of_it(small_server: Any) -> None:
    run = httpx.get(f"{small_server.url}/runs/first.json").json()["run"]
    names = {
        run["id"][:6]: BY_ID,
        "BASELINE": "runs by note or command",
        "train.py": "runs by note or command",
        "note=<script": "tags",
        "churn": "models",
        "champion": "models",
        "customers": "data sets",
        "customers.csv": "files of runs",
        run["parts"]["environment"]["digest"][:12]: "environments",
        run["host"]: "machines",
        run["parts"]["code"]["facts"]["revision"][:8]: "commits",
        next(one["digest"] for one in run["outputs"] if one["path"] == "model.json"): "contents of files",
        "models:/churn@champion": "this",
        "data:/customers@v1": "this",
    }
    for text, kind in names.items():
        hits = found(small_server, text)
        assert kind in hits, (text, list(hits))
        for hit in hits[kind]["hits"]:
            answer = httpx.get(f"{small_server.url}{hit['path']}", params=hit["query"])
            assert answer.status_code == 200, hit


def test_a_package_leads_to_the_environments_that_have_it(small_server: Any) -> None:
    (environment,) = httpx.get(f"{small_server.url}/environments.json").json()["environments"]
    packages = httpx.get(f"{small_server.url}/environments/{environment['digest']}.json").json()["packages"]
    one = packages[0]
    for text in (one["name"][:4], f"{one['name']}=={one['version']}"):
        hits = found(small_server, text)["environments"]["hits"]
        assert f"{one['name']} {one['version']}" in [hit["detail"] for hit in hits]


def test_a_filter_leads_to_the_runs_and_a_wrong_one_says_what_was_meant(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/search")
    page.locator("#q").fill("metrics.auc > 0.9")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?filter=metrics.auc*")
    page = visitor.go(f"{small_server.url}/search?q=parms.lr+%3D+1")
    assert "params" in page.locator("[role=alert]").inner_text()


def test_what_is_called_nothing_like_it_is_said(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/search?q=nothing-like-this")
    assert "nothing-like-this" in page.locator(".empty").inner_text()


def test_counts_are_those_of_the_ledger_and_what_is_listed_is_part_of_them(large_server: Any, large: Path) -> None:
    names = found(large_server, "adam-77")[BY_NAME]
    with open_ledger(large / ".bis" / "ledger") as ledger, ledger.database.reading() as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM runs WHERE name LIKE '%adam-77%'").fetchall()
    assert (names["total"], len(names["hits"]), names["hits"][0]["name"]) == (count, 10, "adam-77")
    more = names["more"]
    assert httpx.get(f"{large_server.url}/runs.json", params=more["query"]).json()["matching"] == count
    (value,) = found(large_server, "lr=0.01")["params"]["hits"][:1]
    runs = httpx.get(f"{large_server.url}/runs.json", params=value["query"]).json()["matching"]
    assert value["detail"] == f"{runs:,} runs"


def test_hostile_names_are_found_as_they_are(large_server: Any, visitor: Any) -> None:
    page = visitor.go(f"{large_server.url}/search?q=%3Cscript%3E")
    assert '<script>document.title="caught"</script>' in page.inner_text("main")
    assert page.title() != "caught"
    for text in ("'; DROP", "%", "_", "\\", "100%_\\'", "{{ 7"):
        answer = httpx.get(f"{large_server.url}/search.json", params={"q": text})
        assert answer.status_code == 200
        for kind in answer.json()["kinds"]:
            for hit in [*kind["hits"], *([kind["more"]] if kind["more"] else [])]:
                assert httpx.get(f"{large_server.url}{hit['path']}", params=hit["query"]).status_code == 200, hit


def test_what_was_looked_at_is_said_where_it_is_not_all(large: Path) -> None:
    with open_ledger(large / ".bis" / "ledger") as ledger, ledger.database.reading() as connection:
        assert anywhere.runs_that_say(connection, "x", 10).looked == anywhere.NEAR
        assert anywhere.runs_named(connection, "%", 10).total == 0
        before = os.times()
        for text in ("adam", "0.1", "nothing"):
            anywhere.runs_named(connection, text, 10)
            anywhere.values(connection, "params", text, 10)
            anywhere.values(connection, "tags", text, 10)
            anywhere.runs_that_say(connection, text, 10)
        after = os.times()
    assert after.user + after.system - before.user - before.system < 1


@pytest.mark.parametrize("text", ["", " ", "x" * 5000])
def test_any_text_has_an_answer(small_server: Any, text: str) -> None:
    assert httpx.get(f"{small_server.url}/search", params={"q": text}).status_code == 200


def test_letters_that_stand_for_others_in_a_filter_are_not_promised_to_find_the_same(
    ledger: SqlLedger, pages: Pages
) -> None:
    for number in range(30):
        with ledger.database.writing() as connection:
            name = f"run_{number}" if number % 2 else f"run-{number}"
            tracked.create(
                connection, f"{number:032x}", experiment=0, name=name, user="", started=NOW + number, tags={}
            )
    for text, word in (("run_", "all that are like it"), ("run", "all of them")):
        kinds = {kind["name"]: kind for kind in pages.get("/search.json", params={"q": text}).json()["kinds"]}
        assert kinds[BY_NAME]["total"] == (15 if text == "run_" else 30)
        assert kinds[BY_NAME]["more"]["name"] == word
