"""The run that an address means: by its id, the beginning of it, or what a person calls it."""

from __future__ import annotations

from contextlib import suppress

from bis.errors import NotFound
from bis.ledger.runs import SqlLedger
from bis.nouns.reference import parse
from bis.nouns.run import Run
from bis.server.pages.clock import here


def run_meant(ledger: SqlLedger, text: str) -> Run:
    """Also one that is removed. Raises NotFound and UsageError, with what is near."""
    reference = parse(text, here())
    try:
        return ledger.find(reference)
    except NotFound:
        with suppress(NotFound):
            return ledger.find(reference, removed=True)
        raise
