"""`bis server`: the ledger and the store of a project over HTTP, and who may ask."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from bis.cli.command import STATUSES, Door, command, family, json_option, pass_door

if TYPE_CHECKING:
    from bis.ledger.database import Database
    from bis.steps.home import Home

ROLES = ("reader", "writer", "admin")


@family(
    "server",
    short_help="Serve runs and models to MLflow clients and browsers.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=[
        "bis server",
        "bis server --port 5001 --log text",
        "bis server token add ci --role writer",
        "bis server --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem",
        "bis server --ledger postgresql://bis@db/bis --workers 4 --host 0.0.0.0",
        "bis server --ledger postgresql://bis@db/bis --store s3://bucket/prefix",
    ],
    invoke_without_command=True,
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=5000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--ledger", default="", metavar="PLACE", help="File of the ledger, or postgresql://USER@HOST/NAME.")
@click.option("--store", default="", metavar="PLACE", help="Folder of the store, or s3://BUCKET/PREFIX, gs://, az://.")
@click.option("--open", "is_open", is_flag=True, help="Let everybody in who reaches the server, without a token.")
@click.option("--tls-cert", default="", metavar="FILE", help="Certificate, with its chain, in PEM format.")
@click.option("--tls-key", default="", metavar="FILE", help="Its private key, where it is not in the same file.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes; with PostgreSQL.")
@click.option("--root-path", default="", metavar="PATH", help="Path below which a proxy shows the server: /bis.")
@click.option(
    "--proxy", multiple=True, metavar="ADDRESS", help="Proxy whose X-Forwarded headers are believed; repeatable."
)
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="Further name of an open server on this machine; repeatable."
)
@click.option("--allow-origin", multiple=True, metavar="URL", help="Server whose pages may use this one; repeatable.")
@click.option(
    "--log",
    type=click.Choice(["errors", "text", "json"]),
    default="errors",
    show_default=True,
    help="Requests to tell of on stderr, and how: those that failed, or all.",
)
@click.option(
    "--max-requests", default=1000, show_default=True, type=click.IntRange(min=1), help="Requests under way at once."
)
@click.option(
    "--grace",
    default=30,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Time for requests under way when the server is told to end.",
)
@click.option("--socket", default=-1, hidden=True)
@click.option("--overseer", default=0, hidden=True)
@pass_door
@click.pass_context
def server(ctx: click.Context, door: Door, /, ledger: str, store: str, **asked: Any) -> int:
    """Serve the ledger and the store of this project: to MLflow clients in any language, to `bis` elsewhere, and to
    browsers. Ends with Ctrl-C or SIGTERM, after the requests under way.

    On this machine it is open to everybody until a token is given. To be reached by others it needs one: who has it
    sets MLFLOW_TRACKING_TOKEN.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from bis.server.guard import Limits
    from bis.server.serve import Serving, serve

    root = asked["root_path"].strip("/")
    serving = Serving(
        host=asked["host"],
        port=asked["port"],
        open=asked["is_open"],
        hosts=tuple(name.lower() for name in asked["allow_host"]),
        origins=tuple(origin.rstrip("/") for origin in asked["allow_origin"]),
        cert=asked["tls_cert"],
        key=asked["tls_key"],
        workers=1 if asked["socket"] >= 0 else asked["workers"],
        root=f"/{root}" if root else "",
        proxies=asked["proxy"],
        log=asked["log"],
        limits=Limits(at_once=asked["max_requests"]),
        grace=asked["grace"],
        reset=door.variables.get("BIS_SERVER_RESET") == "1",
        socket=asked["socket"],
        overseer=asked["overseer"],
    )
    serve(_home(door, ledger, store), serving, door.terminal.tell, [sys.executable, "-m", "bis", *sys.argv[1:]])
    return 0


def _home(door: Door, ledger: str, store: str) -> Home:
    """The project's home, with another ledger or store where one was named."""
    import msgspec

    named = {key: value for key, value in (("ledger", ledger), ("store", store)) if value}
    door.settings = msgspec.structs.replace(door.settings, **named)
    # What is typed is the word of whoever types, as a variable is.
    door.variables = {**door.variables, **{f"BIS_{key.upper()}": value for key, value in named.items()}}
    return door.opened_home(serving=True)


