"""A model at its address: the version that answers, one that answers a part of the requests, one that is only asked
beside it and compared. A version is exchanged while requests come, and none of them notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, Final, Literal

from bis.serving.asking import Answer, Asking, crowded
from bis.serving.compare import compared
from bis.serving.sampled import Sampled
from bis.serving.tally import Tally
from bis.serving.team import Team
from bis.serving.version import Version

Place = Literal["team", "canary", "shadow"]
"""Where a version stands: it answers, it answers a share, it is only compared."""
SOON: Final = 5.0
"""Seconds, at the end, for a version that is only compared to answer what it was asked."""
BEHIND: Final = 200
"""Requests that may wait for a version that is only compared: what is more, it is not asked."""


class Slot:
    """One model, by the name that it is called in addresses."""

    def __init__(self, name: str, tally: Tally, *, sampled: Sampled | None = None) -> None:
        self.name, self.tally, self.sampled = name, tally, sampled
        self.team: Team | None = None
        self.canary: Team | None = None
        self.share = 0.0
        """Of the requests, from 0 to 1, that the canary answers."""
        self.shadow: Team | None = None
        self.troubles: dict[Place, str] = {}
        """Of a place, why the version that is wanted there does not answer; nothing where it does."""
        self.example = ""
        """A request that the model answers."""
        self.described: dict[str, Any] = {}
        """For pages: its MLmodel."""
        self._leaving: set[Team] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draw: Callable[[], float] = random.Random().random

    @property
    def teams(self) -> list[Team]:
        found = [one for one in (self.team, self.canary, self.shadow) if one is not None]
        return [*found, *self._leaving]

    @property
    def able(self) -> bool:
        return self.team is not None and self.team.able

    @property
    def trouble(self) -> str:
        """Why what is wanted does not answer, of all places; empty where it does."""
        return "; ".join(self.troubles.values())

    def at(self, place: Place) -> Team | None:
        """Who stands there."""
        found: Team | None = getattr(self, place)
        return found

    def exchange(self, team: Team, place: Place = "team") -> None:
        """From now on this one answers there; what waits for the old waits for it, what the old has begun it ends. What
        a shadow is still to be asked is compared with that shadow."""
        old = self.at(place)
        setattr(self, place, team)
        if old is not None:
            if place != "shadow":
                team.take_over(old)
            self._let_go(old)

    def ask(self, asking: Asking) -> None:
        """It is answered, by whichever version is to."""
        team = self._whose()
        if team is None:
            asking.tell(crowded(asking.form), None)
            return
        beside = self.shadow
        if beside is None and self.sampled is None:
            team.put(asking)
            return
        team.put(self._watched(asking, beside))

    def look(self) -> None:
        for team in self.teams:
            team.look()

    async def close(self) -> None:
        """After what was begun is answered; nobody waits any more for what is left soon after."""
        teams, self.shadow = self.teams, None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(team.drain() for team in teams)), SOON)
        await asyncio.gather(*(team.close() for team in teams))
        for task in list(self._tasks):
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _whose(self) -> Team | None:
        canary = self.canary
        if canary is not None and canary.able and self._draw() < self.share:
            return canary
        return self.team

    def _watched(self, asking: Asking, beside: Team | None) -> Asking:
        """The same request, whose answer is written down or compared after it is told."""
        tell = asking.tell

        def told(answer: Answer, version: Version | None) -> None:
            tell(answer, version)
            if self.sampled is not None and version is not None:
                self.sampled.take(version, asking, answer)
            if beside is not None and version is not None and answer.status < 500:
                self._ask_beside(beside, asking, answer, version)

        asking.tell = told
        return asking

    def _ask_beside(self, beside: Team, asking: Asking, given: Answer, version: Version) -> None:
        agreement = self.tally.agreement(self.name, version.number, beside.version.number)
        if not beside.able or len(beside.waiting) >= BEHIND:
            agreement.dropped += 1
            return

        def told(answer: Answer, other: Version | None) -> None:
            if other is not None:
                seconds = asyncio.get_running_loop().time() - began
                self.tally.answered(other, "shadow", answer.status, answer.rows, seconds)
            agreement.requests += 1
            compared(given, answer, agreement)

        began = asyncio.get_running_loop().time()
        beside.put(Asking(asking.form, asking.content_type, asking.body, asking.json_length, 60.0, told))

    def _let_go(self, old: Team) -> None:
        async def leave() -> None:
            await old.drain()
            self._leaving.discard(old)

        self._leaving.add(old)
        task = asyncio.ensure_future(leave())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
