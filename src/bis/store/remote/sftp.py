"""A remote on another machine, by SFTP over the user's own `ssh`.

`ssh HOST -s sftp` is a pipe to the SFTP server that every sshd has. Speaking its protocol (version 3, the one that is
spoken everywhere) takes this page and gives what the client `sftp` does not: reading a range. Nothing of bis is needed
on the other machine, and accounts that may do nothing but SFTP will do. Keys, agents, jump hosts and ports are those
of `~/.ssh/config`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from bis.errors import KeepingError
from bis.store.packs import SUFFIX, UNFINISHED
from bis.store.remote import NO_CLIENT, Block, gone, refused, unreachable
from bis.store.trouble import NOT_A_STORE

INIT, VERSION, OPEN, CLOSE, READ, WRITE, OPENDIR, READDIR, REMOVE, MKDIR, RENAME = 1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 18
STATUS, HANDLE, DATA, NAME, EXTENDED = 101, 102, 103, 104, 200
OK, END, MISSING, FORBIDDEN = range(4)
FOR_READING, FOR_WRITING = 0x01, 0x02 | 0x08 | 0x10
"""The second: write, create, cut to nothing."""
BLOCK: Final = 32 << 10
"""What every server takes in one request."""
AHEAD: Final = 64
"""Requests under way at once, so that a distant server is not waited for each time."""


class SftpRemote:
    """The Remote protocol over SFTP. One connection, made when it is first needed."""

    at_once = 1

    def __init__(self, url: str, variables: Mapping[str, str]) -> None:
        self.url = url
        parts = urlsplit(url)
        self.path = _path(parts)
        self._words = _words(parts, variables)
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._extensions: dict[str, bytes] = {}

    # -- the protocol of remotes -----------------------------------------------------------------------------------

    def list(self) -> dict[str, int]:
        with self._lock:
            return {name: size for name, size in self._names(f"{self.path}/packs") if name.endswith(SUFFIX)}

    def _names(self, folder: str) -> Iterator[tuple[str, int]]:
        kind, answer = self._ask(OPENDIR, _text(folder))
        if kind == STATUS:
            self._check(answer, "list", missing=True)
            return
        handle = answer[4:]
        while True:
            kind, answer = self._ask(READDIR, _text(handle))
            if kind == STATUS:
                break
            yield from _entries(answer)
        self._ask(CLOSE, _text(handle))

    def format(self) -> str:
        with self._lock:
            return (self._read(f"{self.path}/format", 0, 4096) or b"").decode("utf-8", "replace")

    def declare(self, text: str) -> None:
        with self._lock:
            for folder in _folders(self.path):
                self._ask(MKDIR, _text(folder) + struct.pack(">I", 0))
            foreign = sorted(
                name for name, _ in self._names(self.path) if name[:6] not in (".", "..", "packs", "format")
            )
            if foreign and not self.format():
                raise KeepingError(
                    f"{self.url} is not a store: it holds {foreign[0]} and no file `format`",
                    hint="name an empty folder, or one that is not there yet",
                    code=NOT_A_STORE,
                )
            self._ask(MKDIR, _text(f"{self.path}/packs") + struct.pack(">I", 0))
            self._put_format(text)
            if self.format() != text:  # the rename of version 3 does not replace
                self._ask(REMOVE, _text(f"{self.path}/format"))
                self._put_format(text)

    def _put_format(self, text: str) -> None:
        self._put(f"{self.path}/format", f"{self.path}/format.{os.urandom(4).hex()}", iter([text.encode()]))

    def read(self, name: str, start: int, size: int) -> bytes:
        with self._lock:
            data = self._read(f"{self.path}/packs/{name}", start, size)
        if data is None:
            raise gone(self.url, name)
        return data

    def stream(self, name: str) -> Iterator[bytes] | None:
        """Any file below its folder, in bounded memory; None when it is not there. For one thread."""
        handle = self._open(f"{self.path}/{name}", FOR_READING, missing=True)
        return None if handle is None else self._blocks(handle)

    def _blocks(self, handle: bytes) -> Iterator[bytes]:
        at = 0
        try:
            while block := self._read_open(handle, at, AHEAD * BLOCK):
                yield block
                at += len(block)
        finally:
            self._ask(CLOSE, _text(handle))

    def write(self, name: str, size: int, blocks: Iterator[Block]) -> None:
        with self._lock:
            folder = f"{self.path}/packs"
            self._put(f"{folder}/{name}", f"{folder}/{UNFINISHED}{os.urandom(8).hex()}", blocks)

    def close(self) -> None:
        with self._lock:
            if self._process:
                for pipe in (self._process.stdin, self._process.stdout):
                    with contextlib.suppress(OSError):
                        assert pipe is not None
                        pipe.close()
                try:
                    self._process.wait(5)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self._process = None

    # -- files -----------------------------------------------------------------------------------------------------

    def _open(self, path: str, how: int, *, missing: bool = False) -> bytes | None:
        kind, answer = self._ask(OPEN, _text(path) + struct.pack(">II", how, 0))
        if kind == STATUS:
            self._check(answer, "read" if how == FOR_READING else "write to", missing=missing)
            return None
        return answer[4:]

    def _read(self, path: str, start: int, size: int) -> bytes | None:
        """None when there is no such file; fewer bytes where it ends."""
        handle = self._open(path, FOR_READING, missing=True)
        if handle is None:
            return None
        try:
            return self._read_open(handle, start, size)
        finally:
            self._ask(CLOSE, _text(handle))

    def _read_open(self, handle: bytes, start: int, size: int) -> bytes:
        """Many requests at once, answered in any order; what a server gives less than asked is asked for again."""
        found: dict[int, bytes] = {}
        todo = [(at, min(BLOCK, start + size - at)) for at in range(start, start + size, BLOCK)][::-1]
        under_way: dict[int, tuple[int, int]] = {}
        ended = start + size
        while todo or under_way:
            while todo and len(under_way) < AHEAD:
                at, length = todo.pop()
                if at < ended:
                    under_way[self._send(READ, _text(handle) + struct.pack(">QI", at, length))] = at, length
            if not under_way:
                break
            kind, number, answer = self._receive()
            if number not in under_way:  # what was left unread when a transfer was given up
                continue
            at, length = under_way.pop(number)
            if kind == STATUS:
                self._check(answer, "read", ended=True)
                ended = min(ended, at)
            else:
                data = answer[4:]
                found[at] = data
                if len(data) < length and data:
                    todo.append((at + len(data), length - len(data)))
        return b"".join(found[at] for at in sorted(found) if at < ended)

    def _put(self, path: str, fresh: str, blocks: Iterator[Block]) -> None:
        """Write under another name, make it durable where the server can, rename."""
        handle = self._open(fresh, FOR_WRITING)
        assert handle is not None
        try:
            self._write_open(handle, blocks)
            if "fsync@openssh.com" in self._extensions:
                self._done(EXTENDED, _text("fsync@openssh.com") + _text(handle))
            self._done(CLOSE, _text(handle))
            if "posix-rename@openssh.com" in self._extensions:
                self._done(EXTENDED, _text("posix-rename@openssh.com") + _text(fresh) + _text(path))
            else:
                # The rename of version 3 fails where the name is taken: then the same bytes are there already.
                if _status(self._ask(RENAME, _text(fresh) + _text(path))[1]) != OK:
                    self._ask(REMOVE, _text(fresh))
        except BaseException:
            with contextlib.suppress(BaseException):
                self._ask(REMOVE, _text(fresh))
            raise

    def _write_open(self, handle: bytes, blocks: Iterator[Block]) -> None:
        under_way, at = 0, 0
        for block in blocks:
            for start in range(0, len(block), BLOCK):
                piece = bytes(block[start : start + BLOCK])
                self._send(WRITE, _text(handle) + struct.pack(">Q", at) + _text(piece))
                at += len(piece)
                under_way += 1
                if under_way >= AHEAD:
                    self._check(self._receive()[2], "write to")
                    under_way -= 1
        for _ in range(under_way):
            self._check(self._receive()[2], "write to")

    # -- packets ---------------------------------------------------------------------------------------------------

    def _done(self, kind: int, body: bytes) -> None:
        self._check(self._ask(kind, body)[1], "write to")

    def _ask(self, kind: int, body: bytes) -> tuple[int, bytes]:
        number = self._send(kind, body)
        answered, answer_to, answer = self._receive()
        while answer_to != number:  # what was left unread when a transfer was given up
            answered, answer_to, answer = self._receive()
        return answered, answer

    def _send(self, kind: int, body: bytes) -> int:
        process = self._connected()
        self._number = (self._number + 1) & 0xFFFFFFFF
        self._write_packet(process, bytes([kind]) + struct.pack(">I", self._number) + body)
        return self._number

    def _receive(self) -> tuple[int, int, bytes]:
        packet = self._read_packet(self._connected())
        return packet[0], int(struct.unpack_from(">I", packet, 1)[0]), packet[5:]

    def _connected(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=False
                )
            except OSError as error:
                raise KeepingError(
                    f"cannot start {self._words[0]} for {self.url}: {error.strerror}",
                    hint="install OpenSSH's client, or set BIS_SSH to the command to use",
                    code=NO_CLIENT,
                ) from None
            self._write_packet(self._process, bytes([INIT]) + struct.pack(">I", 3))
            self._extensions = _extensions(self._read_packet(self._process))
        return self._process

    def _write_packet(self, process: subprocess.Popen[bytes], packet: bytes) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(struct.pack(">I", len(packet)) + packet)
            process.stdin.flush()
        except (OSError, ValueError):
            raise self._cut() from None

    def _read_packet(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        try:
            size = process.stdout.read(4)
            if len(size) == 4 and (length := struct.unpack(">I", size)[0]) < 1 << 20:
                packet = process.stdout.read(length)
                if len(packet) == length and length >= 5:
                    return packet
        except (OSError, ValueError):
            pass
        raise self._cut()

    def _cut(self) -> KeepingError:
        process, self._process = self._process, None
        status = None
        if process:
            process.kill()
            status = process.wait()
        said = f"ssh ended with status {status}" if status and status > 0 else "the connection was cut"
        error = unreachable(self.url, "talk to", said)
        error.hint = f"try {shlex.join(_login(self._words))}; then type the same command again"
        return error

    def _check(self, answer: bytes, doing: str, *, missing: bool = False, ended: bool = False) -> None:
        """Raises what a status means, but for those that were to be expected."""
        code = _status(answer)
        if code == OK or (code == MISSING and missing) or (code == END and ended):
            return
        words = {MISSING: "No such file or directory", FORBIDDEN: "Permission denied"}
        (length,) = struct.unpack_from(">I", answer, 4) if len(answer) >= 8 else (0,)
        said = words.get(code) or answer[8 : 8 + length].decode("utf-8", "replace") or f"status {code}"
        if code in (MISSING, FORBIDDEN):
            raise refused(self.url, doing, said, f"look at it: {shlex.join(_login(self._words))}")
        raise unreachable(self.url, doing, said)


def _path(parts: SplitResult) -> str:
    """`ssh://host/srv/store` is that path, `ssh://host/~/store` one below the home folder."""
    path = unquote(parts.path).rstrip("/")
    return path.removeprefix("/~/") if path.startswith("/~/") else path


def _words(parts: SplitResult, variables: Mapping[str, str]) -> list[str]:
    host = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname)
    port = ["-p", str(parts.port)] if parts.port else []
    # A connection that died without a word is noticed within a minute.
    alive = ["-o", "ServerAliveInterval=15"]
    return [*shlex.split(variables.get("BIS_SSH") or "ssh"), *alive, *port, "-s", "--", host, "sftp"]


def _login(words: Sequence[str]) -> list[str]:
    """What a person types to see whether the machine lets them in: the same words without the subsystem."""
    return [*words[:-4], *words[-3:-1]]


def _folders(path: str) -> list[str]:
    """The folder and those above it, from the top."""
    words = path.split("/")
    return ["/".join(words[:count]) for count in range(1, len(words) + 1) if words[count - 1]]


def _text(text: str | bytes) -> bytes:
    data = os.fsencode(text) if isinstance(text, str) else text
    return struct.pack(">I", len(data)) + data


def _status(answer: bytes) -> int:
    return int(struct.unpack_from(">I", answer)[0]) if len(answer) >= 4 else -1


def _extensions(packet: bytes) -> dict[str, bytes]:
    found, at = {}, 5
    while at < len(packet):
        words = []
        for _ in range(2):
            (length,) = struct.unpack_from(">I", packet, at)
            words.append(packet[at + 4 : at + 4 + length])
            at += 4 + length
        found[words[0].decode("ascii", "replace")] = words[1]
    return found


def _entries(answer: bytes) -> Iterator[tuple[str, int]]:
    """Names and sizes."""
    (count,) = struct.unpack_from(">I", answer)
    at = 4
    for _ in range(count):
        (length,) = struct.unpack_from(">I", answer, at)
        name = os.fsdecode(answer[at + 4 : at + 4 + length])
        at += 4 + length
        (length,) = struct.unpack_from(">I", answer, at)
        at += 4 + length
        (flags,) = struct.unpack_from(">I", answer, at)
        at += 4
        size = struct.unpack_from(">Q", answer, at)[0] if flags & 0x01 else 0
        at += 8 * bool(flags & 0x01) + 8 * bool(flags & 0x02) + 4 * bool(flags & 0x04) + 8 * bool(flags & 0x08)
        if flags & 0x80000000:
            (extended,) = struct.unpack_from(">I", answer, at)
            at += 4
            for _ in range(2 * extended):
                (length,) = struct.unpack_from(">I", answer, at)
                at += 4 + length
        yield name, size
