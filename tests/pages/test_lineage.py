"""Lineage: drawn and listed, both ways, as the command tells it; also as it was."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from bis.acts.lineage import Lineage, Node
from bis.ledger.moments import micros, stamp
from bis.server.pages.layered import HEIGHT, MOST, WIDTH, drawn, label


def told(folder: Path, thing: str) -> Any:
    command = [sys.executable, "-m", "bis", "lineage", thing, "--json"]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)["lineage"]


def asked(server: Any, thing: str, **more: str) -> Any:
    return httpx.get(f"{server.url}/lineage.json", params={"of": thing, **more}).json()["lineage"]


def names(nodes: list[Any]) -> list[tuple[str, str]]:
    return [one for node in nodes for one in ((node["kind"], node["name"]), *names(node.get("children", [])))]


def test_the_page_says_what_the_command_says(small_server: Any, person: Path) -> None:
    for thing in ("models:/churn@champion", "first", "data:/customers@v1"):
        assert asked(small_server, thing) == told(person, thing)


def test_a_thing_is_drawn_between_what_it_is_made_of_and_what_it_reached(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/lineage?of=first")
    found = asked(small_server, "first")
    assert page.locator(".drawing .box").count() == 1 + len({*names(found["made_of"]), *names(found["reached"])})
    place = {
        kind: page.locator(f".drawing .kind-{kind}").first.evaluate("box => box.getBoundingClientRect().x")
        for kind in ("data-version", "environment", "run", "model-version")
    }
    assert place["data-version"] < place["environment"] < place["run"] < place["model-version"]
    page.locator(".drawing a", has_text="churn/1").click()
    page.wait_for_url("**/models/churn/1")
    page.go_back()
    page.locator(".tree a", has_text="models:/churn/1").click()
    page.wait_for_url("**/models/churn/1")


def test_a_system_and_its_hardware_lead_to_the_machine(visitor: Any, small_server: Any) -> None:
    host = httpx.get(f"{small_server.url}/runs/first.json").json()["run"]["host"]
    for thing in ("first", "models:/churn@champion", "data:/customers@v1"):
        page = visitor.go(f"{small_server.url}/lineage?of={thing}")
        for kind in ("infrastructure", "machine"):
            boxes = page.locator(f".drawing a:has(.kind-{kind})").count()
            assert boxes == page.locator(f".drawing .kind-{kind}").count() == (0 if thing.startswith("data") else 1)
    page.goto(f"{small_server.url}/lineage?of=first")
    page.locator(".tree .kind-machine > a").first.click()
    page.wait_for_url(f"**/machines/{host}")


def test_the_form_asks_for_another_thing(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/lineage")
    page.locator("dd a", has_text="customers@v2").click()
    page.wait_for_url("**/lineage?of=data*")
    assert "changed" in page.locator("#list").inner_text()
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("nothing-like-this")
    page.keyboard.press("Enter")
    visitor.expected += ("Failed to load resource: the server responded with a status of 404",)
    page.wait_for_url("**/lineage?of=nothing-like-this*")
    assert "nothing-like-this" in page.locator("[role=alert]").inner_text()
    assert page.locator("#of").input_value() == "nothing-like-this"


def test_a_file_is_asked_for_by_its_content(small_server: Any, person: Path) -> None:
    outputs = httpx.get(f"{small_server.url}/runs/first.json").json()["run"]["outputs"]
    (digest,) = (one["digest"] for one in outputs if one["path"] == "model.json")
    found = asked(small_server, digest)
    assert found["thing"]["id"] == digest
    assert ("run", "first") in names(found["made_of"])
    (data,) = (node for node in asked(small_server, "first")["made_of"] if node["kind"] == "data")
    held = asked(small_server, data["id"])
    assert held["thing"]["name"] == "customers@v1"
    assert {"first", "second"} <= {name for _, name in names(held["reached"])}


def test_a_moment_has_only_what_had_happened_by_then(small_server: Any, visitor: Any) -> None:
    events = httpx.get(f"{small_server.url}/models/churn.json").json()["events"]
    second = min(one["made"] for one in events if one["action"] == "alias" and one["after"] == "2")
    before = stamp(second - 1)
    assert asked(small_server, "models:/churn@champion", asof=before)["thing"]["name"] == "models:/churn/1"
    then = asked(small_server, "models:/churn/1", asof=before)
    assert ("alias", "models:/churn@champion") in names(then["reached"])
    (first,) = (one for one in events if one["action"] == "created" and one["version"] == 1)
    early = asked(small_server, "data:/customers@v1", asof=stamp(first["made"] - 1))
    assert ("run", "first") in names(early["reached"])
    assert not [one for one in names(early["reached"]) if one[0] == "model version"]
    begun = httpx.get(f"{small_server.url}/runs/second.json").json()["run"]["started"]
    between = names(asked(small_server, "data:/customers@v1", asof=stamp(micros(begun) - 1))["reached"])
    assert [name for kind, name in between if kind == "run"] == ["first"]
    page = visitor.go(f"{small_server.url}/lineage?of=models:/churn/2&asof=2001-01-01")
    assert "was not there yet" in page.locator("[role=alert]").inner_text()


def test_a_large_graph_is_folded_and_says_how_much() -> None:
    parts = tuple(Node(kind="code", name=f"commit-{number}") for number in range(2))
    runs = tuple(Node(kind="run", name=f"run-{number}", children=parts) for number in range(300))
    found = drawn(Lineage(thing=Node(kind="data", name="x"), reached=runs, made_of=runs[:3]))
    assert found.shown == MOST
    assert sum(box.folded for box in found.boxes) == found.total - found.shown
    for one in found.boxes:
        assert 0 <= one.x <= found.width - WIDTH
        assert 0 <= one.y <= found.height - HEIGHT
        for other in found.boxes:
            assert one is other or abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT
    small = drawn(Lineage(thing=Node(kind="data", name="x"), reached=runs[:3]))
    assert (small.shown, small.total, len(small.lines)) == (6, 6, 9)


def test_what_leads_back_to_itself_is_drawn_all_the_same() -> None:
    again = Node(kind="run", name="a", id="1")
    run = Node(kind="run", name="a", id="1", children=(Node(kind="data", name="x", id="2", children=(again,)),))
    assert [box.node.name for box in drawn(Lineage(thing=Node(kind="file", name="y"), made_of=(run,))).boxes] == [
        *("y", "a", "x", "a")
    ]


def test_a_label_has_the_telling_end_of_a_name() -> None:
    assert label(Node(kind="data", name="a/very/long/path/to/somewhere/customers.csv")).endswith("/customers.csv")
    assert label(Node(kind="run", name="n" * 99)) == "n" * 24 + "…"
    assert len(label(Node(kind="run", name="名" * 99))) == 13
