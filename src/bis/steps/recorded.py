"""Whether bis saw a run at all."""

from __future__ import annotations

from bis.digest import readable
from bis.errors import CannotRepeat
from bis.nouns.run import Run


def demand_record(run: Run) -> None:
    """Raises CannotRepeat for a run that a client logged."""
    if run.tracked:
        raise CannotRepeat(
            f"{readable(run.name)} was logged by a client, not run by bis",
            because="Its params and metrics are known, but not the code, the data and the environment that made them.",
            hint="bis run -- COMMAND  records those, and what the command logs to MLflow as well",
        )