@server.member
@family(
    "token",
    short_help="Say who may use the server.",
    examples=["bis server token add alice", "bis server token list", "bis server token rm alice"],
)
def token() -> None:
    """Tokens let people and programs use the server: a reader looks, a writer logs and registers, an admin does all.

    A token is told once, when it is made; only its digest is kept.
    """


@token.member
@command(
    "add",
    short_help="Make a token.",
    statuses={5: STATUSES[5]},
    examples=["bis server token add alice", "bis server token add ci --role reader --days 90"],
)
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="writer", show_default=True, help="What it allows.")
@click.option("--days", type=click.IntRange(min=1, max=36500), default=None, help="Days until it expires.")
@click.option("--ledger", default="", metavar="PLACE", help="File of the ledger, or postgresql://USER@HOST/NAME.")
@json_option
def add(door: Door, name: str, role: Any, days: int | None, ledger: str, as_json: bool) -> int:
    """Make a token called NAME, and tell it. It works at once, also on servers that run."""
    from bis.ledger import tokens

    expires = door.now + timedelta(days=days) if days else None
    with _database(door, ledger).writing() as connection:
        made = tokens.add(connection, name, role, _micros(door.now), _micros(expires) if expires else None)
    if as_json:
        door.terminal.json("bis.token/1", {"name": name, "role": role, "token": made, "expires": _day(expires)})
        return 0
    door.terminal.show([made])
    door.terminal.tell("help: it is not shown again; clients take it from MLFLOW_TRACKING_TOKEN")
    return 0


@token.member
@command("list", short_help="List the tokens.", statuses={5: STATUSES[5]}, examples=["bis server token list"])
@click.option("--ledger", default="", metavar="PLACE", help="File of the ledger, or postgresql://USER@HOST/NAME.")
@json_option
def list_(door: Door, ledger: str, as_json: bool) -> int:
    """List who was given a token, with its role and when it expires."""
    from bis.ledger import tokens

    database = _database(door, ledger)
    with database.writing() as connection:
        found = tokens.given(connection)
    now = _micros(door.now)
    rows = [
        {
            "name": one.name,
            "role": one.role,
            "made": _day(_moment(one.made)),
            "expires": _day(_moment(one.expires)) if one.expires else "",
            "valid": one.valid(now),
        }
        for one in found
    ]
    if as_json:
        door.terminal.json("bis.tokens/1", {"tokens": rows})
        return 0
    told = [[str(row["name"]), str(row["role"]), str(row["made"]), _until(row)] for row in rows]
    door.terminal.show(door.terminal.aligned(told) or ["no tokens: this machine may do everything, others nothing"])
    return 0


@token.member
@command(
    "rm",
    short_help="Take a token back.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis server token rm alice"],
)
@click.argument("name")
@click.option("--ledger", default="", metavar="PLACE", help="File of the ledger, or postgresql://USER@HOST/NAME.")
@json_option
def rm(door: Door, name: str, ledger: str, as_json: bool) -> int:
    """Take back the token called NAME. Servers that run refuse it within a second."""
    from bis.ledger import tokens

    with _database(door, ledger).writing() as connection:
        tokens.remove(connection, name, _micros(door.now))
    if as_json:
        door.terminal.json("bis.token/1", {"removed": name})
    else:
        door.terminal.say("removed", name)
    return 0


def _database(door: Door, ledger: str) -> Database:
    from bis.ledger.runs import SqlLedger

    found = _home(door, ledger, "").ledger
    assert isinstance(found, SqlLedger)
    return found.database


def _until(row: dict[str, Any]) -> str:
    if not row["expires"]:
        return "does not expire"
    return f"expires {row['expires']}" if row["valid"] else f"expired {row['expires']}"


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, UTC)


def _day(moment: datetime | None) -> str:
    return moment.astimezone(UTC).date().isoformat() if moment else ""
