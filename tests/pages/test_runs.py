"""The page of all runs: what it says is what the ledger has, and all of it is in its address."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from tests.pages.conftest import NOW, Pages, logged

from bis.ledger import experiments, points, tracked
from bis.ledger.runs import SqlLedger, open_ledger
from bis.nouns.tracking import Point

MOST_SCRIPT = 60 << 10
"""Bytes of scripts, compressed."""
MOST_NODES = 2_500
MOST_CALLS = 5


def ledger_of(server: Any) -> SqlLedger:
    return open_ledger(server.folder / ".bis" / "ledger")


def counted(server: Any, where: str) -> int:
    with ledger_of(server) as ledger:
        return int(ledger.database.ask(f"SELECT count(*) FROM runs WHERE {where}")[0][0])


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("table.runs tbody a[data-row]").all_inner_texts()]


def heads(page: Any) -> list[str]:
    return [text.strip(" ▾▴\n") for text in page.locator("table.runs thead th").all_inner_texts()]


def column(page: Any, title: str) -> list[str]:
    place = heads(page).index(title) + 1
    cells = page.locator(f"table.runs tbody tr > :nth-child({place})")
    return [text.strip() for text in cells.all_inner_texts()]


# -- budgets -------------------------------------------------------------------------------------------------------


def test_it_stays_within_its_budgets(visitor: Any, large_server: Any) -> None:
    scripts: dict[str, int] = {}
    calls: list[str] = []

    def note(answer: Any) -> None:
        kind = answer.request.resource_type
        if kind == "script":
            scripts[answer.url] = len(gzip.compress(answer.body(), 9))
        if kind in ("xhr", "fetch", "eventsource"):
            calls.append(answer.url)

    visitor.page.on("response", note)
    page = visitor.go(large_server.url + "/")
    page.wait_for_timeout(1_000)
    assert len(names(page)) == 50
    assert 0 < sum(scripts.values()) <= MOST_SCRIPT
    assert page.evaluate("document.querySelectorAll('*').length") <= MOST_NODES
    assert len(calls) <= MOST_CALLS
    page.goto(large_server.url + "/?all=1&limit=50&repeats=1")
    assert page.evaluate("document.querySelectorAll('*').length") <= MOST_NODES


def test_the_numbers_it_shows_are_those_of_the_ledger(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/")
    total = counted(large_server, "removed = ''")
    assert f"50 of {total:,} matching, {total:,} in all" in page.inner_text("[role=status]")
    page.goto(large_server.url + "/?filter=" + quote("status = 'failed' and params.lr = '0.1'"))
    with ledger_of(large_server) as ledger:
        matching = ledger.count("status = 'failed' and params.lr = '0.1'")
    shown = min(50, matching)
    assert f"{shown} of {matching:,} matching, {total:,} in all" in page.inner_text("[role=status]")
    assert len(names(page)) == shown


def test_a_page_asks_the_ledger_few_questions(large_server: Any) -> None:
    """However many runs are on it, and whatever it is asked for."""
    from bis.server.pages.runs import Asked, _runs

    with ledger_of(large_server) as ledger, ledger.database.reading() as connection:
        said: list[str] = []
        connection.set_trace_callback(said.append)  # type: ignore[attr-defined]
        for asked in (Asked(limit=5), Asked(limit=500), Asked(filter="metrics.auc > 0.5", sort="-metrics.auc")):
            said.clear()
            assert _runs(connection, asked, "").runs
            assert len(said) <= 20
        connection.set_trace_callback(None)  # type: ignore[attr-defined]


# -- order, columns, filter ----------------------------------------------------------------------------------------


def test_each_column_is_a_link_that_orders_by_it(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/")
    for title in heads(page)[1:]:
        if title == "run":
            continue
        page.click(f"table.runs thead th >> text={json.dumps(title)}")
        assert page.locator("thead th[aria-sort]").inner_text().strip(" ▾▴\n") == title
        assert len(names(page)) == 50
    page.goto(large_server.url + "/?sort=-metrics.auc")
    assert page.get_attribute("th[aria-sort]", "aria-sort") == "descending"
    values = [float(text) for text in column(page, "auc")]
    assert values == sorted(values, reverse=True)
    page.click("th[aria-sort] a")
    assert page.get_attribute("th[aria-sort]", "aria-sort") == "ascending"
    with ledger_of(large_server) as ledger:
        least = ledger.rows("", ["metrics.auc"], 50)
    assert [row.id for row in least] == [one.get_attribute("value") for one in page.query_selector_all("[data-pick]")]


def test_columns_in_which_all_runs_are_the_same_are_told_beside(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/")
    assert {"auc", "loss", "f1", "lr", "layers"} <= set(heads(page))
    assert "opt" not in heads(page)
    page.click("details.same summary")
    assert "params.opt" in page.inner_text("details.same")
    page.goto(large_server.url + "/?all=1")
    assert "opt" in heads(page)


def test_columns_are_chosen_in_the_address_and_by_boxes(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/?columns=auc&columns=params.lr&columns=took")
    assert heads(page)[1:] == ["run", "auc", "lr", "took"]
    page.goto(large_server.url + "/?columns=auc,lr,took")
    assert heads(page)[1:] == ["run", "auc", "lr", "took"]
    page.click("#columns summary")
    page.uncheck("#columns input[value='metrics.auc']")
    page.check("#columns input[value='tags.team']")
    page.click("text=Show these")
    assert sorted(heads(page)[1:]) == ["lr", "run", "team", "took"]
    visitor.go(large_server.url + "/?columns=acu")
    assert "did you mean" in page.inner_text("#trouble")


def test_any_of_many_columns_is_chosen_by_its_name(served: Any, visitor: Any) -> None:
    with ledger_of(served) as ledger, ledger.database.writing() as connection:
        for number in range(2):
            started = 1_790_000_000_000_000 + number
            tracked.create(connection, f"{number:032x}", experiment=0, name="x", user="", started=started, tags={})
        found = [Point(f"m{key:04}", 0.5, 1, 0) for key in range(1200)]
        points.append(connection, tracked.seq_of(connection, f"{0:032x}"), found)
    page = visitor.go(served.url + "/?limit=1")
    page.click("#columns summary")
    page.fill("#columns input[name=columns]:not([type=checkbox])", "m1199")
    page.click("text=Show these")
    page.wait_for_selector("th:has-text('m1199')")
    page.goto(served.url + "/?filter=" + quote("metrics.m1199 > 1"))
    assert "no run has" not in page.inner_text("#runs")
    page = visitor.go(served.url + "/?columns=m1200")
    assert "no run has anything for columns=m1200" in page.inner_text("#trouble")


def test_a_filter_that_makes_no_sense_is_told_beside_its_field(visitor: Any, large_server: Any) -> None:
    page = visitor.go(
        large_server.url + "/?filter=" + quote("metrics.auc > 0.9 AND parms.lr = 1") + "&sort=-metrics.auc"
    )
    assert "position 23" in page.inner_text("#trouble")
    assert "did you mean params.lr?" in page.inner_text("#trouble")
    field = page.locator("input[name=filter]")
    assert field.input_value() == "metrics.auc > 0.9 AND parms.lr = 1"
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("metrics.auc > 0.9 AND params.lr = 0.1")
    page.keyboard.press("Enter")
    page.wait_for_selector("table.runs")
    assert parse_qs(urlsplit(page.url).query)["sort"] == ["-metrics.auc"]
    answer = httpx.get(large_server.url + "/runs.json", params={"filter": "parms.lr = 1"})
    assert answer.status_code == 400
    assert answer.json()["error"]["hint"] == "did you mean params.lr?"


def test_a_name_that_no_run_has_is_told_with_the_one_that_was_meant(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/?filter=" + quote("metrics.auk > 0.9"))
    assert "no run has metrics.auk; did you mean metrics.auc?" in page.inner_text("#runs")
    assert "No run matches" in page.inner_text(".empty")
    assert page.inner_text("[role=status]").startswith("0 of 0 matching")


# -- pages, views, groups ------------------------------------------------------------------------------------------


def test_pages_follow_one_another_and_the_browser_goes_back(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/?sort=-metrics.auc")
    first = names(page)
    page.click("a[rel=next]")
    page.wait_for_url("**next=**")
    second = names(page)
    with ledger_of(large_server) as ledger:
        expected = [row.id for row in ledger.rows("", ["metrics.auc DESC"], 100)]
    assert [one.get_attribute("value") for one in page.query_selector_all("[data-pick]")] == expected[50:]
    page.go_back()
    page.wait_for_url("**/?sort=-metrics.auc")
    assert names(page) == first
    page.go_forward()
    page.wait_for_url("**next=**")
    assert names(page) == second


def test_the_address_is_the_view(visit: Any, large_server: Any) -> None:
    page = visit().go(large_server.url + "/")
    page.fill("input[name=filter]", "params.layers >= 5")
    page.keyboard.press("Enter")
    page.wait_for_url("**filter=**")
    page.click("th a:has-text('loss')")
    page.locator("[data-pin]").nth(3).click(force=True)
    page.wait_for_selector("tr.pinned")
    text, address = page.inner_text("#runs"), page.url
    assert "filter" in address
    assert "experiment=" not in address
    other = visit().go(address)
    assert other.inner_text("#runs") == text
    plain = visit(java_script_enabled=False).go(address)
    assert names(plain) == names(page)


def selected(page: Any) -> list[str]:
    """The ids that go with a form to compare them."""
    found: list[str] = page.eval_on_selector("#compare", "form => new FormData(form).getAll('run')")
    return found


def test_what_is_selected_stays_so_on_the_next_page_of_rows(visit: Any, large_server: Any) -> None:
    page = visit().go(large_server.url + "/?filter=" + quote("name LIKE 'adam-%'"))
    first = page.get_attribute("[data-pick] >> nth=0", "value")
    page.check("[data-pick] >> nth=0")
    page.keyboard.press("n")
    page.wait_for_url("**next=**")
    assert "adam-9999" in page.inner_text("#elsewhere")
    second = page.get_attribute("tbody [data-pick] >> nth=0", "value")
    page.check("tbody [data-pick] >> nth=0")
    assert page.inner_text(".under [data-count]") == "2"
    address = page.url
    page.evaluate("htmx.trigger('#live', 'changed')")
    page.wait_for_timeout(500)
    assert selected(page) == [first, second], "also after newer rows have come"
    for other in (visit().go(address), visit(java_script_enabled=False).go(address)):
        assert other.locator("[data-pick]:checked").evaluate_all("all => all.map(one => one.value)") == [first, second]
    page.click("th a:has-text('auc')")
    page.wait_for_url("**sort=**")
    assert sorted(selected(page)) == sorted([first, second])
    page.fill("input[name=filter]", "params.layers >= 2")
    page.keyboard.press("Enter")
    page.wait_for_url("**layers**")
    assert sorted(selected(page)) == sorted([first, second])
    page.keyboard.press("c")
    page.wait_for_url("**/compare?**")
    assert page.locator(".compared > li").count() == 2
    page.click("text=Choose in the list")
    page.wait_for_url("**/?run=**")
    page.uncheck(f"#elsewhere [value='{second}'], tbody [value='{second}']")
    assert selected(page) == [first]
    assert second not in page.url
    page.goto(address)
    page.click("text=Let go of all")
    page.wait_for_selector("#elsewhere", state="hidden")
    assert not selected(page)
    assert "filter=" in page.url


def test_all_rows_of_a_page_are_selected_at_once(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/?limit=3&filter=" + quote("name LIKE 'adam-%'"))
    page.check("[data-all]")
    assert len(selected(page)) == 3
    page.uncheck("tbody [data-pick] >> nth=1")
    assert page.eval_on_selector("[data-all]", "one => one.indeterminate")
    assert len(selected(page)) == 2


def test_without_scripts_runs_of_several_pages_are_compared(visit: Any, large_server: Any) -> None:
    page = visit(java_script_enabled=False).go(large_server.url + "/?limit=2")
    for box in range(2):
        page.check(f"tbody [data-pick] >> nth={box}")
    page.click("button:has-text('Compare') >> visible=true")
    page.click("text=Choose in the list")
    page.click("a[rel=next]")
    page.check("tbody [data-pick] >> nth=0")
    page.click("text=Compare all")
    assert page.locator(".compared > li").count() == 3


def test_a_selected_run_that_is_not_there_is_left_out(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + f"/?run=nothing&run={5:032x}")
    assert page.locator("#elsewhere [data-pick]").count() == 1
    assert page.url.endswith(f"?run={5:032x}")


def test_experiments_that_are_not_listed_are_said_to_be_there(served: Any, visitor: Any) -> None:
    with ledger_of(served) as ledger, ledger.database.writing() as connection:
        for number in range(202):
            experiments.create(connection, f"e{number}", "", {}, 1)
    page = visitor.go(served.url + "/")
    options = page.locator("select[name=experiment] option")
    assert options.count() == 1 + 200 + 1
    assert "experiment=NAME" in options.last.inner_text()
    page.goto(served.url + "/?experiment=e0")
    assert page.input_value("select[name=experiment]") == "e0"


def test_groups_have_their_count_and_their_best(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/?group=params.lr&sort=-metrics.auc")
    rows = [row.split("\t") for row in page.locator("table.groups tbody tr").all_inner_texts()]
    assert {row[0]: int(row[1].replace(",", "")) for row in rows} == {
        lr: counted(large_server, f"seq IN (SELECT run FROM params WHERE key = 'lr' AND value = '{lr}')")
        for lr in ("0.1", "0.01", "0.001")
    }
    best = [float(row[3]) for row in rows]
    assert best == sorted(best, reverse=True)
    page.click("table.groups tbody a >> nth=0")
    assert rows[0][1] in page.inner_text("[role=status]")
    assert parse_qs(urlsplit(page.url).query)["filter"] == [f"params.lr = '{rows[0][0]}'"]
    answer = httpx.get(large_server.url + "/runs.csv", params={"group": "tags.hostile"})
    table = list(csv.reader(io.StringIO(answer.text)))
    assert sum(int(row[1]) for row in table[1:]) == counted(large_server, "removed = ''")


def test_groups_of_hostile_values_lead_to_their_runs(large_server: Any) -> None:
    found = httpx.get(large_server.url + "/runs.json", params={"group": "tags.hostile"}).json()["groups"]
    assert len(found) == 8
    for group in found:
        again = httpx.get(large_server.url + "/runs.json", params={"filter": group["filter"]}).json()
        assert again["matching"] == group["runs"]


def test_parts_that_differ_from_the_baseline_are_marked(visitor: Any, small_server: Any) -> None:
    with ledger_of(small_server) as ledger:
        first = next(row for row in ledger.rows() if row.name == "first")
    page = visitor.go(small_server.url + f"/?baseline={first.id}")
    assert names(page)[0] == "first"
    assert page.locator("tr.pinned").count() == 1
    marks = dict(zip(names(page), column(page, "code"), strict=True))
    assert "!" in marks["changed"]
    assert "!" not in marks["first"] + marks["second"]
    rows = [page.locator("tbody tr").nth(names(page).index(name)) for name in ("changed", "first")]
    titles = [row.locator("td.number >> nth=-2") for row in rows]
    assert titles[0].get_attribute("title") == "0.802, -0.099 from the baseline"
    assert titles[1].get_attribute("title") is None
    digests = {text.split("!")[0].strip() for text in column(page, "code")}
    assert all(4 <= len(digest) <= 8 for digest in digests)
    visitor.go(small_server.url + "/?baseline=nothing")
    assert "no run has the id" in page.inner_text("#trouble")


def test_repeats_are_shown_where_they_are_asked_for(visitor: Any, small_server: Any) -> None:
    page = visitor.go(small_server.url + "/")
    few = len(names(page))
    assert f"{few} of {few} matching, {few + 1} in all" in page.inner_text("[role=status]")
    assert "[=]" in page.inner_text("table.runs")
    assert "failed, exit 1" in column(page, "status")
    page.check("input[name=repeats]")
    page.click("button:has-text('Show')")
    assert len(names(page)) == few + 1


def test_what_it_tells_programs_is_what_the_command_tells(small_server: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bis", "-C", str(small_server.folder), "log", "--json"], capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    found = httpx.get(small_server.url + "/runs.json").json()
    own = [{key: value for key, value in run.items() if key not in ("experiment", "progress")} for run in found["runs"]]
    assert own == told["runs"]
    assert [found[name] for name in ("shown", "matching", "total")] == [
        told[name] for name in ("shown", "matching", "total")
    ]


def test_its_csv_has_the_columns_of_the_view_whole(large_server: Any) -> None:
    asked = {"columns": "auc,odd,lr", "sort": "-metrics.auc", "limit": "3"}
    table = list(csv.reader(io.StringIO(httpx.get(large_server.url + "/runs.csv", params=asked).text)))
    with ledger_of(large_server) as ledger:
        best = ledger.rows("", ["metrics.auc DESC"], 3)
    assert table[0] == ["id", "name", "metrics.auc", "metrics.odd", "params.lr"]
    assert [(row[0], float(row[2]), row[4]) for row in table[1:]] == [
        (row.id, row.metrics["auc"], row.params["lr"]) for row in best
    ]


# -- hostile names, keys, what is live -----------------------------------------------------------------------------


def test_what_users_call_things_comes_out_as_text(visitor: Any, large_server: Any) -> None:
    for place in ("/?sort=started&columns=tags.hostile&all=1", "/?group=tags.hostile", "/?sort=started&all=1"):
        page = visitor.go(large_server.url + place)
        page.wait_for_timeout(300)
        assert page.title().startswith("Runs")
        assert page.locator("main script, main img").count() == 0
        assert "<script>document.title" in page.inner_text("main")
    nasty = '"><img src=x onerror=document.title="caught">'
    for name in ("filter", "sort", "group", "columns", "baseline", "experiment", "next", "asof"):
        page = visitor.go(large_server.url + f"/?{name}={quote(nasty)}")
        assert page.locator("main img").count() == 0
        assert page.title().startswith("Runs")
        assert page.locator("#trouble a").inner_text() == f"Leave out {name}"


def test_it_is_used_by_keys_alone(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/?filter=" + quote("name LIKE 'adam-%'"))
    ids = [one.get_attribute("value") for one in page.query_selector_all("[data-pick]")]
    page.keyboard.press("?")
    listed = page.inner_text("dialog.keys")
    for word in ("Next row", "Row before", "Select the row", "Compare the selected runs", "Difference", "Open the row"):
        assert word in listed
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.keys", state="detached")
    for key in "jxjjjkx":
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.closest('tr').id") == f"r{ids[2]}"
    assert page.locator("[data-count]").inner_text() == "2"
    page.keyboard.press("c")
    page.wait_for_url("**/compare?**")
    assert parse_qs(urlsplit(page.url).query)["run"] == [ids[0], ids[2]]
    page.go_back()
    page.keyboard.press("j")
    page.keyboard.press("d")
    page.wait_for_url("**/compare?**")
    assert parse_qs(urlsplit(page.url).query)["run"] == [ids[1], ids[0]]
    page.go_back()
    page.keyboard.press("j")
    page.keyboard.press("o")
    page.wait_for_url(f"**/runs/{ids[0]}")


def test_keys_are_letters_where_one_writes(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/")
    page.keyboard.press("f")
    page.keyboard.type("jxc?")
    assert page.input_value("input[name=filter]") == "jxc?"
    assert page.locator("dialog.keys").count() == 0


def test_rows_stay_where_newer_ones_cannot_be_had(visitor: Any, large_server: Any) -> None:
    page = visitor.go(large_server.url + "/?sort=metrics.auc")
    before = names(page)
    visitor.expected = ("Failed to load resource: the server responded with a status of 500",)
    page.route("**/?sort=metrics.auc", lambda route: route.fulfill(status=500, body="<h1>nothing</h1>"))
    with page.expect_response("**/?sort=metrics.auc"):
        page.evaluate("htmx.trigger('#live', 'changed')")
    page.wait_for_timeout(300)
    assert names(page) == before


@pytest.fixture
def served(tmp_path: Path) -> Any:
    from tests.pages.conftest import Served

    served = Served(tmp_path)
    yield served
    served.stop()


def test_a_run_that_begins_is_there_without_loading_the_page_again(served: Any, visitor: Any) -> None:
    page = visitor.go(served.url + "/")
    assert "No runs are recorded here yet" in page.inner_text(".empty")
    with ledger_of(served) as ledger:
        for number, name in enumerate(("early", "late")):
            with ledger.database.writing() as connection:
                started = 1_790_000_000_000_000 + number
                tracked.create(connection, f"{number:032x}", experiment=0, name=name, user="", started=started, tags={})
                tracked.log_params(connection, f"{number:032x}", {"max_steps": "200"})
            page.wait_for_selector(f"a[data-row]:has-text('{name}')")
            if name == "early":
                page.check("[data-pick]")
                page.focus("a[data-row]")
        assert names(page) == ["late", "early"]
        assert page.is_checked(f"[data-pick][value='{0:032x}']")
        assert page.evaluate("document.activeElement.textContent") == "early"
        with ledger.database.writing() as connection:
            points.append(connection, tracked.seq_of(connection, f"{1:032x}"), [Point("loss", 0.5, 1, 50)])
        page.wait_for_selector("progress")
        assert "running, 50 of 200" in column(page, "status")
        assert page.get_attribute("progress", "value") == "50.0"


def test_a_page_whose_scripts_come_one_by_one_listens_too(visitor: Any, small_server: Any) -> None:
    def later(route: Any) -> None:
        time.sleep(0.5)
        route.continue_()

    visitor.page.route("**/hx-sse.min.js", later)
    with visitor.page.expect_request("**/runs/live*"):
        visitor.go(small_server.url + "/")


def test_a_run_whose_bis_was_killed_is_not_said_to_run_for_ever(
    served: Any, visitor: Any, tmp_path: Path, training_python: Path
) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(5)\n")
    command = [sys.executable, "-m", "bis", "run", "--name", "slow", "--", str(training_python), "slow.py"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        assert running.stdout
        assert b"begun" in running.stdout.readline()
        page = visitor.go(served.url)
        page.locator("tbody tr", has_text="running").wait_for()
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        page.locator("tbody tr", has_text="running").wait_for(state="detached", timeout=60_000)
        assert httpx.get(f"{served.url}/runs.json").json()["runs"][0]["status"] in ("finished", "lost")
    finally:
        running.kill()
        running.wait()


def test_an_order_by_nothing_is_that_of_time(ledger: SqlLedger, pages: Pages) -> None:
    ids = [logged(ledger, number, NOW + number, loss=[0.5]) for number in range(3)]
    assert [run["id"] for run in pages.get("/runs.json", params={"sort": "-"}).json()["runs"]] == ids[::-1]
    assert pages.get("/runs.json", params={"sort": "-", "group": "user"}).json()["matching"] == 1


def test_none_and_too_many_runs_are_not_tagged(ledger: SqlLedger, pages: Pages) -> None:
    word = "a" * 43
    for runs, said in ((" ", "0 are named"), (" ".join(f"{number:032x}" for number in range(501)), "501 are named")):
        form = {"csrf": word, "runs": runs, "untag": "team"}
        answer = pages.post("/tag", data=form, headers={"cookie": f"bis-csrf={word}"})
        assert (answer.status_code, said in answer.text) == (400, True)
