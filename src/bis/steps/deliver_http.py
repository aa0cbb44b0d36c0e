"""A server as the place for runs: `bis server`, or any other that speaks MLflow's protocol.

The standard library's HTTP only: this runs in training processes.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from bis.errors import KeepingError, UsageError
from bis.nouns.logged import File, Input, Params, Saying, Tags, Values
from bis.nouns.run import Status
from bis.steps.deliver import Beginning, Gone
from bis.store.remote.certificates import distrust, trusted

PATIENCE: Final = 30.0
"""Seconds to wait for an answer."""
API: Final = "/api/2.0/mlflow"
POINTS, TEXTS = 1000, 100
"""Metrics, and params or tags, that a server takes at once."""
STATUSES: Final[dict[Status, str]] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "lost": "FAILED",
}
LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may do."""


class Server:
    """Takes runs over HTTP. The server gives ids of its own; the tag `bis.run` says which run is which."""

    def __init__(self, url: str, variables: Mapping[str, str]) -> None:
        self._url = urlsplit(url if "://" in url else f"http://{url}")
        if self._url.scheme not in ("http", "https") or not self._url.hostname or not _has_port(self._url):
            shown = url.rpartition("@")[2]  # what stands before it may be a password
            raise UsageError(f"{shown!r} is no address of a server", hint="BIS_SERVER=http://127.0.0.1:5000")
        self._headers = {"Content-Type": "application/json", **_credentials(self._url.username, variables)}
        self._variables = variables
        self._connection: http.client.HTTPConnection | None = None
        self._known: dict[str, dict[str, str]] = {}

    def begin(self, beginning: Beginning) -> None:
        if self._find(beginning):
            return
        experiment = self._experiment(beginning.experiment) if beginning.experiment else "0"
        tags = {
            "bis.run": beginning.id,
            "mlflow.user": beginning.user,
            "mlflow.source.name": " ".join(beginning.command),
            "mlflow.note.content": beginning.note,
        }
        made = self._call(
            "POST",
            f"{API}/runs/create",
            {
                "experiment_id": experiment,
                "run_name": beginning.name,
                "user_id": beginning.user,
                "start_time": _millis(beginning.started),
                "tags": [{"key": key, "value": value} for key, value in tags.items() if value],
            },
            once=True,  # a run that was made and not told is found when it is tried again
        )
        self._known[beginning.id] = made["run"]["info"]

    def take(self, beginning: Beginning, told: Sequence[Saying], folder: Path) -> None:
        try:
            self._take(beginning, told, folder)
        except UsageError:
            self._demand_there(beginning)
            raise

    def _take(self, beginning: Beginning, told: Sequence[Saying], folder: Path) -> None:
        run = self._its_id(beginning)
        for metrics, params, tags in _batches(told):
            self._call(
                "POST",
                f"{API}/runs/log-batch",
                {"run_id": run["run_id"], "metrics": metrics, "params": params, "tags": tags},
            )
        for entry in told:
            if isinstance(entry, File):
                self._upload(run["artifact_uri"], entry.path, folder / entry.content)
            elif isinstance(entry, Input):
                self._declare(run["run_id"], entry)

    def end(self, beginning: Beginning, status: Status, moment: int) -> None:
        run = self._its_id(beginning)
        told = {"run_id": run["run_id"], "status": STATUSES[status], "end_time": moment}
        try:
            self._call("POST", f"{API}/runs/update", told)
        except UsageError:
            self._demand_there(beginning)
            raise

    def _find(self, beginning: Beginning) -> dict[str, str]:
        """Info of the run that was begun for this one, if there is one."""
        experiment = self._experiment(beginning.experiment) if beginning.experiment else "0"
        asked = {"experiment_ids": [experiment], "filter": f"tags.`bis.run` = '{beginning.id}'", "max_results": 1}
        found = self._call("POST", f"{API}/runs/search", asked).get("runs") or []
        return found[0]["info"] if found else {}

    def _its_id(self, beginning: Beginning) -> dict[str, str]:
        known = self._known.setdefault(beginning.id, {}) or self._find(beginning)
        if known:
            self._known[beginning.id] = known
            return known
        raise Gone(f"the server {self._url.hostname}", beginning)

    def _demand_there(self, beginning: Beginning) -> None:
        """Raises Gone where the server has the run no more, or only among what was removed."""
        id = self._its_id(beginning)["run_id"]
        status, found = self._ask("GET", f"{API}/runs/get?{urlencode({'run_id': id})}")
        if status == 404 or (status < 300 and found["run"]["info"].get("lifecycle_stage") == "deleted"):
            raise Gone(f"the server {self._url.hostname}", beginning)

    def _experiment(self, name: str) -> str:
        asked = urlencode({"experiment_name": name})
        status, found = self._ask("GET", f"{API}/experiments/get-by-name?{asked}")
        if status == 200:
            return str(found["experiment"]["experiment_id"])
        return str(self._call("POST", f"{API}/experiments/create", {"name": name})["experiment_id"])

    def _upload(self, artifacts: str, name: str, content: Path) -> None:
        if urlsplit(artifacts).scheme != "mlflow-artifacts":
            raise UsageError(f"{name} was not kept: the server keeps artifacts in {artifacts}, not behind itself")
        below = urlsplit(artifacts).path.strip("/")
        path = f"/api/2.0/mlflow-artifacts/artifacts/{quote(below)}/{quote(name)}"
        with content.open("rb") as file:
            status, found = self._ask("PUT", path, file, {"Content-Length": str(content.stat().st_size)})
        _checked(status, found, path)

    def _declare(self, run: str, entry: Input) -> None:
        dataset = {
            "name": entry.name or Path(entry.path).name,
            "digest": entry.digest.removeprefix("b3:")[:36],
            "source_type": "local",
            "source": json.dumps({"uri": entry.path, "digest": entry.digest, "size": entry.size}),
        }
        self._call("POST", f"{API}/runs/log-inputs", {"run_id": run, "datasets": [{"dataset": dataset, "tags": []}]})

    def _call(self, method: str, path: str, content: Any, *, once: bool = False) -> dict[str, Any]:
        status, found = self._ask(method, path, json.dumps(content).encode(), once=once)
        return _checked(status, found, path)

    def _ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, once: bool = False
    ) -> tuple[int, dict[str, Any]]:
        path = self._url.path.rstrip("/") + path
        for again in (True, False):
            connection = self._connection = self._connection or self._connect()
            try:
                connection.request(method, path, body, {**self._headers, **(headers or {})})
                answer = connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                connection.close()
                if isinstance(error, ssl.SSLCertVerificationError):
                    said, hint = distrust(error)
                    raise KeepingError(f"nothing is sent to {self._url.hostname}: {said}", hint=hint) from None
                # A server closes connections that rest; a second one says whether it is there.
                if not again or once or hasattr(body, "read"):
                    asked = self._url.netloc.rpartition("@")[2]
                    raise KeepingError(
                        f"the server {asked} does not answer: {error or type(error).__name__}",
                        hint="bis sync, when it does",
                    ) from None
        try:
            found = json.loads(text or b"{}")
        except ValueError:
            found = None
        if isinstance(found, dict):
            return answer.status, found
        if answer.status < 300:
            raise KeepingError(
                f"{self._url.hostname} answered {path} with something that no server of runs says: {text[:60]!r}",
                hint="BIS_SERVER=http://127.0.0.1:5000 names the server",
            )
        return answer.status, {"message": text[:200].decode(errors="replace")}

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=trusted(self._variables))
        return http.client.HTTPConnection(host, port, timeout=PATIENCE)


