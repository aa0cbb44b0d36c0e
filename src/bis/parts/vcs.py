"""What the version control system says of a project, in its own words. Nothing is ever written to it.

Git, Mercurial and Subversion are asked through their own programs, as their own settings (ignore rules, safe
folders, line endings) then hold; a project without any of them is a project too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bis.digest import spell
from bis.nouns.part import Finding


class Checkout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A working copy as it is now. Paths are spelled and relative to the project."""

    system: str
    """`git`, `hg`, `svn` or `none`."""
    root: str = ""
    revision: str = ""
    branch: str = ""
    remote: str = ""
    """URL of the repository it was cloned from, credentials removed."""
    pushed: bool = False
    """The revision is known to be on the remote's branch as last fetched."""
    tracked: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Tracked files that differ from the revision, deleted ones included."""
    submodules: dict[str, str] = {}
    """path -> revision that is checked out."""
    findings: tuple[Finding, ...] = ()


class Asked:
    """Questions to Git that were asked, and are answered while other work is done."""

    def __init__(self, project: Path, variables: Mapping[str, str]) -> None:
        self.project = project
        # All at once: each costs some milliseconds, nearly all of them start-up.
        self._running = _start_all(project, {**variables, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}, QUESTIONS)

    def answers(self) -> dict[str, subprocess.CompletedProcess[bytes]]:
        return _answers(self._running)


def ask(project: Path, variables: Mapping[str, str]) -> Asked | None:
    """Ask ahead of `look`, which is then given what this returned; None where there is nothing to ask ahead."""
    return Asked(project, variables) if _system(project) == "git" else None


def look(project: Path, variables: Mapping[str, str], asked: Asked | None = None) -> Checkout:
    """The checkout that `project` lies in. A broken one is a Finding, and is then read as no checkout at all."""
    match _system(project):
        case "git":
            ahead = asked if asked is not None and asked.project == project else Asked(project, variables)
            return _git(project, variables, ahead.answers())
        case "hg":
            return _mercurial(project, variables)
        case "svn":
            return _subversion(project, variables)
    return Checkout(system="none")


def _system(project: Path) -> str:
    for folder in (project, *project.parents):
        if (folder / ".git").exists():
            return "git"
        for system in ("hg", "svn"):
            if (folder / f".{system}").is_dir():
                return system
    return "none"


# Git --------------------------------------------------------------------------------------------------------

QUESTIONS = {
    "files": ("git", "ls-files", "--stage", "-z"),
    "status": ("git", "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames"),
    "config": ("git", "config", "-z", "--get-regexp", r"^(remote\..*\.url|branch\..*\.remote)$"),
    "root": ("git", "rev-parse", "--show-prefix"),
}


def _git(
    project: Path, variables: Mapping[str, str], asked: Mapping[str, subprocess.CompletedProcess[bytes]]
) -> Checkout:
    for question in ("files", "status"):
        answer = asked[question]
        if answer.returncode != 0:
            distrusted = b"safe.directory" in answer.stderr
            trust = f"git config --global --add safe.directory {spell(str(project))}"
            return _broken("git", answer.stderr, trust if distrusted else "git status")
    prefix = os.fsdecode(asked["root"].stdout.rstrip(b"\n"))
    facts, changed, untracked = _git_status(asked["status"].stdout, prefix)
    tracked, submodules = _git_files(asked["files"].stdout)
    if submodules:
        tracked, submodules = _git_submodules(project, variables, submodules)
    remote = _git_remote(asked["config"].stdout, facts.get("upstream", ""))
    revision = facts.get("oid", "")
    return Checkout(
        system="git",
        root=prefix,
        revision="" if revision == "(initial)" else revision,
        branch="" if facts.get("head") == "(detached)" else facts.get("head", ""),
        remote=without_credentials(remote),
        pushed=facts.get("ab", "").startswith("+0 "),
        tracked=tracked,
        untracked=untracked,
        changed=changed,
        submodules=submodules,
    )


def _git_status(raw: bytes, prefix: str) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    facts: dict[str, str] = {}
    changed, untracked = [], []
    for row in raw.split(b"\0"):
        kind = row[:1]
        if kind == b"#":
            name, _, value = os.fsdecode(row[2:]).partition(" ")
            facts[name.removeprefix("branch.")] = value
        elif kind == b"1":
            changed.append(os.fsdecode(row.split(b" ", 8)[8]))
        elif kind == b"u":
            changed.append(os.fsdecode(row.split(b" ", 10)[10]))
        elif kind == b"?":
            untracked.append(os.fsdecode(row[2:]))
    # Status speaks relative to the top of the repository, ls-files relative to the folder it was asked in.
    inside = [_below(name, prefix) for name in changed], [_below(name, prefix) for name in untracked]
    return facts, tuple(filter(None, inside[0])), tuple(filter(None, inside[1]))


def _below(name: str, prefix: str) -> str:
    return spell(name.removeprefix(prefix)) if name.startswith(prefix) else ""


def _git_files(raw: bytes) -> tuple[tuple[str, ...], dict[str, str]]:
    files, submodules = [], {}
    for row in filter(None, raw.split(b"\0")):
        described, _, name = row.partition(b"\t")
        mode, revision, _stage = described.split(b" ")
        if mode == b"160000":
            submodules[spell(name)] = revision.decode()
        else:
            files.append(spell(name))
    return tuple(dict.fromkeys(files)), submodules


def _git_submodules(
    project: Path, variables: Mapping[str, str], recorded: dict[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    asked = _ask_all(
        project,
        {**variables, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        {
            "files": ("git", "ls-files", "--recurse-submodules", "-z"),
            "status": ("git", "submodule", "status", "--recursive"),
        },
    )
    files = tuple(spell(name) for name in asked["files"].stdout.split(b"\0") if name)
    submodules = dict(recorded)
    for line in os.fsdecode(asked["status"].stdout).splitlines():
        if match := re.match(r"([ +U-])([0-9a-f]{40,64}) (.+?)(?: \(.*\))?$", line):
            mark, revision, path = match.groups()
            submodules[spell(path)] = revision + (" (not checked out)" if mark == "-" else "")
    return files, submodules


def _git_remote(raw: bytes, upstream: str) -> str:
    urls: dict[str, str] = {}
    for row in filter(None, raw.split(b"\0")):
        key, _, value = os.fsdecode(row).partition("\n")
        if key.startswith("remote."):
            urls[key.removeprefix("remote.").removesuffix(".url")] = value
    return urls.get(upstream.partition("/")[0]) or urls.get("origin") or next(iter(urls.values()), "")


# Mercurial and Subversion --------------------------------------------------------------------------------------


def _mercurial(project: Path, variables: Mapping[str, str]) -> Checkout:
    asked = _ask_all(
        project,
        {**variables, "HGPLAIN": "1"},
        {
            "id": ("hg", "log", "-r", ".", "-T", "{node}\\n{branch}\\n"),
            "status": ("hg", "status", "-0", "-m", "-a", "-r", "-d", "-u", "-c", "."),
            "remote": ("hg", "paths", "default"),
        },
    )
    if asked["status"].returncode != 0:
        return _broken("hg", asked["status"].stderr, "hg status")
    states: dict[str, list[str]] = {}
    for row in filter(None, asked["status"].stdout.split(b"\0")):
        states.setdefault(chr(row[0]), []).append(spell(row[2:]))
    revision, branch, *_ = [*os.fsdecode(asked["id"].stdout).split("\n"), "", ""]
    return Checkout(
        system="hg",
        revision=revision,
        branch=branch,
        remote=without_credentials(os.fsdecode(asked["remote"].stdout).strip()),
        tracked=tuple(sorted(states.get("C", []) + states.get("M", []) + states.get("A", []))),
        untracked=tuple(states.get("?", [])),
        changed=tuple(sorted(name for state in "MAR!" for name in states.get(state, []))),
    )


def _subversion(project: Path, variables: Mapping[str, str]) -> Checkout:
    asked = _ask_all(
        project,
        {**variables, "LC_ALL": "C.UTF-8"},
        {"info": ("svn", "info", "--non-interactive"), "status": ("svn", "status", "-v", "--non-interactive")},
    )
    if asked["status"].returncode != 0:
        return _broken("svn", asked["status"].stderr, "svn status")
    info = dict(line.split(": ", 1) for line in os.fsdecode(asked["info"].stdout).splitlines() if ": " in line)
    tracked, untracked, changed = [], [], []
    for line in os.fsdecode(asked["status"].stdout).splitlines():
        state = line[:1]
        if state == "?":
            untracked.append(spell(line[8:].strip()))
        elif match := re.match(r".{8}\s+\d+\s+(?:\d+|\?)\s+\S+\s+(.+)$", line):
            name = spell(match[1])
            if (project / match[1]).is_file():
                tracked.append(name)
            if state not in " ":
                changed.append(name)
    return Checkout(
        system="svn",
        revision=info.get("Revision", ""),
        branch=info.get("Relative URL", "").removeprefix("^/"),
        remote=without_credentials(info.get("URL", "")),
        tracked=tuple(sorted(tracked)),
        untracked=tuple(untracked),
        changed=tuple(changed),
    )


# Shared ----------------------------------------------------------------------------------------------------------


def _broken(system: str, stderr: bytes, command: str) -> Checkout:
    said = stderr.decode("utf-8", "replace").strip().splitlines() or ["no answer"]
    finding = Finding(
        code="checkout-unreadable",
        text=f"{system} cannot read this repository ({said[0]}); of the code only what the run read is recorded",
        hint=command,
    )
    return Checkout(system="none", findings=(finding,))


def _ask_all(
    folder: Path, variables: Mapping[str, str], questions: Mapping[str, Sequence[str]]
) -> dict[str, subprocess.CompletedProcess[bytes]]:
    """Run the programs side by side; one that is not installed answers 127."""
    return _answers(_start_all(folder, variables, questions))


Running = dict[str, "subprocess.Popen[bytes] | subprocess.CompletedProcess[bytes]"]


def _start_all(folder: Path, variables: Mapping[str, str], questions: Mapping[str, Sequence[str]]) -> Running:
    running: Running = {}
    for name, command in questions.items():
        try:
            running[name] = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            running[name] = subprocess.CompletedProcess(command, 127, b"", f"{command[0]}: {error.strerror}".encode())
    return running


def _answers(running: Running) -> dict[str, subprocess.CompletedProcess[bytes]]:
    answers = {}
    for name, process in running.items():
        if isinstance(process, subprocess.Popen):
            stdout, stderr = process.communicate()
            answers[name] = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
        else:
            answers[name] = process
    return answers


def without_credentials(url: str) -> str:
    """`https://ana:token@host/x` without `ana:token@`; other URLs unchanged."""
    return re.sub(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", r"\1", url, flags=re.IGNORECASE)


def permalink(checkout: Checkout, path: str = "") -> str:
    """The page of the revision on its hosting service; empty where it is not known to be pushed."""
    if checkout.system != "git" or not checkout.pushed or not checkout.revision:
        return ""
    match = re.match(r"(?:https?://|ssh://git@|git@)([^/:]+)[/:](.+?)(?:\.git)?/?$", checkout.remote)
    if match is None:
        return ""
    host, name = match.groups()
    middle = "src/commit" if "bitbucket" not in host and "gitea" in host else "src" if "bitbucket" in host else "tree"
    separator = "/-/" if "gitlab" in host else "/"
    return f"https://{host}/{name}{separator}{middle}/{checkout.revision}" + (f"/{path}" if path else "")
