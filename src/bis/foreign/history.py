"""The history of files that Git keeps: which commits changed them, and what they were. Nothing is ever written.

DVC, Git LFS and git-annex leave to Git which version is whose: a pointer in a commit.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import msgspec

from bis.digest import spell
from bis.errors import KeepingError, NotFound

FIELDS = "%H%x00%P%x00%ct%x00%an%x00%B"
COUNT = 5
LINK = "120000"
FILE = "100644"
EXECUTABLE = "100755"


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    parents: tuple[str, ...]
    moment: datetime
    """When it was committed, UTC, to the second."""
    author: str
    message: str


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit has at a path."""

    mode: str
    id: str
    """Of the blob."""


class History:
    """A folder of a Git repository through time. Paths are spelled and relative to the folder."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = {**variables, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        self._blobs: subprocess.Popen[bytes] | None = None
        self._listings: dict[str, dict[str, Item]] = {}

    def __enter__(self) -> History:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._blobs is not None:
            assert self._blobs.stdin is not None
            assert self._blobs.stdout is not None
            self._blobs.stdin.close()
            self._blobs.stdout.close()
            self._blobs.wait()

    def is_there(self) -> bool:
        """Whether the folder lies in a repository that has a commit. A repository that Git refuses to read, as it
        belongs to somebody else, is trouble, not absence."""
        done = self._git("rev-parse", "--verify", "--quiet", "HEAD", check=False)
        if b"safe.directory" in done.stderr:
            raise self._trouble(done.stderr)
        return done.returncode == 0

    def commits(self, paths: Iterable[str]) -> list[Commit]:
        """The commits of this branch that changed something at these paths (as Git's pathspecs), oldest first."""
        words = ("log", "--full-history", "--date-order", "--reverse", "-z", f"--format={FIELDS}", "HEAD", "--", *paths)
        fields = [field.decode("utf-8", "replace") for field in self._git(*words).stdout.split(b"\0")]
        found = []
        for start in range(0, len(fields) - COUNT + 1, COUNT):
            id, parents, moment, author, message = fields[start : start + COUNT]
            made = datetime.fromtimestamp(int(moment), UTC)
            found.append(
                Commit(id=id, parents=tuple(parents.split()), moment=made, author=author, message=message.strip())
            )
        return found

    def listing(self, commit: str) -> dict[str, Item]:
        """All files of a commit below the folder."""
        if commit not in self._listings:
            found = {}
            for row in filter(None, self._git("ls-tree", "-r", "-z", commit).stdout.split(b"\0")):
                described, _, path = row.partition(b"\t")
                mode, kind, id = described.decode("ascii").split(" ")
                if kind == "blob":
                    found[spell(path)] = Item(mode=mode, id=id)
            self._listings[commit] = found
        return self._listings[commit]

    def read(self, id: str) -> bytes:
        """The bytes of a blob."""
        if self._blobs is None:
            words = ["git", "-C", os.fspath(self._folder), "cat-file", "--batch"]
            self._blobs = subprocess.Popen(words, env=self._variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._blobs.stdin is not None
        assert self._blobs.stdout is not None
        self._blobs.stdin.write(id.encode() + b"\n")
        self._blobs.stdin.flush()
        head = self._blobs.stdout.readline().split()
        if len(head) != 3:
            raise self._trouble(b"object " + id.encode() + b" is missing")
        data = self._blobs.stdout.read(int(head[2]))
        self._blobs.stdout.read(1)
        return data

    def folder_of_git(self) -> Path:
        """Where the repository keeps what its working copies share (`.git`)."""
        told = os.fsdecode(self._git("rev-parse", "--git-common-dir").stdout.rstrip(b"\n"))
        return (self._folder / told).resolve()

    def setting(self, name: str) -> str:
        """A setting of the repository; empty when it has none."""
        return os.fsdecode(self._git("config", "--get", name, check=False).stdout.rstrip(b"\n"))

    def _git(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        try:
            done = subprocess.run(
                ["git", "-C", os.fspath(self._folder), *words], env=self._variables, capture_output=True, check=False
            )
        except FileNotFoundError:
            raise NotFound("git was looked for in PATH and is not there", hint="install git") from None
        if check and done.returncode:
            raise self._trouble(done.stderr)
        return done

    def _trouble(self, said: bytes) -> KeepingError:
        words = " ".join(said.decode("utf-8", "replace").split())
        return KeepingError(f"git cannot read {self._folder}: {words}", hint=f"git -C {self._folder} fsck")
