"""A run with some of its parts taken from elsewhere: another run, or files as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from bis.digest import unspell
from bis.errors import BisError, NotFound, UsageError
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.reference import DATA, parse, parse_data
from bis.nouns.run import Run
from bis.parts import Scene, code, infrastructure
from bis.parts.kinds import KINDS
from bis.steps.capture import supposed
from bis.steps.exchange_data import data_from_path, data_from_version
from bis.steps.home import Home
from bis.steps.planning import still_outputs
from bis.store import Store

ALIASES = {"env": "environment", "infra": "infrastructure", "param": "params"}
FROM_PATH = ("code", "data")
NAMED = 5
"""So many names in one sentence."""


def exchange(run: Run, taken: Mapping[str, str], home: Home, variables: Mapping[str, str]) -> dict[PartKind, Part]:
    """The parts of `run`, those named in `taken` (kind -> run, path, or version of data) replaced.

    Raises UsageError for what is no kind of part, or a path for a kind that needs a run; NotFound for what is absent.
    """
    parts: dict[PartKind, Part] = dict(run.parts)
    kinds: dict[str, PartKind] = {kind.KIND: kind.KIND for kind in KINDS}
    for name, source in taken.items():
        kind = kinds.get(ALIASES.get(name, name))
        if kind is None:
            raise UsageError(f"{name!r} is no part of a run", hint=f"one of: {', '.join(kinds)}")
        path = Path(source).expanduser()
        if kind == "data" and source.startswith(DATA):
            held, inside = home.ledger.data.find(parse_data(source, _here()))
            parts[kind] = data_from_version(held, inside, run.parts["data"], home)
        elif kind in FROM_PATH and path.exists():
            parts[kind] = _from_path(kind, path, run, home, variables)
        else:
            parts[kind] = _from_run(kind, source, home)
    return parts


def refuse_here(taken: Iterable[str], run: Run) -> None:
    """Raises UsageError for what --here takes from this machine: it cannot be taken from a run as well."""
    for name in taken:
        if ALIASES.get(name, name) in ("environment", "machine"):
            raise UsageError(
                f"--here and --with {name}=… exclude each other",
                because="With --here, environment and conditions are those of now.",
                hint=f"bis repeat {run.id[:8]} --with {name}=RUN",
            )


def not_taken(taken: Mapping[str, str], parts: Mapping[PartKind, Part], again: Run, store: Store) -> Iterator[Finding]:
    """What of another run's infrastructure was not put in place: only its declared files and programs can be."""
    names = [name for name in taken if ALIASES.get(name, name) == "infrastructure"]
    wanted, was = parts["infrastructure"], again.parts["infrastructure"]
    changes = infrastructure.compare(wanted, was, store) if names else []
    if differing := [change.name for change in changes if change.weight == "matters"]:
        text = f"of the infrastructure of {taken[names[0]]} not everything can be put in place; here it is another: "
        more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
        yield Finding(
            code="not-taken",
            text=text + ", ".join(differing[:NAMED]) + more,
            hint="repeat on the machine, or in the container, of that run",
        )


def _here() -> datetime:
    """Now, by the clock of this machine: a date in a reference ends at midnight where the person is."""
    return datetime.now(UTC).astimezone().replace(tzinfo=None)


def _from_run(kind: PartKind, source: str, home: Home) -> Part:
    try:
        found = home.ledger.find(parse(source, _here()))
    except BisError as error:
        where = " or a path" if kind in FROM_PATH else ""
        where += ", or a version of data (data:/NAME)" if kind == "data" else ""
        raise type(error)(
            f"{kind} cannot be taken from {source!r}: {error.what}",
            because=f"It must be a run{where}.",
            hint=error.hint,
        ) from None
    if kind not in found.parts:
        raise NotFound(f"the run {found.id[:8]} has no {kind} in its record", hint=f"bis show {found.id[:8]}")
    return found.parts[kind]


def _from_path(kind: PartKind, path: Path, run: Run, home: Home, variables: Mapping[str, str]) -> Part:
    if kind == "data":
        return data_from_path(path.resolve(), run.parts["data"], home)
    scene = Scene(
        project=path.resolve(),
        folder=path.resolve() / unspell(run.folder),
        command=tuple(unspell(word) for word in run.command),
        variables=dict(variables),
        settings=home.settings,
        home=Path(variables.get("HOME") or "~").expanduser(),
        key=home.key,
        cache=home.cache,
        known_outputs=still_outputs(home) if path.resolve() == home.project else frozenset(),
    )
    # Without version control, the sources are those that the run read.
    return code.capture(supposed(scene, home.store, run), home.store, code.capture(scene, home.store))
