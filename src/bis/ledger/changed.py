"""Which runs that clients log are in no record of the store as they are now: whoever changes one says so here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from bis.ledger.connection import Connection

_OWNER: Final = re.compile(r"(?:^|/)(m-)?([0-9a-f]{32})(?:/|$)")


def runs(connection: Connection, where: str, *values: Any) -> None:
    """Those that a condition over `runs` fits."""
    connection.execute(f"UPDATE runs SET kept = '' WHERE {where} AND tracked = 1 AND kept <> ''", values)


def of_models(connection: Connection, ids: Sequence[str]) -> None:
    """The runs that saved these logged models."""
    for id in ids:
        runs(connection, "id IN (SELECT run FROM logged_models WHERE logged_models.id = ?)", id)


def of_path(connection: Connection, path: str) -> None:
    """The run that an artifact belongs to, itself or by a model that it saved."""
    for model, digits in _OWNER.findall(path)[:4]:
        if model:
            of_models(connection, [f"m-{digits}"])
        else:
            runs(connection, "id = ?", digits)
