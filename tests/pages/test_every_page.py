"""What holds for every page: nothing from elsewhere, no error, readable without scripts, usable by everybody."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

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
    "/overlay",
    "/overlay?run=first&run=second",
    "/runs/first/chart?metric=auc",
    "/runs/first/chart?metric=nonsense",
    "/verdicts/first-repeat",
    "/runs/first/log",
    "/runs/first/files",
    "/runs/first/files/table.csv",
    "/runs/first/files/metrics.json",
    "/environments",
    "/machines",
    "/models",
    "/models/churn",
    "/models/churn/1",
    "/lineage",
    "/lineage?of=models:/churn@champion",
    "/lineage?of=nothing-like-this",
    "/settings",
    "/login",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_has_no_fault_that_keeps_people_out(visit: Any, small_server: Any, place: str, scheme: str) -> None:
    visitor = visit(color_scheme=scheme)
    page = visitor.go(small_server.url + place)
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert not serious


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_there_without_scripts(visit: Any, small_server: Any, place: str) -> None:
    page = visit(java_script_enabled=False).go(small_server.url + place)
    assert page.inner_text("main h1")


@pytest.mark.parametrize("place", PLACES)
def test_nothing_hangs_over_the_edge_of_a_telephone(visit: Any, small_server: Any, place: str) -> None:
    visitor = visit(viewport={"width": 360, "height": 740})
    page = visitor.go(small_server.url + place)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
