"""Which place a run is delivered to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bis.steps.deliver import Beginning, Target

if TYPE_CHECKING:
    from bis.steps.home import Home


def target(beginning: Beginning, home: Callable[[], Home], variables: Mapping[str, str]) -> Target:
    """The server that the run is for, or the ledger of its project. `home` opens the project when it is that."""
    if beginning.server:
        from bis.steps.deliver_http import Server

        return Server(beginning.server, variables)
    from bis.steps.deliver_ledger import Recorded

    return Recorded(home())
