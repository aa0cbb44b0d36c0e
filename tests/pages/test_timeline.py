"""The timeline: what changed when, drawn and in a table; a moment of it is looked at on the other pages."""

from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.pages.conftest import NOW, Pages, logged

from bis.ledger import moves, tracked
from bis.ledger.moments import EARLIEST, LATEST
from bis.ledger.runs import SqlLedger, open_ledger
from bis.nouns.part import Part
from bis.nouns.run import Run
from bis.server.pages.timed import LEFT, WIDTH, drawn


def lanes(server: Any, **asked: str) -> dict[str, Any]:
    answer = httpx.get(f"{server.url}/timeline.json", params=asked).json()
    return {lane["name"]: lane for lane in answer["lanes"]}


def test_what_changed_stands_in_the_lane_of_its_kind(small_server: Any) -> None:
    found = lanes(small_server)
    run = httpx.get(f"{small_server.url}/runs/first.json").json()["run"]
    events = httpx.get(f"{small_server.url}/models/churn.json").json()["events"]
    moves = [one for one in events if one["action"] in ("alias", "rolled back")]
    assert [mark["query"]["of"] for mark in found["code"]["marks"]] == [run["parts"]["code"]["facts"]["revision"]]
    assert [mark["what"] for mark in found["data"]["marks"]] == ["customers@v1", "customers@v2"]
    assert [mark["made"] for mark in found["models"]["marks"]] == sorted(one["made"] for one in moves)
    (environment,) = found["environment"]["marks"]
    assert environment["path"] == f"/environments/{run['parts']['environment']['digest']}"
    (system,) = found["infrastructure"]["marks"]
    assert system["path"] == f"/machines/{run['host']}"
    for lane in found.values():
        assert lane["total"] == len(lane["marks"])
        for mark in lane["marks"]:
            assert httpx.get(f"{small_server.url}{mark['path']}", params=mark["query"]).status_code == 200


