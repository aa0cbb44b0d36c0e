"""Charts: each point is in what is drawn, however far away one looks, and told apart from near."""

import csv
import gzip
import io
import json
import math
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from tests.pages.conftest import LONG, NOW, RUNS, SPIKE, SPIKE_STEP, Pages, logged, value_at

from bis.ledger.runs import SqlLedger

ONE = f"{1:032x}"
"""The run with the long metric and the odd one, which the fixture `large` made."""
DRAWN = "bis-chart[data-state=drawn]"
POINTS = """chart => chart.drawn.map(one => one.x.map((x, place) => [x, one.y[place]]))"""
"""Of each line what is drawn, point for point."""
ON_CANVAS = """chart => { const found = []; const [xs, ...lines] = chart.plot.data;
  lines.filter((_, at) => at % 3 === 0).forEach(line => line.forEach((y, place) => {
    if (y != null) found.push([xs[place], y]); }));
  return found; }"""
"""What uPlot was given to draw as the line."""


def address(server: Any, metric: str = "long", run: str = ONE, form: str = "", **more: Any) -> str:
    return f"{server.url}/runs/{run}/chart{form}?{urlencode({'metric': metric, **more})}"


def fetched(url: str) -> tuple[Any, int]:
    """What is answered, and how many bytes came."""
    request = urllib.request.Request(url, headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        body = answer.read()
        packed = answer.headers.get("content-encoding") == "gzip"
        return json.loads(gzip.decompress(body) if packed else body), len(body)


def told(url: str) -> Any:
    return fetched(url)[0]


def opened(visitor: Any, url: str) -> Any:
    page = visitor.go(url)
    page.wait_for_selector(DRAWN)
    return page


def on_canvas(page: Any) -> list[list[float]]:
    found: list[list[float]] = page.eval_on_selector(DRAWN, ON_CANVAS)
    return found


def log(server: Any, run: str, points: list[tuple[str, int, float]]) -> None:
    """As a client logs."""
    body = json.dumps(
        {
            "run_id": run,
            "metrics": [
                {"key": key, "value": value, "step": step, "timestamp": 1790000000000 + step}
                for key, step, value in points
            ],
        }
    ).encode()
    url = f"{server.url}/api/2.0/mlflow/runs/log-batch"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=30).read()


# -- nothing is hidden ---------------------------------------------------------------------------------------------


