"""Which place a run is delivered to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bis.steps.deliver import Beginning, Target

if TYPE_CHECKING:
    from bis.steps.home import Home


def without_credentials(address: str) -> tuple[str, dict[str, str]]:
    """The address of a server as it may be written down, and what stood in it of a user and a password, as the
    variables in which clients are told these."""
    scheme, mark, rest = address.rpartition("://")
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    said, at, _ = place.rpartition("@")
    if not at:
        return address, {}
    user, _, password = said.partition(":")
    given = {"MLFLOW_TRACKING_USERNAME": unquote(user), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
    return f"{scheme}{mark}{rest[len(said) + 1 :]}", given


def target(beginning: Beginning, home: Callable[[], Home], variables: Mapping[str, str]) -> Target:
    """The server that the run is for, or the ledger of its project. `home` opens the project when it is that."""
    if beginning.server:
        from bis.steps.deliver_http import Server

        return Server(beginning.server, variables)
    from bis.steps.deliver_ledger import Recorded

    return Recorded(home())
