"""The story of one scoring: batches in, answers out, in order; killed at any point, it goes on after the last part."""

from __future__ import annotations

import argparse
import fcntl
import glob
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...flavors import signature as signatures
from ...flavors.checking import Mismatch, check, check_params
from ...flavors.signature import Column, Signature
from ...flavors.values import Batch
from .. import Wrong
from ..tabular import with_types
from . import Reject, Stop, pools, reading, why_not, writing
from .kinds import ARROW_KINDS, kind_of
from .pools import Failed, Pool, Ticket
from .reading import Bad, Chunk

IN_PART = 64
"""Batches of a part, at most."""
FRAMES = "BIS_SCORE_FRAMES"
"""The variable that says that the model needs pandas."""
SECONDS = 5.0
"""After so long a part is closed, so that what is slow loses little."""


def main(described: Mapping[str, Any]) -> int:
    """`described`: what MLmodel says of the model. Returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if sys.argv[1:2] == ["--worker"]:
        pools.work(int(sys.argv[2]))
        return 0
    asked = _asked()
    try:
        rows, rejected = score(asked, described)
    except pools.Again:
        os.environ[FRAMES] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    except Stop as stop:
        for name, text in (("error", stop.what), ("because", stop.because), ("hint", stop.hint)):
            if text:
                print(f"{name}: {text}", file=sys.stderr)
        return stop.status
    except MemoryError:
        print("error: the memory does not hold a batch\nhint: --batch with fewer rows", file=sys.stderr)
        return 4
    except OSError as error:
        told = f"{error.filename or asked.output} cannot be written or read: {error.strerror or type(error).__name__}"
        print(f"error: {told}\nhint: the same command goes on", file=sys.stderr)
        return 5
    print(f"{rows} rows, {rejected} rejected")
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bis predict", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", action="append", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--work", required=True, help="folder of the parts")
    parser.add_argument("--input-format", default="")
    parser.add_argument("--format", required=True)
    parser.add_argument("--folder", action="store_true", help="the output is one")
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", default="")
    parser.add_argument("--param", action="append", default=[])
    parser.add_argument("--keep", action="append", default=[])
    parser.add_argument("--keep-all", action="store_true")
    parser.add_argument("--skip", action="store_true", help="rows that cannot be scored go to the rejects")
    parser.add_argument("--on", default="local")
    parser.add_argument("--trust", action="store_true")
    return parser.parse_args()


def score(asked: argparse.Namespace, described: Mapping[str, Any]) -> tuple[int, int]:
    """Rows that were scored, and rows that were rejected. Raises Stop."""
    work = Path(asked.work)
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Stop(f"another process is writing {asked.output} now", hint="wait for it to end") from None
        signature = signatures.read(described.get("signature"))
        journal = Journal(work, asked.format)
        scoring = Scoring(asked, described, signature, journal)
        try:
            scoring.all()
        finally:
            scoring.close()
        output = Path(asked.output)
        writing.assemble(journal.parts(), output, asked.format, journal.names(scoring.no_names()), asked.folder)
        rejects = output.with_name(f"{output.name}.rejects.jsonl")
        rows, rejected = journal.rows()
        if asked.skip:
            _write_rejects(journal, rejects)
        journal.clear()
    return rows, rejected


def _write_rejects(journal: Journal, path: Path) -> None:
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "wb") as file:
        for one in journal.rejects():
            file.write(one.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Journal:
    """What was done: a file for each part, whose name says which batches it holds, and how many rows. A part is there
    whole or not at all."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self._end = "arrow" if kind in ARROW_KINDS else kind
        for left in folder.glob("*.new"):
            left.unlink()
        self.batches = 0
        for _, end, _, _ in self._found():
            self.batches = end

    def _found(self) -> list[tuple[int, int, int, int]]:
        """First batch, the one behind the last, rows, rejected rows: those that follow one another from the first."""
        found: list[tuple[int, int, int, int]] = []
        named = sorted(path.name.split(".")[0] for path in self.folder.glob(f"*.{self._end}"))
        for name in named:
            begin, end, rows, rejected = map(int, name.split("-"))
            if begin == (found[-1][1] if found else 0):
                found.append((begin, end, rows, rejected))
        return found

    def parts(self) -> list[Path]:
        return [self._path(one, self._end) for one in self._found()]

    def rejects(self) -> list[Path]:
        return [path for path in (self._path(one, "rejects") for one in self._found()) if path.exists()]

    def rows(self) -> tuple[int, int]:
        found = self._found()
        return sum(one[2] for one in found), sum(one[3] for one in found)

    def _path(self, one: Sequence[int], end: str) -> Path:
        return self.folder / f"{one[0]:09d}-{one[1]:09d}-{one[2]}-{one[3]}.{end}"

    def draft(self) -> Path:
        return self.folder / "part.new"

    def take(self, begin: int, end: int, rows: int, rejects: Sequence[Reject]) -> None:
        """The draft is whole from now on."""
        name = (begin, end, rows, len(rejects))
        if rejects:
            with open(self.folder / "rejects.new", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(json.dumps(one.entry(), ensure_ascii=False) + "\n" for one in rejects)
                file.flush()
                os.fsync(file.fileno())
            (self.folder / "rejects.new").replace(self._path(name, "rejects"))
        self.draft().replace(self._path(name, self._end))
        handle = os.open(self.folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        self.batches = end

    def note_names(self, names: Sequence[str]) -> None:
        (self.folder / "names.new").write_text(json.dumps(list(names)), "utf-8")
        (self.folder / "names.new").replace(self.folder / "names")

    def names(self, otherwise: Sequence[str] = ()) -> list[str]:
        try:
            return list(json.loads((self.folder / "names").read_text("utf-8")))
        except FileNotFoundError:
            return list(otherwise)

    def clear(self) -> None:
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)


class Scoring:
    """One scoring under way."""

    def __init__(
        self, asked: argparse.Namespace, described: Mapping[str, Any], signature: Signature, journal: Journal
    ) -> None:
        self._asked, self._signature, self._journal = asked, signature, journal
        self._files = files_of(asked.input, asked.input_format)
        self._wanted = [one.name for one in signature.inputs if one.name] or None
        self._params = _params(asked, signature)
        self._names = journal.names()
        self._done = 0.0
        self._rows = sum(journal.rows())
        self._told = 0.0
        self._pool = _pool(asked, described, signature, self._params)

    def close(self) -> None:
        self._pool.close()

    def no_names(self) -> list[str]:
        """Of the output of no rows at all."""
        kept = list(self._asked.keep)
        if self._asked.keep_all and self._files:
            path = self._files[0]
            kept = list(getattr(reading.opened(path, self._asked.input_format, 1, self._signature), "names", ()))
        return [*kept, "prediction"]

    def all(self) -> None:
        begin = self._journal.batches
        waiting: deque[tuple[Chunk, Ticket | None]] = deque()
        part = _Draft(self._journal, self._asked.format, begin)
        for chunk in self._chunks(begin):
            waiting.append((chunk, self._begin(chunk)))
            while len(waiting) >= self._pool.room:
                part = self._settle(*waiting.popleft(), part)
        while waiting:
            part = self._settle(*waiting.popleft(), part)
        part.close()

    def _chunks(self, skip: int) -> Iterator[Chunk]:
        """Those that were not scored before."""
        number = 0
        for place, path in enumerate(self._files):
            file = reading.opened(path, self._asked.input_format, self._asked.batch, self._signature)
            for chunk in file.chunks():
                number += 1
                self._done = (place + file.done()) / len(self._files)
                if number > skip:
                    yield chunk

    def _begin(self, chunk: Chunk) -> Ticket | None:
        """None: some of it cannot be asked."""
        try:
            return self._pool.ask(self._checked(chunk))
        except (Bad, Wrong, Mismatch):
            return None

    def _checked(self, chunk: Chunk) -> Batch:
        return check(self._signature, with_types(self._signature, chunk.columns(self._wanted)))

    def _settle(self, chunk: Chunk, ticket: Ticket | None, part: _Draft) -> _Draft:
        rejects: list[Reject] = []
        try:
            if ticket is None:
                raise Failed
            series = self._series(chunk, ticket.get())
        except (Failed, Bad):
            try:
                chunk, rejects = self._without_faults(chunk)
            except Stop:
                part.close()
                raise
            series = self._series(chunk, self._pool.ask(self._checked(chunk)).get()) if len(chunk.numbers) else []
        self._rows += len(chunk.numbers) + len(rejects)
        part.add(self._in_order(series), len(chunk.numbers), rejects)
        self._tell()
        return part.next() if part.is_full() else part

    def _series(self, chunk: Chunk, answers: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        names = list(chunk.names) if self._asked.keep_all else self._asked.keep
        if lacking := [name for name in names if name not in chunk.names and not isinstance(chunk, reading.JsonChunk)]:
            known = ", ".join(chunk.names[:20])
            raise Stop(f"{chunk.file} has no column {lacking[0]!r} to keep", f"It has {known}.")
        taken = {name for name, _ in answers}
        kept = [(name, values) for name, values in chunk.kept(names) if name not in taken] if names else []
        return [*kept, *answers]

    def _in_order(self, series: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """The columns of the first batch, in its order."""
        if not series:
            return series
        names = [name for name, _ in series]
        if not self._names:
            self._names = names
            self._journal.note_names(names)
        if names != self._names:
            there = dict(series)
            if set(there) != set(self._names):
                other = sorted(set(there) ^ set(self._names))[0]
                raise Stop(f"the output began without or with a column {other!r}, and goes on otherwise", status=2)
            return [(name, there[name]) for name in self._names]
        return series

    def _without_faults(self, chunk: Chunk) -> tuple[Chunk, list[Reject]]:
        """What is left without the rows that cannot be scored. Raises Stop for the first of them, unless they are to be
        skipped, and for a batch of which each row by itself can be scored."""
        self._demand_columns(chunk)
        found: dict[int, Reject] = {}
        for place, reject in self._faults(chunk, 0):
            if not self._asked.skip:
                raise Stop(
                    str(reject), "Rows before it are kept.", "--on-error skip writes such rows to a file of rejects"
                )
            found[place] = reject
        if not found:
            first, last = chunk.numbers[0], chunk.numbers[-1]
            raise Stop(f"{chunk.file}, rows {first} to {last}: the model fails on them together, and on none alone")
        return chunk.chosen([place for place in range(len(chunk.numbers)) if place not in found]), list(found.values())

    def _demand_columns(self, chunk: Chunk) -> None:
        """Raises Stop where the file has not what the model takes: that is no fault of a row."""
        known = chunk.names
        needed = [one.name for one in self._signature.inputs if isinstance(one, Column) and one.required and one.name]
        lacking = [name for name in needed if name not in known]
        if lacking and isinstance(chunk, reading.JsonChunk):  # which says it in each row
            known = tuple(dict.fromkeys((*known, *chunk.names_in_rows())))
            lacking = [name for name in needed if name not in known]
        if lacking:
            words = "no column" if len(lacking) == 1 else "none of the columns"
            named = f"{words} {', '.join(map(repr, lacking[:20]))}"
            raise Stop(f"{chunk.file} has {named}, which the model takes", f"It has {', '.join(known[:20])}.")

    def _faults(self, chunk: Chunk, place: int) -> Iterator[tuple[int, Reject]]:
        """By halves: rows that cannot be scored are few."""
        try:
            if self._asked.keep or self._asked.keep_all:
                chunk.kept([name for name in chunk.names if self._asked.keep_all or name in self._asked.keep])
            self._pool.ask(self._checked(chunk)).get()
            return
        except (Failed, Bad, Wrong, Mismatch) as error:
            rows = len(chunk.numbers)
            if rows == 1:
                yield place, self._reject(chunk, error)
                return
        half = rows // 2
        yield from self._faults(chunk.chosen(range(half)), place)
        yield from self._faults(chunk.chosen(range(half, rows)), place + half)

    def _reject(self, chunk: Chunk, error: Exception) -> Reject:
        number = chunk.numbers[0]
        if isinstance(error, Bad):
            return Reject(chunk.file, number, error.column, error.expected, error.given)
        if isinstance(error, Failed):
            return Reject(chunk.file, number, "", "a row that the model answers", f"one on which it fails ({error})")
        return self._mismatch(chunk, number, error)

    def _mismatch(self, chunk: Chunk, number: int, error: Exception) -> Reject:
        """Which column it is."""
        columns = chunk.columns(self._wanted)
        for one in self._signature.inputs:
            if not isinstance(one, Column):
                continue
            if one.name and one.name not in columns.names:
                if one.required:
                    return Reject(chunk.file, number, one.name, f"a column of the type {one.type}", "none")
                continue
            try:
                alone = columns.chosen([one.name]) if one.name else columns
                check(Signature((one,)), with_types(Signature((one,)), alone))
            except (Mismatch, Wrong) as found:
                given = str(found).rpartition(" and holds ")[2] if " and holds " in str(found) else "something else"
                return Reject(chunk.file, number, one.name, f"a value of the type {one.type}", given)
        return Reject(chunk.file, number, "", "what the model takes", str(error))

    def _tell(self) -> None:
        """How far it is, for whoever looks."""
        now = time.monotonic()
        if now - self._told < 0.2:
            return
        self._told = now
        draft = self._journal.folder / "progress.new"
        draft.write_text(json.dumps({"rows": self._rows, "part": self._done}), "utf-8")
        draft.replace(self._journal.folder / "progress")


class _Draft:
    """The part that is being written."""

    def __init__(self, journal: Journal, kind: str, begin: int) -> None:
        self._journal, self._kind, self._begin = journal, kind, begin
        self._batches, self._rows = 0, 0
        self._rejects: list[Reject] = []
        self._since = time.monotonic()
        self._part: writing.Part | None = None

    def add(self, series: writing.Series, rows: int, rejects: Sequence[Reject]) -> None:
        self._part = self._part or writing.part(self._journal.draft(), self._kind)
        if rows:
            self._part.add(series, rows)
        self._batches += 1
        self._rows += rows
        self._rejects += rejects

    def is_full(self) -> bool:
        return self._batches >= IN_PART or time.monotonic() - self._since > SECONDS

    def next(self) -> _Draft:
        self.close()
        return _Draft(self._journal, self._kind, self._begin + self._batches)

    def close(self) -> None:
        if self._part is not None:
            self._part.close()
            self._journal.take(self._begin, self._begin + self._batches, self._rows, self._rejects)


# -- what is asked -----------------------------------------------------------------------------------------------


def files_of(inputs: Sequence[str], format: str) -> list[str]:
    """The files that are meant, in a stable order: folders and globs by name. Raises Stop where there are none."""
    found: list[str] = []
    for one in inputs:
        if os.path.isdir(one):
            found += _in_folder(one, format)
        elif os.path.exists(one):
            found.append(one)
        elif any(letter in one for letter in "*?["):
            named = sorted(path for path in glob.glob(one, recursive=True) if os.path.isfile(path))
            if not named:
                raise Stop(f"no file is meant by {one}", status=3)
            found += named
        else:
            raise Stop(f"there is no file {one}", status=3)
    return found


def _in_folder(folder: str, format: str) -> list[str]:
    found = []
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        found += [os.path.join(top, name) for name in sorted(names) if not name.startswith((".", "_"))]
    known = [path for path in found if format or kind_of(path)]
    if not known:
        raise Stop(f"no file in {folder} is in a format that its name tells", hint="--input-format csv", status=3)
    return known


def _params(asked: argparse.Namespace, signature: Signature) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for one in asked.param:
        name, _, text = one.partition("=")
        try:
            given[name] = json.loads(text)
        except ValueError:
            given[name] = text
    try:
        params = check_params(signature, given) if signature.params else given
    except Mismatch as error:
        raise Stop(str(error)) from None
    return {**params, **({"predict_method": asked.method} if asked.method not in ("", "predict") else {})}


def _pool(
    asked: argparse.Namespace, described: Mapping[str, Any], signature: Signature, params: dict[str, Any]
) -> Pool:
    names = [one.name for one in signature.outputs if one.name] if not asked.method else []
    job = {
        "folder": str(Path(asked.model).absolute()),
        "flavors": described["flavors"],
        "trust": asked.trust,
        "threads": asked.threads,
        "method": asked.method,
        "params": params,
        "outputs": names,
        "lean": _may_be_lean(described) and FRAMES not in os.environ,
    }
    if asked.on != "local":
        from . import clusters

        return (clusters.Ray if asked.on == "ray" else clusters.Dask)(job, asked.workers)
    if asked.workers > 1:
        return pools.Workers(job, asked.workers)
    try:
        return pools.Here(job)
    except (Stop, pools.Again):
        raise
    except Exception as error:
        raise Stop(**why_not(error), status=4) from None


def _may_be_lean(described: Mapping[str, Any]) -> bool:
    """Whether the model may do without pandas."""
    texts = ('"string"', '"binary"', '"datetime"')
    written = str((described.get("signature") or {}).get("inputs") or "")
    return bool({"sklearn", "xgboost", "onnx"} & set(described["flavors"])) and not any(t in written for t in texts)
