"""Files of a project that declare infrastructure: found by name, read for what they name, remembered if unchanged."""

from __future__ import annotations

import errno
import fnmatch
import functools
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bis.digest import Digest, digest_bytes, digest_file, spell, unspell
from bis.parts import manifests as read
from bis.parts.dockerfile import read_dockerfile
from bis.parts.floating import Floating, Reading
from bis.parts.terraform import read_terraform

MOST_FOLDERS = 1500
MOST_FILES = 30000
LARGEST = 1 << 20
"""Files above this are named and hashed, not read."""
SNIFFED = 64 << 10
SKIPPED = frozenset(
    """.git .hg .svn .bis .venv venv .env node_modules __pycache__ .tox .nox .mypy_cache .pytest_cache .ruff_cache
    .ipynb_checkpoints site-packages .terraform .dvc mlruns wandb .cache .eggs .idea .hypothesis""".split()
)
YAML = (".yml", ".yaml")
Reader = Callable[[str], Reading]

ROLES: tuple[tuple[str, str, Reader | None], ...] = (
    ("dockerfile", "Dockerfile|Dockerfile.*|*.Dockerfile|*.dockerfile|Containerfile|Containerfile.*", read_dockerfile),
    ("ignored by docker", ".dockerignore|*.dockerignore|.containerignore", None),
    ("compose", "compose*.yml|compose*.yaml|docker-compose*.yml|docker-compose*.yaml", read.read_images),
    ("github", ".github/workflows/*.yml|.github/workflows/*.yaml|action.yml|action.yaml", read.read_github),
    ("gitlab", ".gitlab-ci.yml|*.gitlab-ci.yml", read.read_gitlab),
    ("circleci", ".circleci/config.yml", read.read_circleci),
    ("azure", "azure-pipelines*.yml|azure-pipelines*.yaml", read.read_azure),
    ("cloud build", "cloudbuild*.yaml|cloudbuild*.yml", read.read_cloudbuild),
    ("ci", ".travis.yml|bitbucket-pipelines.yml|.drone.yml|.woodpecker.yml|.cirrus.yml", read.read_images),
    ("ci", ".woodpecker/*.yml|buildspec*.yml|.buildkite/*.yml|.appveyor.yml|appveyor.yml", read.read_images),
    ("jenkins", "Jenkinsfile|Jenkinsfile.*|*.jenkinsfile", read.read_jenkinsfile),
    ("devcontainer", "devcontainer.json|.devcontainer.json|.devcontainer/*/devcontainer.json", read.read_devcontainer),
    ("vagrant", "Vagrantfile", read.read_vagrantfile),
    ("procfile", "Procfile|Procfile.*", None),
    ("systemd", "*.service|*.timer|*.socket", None),
    ("kustomization", "kustomization.yaml|kustomization.yml|Kustomization", read.read_kustomization),
    ("helm chart", "Chart.yaml", read.read_helm_chart),
    ("helm lock", "Chart.lock", None),
    ("terraform", "*.tf|*.tofu", read_terraform),
    ("terraform json", "*.tf.json", None),
    ("terraform lock", ".terraform.lock.hcl", None),
    ("terraform variables", "*.tfvars|*.tfvars.json", None),
    ("serverless", "serverless.yml|serverless.yaml", read.read_images),
    ("sam", "samconfig.toml|samconfig.yaml", None),
    ("pulumi", "Pulumi.yaml|Pulumi.*.yaml", None),
    ("skaffold", "skaffold.yaml", read.read_images),
    ("apptainer", "Singularity|Singularity.*|Apptainer|Apptainer.*", read.read_apptainer),
    ("nix", "flake.nix|flake.lock|shell.nix|default.nix", None),
    ("modules", "modulefile|*.modulefile|.modulerc*", None),
    ("mlproject", "MLproject", read.read_images),
    ("cog", "cog.yaml", read.read_images),
    ("packages of the system", "apt.txt|packages.txt|Aptfile|apt-packages.txt", None),
)  # fmt: skip
"""Role, patterns of names (with a slash: of the end of the path), and reader. The first that fits counts."""
CONTENTS: tuple[tuple[str, str, str, Reader | None], ...] = (
    ("apptainer", "*.def", r"^\s*bootstrap\s*:", read.read_apptainer),
    ("kubernetes", "*.yml|*.yaml", r"^kind:\s*\S & ^apiVersion:\s*\S", read.read_images),
    ("cloudformation", "*.yml|*.yaml", r"^awstemplateformatversion|^transform:\s*\S?aws::", read.read_images),
    ("cloudformation", "*.template|*template.json", r'awstemplateformatversion|"aws::', None),
)
"""For files whose name does not say enough: role, patterns, and what they hold: expressions, all of them."""
VALUES = re.compile(r"values([-.].*)?\.ya?ml")
MAKES_IMAGES = frozenset(
    {"dockerfile", "compose", "devcontainer", "kubernetes", "helm values", "kustomization", "apptainer"}
)
"""Roles of files that say what a training runs in: what floats there is a finding of a run."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file."""

    path: str
    """Relative to the project, spelled."""
    role: str
    digest: Digest
    images: tuple[str, ...] = ()
    floating: tuple[Floating, ...] = ()
    pins: tuple[str, ...] = ()
    trouble: str = ""
    """Why it could not be read, with the line."""


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What was found in a file when its status was this; without a declaration: that it is none."""

    status: tuple[int, ...]
    declaration: Declaration | None = None


class Memory(msgspec.Struct, kw_only=True):
    """The findings of earlier captures, by path, in a file of the cache."""

    version: int = 1
    files: dict[str, Remembered] = {}


def declarations(project: Path, memory: Memory, now_ns: int) -> tuple[list[Declaration], bool]:
    """The declared files of a project, sorted, and whether all of it was looked through. `memory` is read and brought
    up to date: what was changed just before `now_ns` is not remembered, as it could change again unnoticed."""
    found: list[Declaration] = []
    known, kept = memory.files, dict[str, Remembered]()
    walk = Walk(project)
    for path, status in walk.candidates():
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        name = spell(path)
        remembered = known.get(name)
        if remembered is None or remembered.status != state:
            remembered = Remembered(state, _examine(project / path, name, status.st_size))
        if now_ns - max(status.st_mtime_ns, status.st_ctime_ns) > 2_100_000_000:
            kept[name] = remembered
        if remembered.declaration:
            found.append(remembered.declaration)
    memory.files = kept
    return _locked(sorted(found, key=lambda one: one.path)), walk.complete


class Walk:
    """A bounded look through a project, without the folders that hold no declarations."""

    def __init__(self, project: Path) -> None:
        self._project = os.fspath(project)
        self.complete = True

    def candidates(self) -> Iterator[tuple[str, os.stat_result]]:
        """Path relative to the project and status of each file that may be a declaration."""
        folders = files = 0
        candidate = _candidate().match
        waiting = deque([""])
        while waiting:
            inside = waiting.popleft()
            folders += 1
            if folders > MOST_FOLDERS or files > MOST_FILES:
                self.complete = False
                return
            entries = self._entries(inside)
            files += len(entries)
            for entry in entries:
                path = f"{inside}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in SKIPPED:
                        waiting.append(f"{path}/")
                elif candidate(entry.name) and (status := self._status(entry)):
                    yield path, status

    def _entries(self, inside: str) -> list[os.DirEntry[str]]:
        """Nothing for a folder that is an environment, however it is called."""
        try:
            with os.scandir(f"{self._project}/{inside}") as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.complete = self.complete and error.errno != errno.ENAMETOOLONG
            return []
        return [] if any(entry.name in ("pyvenv.cfg", "conda-meta") for entry in found) else found

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """None for what is no file, and for a link that leads nowhere or to itself."""
        try:
            return entry.stat() if entry.is_file() else None
        except OSError:
            return None


@functools.cache
def _candidate() -> re.Pattern[str]:
    """Names that are worth a closer look."""
    patterns = "|".join((*(patterns for _, patterns, _ in ROLES), *(patterns for _, patterns, _, _ in CONTENTS)))
    names = {fnmatch.translate(pattern.rpartition("/")[2]) for pattern in patterns.split("|")}
    return re.compile("|".join(sorted(names)))


def _by_name(path: str) -> tuple[str, Reader | None] | None:
    name = path.rpartition("/")[2]
    for role, patterns, reader in ROLES:
        for pattern in patterns.split("|"):
            if fnmatch.fnmatchcase(
                f"/{path}" if "/" in pattern else name, f"*/{pattern}" if "/" in pattern else pattern
            ):
                return role, reader
    return None


def _examine(path: Path, name: str, size: int) -> Declaration | None:
    role = _by_name(unspell(name))
    try:
        if size > LARGEST:
            digest = digest_file(path) if role else Digest("")
            return Declaration(path=name, role=role[0], digest=digest, trouble="too large to be read") if role else None
        content = path.read_bytes()
    except OSError as error:
        why = f"it cannot be read: {error.strerror}"
        return Declaration(path=name, role=role[0], digest=Digest(""), trouble=why) if role else None
    role = role or _by_content(name, content[:SNIFFED])
    if role is None:
        return None
    reading, trouble = _read(content, role[1])
    return Declaration(
        path=name,
        role=role[0],
        digest=digest_bytes(content),
        images=tuple(dict.fromkeys(reading.images)),
        floating=tuple(sorted(reading.floating, key=lambda one: one.line)),
        pins=reading.pins,
        trouble=trouble,
    )


def _read(content: bytes, reader: Reader | None) -> tuple[Reading, str]:
    if reader is None:
        return Reading(), ""
    try:
        return reader(content.decode("utf-8-sig", "replace")), ""
    except read.Unreadable as error:
        return Reading(), f"line {error.line}: {error.what}"


def _by_content(path: str, head: bytes) -> tuple[str, Reader | None] | None:
    name = path.rpartition("/")[2]
    if "templates" in path.split("/")[:-1] and b"{{" in head:
        return ("helm template", read.read_helm_template) if b"kind:" in head else None
    if VALUES.fullmatch(name):
        return "helm values", read.read_helm_values
    for role, patterns, held, reader in CONTENTS:
        named = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split("|"))
        if named and all(re.search(each.encode(), head, re.M | re.I) for each in held.split(" & ")):
            return role, reader
    return None


def _locked(found: list[Declaration]) -> list[Declaration]:
    """A lock file beside a declaration says what floats in it: then nothing does."""
    folders = {role: {_folder(one) for one in found if one.role == role} for role in ("terraform lock", "helm lock")}
    settled = {("terraform", "floating-provider"): "terraform lock", ("helm chart", "floating-chart"): "helm lock"}
    result = []
    for one in found:
        floating = tuple(
            item
            for item in one.floating
            if _folder(one) not in folders.get(settled.get((one.role, item.code), ""), frozenset())
        )
        result.append(msgspec.structs.replace(one, floating=floating) if floating != one.floating else one)
    return result


def _folder(one: Declaration) -> str:
    return one.path.rpartition("/")[0]
