"""Settings: defaults, then the user's file, then the project's, then environment variables.

The user's file is `$XDG_CONFIG_HOME/bis/config.toml` (`~/.config/bis/config.toml`), the project's `bis.toml`,
or `[tool.bis]` in its `pyproject.toml`. Each key below is one setting, documented in `docs/settings.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bis.errors import UsageError

FILE = "bis.toml"
FOLDER = ".bis"
SCORING = "predict"
"""Below it: the folder in which `bis predict` keeps what it has scored, until all is."""
IGNORE = "# Made by bis: recorded runs, not part of the project's code.\n*\n"
"""What the file `.gitignore` in it says."""
KEPT = ("store", "ledger", "bucket")
"""What a project has below `.bis`: one of these at least."""
GIB = 1 << 30

KINDS = {
    "bool": "true or false",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
"""What values are, in words."""

Bytes = Annotated[int, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Above these, a file is hashed but not copied into the store."""

    input_file: Bytes = GIB
    """One input file."""
    input_run: Bytes = 10 * GIB
    """All input files of a run together."""
    output_file: Bytes = GIB
    """One output file."""
    output_run: Bytes = 10 * GIB
    """All output files of a run together."""
    untracked_file: Bytes = 10 << 20
    """Untracked files of the project above this are not code."""
    preimage_file: Bytes = 256 << 20
    """Largest file whose content from before the run is kept when the run overwrites it."""


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold before `bis model promote` lets an alias mean a version: `[promotion.champion]`."""

    repeat: str = ""
    """A verdict that the newest repeat of its run must reach: `identical`, or `equivalent` (or better)."""
    better: tuple[str, ...] = ()
    """Metrics by which it must beat the version that has the alias: `metrics.rmse:lower`, `auc:higher`."""
    tags: tuple[str, ...] = ()
    """Tags that it must have: `reviewed=yes`, or `reviewed` with any value."""
    enforce: bool = False
    """Look at the conditions whoever sets the alias: MLflow's clients and `bis model alias`, too."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    store: str = ""
    """Folder of the store; empty: `.bis/store` of the project. One store may be shared by projects and people. For `bis
    server` alone it may be a bucket: `s3://bucket/prefix`, `gs://…`, `az://…`."""
    ledger: str = ""
    """File of the ledger, or a PostgreSQL database that a team shares: `postgresql://user@host/name`; empty:
    `.bis/ledger` of the project."""
    limits: Limits = Limits()
    copy_data: bool = False
    """Copy every input into the store, whatever its size."""
    data: tuple[str, ...] = ()
    """Declared inputs: files, folders or globs, relative to the project; `~/` is the home folder."""
    by_reference: tuple[str, ...] = ()
    """Globs of inputs that are never copied."""
    ignore: tuple[str, ...] = ()
    """Globs of files that are not outputs."""
    metrics: tuple[str, ...] = (
        "metrics.json",
        "metrics.yaml",
        "metrics.yml",
        "metrics.csv",
        "*/metrics.json",
        "eval/*.json",
        "dvclive/metrics.json",
    )
    """Globs of files that a run writes its metrics into; those that `dvc.yaml` declares are such files, too."""
    tolerance: dict[str, float] = {}
    """Metric (or glob) -> relative tolerance within which two values are called equivalent."""
    variables: tuple[str, ...] = ()
    """Further environment variables (globs) whose values are recorded and given again."""
    secrets: tuple[str, ...] = ()
    """Further files (globs) whose content is never kept."""
    trace: str = "auto"
    """`auto`, `notify`, `audit`, `full` or `off`."""
    seed: bool = True
    """Give a fresh seed to whatever nobody seeded; `--no-seed` turns it off for one run."""
    remotes: dict[str, str] = {}
    """Remotes to share with: name -> URL; `bis remote add` notes them beside. No credentials."""
    promotion: dict[str, Promotion] = {}
    """Alias -> what must hold before a version is promoted to it."""
    webhooks_anywhere: bool = False
    """Let webhooks of `bis server` go to private addresses, too, and over plain http."""
    base: str = ""
    """What `bis build image` builds on: an image of a registry by its digest, `oci:FOLDER` or `mmdebstrap:SUITE`."""
    environments: str = ""
    """Where rebuilt environments are cached; empty: `~/.cache/bis/environments`."""
    lost_after: float = 60.0
    """Seconds after which what a command left that was killed before it had begun a run is cleared away."""


