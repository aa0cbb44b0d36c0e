"""Runs side by side, and verdicts: what the pages say is what the commands say."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.ledger.runs import open_ledger
from bis.nouns.reference import parse
from bis.server.pages.sides import LINES, rows, sides, words


def test_the_page_of_two_runs_says_what_diff_says(told: Any, small_server: Any, person: Path) -> None:
    said = told(person, "diff", "second", "changed")
    page = httpx.get(f"{small_server.url}/compare.json", params={"run": ["second", "changed"]}).json()
    assert said.pop("schema") == "bis.diff/1"
    assert page["schema"] == "bis.page.compare/1"
    assert page["difference"] == said
    assert not said["same"]


def test_what_differs_is_seen_at_once_and_code_word_by_word(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/compare?run=second&run=changed")
    assert page.locator("h1").inner_text().startswith("Compare")
    marks = {
        row.locator("th").inner_text(): row.locator(".mark").inner_text()
        for row in page.locator(".judged tbody tr").all()
    }
    assert marks["code"] == "[x]"
    assert marks["data"] == "[x]"
    assert marks["environment"] == "[=]"
    assert page.locator(".sides .before mark").all_inner_texts() == ["9"]
    assert page.locator(".sides .after mark").all_inner_texts() == ["8"]


def test_what_was_printed_stands_side_by_side(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/compare?run=first&run=second")
    printed = page.locator("[aria-label='<stdout>']")
    rows = printed.locator("tr.changed")
    assert rows.first.locator("td.text").all_inner_texts() == ["step 0 loss 0.9091", "step 0 loss 0.8333"]
    assert rows.first.locator("mark").all_inner_texts() == ["9091", "8333"]
    page.goto(f"{small_server.url}/compare?run=second&run=changed")
    assert not printed.count(), "the same was printed"


def test_swapping_and_leaving_out_are_addresses(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/compare?run=second&run=changed")
    before = page.locator(".compared a:not(.drop)").all_inner_texts()
    page.get_by_role("link", name="Swap").click()
    page.wait_for_url("**/compare?*")
    assert page.locator(".compared a:not(.drop)").all_inner_texts() == before[::-1]
    page.go_back()
    assert page.locator(".compared a:not(.drop)").all_inner_texts() == before
    page.get_by_role("link", name="Leave out second").click()
    page.wait_for_url("**/compare?*")
    assert page.locator(".compared a:not(.drop)").all_inner_texts() == ["changed"]


def test_several_runs_are_a_table_of_what_differs(told: Any, small_server: Any, person: Path) -> None:
    names = ["first", "second", "changed"]
    page = httpx.get(f"{small_server.url}/compare.json", params={"run": names}).json()
    groups = {group["name"]: {row["name"]: row for row in group["rows"]} for group in page["groups"]}
    assert page.get("difference") is None
    assert groups["params"]["argument 1"]["values"] == ["0.1", "0.2", "0.2"]
    assert groups["parts"]["environment"]["same"]
    assert [float(value) for value in groups["metrics"]["auc"]["values"]] == [
        told(person, "show", name)["run"]["metrics"]["auc"] for name in names
    ]
    table = httpx.get(f"{small_server.url}/compare.csv", params={"run": names}).text.splitlines()
    assert table[0] == "kind,name,first,second,changed"
    assert "params,argument 1,0.1,0.2,0.2" in table


def test_within_several_runs_it_says_which_files_and_packages_differ(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/compare?run=first&run=second&run=changed")
    found = {
        one["name"]: one["rows"] for one in httpx.get(page.url.replace("/compare", "/compare.json")).json()["within"]
    }
    assert [row["name"] for row in found["code"]] == ["train.py"]
    before, same, other = found["code"][0]["values"]
    assert before == same != other
    assert [row["name"] for row in found["data"]] == ["data/customers.csv"]
    assert "train.py" in page.inner_text("[aria-label='Within code']")
    assert "code,train.py" in httpx.get(page.url.replace("/compare", "/compare.csv")).text
    page.locator(".compared a", has_text="in all detail").last.click()
    page.wait_for_url("**/compare?run=*&run=*")
    assert page.locator("[aria-label='train.py'] tr.changed").count() == 1


def test_more_runs_than_are_compared_are_set_against_each_other(visitor: Any, large_server: Any) -> None:
    runs = "&".join(f"run={number:032x}" for number in range(101))
    page = visitor.go(f"{large_server.url}/compare?{runs}")
    assert "/overlay?" in page.url
    assert "101 runs" in page.inner_text("h1")
    assert httpx.get(f"{large_server.url}/compare.json?{runs}").json()["error"]["what"].startswith("101 runs are named")


def test_a_run_that_is_not_there_is_named_with_what_is_near(small_server: Any) -> None:
    answer = httpx.get(f"{small_server.url}/compare", params={"run": "secnd"})
    assert answer.status_code == 404
    assert "second" in answer.text


def test_a_verdict_says_what_the_repeat_said(told: Any, visitor: Any, small_server: Any, person: Path) -> None:
    verdict = told(person, "show", "first")["verdicts"][0]
    found = httpx.get(f"{small_server.url}/verdicts/{verdict['again']}.json").json()
    assert {**verdict, "schema": found["verdict"].get("schema")} == found["verdict"]
    page = visitor.go(f"{small_server.url}/verdicts/{verdict['again']}")
    assert "identical" in page.locator("h1").inner_text()
    assert page.locator(".judged .mark").all_inner_texts().count("[=]") == len(
        [one for kind in ("parts", "metrics", "outputs") for one in verdict[kind]]
    )
    assert page.get_by_text("bis repeat").count()


def test_the_mark_of_a_run_leads_to_its_newest_verdict(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/")
    page.locator("td.verdict a", has_text="[=]").click()
    assert "first repeated as first-repeat" in page.inner_text("h1.verdict")


TRAIN = """
import pathlib, secrets
import bis

