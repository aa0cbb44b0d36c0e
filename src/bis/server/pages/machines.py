"""Machines and their systems: how each is, how it was, and which has drifted away from where results were proved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from bis.errors import NotFound
from bis.ledger import grounds
from bis.ledger.connection import Connection
from bis.ledger.grounds import Ground, Room
from bis.ledger.runs import SqlLedger
from bis.nouns.part import Change, Finding, Part
from bis.nouns.run import Run
from bis.parts import infrastructure, machine
from bis.server.desk import Desk
from bis.server.pages.clock import until
from bis.server.pages.page import Page, Table
from bis.steps.abreast import Head, head

LISTED: Final = 50
ROOMS: Final = 20

Standing = Literal["steady", "drifted", "alone"]
"""As it was before; other than before; the only one that was ever seen."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    asof: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The newest repeat that ran there."""

    sameness: str
    again: str
    made: int


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    runs: int
    last: int
    system: str
    hardware: str
    standing: Standing
    drift: list[Change]
    """What matters of the changes from the state before."""
    rooms: int
    proof: Proof | None
    findings: list[Finding]
    """Of its infrastructure: floating images, declared files that say other than what is there, …"""


class Machines(msgspec.Struct, kw_only=True):
    machines: list[Machine]


class OneAsked(msgspec.Struct, forbid_unknown_fields=True):
    host: str
    asof: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it was for some runs, and what had changed since the state before."""

    infrastructure: Part
    machine: Part | None
    runs: int
    first: int
    last: int
    newest: Head
    changes: list[Change]


class OneMachine(msgspec.Struct, kw_only=True):
    host: str
    states: list[State]
    """The newest first."""
    proof: Proof | None


async def machines(desk: Desk, asked: Asked) -> Machines:
    moment = until(asked.asof)

    def ask() -> Machines:
        ledger = SqlLedger(desk.database, False)
        with desk.database.reading() as connection:
            found = grounds.hosts(connection, limit=LISTED, each=ROOMS, until=moment)
            proofs = _proofs(connection, [one.name for one, _ in found], moment)
        return Machines(machines=[_machine(desk, ledger, one, rooms, proofs.get(one.name)) for one, rooms in found])

    return await desk.shelf.work(ask)


def _machine(desk: Desk, ledger: SqlLedger, host: Ground, rooms: list[Room], proof: Proof | None) -> Machine:
    newest = ledger.get(rooms[0].newest)
    drift = _changes(ledger.get(rooms[1].newest), newest, desk) if len(rooms) > 1 else []
    system, hardware = newest.parts.get("infrastructure"), newest.parts.get("machine")
    return Machine(
        host=host.name,
        runs=host.runs,
        last=host.last,
        system=system.summary if system else "",
        hardware=hardware.summary if hardware else "",
        standing="alone" if len(rooms) < 2 else "drifted" if drift else "steady",
        drift=drift,
        rooms=len(rooms),
        proof=proof,
        findings=list(system.findings) if system else [],
    )


def _changes(before: Run, after: Run, desk: Desk) -> list[Change]:
    """Those that matter."""
    found: list[Change] = []
    for kind in (infrastructure, machine):
        old, new = before.parts.get(kind.KIND), after.parts.get(kind.KIND)
        if old and new:
            found += [change for change in kind.compare(old, new, desk.store) if change.weight == "matters"]
    return found


def _proofs(connection: Connection, hosts: Sequence[str], moment: int) -> dict[str, Proof]:
    found = grounds.proofs(connection, hosts, until=moment)
    return {host: Proof(sameness=one.sameness, again=one.again, made=one.made) for host, one in found.items()}


async def one_machine(desk: Desk, asked: OneAsked) -> OneMachine:
    moment = until(asked.asof)

    def ask() -> OneMachine:
        ledger = SqlLedger(desk.database, False)
        with desk.database.reading() as connection:
            rooms = grounds.rooms(connection, asked.host, limit=ROOMS, until=moment)
            proof = _proofs(connection, [asked.host], moment).get(asked.host)
        if not rooms:
            raise NotFound(f"bis ran nothing on a machine {asked.host!r}", hint="bis log --columns name,host")
        runs = [ledger.get(room.newest) for room in rooms]
        return OneMachine(
            host=asked.host,
            states=[
                _state(desk, room, run, runs[place + 1] if place + 1 < len(runs) else None)
                for place, (room, run) in enumerate(zip(rooms, runs, strict=True))
            ],
            proof=proof,
        )

    return await desk.shelf.work(ask)


def _state(desk: Desk, room: Room, run: Run, before: Run | None) -> State:
    return State(
        infrastructure=run.parts["infrastructure"],
        machine=run.parts.get("machine"),
        runs=room.runs,
        first=room.first,
        last=room.last,
        newest=head(run),
        changes=_changes(before, run, desk) if before else [],
    )


def table(found: Machines) -> Table:
    return ("host", "runs", "system", "hardware", "standing", "drift", "last repeat"), (
        (one.host, one.runs, one.system, one.hardware, one.standing, len(one.drift), one.proof and one.proof.sameness)
        for one in found.machines
    )


PAGES: Final = (
    Page("/machines", "machines", Asked, machines, table),
    Page("/machines/{host}", "machine", OneAsked, one_machine),
)
