"""`/invocations`, as the scoring server of MLflow has it: what it takes, what it answers, what it refuses and how.

Beside what that does, a refusal never repeats what was asked, and a table of numbers becomes one array at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..flavors.checking import Mismatch, check, check_params
from ..flavors.signature import Column, Param, Signature
from ..flavors.values import Batch, Tensors
from . import Answer, Asked, Wrong
from .tabular import (
    columns_of_csv,
    columns_of_lists,
    columns_of_parquet,
    columns_of_records,
    columns_of_rows,
    tensor_of,
    with_types,
)
from .written import encoded, plain

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
UNFIT = "INVALID_PARAMETER_VALUE"


def read(content_type: str, body: bytes, signature: Signature) -> Asked:
    """What a request asks for, as the model takes it. Raises Wrong."""
    kind = _kind(content_type)
    if kind == CSV:
        return asked(columns_of_csv(body, signature), {}, signature)
    if kind == PARQUET:
        return asked(columns_of_parquet(body), {}, signature)
    found = parsed(body)
    given = found.get("params")
    return asked(_batch(found, signature), given if given is not None else {}, signature)


def answer(asked: Asked, predictions: Any) -> Answer:
    body = encoded({"predictions": plain(predictions)})
    return Answer(200, JSON, body, asked.batch.rows)


def refusal(wrong: Wrong) -> Answer:
    """As MLflow spells it: text for a type that is not taken, else JSON with a code."""
    if wrong.status == 415:
        return Answer(415, "text/plain", wrong.message.encode())
    return Answer(wrong.status, JSON, encoded({"error_code": wrong.code, "message": wrong.message}))


def asked(batch: Batch, params: Any, signature: Signature, about: Any = None) -> Asked:
    """What was read, held against what the model takes. Raises Wrong."""
    if not isinstance(params, Mapping):
        raise Wrong("params is to be an object with a value for each name", code=UNFIT)
    try:
        rows = check(signature, with_types(signature, batch))
        return Asked(rows, _checked_params(signature, params), about)
    except Mismatch as error:
        raise Wrong(str(error), code=UNFIT) from None


def parsed(body: bytes) -> dict[str, Any]:
    """The object of a body. Raises Wrong."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        place = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Wrong(f"the body is no valid JSON{place}") from None
    if not isinstance(found, dict):
        kinds = {list: "a list", str: "text", bool: "a truth value", type(None): "null"}
        raise Wrong(
            f"the body is to be a JSON object with exactly one of {', '.join(FORMS)},"
            f" and is {kinds.get(type(found), 'a number')}"
        )
    return found


def _kind(content_type: str) -> str:
    """Raises Wrong for what is not taken, in the words of MLflow."""
    kind, *rest = [part.strip() for part in content_type.split(";")]
    values = {key.strip().lower(): value.strip().strip('"') for key, _, value in (one.partition("=") for one in rest)}
    if values.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise Wrong("The scoring server only supports UTF-8", 415)
    if strange := [key for key in values if key not in ("charset", "")]:
        raise Wrong(f"Unrecognized content type parameters: {', '.join(strange)[:200]}", 415)
    if kind.lower() not in (JSON, CSV, PARQUET):
        raise Wrong(
            f"This predictor only supports the following content types: {JSON}, {CSV}, {PARQUET}."
            f" Got '{content_type[:200]}'.",
            415,
        )
    return kind.lower()


def _batch(found: dict[str, Any], signature: Signature) -> Batch:
    """Raises Wrong."""
    forms = [form for form in FORMS if form in found]
    if len(forms) != 1:
        told = f"{', '.join(forms)} at once" if forms else "none of them"
        raise Wrong(f"the body is to be a JSON object with exactly one of {', '.join(FORMS)}, and has {told}")
    given = found[forms[0]]
    if forms[0] == "dataframe_split":
        return _split(given, signature)
    if forms[0] == "dataframe_records":
        return columns_of_records(given)
    return tensors(given, signature, by_place=False)


def _split(given: Any, signature: Signature) -> Batch:
    if not isinstance(given, dict) or "data" not in given:
        raise Wrong("dataframe_split is to be an object with columns and data")
    rows = given["data"]
    names = given.get("columns")
    if names is None:
        first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], list) else []
        known = [one.name for one in signature.inputs if isinstance(one, Column) and one.name]
        names = known if len(known) == len(first) else list(range(len(first)))
    if not isinstance(names, list):
        raise Wrong("the columns of dataframe_split are to be a list of names")
    return columns_of_rows(names, rows)


def tensors(given: Any, signature: Signature, *, by_place: bool) -> Batch:
    """`instances` and `inputs`: a list of objects, an object of lists, or nested lists. A plain list has no names: a
    model that knows its columns by name takes it only where the protocol has no others, `by_place`. Raises Wrong."""
    if isinstance(given, dict):
        return columns_of_lists(given)
    if isinstance(given, list) and given and all(isinstance(one, dict) for one in given):
        return columns_of_records(given)
    array = tensor_of(given)
    if array.ndim == 0:
        raise Wrong("the rows are to be a list, one entry for each row")
    named = [one.name for one in signature.inputs if isinstance(one, Column) and one.name]
    if len(named) > 1 and not by_place:
        raise Wrong(
            "the model takes columns by name, and came with a list without names: an object with a list for each"
            " column, or dataframe_split, has them",
            code=UNFIT,
        )
    return Tensors({"": array})


def _checked_params(signature: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """With defaults. Raises Mismatch."""
    if not signature.params:
        return dict(given)
    found = check_params(signature, given)
    return {param.name: _param(param, found[param.name]) for param in signature.params}


def _param(param: Param, value: Any) -> Any:
    if value is None or value is param.default:
        return value
    if param.shape:
        if not isinstance(value, list):
            raise Mismatch(f"the param {param.name!r} is to be a list")
        return [_one_param(param, one) for one in value]
    return _one_param(param, value)


def _one_param(param: Param, value: Any) -> Any:
    kinds = {"boolean": bool, "string": str, "integer": int, "long": int, "float": float, "double": float}
    wanted = kinds.get(param.type)
    if wanted is None or type(value) is wanted:
        return value
    if wanted is float and type(value) is int:
        return float(value)
    words = {bool: "a truth value", str: "text", int: "a whole number", float: "a number with a fraction"}
    came = words.get(type(value), "a nested value")
    raise Mismatch(f"the param {param.name!r} is to be of the type {param.type}, and is {came}")