def _has_port(url: SplitResult) -> bool:
    """One that there may be, or none given."""
    try:
        return url.port != 0
    except ValueError:
        return False


def _checked(status: int, found: dict[str, Any], path: str) -> dict[str, Any]:
    if status < 300:
        return found
    said = f"{path} answered {status}: {found.get('error_code', '')} {found.get('message', '')}".strip()
    if status in LATER or status in (401, 403):
        hint = "export MLFLOW_TRACKING_TOKEN=…, then bis sync" if status in (401, 403) else "bis sync, later"
        raise KeepingError(f"the server did not take it: {said}", hint=hint)
    raise UsageError(f"the server refused it: {said}")


def _batches(told: Sequence[Saying]) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
    metrics = [
        {"key": key, "value": _spelled(value), "timestamp": entry.moment, "step": entry.step}
        for entry in told
        if isinstance(entry, Values)
        for key, value in entry.values.items()
    ]
    params = [(key, value) for entry in told if isinstance(entry, Params) for key, value in entry.values.items()]
    tags = [(key, value) for entry in told if isinstance(entry, Tags) for key, value in entry.values.items()]
    while metrics or params or tags:
        room = POINTS - min(len(params), TEXTS) - min(len(tags), TEXTS)
        yield (
            metrics[:room],
            [{"key": key, "value": value} for key, value in params[:TEXTS]],
            [{"key": key, "value": value} for key, value in tags[:TEXTS]],
        )
        metrics, params, tags = metrics[room:], params[TEXTS:], tags[TEXTS:]


def _spelled(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _millis(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)


def _credentials(user: str | None, variables: Mapping[str, str]) -> dict[str, str]:
    if token := variables.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    name, password = variables.get("MLFLOW_TRACKING_USERNAME", user), variables.get("MLFLOW_TRACKING_PASSWORD", "")
    if name:
        return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
    return {}
