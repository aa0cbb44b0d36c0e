"""What MLflow lets names and values be, so that its clients find here what they know. The numbers are its own."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from bis.server.mlflow.endpoint import Refused, invalid, missing

KEY: Final = 250
DATASET: Final = 500
DIGEST: Final = 36
PARAM: Final = 6000
TAG: Final = 8000
EXPERIMENT_NAME: Final = 500
CALLED: Final = 1000
"""The name of a run, of a user, of a registered model."""
SOURCE: Final = 8000
"""Where the files of a version lie."""
EXPERIMENT_TAG: Final = 5000
METRICS_AT_ONCE: Final = 1000
PARAMS_AT_ONCE: Final = 100
TAGS_AT_ONCE: Final = 100
ENTITIES_AT_ONCE: Final = 1000
PER_PAGE: Final = 50_000
EXPERIMENTS_AT_ONCE: Final = 20_000
LARGEST: Final = 1 << 62
"""Ids beyond it are those of nothing."""

_NAME: Final = re.compile(r"[/\w.\- :]*\Z")
_RUN: Final = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}\Z")


def check_name(name: str, path: str) -> None:
    """Of a metric, param or tag."""
    if not name:
        raise missing(path)
    if not _NAME.match(name):
        allowed = "alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)"
        raise invalid(path, name, f": Names may only contain {allowed}.")
    plain = posixpath.normpath(name)
    if plain != name or plain == "." or plain.startswith(("..", "/")):
        why = (
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such."
        )
        raise invalid(path, name, f": {why} This name would resolve to {plain!r}")


def check_length(what: str, value: str, most: int) -> None:
    if len(value) > most:
        raise Refused("INVALID_PARAMETER_VALUE", f"'{what}' exceeds the maximum length of {most} characters")


def check_param(key: str, value: str, path: str = "") -> str:
    """The value, as it is kept: MLflow cuts long ones where the client did not."""
    check_name(key, f"{path}key")
    check_length("Param key", key, KEY)
    return value[:PARAM]


def check_tag(key: str, value: str, path: str = "") -> str:
    check_name(key, f"{path}key")
    check_length(f"{path}key", key, KEY)
    return value[:TAG]


def check_experiment_tag(key: str, value: str) -> None:
    check_name(key, "key")
    check_length("key", key, KEY)
    check_length("value", value, EXPERIMENT_TAG)


def check_experiment_name(name: str) -> None:
    if not name:
        raise Refused("INVALID_PARAMETER_VALUE", f"Invalid experiment name: '{name}'")
    check_length("name", name, EXPERIMENT_NAME)


def experiment_id(text: str) -> int:
    """Empty means the Default experiment."""
    try:
        number = int(text or "0")
    except ValueError:
        raise Refused(
            "INVALID_PARAMETER_VALUE", f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer."
        ) from None
    return number if abs(number) < LARGEST else -1


def experiment_ids(texts: Iterable[str]) -> list[int]:
    found = sorted({experiment_id(text) for text in texts})
    if len(found) > EXPERIMENTS_AT_ONCE:
        message = f"A search can name at most {EXPERIMENTS_AT_ONCE} experiments. Got {len(found)}."
        raise Refused("INVALID_PARAMETER_VALUE", message)
    return found


def view(type: str | int) -> bool | None:
    """Whether what was removed is meant; None: both."""
    views = {"1": False, "2": True, "3": None, "ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}
    try:
        return views[str(type)]
    except KeyError:
        raise invalid("view_type", type) from None


def check_run_id(id: str) -> None:
    if not _RUN.match(id):
        raise invalid("run_id", id)


def page_size(asked: int | None, usual: int) -> int:
    """How many one page holds at most."""
    if asked is None:
        return usual
    if asked < 1:
        raise invalid("max_results", asked, ". It must be a positive integer")
    if asked > PER_PAGE:
        raise invalid("max_results", asked, f". It must be at most {PER_PAGE}")
    return asked


def check_unique(keys: Iterable[str]) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise Refused(
            "INVALID_PARAMETER_VALUE",
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure the request contains only one param"
            " value per param key.",
        )


def check_batch(metrics: int, params: int, tags: int) -> None:
    counts = (
        ("metrics", metrics, METRICS_AT_ONCE),
        ("params", params, PARAMS_AT_ONCE),
        ("tags", tags, TAGS_AT_ONCE),
        ("metrics, params, and tags", metrics + params + tags, ENTITIES_AT_ONCE),
    )
    for what, count, most in counts:
        if count > most:
            raise Refused(
                "INVALID_PARAMETER_VALUE",
                f"A batch logging request can contain at most {most} {what}. Got {count} {what}. Please split up"
                f" {what} across multiple requests and try again.",
            )
