"""Events of the registry: added one after the other, taken from the store, and what the registry is by them.

The tables of the registry follow from the events alone, so that all who have the same events have the same registry.
The order of events is: what somebody knew of comes before what they did, and of what was done apart the earlier first.
An event that is added here follows all that are here, and changes the tables by itself; when others come to stand
before it, the tables of the models that this is about are made anew. Each function is one question or change within the
caller's transaction.

A line is what began with one creation of a model. Lines that are there and have the same name are one registered model:
two people may both have created it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bis.digest import Digest, canonical, digest_bytes
from bis.ledger.connection import Connection
from bis.ledger.moments import micros, stamp
from bis.nouns.model import Action, By, Model, ModelVersion
from bis.nouns.model_event import ModelEvent

AT_ONCE: Final = 500
MOST: Final = 1 << 62
LIFE: Final = ("created", "renamed", "removed", "restored", "collected")
"""Of a line: its name, and whether it is there."""


class Held(NamedTuple):
    """An event with its record."""

    event: ModelEvent
    record: Digest


class _Shown(NamedTuple):
    """The row of a registered model that an event is about."""

    id: int
    name: str
    removed: int | None


# -- adding ------------------------------------------------------------------------------------------------------


def note(
    connection: Connection,
    model: Model | None,
    action: Action,
    by: By,
    *,
    name: str = "",
    about: ModelVersion | None = None,
    line: Digest | None = None,
    **words: Any,
) -> Digest:
    """Add an event, about a version or a model as a whole, and change the tables by it. Returns its record, which is to
    be put into the store when the transaction is committed. `line`: of a model that several lines make, the one that it
    is about; else the first, or that of the version."""
    if about:
        line = _line_of_version(connection, about.record)
        words = {"version": about.number, "origin": about.record, **words}
    elif model and not line:
        line = lines(connection, model)[0]
    event = ModelEvent(
        made=stamp(by.at),
        user=by.user,
        follows=_newest(connection),
        model=line or Digest(""),
        name=model.name if model else name,
        action=action,
        reason=by.reason,
        **words,
    )
    content = canonical(event)
    held = Held(event, digest_bytes(content))
    ((last,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM registry_events").fetchall()
    _insert(connection, last + 1, held, content, kept=False)
    _advance(connection, held)
    return held.record


def lines(connection: Connection, model: Model) -> list[Digest]:
    """The lines of a model, the first one first."""
    found = connection.execute("SELECT record FROM registry_lines WHERE model = ? ORDER BY id", (model.id,)).fetchall()
    return [Digest(record) for (record,) in found]


def waiting(connection: Connection) -> list[tuple[Digest, bytes]]:
    """Events that may be in no store yet."""
    found = connection.execute("SELECT record, content FROM registry_events WHERE kept = 0 ORDER BY seq").fetchall()
    return [(Digest(record), bytes(content)) for record, content in found]


def everything(connection: Connection) -> Iterator[tuple[Digest, bytes]]:
    for record, content in connection.execute("SELECT record, content FROM registry_events ORDER BY seq").fetchall():
        yield Digest(record), bytes(content)


def kept(connection: Connection, records: Sequence[Digest]) -> None:
    """These records are in a store."""
    connection.executemany("UPDATE registry_events SET kept = 1 WHERE record = ?", [(record,) for record in records])


def _newest(connection: Connection) -> tuple[Digest, ...]:
    found = connection.execute("SELECT record FROM registry_events WHERE newest = 1").fetchall()
    return tuple(sorted(Digest(record) for (record,) in found))


def _line_of_version(connection: Connection, record: str) -> Digest:
    ((line,),) = connection.execute(
        "SELECT l.record FROM registry_events e JOIN registry_lines l ON l.id = e.line WHERE e.record = ?", (record,)
    ).fetchall()
    return Digest(line)


def _insert(connection: Connection, seq: int, held: Held, content: bytes, *, kept: bool) -> int:
    """The row of an event; returns its line, which is made where there is none."""
    event, record = held
    line = _line(connection, event.model or record)
    connection.executemany(
        "UPDATE registry_events SET newest = 0 WHERE record = ?", [(before,) for before in event.follows]
    )
    connection.execute(
        "INSERT INTO registry_events (seq, record, made, username, line, model, name, version, origin, action, key,"
        " before, after, reason, newest, kept, content)"
        " VALUES (?, ?, ?, ?, ?, (SELECT model FROM registry_lines WHERE id = ?), ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)",
        (
            seq,
            record,
            micros(event.made),
            event.user,
            line,
            line,
            event.name,
            event.version,
            origin_of(held),
            event.action,
            event.key,
            event.before,
            event.after,
            event.reason,
            int(kept),
            content,
        ),
    )
    return line


def _line(connection: Connection, record: Digest) -> int:
    for (id,) in connection.execute("SELECT id FROM registry_lines WHERE record = ?", (record,)).fetchall():
        return int(id)
    ((id,),) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM registry_lines").fetchall()
    connection.execute("INSERT INTO registry_lines (id, record, model) VALUES (?, ?, ?)", (id, record, id))
    return int(id)


def origin_of(held: Held) -> Digest:
    """Of the version that an event is about; empty where it is about the model as a whole."""
    event = held.event
    if event.version is None:
        return Digest("")
    return held.record if event.action == "created" else event.origin


def _advance(connection: Connection, held: Held) -> None:
    """Change the tables by an event that comes after all others."""
    event = held.event
    ((line, id),) = connection.execute(
        "SELECT id, model FROM registry_lines WHERE record = ?", (event.model or held.record,)
    ).fetchall()
    name, removed = event.name, None
    if event.version is None and event.action in LIFE:
        name = event.after if event.action == "renamed" else event.name
        removed = micros(event.made) if event.action == "removed" else None
        if event.action == "collected" or not _is_alone(connection, id, name):
            _settle(connection, [line])
            return
    _apply(connection, held, _Shown(id, name, removed))


def _is_alone(connection: Connection, model: int, name: str) -> bool:
    """Whether one line makes a model, and no other model is called so."""
    ((members,),) = connection.execute("SELECT count(*) FROM registry_lines WHERE model = ?", (model,)).fetchall()
    asked = "SELECT 1 FROM registered_models WHERE name = ? AND removed IS NULL AND id <> ?"
    return members == 1 and not connection.execute(asked, (name, model)).fetchall()


# -- taking ------------------------------------------------------------------------------------------------------


def take(connection: Connection, events: Iterable[Held]) -> None:
    """Take events that are in the store, in any order; those that are here already stay as they are."""
    known = {
        Digest(record): (seq, bytes(content), kept)
        for seq, record, content, kept in connection.execute(
            "SELECT seq, record, content, kept FROM registry_events"
        ).fetchall()
    }
    fresh = {held.record: held.event for held in events if held.record not in known and _is_sane(held.event)}
    if not fresh:
        return
    before = sorted(known, key=lambda record: known[record][0])
    here = {record: msgspec.json.decode(known[record][1], type=ModelEvent, strict=False) for record in before}
    order = in_order({**here, **fresh})
    same = next((place for place, record in enumerate(before) if order[place] != record), len(before))
    for some in _parts(before[same:]):
        connection.execute(f"DELETE FROM registry_events WHERE record IN ({_marks(some)})", some)
    touched = set()
    for seq, record in enumerate(order[same:], same + 1):
        event = fresh.get(record) or here[record]
        _, content, is_kept = known.get(record, (0, canonical(event), 1))
        touched.add(_insert(connection, seq, Held(event, record), content, kept=bool(is_kept)))
    _settle(connection, touched)


def in_order(events: Mapping[Digest, ModelEvent]) -> list[Digest]:
    """All of them: each after those that it follows, as far as these are here, and of those that do not follow each
    other the earlier first; where that is the same, by their digests."""
    left = {record: sum(before in events for before in event.follows) for record, event in events.items()}
    followers: dict[Digest, list[Digest]] = {}
    for record, event in events.items():
        for before in event.follows:
            followers.setdefault(before, []).append(record)
    ready = [(micros(events[record].made), record) for record, count in left.items() if not count]
    heapq.heapify(ready)
    order: list[Digest] = []
    while ready:
        _, record = heapq.heappop(ready)
        order.append(record)
        for after in followers.get(record, ()):
            left[after] -= 1
            if not left[after]:
                heapq.heappush(ready, (micros(events[after].made), after))
    return order


def _is_sane(event: ModelEvent) -> bool:
    """Whether the tables can hold it: a record may come from anybody."""
    try:
        micros(event.made)
    except (ValueError, OverflowError):
        return False
    return event.version is None or 0 < event.version < MOST


# -- what follows from the events --------------------------------------------------------------------------------


class _Life(NamedTuple):
    """How a line ended up."""

    name: str
    removed: int | None
    collected: bool


def _settle(connection: Connection, lines: Iterable[int]) -> None:
    """Make the tables anew for some lines, and for all that are, or come to be, one model with them."""
    found = _together(connection, set(lines))
    _delete(connection, sorted({*found, *_models_of(connection, found)}))
    groups: dict[Any, list[int]] = {}
    for line, life in sorted(found.items()):
        there = life is not None and not life.collected
        groups.setdefault(life.name if life and there and life.removed is None else line, []).append(line)
    for members in groups.values():
        _make(connection, members, found[members[0]])


def _together(connection: Connection, lines: set[int]) -> dict[int, _Life | None]:
    """These lines, those that are one model with them, and those that have their names; how each ended up."""
    found: dict[int, _Life | None] = {}
    while new := lines - found.keys():
        found |= {line: _life(connection, line) for line in new}
        models = _models_of(connection, new)
        names = [life.name for line in new if (life := found[line]) and life.removed is None and not life.collected]
        for some in _parts(names):
            rows = connection.execute(
                f"SELECT id FROM registered_models WHERE removed IS NULL AND name IN ({_marks(some)})", some
            ).fetchall()
            models |= {id for (id,) in rows}
        for some in _parts(sorted(models)):
            rows = connection.execute(f"SELECT id FROM registry_lines WHERE model IN ({_marks(some)})", some).fetchall()
            lines |= {id for (id,) in rows}
    return found


def _models_of(connection: Connection, lines: Iterable[int]) -> set[int]:
    found: set[int] = set()
    for some in _parts(sorted(lines)):
        rows = connection.execute(f"SELECT model FROM registry_lines WHERE id IN ({_marks(some)})", some).fetchall()
        found |= {id for (id,) in rows}
    return found


def _life(connection: Connection, line: int) -> _Life | None:
    """None: its beginning is not here."""
    rows = connection.execute(
        f"SELECT action, name, after, made FROM registry_events WHERE line = ? AND version IS NULL AND action IN"
        f" ({_marks(LIFE)}) ORDER BY seq",
        (line, *LIFE),
    ).fetchall()
    life: _Life | None = None
    for action, name, after, made in rows:
        if action == "created":
            life = _Life(name, None, False)
        elif life is None:
            continue
        elif action == "renamed":
            life = life._replace(name=after)
        elif action == "removed":
            life = life._replace(removed=made)
        elif action == "restored":
            life = life._replace(removed=None)
        else:
            life = life._replace(collected=True)
    return life


def _delete(connection: Connection, models: Sequence[int]) -> None:
    for some in _parts(models):
        marks = _marks(some)
        of_these = f"SELECT record FROM model_versions WHERE model IN ({marks})"
        connection.execute(f"DELETE FROM model_version_tags WHERE record IN ({of_these})", some)
        for table in ("registered_model_tags", "model_aliases", "model_versions"):
            connection.execute(f"DELETE FROM {table} WHERE model IN ({marks})", some)
        connection.execute(f"DELETE FROM registered_models WHERE id IN ({marks})", some)


def _make(connection: Connection, members: Sequence[int], life: _Life | None) -> None:
    """The rows of the model that these lines make, by their events."""
    id, marks = members[0], _marks(members)
    connection.execute(f"UPDATE registry_lines SET model = ? WHERE id IN ({marks})", (id, *members))
    connection.execute(f"UPDATE registry_events SET model = ? WHERE line IN ({marks})", (id, *members))
    if life is None or life.collected:
        return
    shown = _Shown(id, life.name, life.removed)
    for record, content in connection.execute(
        f"SELECT record, content FROM registry_events WHERE line IN ({marks}) ORDER BY seq", tuple(members)
    ).fetchall():
        event = msgspec.json.decode(content, type=ModelEvent, strict=False)
        _apply(connection, Held(event, Digest(record)), shown)


def _apply(connection: Connection, held: Held, shown: _Shown) -> None:
    """What one event does to the tables. One about a version of another model does nothing: it is forged."""
    if held.event.origin and held.event.action != "unaliased" and not _has(connection, shown.id, held.event.origin):
        return
    match held.event.action:
        case "alias" | "rolled back" | "unaliased":
            _apply_to_alias(connection, held, shown.id)
        case "tagged" | "untagged":
            _apply_to_tag(connection, held, shown.id)
        case _ if held.event.version is None:
            _apply_to_model(connection, held.event, shown)
        case _:
            _apply_to_version(connection, held, shown.id)


def _has(connection: Connection, model: int, version: Digest) -> bool:
    found = connection.execute("SELECT 1 FROM model_versions WHERE record = ? AND model = ?", (version, model))
    return bool(found.fetchall())


def _apply_to_model(connection: Connection, event: ModelEvent, shown: _Shown) -> None:
    at = micros(event.made)
    match event.action:
        case "created":
            # Of two who both created it, the first one's words count, where there are any.
            connection.execute(
                "INSERT INTO registered_models (id, name, description, made, changed, removed)"
                " VALUES (:id, :name, :text, :at, :at, :removed) ON CONFLICT (id) DO UPDATE SET changed = :at,"
                " description = CASE WHEN registered_models.description = '' THEN :text"
                " ELSE registered_models.description END",
                {"id": shown.id, "name": shown.name, "text": event.after, "at": at, "removed": shown.removed},
            )
        case "renamed":
            connection.execute(
                "UPDATE registered_models SET name = ?, changed = ? WHERE id = ?", (shown.name, at, shown.id)
            )
            connection.execute("UPDATE model_versions SET changed = ? WHERE model = ?", (at, shown.id))
        case "described":
            connection.execute(
                "UPDATE registered_models SET description = ?, changed = ? WHERE id = ?", (event.after, at, shown.id)
            )
        case "removed" | "restored":
            connection.execute(
                "UPDATE registered_models SET removed = ?, changed = ? WHERE id = ?", (shown.removed, at, shown.id)
            )


def _apply_to_version(connection: Connection, held: Held, model: int) -> None:
    event, at, record = held.event, micros(held.event.made), origin_of(held)
    if event.action == "created":
        connection.execute(
            "INSERT INTO model_versions (record, model, version, description, username, stage, source, storage, run,"
            " run_link, logged_model, status, status_message, made, changed)"
            " VALUES (?, ?, ?, ?, ?, 'None', ?, ?, ?, ?, ?, 'READY', '', ?, ?)",
            (
                record,
                model,
                event.version,
                event.description,
                event.user,
                event.after,
                event.storage,
                event.run,
                event.run_link,
                event.logged_model,
                at,
                at,
            ),
        )
    changes: dict[str, tuple[str, tuple[Any, ...]]] = {
        "described": ("description = ?, ", (event.after,)),
        "stage": ("stage = ?, ", (event.after,)),
        "removed": ("removed = ?, ", (at,)),
        "restored": ("removed = NULL, ", ()),
    }
    if event.action in changes:
        change, values = changes[event.action]
        connection.execute(f"UPDATE model_versions SET {change}changed = ? WHERE record = ?", (*values, at, record))
    if event.action in ("created", "stage", "removed"):
        connection.execute("UPDATE registered_models SET changed = ? WHERE id = ?", (at, model))
    if event.action in ("removed", "collected"):
        connection.execute("DELETE FROM model_aliases WHERE record = ?", (record,))
    if event.action == "collected":
        connection.execute("DELETE FROM model_version_tags WHERE record = ?", (record,))
        connection.execute("DELETE FROM model_versions WHERE record = ?", (record,))


def _apply_to_alias(connection: Connection, held: Held, model: int) -> None:
    """Whoever moved an alias to a version that another had removed finds that it means what it meant."""
    event, record = held.event, origin_of(held)
    if event.action == "unaliased":
        connection.execute("DELETE FROM model_aliases WHERE model = ? AND alias = ?", (model, event.key))
        return
    connection.execute(
        "INSERT INTO model_aliases (model, alias, version, record)"
        " SELECT v.model, ?, v.version, v.record FROM model_versions v WHERE v.record = ? AND v.removed IS NULL"
        " ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version, record = excluded.record",
        (event.key, record),
    )


def _apply_to_tag(connection: Connection, held: Held, model: int) -> None:
    event, record = held.event, origin_of(held)
    table, column, owner = (
        ("model_version_tags", "record", record) if record else ("registered_model_tags", "model", model)
    )
    if event.action == "untagged":
        connection.execute(f"DELETE FROM {table} WHERE {column} = ? AND key = ?", (owner, event.key))
        return
    there = ("model_versions", "record") if record else ("registered_models", "id")
    connection.execute(
        f"INSERT INTO {table} ({column}, key, value) SELECT ?, ?, ? FROM {there[0]} WHERE {there[1]} = ?"
        f" ON CONFLICT ({column}, key) DO UPDATE SET value = excluded.value",
        (owner, event.key, event.after, owner),
    )


def _parts(values: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(values), AT_ONCE):
        yield tuple(values[start : start + AT_ONCE])


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
