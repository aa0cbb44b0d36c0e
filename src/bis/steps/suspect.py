"""Where the code of a run asks for what is another each time: the clock, the number of a process.

Read off the sources, once something differs, so that nothing is paid for it while a command runs. That code asks for
the clock does not prove that the clock made the difference: these are places to look at.
"""

from __future__ import annotations

import ast
import posixpath
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from bis.digest import readable, spell
from bis.nouns.part import Part
from bis.nouns.trace import Trace
from bis.parts import Scene
from bis.store import Store
from bis.store.snapshot import walk

SIZE = 2 << 20
"""Larger files were written by a program."""
HANDED = re.compile(r"-[A-Za-z]*c")
"""The option before code that is handed to an interpreter: `-c`, `-lc`."""
MAGIC = re.compile(r"(?m)^([ \t]*)[%!].*")
"""Lines of a notebook that are not Python."""

CLOCK: dict[str, int | None] = {
    **dict.fromkeys([f"time.{name}" for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")]),
    **dict.fromkeys(
        [f"time.{name}_ns" for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")]
    ),
    **dict.fromkeys(["time.clock_gettime", "time.clock_gettime_ns", "os.times", "resource.getrusage", "uuid.uuid1"]),
    **dict.fromkeys(["timeit.default_timer", "timeit.timeit", "timeit.repeat", "datetime.date.today"]),
    **dict.fromkeys([f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")]),
    **dict.fromkeys([f"pandas.Timestamp.{name}" for name in ("now", "utcnow", "today")]),
    **dict.fromkeys(["time.localtime", "time.gmtime", "time.ctime", "time.asctime"], 0),
    "time.strftime": 1,
}
"""Functions that read the clock. A number: only when they are given no more arguments than that."""
PROCESS: dict[str, int | None] = dict.fromkeys(
    [
        *("os.getpid", "os.getppid", "os.getpgrp", "os.getsid", "os.getpgid"),
        *("threading.get_native_id", "threading.get_ident", "_thread.get_ident"),
    ]
)
MAKERS = frozenset({"multiprocessing", "subprocess", "psutil", "concurrent"})
"""Modules whose objects have a `.pid`; elsewhere that may be anything."""
SHELL = re.compile(
    r"(?P<process>\$\$|\$\{?(?:BASHPID|PPID)\b\}?)|(?P<clock>\$\{?(?:EPOCHSECONDS|EPOCHREALTIME|SECONDS)\b\}?)"
)
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})


class Suspects(msgspec.Struct, frozen=True, kw_only=True):
    """Each place as a person looks for it: `time.time (train.py:12)`."""

    clock: tuple[str, ...] = ()
    process: tuple[str, ...] = ()


def suspects(scene: Scene, code: Part, store: Store) -> Suspects:
    """What the code that ran asks for, of a run that has ended. Code that the trace did not see is not looked at."""
    clock: list[str] = []
    process: list[str] = []
    for name, source in _sources(scene, code, store):
        for kind, place in asked(name, source):
            (clock if kind == "clock" else process).append(place)
    clock += _executed(scene.trace)
    return Suspects(clock=tuple(dict.fromkeys(clock)), process=tuple(dict.fromkeys(process)))


def asked(name: str, source: str) -> Iterator[tuple[str, str]]:
    """Where a source asks: `clock` or `process`, and the place. Nothing for what cannot be understood."""
    if name.endswith(".ipynb"):
        yield from _notebook(name, source)
    elif name.endswith(".sh") or _interpreter(source) in SHELLS:
        yield from _shell(name, source)
    elif (tree := _parsed(source)) is not None:
        yield from _python(tree, name, _imports(tree))


# Which sources ran -------------------------------------------------------------------------------------------------


def _sources(scene: Scene, code: Part, store: Store) -> Iterator[tuple[str, str]]:
    yield from _given(scene.command)
    ran = _ran(scene)
    for leaf in walk(store, code.trees["tree"]) if "tree" in code.trees else ():
        entry = leaf.entry
        if leaf.path in ran and entry.kind == "file" and entry.size <= SIZE and store.has(entry.digest):
            yield leaf.path, store.get_bytes(entry.digest).decode("utf-8", "replace")


def _given(command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Code among the words of the command: `python -c CODE`, `sh -c CODE`."""
    for place, word in enumerate(command[:-1]):
        if HANDED.fullmatch(word):
            shells = [name for name in map(_base, command[:place]) if name in SHELLS]
            yield "-c", (f"#!{shells[0]}\n" if shells else "") + command[place + 1]
            return


def _ran(scene: Scene) -> set[str]:
    """Names of files that were read, and of those whose compiled form was."""
    found = {scene.named(access.path) for access in scene.trace.accesses if access.was_read} if scene.trace else set()
    # The script itself is opened by the interpreter, which no hook sees.
    words = (posixpath.normpath(scene.folder / word) for word in scene.command[:8])
    return found | {scene.named(spell(word)) for word in words}


def _executed(trace: Trace | None) -> list[str]:
    programs = {_base(process.argv[0]) for process in trace.processes if process.argv} if trace else set()
    return ["the program date"] if "date" in programs else []


# Reading them ------------------------------------------------------------------------------------------------------


def _parsed(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's code, which is not ours to print
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _interpreter(source: str) -> str:
    """What the first line names: `python3`, `sh`."""
    words = source[2 : source.find("\n")].split() if source.startswith("#!") else []
    names = [_base(word) for word in words if not word.startswith("-")]
    return next((name for name in names if name != "env"), "")


def _notebook(name: str, source: str) -> Iterator[tuple[str, str]]:
    imports: dict[str, str] = {}
    for number, text in enumerate(_cells(source), 1):
        if (tree := _parsed(MAGIC.sub(r"\1pass", text))) is not None:
            imports |= _imports(tree)
            yield from _python(tree, f"{name}, cell {number}", imports)


def _cells(source: str) -> list[str]:
    """The code of a notebook, cell by cell."""
    try:
        cells: Any = msgspec.json.decode(source)["cells"]
        return ["".join(cell["source"]) if cell["cell_type"] == "code" else "" for cell in cells]
    except (msgspec.DecodeError, KeyError, TypeError):
        return []


def _shell(name: str, source: str) -> Iterator[tuple[str, str]]:
    # The first line of what was given by `-c` was put there, to name the shell.
    for number, line in enumerate(source.splitlines(), 0 if name == "-c" else 1):
        for found in SHELL.finditer(line if not line.lstrip().startswith("#") else ""):
            yield str(found.lastgroup), _place(found[0], name, number)


def _imports(tree: ast.Module) -> dict[str, str]:
    """Name in the module -> what it stands for, with its module: `pc` -> `time.perf_counter`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if alias.name == "*":
                    known = [each for each in (*CLOCK, *PROCESS) if each.rpartition(".")[0] == node.module]
                    found |= {each.rpartition(".")[2]: each for each in known}
                else:
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _python(tree: ast.Module, name: str, imports: dict[str, str]) -> Iterator[tuple[str, str]]:
    makes = not MAKERS.isdisjoint(each.partition(".")[0] for each in imports.values())
    given = {
        id(node.func): len(node.args) + len(node.keywords) for node in ast.walk(tree) if isinstance(node, ast.Call)
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
            continue
        whole = _dotted(node, imports)
        if makes and isinstance(node, ast.Attribute) and node.attr == "pid":
            found.append((node.lineno, "process", ".pid"))
        for kind, table in (("clock", CLOCK), ("process", PROCESS)):
            if whole in table:
                most = table[whole]
                if most is None or given.get(id(node), 0) <= most:
                    found.append((node.lineno, kind, whole))
    for line, kind, what in sorted(found):
        yield kind, _place(what, name, line)


def _dotted(node: ast.expr, imports: dict[str, str]) -> str:
    """What a chain of names stands for; empty when it does not begin with something imported."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in imports:
        return ""
    return ".".join([imports[node.id], *reversed(names)])


def _base(word: str) -> str:
    return PurePosixPath(word).name


def _place(what: str, name: str, line: int) -> str:
    return f"{what} ({readable(name)}{':' if ', cell ' not in name else ', line '}{line})"
