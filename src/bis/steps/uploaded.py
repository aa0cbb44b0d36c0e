"""A run that a client logged, with the artifacts that it uploaded as its outputs: shown and compared as those of other
runs are."""

from __future__ import annotations

import msgspec

from bis.digest import readable, spell
from bis.ledger import locations
from bis.nouns.artifact import SCHEME
from bis.nouns.logged import ARTIFACTS
from bis.nouns.run import Output, Run
from bis.steps.home import Home
from bis.steps.model_place import files_of
from bis.steps.models import database_of


def with_uploaded(run: Run, home: Home) -> Run:
    """The run; one that bis recorded is as it is. Named as `bis run` names what a script logs, so that the two pair."""
    if not run.tracked:
        return run
    outputs = (
        Output(path=ARTIFACTS + spell(path), digest=file.digest, size=file.size)
        for path, file in sorted(files_of(home, run).items())
    )
    return msgspec.structs.replace(run, outputs=tuple(outputs))


def uploaded_elsewhere(run: Run, home: Home) -> str:
    """Where the artifacts of a run lie that bis does not keep; empty where it keeps them."""
    if not run.tracked:
        return ""
    with database_of(home).reading() as connection:
        uri = locations.of_run(connection, run.id)
    return "" if uri.startswith(f"{SCHEME}:") else readable(uri)
