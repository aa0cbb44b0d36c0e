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
    hidden: bool | None = None
    """True: the run is removed, so that its content may go. False: taken back. None: nothing is said of that."""
    experiment: str = ""
    """The name of the experiment that the run is moved to; empty: it stays where it is."""
    name: str = ""
    """What the run is called from now on; empty: as before."""


def tags_after(annotations: Sequence[Annotation]) -> dict[str, str]:
    """The tags that a run has after these annotations, given in the order of time; sorted by name."""
    tags: dict[str, str] = {}
    for annotation in annotations:
        tags = {name: value for name, value in tags.items() if name not in annotation.removed} | annotation.tags
    return dict(sorted(tags.items()))


def name_after(annotations: Sequence[Annotation], name: str) -> str:
    """What a run is called that was called so when it was recorded."""
    return next((annotation.name for annotation in reversed(annotations) if annotation.name), name)


def experiment_after(annotations: Sequence[Annotation]) -> str:
    """The name of the experiment that a run was moved to last; empty where nobody moved it."""
    return next((annotation.experiment for annotation in reversed(annotations) if annotation.experiment), "")


def removed_at(annotations: Sequence[Annotation]) -> str:
    """When a run was removed, after these annotations, given in the order of time; empty when it is not."""
    last = [annotation for annotation in annotations if annotation.hidden is not None][-1:]
    return last[0].made if last and last[0].hidden else ""
