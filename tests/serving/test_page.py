"""The page of served models in a real browser, and what it says to programs."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from axe_playwright_python.sync_playwright import Axe
from hypothesis import HealthCheck, given, settings
from playwright.sync_api import Browser, Page, expect, sync_playwright
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
HOSTILE = """
import json, pathlib, shutil
shutil.copytree("model", "hostile")
file = pathlib.Path("hostile/MLmodel")
file.write_text(file.read_text().replace("income", "</table><script>document.title='caught'</script>"))
file = pathlib.Path("hostile/serving_input_example.json")
file.write_text(file.read_text().replace("income", "</table><script>document.title='caught'</script>"))
"""


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """Of a module, as Playwright keeps a loop of its own while it is there, which other tests stumble over."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(chromium), args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window in which nothing may go wrong unseen, and that asks nobody but the server."""
    context = browser.new_context()
    found = context.new_page()
    found.set_default_timeout(15_000)
    errors: list[str] = []
    asked: set[str] = set()
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("request", lambda request: asked.add("/".join(request.url.split("/")[:3])))
    yield found
    context.close()
    assert not errors
    assert len(asked) == 1


def test_a_model_is_tried_with_its_own_example(
    served: Callable[..., Any], project: Path, alias: Callable[..., None], page: Page, of: Callable[..., Any]
) -> None:
    alias("shown", 1)
    model = served("models:/churn@shown", folder=project)
    page.goto(model.url)
    expect(page.get_by_role("heading", name="churn version 1")).to_be_visible()
    expect(page.get_by_role("row", name="income double")).to_be_visible()
    page.get_by_role("button", name="Predict").click()
    told = page.locator("pre")
    expect(told).to_contain_text("200, version 1")
    assert json.loads(told.inner_text().partition("\n")[2]) == model.ask([41, 52000, 3], [29, 31000, 12]).json()
    body = {"dataframe_split": {"columns": ["age", "income"], "data": [[1, 2]]}}
    page.get_by_label("What is asked").fill(json.dumps(body))
    page.get_by_role("button", name="Predict").press("Enter")
    expect(told).to_contain_text("400")
    expect(told).to_contain_text("the model takes the column 'visits', which is not there")


def test_the_page_is_for_people_who_hear_it_or_use_keys_in_light_and_dark(
    served: Callable[..., Any], page: Page
) -> None:
    page.goto(served("first=model", "second=odd", "--trust").url)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Predict").first.focus()
    page.keyboard.press("Space")
    expect(page.locator("pre").first).to_contain_text("predictions")


def test_a_token_is_asked_for_and_taken(
    served: Callable[..., Any], project: Path, alias: Callable[..., None], bis: Callable[..., str], page: Page
) -> None:
    alias("locked", 1)
    token = bis(project, "server", "token", "add", "reader", "--role", "reader").strip()
    try:
        model = served("models:/churn@locked", folder=project)
        page.set_extra_http_headers({"authorization": f"Bearer {token}"})
        page.goto(model.url)
        page.set_extra_http_headers({})
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("pre")).to_contain_text("401")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("pre")).to_contain_text("200, version 1")
    finally:
        bis(project, "server", "token", "rm", "reader")


def test_what_a_model_calls_its_columns_is_text_on_the_page(
    served: Callable[..., Any], made: Path, training_python: Path, page: Page
) -> None:
    if not (made / "hostile").exists():
        subprocess.run([training_python, "-c", HOSTILE], cwd=made, check=True)
    page.goto(served("hostile", "--trust").url)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("pre")).to_contain_text("200")
    assert page.title() == "hostile"


def test_programs_are_told_what_holds(served: Callable[..., Any], made: Path) -> None:
    model = served("model", "--trust")
    described = schemathesis.openapi.from_url(f"{model.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 7
    forms = described.raw_schema["paths"]["/invocations"]["post"]["requestBody"]["content"]
    assert set(forms) == {"application/json", "text/csv", "application/vnd.apache.parquet"}
    for operation in operations:
        hold(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    assert "Traceback" not in model.told


def hold(cases: Any) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def check(case: Any) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])  # rows may be of several lengths

    check()
