"""Where a ledger on PostgreSQL is: its URL as the driver takes it, and as a person may see it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from bis.errors import KeepingError, UsageError
from bis.extras import what_to_type
from bis.ledger.database import NO_SERVER

SCHEMA_NAME: Final = "bis"
"""Of the tables, where nobody chose another."""
REACH: Final = 10
"""Seconds to wait for the server's answer when connecting, where neither URL nor PGCONNECT_TIMEOUT say else."""
ALIVE: Final = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}


def read_url(url: str) -> dict[str, Any]:
    """The URL as psycopg's words. Raises UsageError, without a word of the URL that may be a password."""
    psycopg = driver()
    facts: dict[str, Any] = {}
    with contextlib.suppress(psycopg.ProgrammingError):
        facts = psycopg.conninfo.conninfo_to_dict(url)
    # A `/` in a password makes the rest of it a name, which would be shown.
    plain = not any("@" in str(facts.get(name, "")) for name in ("host", "port", "dbname"))
    if not (facts and plain and str(facts.get("port", "0")).replace(",", "").isdecimal()):
        raise UsageError(
            "the URL of the ledger cannot be read",
            because="In a password and a name, @ : / ? # % are written as %40 %3A %2F %3F %23 %25.",
            hint="postgresql://USER@HOST:5432/DATABASE",
        )
    if "PGCONNECT_TIMEOUT" not in os.environ:
        facts.setdefault("connect_timeout", REACH)
    for name, value in {**ALIVE, "application_name": "bis", "client_encoding": "UTF8"}.items():
        facts.setdefault(name, value)
    return facts


def shown_url(facts: Mapping[str, Any]) -> str:
    """A URL for people: who, where and which database, and nothing secret."""
    user = f"{quote(str(facts['user']), safe='')}@" if facts.get("user") else ""
    host, port = str(facts.get("host", "")), str(facts.get("port", ""))
    asked = [f"{name}={facts[name]}" for name in ("service",) if facts.get(name)]
    if "/" in host:
        asked, host, port = [f"host={host}", *([f"port={port}"] if port else []), *asked], "", ""
    else:
        ports = port.split(",")
        hosts = host.split(",")
        host = ",".join(
            f"{name}:{ports[min(number, len(ports) - 1)]}" if port else name for number, name in enumerate(hosts)
        )
    name = quote(str(facts.get("dbname", "")), safe="")
    return f"postgresql://{user}{host}/{name}{'?' if asked else ''}{'&'.join(asked)}"


def driver() -> Any:
    """psycopg. Raises KeepingError where it is not installed."""
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as error:
        raise KeepingError(
            "a ledger on PostgreSQL needs the package psycopg, which is not installed beside bis",
            because=str(error),
            hint=what_to_type("postgres"),
            code=NO_SERVER,
        ) from None
    return psycopg
