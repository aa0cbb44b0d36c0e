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
from bis.serving.slot import Place, Slot
from bis.serving.team import Team
from bis.steps.models import asking, resolve

AGAIN: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds before what could not be loaded is tried again, as its reason may pass."""

DOING: Final[Mapping[Place, str]] = {"team": "answering", "canary": "as the canary", "shadow": "as the shadow"}

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
    place: Place = "team",
) -> None:
    """Look every so many seconds which version is meant, and let it stand in its place. What loads while another one is
    meant already is given up. Ends when it is cancelled."""
    meant: Mapping[str, object] | None = None
    loading: asyncio.Task[bool] | None = None
    settled, tries, again = False, 0, 0.0
    now = asyncio.get_running_loop().time
    try:
        while True:
            await asyncio.sleep(seconds)
            try:
                found = await asyncio.to_thread(_meant, reference, asked)
            except (BisError, OSError) as error:
                if not slot.troubles.get(place):
                    slot.troubles[place] = f"which version {reference.text} means cannot be learnt: {error}"
                    say(f"{slot.name}: {slot.troubles[place]}; what is served goes on")
                continue
            if found != meant:
                await _give_up(loading)
                # It may have moved before the first look, since what is served was chosen.
                settled = meant is None and _stands(slot, place, found)
                meant, loading, tries, again = found, None, 0, 0.0
            if loading is not None and loading.done():
                settled, loading = loading.result(), None
                if not settled:
                    again = now() + AGAIN[min(tries, len(AGAIN) - 1)]
                    tries += 1
            if settled:
                slot.troubles.pop(place, None)
            elif loading is None and now() >= again:
                loading = asyncio.create_task(take_up(slot, reference.text, asked, make, say, place))
    finally:
        await _give_up(loading)


async def take_up(
    slot: Slot,
    text: str,
    asked: Preparing,
    make: MakeTeam,
    say: Callable[[str], None],
    place: Place = "team",
) -> bool:
    """Let what a reference means now stand in a place. False, and all stays as it was, where it cannot."""
    old = slot.at(place)
    try:
        prepared = await asyncio.to_thread(prepare, text, slot.name, asked)
        if old is not None and prepared.version == old.version:
            prepared.held.close()
            return True
        team = make(prepared)
        await team.begin()
    except (BisError, OSError) as error:
        why = f"{error.what}: {error.because}" if isinstance(error, BisError) and error.because else str(error)
        if slot.troubles.get(place) != why:
            say(f"{why}; {old.version.shown if old else 'nothing'} goes on {DOING[place]}")
        slot.troubles[place] = why
        slot.tally.reloaded(slot.name, "failed")
        return False
    for line in prepared.told:
        say(line)
    if place == "team":
        slot.example, slot.described = prepared.example, prepared.described
    slot.exchange(team, place)
    slot.tally.reloaded(slot.name, "done")
    number = team.version.number or team.version.content[:11]
    told = f"is answered by version {number} now" if place == "team" else f"has version {number} as its {place} now"
    say(f"{slot.name} {told}")
    return True


async def _give_up(loading: asyncio.Task[bool] | None) -> None:
    if loading is not None:
        loading.cancel()
        await asyncio.wait([loading])


def _stands(slot: Slot, place: Place, meant: Mapping[str, object]) -> bool:
    team = slot.at(place)
    return team is not None and team.version.number == str(meant["number"])


def _meant(reference: ModelReference, asked: Preparing) -> Mapping[str, object]:
    with asking(asked.homes()) as connection:
        found: ModelVersion = resolve(connection, reference)
    return {"number": found.number, "record": found.record, "source": found.source, "storage": found.storage}
