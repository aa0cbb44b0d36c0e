"""A remote that is a folder: another disk, a mounted share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bis.errors import KeepingError
from bis.store import doomed, writers
from bis.store.packs import AT_ONCE, SUFFIX, create, remove_unfinished, sync_folder
from bis.store.remote import Block, gone
from bis.store.trouble import BUSY, NOT_A_STORE, shown, trouble


class FolderRemote:
    """The Remote protocol over a folder. What is there is a store that bis can also use where it lies."""

    at_once = 4

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packs = path / "packs"
        self.url = shown(path)
        self._swept = False
        self._session: writers.Session | None = None

    def list(self) -> dict[str, int]:
        """Without packs that `bis gc`, at work there, is about to delete: what is found is relied upon from now on."""
        try:
            if self._session is None and (self.path / "format").exists():
                self._session = writers.begin(self.path)
            going = doomed.names(doomed.read(self.path))
            with os.scandir(self.packs) as entries:
                packs = [one for one in entries if one.name.endswith(SUFFIX) and one.name not in going]
                return {one.name: one.stat().st_size for one in packs}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise trouble(error, "read the remote", self.path) from error

    def format(self) -> str:
        try:
            return (self.path / "format").read_text("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            raise trouble(error, "read the remote", self.path) from error

    def declare(self, text: str) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            foreign = [one.name for one in self.path.iterdir() if one.name != "packs" and one.name[:6] != "format"]
            if foreign and not (self.path / "format").exists():
                raise KeepingError(
                    f"{self.url} is not a store: it holds {shown(sorted(foreign)[0])} and no file `format`",
                    hint="name an empty folder, or one that is not there yet",
                    code=NOT_A_STORE,
                )
            self.packs.mkdir(exist_ok=True)
            fresh = self.path / f"format.{os.urandom(4).hex()}"
            with fresh.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path / "format")
            sync_folder(self.path)
        except OSError as error:
            raise trouble(error, "write to the remote", self.path) from error

    def read(self, name: str, start: int, size: int) -> bytes:
        try:
            fd = os.open(self.packs / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _pread(fd, size, start)
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise gone(self.url, name) from None
        except OSError as error:
            raise trouble(error, "read", self.packs / name) from error

    def write(self, name: str, size: int, blocks: Iterator[Block]) -> None:
        if name in doomed.names(doomed.read(self.path)):
            raise KeepingError(
                f"pack {name[:12]} is about to be deleted in {self.url}, and holds what was to be sent",
                because="`bis gc` found there that nothing needed it.",
                hint=f"BIS_STORE={self.url} bis gc, and the same command again when the pack is gone",
                code=BUSY,
            )
        try:
            self._write(name, blocks)
        except OSError as error:
            raise trouble(error, "write to the remote", self.path) from error

    def _write(self, name: str, blocks: Iterator[Block]) -> None:
        """As a pack is written into any store: under a name of its own, locked, fsynced, renamed."""
        if not self._swept:
            self._swept = True
            remove_unfinished(self.packs)
        fresh, fd = create(self.packs)
        try:
            for block in blocks:
                rest = memoryview(block)
                while rest:
                    rest = rest[os.write(fd, rest[:AT_ONCE]) :]
            with contextlib.suppress(OSError):  # against accidents only
                os.fchmod(fd, os.fstat(fd).st_mode & 0o444)
            os.fsync(fd)
            fresh.rename(self.packs / name)
            sync_folder(self.packs)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
        finally:
            os.close(fd)

    def close(self) -> None:
        if self._session:
            self._session.end()
        self._session = None


def _pread(fd: int, size: int, start: int) -> bytes:
    pieces = []
    while size > 0 and (piece := os.pread(fd, min(size, 1 << 30), start)):
        pieces.append(piece)
        size -= len(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
