"""`bis tag` and `bis note`: say something of a run after it was sealed."""

from __future__ import annotations

import msgspec

from bis.digest import canonical
from bis.errors import UsageError
from bis.nouns.annotation import Annotation
from bis.steps.home import Home

FORBIDDEN = frozenset("=`'\"")
"""Letters that would keep a tag from being typed in a filter or on a command line."""


def annotate(annotation: Annotation, home: Home) -> Annotation:
    """Keep an annotation beside its run, in the store and then in the ledger. Killed in between, `reindex` finds it.

    The run itself is not touched. Raises UsageError for a tag that could not be asked for.
    """
    for name in (*annotation.tags, *annotation.removed):
        if not name.isprintable() or not name or name != name.strip() or FORBIDDEN & set(name):
            raise UsageError(
                f"{name!r} cannot be the name of a tag",
                because="Names of tags have no quotes, no = and no control characters, and no space at their ends.",
                hint="bis tag RUN team=fraud",
            )
    if not (annotation.tags or annotation.removed or annotation.note.strip()):
        raise UsageError("there is nothing to say", hint="bis note RUN 'why it matters', or bis tag RUN team=fraud")
    annotation = msgspec.structs.replace(annotation, note=annotation.note.strip())
    record = home.store.put_bytes(canonical(annotation), "record")
    home.store.flush()
    home.ledger.annotate(annotation, record)
    return annotation
