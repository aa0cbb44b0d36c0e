"""Git LFS. It has no copy of its own to give to a remote in a folder: it links."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from measure import Command

from peers import GitPeer


class GitLfs(GitPeer):
    name = "git-lfs"
    program = "git-lfs"
    notes: ClassVar[dict[str, str]] = {"push": "links", "push again": "links", "pull": "links into the store"}

    def begin(self) -> list[Command]:
        (self.work / ".gitattributes").write_text("data/** filter=lfs diff=lfs merge=lfs -text\n")
        return [
            *super().begin(),
            self.command("git", "lfs", "install"),
            self.command("git", "init", "-q", "--bare", self.remote),
            self.command("git", "remote", "add", "origin", self.remote),
        ]

    def add(self) -> list[Command]:
        return [self.command("git", "add", "-A"), self.command("git", "commit", "-q", "-m", "data")]

    def status(self) -> list[Command]:
        return [self.command("git", "status", "--short")]

    def verify(self) -> list[Command]:
        return [self.command("git", "lfs", "fsck")]

    def push(self) -> list[Command]:
        return [self.command("git", "push", "-q", "origin", "main")]

    def pull(self) -> list[Command]:
        return [self.command("git", "clone", "-q", self.remote, self.fresh)]

    def restore(self) -> list[Command]:
        return [self.command("git", "checkout", "-q", "--", "data")]

    def stored(self) -> list[Path]:
        return [self.work / ".git"]


PEER = GitLfs
