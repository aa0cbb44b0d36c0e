"""The page of one run: what the command says, and what people say of it."""

import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.pages.conftest import NOW, Pages, begun, logged

from bis.ledger import tracked
from bis.ledger.runs import SqlLedger
from bis.nouns.run import Run, Usage
from bis.server.pages.usage import usage_of


def facts_of(url: str, run: str) -> Any:
    return httpx.get(f"{url}/runs/{run}.json").json()


def test_it_says_of_a_run_what_show_says(told: Any, small_server: Any, person: Path) -> None:
    said, page = told(person, "show", "first"), facts_of(small_server.url, "first")
    assert page["schema"] == "bis.page.run/1"
    for name in ("run", "tags", "verdicts", "models"):
        assert page[name] == said[name], name


def test_all_six_parts_are_there_with_what_is_missing(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/runs/first")
    kinds = [row.locator("th").inner_text() for row in page.locator(".parts tr").all()]
    assert kinds[:6] == ["code", "data", "params", "environment", "infrastructure", "machine"]
    assert page.get_by_text("every output is the same, byte for byte").count() == 1
    assert "bis repeat" in page.inner_text("main")


def test_it_is_compared_with_the_run_before_it_or_with_any_other(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/runs/changed")
    button = page.get_by_role("link", name="Compare with second")
    assert button.get_attribute("title") == "The run before it, of the same command"
    page.keyboard.press("d")
    page.wait_for_url("**/compare?**")
    assert [one.split()[0] for one in page.locator(".compared li").all_inner_texts()] == ["second", "changed"]
    page.goto(f"{small_server.url}/runs/second")
    assert page.get_by_role("link", name="Compare with first").get_attribute("title") == "The run before it"
    page.goto(f"{small_server.url}/runs/first")
    assert page.get_by_role("link", name="Compare with").count() == 0, "there is none before it"
    page.keyboard.press("c")
    page.keyboard.type("broken")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?**")
    assert [one.split()[0] for one in page.locator(".compared li").all_inner_texts()] == ["broken", "first"]
    page.goto(f"{small_server.url}/runs/first-repeat")
    assert page.get_by_role("link", name="Compare with first").get_attribute("title") == "The run that it repeats"


def test_it_says_which_commit_and_files_went_in(told: Any, visitor: Any, small_server: Any, person: Path) -> None:
    parts = told(person, "show", "changed")["run"]["parts"]
    page = visitor.go(f"{small_server.url}/runs/changed")
    code, data = (page.locator(f".parts tr:has(th:has-text('{kind}'))") for kind in ("code", "data"))
    code.locator("summary").click()
    assert parts["code"]["facts"]["revision"][:12] in code.inner_text()
    assert "train.py" in code.locator("dd", has_text="train.py").inner_text()
    (read,) = [one for one in parts["data"]["facts"]["inputs"] if one["read"]]
    assert data.locator("li > a").first.inner_text() == read["path"] == "data/customers.csv"
    data.get_by_role("link", name="customers@v2").click()
    page.wait_for_url("**/data/customers/v2*")
    page.go_back()
    page.locator(".parts th a", has_text="machine").click()
    page.wait_for_url("**/machines/*")


def test_a_run_that_failed_says_how(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/runs/broken")
    assert "failed with exit status 1" in page.locator(".how").inner_text()


def test_a_run_of_a_client_promises_no_repeat(visitor: Any, large_server: Any) -> None:
    page = visitor.go(f"{large_server.url}/runs/{20:032x}")
    assert "cannot be repeated from here" in page.inner_text("main")
    assert "adam-20" in page.locator("h1").inner_text()


@pytest.mark.parametrize("number", range(8))
def test_what_users_call_things_comes_out_as_text(visitor: Any, large_server: Any, number: int) -> None:
    page = visitor.go(f"{large_server.url}/runs/{number:032x}")
    assert page.title() != "caught"
    assert not page.locator("main img, main script:not([src])").count()
    run = facts_of(large_server.url, f"{number:032x}")
    shown = re.sub(r"\s+", " ", page.locator("h1").inner_text())
    if run["run"]["name"].isascii():
        assert run["run"]["name"][:200] in shown


def test_a_note_is_read_as_markdown_and_can_do_nothing(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/runs/first")
    assert page.locator(".note strong").inner_text() == "baseline"
    page.locator(".say summary").click()
    page.locator("#note").fill(
        '# Heading\n\n<script>document.title="caught"</script>\n\n![x](http://x.example/p.png) [y](javascript:alert(1))'
    )
    page.get_by_role("button", name="Say it").click()
    page.wait_for_selector(".note h1")
    assert page.title() != "caught"
    assert not page.locator(".note img, .note script, .note a[href^=javascript]").count()
    assert "<script>" in page.locator(".note").last.inner_text()


def test_tags_and_names_are_said_beside_the_record(told: Any, visitor: Any, small_server: Any, person: Path) -> None:
    page = visitor.go(f"{small_server.url}/runs/changed")
    page.locator(".say summary").click()
    page.locator("#tag").fill("state")
    page.locator("#value").fill("<b>final</b>")
    page.get_by_role("button", name="Say it").click()
    page.wait_for_selector(".tag")
    assert "state=<b>final</b>" in page.locator(".tag").all_inner_texts()
    assert told(person, "show", "changed")["tags"]["state"] == "<b>final</b>"
    page.locator(".say summary").click()
    page.get_by_role("button", name="Take the tag state away").click()
    page.wait_for_load_state()
    assert "state" not in told(person, "show", "changed")["tags"]


def test_several_runs_are_tagged_at_once(told: Any, visitor: Any, small_server: Any, person: Path) -> None:
    page = visitor.go(f"{small_server.url}/")
    for name in ("first", "broken"):
        page.locator("tbody tr", has=page.get_by_role("link", name=name, exact=True)).locator("[data-pick]").check()
    page.keyboard.press("t")
    page.wait_for_url("**/tag?**")
    page.keyboard.type("batch")
    page.locator("#value").fill("<b>one</b>")
    page.get_by_role("button", name="Tag 2 runs").click()
    page.wait_for_url("**/?run=*")
    assert page.locator("tr.picked").count() == 2
    tags = {name: told(person, "show", name)["tags"].get("batch") for name in ("first", "second", "broken")}
    assert tags == {"first": "<b>one</b>", "second": None, "broken": "<b>one</b>"}
    ids = [told(person, "show", name)["run"]["id"] for name in ("first", "second")]
    page.goto(f"{small_server.url}/tag?run={ids[0]}&run={ids[1]}")
    page.get_by_role("button", name="Take batch away from 1 run").click()
    page.wait_for_url("**/?run=*")
    assert "batch" not in told(person, "show", "first")["tags"]
    answer = httpx.post(f"{small_server.url}/tag", data={"csrf": "x" * 43, "runs": ids[1], "tag": "elsewhere"})
    assert answer.status_code == 403
    assert "elsewhere" not in told(person, "show", "second")["tags"]


def test_a_form_from_elsewhere_changes_nothing(told: Any, small_server: Any, person: Path) -> None:
    url = f"{small_server.url}/runs/{told(person, 'show', 'second')['run']['id']}/say"
    for cookies, word in (({}, ""), ({}, "x" * 43), ({"bis-csrf": "a" * 43}, "b" * 43)):
        answer = httpx.post(url, data={"csrf": word, "note": "from elsewhere"}, cookies=cookies)
        assert answer.status_code == 403
    answer = httpx.post(url, data={"csrf": "a" * 43, "note": ""}, cookies={"bis-csrf": "a" * 43})
    assert answer.status_code == 400
    assert "from elsewhere" not in str(told(person, "show", "second"))


def test_a_run_is_removed_and_comes_back(told: Any, visitor: Any, small_server: Any, person: Path) -> None:
    page = visitor.go(f"{small_server.url}/runs/broken")
    page.locator(".say summary").click()
    page.get_by_role("button", name="Remove it").click()
    page.wait_for_load_state()
    page.locator(".say summary").click()
    assert told(person, "log", "--removed")["runs"][0]["name"] == "broken"
    page.get_by_role("button", name="Bring it back").click()
    page.wait_for_load_state()
    page.locator(".say summary").click()
    assert page.get_by_role("button", name="Remove it").count() == 1
    assert not told(person, "log", "--removed")["runs"]


def test_what_it_used_is_drawn_from_its_samples() -> None:
    content = b"seconds,processes,cpu_seconds,rss_bytes,read_bytes,written_bytes,gpu_percent,gpu_bytes\n"
    content += b"0,1,0,1048576,0,0,,\n1,1,0.5,2097152,0,0,,\n2,1,2.5,3145728,0,0,,\nnonsense,,,\n"

    class Kept:
        def get_bytes(self, digest: str) -> bytes:
            return content

    run = Run(id="0" * 12, name="x", command=("x",), started="", status="finished", usage=Usage(samples="b3:1"))  # type: ignore[arg-type]
    used = {one.name: one for one in usage_of(run, Kept())}  # type: ignore[arg-type]
    assert used["processors"].values == [0.5, 2.0]
    assert used["memory"].values == [1.0, 2.0, 3.0]
    assert "read" not in used
    assert used["memory"].drawing.startswith("<svg")
    assert "style=" not in used["memory"].drawing


def test_of_many_runs_within_a_run_some_are_listed_and_all_are_counted(ledger: SqlLedger, pages: Pages) -> None:
    outer = begun(ledger, 1)
    for number in range(60):
        ledger.begin(msgspec.structs.replace(outer, id=f"{number + 2:012x}", name=f"trial-{number}", parent=outer.id))
    found = pages.get(f"/runs/{outer.id}.json").json()
    assert (len(found["children"]), found["children_there"]) == (50, 60)
    assert "Runs within it <small>60, the newest 50 shown</small>" in pages.get(f"/runs/{outer.id}").text


def test_of_a_run_of_a_client_nothing_is_said_that_nobody_saw(ledger: SqlLedger, pages: Pages) -> None:
    id = logged(ledger, 1, NOW)
    with ledger.database.writing() as connection:
        tracked.update(connection, id, status="finished", ended=NOW + 1)
    text = pages.get(f"/runs/{id}").text
    assert "no file was uploaded" in text
    assert "printed nothing" not in text


def test_a_run_of_a_client_is_compared_with_the_one_before_it_in_its_experiment(
    ledger: SqlLedger, pages: Pages
) -> None:
    """Of each kind of database; so are the tags of several."""
    ids = [logged(ledger, number, NOW + number, loss=[0.5, 0.25]) for number in range(3)]
    begun(ledger, 7)
    with ledger.database.writing() as connection:
        for id in ids[:2]:
            tracked.set_tags(connection, id, {"team": "a"})
    found = [pages.get(f"/runs/{id}.json").json() for id in ids]
    assert [(one["before"]["name"], one["common"]) for one in found] == [
        ("own-7", ""),
        ("run-0", "experiment"),
        ("run-1", "experiment"),
    ]
    told = pages.get("/tag.json", params={"run": ids}).json()
    assert told["tags"] == [{"name": "team", "runs": 2}]
    listed = pages.get("/runs.json", params={"run": ids[:2], "columns": "metrics.loss"}).json()
    assert [one["name"] for one in listed["selected"]] == ["run-0", "run-1"]
    unknown = pages.get("/runs.json", params={"columns": "metrics.los"}).json()
    assert unknown["error"]["hint"] == "did you mean metrics.loss?"
