"""How a person names a registered model or a version of it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.errors import UsageError
from bis.nouns.reference import ModelReference, parse_model

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MAY = "2026-05-03T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("churn", {}),
        ("a model of ours", {"name": "a model of ours"}),
        ("churn/3", {"number": 3}),
        ("churn@v3", {"number": 3}),
        ("churn@champion", {"alias": "champion"}),
        ("churn@latest", {"newest": True}),
        ("churn/latest", {"newest": True}),
        ("churn@{2026-05-03}", {"moment": MAY}),
        ("churn@champion@{2026-05-03}", {"alias": "champion", "moment": MAY}),
        ("churn/Production", {"stage": "Production"}),
    ],
)
def test_a_model_a_version_an_alias_a_stage_and_a_date_can_be_named(text: str, meant: dict[str, object]) -> None:
    plain = {"name": "churn", "number": None, "alias": "", "stage": "", "moment": "", "newest": False}
    for typed in (text, f"models:/{text}", f" models:{text} "):
        found = parse_model(typed, NOW)
        assert {field: getattr(found, field) for field in plain} == plain | meant
        assert found.is_version == bool(meant.keys() - {"name"})


@pytest.mark.parametrize(
    "text", ["", "models:/", "a/b/c", "churn@", "churn@{someday}", "churn/3/model", "@champion", "/3"]
)
def test_what_names_no_model_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_model(text, NOW)
    assert "one of:" in error.value.hint


@given(st.text())
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = parse_model(text, NOW)
    except UsageError:
        return
    assert isinstance(found, ModelReference)
    assert found.name
