"""Now: what is live, and the command that takes it back."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.pages.conftest import Pages, begun

from bis.digest import Digest
from bis.ledger import lately
from bis.ledger.runs import SqlLedger, open_ledger
from bis.nouns.verdict import Sameness, Verdict


def test_what_is_live_is_said_with_its_verdict_on_a_telephone(visit: Any, small_server: Any) -> None:
    page = visit(viewport={"width": 360, "height": 740}, java_script_enabled=False).go(f"{small_server.url}/now")
    (live,) = httpx.get(f"{small_server.url}/now.json").json()["live"]
    (model,) = httpx.get(f"{small_server.url}/models.json").json()["models"]
    assert live["meant"] == model["aliases"][0]
    said = page.locator(".live").inner_text()
    assert f"version {live['meant']['number']}" in said
    assert "never repeated" in said
    assert f"Back to version {live['back']}" in said
    assert "broken" in page.locator("[aria-labelledby=failed]").inner_text()
    assert page.locator("[aria-labelledby=changed] li").count() == min(
        10, len(httpx.get(f"{small_server.url}/models/churn.json").json()["events"])
    )


def test_the_command_rolls_back_to_the_version_that_is_said(served: Any, person: Path, tmp_path: Path) -> None:
    shutil.copytree(person, tmp_path / "churn", symlinks=True)
    server = served(tmp_path / "churn")
    try:
        (live,) = httpx.get(f"{server.url}/now.json").json()["live"]
        for command in (live["rollback"], live["look"][0]):
            words = shlex.split(command)
            assert words[0] == "bis"
            done = subprocess.run(
                [sys.executable, "-m", *words], cwd=tmp_path / "churn", capture_output=True, check=False
            )
            assert done.returncode == 0, (command, done.stderr)
        (after,) = httpx.get(f"{server.url}/now.json").json()["live"]
        assert after["meant"]["number"] == live["back"]
        assert (after["back"], after["rollback"]) == (None, "")
    finally:
        server.stop()


def test_a_repeat_that_differed_is_said(served: Any, person: Path, tmp_path: Path) -> None:
    shutil.copytree(person, tmp_path / "churn", symlinks=True)
    with open_ledger(tmp_path / "churn" / ".bis" / "ledger") as ledger:
        runs = {run.name: run.id for run in ledger.runs()}
        verdict = Verdict(
            run=runs["first"], again=runs["first-repeat"], sameness="different", made="2027-01-01T00:00:00.000000Z"
        )
        ledger.add_verdict(verdict, Digest("b3:" + "1" * 64))
    server = served(tmp_path / "churn")
    try:
        doubts = httpx.get(f"{server.url}/now.json").json()["doubts"]
        assert [(one["name"], one["sameness"]) for one in doubts] == [("first", "different")]
        before = httpx.get(f"{server.url}/now.json", params={"asof": "2026-12-31"}).json()
        assert before["doubts"] == []
    finally:
        server.stop()


def test_nothing_live_is_said_with_what_to_type(visitor: Any, large_server: Any) -> None:
    page = visitor.go(f"{large_server.url}/now")
    assert "Nothing is live" in page.locator(".empty").inner_text()
    failed = httpx.get(f"{large_server.url}/now.json").json()["failed"]
    assert [one["name"] for one in failed] == [f"adam-{number}" for number in range(9999, 9499, -100)]


def test_a_moment_before_everything_had_nothing_live(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/now?asof=2001-01-01")
    assert "Nothing was live" in page.locator(".empty").inner_text()
    assert httpx.get(f"{small_server.url}/now.json", params={"asof": "2001-01-01"}).json()["failed"] == []


def test_repeats_that_differed_are_looked_for_before_a_moment_however_many_came_after(
    ledger: SqlLedger, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(ledger, 1)
    said: tuple[Sameness, ...] = ("different", "identical", "identical")
    for number, sameness in enumerate(said, 1):
        verdict = Verdict(run=run.id, again=f"{number:012x}", sameness=sameness, made=f"2026-03-0{number}T00:00:00Z")
        ledger.add_verdict(verdict, Digest(f"b3:{str(number) * 64}"))
    monkeypatch.setattr(lately, "NEAR", 2)
    assert len(pages.get("/now.json", params={"asof": "2026-03-01T12:00:00Z"}).json()["doubts"]) == 1
    assert pages.get("/now.json").json()["doubts"] == []
