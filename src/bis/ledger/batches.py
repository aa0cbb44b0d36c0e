"""What a client logs in one call: metrics, params and tags of a run, all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bis.ledger import logged_models, points, tracked
from bis.ledger.connection import Connection
from bis.nouns.tracking import Point


def log(
    connection: Connection,
    id: str,
    metrics: Sequence[Point],
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    name: str = "",
) -> None:
    """Raises ParamChanged for a param that has another value already, and NoSuch, Removed or Sealed for the run."""
    plain = not (params or tags or name or any(point.model for point in metrics))
    if plain and points.append_to(connection, id, metrics):
        return
    seq = tracked.loggable(connection, id)
    if params:
        tracked.put_params(connection, seq, id, params)
    if metrics:
        points.append(connection, seq, metrics)
        about = [point for point in metrics if point.model]
        if about:
            logged_models.measure(connection, id, about)
    if tags:
        tracked.put_tags(connection, seq, tags)
    if name:
        tracked.update(connection, id, name=name)
