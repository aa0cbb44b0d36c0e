"""The model registry: numbers, aliases, stages, and a history that everything can be read off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.errors import AlreadyThere, NotFound, UsageError
from bis.ledger import history, model_search, registry, webhooks
from bis.ledger.runs import open_ledger
from bis.nouns.model import By

DAY = 86_400_000_000


def at(day: int, reason: str = "") -> By:
    return By("ana", day * DAY, reason)


@pytest.fixture
def connection(ledger_place: Path | str) -> Iterator[Any]:
    with open_ledger(ledger_place) as ledger, ledger.database.writing() as connection:
        yield connection


@pytest.fixture
def churn(connection: Any) -> Any:
    """A model with three versions; the first two were champion, on the days 2 and 5."""
    registry.create(connection, "churn", at(1), "who leaves", {"team": "growth"})
    for number in (1, 2, 3):
        registry.add_version(connection, "churn", at(number), source=f"runs:/{number}/model", run=str(number))
    registry.set_alias(connection, "churn", "champion", 1, at(2))
    registry.set_alias(connection, "churn", "champion", 2, at(5))
    return connection


def champion_at(connection: Any, name: str, moment: int) -> int | None:
    meant = history.version_meant(connection, registry.once(connection, name), "champion", moment)
    return meant.number if meant else None


def test_versions_are_numbered_from_one_and_say_where_they_come_from(churn: Any) -> None:
    assert [one.number for one in registry.versions(churn)] == [3, 2, 1]
    second = registry.version(churn, "churn", 2)
    assert (second.source, second.run, second.user, second.aliases) == ("runs:/2/model", "2", "ana", ("champion",))


def test_a_number_is_never_given_again(churn: Any) -> None:
    registry.remove_version(churn, "churn", 3, at(6))
    assert registry.add_version(churn, "churn", at(7), source="x").number == 4
    registry.remove(churn, "churn", at(8))
    registry.create(churn, "churn", at(9))
    assert registry.add_version(churn, "churn", at(9), source="y").number == 5


def test_a_number_is_not_given_again_where_a_model_takes_the_name_of_a_removed_one(churn: Any) -> None:
    registry.remove(churn, "churn", at(8))
    registry.create(churn, "other", at(9))
    registry.rename(churn, "other", "churn", at(9))
    assert registry.add_version(churn, "churn", at(9), source="y").number == 4


def test_two_models_cannot_have_one_name(churn: Any) -> None:
    registry.create(churn, "other", at(6))
    with pytest.raises(AlreadyThere, match="'churn' is there already"):
        registry.create(churn, "churn", at(6))
    with pytest.raises(AlreadyThere, match="'churn' is there already"):
        registry.rename(churn, "other", "churn", at(6))


@pytest.mark.parametrize("name", ["", " ", "a/b", "models:x", "..", "a\nb"])
def test_a_name_that_could_not_be_typed_in_a_reference_is_refused(connection: Any, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        registry.create(connection, name, at(1))


def test_a_removed_version_has_no_alias_and_gets_it_back_when_it_is_restored(churn: Any) -> None:
    registry.remove_version(churn, "churn", 2, at(6))
    with pytest.raises(registry.NoVersion):
        registry.version(churn, "churn", 2)
    with pytest.raises(registry.NoAlias):
        registry.by_alias(churn, "churn", "champion")
    assert registry.restore_version(churn, "churn", 2, at(7)).aliases == ("champion",)
    assert [champion_at(churn, "churn", day * DAY) for day in (5, 6, 7)] == [2, None, 2]
    with pytest.raises(registry.NoVersion):
        registry.restore_version(churn, "churn", 2, at(7))


def test_an_alias_that_was_taken_from_a_version_before_or_got_another_since_does_not_come_back(churn: Any) -> None:
    registry.set_alias(churn, "churn", "old", 2, at(5))
    registry.set_alias(churn, "churn", "kept", 2, at(5))
    registry.delete_alias(churn, "churn", "old", at(5))
    registry.remove_version(churn, "churn", 2, at(6))
    registry.set_alias(churn, "churn", "champion", 3, at(6))
    assert registry.restore_version(churn, "churn", 2, at(7)).aliases == ("kept",)
    assert registry.by_alias(churn, "churn", "champion").number == 3
    registry.delete_alias(churn, "churn", "kept", at(8))
    registry.remove_version(churn, "churn", 2, at(9))
    assert registry.restore_version(churn, "churn", 2, at(10)).aliases == ()


def test_a_removed_model_can_be_restored_with_all_that_it_had(churn: Any) -> None:
    registry.remove(churn, "churn", at(6))
    with pytest.raises(registry.NoModel):
        registry.get(churn, "churn")
    assert registry.versions(churn) == []
    restored = registry.restore(churn, "churn", at(7))
    assert (restored.tags, restored.aliases) == ({"team": "growth"}, {"champion": 2})
    assert [one.number for one in registry.versions(churn)] == [3, 2, 1]


@pytest.mark.parametrize(("day", "champion"), [(1, None), (2, 1), (4, 1), (5, 2), (9, 2)])
def test_the_champion_on_a_date_is_known(churn: Any, day: int, champion: int | None) -> None:
    assert champion_at(churn, "churn", day * DAY) == champion


def test_the_champion_on_a_date_is_known_after_renaming_and_removal(churn: Any) -> None:
    registry.rename(churn, "churn", "leavers", at(10))
    assert champion_at(churn, "leavers", 4 * DAY) == 1
    registry.remove(churn, "leavers", at(12))
    assert champion_at(churn, "leavers", 11 * DAY) == 2
    assert champion_at(churn, "leavers", 12 * DAY) is None
    assert champion_at(churn, "churn", 4 * DAY) == 1


def test_how_a_model_stood_at_a_time_is_read_off_its_history(churn: Any) -> None:
    registry.set_stage(churn, "churn", 1, "production", at(6))
    registry.remove_version(churn, "churn", 3, at(7))
    registry.delete_alias(churn, "churn", "champion", at(8))
    model = registry.get(churn, "churn")
    early, late = history.standing(churn, model, 6 * DAY), history.standing(churn, model, 8 * DAY)
    assert early
    assert late
    assert history.standing(churn, model, DAY // 2) is None
    assert (early.versions, early.aliases, early.stages) == ((1, 2, 3), {"champion": 2}, {1: "Production"})
    assert (late.versions, late.aliases) == ((1, 2), {})


def test_a_rollback_goes_one_back_each_time_and_is_an_entry_of_its_own(churn: Any) -> None:
    registry.set_alias(churn, "churn", "champion", 3, at(6))
    assert registry.rollback(churn, "churn", "champion", at(7, "it drifts")) == (3, 2)
    assert registry.rollback(churn, "churn", "champion", at(8)) == (2, 1)
    with pytest.raises(NotFound, match="meant no other version before"):
        registry.rollback(churn, "churn", "champion", at(9))
    newest = history.events(churn, registry.get(churn, "churn"))[:2]
    assert [(one.action, one.before, one.after, one.reason) for one in newest] == [
        ("rolled back", "2", "1", ""),
        ("rolled back", "3", "2", "it drifts"),
    ]
    assert champion_at(churn, "churn", 7 * DAY) == 2


def test_after_a_rollback_and_a_new_champion_it_goes_back_to_what_was_rolled_back_to(churn: Any) -> None:
    registry.rollback(churn, "churn", "champion", at(6))
    registry.set_alias(churn, "churn", "champion", 3, at(7))
    assert registry.rollback(churn, "churn", "champion", at(8)) == (3, 1)


def test_a_rollback_passes_over_a_version_that_was_removed(churn: Any) -> None:
    registry.set_alias(churn, "churn", "champion", 3, at(6))
    registry.remove_version(churn, "churn", 2, at(7))
    assert registry.rollback(churn, "churn", "champion", at(8)) == (3, 1)


def test_an_alias_that_was_taken_away_comes_back_by_a_rollback(churn: Any) -> None:
    registry.delete_alias(churn, "churn", "champion", at(6))
    assert registry.rollback(churn, "churn", "champion", at(7)) == (0, 2)


def test_moving_to_a_stage_archives_those_that_were_in_it_when_asked(churn: Any) -> None:
    registry.set_stage(churn, "churn", 1, "Production", at(6))
    assert registry.set_stage(churn, "churn", 2, "PRODUCTION", at(7), archive=True).stage == "Production"
    assert registry.version(churn, "churn", 1).stage == "Archived"
    assert {one.stage: one.number for one in registry.latest(churn, [registry.get(churn, "churn")])["churn"]} == {
        "Archived": 1,
        "Production": 2,
        "None": 3,
    }
    with pytest.raises(UsageError, match="no stage 'live'"):
        registry.set_stage(churn, "churn", 1, "live", at(8))
    with pytest.raises(UsageError, match="nothing is archived"):
        registry.set_stage(churn, "churn", 1, "Archived", at(8), archive=True)


def test_every_change_has_its_entry_with_who_and_why(churn: Any) -> None:
    def entries() -> list[tuple[Any, ...]]:
        found = history.events(churn, registry.get(churn, "churn"))
        return [(one.action, one.version, one.key, one.before, one.after, one.user, one.reason) for one in found]

    had = len(entries())
    because = at(6, "asked by Bo")
    registry.describe(churn, "churn", "who may leave", because)
    registry.set_tag(churn, "churn", "team", "sales", because)
    registry.delete_tag(churn, "churn", "team", because)
    registry.describe_version(churn, "churn", 1, "first", because)
    registry.set_version_tag(churn, "churn", 1, "ok", "yes", because)
    registry.delete_version_tag(churn, "churn", 1, "ok", because)
    registry.set_stage(churn, "churn", 1, "Staging", because)
    registry.delete_alias(churn, "churn", "champion", because)
    registry.remove_version(churn, "churn", 1, because)
    told = entries()[: len(entries()) - had][::-1]
    assert [entry[:5] for entry in told] == [
        ("described", None, "", "who leaves", "who may leave"),
        ("tagged", None, "team", "growth", "sales"),
        ("untagged", None, "team", "sales", ""),
        ("described", 1, "", "", "first"),
        ("tagged", 1, "ok", "", "yes"),
        ("untagged", 1, "ok", "yes", ""),
        ("stage", 1, "", "None", "Staging"),
        ("unaliased", 2, "champion", "2", ""),
        ("removed", 1, "", "", ""),
    ]
    assert {entry[5:] for entry in told} == {("ana", "asked by Bo")}


def test_what_changes_nothing_leaves_no_entry(churn: Any) -> None:
    model = registry.get(churn, "churn")
    had = history.events(churn, model)
    registry.set_alias(churn, "churn", "champion", 2, at(6))
    registry.set_tag(churn, "churn", "team", "growth", at(6))
    registry.delete_tag(churn, "churn", "nothing", at(6))
    registry.delete_alias(churn, "churn", "nothing", at(6))
    registry.set_stage(churn, "churn", 1, "None", at(6))
    assert history.events(churn, model) == had


def test_many_versions_are_listed_with_their_tags(connection: Any) -> None:
    registry.create(connection, "many", at(1))
    for number in range(1, 1203):
        registry.add_version(connection, "many", at(1), source="x", tags={"n": str(number)})
    found = registry.versions(connection)
    assert [one.tags["n"] for one in found] == [str(one.number) for one in found]
    assert [one.number for one in registry.versions(connection, limit=2, offset=1)] == [1201, 1200]


# -- searching ---------------------------------------------------------------------------------------------------


def found_models(connection: Any, text: str, order: tuple[str, ...] = ()) -> list[str]:
    where = model_search.models_where(text, "hidden")
    return [
        model.name
        for model in registry.models(connection, where.where, where.values, order=model_search.models_order(order))
    ]


def found_versions(connection: Any, text: str, order: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    where = model_search.versions_where(text, "hidden")
    by = model_search.versions_order(order)
    return [(one.name, one.number) for one in registry.versions(connection, where.where, where.values, order=by)]


@pytest.fixture
def several(connection: Any) -> Any:
    for number, name in enumerate(("Alpha", "alpha2", "b%ta", "a\\b"), start=1):
        registry.create(connection, name, at(number), tags={"team": name[0], "odd": str(number % 2)})
        registry.add_version(connection, name, at(10 - number), source=f"s3://x/{name}", run=f"r{number}")
    registry.create(connection, "prompt", at(5), tags={"hidden": "true"})
    registry.add_version(connection, "Alpha", at(20), source="s3://x/2", tags={"ok": "yes"})
    return connection


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["Alpha", "a\\b", "alpha2", "b%ta"]),
        ("name = 'alpha2'", ["alpha2"]),
        ("name != 'alpha2'", ["Alpha", "a\\b", "b%ta"]),
        ("name LIKE 'alpha%'", ["alpha2"]),
        ("name ILIKE 'ALPHA%'", ["Alpha", "alpha2"]),
        ("name LIKE 'a\\b'", ["a\\b"]),
        ("tags.team = 'a' AND tag.odd = '0'", ["a\\b", "alpha2"]),
        ("tags.`team` != 'a'", ["Alpha", "b%ta"]),
        ("tags.nothing != 'a'", []),
        ("tags.hidden = 'true'", ["prompt"]),
    ],
)
def test_models_are_found_by_name_and_tags(several: Any, text: str, names: list[str]) -> None:
    assert found_models(several, text) == names


def test_versions_are_found_by_where_they_come_from_and_those_that_changed_last_come_first(several: Any) -> None:
    assert found_versions(several, "") == [("Alpha", 2), ("Alpha", 1), ("alpha2", 1), ("b%ta", 1), ("a\\b", 1)]
    assert found_versions(several, "run_id IN ('r1', 'r3')") == [("Alpha", 1), ("b%ta", 1)]
    assert found_versions(several, "version_number > 1") == [("Alpha", 2)]
    assert found_versions(several, "source_path LIKE 's3://x/b%'") == [("b%ta", 1)]
    assert found_versions(several, "tags.ok = 'yes'") == [("Alpha", 2)]
    assert found_versions(several, "name = 'Alpha'", ("version_number ASC",)) == [("Alpha", 1), ("Alpha", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name = 'a",
        "name = 'a' OR name = 'b'",
        "name = 'a' name = 'b'",
        "name > 'a'",
        "name = a",
        "name IN ('a')",
        "run_id = 'x'",
        "params.x = '1'",
        "tags.x > '1'",
        "' OR 1=1 --",
        "name = 'a'; DROP TABLE runs",
        " AND ".join(["name = 'a'"] * 300),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        model_search.models_where(text)


@pytest.mark.parametrize("order", [("nothing",), ("name ASC DESC",), ("name UP",), ("name", "name DESC"), ("",)])
def test_an_order_that_makes_no_sense_is_refused(order: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        model_search.models_order(order)


# -- webhooks ----------------------------------------------------------------------------------------------------


def test_webhooks_are_told_of_what_they_want_to_hear_while_they_are_active(connection: Any) -> None:
    one = webhooks.create(connection, "a", "https://a", ["x.created", "y.set"], 1, secret="s")
    two = webhooks.create(connection, "b", "https://b", ["x.created"], 2, status="DISABLED")
    assert webhooks.told_of(connection, "x.created") == [one]
    assert webhooks.told_of(connection, "y.deleted") == []
    woken = webhooks.update(connection, two.id, 3, status="ACTIVE", events=("y.set",))
    assert webhooks.told_of(connection, "y.set") == [woken, one]
    webhooks.remove(connection, one.id)
    with pytest.raises(NotFound):
        webhooks.get(connection, one.id)
    assert webhooks.all_of(connection) == [woken]