TRACES = ("auto", "notify", "audit", "full", "off")


def find_project(start: Path) -> Path:
    """The nearest folder, upward from `start`, that holds `.bis/`, `bis.toml`, `[tool.bis]` or a version control root;
    else `start` itself. A home folder is never a project because it holds `.bis/` of another use."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if any((folder / FOLDER / kept).exists() for kept in KEPT) or (folder / FILE).is_file():
            return folder
        if any((folder / root).exists() for root in (".git", ".hg", ".svn")) or _tool_table(folder) is not None:
            return folder
    return start


def load_settings(project: Path, variables: Mapping[str, str]) -> Settings:
    """Raises UsageError, naming the file and the key, for a setting that makes no sense."""
    merged: dict[str, Any] = {}
    home = Path(variables.get("XDG_CONFIG_HOME") or Path(variables.get("HOME", "/nonexistent")) / ".config")
    for path, table in (
        (home / "bis" / "config.toml", ""),
        (project / "pyproject.toml", "tool.bis"),
        (project / FILE, ""),
    ):
        found = {key.replace("-", "_"): value for key, value in _read(path, table).items()}
        _checked(found, f"{path}, [{table}]" if table else str(path))
        _merge(merged, found)
    for key in ("store", "ledger", "trace", "environments"):
        if value := variables.get(f"BIS_{key.upper()}"):
            merged[key] = value
    return _checked(merged, "the settings together")


def _checked(table: Mapping[str, Any], where: str) -> Settings:
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), where) from None
    if settings.trace not in TRACES:
        raise UsageError(f"the setting trace is {settings.trace!r} ({where})", hint=f"one of {', '.join(TRACES)}")
    return settings


def _wrong(said: str, where: str) -> UsageError:
    """The words of msgspec, as a sentence about a setting, with what was probably meant."""
    import re
    from difflib import get_close_matches

    place = re.search(r" - at `\$\.(.*)`$", said)
    path = place[1] if place else ""
    if unknown := re.match(r"Object contains unknown field `(.*?)`", said):
        inner = Promotion if path.startswith("promotion") else Limits
        known = inner.__struct_fields__ if path else Settings.__struct_fields__
        near = get_close_matches(unknown[1], known, 1)
        return UsageError(
            f"there is no setting {f'{path}.' if path else ''}{unknown[1]} ({where})",
            because=f"Did you mean {near[0]}?" if near else "",
            hint=f"one of {', '.join(known)}",
        )
    if kinds := re.match(r"Expected `(\w+).*?`, got `(\w+)`", said):
        wanted, got = (KINDS.get(kind, kind) for kind in kinds.groups())
        return UsageError(f"the setting {path} is {wanted}, not {got} ({where})", hint="docs/settings.md has examples")
    return UsageError(f"the setting {path} makes no sense: {said} ({where})", hint="docs/settings.md has examples")


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            into[key] = {**into[key], **value}
        else:
            into[key] = value


def _read(path: Path, table: str) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        import tomllib  # only where there is a file

        content = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        if isinstance(error, PermissionError) and path.name != FILE:
            return {}  # the home of somebody else, as under sudo
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=f"ls -la {path}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        if table and b"[tool.bis" not in path.read_bytes():
            return {}  # a fault for its owner to find; it says nothing to bis
        raise UsageError(f"{path} is not valid TOML: {error}", hint=f"mend {path}") from None
    for key in table.split(".") if table else ():
        content = content.get(key, {})
        if not isinstance(content, dict):
            return {}
    return content


def _tool_table(folder: Path) -> dict[str, Any] | None:
    file = folder / "pyproject.toml"
    try:
        if "[tool.bis" not in file.read_text("utf-8"):
            return None
    except (OSError, UnicodeDecodeError):
        return None
    return _read(file, "tool.bis")
