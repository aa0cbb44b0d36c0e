"""git-annex with its default of links into its store, where no file in the work tree is a copy."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from measure import Command

from peers import GitPeer


class GitAnnex(GitPeer):
    name = "git-annex"
    program = "git-annex"
    notes: ClassVar[dict[str, str]] = {
        "add": "moves and links",
        "re-add": "moves and links",
        "pull": "links after copying",
        "restore": "links",
    }

    def begin(self) -> list[Command]:
        return [
            *super().begin(),
            self.command("git", "annex", "init", "-q", "work"),
            self.command("git", "init", "-q", "--bare", self.remote),
            Command(["git", "annex", "init", "-q", "remote"], self.remote, self.variables),
            self.command("git", "remote", "add", "origin", self.remote),
        ]

    def add(self) -> list[Command]:
        return [
            self.command("git", "annex", "add", "-q", "data"),
            self.command("git", "commit", "-q", "-m", "data"),
        ]

    def status(self) -> list[Command]:
        return [self.command("git", "status", "--short")]

    def verify(self) -> list[Command]:
        return [self.command("git", "annex", "fsck", "-q")]

    def push(self) -> list[Command]:
        return [self.command("git", "annex", "sync", "-q", "--content", "origin")]

    def pull(self) -> list[Command]:
        return [
            self.command("git", "clone", "-q", self.remote, self.fresh),
            self.command("git", "-C", self.fresh, "annex", "init", "-q", "fresh"),
            self.command("git", "-C", self.fresh, "annex", "get", "-q", "."),
        ]

    def restore(self) -> list[Command]:
        return [self.command("git", "checkout", "-q", "--", "data")]

    def stored(self) -> list[Path]:
        return [self.work / ".git"]


PEER = GitAnnex