SVG = '<svg xmlns="http://www.w3.org/2000/svg" height="9" width="{}"/>'
for name in ("curve.svg", "same.svg"):
    pathlib.Path(name).write_text(SVG.format(9 if name == "same.svg" else 1 + secrets.randbelow(10**9) / 10**8))
for step in range(20):
    bis.log(step=step, loss=1 / (step + 1) + (secrets.randbelow(10**9) if step >= 12 else 0), steady=step)
"""


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory, served: Any) -> Iterator[Any]:
    """A run whose loss is drawn from a well that nobody seeds, and its repeat."""
    folder = tmp_path_factory.mktemp("parted")
    (folder / "train.py").write_text(TRAIN)
    for typed in (("run", "--name", "drawn", "--", sys.executable, "train.py"), ("repeat", "drawn")):
        done = subprocess.run([sys.executable, "-m", "bis", *typed], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    server = served(folder)
    yield server
    server.stop()


def test_a_verdict_says_at_which_step_histories_part(visitor: Any, parted: Any) -> None:
    page = visitor.go(f"{parted.url}/verdicts/drawn-repeat")
    assert page.inner_text("h1.verdict").split()[:2] == ["[x]", "different"]
    found = {one["metric"]: one for one in httpx.get(f"{parted.url}/verdicts/drawn-repeat.json").json()["partings"]}
    assert (found["loss"]["step"], found["loss"]["points"]) == (12, 13)
    assert found["loss"]["before"] != found["loss"]["after"]
    assert (found["steady"]["step"], found["steady"]["points"], found["steady"]["whole"]) == (None, 20, True)
    rows = {one.split()[0]: one for one in page.locator("[aria-label^=Histories] tbody tr").all_inner_texts()}
    assert "step 12" in rows["loss"]
    assert "none" in rows["steady"]
    page.wait_for_selector("bis-chart[data-metric=loss][data-state=drawn]")
    page.select_option("select[name=mode]", "difference")
    drawn = page.eval_on_selector("bis-chart[data-metric=loss]", "one => one.drawn.map(line => line.y)")
    assert [all(value == 0 for value in line[:12]) and all(line[12:]) for line in drawn] == [True]
    named = page.locator(".commands code").all_inner_texts()
    assert [one.split()[:2] for one in named] == [["bis", "repeat"], ["bis", "diff"]]


def test_what_came_out_otherwise_is_looked_at_from_both_sides(visitor: Any, parted: Any) -> None:
    for place in ("/verdicts/drawn-repeat", "/compare?run=drawn&run=drawn-repeat"):
        page = visitor.go(f"{parted.url}{place}")
        pictures = page.locator("figure.pair img")
        assert pictures.evaluate_all("all => all.map(one => one.alt)") == [
            "curve.svg of drawn",
            "curve.svg of drawn-repeat",
        ], "those that are the same need no look"
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
            picture.evaluate("one => one.decode()")
        links = page.locator(".judged tr", has=page.get_by_role("rowheader", name="curve.svg", exact=True)).locator("a")
        found = [httpx.get(parted.url + one.get_attribute("href")) for one in links.all()]
        assert [answer.status_code for answer in found] == [200, 200]
        assert ["drawn<" in answer.text for answer in found] == [True, False]


def test_metrics_whose_points_are_not_compared_are_counted(parted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from bis.server.pages import verdict

    monkeypatch.setattr(verdict, "METRICS", 1)
    with open_ledger(parted.folder / ".bis" / "ledger") as ledger, ledger.database.reading() as connection:
        run, again = (ledger.find(parse(name, datetime.now())) for name in ("drawn", "drawn-repeat"))
        found, unlooked = verdict._partings(connection, run, again)
    assert ([one.metric for one in found], unlooked) == (["loss"], 1)


def test_a_run_that_is_no_repeat_has_no_verdict(told: Any, small_server: Any, person: Path) -> None:
    id = told(person, "show", "second")["run"]["id"]
    answer = httpx.get(f"{small_server.url}/verdicts/{id}")
    assert answer.status_code == 404
    assert "bis repeat" in answer.text


# -- two texts side by side ------------------------------------------------------------------------------------------

TEXTS = st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=12), max_size=12)


@given(TEXTS, TEXTS)
def test_side_by_side_nothing_is_lost(before: list[str], after: list[str]) -> None:
    import difflib

    text = "\n".join(difflib.unified_diff(before, after, "a", "b", lineterm="", n=1000))
    found = rows(text)
    if before != after:
        assert ["".join(piece for piece, _ in line.before.pieces) for line in found if line.before] == before
        assert ["".join(piece for piece, _ in line.after.pieces) for line in found if line.after] == after
        assert [line.before.number for line in found if line.before] == list(range(1, len(before) + 1))
    else:
        assert not found


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [("lr = 0.1", "lr = 0.2", ["1"]), ("a b c", "a x c", ["b"]), ("something else", "completely other", [])],
)
def test_the_words_that_changed_are_marked(old: str, new: str, changed: list[str]) -> None:
    before, _ = words(old, new)
    assert [text for text, differs in before if differs] == changed


def test_a_very_long_file_is_cut_and_says_so() -> None:
    text = "@@ -1,0 +1,5000 @@\n" + "\n".join("+x" for _ in range(5000))
    found = sides(text)
    assert found.added == 5000
    assert (len(found.lines), found.more) == (LINES, 5001 - LINES)


def test_words_are_compared_as_long_as_that_is_soon_done() -> None:
    """Long lines of numbers, of which each pair takes a while."""
    lines = [" ".join(f"{number}.{line}" for number in range(200)) for line in range(400)]
    text = "@@ -1,400 +1,400 @@\n" + "\n".join([*(f"-{line}" for line in lines), *(f"+{line} 1" for line in lines)])
    found = [line for line in rows(text) if line.kind == "changed"]
    assert len(found) == 400
    assert len(found[0].after.pieces) > 1, "the first are compared"
    assert len(found[-1].after.pieces) == 1, "and the last are told as they are"
