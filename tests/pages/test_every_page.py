"""What holds for every page: nothing from elsewhere, no error, readable without scripts, usable by everybody."""

import json
import re
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from starlette.routing import compile_path
from tests.pages.conftest import Pages

from bis.server.pages.routes import PAGES

PLACES = (
    "/",
    "/?filter=metrics.auc+%3E+0.9",
    "/?nonsense=1",
    "/?filter=parms.lr+%3D+1",
    "/?group=data",
    "/?all=1&repeats=1",
    "/?removed=1",
    "/runs/first",
    "/runs/broken",
    "/compare?run=second&run=changed",
    "/compare?run=first&run=second&run=changed&all=true",
    "/compare",
    "/overlay?run=first&run=second",
    "/overlay",
    "/runs/first/chart?metric=auc",
    "/runs/first/chart?metric=nonsense",
    "/chart?metric=auc&run=first&run=second",
    "/verdicts/first-repeat",
    "/tag",
    "/tag?run=second",
    "/runs/first/log",
    "/runs/first/files",
    "/runs/first/files/table.csv",
    "/runs/first/files/metrics.json",
    "/runs/first/code",
    "/runs/first/code/train.py",
    "/runs/first?asof=now",
    "/data",
    "/data?asof=2001-01-01",
    "/data/customers",
    "/data/customers/v2",
    "/data/customers/v2/diff",
    "/data/none",
    "/environments",
    "/environments/{digest}",
    "/machines",
    "/machines/{host}",
    "/models",
    "/models/churn",
    "/models/churn?limit=1",
    "/models/churn/1",
    "/models/churn/2/diff?other=1",
    "/lineage?of=models:/churn@champion",
    "/lineage",
    "/lineage?of=nothing-like-this",
    "/search?q=c",
    "/search",
    "/search?q=nothing-like-this",
    "/now",
    "/now?asof=2001-01-01",
    "/timeline?from=2001-01-01&until=2001-02-01",
    "/timeline",
    "/timeline?asof=1+minute+ago",
    "/settings",
    "/login",
)
"""Some have a word in braces, which the project knows."""
PATTERNS = {page.path: compile_path(page.path)[0] for page in PAGES}


def page_at(place: str) -> str:
    """The path of the page that answers there; empty where none does."""
    return next((path for path, pattern in PATTERNS.items() if pattern.match(urlsplit(place).path)), "")


FIRST = tuple({page_at(place): place for place in reversed(PLACES)}.values())[::-1]
"""Of each page the one that stands first above."""


def address_of(server: Any, place: str) -> str:
    if "{" not in place:
        return str(server.url + place)
    names = {}
    for name, key in (("environments", "digest"), ("machines", "host")):
        with urllib.request.urlopen(f"{server.url}/{name}.json") as answer:
            names[key] = json.load(answer)[name][0][key]
    return str(server.url + place.format(**names))


@pytest.mark.parametrize("place", PLACES)
def test_a_page_has_no_fault_that_keeps_people_out(visit: Any, small_server: Any, place: str) -> None:
    page = visit().go(address_of(small_server, place))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, scheme


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_there_without_scripts(visit: Any, small_server: Any, place: str) -> None:
    page = visit(java_script_enabled=False).go(address_of(small_server, place))
    assert page.inner_text("main h1")


@pytest.mark.parametrize("place", PLACES)
def test_nothing_hangs_over_the_edge_of_a_telephone(visit: Any, small_server: Any, place: str) -> None:
    visitor = visit(viewport={"width": 360, "height": 740})
    page = visitor.go(address_of(small_server, place))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("place", PLACES)
def test_everything_on_a_page_is_reached_by_the_tab_key(visit: Any, small_server: Any, place: str) -> None:
    """In the order of the page, with a frame around what is reached; the first leads past what stands on every page."""
    page = visit().go(address_of(small_server, place))
    settle(page)
    page.evaluate(REACHABLE)
    wanted = int(page.evaluate("document.querySelectorAll('[data-reachable]').length"))
    autofocus = page.evaluate("document.activeElement !== document.body")
    reached = []
    for _ in range(wanted + 2):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found is None or found in reached:
            break
        reached.append(found)
        assert page.evaluate(FRAMED), found
    missed = set(range(wanted)) - set(reached)
    assert autofocus or reached[0] == 0
    assert not missed or autofocus, [
        page.evaluate(f"document.querySelector('[data-reachable=\"{n}\"]').outerHTML") for n in missed
    ]


@pytest.mark.parametrize("place", FIRST)
def test_going_on_and_back_and_a_copied_address_give_the_same(visit: Any, small_server: Any, place: str) -> None:
    page = visit().go(address_of(small_server, place))
    settle(page)
    address, before = page.url, page.inner_text("main")
    other = "Environments" if place.startswith("/machines") else "Machines"
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=other).click()
    page.wait_for_url(f"**/{other.lower()}*")
    page.go_back()
    page.wait_for_url(address)
    settle(page)
    assert same(page.inner_text("main"), before)
    copied = visit().go(address)
    settle(copied)
    assert same(copied.inner_text("main"), before)


DRAWN = """() => !document.querySelector('bis-overlay > [role=status].soft')
  && ![...document.querySelectorAll('bis-chart')].some(one =>
    ['waiting', 'loading'].includes(one.dataset.state ?? 'waiting')
    && one.getBoundingClientRect().height && one.getBoundingClientRect().top < innerHeight)"""


def settle(page: Any) -> None:
    """Until what is in sight is drawn: charts ask for their points once the page is there. Nothing else does."""
    page.wait_for_load_state()
    page.wait_for_function(DRAWN)


def same(text: str, before: str) -> bool:
    """But for how long ago it was, and what a chart says once it is drawn."""
    plain = [re.sub(r"\d+[smh] ago|\d+[smhd]\S* so far", "", one) for one in (text, before)]
    heads = [" ".join(one.split())[:150] for one in plain]
    return heads[0] == heads[1]


REACHABLE = """() => {
  const all = 'a[href], button, input:not([type=hidden]), select, textarea, summary, iframe, audio, [tabindex="0"]';
  let place = 0;
  for (const one of document.querySelectorAll(all)) {
    const closed = one.closest('details:not([open])');
    const around = closed?.parentElement.closest('details:not([open])');
    const hidden = closed && !(one.matches('summary') && one.parentElement === closed && !around);
    if (one.disabled || hidden || !one.getClientRects().length && !one.matches('.skip')) continue;
    if (one.matches('[tabindex="-1"]')) continue;
    one.dataset.reachable = place++;
  }
}"""
FOCUSED = (
    """() => { const one = document.activeElement?.dataset.reachable; return one == null ? null : Number(one); }"""
)
FRAMED = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  return one.matches('iframe, audio, svg a') || style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
}"""


def test_every_page_is_among_them() -> None:
    assert not set(PATTERNS) - {page_at(place) for place in PLACES}


def test_a_slash_too_many_leads_to_the_page_below_the_same_root(pages: Pages) -> None:
    answer = pages.get("/models/?asof=2026-01-01")
    assert (answer.status_code, answer.headers["location"]) == (307, "/bis/models?asof=2026-01-01")


def test_a_page_that_is_not_there_is_a_page_that_says_so(pages: Pages) -> None:
    person = pages.get("/modles", headers={"accept": "text/html"})
    assert (person.status_code, person.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "there is no page /modles" in person.text
    program = pages.get("/modles", headers={"accept": "application/json"})
    assert program.json()["error_code"] == "ENDPOINT_NOT_FOUND"
