"""The few questions that MLflow's pages ask in GraphQL, answered by the calls that answer them elsewhere.

The language is read as far as those questions use it: operations, aliases, arguments, variables; fragments are not. The
types are those of the other calls, with names in camel case and whole numbers as text, as MLflow has it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bis.server.mlflow.endpoint import Refused
from bis.server.mlflow.model_versions import VERSIONS_AT_ONCE

DEEPEST: Final = 10
MOST_FIELDS: Final = 1000
MOST_ROOTS: Final = 10
MOST_ALIASES: Final = 10
MOST_RUNS: Final = 1000
"""Runs of which the versions are asked for at once."""
CALLS: Final = {
    "mlflowGetExperiment": ("GET", "experiments/get"),
    "mlflowGetRun": ("GET", "runs/get"),
    "mlflowSearchRuns": ("POST", "runs/search"),
    "mlflowSearchDatasets": ("POST", "experiments/search-datasets"),
    "mlflowSearchModelVersions": ("GET", "model-versions/search"),
    "mlflowListArtifacts": ("GET", "artifacts/list"),
    "mlflowGetMetricHistoryBulkInterval": ("GET", "metrics/get-history-bulk-interval"),
}
"""What may be asked for -> the call that answers it."""
LISTS: Final = ("aliases", "datasetInputs", "metrics", "modelInputs", "modelOutputs", "params", "tags")
USUAL: Final = {"isDir": False, "fileSize": "0", "context": "", **{name: [] for name in LISTS}}
"""What a field is that the other calls leave out."""
TOKEN: Final = re.compile(
    r'[\s,]*+(?:#[^\n]*+[\s,]*+)*+(?:(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)'
    r"|(?P<word>[A-Za-z_]\w*)|(?P<mark>\.\.\.|[{}()\[\]:!=@$|&]))"
)

Call = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]
"""Answers a call: method, path, what is asked."""


class Asked(msgspec.Struct):
    query: str = ""
    variables: dict[str, Any] | None = None


class Wanted(NamedTuple):
    """A field of an answer, and what of it is wanted; nothing: all, as it is no object."""

    name: str
    called: str
    arguments: dict[str, Any]
    fields: tuple[Wanted, ...]


async def answer(asked: Asked, call: Call) -> dict[str, Any]:
    """What is wrong with a question stands in the answer, as the language has it."""
    try:
        wanted = read_question(asked.query, asked.variables or {})
        return {"data": {field.called: await _root(field, call) for field in wanted}, "errors": None}
    except Refused as refused:
        return {"data": None, "errors": [refused.message]}
    except RecursionError:
        return {"data": None, "errors": ["The variables are nested too deep."]}


def read_question(text: str, variables: Mapping[str, Any]) -> tuple[Wanted, ...]:
    """The fields of an operation. Raises Refused for what cannot be read, or asks for too much."""
    found = _Reader(text, variables).operation()
    _check(len(found), MOST_ROOTS, "root fields", "MLFLOW_SERVER_GRAPHQL_MAX_ROOT_FIELDS")
    aliases = max(sum(field.called != field.name for field in level) for level in _levels(found))
    _check(aliases, MOST_ALIASES, "aliases", "MLFLOW_SERVER_GRAPHQL_MAX_ALIASES")
    return found


def _levels(fields: tuple[Wanted, ...]) -> Iterator[tuple[Wanted, ...]]:
    yield fields
    for field in fields:
        if field.fields:
            yield from _levels(field.fields)


def _check(count: int, most: int, what: str, name: str) -> None:
    if count > most:
        message = f"GraphQL queries should have at most {most} {what}, got {count} {what}. ({name})"
        raise Refused("INVALID_PARAMETER_VALUE", message)


async def _root(field: Wanted, call: Call) -> Any:
    if field.name in ("test", "testMutation"):
        return _picked({"output": field.arguments.get("inputString")}, field.fields)
    if field.name not in CALLS:
        raise Refused("INVALID_PARAMETER_VALUE", f"Cannot query field '{field.name}'.")
    method, path = CALLS[field.name]
    asked = field.arguments.get("input") or {}
    if not isinstance(asked, dict):
        raise Refused("INVALID_PARAMETER_VALUE", f"The input of '{field.name}' is no object.")
    found = await call(method, path, _snake(asked))
    await _add(found, field, call)
    return _picked(_camel(found), field.fields)


async def _add(found: dict[str, Any], field: Wanted, call: Call) -> None:
    """What a run has here and not elsewhere: its experiment, and the versions of models that were made of it. They are
    asked for once for all runs, not for each."""
    runs = [found["run"]] if "run" in found else found.get("runs", ())
    wanted = {inner.name for outer in field.fields if outer.name in ("run", "runs") for inner in outer.fields}
    if "experiment" in wanted:
        ids = dict.fromkeys(run["info"]["experiment_id"] for run in runs)
        found_of = {id: await call("GET", "experiments/get", {"experiment_id": id}) for id in ids}
        for run in runs:
            run.update(found_of[run["info"]["experiment_id"]])
    if "modelVersions" in wanted:
        versions = await _versions([run["info"]["run_id"] for run in runs], call)
        for run in runs:
            run["model_versions"] = versions[run["info"]["run_id"]]


async def _versions(runs: Sequence[str], call: Call) -> dict[str, list[Any]]:
    """Of models, by the run that each was made of."""
    found: dict[str, list[Any]] = {run: [] for run in runs}
    for start in range(0, len(runs), MOST_RUNS):
        among = ", ".join(f"'{run}'" for run in runs[start : start + MOST_RUNS])
        asked = {"filter": f"run_id IN ({among})", "max_results": VERSIONS_AT_ONCE}
        for version in (await call("GET", "model-versions/search", asked)).get("model_versions", ()):
            found[version["run_id"]].append(version)
    return found


def _picked(found: Any, fields: tuple[Wanted, ...]) -> Any:
    if isinstance(found, list):
        return [_picked(each, fields) for each in found]
    if not isinstance(found, dict) or not fields:
        return found
    return {field.called: _picked(found.get(field.name, USUAL.get(field.name)), field.fields) for field in fields}


def _snake(found: Any) -> Any:
    if isinstance(found, dict):
        return {re.sub(r"[A-Z]", lambda m: "_" + m[0].lower(), key): _snake(value) for key, value in found.items()}
    return [_snake(each) for each in found] if isinstance(found, list) else found


def _camel(found: Any, key: str = "") -> Any:
    if isinstance(found, dict):
        return {re.sub(r"_([a-z])", lambda m: m[1].upper(), name): _camel(value, name) for name, value in found.items()}
    if isinstance(found, list):
        return [_camel(each, key) for each in found]
    if isinstance(found, int) and not isinstance(found, bool) and key != "value":
        return str(found)
    return None if key == "value" and found == "NaN" else found


class _Reader:
    """The tokens of a question, one after the other."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._text, self._variables = text, variables
        self._at = self._fields = 0
        self._kind, self._token = self._scan()

    def operation(self) -> tuple[Wanted, ...]:
        if self._kind == "word":
            self._next()
            if self._kind == "word":
                self._next()
            self._arguments()
            self._directives()
        return self._selection(1)

    def _selection(self, depth: int) -> tuple[Wanted, ...]:
        if depth > DEEPEST:
            raise Refused("INVALID_PARAMETER_VALUE", f"Query exceeds maximum depth of {DEEPEST}")
        self._expect("{")
        found: list[Wanted] = []
        while self._token != "}":
            found.append(self._field(depth))
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise Refused("INVALID_PARAMETER_VALUE", f"Query exceeds maximum total selections of {MOST_FIELDS}")
        self._next()
        return tuple(found)

    def _field(self, depth: int) -> Wanted:
        name = called = self._word()
        if self._token == ":":
            self._next()
            name = self._word()
        arguments = self._arguments()
        self._directives()
        return Wanted(name, called, arguments, self._selection(depth + 1) if self._token == "{" else ())

    def _arguments(self) -> dict[str, Any]:
        """Those of a field; of what an operation declares nothing is kept."""
        found: dict[str, Any] = {}
        if self._token == "(":
            self._next()
            while self._token != ")":
                if self._token == "$":
                    self._declaration()
                else:
                    name = self._word()
                    self._expect(":")
                    found[name] = self._value(1)
            self._next()
        return found

    def _declaration(self) -> None:
        self._next()
        self._word()
        self._expect(":")
        while self._token in ("[", "]", "!") or self._kind == "word":
            self._next()
        if self._token == "=":
            self._next()
            self._value(1)

    def _directives(self) -> None:
        while self._token == "@":
            self._next()
            self._word()
            self._arguments()

    def _value(self, depth: int) -> Any:
        if depth > DEEPEST:
            raise Refused("INVALID_PARAMETER_VALUE", f"Query exceeds maximum depth of {DEEPEST}")
        kind, token = self._kind, self._token
        self._next()
        if kind in ("text", "number"):
            return self._literal(token)
        if kind == "word":
            return {"true": True, "false": False, "null": None}.get(token, token)
        if token == "$":
            return self._variables.get(self._word())
        if token == "[":
            return list(self._until("]", lambda: self._value(depth + 1)))
        if token == "{":
            return dict(self._until("}", lambda: self._entry(depth + 1)))
        raise self._wrong(token)

    def _literal(self, token: str) -> Any:
        try:
            return msgspec.json.decode(token)
        except msgspec.DecodeError:
            raise self._wrong(token[:20]) from None

    def _entry(self, depth: int) -> tuple[str, Any]:
        name = self._word()
        self._expect(":")
        return name, self._value(depth)

    def _until(self, end: str, item: Callable[[], Any]) -> Iterator[Any]:
        while self._token != end:
            yield item()
        self._next()

    def _word(self) -> str:
        word = self._token
        if self._kind != "word":
            raise self._wrong(word)
        self._next()
        return word

    def _expect(self, mark: str) -> None:
        if self._token != mark:
            raise self._wrong(self._token)
        self._next()

    def _next(self) -> None:
        self._kind, self._token = self._scan()

    def _scan(self) -> tuple[str, str]:
        match = TOKEN.match(self._text, self._at)
        if match and match.lastgroup:
            self._at = match.end()
            return match.lastgroup, match[match.lastgroup]
        rest = self._text[self._at :].strip(" \t\r\n,")
        if rest:
            raise self._wrong(rest[:20])
        return "end", ""

    def _wrong(self, token: str) -> Refused:
        return Refused("INVALID_PARAMETER_VALUE", f"Syntax Error: Unexpected {token or 'end of query'!r}.")
