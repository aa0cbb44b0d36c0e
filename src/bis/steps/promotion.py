"""Letting an alias mean a version, if the conditions hold: those of the settings, and those that somebody asks for.

Each function is one change within the caller's transaction. One that is refused is returned, not raised: that it was
tried is noted in the history, which is to be committed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from bis.digest import readable
from bis.errors import UsageError, explains
from bis.ledger import model_events, registry
from bis.ledger.connection import Connection
from bis.ledger.numbers import as_read
from bis.nouns.model import By, ModelVersion
from bis.settings import Promotion

REFUSED = explains("B070", "A promotion was refused: a condition does not hold. Nothing was changed.")
ENOUGH: Final = {"identical": ("identical",), "equivalent": ("identical", "equivalent")}
"""A wanted verdict -> those that are as good."""


class Refusal(UsageError):
    """A promotion whose conditions do not hold."""

    status = 1
    code = REFUSED


class Check(NamedTuple):
    """A condition of a promotion, and how it came out."""

    condition: str
    holds: bool
    said: str
    """With the values of both sides."""


class Promoted(NamedTuple):
    version: ModelVersion
    alias: str
    before: int | None
    """The version that the alias meant; None: none."""
    checks: tuple[Check, ...]
    forced: bool


def promote(
    connection: Connection,
    rules: Mapping[str, Promotion],
    found: ModelVersion,
    alias: str,
    asked: Promotion,
    by: By,
    *,
    force: bool = False,
) -> Promoted | Refusal:
    """Let an alias mean this version if all conditions hold: those that are asked for, and those of the settings. Else
    nothing is changed, and the history says that it was tried. With `force`, it is done all the same, and the history
    says which conditions did not hold, and why it was done."""
    if force and not by.reason.strip():
        raise UsageError("a promotion is forced for a reason", hint="--force --reason 'the old one is broken'")
    conditions = _together(rules.get(alias, Promotion()), asked)
    model = registry.get(connection, found.name)
    before = model.aliases.get(alias)
    champion = registry.by_alias(connection, model.name, alias) if before else None
    checks = tuple(_checks(connection, found, champion, alias, conditions))
    failed = [check for check in checks if not check.holds]
    if failed and (champion is None or champion.record != found.record):
        said = "; ".join(f"{check.condition}: {check.said}" for check in failed)
        action: Literal["forced", "refused"] = "forced" if force else "refused"
        why = f"{said} ({by.reason})" if by.reason else said
        who, was = by._replace(reason=why), str(before or "")
        model_events.note(connection, model, action, who, about=found, key=alias, before=was, after=str(found.number))
        if not force:
            return _refusal(found, alias, failed)
    registry.set_alias(connection, model.name, alias, found.record, by)
    version = registry.version(connection, model.name, found.record)
    return Promoted(version, alias, before, checks, bool(failed) and force)


def set_alias(
    connection: Connection, rules: Mapping[str, Promotion], found: ModelVersion, alias: str, by: By
) -> Promoted | Refusal:
    """Let an alias mean this version whatever the conditions, unless the settings enforce them."""
    if rules.get(alias, Promotion()).enforce:
        return promote(connection, rules, found, alias, Promotion(), by)
    before = registry.get(connection, found.name).aliases.get(alias)
    registry.set_alias(connection, found.name, alias, found.record, by)
    return Promoted(registry.version(connection, found.name, found.record), alias, before, (), False)


def done(outcome: Promoted | Refusal) -> Promoted:
    """Raises what was refused."""
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


def _refusal(version: ModelVersion, alias: str, failed: Sequence[Check]) -> Refusal:
    return Refusal(
        f"{version.reference} was not made {alias}: {_several(len(failed))}",
        because="\n".join(f"{check.condition}: {check.said}" for check in failed),
        hint=f"--force --reason WHY  does it all the same: bis model promote {version.name}/{version.number}",
    )


def _several(count: int) -> str:
    return "a condition does not hold" if count == 1 else f"{count} conditions do not hold"


def _together(set_: Promotion, asked: Promotion) -> Promotion:
    """Both must hold. Of two verdicts, the stricter."""
    repeat = "identical" if "identical" in (set_.repeat, asked.repeat) else set_.repeat or asked.repeat
    return Promotion(
        repeat=repeat,
        better=tuple(dict.fromkeys((*set_.better, *asked.better))),
        tags=tuple(dict.fromkeys((*set_.tags, *asked.tags))),
    )


def _checks(
    connection: Connection, version: ModelVersion, champion: ModelVersion | None, alias: str, conditions: Promotion
) -> Iterator[Check]:
    if conditions.repeat:
        yield _is_repeated(connection, version, conditions.repeat)
    for text in conditions.better:
        yield _is_better(connection, version, champion, alias, text)
    for text in conditions.tags:
        yield _is_tagged(version, text)


def _is_repeated(connection: Connection, version: ModelVersion, wanted: str) -> Check:
    condition = f"a repeat is {wanted}" + (" or better" if wanted == "equivalent" else "")
    if wanted not in ENOUGH:
        raise UsageError(f"{wanted!r} is no verdict that can be asked for", hint=f"one of {', '.join(ENOUGH)}")
    if not version.run:
        return Check(condition, False, f"{version.reference} has no run")
    found = connection.execute("SELECT name, verdict FROM runs WHERE id = ?", (version.run,)).fetchall()
    if not found:
        return Check(condition, False, f"its run {version.run[:12]} is not recorded here")
    name, verdict = found[0]
    said = f"the newest verdict on {readable(name)} is {verdict}" if verdict else f"{readable(name)} was never repeated"
    return Check(condition, verdict in ENOUGH[wanted], said)


def _is_better(
    connection: Connection, version: ModelVersion, champion: ModelVersion | None, alias: str, text: str
) -> Check:
    """Equal is not better; what cannot be compared is not, either."""
    metric, _, way = text.removeprefix("metrics.").rpartition(":")
    if not metric or way not in ("lower", "higher"):
        named = metric or way or "rmse"
        hint = f"--better metrics.{named}:lower, or metrics.{named}:higher"
        raise UsageError(f"{text!r} does not say which metric is better how", hint=hint)
    condition = f"{metric} is {way} than that of the {alias}"
    ours = metric_of(connection, version, metric)
    if champion is None:
        shown = "" if ours is None else f"; {version.reference} has {ours}"
        return Check(condition, True, f"there is no {alias} yet{shown}")
    theirs = metric_of(connection, champion, metric)
    said = (
        f"{version.reference} has {_value(ours, metric)}, the {alias} {champion.reference} has {_value(theirs, metric)}"
    )
    if ours is None or theirs is None or math.isnan(ours) or math.isnan(theirs):
        return Check(condition, False, said)
    return Check(condition, ours < theirs if way == "lower" else ours > theirs, said)


def _value(value: float | None, metric: str) -> str:
    return f"no metric {metric}" if value is None else repr(value)


def _is_tagged(version: ModelVersion, text: str) -> Check:
    key, equals, wanted = text.partition("=")
    condition = f"the tag {text} is set"
    if key not in version.tags:
        return Check(condition, False, f"{version.reference} has no tag {key}")
    has = version.tags[key]
    return Check(condition, not equals or has == wanted, f"{version.reference} has {key}={has}")


def metric_of(connection: Connection, version: ModelVersion, metric: str) -> float | None:
    """The newest value in the run of a version, else of its logged model; None where there is none. In a run that saved
    several models, what was measured of this one counts before what is called so of the run."""
    own = f"{version.path}:{metric}"
    found = connection.execute(
        "SELECT m.value, m.flag FROM metrics m JOIN runs r ON r.seq = m.run WHERE r.id = ? AND m.key IN (?, ?)"
        " ORDER BY m.key = ? DESC LIMIT 1",
        (version.run, own, metric, own),
    ).fetchall()
    if not found and version.logged_model:
        found = connection.execute(
            "SELECT m.value, m.flag FROM logged_model_metrics m JOIN logged_models l ON l.seq = m.model"
            " WHERE l.id = ? AND m.key = ? ORDER BY m.moment DESC, m.step DESC LIMIT 1",
            (version.logged_model, metric),
        ).fetchall()
    for value, flag in found:
        return as_read(value, flag)
    return None