def test_one_point_of_a_million_is_drawn_from_far_away_and_from_near(visitor: Any, large_server: Any) -> None:
    page = opened(visitor, address(large_server))
    assert "envelope of" in page.inner_text(".chart-said")
    assert [SPIKE_STEP, SPIKE] in on_canvas(page)
    assert len(on_canvas(page)) < 4000
    page.locator(".chart-body .u-over").scroll_into_view_if_needed()
    box = page.locator(".chart-body .u-over").bounding_box()
    assert box
    middle = box["x"] + box["width"] * SPIKE_STEP / LONG
    with page.expect_response(re.compile(r"chart\.json")):
        page.mouse.move(middle - 60, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(middle + 60, box["y"] + 50, steps=4)
        page.mouse.up()
    page.wait_for_function("() => document.querySelector('bis-chart').told.first !== null")
    assert [SPIKE_STEP, SPIKE] in on_canvas(page)
    page.evaluate(f"location.hash = 'zoom=long~{SPIKE_STEP - 200}~{SPIKE_STEP + 200}'")
    page.wait_for_function("() => document.querySelector('.chart-said').textContent === 'exact'")
    assert on_canvas(page) == [[step, value_at(step)] for step in range(SPIKE_STEP - 200, SPIKE_STEP + 201)]


def test_the_top_of_the_canvas_has_the_spike_and_nothing_else(visitor: Any, large_server: Any) -> None:
    """In its pixels: where no other point comes near."""
    page = opened(visitor, address(large_server))
    columns = page.eval_on_selector(
        DRAWN,
        """chart => { const {ctx, bbox} = chart.plot; const from = Math.round(chart.plot.valToPos(3, 'y', true));
        const rows = Math.round(chart.plot.valToPos(2.2, 'y', true)) - from;
        const {data} = ctx.getImageData(bbox.left, from, bbox.width, rows); const found = new Set();
        for (let at = 0; at < data.length; at += 4) { const [r, g, b] = [data[at], data[at + 1], data[at + 2]];
          if (data[at + 3] > 60 && Math.max(r, g, b) - Math.min(r, g, b) > 40)
            found.add((at / 4) % Math.round(bbox.width)); }
        return [...found].map(one => one / bbox.width); }""",
    )
    assert columns
    assert all(abs(one - SPIKE_STEP / LONG) < 0.005 for one in columns)


def test_each_answer_is_small_however_many_points_and_runs(large_server: Any) -> None:
    for more in ({}, {"x": "time"}, {"x": "relative"}, {"log": "true"}, {"first": 500_000, "last": 503_000}):
        found, size = fetched(address(large_server, form=".json", width=4000, **more))
        assert size < 60_000
        assert found["series"][0]["points"] > 3000
    runs = urlencode([("metric", "loss"), *(("run", f"{number:032x}") for number in range(100))])
    assert fetched(f"{large_server.url}/chart.json?{runs}")[1] < 60_000


def test_it_says_whether_it_is_exact(large_server: Any) -> None:
    (far,) = told(address(large_server, form=".json", width=1000))["series"]
    assert (far["exact"], far["said"]) == (False, "envelope of 1,000 points per pixel")
    assert sum(far["count"]) == far["points"] == far["summary"]["points"] == LONG
    (near,) = told(address(large_server, form=".json", first=1000, last=1999))["series"]
    assert (near["exact"], near["said"], near["points"]) == (True, "exact", 1000)
    assert near["value"] == [value_at(step) for step in range(1000, 2000)]


def test_nan_and_infinity_are_marked_and_counted(visitor: Any, large_server: Any) -> None:
    page = opened(visitor, address(large_server, "odd"))
    assert page.locator(".chart-odd").all_inner_texts() == ["1 × NaN", "1 × +∞", "1 × −∞"]
    svg = ElementTree.fromstring(page.eval_on_selector(DRAWN, "chart => chart.svg()"))
    kinds = [one.get("class") for one in svg.iter() if one.get("class")]
    assert (kinds.count("nan"), kinds.count("infinite")) == (1, 2)
    (series,) = told(address(large_server, "odd", form=".json"))["series"]
    assert series["odd"] == [
        {"kind": "NaN", "points": 1, "at": [0.0]},
        {"kind": "Infinity", "points": 1, "at": [1.0]},
        {"kind": "-Infinity", "points": 1, "at": [2.0]},
    ]
    assert "NaN" in page.inner_text("main table")


@pytest.mark.parametrize("language", ["en-US@posix", "ar-EG"])
def test_a_chart_is_drawn_and_says_the_same_whatever_language_a_browser_tells(
    visit: Any, large_server: Any, language: str
) -> None:
    page = opened(visit(locale=language), address(large_server))
    assert page.evaluate("navigator.language") == language
    assert [SPIKE_STEP, SPIKE] in on_canvas(page)
    assert "envelope of" in page.inner_text(".chart-said")
    page.hover(".chart-body .u-over", position={"x": 100, "y": 50})
    assert re.search(r"step \d{2},\d{3}", page.inner_text("main"))


def test_a_library_that_does_not_work_is_told_of(visitor: Any, large_server: Any) -> None:
    visitor.page.route("**/uPlot.iife.min.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page = visitor.go(address(large_server))
    page.wait_for_selector("bis-chart[data-state=failed]")
    assert "long is not drawn: the file that draws charts does not work" in page.inner_text("bis-chart")
    visitor.page.unroute("**/uPlot.iife.min.js")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(DRAWN)


# -- how it is looked at -------------------------------------------------------------------------------------------


def test_a_copied_address_shows_the_same(visitor: Any, visit: Any, large_server: Any) -> None:
    page = opened(visitor, address(large_server))
    page.check("input[name=logy]")
    page.fill("input[name=smooth]", "0.6")
    page.focus(".chart-body")
    for key in ("+", "+", "Shift+ArrowRight"):
        before = page.evaluate("location.hash")
        page.keyboard.press(key)
        page.wait_for_function("hash => location.hash !== hash", arg=before)
        page.wait_for_selector(DRAWN)
    page.wait_for_load_state("networkidle")
    assert page.eval_on_selector(DRAWN, "chart => chart.plot.scales.y.distr") == 3
    there = visit()
    copy = opened(there, page.url)
    assert copy.eval_on_selector(DRAWN, POINTS) == page.eval_on_selector(DRAWN, POINTS)
    assert copy.is_checked("input[name=logy]")
    assert copy.input_value("input[name=smooth]") == "0.6"
    copy.focus(".chart-body")
    copy.keyboard.press("0")
    copy.wait_for_function("() => document.querySelector('bis-chart').told.first === null")
    assert "zoom" not in copy.url


def test_smoothing_is_a_second_line(visitor: Any, large_server: Any) -> None:
    page = opened(visitor, address(large_server) + "#smooth=0.9")
    assert [SPIKE_STEP, SPIKE] in page.eval_on_selector(DRAWN, POINTS)[0]
    assert page.eval_on_selector(DRAWN, "chart => chart.plot.series.length") == 5
    smooth = page.eval_on_selector(DRAWN, "chart => Math.max(...chart.drawn[0].smooth)")
    assert 0.1 < smooth < SPIKE
    assert "smoothed" in page.inner_text(".chart-note")


def test_axes_are_logarithmic_and_say_what_they_cannot_show(visitor: Any, large_server: Any) -> None:
    page = opened(visitor, address(large_server) + "#logx=&logy=")
    scales = page.eval_on_selector(DRAWN, "chart => [chart.plot.scales.x.distr, chart.plot.scales.y.distr]")
    assert scales == [3, 3]
    assert [SPIKE_STEP, SPIKE] in on_canvas(page)
    assert "1 point at or before 0" in page.inner_text(".chart-note")
    near = [x for x, _ in on_canvas(page) if x < 1000]
    assert len(near) > 200, "the first steps, which are far apart on this axis, are there one by one"


def test_it_stands_across_time_and_other_metrics(large_server: Any) -> None:
    run = f"{RUNS - 1:032x}"
    log(
        large_server,
        run,
        [(key, step, value) for step in range(60) for key, value in (("err", step * 2.0), ("epoch", step // 10))],
    )
    epochs = told(address(large_server, "err", run, ".json", x="epoch"))
    assert epochs["label"] == "epoch"
    assert epochs["series"][0]["at"] == [step // 10 for step in range(60)]
    other = told(address(large_server, "epoch", run, ".json", x="metric:err"))["series"][0]
    assert other["at"] == [step * 2 for step in range(60)]
    timed = told(address(large_server, "err", run, ".json", x="time"))["series"][0]
    assert [timed["base"] + at for at in timed["at"]] == [1790000000000 + step for step in range(60)]


def test_runs_are_named_as_everywhere(visitor: Any, small_server: Any) -> None:
    one = told(address(small_server, "auc", "second", ".json"))
    assert one["series"][0]["value"] == [0.902]
    some = told(f"{small_server.url}/overlay.json?run=first&run=second")["runs"]
    assert [run["name"] for run in some] == ["first", "second"]
    page = visitor.go(f"{small_server.url}/compare?run=first&run=second")
    page.click("text=Scatter and contour")
    page.wait_for_selector(".figure-body svg")


def test_what_makes_no_sense_is_told_with_what_does(large_server: Any) -> None:
    for more, word in (
        ({"x": "weight"}, "no axis"),
        ({"metric": "lung"}, "did you mean long?"),
        ({"x": "epoch"}, "epoch"),
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            told(address(large_server, form=".json", **more))
        assert error.value.code in (400, 404)
        assert word in error.value.read().decode()


def test_the_pointer_says_exact_values_and_so_does_the_keyboard(visitor: Any, large_server: Any) -> None:
    page = opened(visitor, address(large_server, form="") + "#zoom=long~100~110")
    page.wait_for_function("() => document.querySelector('.chart-said').textContent === 'exact'")
    page.focus(".chart-body")
    page.keyboard.press("Home")
    assert page.inner_text(".chart-value") == f"{value_at(100)} at step 100"
    assert str(value_at(100)) in page.locator("bis-chart output").inner_text()


# -- saved ---------------------------------------------------------------------------------------------------------


def test_it_is_saved_as_png_svg_and_csv(visitor: Any, large_server: Any) -> None:
    page = opened(visitor, address(large_server) + f"#zoom=long~{SPIKE_STEP - 5}~{SPIKE_STEP + 5}")
    page.click(".chart-save summary")
    saved = {}
    for word in ("PNG", "SVG", "CSV: every point"):
        with page.expect_download() as download:
            page.locator(".chart-save").get_by_text(word, exact=True).click()
        saved[word[:3]] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename == f"long.{word[:3].lower()}"
    assert saved["PNG"].startswith(b"\x89PNG")
    lines = [one.get("d", "") for one in ElementTree.fromstring(saved["SVG"]).iter() if one.get("class") == "line"]
    assert [len(re.findall("[ML]", line)) for line in lines] == [11]
    rows = list(csv.reader(io.StringIO(saved["CSV"].decode())))
    assert rows[0] == ["key", "step", "moment", "value"]
    assert [(int(step), float(value)) for _, step, _, value in rows[1:]] == [
        (step, value_at(step)) for step in range(SPIKE_STEP - 5, SPIKE_STEP + 6)
    ]


def test_without_scripts_there_is_a_drawing_and_the_numbers(visit: Any, large_server: Any) -> None:
    page = visit(java_script_enabled=False).go(address(large_server))
    image = page.locator("bis-chart img")
    image.wait_for()
    box = image.bounding_box()
    assert box
    assert box["width"] > 200
    with urllib.request.urlopen(address(large_server, form=".svg"), timeout=30) as answer:
        assert "script" not in answer.read().decode()
    assert "1,000,000" in page.inner_text("main table")
    assert "3.1" in page.inner_text("main table")
    page = visit(java_script_enabled=False).go(f"{large_server.url}/runs/{ONE}")
    assert "3.1 greatest" in page.inner_text("bis-chart[data-metric=long]")


# -- in a page -----------------------------------------------------------------------------------------------------


def test_what_fails_says_so_and_can_be_tried_again(visitor: Any, large_server: Any) -> None:
    visitor.expected = ("Failed to load resource",)
    pattern = re.compile(r"chart\.json")
    visitor.page.route(pattern, lambda route: route.abort())
    page = visitor.go(address(large_server))
    page.wait_for_selector("bis-chart[data-state=failed]")
    assert "long is not drawn: The server did not answer." in page.inner_text(".chart-state")
    page.unroute(pattern)
    page.get_by_text("Try again").click()
    page.wait_for_selector(DRAWN)
    page.evaluate("location.hash = 'zoom=long~2000000~3000000'")
    page.wait_for_selector("bis-chart[data-state=empty]")
    assert "no points in this window" in page.inner_text(".chart-state")
    page.click("text=Reset zoom")
    page.wait_for_selector(DRAWN)


def test_what_draws_is_asked_for_again_where_it_did_not_come(visitor: Any, large_server: Any) -> None:
    visitor.expected = ("Failed to load resource",)
    visitor.page.route("**/uPlot.iife.min.js", lambda route: route.abort())
    page = visitor.go(address(large_server))
    page.wait_for_selector("bis-chart[data-state=failed]")
    page.unroute("**/uPlot.iife.min.js")
    page.get_by_text("Try again").click()
    page.wait_for_selector(DRAWN)


def test_a_run_that_is_under_way_is_followed_with_few_questions(visitor: Any, large_server: Any) -> None:
    run = f"{RUNS - 2:032x}"
    log(large_server, run, [("live", step, float(step)) for step in range(3)])
    page = opened(visitor, address(large_server, "live", run))
    began = time.monotonic()
    for step in range(3, 9):
        log(large_server, run, [("live", step, float(step))])
        page.eval_on_selector(DRAWN, "chart => { for (let n = 0; n < 5; n += 1) chart.again(true); }")
        page.wait_for_timeout(300)
    page.wait_for_function("() => document.querySelector('bis-chart').drawn[0].points === 9")
    asked = [url for url in visitor.requests if "chart.json" in url]
    assert 2 <= len(asked) <= 2 + (time.monotonic() - began)
    assert [8, 8.0] in on_canvas(page)


def test_what_is_logged_while_somebody_looks_comes_by_itself(visitor: Any, large_server: Any) -> None:
    run = f"{RUNS - 2:032x}"
    log(large_server, run, [("told", step, float(step)) for step in range(3)])
    page = opened(visitor, address(large_server, "told", run))
    page.wait_for_timeout(500)
    log(large_server, run, [("told", 3, 3.0)])
    page.wait_for_function("() => document.querySelector('bis-chart').drawn[0].points === 4")
    page.eval_on_selector(DRAWN, "chart => { const place = chart.parentNode; chart.remove(); place.append(chart); }")
    log(large_server, run, [("told", 4, 4.0)])
    page.wait_for_function("() => document.querySelector('bis-chart').drawn[0].points === 5")
    page.wait_for_selector(".u-over")


def test_many_metrics_are_grouped_searched_and_drawn_when_they_come_into_view(visitor: Any, large_server: Any) -> None:
    run = f"{RUNS - 3:032x}"
    keys = [f"{group}/m{number}" for group in ("train", "val", "system") for number in range(8)]
    log(large_server, run, [(key, step, step / 7) for key in keys for step in range(5)])
    page = opened(visitor, f"{large_server.url}/runs/{run}")
    groups = page.locator("[data-chart-group] > h3").all_inner_texts()
    assert [one.split()[0] for one in groups] == ["train", "val", "System"]
    page.wait_for_timeout(1000)
    asked = [url for url in visitor.requests if "chart.json" in url]
    assert 0 < len(asked) < len(keys) / 2
    page.fill("[data-chart-search]", "val m3")
    assert page.locator("bis-chart:visible").evaluate_all("found => found.map(one => one.dataset.metric)") == ["val/m3"]
    page.wait_for_selector("bis-chart[data-metric='val/m3'][data-state=drawn]")


def test_a_number_that_comes_once_is_no_chart(visitor: Any, large_server: Any) -> None:
    page = visitor.go(f"{large_server.url}/runs/{5:032x}")
    names = page.locator("dl.numbers dt").all_inner_texts()
    assert {"auc", "f1", "loss"} <= set(names)
    assert not page.locator("bis-chart[data-metric=auc]").count()
    page = visitor.go(f"{large_server.url}/runs/{RUNS - 2:032x}")
    assert page.locator("bis-chart[data-metric=auc]").count(), "there may be more of it"


def test_names_are_text(visitor: Any, large_server: Any) -> None:
    runs = [f"{number:032x}" for number in range(8)]
    for run in runs:
        log(large_server, run, [("named", step, 0.5) for step in range(3)])
    page = opened(visitor, f"{large_server.url}/overlay?{urlencode([('run', run) for run in runs])}")
    assert '<script>document.title="caught"</script>' in page.locator(".chart-run").all_inner_texts()
    for summary in page.locator("details.more > summary").all():
        summary.click()
    page.wait_for_selector(".figure-body svg")
    assert page.title() != "caught"
    svg = page.eval_on_selector(DRAWN, "chart => chart.svg()")
    assert "<script" not in svg
    ElementTree.fromstring(svg)


# -- several runs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curves(large_server: Any) -> str:
    """The address of an overlay of two runs: the second has twice the values of the first, at every other step."""
    runs = [f"{number:032x}" for number in (RUNS - 1, RUNS - 2)]
    log(large_server, runs[0], [("pair", step, 1.0 + step) for step in range(20)])
    log(large_server, runs[1], [("pair", step, 2.0 + 2 * step) for step in range(0, 20, 2)] + [("pair", 21, math.nan)])
    return f"{large_server.url}/chart?{urlencode([('metric', 'pair'), *(('run', run) for run in runs)])}"


def test_runs_are_drawn_over_one_another_and_against_the_first(visitor: Any, curves: str) -> None:
    page = opened(visitor, curves)
    assert [len(line) for line in page.eval_on_selector(DRAWN, POINTS)] == [20, 11]
    assert (
        len(page.locator(".chart-legend path").evaluate_all("all => [...new Set(all.map(one => one.outerHTML))]")) == 2
    )
    names = page.locator(".chart-legend button")
    names.nth(1).click()
    assert [len(line) for line in page.eval_on_selector(DRAWN, POINTS)] == [20]
    assert names.nth(1).get_attribute("aria-pressed") == "false"
    assert f"hide={RUNS - 2:032x}" in page.url
    names.nth(1).click()
    page.select_option("select[name=mode]", "difference")
    assert page.locator(".chart-odd").all_inner_texts() == ["1 × NaN"], "where one of the two is none"
    assert page.eval_on_selector(DRAWN, POINTS) == [[[step, 1.0 + step] for step in range(0, 20, 2)]]
    assert page.inner_text(".chart-said") == "exact at 10 common places"
    page.select_option("select[name=mode]", "ratio")
    assert page.eval_on_selector(DRAWN, POINTS) == [[[step, 2.0] for step in range(0, 20, 2)]]
    assert "mode=ratio" in page.url


HELD = """async () => {
  const own = document.querySelector('script[src*="chart.js"]').src;
  const {against} = await import(own.replace('chart.js', 'curves.js'));
  const values = seed => Array.from({length: 400}, (_, at) => Math.sin(at * seed) * 10 + seed);
  const bucket = (some, first) => ({first, last: first + some.length - 1, low: Math.min(...some),
    high: Math.max(...some), mean: some.reduce((a, b) => a + b) / some.length, count: some.length});
  const pack = (all, size) => ({name: '', exact: false, odd: [], buckets: Array.from({length: Math.ceil(400 / size)},
    (_, at) => bucket(all.slice(at * size, (at + 1) * size), at * size))});
  const [one, other] = [values(1.3), values(2.1)];
  const [found] = against([pack(one, 7), pack(other, 10)], 'difference');
  const apart = one.map((value, at) => other[at] - value);
  return apart.every((value, at) => found.buckets.some(
    one => one.first <= at && at <= one.last && one.low <= value && value <= one.high));
}"""


def test_differences_of_envelopes_hold_every_difference(visitor: Any, large_server: Any) -> None:
    page = visitor.go(address(large_server))
    held = page.evaluate(HELD)
    assert held


def test_brushing_leaves_the_runs_that_pass(visitor: Any, large_server: Any) -> None:
    runs = [f"{number:032x}" for number in range(100, 120)]
    page = visitor.go(f"{large_server.url}/overlay?{urlencode([('run', run) for run in runs])}")
    page.click("text=Parallel coordinates")
    rows = page.locator(".parallel-runs tbody tr:visible")
    rows.first.wait_for()
    assert rows.count() == 20
    found = told(f"{large_server.url}/overlay.json?{urlencode([('run', run) for run in runs])}")["runs"]
    page.fill("[aria-label='auc from']", "0.5")
    expected = [run["name"] for run in found if run["metrics"]["auc"] >= 0.5]
    assert page.locator(".parallel-runs tbody tr:visible th").all_inner_texts() == expected
    assert f"{len(expected)} of 20 runs pass" in page.inner_text("bis-overlay")
    page.fill("[aria-label='auc from']", "")
    page.locator(".parallel-canvas").scroll_into_view_if_needed()
    box = page.locator(".parallel-canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 60, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 150, steps=3)
    page.mouse.up()
    assert 0 < rows.count() < 20


def test_limits_of_a_param_leave_a_metric_that_is_called_so_alone(visitor: Any, large_server: Any) -> None:
    runs = [f"{number:032x}" for number in range(140, 146)]
    for number, run in enumerate(runs):
        body = json.dumps({"run_id": run, "key": "auc", "value": str(number + 1)}).encode()
        url = f"{large_server.url}/api/2.0/mlflow/runs/log-parameter"
        urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})).read()
    page = visitor.go(f"{large_server.url}/overlay?{urlencode([('run', run) for run in runs])}")
    page.click("text=Parallel coordinates")
    page.locator("[aria-label='auc from']").first.fill("3")
    page.get_by_text("4 of 6 runs pass").wait_for()
    assert page.locator(".parallel-runs tbody tr:visible").count() == 4


def test_the_names_of_runs_in_a_scatter_are_whole(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/overlay?run=first&run=second&run=changed")
    page.click("text=Scatter and contour")
    figure = page.locator(".figure-body svg[role=img]")
    figure.wait_for()
    beyond = figure.evaluate(
        """svg => [...svg.querySelectorAll('[aria-label=text] text')].map(one => [one.textContent,
        one.getBoundingClientRect().right - svg.getBoundingClientRect().right])"""
    )
    assert {name for name, _ in beyond} == {"first", "second", "changed"}
    assert max(by for _, by in beyond) <= 0


def test_scatter_and_contour_come_when_they_are_opened(visitor: Any, large_server: Any) -> None:
    runs = urlencode([("run", f"{number:032x}") for number in range(100, 130)])
    page = visitor.go(f"{large_server.url}/overlay?{runs}")
    page.wait_for_selector("details.more")
    assert "Each metric has one value in each run" in page.inner_text("bis-overlay")
    assert not [url for url in visitor.requests if "plot.umd" in url]
    page.click("text=Scatter and contour")
    page.wait_for_selector(".figure-body svg circle")
    assert page.locator(".figure-body svg circle").count() == 30
    page.locator(".figure-body").locator("xpath=..").locator("select").nth(0).select_option("metric:f1")
    page.locator(".figure-body").locator("xpath=..").locator("select").nth(2).select_option("metric:loss")
    page.wait_for_selector(".figure-body svg [aria-label=contour] path")
    assert "The contour is of loss" in page.inner_text("bis-overlay")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_keep_nobody_out(visit: Any, large_server: Any, scheme: str) -> None:
    runs = urlencode([("run", f"{number:032x}") for number in (1, 2)])
    for place in (f"/runs/{ONE}", f"/runs/{ONE}/chart?metric=odd", f"/overlay?{runs}"):
        page = visit(color_scheme=scheme).go(large_server.url + place)
        page.wait_for_selector(DRAWN)
        found = Axe().run(page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def test_charts_are_as_narrow_as_a_telephone(visit: Any, large_server: Any) -> None:
    runs = urlencode([("run", f"{number:032x}") for number in (0, 1, 2)])
    for place in (f"/runs/{ONE}", f"/runs/{ONE}/chart?metric=odd", f"/overlay?{runs}"):
        page = visit(viewport={"width": 360, "height": 740}).go(large_server.url + place)
        page.locator("bis-chart").first.scroll_into_view_if_needed()
        page.wait_for_selector(DRAWN)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.set_viewport_size({"width": 700, "height": 740})
        page.wait_for_function("() => document.querySelector('.u-over').clientWidth > 400")


def test_an_overlay_of_no_run_is_empty_and_a_run_is_in_it_once(ledger: SqlLedger, pages: Pages) -> None:
    assert pages.get("/overlay.json").json()["runs"] == []
    id = logged(ledger, 1, NOW, loss=[0.5, 0.4])
    assert [run["id"] for run in pages.get("/overlay.json", params={"run": ["run-1", id]}).json()["runs"]] == [id]


def test_a_chart_is_drawn_across_a_metric_that_the_first_run_does_not_have(ledger: SqlLedger, pages: Pages) -> None:
    runs = [logged(ledger, 1, NOW, loss=[0.5, 0.4]), logged(ledger, 2, NOW, loss=[0.5, 0.4], epoch=[0.0, 1.0])]
    for form in ("json", "svg"):
        answer = pages.get(f"/chart.{form}", params={"metric": "loss", "run": runs, "x": "epoch"})
        assert answer.status_code == 200, answer.text


def test_seconds_are_counted_from_the_beginning_whenever_that_was(ledger: SqlLedger, pages: Pages) -> None:
    for number, started in enumerate((0, NOW)):
        id = logged(ledger, number, started, loss=[0.5, 0.4, 0.3])
        (series,) = pages.get(f"/runs/{id}/chart.json", params={"metric": "loss", "x": "relative"}).json()["series"]
        assert series["at"] == [0, 1, 2]


def test_a_metric_without_a_number_says_so(ledger: SqlLedger, pages: Pages) -> None:
    id = logged(ledger, 1, NOW, loss=[math.nan] * 5000)
    (series,) = pages.get(f"/runs/{id}/chart.json", params={"metric": "loss"}).json()["series"]
    assert series["said"] == "no numbers"
    drawing = ElementTree.fromstring(pages.get(f"/runs/{id}/chart.svg", params={"metric": "loss"}).text)
    assert "5,000 of them NaN" in (drawing.get("aria-label") or "")
