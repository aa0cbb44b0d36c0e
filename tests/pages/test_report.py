"""`bis export html`: runs as one file, opened in a browser from the disk, with nothing around it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from bis.ledger import points, tracked
from bis.ledger.runs import open_ledger
from bis.nouns.tracking import Point

NAMES = (
    '<script>document.title="caught"</script>',
    '"><img src=x onerror=document.title="caught">',
    "</style><script>document.title='caught'</script>",
)
"""What users call things."""
NOW = 1_790_000_000_000_000
POINTS = 20_000
SPIKE = 12_345
"""The step of the one point that is 9, where all others are 0 or 1."""


def typed(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bis", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def exported(person: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The file of some runs of a person's project."""
    folder = tmp_path_factory.mktemp("exported")

    def make(*runs: str) -> Path:
        file = folder / f"{'-'.join(runs)}.html"
        typed(person, "export", "html", *runs, "--output", str(file))
        return file

    return make


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of three runs of clients: with names that want to be markup, and metrics with one spike."""
    folder = tmp_path_factory.mktemp("odd")
    typed(folder, "run", "-q", "--", "true")
    with open_ledger(folder / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        for number, name in enumerate(NAMES):
            id = f"{number:032x}"
            tags = {"hostile": NAMES[2], "image": NAMES[1]}
            tracked.create(connection, id, experiment=0, name=name, user=NAMES[0], started=NOW, tags=tags)
            tracked.log_params(connection, id, {NAMES[0]: NAMES[1], "lr": str(number)})
            seq = tracked.seq_of(connection, id)
            values = [9.0 if step == SPIKE else float(step % 2) for step in range(POINTS)]
            found = [Point(NAMES[1], value, NOW // 1000 + step, step) for step, value in enumerate(values)]
            points.append(connection, seq, found)
            points.append(connection, seq, [Point("few", float(step), NOW // 1000, step) for step in range(5)])
            points.fold(connection, seq)
            tracked.update(connection, id, status="finished", ended=NOW + 60_000_000)
    file = folder / "odd.html"
    typed(folder, "export", "html", *(f"{number:032x}" for number in range(3)), "--output", str(file))
    return file


# -- as a browser sees it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [("first",), ("second", "changed"), ("first", "changed", "broken")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_file_opens_from_the_disk_asks_for_nothing_and_keeps_nobody_out(
    visit: Any, exported: Any, runs: tuple[str, ...], scheme: str
) -> None:
    visitor = visit(color_scheme=scheme)
    page = visitor.go(exported(*runs).as_uri())
    assert page.inner_text("h1")
    found = Axe().run(page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert [url for url in visitor.requests if not url.startswith("data:")] == [page.url]


def test_a_file_has_no_scripts_and_lets_none_run(visit: Any, exported: Any, odd: Path) -> None:
    visitor = visit()
    visitor.expected = ("Executing inline script violates", "Refused to execute inline script")
    for file in (exported("first"), odd):
        html = file.read_text("utf-8")
        assert not re.search(r"<script|<iframe|<link rel=\"stylesheet|\son[a-z]+=\"|\bsrc=\"(?!data:)", html)
        page = visitor.go(file.as_uri())
        page.evaluate("""() => {
            const script = document.createElement('script')
            script.textContent = 'document.title = "it ran"'
            document.body.append(script)
        }""")
        assert page.title() != "it ran"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_users_call_things_is_text_in_a_file(visit: Any, odd: Path, scheme: str) -> None:
    page = visit(color_scheme=scheme).go(odd.as_uri())
    assert page.title().startswith(NAMES[0])
    assert page.locator("main script, main img, main iframe").count() == 0
    names = page.locator(".run-of > h2").all_inner_texts()
    assert [name.rpartition(" ")[0].strip() for name in names] == list(NAMES)
    assert page.locator("figure svg").first.get_attribute("aria-label").startswith(NAMES[1])


def test_nothing_of_a_file_hangs_over_the_edge_of_a_telephone(visit: Any, odd: Path, exported: Any) -> None:
    visitor = visit(viewport={"width": 360, "height": 740})
    for file in (odd, exported("first"), exported("second", "changed")):
        page = visitor.go(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_chart_in_a_file_holds_a_point_of_many_and_says_how_it_was_drawn(visit: Any, odd: Path) -> None:
    page = visit().go(odd.as_uri())
    figure = page.locator(f"#run-{1:032x} figure").nth(0)
    assert "envelope of 20,000 points: all of them lie in it" in figure.inner_text()
    line = figure.locator("path[fill=none]").get_attribute("d")
    at = [tuple(map(float, pair.split())) for pair in re.split("[ML]", line) if pair]
    x, y = min(at, key=lambda point: point[1])
    left, right = 58, 640 - 12
    assert x == pytest.approx(left + (right - left) * SPIKE / (POINTS - 1), abs=1)
    assert sorted(other for _, other in at)[1] > y + 100  # nothing else is near it
    assert "exact: all 5 points" in page.locator(f"#run-{1:032x} figure").nth(1).inner_text()


def test_what_a_run_printed_is_in_its_file_however_many_files_it_wrote(tmp_path: Path) -> None:
    script = "for n in $(seq 80); do echo $n > $n.txt; done; printf 'x%.0s' $(seq 70000); echo; echo the end >&2"
    typed(tmp_path, "run", "-q", "--name", "much", "--", "sh", "-c", script)
    typed(tmp_path, "export", "html", "much", "--output", "much.html")
    html = (tmp_path / "much.html").read_text("utf-8")
    assert "the end</pre>" in html
    assert "x" * 60_000 in html
    assert "the end of 68 KiB in one line" in html
    assert "60 files of 82" in html


# -- what it says --------------------------------------------------------------------------------------------------


def test_a_file_tells_all_that_is_known_of_a_run(visit: Any, exported: Any, person: Path) -> None:
    known = json.loads(typed(person, "show", "first", "--json"))
    run = known["run"]
    page = visit().go(exported("first").as_uri())
    said = page.inner_text("main")
    assert run["id"] in said
    for output in run["outputs"]:
        if output["size"]:
            assert output["path"] in said
            assert output["digest"] in said
    for kind, part in run["parts"].items():
        assert kind in said
        assert part["summary"] in said
    for finding in (finding for part in run["parts"].values() for finding in part.get("findings", ())):
        assert finding["text"] in said
    for name, value in run["metrics"].items():
        assert page.locator("tr", has_text=name).locator("td", has_text=repr(value)).count()
    assert "identical, " in said
    assert f"{run['started'][:10]} {run['started'][11:19]}Z" in said
    assert " ago" not in said
    assert f"bis repeat {run['id'][:8]}" in said
    assert page.inner_text(".note strong") == "baseline"


def test_small_files_are_in_it_as_what_they_are(visit: Any, exported: Any) -> None:
    page = visit().go(exported("first").as_uri())
    page.locator("details.file", has_text="metrics.json").locator("summary").click()
    assert json.loads(page.locator("details.file", has_text="metrics.json").locator("pre").inner_text())["auc"] == 0.901
    printed = page.locator("details.file", has_text="<stdout>").locator("pre").text_content()
    assert printed.startswith("step 0 loss ")
    assert page.locator("details.file", has_text="report.html").locator("pre").text_content().startswith("<h1>Report")
    assert page.evaluate("document.querySelector('.picture img').naturalWidth") == 9


def test_of_two_runs_it_says_first_what_is_different_as_bis_diff_does(visit: Any, exported: Any, person: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bis", "-C", str(person), "diff", "second", "changed", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    page = visit().go(exported("second", "changed").as_uri())
    compared = page.locator(".comparison")
    different = [one["name"] for one in told["parts"] if one["sameness"] != "identical"]
    assert different
    assert compared.locator("table").first.locator("tbody th").all_inner_texts() == different
    same = [one["name"] for one in told["parts"] if one["sameness"] == "identical"]
    assert f"The same: {', '.join(same)}." in compared.inner_text()
    assert compared.locator(".sides tr.changed").count() == 1
    box, article = compared.bounding_box(), page.locator("article").first.bounding_box()
    assert box["y"] < article["y"]


def test_of_several_runs_metrics_are_drawn_over_one_another(visit: Any, odd: Path) -> None:
    page = visit().go(odd.as_uri())
    figures = page.locator(".comparison figure")
    assert figures.count() == 2
    assert figures.nth(1).locator("path[fill=none]").count() == 3
    assert page.locator(".comparison tbody tr", has_text="lr").locator("td").all_inner_texts() == ["0", "1", "2"]


def test_metrics_that_are_not_drawn_are_counted(tmp_path: Path) -> None:
    typed(tmp_path, "run", "-q", "--", "true")
    with open_ledger(tmp_path / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        for number in range(2):
            id = f"{number:032x}"
            tracked.create(connection, id, experiment=0, name=f"run-{number}", user="", started=NOW, tags={})
            found = [Point(f"m{key}", float(step), NOW // 1000, step) for key in range(62) for step in range(2)]
            points.append(connection, tracked.seq_of(connection, id), found)
    file = tmp_path / "many.html"
    typed(tmp_path, "export", "html", f"{0:032x}", f"{1:032x}", "--output", str(file))
    text = file.read_text("utf-8")
    assert text.count("32 more metrics of several runs are not drawn here") == 1
    assert text.count("2 more metrics of several points are not drawn here") == 2


def test_of_several_runs_it_says_what_differs_within_their_parts(visit: Any, exported: Any) -> None:
    page = visit().go(exported("first", "changed", "second").as_uri())
    assert "train.py" in page.inner_text("[aria-label='Within code']")
    assert "data/customers.csv" in page.inner_text("[aria-label='Within data']")


def test_the_same_ledger_gives_the_same_bytes(person: Path, exported: Any, tmp_path: Path) -> None:
    before = exported("first", "changed").read_bytes()
    typed(person, "export", "html", "first", "changed", "--output", str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_bytes() == before