def test_a_moment_is_carried_to_the_other_pages(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/timeline")
    assert page.locator("tbody tr").count() == sum(lane["total"] for lane in lanes(small_server).values())
    row = page.locator("tbody tr", has_text="churn@champion – → 1")
    row.locator("a", has_text="as of then").click()
    page.wait_for_url("**asof=*")
    assert page.locator("tr.chosen").inner_text().count("champion") == 1
    assert page.locator("path.moment").count() == 1
    page.locator(".then a", has_text="Models").click()
    page.wait_for_url("**/models?asof=*")
    assert "champion → version 1" in page.locator("tbody tr").inner_text()
    page.go_back()
    page.get_by_role("link", name="Back to now").click()
    page.wait_for_url("**/timeline")
    assert page.locator("path.moment").count() == 0


def test_a_page_that_knows_no_moments_says_so(visitor: Any, small_server: Any) -> None:
    for place, now in (("/models", False), ("/runs/first", True), ("/models/churn/1", True), ("/machines", False)):
        page = visitor.go(f"{small_server.url}{place}?asof=now")
        assert ("This page tells what is known now" in page.inner_text(".asof")) is now


def test_a_point_leads_to_its_page_and_several_to_a_nearer_look(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/timeline?from=2001-01-01")
    many = page.locator(".spot.lane-data")
    assert many.locator("text").text_content() == "2"
    many.click()
    page.wait_for_url("**from=2*until=*")
    found = page.locator(".spot.lane-data")
    assert found.count() == 2
    found.last.click()
    page.wait_for_url("**/data/customers/v2")


def test_a_window_has_what_is_in_it_and_an_empty_one_leads_on(
    visitor: Any, small_server: Any, large_server: Any
) -> None:
    assert all(
        lane["total"] == 0 for lane in lanes(small_server, **{"from": "2001-01-01", "until": "2001-02-01"}).values()
    )
    page = visitor.go(f"{small_server.url}/timeline?from=2001-01-01&until=2001-02-01")
    assert "2001-02-01" in page.locator(".empty").inner_text()
    page.locator(".empty a").click()
    page.wait_for_url("**/timeline?from=*")
    assert page.locator("tbody tr").count() > 0
    for asked in ({"from": "2001-01-02", "until": "2001-01-01"}, {"from": "some day"}):
        assert httpx.get(f"{small_server.url}/timeline", params=asked).status_code == 400
    assert httpx.get(f"{large_server.url}/timeline?from=2026-01-01").status_code == 200


def test_a_machine_changes_where_its_runs_stand_on_something_else(served: Any, tmp_path: Path) -> None:
    """Written by hand: two machines, one of which gets another environment, and then another system."""
    (tmp_path / ".bis").mkdir()
    states = [("a", "1", "1"), ("b", "1", "1"), ("a", "2", "1"), ("b", "1", "1"), ("a", "2", "2"), ("a", "2", "2")]
    with open_ledger(tmp_path / ".bis" / "ledger") as ledger:
        for number, (host, environment, system) in enumerate(states):
            kinds = {"environment": environment, "infrastructure": system}
            run = Run(
                id=f"{number:012x}",
                name=f"run-{number}",
                command=("x",),
                host=host,
                started=f"2026-01-0{number + 1}T12:00:00.000000Z",
                status="running",
                parts={
                    kind: Part(kind=kind, digest=f"b3:{digit * 64}", summary="", facts={})  # type: ignore[arg-type,misc]
                    for kind, digit in kinds.items()
                },
            )
            ledger.begin(run)
    server = served(tmp_path)
    try:
        found = lanes(server, **{"from": "2026-01-01", "until": "2026-02-01"})
        assert [mark["detail"] for mark in found["environment"]["marks"]] == [
            "on a, with run run-0",
            "on b, with run run-1",
            "on a, with run run-2",
        ]
        assert [mark["what"] for mark in found["infrastructure"]["marks"]] == [
            *("a first seen", "b first seen", "a changed")
        ]
        later = lanes(server, **{"from": "2026-01-03", "until": "2026-02-01"})
        assert [mark["query"]["against"] for mark in later["environment"]["marks"]] == ["b3:" + "1" * 64]
        assert [mark["what"] for mark in later["infrastructure"]["marks"]] == ["a changed"]
    finally:
        server.stop()


def test_what_is_not_looked_at_is_said(large: Path, large_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"from": "2026-01-01", "until": "2026-11-01"}
    assert len(httpx.get(f"{large_server.url}/timeline.json", params=asked).json()["limits"]) == 0
    with open_ledger(large / ".bis" / "ledger") as ledger, ledger.database.reading() as connection:
        first, last = moves.span(connection) or (0, 0)
        assert moves.read_since(connection, first, last) == first
        monkeypatch.setattr(moves, "READ", 100)
        begin = moves.read_since(connection, first, last)
        ((count,),) = connection.execute("SELECT count(*) FROM runs WHERE started >= ?", (begin,)).fetchall()
    assert count == 100


def test_points_that_are_near_are_one_with_their_number() -> None:
    minute = 60_000_000
    found = drawn([("data", [0, 1, 2, 30 * minute]), ("models", [])], 0, 60 * minute, 45 * minute)
    assert [(spot.first, spot.size) for spot in found.lanes[0].spots] == [(0, 3), (3, 1)]
    assert found.lanes[1].spots == []
    assert found.moment is not None
    assert LEFT < found.lanes[0].spots[1].x < found.moment < WIDTH
    assert [tick.word for tick in found.ticks][:2] == ["01-01 00:00", "01-01 00:15"]


def test_a_timeline_reaches_as_far_as_the_calendar(ledger: SqlLedger, pages: Pages) -> None:
    for number, started in enumerate((EARLIEST, LATEST)):
        logged(ledger, number, started)
    for query in ({}, {"from": "0001-01-01"}, {"until": "9999-12-31"}):
        for form in ("", ".json"):
            assert pages.get(f"/timeline{form}", params=query).status_code == 200, query


def test_a_day_begins_with_its_first_moment(ledger: SqlLedger, pages: Pages) -> None:
    since = pages.get("/timeline.json", params={"from": "2026-01-02"}).json()["since"]
    assert datetime.fromtimestamp(since / 1_000_000).isoformat() == "2026-01-02T00:00:00"


def test_a_commit_is_told_with_the_run_that_had_it_first(ledger: SqlLedger, pages: Pages) -> None:
    """Not with the one that was written down first."""
    for number, started in enumerate((NOW + 60_000_000, NOW)):
        id = logged(ledger, number, started)
        with ledger.database.writing() as connection:
            tracked.put_tags(connection, tracked.seq_of(connection, id), {moves.COMMIT: "4f2a91c"})
    lanes = pages.get("/timeline.json", params={"from": "2026-09-01", "until": "2026-10-30"}).json()["lanes"]
    (mark,) = next(lane["marks"] for lane in lanes if lane["name"] == "code")
    assert (mark["made"], mark["detail"]) == (NOW, "first run run-1, 2 runs in the window")
