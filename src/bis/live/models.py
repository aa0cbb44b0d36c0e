"""Models that a script saves: `bis.save_model(model, "churn", example=X[:5])`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bis.live.current import session
from bis.live.saying import log_artifact
from bis.steps.packaging import About, write

if TYPE_CHECKING:
    from bis.flavors.signature import Signature


def save_model(
    model: Any,
    name: str = "model",
    *,
    example: Any = None,
    signature: Signature | None = None,
    params: Mapping[str, Any] | None = None,
    format: str = "",
    metrics: Mapping[str, float] | None = None,
) -> About | None:
    """Keep a model with the run, as an artifact of that name in MLflow's layout, with all that it needs to be loaded.

    `example`: some rows that it understands, from which its signature is told; a model without one cannot be checked
    against what it is asked. `params`: what a prediction can be asked with beside rows, with their defaults. `format`:
    one of those that its flavor has (`skops`, `ubj`, `cloudpickle`, …); else the safest that holds it. `metrics`: what
    was measured of it; they are metrics of the run, too. Returns what is known of it; None in a process that does not
    log, as ranks other than the first.

    Unlike logging, this raises: a model that could not be saved is no result. ValueError for what cannot be saved or
    for an example that makes no sense, OSError where it cannot be written.
    """
    current = session()
    if current.muted:
        return None
    from bis.flavors import Refused
    from bis.store.temporary import temporary

    with temporary("model") as place:
        folder = place / "model"
        try:
            about = write(
                model, folder, example=example, signature=signature, params=params, format=format, metrics=metrics
            )
        except Refused as error:
            raise ValueError(f"{name} was not saved: {error}") from error
        for file in sorted(folder.rglob("*"), key=lambda path: (path.name == "MLmodel", path)):
            if file.is_file():
                log_artifact(file, f"{name}/{file.relative_to(folder).as_posix()}")
    return about
