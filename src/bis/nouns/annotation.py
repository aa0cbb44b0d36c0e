"""An Annotation: something said of a run after it was sealed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

ANNOTATION_SCHEMA = "bis.annotation/1"


class Annotation(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=ANNOTATION_SCHEMA, tag_field="schema"
):
    """One entry of the journal beside a run. Kept in the store as a record of its own; the run stays as it was."""

    run: str
    """The id of the run that it is about."""
    made: str
    """When: RFC 3339, UTC. A later one wins over an earlier one."""
    user: str = ""
    """Who said it."""
    tags: dict[str, str] = {}
    """Tags that are set: name -> value."""
    removed: tuple[str, ...] = ()
    """Names of tags that are taken away."""
    note: str = ""
    """A remark, in words. Earlier ones stay."""


def tags_after(annotations: Sequence[Annotation]) -> dict[str, str]:
    """The tags that a run has after these annotations, given in the order of time; sorted by name."""
    tags: dict[str, str] = {}
    for annotation in annotations:
        tags = {name: value for name, value in tags.items() if name not in annotation.removed} | annotation.tags
    return dict(sorted(tags.items()))
