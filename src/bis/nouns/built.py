"""A Built: something to ship that was made of a model or a run, known by its digest."""

from __future__ import annotations

from typing import Literal

import msgspec

BUILT_SCHEMA = "bis.built/1"

BuiltKind = Literal["image", "lambda", "kubernetes"]


class Built(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=BUILT_SCHEMA, tag_field="schema"):
    """What was built, and of what. Kept in the store as a record of its own."""

    kind: BuiltKind
    digest: str
    """`sha256:` and 64 hexadecimal digits: of the manifest of an image, else of the bytes of the file."""
    made: str
    """When it was recorded: RFC 3339, UTC. The thing itself does not depend on it."""
    user: str = ""
    name: str = ""
    """What it is called where it was put."""
    run: str = ""
    """The id of the run that it was built of, or that made its model."""
    model: str = ""
    """The version of a model that it was built of: `models:/churn/3`."""
    identity: str = ""
    """Of the model, whatever version it is."""
    base: str = ""
    """What an image is built on, by digest."""
    image: str = ""
    """What manifests of Kubernetes start: an image, by digest."""
    pushed: str = ""
    """Where it was sent: `ghcr.io/team/churn@sha256:…`."""
