"""A worker: one process that holds one model and answers what the front hands to it, one batch of requests at a time.

Requests that came together and ask for the same are predicted as one, where the model treats each row by itself; if
that fails, each is asked alone, so that one bad request never spoils its neighbours. What a model prints goes to
stderr. The worker ends when the front is gone, and when its memory is used up, which it says first.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import TRUST, Answer, Asked, Wrong
from .frames import Ended, Frames, framed
from .lean import held_for_good, leanly

TOGETHER = 4096
"""Rows that are predicted at once: what is more comes in parts of that size or as one request brought them."""
FULL = 3
"""The status of a worker that ended because its memory was used up."""


def work(descriptor: int, job_file: int = -1) -> None:
    """Load the model that the first frame names, say whether it can be asked, and answer until the front is gone.
    `job_file`: the job is read from there, as this worker begins again."""
    connection = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a model prints is no answer
    frames = Frames(connection)
    try:
        job = frames.next()[0] if job_file < 0 else _job_in(job_file)
        _bound(job)
        try:
            with held_for_good():
                scorer, told = _ready(job, lean=job_file < 0 and _may_be_lean(job))
        except _Again:
            _begin_again(descriptor, job)
        except Exception as error:
            connection.sendall(framed({"failed": _said(error), "hint": _hint(error)}))
            sys.exit(1)
        connection.sendall(framed({"ready": told}))
        _answer(connection, frames, scorer)
    except (Ended, ConnectionError, BrokenPipeError):
        pass


def _ready(job: Mapping[str, Any], *, lean: bool) -> tuple[Scorer, dict[str, Any]]:
    """A model that was proved, and what is told of it. Raises _Again where it may be the leanness that it fails of."""
    if not lean:
        scorer = Scorer(job)
        return scorer, scorer.prove()
    try:
        with leanly():
            scorer = Scorer(job, lean=True)
        if not scorer.predictor.wants_names:
            return scorer, scorer.prove()
    except Exception as error:
        raise _Again from error
    raise _Again


class _Again(Exception):
    """A model that was loaded without pandas may need it."""


def _may_be_lean(job: Mapping[str, Any]) -> bool:
    """Whether the model may do without pandas, which takes as much memory as NumPy and the model together."""
    flavors = job["description"].get("flavors") or {}
    texts = ('"string"', '"binary"', '"datetime"')
    written = str((job["description"].get("signature") or {}).get("inputs") or "")
    return bool({"sklearn", "xgboost", "onnx"} & set(flavors)) and not any(one in written for one in texts)


def _begin_again(descriptor: int, job: Mapping[str, Any]) -> None:
    """This process anew, with all that there is to import."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(job).encode())
        file.flush()
        for number in (descriptor, file.fileno()):
            os.set_inheritable(number, True)
        words = [sys.executable, sys.argv[0], "--fd", str(descriptor), "--job", str(file.fileno())]
        os.execv(sys.executable, words)


def _job_in(number: int) -> Any:
    with os.fdopen(number, "rb") as file:
        file.seek(0)
        return json.load(file)


def _answer(connection: socket.socket, frames: Frames, scorer: Scorer) -> None:
    while True:
        head, body = frames.next()
        if head["do"] == "stop":
            return
        answers = scorer.score(head["parts"], body)
        told = [
            {
                "id": part["id"],
                "status": one.status,
                "content_type": one.content_type,
                "length": len(one.body),
                "rows": one.rows,
                "json_length": one.json_length,
            }
            for part, one in zip(head["parts"], answers)
        ]
        connection.sendall(
            framed({"answers": told, "together": scorer.together, "last": scorer.full}, *(one.body for one in answers))
        )
        if scorer.full:
            sys.exit(FULL)


def _bound(job: Mapping[str, Any]) -> None:
    """The processors and the memory that it may use."""
    if cpus := job.get("cpus"):
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setaffinity(0, cpus)
    if memory := job.get("memory"):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _said(error: BaseException) -> str:
    from ..flavors import Refused

    return str(error) if isinstance(error, (Refused, Wrong)) else f"{type(error).__name__}: {error}"


def _hint(error: BaseException) -> str:
    from ..flavors import Untrusted

    return TRUST if isinstance(error, Untrusted) else ""


