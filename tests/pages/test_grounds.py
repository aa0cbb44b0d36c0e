"""Environments and machines: what runs stood on, and what drifts."""

from pathlib import Path
from typing import Any

import httpx
from tests.pages.conftest import Pages, begun

from bis.digest import Digest
from bis.ledger import grounds
from bis.ledger.runs import SqlLedger, open_ledger
from bis.nouns.annotation import Annotation
from bis.nouns.part import Part
from bis.nouns.run import Run


def test_an_environment_says_what_is_in_it_and_who_had_it(
    told: Any, visitor: Any, small_server: Any, person: Path
) -> None:
    part = told(person, "show", "first")["run"]["parts"]["environment"]
    listed = httpx.get(f"{small_server.url}/environments.json").json()
    assert [one["digest"] for one in listed["environments"]] == [part["digest"]]
    assert listed["environments"][0]["runs"] == len(told(person, "log", "--repeats")["runs"])
    page = visitor.go(f"{small_server.url}/environments")
    page.locator("tbody th a").click()
    page.wait_for_url("**/environments/b3:*")
    assert page.locator("[aria-label=Packages] tbody tr").count() == part["facts"]["packages"]


def test_an_environment_that_is_not_there_is_named(small_server: Any) -> None:
    answer = httpx.get(f"{small_server.url}/environments/0123")
    assert answer.status_code == 404
    assert "0123" in answer.text


def test_a_moment_before_the_first_run_has_none(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/environments?asof=2001-01-01")
    assert "by then" in page.locator(".empty").inner_text()
    assert "As of 2001-01-01" in page.locator(".asof").inner_text()
    page.get_by_role("link", name="Machines").click()
    page.wait_for_url("**/machines?asof=2001-01-01")
    page.get_by_role("link", name="Back to now").click()
    page.wait_for_url("**/machines")
    assert page.locator("tbody tr").count() == 1
    assert httpx.get(f"{small_server.url}/machines", params={"asof": "next to never"}).status_code == 400


def test_a_machine_that_drifts_is_told_with_what_changed(served: Any, tmp_path: Path, visitor: Any) -> None:
    """Written by hand: two states of one machine, and one of another."""
    (tmp_path / ".bis").mkdir()
    with open_ledger(tmp_path / ".bis" / "ledger.db") as ledger:
        for number, (host, libc) in enumerate(
            [("gpu-3", "glibc 2.36"), ("gpu-4", "glibc 2.36"), ("gpu-4", "glibc 2.41")]
        ):
            facts = {"kernel": "Linux 6.1", "libc": libc}
            part = Part(kind="infrastructure", digest=f"b3:{libc[-1] * 64}", summary=libc, facts=facts)  # type: ignore[arg-type]
            run = Run(
                id=f"{number:012x}",
                name=f"run-{number}",
                command=("x",),
                host=host,
                started=f"2026-01-0{number + 1}T00:00:00.000000Z",
                status="running",
                parts={"infrastructure": part},
            )
            ledger.begin(run)
        with ledger.database.reading() as connection:
            assert [
                (room.runs, room.newest) for room in grounds.rooms(connection, "gpu-4", limit=9, until=1 << 62)
            ] == [
                (1, f"{2:012x}"),
                (1, f"{1:012x}"),
            ]
    server = served(tmp_path)
    try:
        found = {one["host"]: one for one in httpx.get(f"{server.url}/machines.json").json()["machines"]}
        assert found["gpu-3"]["standing"] == "alone"
        assert found["gpu-4"]["standing"] == "drifted"
        assert [change["after"] for change in found["gpu-4"]["drift"]] == ["glibc 2.41"]
        page = visitor.go(f"{server.url}/machines/gpu-4")
        assert "glibc 2.36" in page.locator(".state table").inner_text()
        before = httpx.get(f"{server.url}/machines.json", params={"asof": "2026-01-02"}).json()["machines"]
        assert {one["host"]: one["standing"] for one in before} == {"gpu-3": "alone", "gpu-4": "alone"}
    finally:
        server.stop()


def test_an_environment_is_listed_before_the_system_is_known(ledger: SqlLedger, pages: Pages) -> None:
    run = begun(ledger, 1, environment="1")
    (found,) = pages.get("/environments.json").json()["environments"]
    assert found["newest"]["id"] == run.id


def test_an_environment_that_only_a_removed_run_had_has_its_page(ledger: SqlLedger, pages: Pages) -> None:
    run = begun(ledger, 1, environment="1")
    ledger.annotate(
        Annotation(run=run.id, made="2026-02-01T00:00:00.000000Z", user="ana", hidden=True),
        Digest("b3:" + "2" * 64),
    )
    assert pages.get("/environments.json").json()["environments"] == []
    assert pages.get(f"/environments/b3:{'1' * 64}.json").json()["runs"][0]["id"] == run.id
