"""All kinds of records that a ledger is made anew from. Imported only for that: most commands meet runs alone."""

from __future__ import annotations

from typing import TypeGuard

import msgspec

from bis.nouns.annotation import Annotation
from bis.nouns.built import Built
from bis.nouns.dataset import DataAnnotation, DataVersion
from bis.nouns.model_event import ModelEvent
from bis.nouns.run import Run
from bis.nouns.tracked import Tracked
from bis.nouns.verdict import Verdict

Record = Run | Verdict | Annotation | DataVersion | DataAnnotation | Tracked | ModelEvent | Built


def any_record(data: bytes) -> Record:
    """Read back from its canonical JSON. Raises msgspec.MsgspecError for what is none."""
    found: Record = msgspec.json.decode(data, type=Record, strict=False)
    return found


def is_event(record: Record) -> bool:
    """Whether it is of the registry: what follows from events is made once, for all of them together."""
    return isinstance(record, ModelEvent)


def has_history(record: Record) -> TypeGuard[Run | Tracked]:
    """Whether it is of a run that has points of metrics."""
    return isinstance(record, Run | Tracked) and bool(record.history)