class Scorer:
    """A model that can be asked in all protocols."""

    def __init__(self, job: Mapping[str, Any], *, lean: bool = False) -> None:
        from ..flavors import Loading, kinds, signature

        folder, described = Path(job["folder"]), job["description"]
        flavors = described.get("flavors") or {}
        self.folder = folder
        self.named = {"name": job.get("name", ""), "version": job.get("version", "")}
        self.signature = signature.read(described.get("signature"))
        self.example = (described.get("saved_input_example_info") or {}).get("serving_input_path")
        how = Loading(trust=job.get("trust", False), threads=job.get("threads", 0), alone=True, lean=lean)
        self.predictor = kinds.load(folder, flavors, how)
        self.rowwise = bool(getattr(self.predictor, "rowwise", False)) and job.get("together", True)
        self.full = False
        self.together = 0
        """How many requests of the last batch were predicted as one, at most."""

    def prove(self) -> dict[str, Any]:
        """Ask the model with its own example, where it has one. Raises what goes wrong."""
        file = self.folder / self.example if self.example else None
        if file is None or not file.is_file():
            return {"proved": False, "rowwise": self.rowwise}
        body = file.read_bytes()
        if not isinstance(json.loads(body), dict):
            return {"proved": False, "rowwise": self.rowwise}
        part = {"id": 0, "form": "invocations", "content_type": "application/json", "length": len(body)}
        (one,) = self.score([part], body)
        if one.status != 200:
            raise RuntimeError(f"it does not answer its own input example: {one.body.decode()[:500]}")
        return {"proved": True, "rowwise": self.rowwise}

    def score(self, parts: Sequence[Mapping[str, Any]], body: bytes) -> list[Answer]:
        """An answer for each part, in their order. It never raises."""
        answers: list[Answer | None] = [None] * len(parts)
        groups: dict[Any, list[tuple[int, Asked]]] = {}
        begin = 0
        for place, part in enumerate(parts):
            end = begin + part["length"]
            try:
                asked = self._read(part, body[begin:end] if len(parts) > 1 else body)
                groups.setdefault(self._kind(place, asked), []).append((place, asked))
            except Exception as error:
                answers[place] = self._refusal(part, error)
            begin = end
        self.together = max(map(len, groups.values()), default=0)
        for group in groups.values():
            self._ask(parts, group, answers)
        return [one for one in answers if one is not None]

    def _read(self, part: Mapping[str, Any], body: bytes) -> Asked:
        from . import oip, payloads, v1

        form = part["form"]
        if form == "invocations":
            return payloads.read(part["content_type"], body, self.signature)
        if form == "v1":
            return v1.read(part["content_type"], body, self.signature)
        return oip.read(body, part.get("json_length", -1), self.signature)

    def _kind(self, place: int, asked: Asked) -> Any:
        """What can be predicted together is of one kind."""
        if not self.rowwise or not asked.batch.rows or asked.batch.rows > TOGETHER:
            return place
        return (*_layout(asked.batch), tuple(sorted((key, repr(value)) for key, value in asked.params.items())))

    def _ask(
        self, parts: Sequence[Mapping[str, Any]], group: Sequence[tuple[int, Asked]], answers: list[Answer | None]
    ) -> None:
        if len(group) == 1:
            ((place, asked),) = group
            answers[place] = self._alone(parts[place], asked)
            return
        from ..flavors.values import joined, rows_of

        try:
            found = self.predictor.predict(joined([asked.batch for _, asked in group]), group[0][1].params)
            begin = 0
            for place, asked in group:
                end = begin + asked.batch.rows
                answers[place] = self._written(parts[place], asked, rows_of(found, slice(begin, end)))
                begin = end
        except Exception:
            for place, asked in group:
                answers[place] = self._alone(parts[place], asked)

    def _alone(self, part: Mapping[str, Any], asked: Asked) -> Answer:
        try:
            return self._written(part, asked, self.predictor.predict(asked.batch, asked.params))
        except Exception as error:
            return self._refusal(part, error)

    def _written(self, part: Mapping[str, Any], asked: Asked, predictions: Any) -> Answer:
        from . import oip, payloads, v1

        if part["form"] == "invocations":
            return payloads.answer(asked, predictions)
        if part["form"] == "v1":
            return v1.answer(asked, predictions)
        return oip.answer(asked, predictions, self.named, self.signature)

    def _refusal(self, part: Mapping[str, Any], error: Exception) -> Answer:
        """What a model itself says of a failure may repeat what it was asked, so it is told on stderr alone."""
        from . import oip, payloads, v1

        if isinstance(error, MemoryError):
            self.full = True
            wrong = Wrong("the model ran out of memory on this request", 503, "TEMPORARILY_UNAVAILABLE")
        elif isinstance(error, Wrong):
            wrong = error
        else:
            print(f"bis: a request failed in the model: {_where(error)}", file=sys.stderr, flush=True)
            wrong = Wrong(
                f"the model failed on this request with {type(error).__name__}; the log of the server says where"
            )
        if part["form"] == "invocations":
            return payloads.refusal(wrong)
        return v1.refusal(wrong) if part["form"] == "v1" else oip.refusal(wrong)


def _where(error: BaseException) -> str:
    """The type of an error and the lines that it came through, without its text: that may hold what was asked."""
    steps = [
        f"{Path(step.filename).name}:{step.lineno} {step.name}"
        for step in traceback.extract_tb(error.__traceback__)[-4:]
    ]
    return f"{type(error).__name__} at {' < '.join(reversed(steps))}"


def _layout(batch: Any) -> tuple[Any, ...]:
    """Names and types: batches that have them in common can be joined."""
    if hasattr(batch, "names"):
        if batch.block is not None:
            return ("block", batch.names, batch.block.dtype.str)
        return ("columns", batch.names, tuple(array.dtype.str for array in batch.arrays))
    return ("tensors", tuple((name, array.dtype.str, array.shape[1:]) for name, array in batch.arrays.items()))
