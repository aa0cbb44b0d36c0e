"""The registry follows from its events, on every database: made anew from them it is the same, and two who have the
same events have the same registry, whoever brought what to whom first."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.digest import canonical, digest_bytes
from bis.errors import BisError
from bis.ledger import collecting, history, model_events, registry
from bis.ledger.model_events import Held
from bis.ledger.places import database_at
from bis.nouns.model import By
from bis.nouns.model_event import ModelEvent

DAY = 86_400_000_000
NAMES = ("churn", "fraud")
TABLES = {
    "registered_models": "name, description, made, changed, removed",
    "model_versions": "record, version, description, username, stage, source, run, made, changed, removed",
    "model_version_tags": "record, key, value",
    "registry_events": "seq, record, made, name, version, origin, action, key, before, after, reason, newest",
}
OF_MODELS = {"registered_model_tags": "key, value", "model_aliases": "alias, version, record"}


def at(day: float, user: str = "ana", reason: str = "") -> By:
    return By(user, int(day * DAY), reason)


class Undone(Exception):
    """Takes a transaction back."""


@contextlib.contextmanager
def ledger(place: Path | str) -> Iterator[Any]:
    """A transaction of which nothing stays."""
    base = database_at(place)
    with contextlib.closing(base), contextlib.suppress(Undone), base.writing(durable=False) as connection:
        yield connection
        raise Undone


def all_events(connection: Any) -> list[Held]:
    return [
        Held(msgspec.json.decode(content, type=ModelEvent), record)
        for record, content in model_events.everything(connection)
    ]


def state(connection: Any) -> dict[str, list[Any]]:
    """All that the registry is, but for numbers that are of one ledger alone."""
    found = {
        table: sorted(map(repr, connection.execute(f"SELECT {columns} FROM {table}").fetchall()))
        for table, columns in TABLES.items()
    }
    for table, columns in OF_MODELS.items():
        asked = f"SELECT m.name, m.removed, m.made, {columns} FROM {table} t JOIN registered_models m ON m.id = t.model"
        found[table] = sorted(map(repr, connection.execute(asked).fetchall()))
    found["standings"] = list(standings(connection))
    return found


def standings(connection: Any) -> Iterator[str]:
    """How each model stood on some days, and what its alias meant then."""
    for name, day in itertools.product(NAMES, range(0, 60, 6)):
        with contextlib.suppress(registry.NoModel):
            model = registry.once(connection, name)
            stood = history.standing(connection, model, day * DAY)
            meant = history.version_meant(connection, model, "champion", day * DAY)
            yield repr((name, day, stood and (stood.name, stood.versions, stood.aliases, stood.stages), meant))


def again(connection: Any) -> None:
    """Make the registry anew, as `bis reindex` does where the ledger was lost."""
    events = all_events(connection)
    forget(connection)
    model_events.take(connection, events[::-1])


def forget(connection: Any) -> None:
    for table in (*TABLES, *OF_MODELS, "registry_lines"):
        connection.execute(f"DELETE FROM {table}")


# -- any sequence of changes -------------------------------------------------------------------------------------


KINDS = (
    *("create", "add", "add", "alias", "alias", "unalias", "rollback", "tag", "untag", "tag version", "describe"),
    *("describe version", "stage", "archive", "remove version", "restore version", "remove", "restore", "rename"),
    "collect",
)


@st.composite
def changes(draw: Any) -> list[tuple[Any, ...]]:
    """What somebody does to the registry, one after the other; some of it is refused."""
    kind = st.sampled_from(KINDS)
    one = st.tuples(kind, st.sampled_from(NAMES), st.integers(1, 4), st.sampled_from(["champion", "next"]))
    return draw(st.lists(one, max_size=14))


def begun(some: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """With a model that has a version, so that the rest is about something."""
    return [("create", "churn", 1, "a"), ("add", "churn", 1, "b"), *some]


def do(connection: Any, change: tuple[Any, ...], by: By) -> None:
    """A change, or that it was refused: nothing of it stays then."""
    kind, name, number, word = change
    connection.execute("SAVEPOINT change")
    try:
        match kind:
            case "create":
                registry.create(connection, name, by, word, {"team": word})
            case "add":
                registry.add_version(connection, name, by, source=f"s{number}", run=word, tags={"n": word})
            case "alias":
                registry.set_alias(connection, name, word, number, by)
            case "unalias":
                registry.delete_alias(connection, name, word, by)
            case "rollback":
                registry.rollback(connection, name, word, by)
            case "tag":
                registry.set_tag(connection, name, word, str(number), by)
            case "untag":
                registry.delete_tag(connection, name, word, by)
            case "tag version":
                registry.set_version_tag(connection, name, number, word, str(number), by)
            case "describe":
                registry.describe(connection, name, word, by)
            case "describe version":
                registry.describe_version(connection, name, number, word, by)
            case "stage" | "archive":
                registry.set_stage(connection, name, number, "Production", by, archive=kind == "archive")
            case "remove version":
                registry.remove_version(connection, name, number, by)
            case "restore version":
                registry.restore_version(connection, name, number, by)
            case "remove":
                registry.remove(connection, name, by)
            case "restore":
                registry.restore(connection, name, by)
            case "rename":
                registry.rename(connection, name, NAMES[1 - NAMES.index(name)], by)
            case "collect":
                doomed = collecting.doomed(connection, by.at, measured=False)
                for step in collecting.steps(doomed):
                    collecting.delete(connection, step, by)
    except BisError:
        connection.execute("ROLLBACK TO change")
    connection.execute("RELEASE change")


def do_all(connection: Any, some: list[tuple[Any, ...]], user: str, first: float) -> None:
    for number, change in enumerate(some):
        do(connection, change, at(first + number, user, "because"))


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=changes())
def test_made_anew_from_its_events_the_registry_is_the_same(ledger_place: Path | str, some: Any) -> None:
    with ledger(ledger_place) as connection:
        do_all(connection, begun(some), "ana", 1)
        ids = connection.execute("SELECT id, name FROM registered_models ORDER BY id").fetchall()
        before = state(connection)
        again(connection)
        assert state(connection) == before
        assert connection.execute("SELECT id, name FROM registered_models ORDER BY id").fetchall() == ids


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(both=changes(), ana=changes(), bo=changes(), later=changes())
def test_two_who_worked_apart_have_the_same_whoever_brings_what_first(
    ledger_place: Path | str, both: Any, ana: Any, bo: Any, later: Any
) -> None:
    with ledger(ledger_place) as connection:
        do_all(connection, begun(both), "ana", 1)
        shared = all_events(connection)
        do_all(connection, ana, "ana", 20)
        hers = all_events(connection)
        forget(connection)
        model_events.take(connection, shared)
        do_all(connection, bo, "bo", 20.5)
        his = all_events(connection)
        model_events.take(connection, hers)
        one_way = state(connection)
        forget(connection)
        model_events.take(connection, hers)
        model_events.take(connection, his)
        assert state(connection) == one_way
        again(connection)
        assert state(connection) == one_way
        do_all(connection, later, "ana", 40)
        before = state(connection)
        again(connection)
        assert state(connection) == before


# -- what comes of two who worked apart --------------------------------------------------------------------------


@pytest.fixture
def apart(ledger_place: Path | str) -> Iterator[Any]:
    """A ledger in which `churn` has one version; and what two others do to it apart from each other."""
    with ledger(ledger_place) as connection:
        registry.create(connection, "churn", at(1))
        registry.add_version(connection, "churn", at(2), source="runs:/a/model", run="a")
        registry.set_alias(connection, "churn", "champion", 1, at(3))
        yield connection


def meeting(connection: Any, *works: Any) -> None:
    """Each starts with what is there; then all of it is brought together."""
    shared, everything = all_events(connection), []
    for work in works:
        forget(connection)
        model_events.take(connection, shared)
        work(connection)
        everything += all_events(connection)
    model_events.take(connection, everything)


def add(user: str, day: float, *, champion: bool = False) -> Any:
    def work(connection: Any) -> None:
        made = registry.add_version(connection, "churn", at(day, user), source=f"runs:/{user}/m", run=user * 4)
        if champion:
            registry.set_alias(connection, "churn", "champion", made.number, at(day + 0.5, user))

    return work


def test_a_number_that_two_gave_means_neither_and_each_is_meant_by_its_record(apart: Any) -> None:
    meeting(apart, add("bo", 5), add("ana", 4))
    with pytest.raises(registry.SeveralVersions, match="2 versions of the model 'churn' are called 2") as refused:
        registry.version(apart, "churn", 2)
    newest, other = [one for one in registry.versions(apart) if one.number == 2]
    assert (newest.user, other.user) == ("bo", "ana")
    for one in (newest, other):
        assert f"{one.exact}  run {one.run[:8]}" in refused.value.because
        assert registry.version(apart, "churn", one.record) == one
        assert registry.version(apart, "churn", one.record[:11]) == one
    assert newest.exact in refused.value.hint
    assert registry.add_version(apart, "churn", at(9), source="x").number == 3
    registry.remove_version(apart, "churn", other.record, at(10))
    assert registry.version(apart, "churn", 2) == newest
    assert registry.latest(apart, [registry.get(apart, "churn")])["churn"][0].number == 3


def test_of_two_who_moved_an_alias_the_later_wins_and_the_history_shows_both(apart: Any) -> None:
    meeting(apart, add("bo", 7, champion=True), add("ana", 4, champion=True))
    assert registry.by_alias(apart, "churn", "champion").user == "bo"
    model = registry.get(apart, "churn")
    moves = [(one.user, one.version) for one in history.alias_moves(apart, model, "champion")]
    assert moves == [("ana", 1), ("ana", 2), ("bo", 2)]
    meant = history.version_meant(apart, model, "champion", 6 * DAY)
    assert meant
    assert registry.version(apart, "churn", meant.record).user == "ana"
    assert registry.rollback(apart, "churn", "champion", at(9)) == (2, 2)
    assert registry.by_alias(apart, "churn", "champion").user == "ana"


def test_a_clock_that_is_behind_does_not_undo_what_was_known(apart: Any) -> None:
    """Who has seen a change comes after it, whatever their clock says."""
    registry.add_version(apart, "churn", at(2.5), source="x")
    registry.set_alias(apart, "churn", "champion", 2, at(0.5))
    again(apart)
    assert registry.by_alias(apart, "churn", "champion").number == 2


def test_what_two_created_under_one_name_is_one_model_until_one_of_them_is_removed_or_renamed(apart: Any) -> None:
    def create(user: str) -> Any:
        def work(connection: Any) -> None:
            registry.create(connection, "fraud", at(4, user), "", {user: "yes"})
            registry.add_version(connection, "fraud", at(5, user), source=user)
            registry.set_alias(connection, "fraud", f"of-{user}", 1, at(6, user))

        return work

    def create_and_remove(connection: Any) -> None:
        create("bo")(connection)
        registry.remove(connection, "fraud", at(8, "bo"))

    def create_and_rename(connection: Any) -> None:
        create("bo")(connection)
        registry.rename(connection, "fraud", "theft", at(8, "bo"))

    meeting(apart, create("ana"), create("bo"))
    model = registry.get(apart, "fraud")
    assert (model.tags, model.aliases) == ({"ana": "yes", "bo": "yes"}, {"of-ana": 1, "of-bo": 1})
    assert len(registry.versions(apart, "m.name = ?", ("fraud",))) == 2
    registry.remove(apart, "fraud", at(20))
    assert [one.name for one in registry.models(apart)] == ["churn"]
    assert registry.restore(apart, "fraud", at(21)).aliases == {"of-ana": 1, "of-bo": 1}
    for work, name in ((create_and_remove, "fraud"), (create_and_rename, "fraud")):
        forget(apart)
        meeting(apart, create("ana"), work)
        model = registry.get(apart, name)
        assert (model.tags, model.aliases) == ({"ana": "yes"}, {"of-ana": 1})
    assert registry.get(apart, "theft").aliases == {"of-bo": 1}


def test_what_was_removed_stays_removed_though_another_went_on(apart: Any) -> None:
    meeting(apart, lambda connection: registry.remove(connection, "churn", at(4)), add("bo", 6, champion=True))
    assert registry.models(apart) == []
    assert registry.restore(apart, "churn", at(9)).aliases == {"champion": 2}


def test_an_alias_of_a_version_that_another_removed_means_what_it_meant(apart: Any) -> None:
    registry.add_version(apart, "churn", at(3), source="x")
    meeting(
        apart,
        lambda connection: registry.remove_version(connection, "churn", 2, at(5)),
        lambda connection: registry.set_alias(connection, "churn", "champion", 2, at(6)),
    )
    assert registry.by_alias(apart, "churn", "champion").number == 1


def test_an_alias_goes_with_the_version_that_another_removed_later(apart: Any) -> None:
    registry.add_version(apart, "churn", at(3), source="x")
    meeting(
        apart,
        lambda connection: registry.set_alias(connection, "churn", "next", 2, at(5)),
        lambda connection: registry.remove_version(connection, "churn", 2, at(6)),
    )
    assert registry.get(apart, "churn").aliases == {"champion": 1}


def test_an_event_vouches_for_those_before_it(apart: Any) -> None:
    events = all_events(apart)
    for before, after in itertools.pairwise(events):
        assert after.event.follows == (before.record,)
    forged = msgspec.structs.replace(events[0].event, user="nobody")
    assert digest_bytes(canonical(forged)) not in events[1].event.follows


def test_events_that_came_without_what_they_follow_are_put_in_place_when_it_comes(apart: Any) -> None:
    before, events = state(apart), all_events(apart)
    forget(apart)
    for one in events[::-1]:
        model_events.take(apart, [one])
        model_events.take(apart, [one])
    assert state(apart) == before


@pytest.mark.parametrize("wrong", [{"made": "yesterday"}, {"version": 0}, {"version": 1 << 62}])
def test_a_record_that_no_ledger_can_hold_is_passed_over(apart: Any, wrong: dict[str, Any]) -> None:
    before, event = state(apart), msgspec.structs.replace(all_events(apart)[1].event, **wrong)
    model_events.take(apart, [Held(event, digest_bytes(canonical(event)))])
    assert state(apart) == before


def test_an_event_about_a_version_of_another_model_changes_nothing(apart: Any) -> None:
    registry.create(apart, "fraud", at(4))
    registry.add_version(apart, "fraud", at(5), source="x")
    before = registry.versions(apart)
    fraud, churn = all_events(apart)[-2].record, registry.version(apart, "churn", 1).record
    for action in ("removed", "stage", "tagged", "alias", "collected"):
        words: Any = {"action": action, "key": "k" if action in ("tagged", "alias") else "", "after": "Production"}
        forged = ModelEvent(made="2030-01-01T00:00:00Z", name="fraud", model=fraud, version=1, origin=churn, **words)
        model_events.take(apart, [Held(forged, digest_bytes(canonical(forged)))])
        assert registry.versions(apart) == before
