"""strace: `--trace full`. Beside the notifications it tells which files were looked for and are not there; where
there can be no notifications (a trace is around this one already) it stands in for them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from bis.digest import spell
from bis.errors import UsageError
from bis.nouns.trace import Process
from bis.steps.events import Marks, resolved

FILE = "strace.log"
LOOKING = (
    "?stat,?lstat,?stat64,?lstat64,?newfstatat,?fstatat64,?statx,?access,faccessat,?faccessat2,?readlink,readlinkat,"
    "chdir,fchdir"
)
"""Calls that name a file without opening it; `?`: where this machine has the call."""
ALL = "%file,connect,fchdir"
CALL = re.compile(rb"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?:<((?:\\x[0-9a-f]{2})*)[^>]*>+)?(?: (\w+))?")
UNFINISHED = re.compile(rb"^(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(rb"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
ARGUMENT = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"|(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)[^>]*>')
INTERNET = re.compile(rb'sin6?_port=htons\((\d+)\).*?"([^"]+)"')
UNIX = re.compile(rb'sun_path=(@?)"([^"]+)"')
LISTED = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')


def check() -> None:
    if shutil.which("strace") is None:
        raise UsageError(
            "full tracing needs strace, and there is none in PATH",
            hint="bis run --trace auto, or install strace (apt install strace)",
        )


def prefix(scratch: Path, alone: bool) -> tuple[str, ...]:
    """The command that executes the rest under strace, as a child of this one's parent."""
    what = ALL if alone else LOOKING
    options = ["-D", "-f", "-qq", "-yy" if alone else "-y", "-xx", "-s4096", "-esignal=none", f"-etrace={what}"]
    if alone and not _filtered():
        # Four times quicker, and not to be had together with notifications: of two filters the kernel obeys one.
        options.append("--seccomp-bpf")
    return ("strace", *options, "-o", str(scratch / FILE), "--")


def _filtered() -> bool:
    """Whether a filter is on this process, as that of a trace around it would be."""
    try:
        return "\nSeccomp:\t2" in Path("/proc/self/status").read_text()
    except OSError:
        return True


def absences(log: Path) -> Iterator[bytes]:
    """Paths, from the root, that some process looked for in vain."""
    for call in _calls(log):
        if call.error == b"ENOENT" and call.paths:
            yield call.paths[0]


class Told(Marks):
    """All that strace told of a run, where it is alone."""

    def __init__(self, log: Path, since_ns: int) -> None:
        super().__init__(since_ns)
        for call in _calls(log):
            if call.name in ("execve", "execveat") and call.paths and not call.error:
                self._executed(call)
            elif call.name == "connect":
                self._connected(call)
            elif call.paths and not call.error:
                for path, letters in _done(call):
                    for letter in letters:
                        self.mark(resolved(spell(path)), letter)

    def _executed(self, call: _Call) -> None:
        self.mark(resolved(spell(call.paths[0])), "x")
        words = tuple(spell(_plain(word)) for word in LISTED.findall(call.rest.partition(b"[")[2].partition(b"]")[0]))
        self.processes.append(Process(pid=call.pid, executable=spell(call.paths[0]), argv=words))

    def _connected(self, call: _Call) -> None:
        if found := INTERNET.search(call.rest):
            kind = "udp" if b"UDP" in call.rest.partition(b",")[0] else "tcp"
            host = _plain(found[2]).decode()
            self.connections.add(
                f"{kind}:[{host}]:{int(found[1])}" if ":" in host else f"{kind}:{host}:{int(found[1])}"
            )
        elif found := UNIX.search(call.rest):
            self.connections.add("unix:" + spell(found[1] + _plain(found[2])))


class _Call:
    __slots__ = ("error", "name", "paths", "pid", "rest", "result")

    def __init__(self, pid: int, name: str, rest: bytes, paths: list[bytes], result: bytes, error: bytes) -> None:
        self.pid, self.name, self.rest = pid, name, rest
        self.paths, self.result, self.error = paths, result, error


def _calls(log: Path) -> Iterator[_Call]:
    """The calls of the log, whole, in the order of their ends. Relative paths are made absolute where that is known."""
    begun: dict[bytes, bytes] = {}
    folders: dict[int, bytes] = {}
    try:
        source = log.open("rb")
    except FileNotFoundError:
        return
    with source:
        for line in source:
            if part := UNFINISHED.match(line):
                begun[part[1]] = part[2]
                continue
            if part := RESUMED.match(line):
                line = part[1] + b" " + begun.pop(part[1], b"?(") + part[2]
            if found := CALL.match(line):
                pid, name = int(found[1]), found[2].decode()
                paths = _paths(found[3], folders.get(pid), folders, pid)
                error = found[6] or b"" if found[4].startswith(b"-") else b""
                if name == "chdir" and not error and paths:
                    folders[pid] = paths[0]
                yield _Call(pid, name, found[3], paths, _plain(found[5] or b""), error)


def _paths(rest: bytes, folder: bytes | None, folders: dict[int, bytes], pid: int) -> list[bytes]:
    """The paths among the arguments, up to the first list or record (the words of a command are none). A folder that
    comes before a name is where the name begins; one that an empty name follows may be meant itself."""
    found, base = [], folder
    itself = b"AT_EMPTY_PATH" in rest
    for argument in ARGUMENT.finditer(rest.partition(b"{")[0].partition(b"[")[0]):
        if argument[2] is not None:
            base = _plain(argument[2])
            if b"AT_FDCWD" in argument[0]:
                folders[pid] = base
        elif argument[1] is not None:
            name = _plain(argument[1])
            if name.startswith(b"/"):
                found.append(name)
            elif base and (name or itself):
                found.append(base + b"/" + name if name else base)
    return found


def _plain(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode()) if text.startswith(b"\\x") else text


def _done(call: _Call) -> list[tuple[bytes, str]]:
    """What a call that succeeded did to which path."""
    if call.name in ("open", "openat", "openat2", "creat"):
        return [(call.result or call.paths[0], _opened(call))]
    if call.name.startswith("rename") and len(call.paths) == 2:
        return [(call.paths[0], "m"), (call.paths[1], "n")]
    if call.name.startswith("unlink") and b"AT_REMOVEDIR" not in call.rest:
        return [(call.paths[0], "d")]
    if call.name in ("link", "linkat") and len(call.paths) == 2:
        return [(call.paths[0], "r"), (call.paths[1], "n")]
    if call.name.startswith("symlink"):
        return [(call.paths[-1], "w")]
    if call.name.startswith("truncate"):
        return [(call.paths[0], "tw")]
    return []


def _opened(call: _Call) -> str:
    flags = call.rest
    if b"O_PATH" in flags:
        return ""
    if b"O_DIRECTORY" in flags:
        return "l"
    if call.name == "creat" or b"O_WRONLY" in flags:
        return "tw" if b"O_TRUNC" in flags or call.name == "creat" else "w"
    if b"O_RDWR" in flags:
        return "tw" if b"O_TRUNC" in flags else "rw"
    return "r"
