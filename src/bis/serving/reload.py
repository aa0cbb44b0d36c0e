"""An alias that moves: the version that it means now is made ready beside the one that answers, then takes its place.

What cannot be loaded, or does not answer its own example, never takes a place: the old one goes on, and why is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from bis.errors import BisError
from bis.nouns.model import ModelVersion
from bis.nouns.reference import MODELS, ModelReference, parse_model
from bis.serving.prepared import Prepared, Preparing, prepare
from bis.serving.slot import Slot
from bis.serving.team import Team
from bis.steps.models import asking, resolve

AGAIN: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds before what could not be loaded is tried again, as its reason may pass."""

MakeTeam = Callable[[Prepared], Team]


def moving(text: str, asked: Preparing) -> ModelReference | None:
    """The reference, where what it means may change."""
    if not text.startswith(MODELS):
        return None
    found = parse_model(text, asked.clock())
    return None if found.number is not None or found.moment else found


async def watch(
    slot: Slot,
    reference: ModelReference,
    asked: Preparing,
    make: MakeTeam,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """Look every so many seconds which version is meant, and let it answer. Ends when it is cancelled."""
    meant = await asyncio.to_thread(_meant, reference, asked)
    tries, again = 0, 0.0
    now = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(seconds)
        try:
            found = await asyncio.to_thread(_meant, reference, asked)
        except (BisError, OSError) as error:
            if not slot.trouble:
                slot.trouble = f"which version is meant cannot be learnt: {error}"
                say(f"{slot.name}: {slot.trouble}; what is served goes on")
            continue
        if found == meant:
            if not tries:
                slot.trouble = ""
                continue
            if now() < again:
                continue
        elif tries:
            tries = 0
        meant = found
        if await take_up(slot, reference.text, asked, make, say):
            tries = 0
        else:
            again = now() + AGAIN[min(tries, len(AGAIN) - 1)]
            tries += 1


async def take_up(slot: Slot, text: str, asked: Preparing, make: MakeTeam, say: Callable[[str], None]) -> bool:
    """Let what a reference means now answer. False, and all stays as it was, where it cannot."""
    try:
        prepared = await asyncio.to_thread(prepare, text, slot.name, asked)
        if slot.team is not None and prepared.version == slot.team.version:
            slot.trouble = ""
            return True
        team = make(prepared)
        await team.begin()
    except (BisError, OSError) as error:
        why = f"{error.what}: {error.because}" if isinstance(error, BisError) and error.because else str(error)
        if slot.trouble != why:
            kept = slot.team.version.shown if slot.team else "nothing"
            say(f"{why}; {kept} goes on answering")
        slot.trouble = why
        slot.tally.reloaded(slot.name, "failed")
        return False
    for line in prepared.told:
        say(line)
    slot.example, slot.described, slot.trouble = prepared.example, prepared.described, ""
    slot.exchange(team)
    slot.tally.reloaded(slot.name, "done")
    say(f"{slot.name} is answered by version {team.version.number or team.version.content[:11]} now")
    return True


def _meant(reference: ModelReference, asked: Preparing) -> Mapping[str, object]:
    with asking(asked.homes()) as connection:
        found: ModelVersion = resolve(connection, reference)
    return {"number": found.number, "record": found.record, "source": found.source, "storage": found.storage}
