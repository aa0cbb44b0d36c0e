"""Logging in with a token, in a browser; giving tokens and taking them back."""

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.pages.conftest import Pages


def token_for(folder: Path, name: str, role: str) -> str:
    command = [sys.executable, "-m", "bis", "-C", str(folder), "server", "token", "add", name, "--role", role]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, served: Any) -> Iterator[Any]:
    """A server that wants a token of everybody."""
    folder = tmp_path_factory.mktemp("guarded")
    admin = token_for(folder, "ana", "admin")
    reader = token_for(folder, "lee", "reader")
    found = served(folder)
    found.tokens = {"ana": admin, "lee": reader}
    yield found
    found.stop()


def log_in(visitor: Any, server: Any, name: str, place: str = "/settings") -> Any:
    page = visitor.go(server.url + place)
    page.locator("#token").fill(server.tokens[name])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(server.url + place)
    return page


def test_who_has_not_logged_in_is_led_to_the_door_and_back(visitor: Any, guarded: Any) -> None:
    page = log_in(visitor, guarded, "lee", "/?limit=7")
    assert page.url == f"{guarded.url}/?limit=7"


def test_whatever_an_address_holds_the_door_leads_back_to_it(guarded: Any) -> None:
    for place in ("/runs/x/files/what%3F.txt", "/runs/100%25/files/a%20b", "/?filter=name+%3D+%27%26%27"):
        to = httpx.get(guarded.url + place, headers={"accept": "text/html"}).headers["location"]
        with httpx.Client(base_url=guarded.url) as browser:
            page = browser.get(to).text
            (back,) = re.findall(r'name="next" value="([^"]*)"', page)
            form = {"token": guarded.tokens["lee"], "next": html.unescape(back), "csrf": browser.cookies["bis-csrf"]}
            assert browser.post("/login", data=form).headers["location"] == place


def test_a_token_that_is_none_opens_nothing(visitor: Any, guarded: Any) -> None:
    page = visitor.go(guarded.url + "/")
    visitor.expected += ("Failed to load resource: the server responded with a status of 403",)
    page.locator("#token").fill("bis_nonsense")
    page.get_by_role("button", name="Log in").click()
    assert "not known here" in page.locator("[role=alert]").inner_text()
    assert httpx.get(guarded.url + "/settings.json").status_code == 401


def test_a_link_through_the_door_leads_nowhere_else(visitor: Any, guarded: Any) -> None:
    for place in ("//evil.example/", "https://evil.example/", "/\\evil.example"):
        page = visitor.go(f"{guarded.url}/login?next={place}")
        assert page.locator("[name=next]").input_value() == "/"


def test_an_admin_gives_a_token_that_is_shown_once_and_takes_it_back(visitor: Any, guarded: Any) -> None:
    page = log_in(visitor, guarded, "ana")
    page.locator("#name").fill("<i>ci</i>")
    page.locator("#role").select_option("writer")
    page.get_by_role("button", name="Make it").click()
    made = page.locator(".made code").first.inner_text()
    assert made.startswith("bis_")
    assert httpx.get(guarded.url + "/settings.json", headers={"authorization": f"Bearer {made}"}).status_code == 200
    page.goto(guarded.url + "/settings")
    assert made not in page.content()
    page.get_by_role("button", name="Remove the token <i>ci</i>").click()
    page.wait_for_url(guarded.url + "/settings")
    assert "<i>ci</i>" not in page.locator("tbody").inner_text()


def test_where_nobody_logs_in_settings_are_found_all_the_same(visitor: Any, small_server: Any) -> None:
    page = visitor.go(small_server.url + "/")
    page.get_by_role("link", name="Settings").click()
    page.wait_for_url("**/settings")
    assert "From the first token on, everybody needs one" in page.inner_text("main")


def test_a_reader_sees_no_way_to_give_one_and_has_none(visitor: Any, guarded: Any) -> None:
    page = log_in(visitor, guarded, "lee")
    assert page.get_by_role("button", name="Make it").count() == 0
    word = "a" * 43
    cookies = {"bis-csrf": word, "bis-token": guarded.tokens["lee"]}
    answer = httpx.post(guarded.url + "/settings/tokens", data={"csrf": word, "name": "x"}, cookies=cookies)
    assert answer.status_code == 403


def test_a_cookie_opens_pages_and_no_calls_of_programs(guarded: Any) -> None:
    cookies = {"bis-token": guarded.tokens["ana"]}
    assert httpx.get(guarded.url + "/settings.json", cookies=cookies).status_code == 200
    for call in ("/api/bis/1/runs", "//api/bis/1/runs", "///graphql"):
        assert httpx.get(guarded.url + call, cookies=cookies).status_code == 401


def test_who_logs_out_is_out(visitor: Any, guarded: Any) -> None:
    page = log_in(visitor, guarded, "lee")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    visitor.go(guarded.url + "/settings")
    assert "/login" in page.url


def test_a_form_is_read_up_to_its_largest_size(pages: Pages) -> None:
    for path in ("/runs/x/say", "/data/raw/x/v1/tag"):
        answer = pages.post(path, content=b"note=" + b"x" * (2 << 20))
        assert answer.status_code == 400
        assert "larger than 1024 KiB" in answer.text
