"""Which role a call needs. One table: what is not in it needs a reader when it only looks, else a writer."""

from __future__ import annotations

import re
from typing import Final

from bis.ledger.tokens import Role

LOOKS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN: Final = frozenset({"/health", "/version"})
"""Answered to everybody: whether there is a server, and which."""
DOOR: Final = ("/login", "/logout", "/static/")
"""What a browser needs before it has said who looks."""
CALLS: Final = (
    *("/api/", "/ajax-api/", "/graphql", "/v1/", "/mlflow-artifacts/", "/metrics", "/health", "/version"),
    *("/get-artifact", "/upload-artifact", "/model-versions/", "/__reset__"),
)
"""What begins so is for programs; everything else is a page."""

_FACE: Final = re.compile(r"/(?:api|ajax-api)/\d+(?:\.\d+)?/")
_PART: Final = re.compile(r"mlflow-artifacts/mpu/part/[^/]+/\d+")
"""The id of an upload in parts is drawn at random and told to writers only; MLflow's client sends no token there."""

SEARCHES: Final = frozenset(
    "mlflow/runs/search mlflow/experiments/search mlflow/experiments/search-datasets mlflow/logged-models/search"
    " mlflow/registered-models/search mlflow/registered-models/get-latest-versions graphql".split()
)
"""Asked with POST, and change nothing."""
ADMIN: Final = ("mlflow/webhooks",)
"""What begins so makes the server call others, or shows their secrets."""
ADMIN_PAGES: Final = ("/settings/",)
PACKS: Final = "/api/bis/1/store/packs/"
"""What is deleted there, others may have relied upon."""


def needed(method: str, path: str) -> Role | None:
    """None: nobody needs a token."""
    path = "/" + path.lstrip("/")  # the application reads it so
    if (path in OPEN and method in LOOKS) or path.startswith(DOOR):
        return None
    if method not in LOOKS and path.startswith(ADMIN_PAGES):
        return "admin"
    if path == "/__reset__" or (method == "DELETE" and path.startswith(PACKS)):
        return "admin"
    call = _FACE.sub("", path, count=1) if _FACE.match(path) else path
    if method == "PUT" and _PART.fullmatch(call):
        return None
    if call.startswith(ADMIN):
        return "admin"
    return "reader" if method in LOOKS or (method == "POST" and call.lstrip("/") in SEARCHES) else "writer"


def is_page(path: str) -> bool:
    """Whether a path is for people with a browser, which sends what they logged in with as a cookie."""
    return not ("/" + path.lstrip("/")).startswith(CALLS)  # the application reads it so
