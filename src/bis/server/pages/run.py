"""One run: what went in, what came out, whether it repeats."""

from __future__ import annotations

from typing import Final

import msgspec

from bis.ledger.runs import SqlLedger
from bis.nouns.annotation import Annotation
from bis.nouns.run import Run
from bis.nouns.verdict import Verdict
from bis.server.desk import Desk
from bis.server.pages.page import Action, Page


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class OneRun(msgspec.Struct, kw_only=True):
    run: Run
    verdicts: list[Verdict]
    annotations: list[Annotation]


async def run(desk: Desk, asked: Asked) -> OneRun:
    def ask() -> OneRun:
        ledger = SqlLedger(desk.database, False)
        return OneRun(
            run=ledger.get(asked.id),
            verdicts=ledger.verdicts(asked.id),
            annotations=ledger.annotations(asked.id),
        )

    return await desk.shelf.work(ask)


PAGES: Final = (Page("/runs/{id}", "run", Asked, run),)
ACTIONS: Final[tuple[Action, ...]] = ()
