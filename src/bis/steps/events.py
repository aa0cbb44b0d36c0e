"""Events: what the hooks inside the run's Pythons said they opened, for want of a tracer.

They name files as they are about to be opened, with the state that each has at its first mention, as the command sees
it. What they do not say that of (programs), and all that strace names, is looked at when the run has ended: a file that
nothing has touched since the run began is as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import spell, unspell
from bis.nouns.trace import Access, Process, Stat

UNKNOWN = Stat(-1, 0, 0)
"""There was a file, and what it was is not known: it equals no state that a file can have."""
LETTERS = {"r": "r", "w": "w", "a": "w", "t": "tw"}


class Marks:
    """What was done to which path, told by somebody who need not have looked at the files; they are looked at
    afterwards then."""

    def __init__(self, since_ns: int) -> None:
        self.processes: list[Process] = []
        self.connections: set[str] = set()
        self._since_ns = since_ns
        self._letters: dict[str, str] = {}

    def mark(self, path: str, letter: str) -> None:
        """`path`: spelled, from the root, links of folders resolved."""
        if path:
            letters = self._letters.get(path, "")
            if letter not in letters:
                self._letters[path] = letters + letter

    def accesses(self) -> Iterator[Access]:
        for path, letters in sorted(self._letters.items()):
            before, there = self._before(path, letters)
            if not there and set(letters) <= {"r", "l", "x"}:
                letters = "a"
            if letters[0] in "wt" and before is None and there:
                letters = "c" + letters
            yield Access(path=path, how=letters, before=before)

    def _before(self, path: str, letters: str) -> tuple[Stat | None, bool]:
        """The state before the run, None when there was no file or the run may have made it; and whether one is there
        now."""
        try:
            status = Path(unspell(path)).stat()
        except OSError:
            # What was read first and is gone now was there before.
            return (UNKNOWN if letters[0] == "r" and len(letters) > 1 else None), False
        if max(status.st_ctime_ns, status.st_mtime_ns) < self._since_ns:
            return Stat(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns), True
        return (None if letters[0] in "wtnf" else UNKNOWN), True


class Heard(Marks):
    """What was heard from all Pythons of a run."""

    def __init__(self, inside: Path, since_ns: int) -> None:
        super().__init__(since_ns)
        self._was: dict[str, tuple[int, Stat | None]] = {}
        for lines in sorted(map(_lines, inside.glob("*.said")), key=_began):
            self._read(lines)

    def _read(self, lines: list[dict[str, Any]]) -> None:
        pid, parent = 0, 0
        for line in lines:
            kind, path = line.get("e"), line.get("p", "")
            if kind == "start":
                pid, parent = int(line.get("pid", 0)), int(line.get("ppid", 0))
                if not line.get("fork"):
                    self.processes.append(
                        Process(pid=pid, parent=parent, executable=line.get("exe", ""), argv=_words(line.get("argv")))
                    )
            elif kind == "was":
                self._looked_at(path, int(line.get("t", 0)), line.get("b"))
            elif kind == "open":
                for letter in LETTERS.get(line.get("m", "r"), "r"):
                    self.mark(path, letter)
            elif kind == "list":
                self.mark(path, "l")
            elif kind == "make":
                self.mark(path, "f")
            elif kind == "remove":
                self.mark(path, "d")
            elif kind == "rename":
                self.mark(path, "m")
                self.mark(line.get("q", ""), "n")
            elif kind == "exec" and path.startswith("/"):
                self.mark(resolved(path), "x")
                if not line.get("k"):
                    self.processes.append(Process(pid=0, parent=pid, executable=path, argv=_words(line.get("argv"))))
            elif kind == "connect":
                self.connections.add(line.get("a", ""))

    def _looked_at(self, path: str, at_ns: int, state: Any) -> None:
        """Of several processes, the one that looked first counts."""
        if path not in self._was or at_ns < self._was[path][0]:
            self._was[path] = at_ns, (Stat(*state) if state else None)

    def _before(self, path: str, letters: str) -> tuple[Stat | None, bool]:
        if path not in self._was:
            return super()._before(path, letters)
        before = self._was[path][1]
        if before is None:
            return None, letters[0] in "wtn"
        if max(before.ctime_ns, before.mtime_ns) < self._since_ns:
            return before, True
        # What the run itself had changed by then, unseen.
        return (None if letters[0] in "wtnf" else UNKNOWN), True


def resolved(path: str) -> str:
    """With links of folders resolved, as far as the folders are still there."""
    folder, _, name = unspell(path).rpartition("/")
    return spell(os.path.realpath(folder or "/").rstrip("/") + "/" + name) if name else path


def _words(argv: Any) -> tuple[str, ...]:
    return tuple(map(str, argv)) if isinstance(argv, list) else ()


def _began(lines: list[dict[str, Any]]) -> float:
    return float(lines[0].get("t") or 0.0) if lines else 0.0


def _lines(file: Path) -> list[dict[str, Any]]:
    """The lines of one process. One that was cut short by a kill is left out."""
    found = []
    try:
        raw = file.read_bytes()
    except OSError:
        return []
    for line in raw.splitlines():
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
