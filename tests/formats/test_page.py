"""The user's page on formats names every format, and every rule and cause there is."""

import re
from pathlib import Path

import pytest

from bis.formats.registry import FORMATS
from bis.formats.rules import LABELS, RULES


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "formats.md").read_text("utf-8")


def test_every_format_is_described(page: str) -> None:
    tables = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    missing = [format.name for format in FORMATS if not re.search(rf"(?<!\w){re.escape(format.name)}(?!\w)", tables)]
    assert not missing


def test_every_rule_of_the_masks_is_described(page: str) -> None:
    rules = {LABELS.get(rule.kind, rule.kind) for rule in RULES if rule.kind}
    assert not {rule for rule in rules if f"| `{rule}` |" not in page}


def test_every_cause_is_described(page: str, root: Path) -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (root / "src" / "bis" / "formats").glob("*.py"))
    found = set(
        re.findall(r'"(clock|float noise|float noise or clock|path|progress bar|[a-z]+ order|order of keys)"', sources)
    )
    causes = found - {"set order", "key order"}
    assert causes >= {"clock", "float noise or clock", "thread order"}
    assert not {cause for cause in causes if f"`{cause}`" not in page}
