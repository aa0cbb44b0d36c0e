"""What clients ask of a server before they use it, and what they are told of what it does not do: they go on then."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bis.server.desk import Desk
from bis.server.mlflow.endpoint import Endpoint, Refused, get

OTHERS: Final = {
    **dict.fromkeys(("traces", "assessments", "trace-metrics"), "Traces"),
    **dict.fromkeys(("scorers", "datasets", "issues", "label-schemas", "review-queues"), "Evaluation"),
    **dict.fromkeys(("prompt-optimization", "prompts"), "Prompts"),
    **dict.fromkeys(("gateway", "gateway-proxy", "endpoints", "secrets", "budgets", "guardrails"), "The gateway"),
    **dict.fromkeys(("workspaces", "promptlab", "jobs"), "What this asks for"),
}
"""The first word of a path -> what MLflow has there, and bis has not."""


class Nothing(msgspec.Struct):
    pass


async def info(desk: Desk, asked: Nothing) -> dict[str, Any]:
    return {"store_type": "SqlStore", "workspaces_enabled": False}


def unsupported(path: str) -> Refused:
    """What is said of a path, behind the version, that nothing answers."""
    first = path.split("/")[0]
    if first in OTHERS:
        return Refused("NOT_IMPLEMENTED", f"{OTHERS[first]}: not supported by bis. Runs, models and artifacts are.")
    return Refused("ENDPOINT_NOT_FOUND", f"No such call: {path}")


ENDPOINTS: Final[tuple[Endpoint, ...]] = (get("server-info", Nothing, info, version="3.0"),)
