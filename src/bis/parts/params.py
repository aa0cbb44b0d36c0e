"""Params: what the run was told. argv and its options, the configuration files it read, environment variables.

Facts: `argv`, `options` (name -> text), `config` (path -> digest of each configuration file that was read), `values`
(`config.yaml:model.layers` -> text), `variables` (allowed ones, name -> value), `hidden` (all others, name -> keyed
digest, which tells whether a value is the same and nothing else).
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bis.digest import digest_bytes, digest_value, keyed_digest, spell, unspell
from bis.errors import counted
from bis.nouns.part import Change, Finding, Part, PartKind, Weight
from bis.parts import Place, Scene
from bis.parts.origin import sorter
from bis.parts.secret import hide, hide_argv, is_secret_file, is_secret_name
from bis.store import Store

KIND: PartKind = "params"

ALLOWED = tuple(
    """PYTHON* OMP_* MKL_* KMP_* GOMP_* OPENBLAS_* BLIS_* VECLIB_* NUMEXPR_* NUMBA_* NPY_* ATEN_* ONEDNN_* DNNL_*
    CUDA_* CUBLAS_* CUDNN_* NVIDIA_* NCCL_* TORCH* PYTORCH_* TF_* XLA_* KERAS_* JAX_* HF_* TRANSFORMERS_* TOKENIZERS_*
    WANDB_MODE MLFLOW_* DVC_* KEDRO_* RAY_* DASK_* SKLEARN_* LOKY_* JOBLIB_* POLARS_* MALLOC_* MPLBACKEND
    LANG LANGUAGE LC_* TZ SOURCE_DATE_EPOCH""".split()
)
"""Environment variables whose values are recorded, beside those that settings name."""
APPEARANCE = tuple(
    "TERM COLUMNS LINES NO_COLOR FORCE_COLOR CLICOLOR* CI DO_NOT_TRACK DISPLAY PYTHONDONTWRITEBYTECODE".split()
)
"""Recorded and given again, and no ingredient: they change how a log looks."""
OURS = ("BIS_*",)
PLUMBING = tuple(
    """PATH HOME USER LOGNAME SHELL PWD OLDPWD SHLVL _ HOSTNAME SSH_* XDG_* DBUS_* TMUX* TERM_* LS_COLORS COLORTERM
    EDITOR VISUAL PAGER LESS* MAIL LD_LIBRARY_PATH VIRTUAL_ENV* CONDA_* PYENV_* UV_* PIP_* TMPDIR TEMP TMP WINDOWID
    GPG_* PS1 PIPENV_ACTIVE PIPENV_PROJECT_DIR POETRY_ACTIVE""".split()
)
"""Variables of sessions and installers: neither recorded by value nor reported when they differ."""
CONFIG = frozenset({".yaml", ".yml", ".toml", ".json", ".ini", ".cfg", ".conf"})
NOT_CONFIG = frozenset({"pyproject.toml", "setup.cfg", "package.json", "tox.ini", "uv.lock", "poetry.lock"})
CONFIG_SIZE = 64 << 10
VALUES = 500
DEEPEST, LOOKED_AT = 100, 1_000_000
"""Levels and values of a file that are told one by one."""
NEGATIVE = re.compile(r"-(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
"""A word that begins like an option and is a value."""


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    argv = [spell(word) for word in hide_argv(scene.command, scene.key)]
    facts: dict[str, Any] = {"argv": argv, "options": options(argv[1:]), **_variables(scene)}
    findings: list[Finding] = []
    if scene.trace is not None:
        facts["config"], facts["values"] = _config(scene)
    identity = {key: facts.get(key, {}) for key in ("argv", "config")}
    identity["variables"] = {
        name: value for name, value in facts["variables"].items() if not _matches(name, APPEARANCE)
    }
    told = len(facts["options"]) + len(facts.get("values", {}))
    return Part(
        kind=KIND,
        digest=digest_value(identity),
        summary=counted(told, "value") if told else "none",
        facts=facts,
        findings=tuple(findings),
    )


def restore(part: Part, place: Place, store: Store) -> None:
    """Nothing to put on disk: argv and variables are given to the command, configuration files are code."""


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    if before.digest == after.digest:
        return []
    changes = _changed("params", before.facts, after.facts, "options", "values", "variables")
    told = {change.name for change in changes}
    changes += [
        change
        for change in _changed("params", before.facts, after.facts, "config")
        if not _explained(change.name, told)
    ]
    if before.facts.get("argv") != after.facts.get("argv") and not told:
        changes.append(Change(kind=KIND, name="argv", before=_line(before), after=_line(after)))
    return changes


def variables_to_give(part: Part, here: Mapping[str, str], key: bytes) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """The environment of a repeat: what was recorded, plus what this machine needs to work at all.

    A variable that was recorded only by keyed digest is passed on when its value here is still the same.
    """
    plumbing = {name: value for name, value in here.items() if _matches(name, PLUMBING)}
    recorded = {unspell(name): unspell(value) for name, value in part.facts.get("variables", {}).items()}
    same, differing = {}, []
    for name, digest in part.facts.get("hidden", {}).items():
        value = here.get(unspell(name))
        if value is not None and keyed_digest(key, value) == digest:
            same[unspell(name)] = value
        else:
            differing.append(name)
    findings = []
    if differing:
        findings.append(
            Finding(
                code="variables-not-kept",
                text=f"set when the run was recorded, and not so now: {', '.join(sorted(differing))}",
                hint='export them before you repeat, or record their values: variables = ["NAME"] in bis.toml',
            )
        )
    return {**plumbing, **same, **recorded}, tuple(findings)


# What was told -----------------------------------------------------------------------------------------------------


def options(words: Sequence[str]) -> dict[str, str]:
    """`--lr 0.1`, `--lr=0.1`, `-n 3`, `--flag`, `key=value`, and positions, as name -> text.

    The command's own parser is not known: a word after an option is taken as its value unless it is an option itself.
    """
    found: dict[str, str] = {}
    position = 0
    pending = ""
    for word in words:
        if _is_option(word):
            if pending:
                _add(found, pending, "true")
            name, equals, value = word.lstrip("-").partition("=")
            pending = "" if equals else name
            if equals:
                _add(found, name, value)
        elif pending:
            _add(found, pending, word)
            pending = ""
        elif "=" in word and word.partition("=")[0].replace(".", "").replace("_", "").lstrip("+~").isalnum():
            name, _, value = word.partition("=")
            _add(found, name.lstrip("+~"), value)
        elif word != "--":
            _add(found, f"argument {position}", word)
            position += 1
    if pending:
        _add(found, pending, "true")
    return found


def _is_option(word: str) -> bool:
    return word.startswith("-") and word not in ("-", "--") and not NEGATIVE.fullmatch(word)


def _add(found: dict[str, str], name: str, value: str) -> None:
    found[name] = f"{found[name]} {value}" if name in found else value


def _variables(scene: Scene) -> dict[str, dict[str, str]]:
    shown: dict[str, str] = {}
    hidden: dict[str, str] = {}
    allowed = (*ALLOWED, *APPEARANCE, *scene.settings.variables)
    for name, value in sorted(scene.variables.items()):
        plumbing = _matches(name, PLUMBING) and not _matches(name, scene.settings.variables)
        if plumbing or name in scene.forced or _matches(name, OURS):
            continue
        if _matches(name, allowed) and not is_secret_name(name) and hide(value, scene.key) == value:
            shown[spell(name)] = spell(value)
        else:
            hidden[spell(name)] = keyed_digest(scene.key, value)
    return {"variables": shown, "hidden": hidden}


def _matches(name: str, globs: Sequence[str]) -> bool:
    return bool(globs) and _pattern(tuple(globs)).match(name) is not None


@functools.cache
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, globs)))


def _config(scene: Scene) -> tuple[dict[str, str], dict[str, str]]:
    """Digests of the configuration files of the project that were read, and the values of small ones."""
    assert scene.trace is not None
    origin = sorter(scene)
    digests: dict[str, str] = {}
    values: dict[str, str] = {}
    for access in scene.trace.accesses:
        if not access.was_read or origin(access.path) != "project" or not _is_config(access.path):
            continue
        name = scene.named(access.path)
        path = Path(unspell(access.preimage)) if access.preimage else scene.real(access.path)
        if is_secret_file(name, scene.settings.secrets):
            continue
        try:
            content = path.read_bytes() if path.stat().st_size <= CONFIG_SIZE else None
        except OSError:
            continue
        if content is None:
            continue
        digests[name] = digest_bytes(content)
        for key, value in itertools.islice(flatten(parse(name, content)), VALUES - len(values)):
            values[f"{name}:{key}"] = hide(value, scene.key, key.rpartition(".")[2])
    return digests, values


def _is_config(path: str) -> bool:
    pure = PurePosixPath(path)
    return pure.suffix.lower() in CONFIG and pure.name not in NOT_CONFIG


def parse(name: str, content: bytes) -> Any:
    """The content of a configuration file as plain values; None for one that cannot be read as what its name says."""
    suffix = PurePosixPath(name).suffix.lower()
    try:
        text = content.decode("utf-8")
        if suffix == ".json":
            return json.loads(text)
        if suffix == ".toml":
            import tomllib

            return tomllib.loads(text)
        if suffix in (".yaml", ".yml"):
            import yaml

            return yaml.safe_load(text)
        import configparser

        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(text)
        return {section: dict(parser[section]) for section in parser.sections()}
    except Exception:  # whatever a parser raises for a file that is not meant for it
        return None


def flatten(value: Any) -> Iterator[tuple[str, str]]:
    """`{"model": {"layers": 4}}` as `("model.layers", "4")`; lists of plain values stay together. A short YAML file can
    mean billions of values, or hold itself: only so many are looked at, and only so deep."""
    ahead: list[tuple[str, Any, int]] = [("", value, 0)]
    for _ in range(LOOKED_AT):
        if not ahead:
            return
        name, one, depth = ahead.pop()
        if isinstance(one, dict):
            inside = [(str(key), item) for key, item in one.items()]
        elif isinstance(one, list) and any(isinstance(item, (dict, list)) for item in one):
            inside = [(str(place), item) for place, item in enumerate(one)]
        else:
            if one is not None or name:
                yield name, one if isinstance(one, str) else json.dumps(one, default=str)
            continue
        if depth < DEEPEST:
            ahead += [(f"{name}.{key}" if name else key, item, depth + 1) for key, item in reversed(inside)]


# Differences -------------------------------------------------------------------------------------------------------


def _changed(kind: str, before: Mapping[str, Any], after: Mapping[str, Any], *tables: str) -> list[Change]:
    changes = []
    for table in tables:
        old, new = before.get(table) or {}, after.get(table) or {}
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                shown = f"${name}" if table == "variables" else name
                weight: Weight = "minor" if table == "variables" and _matches(name, APPEARANCE) else "matters"
                changes.append(Change(kind=kind, name=shown, before=old.get(name), after=new.get(name), weight=weight))
    return changes


def _explained(path: str, told: set[str]) -> bool:
    """A changed configuration file needs no line of its own when its changed values have theirs."""
    return any(name.startswith(f"{path}:") for name in told)


def _line(part: Part) -> str:
    return " ".join(part.facts.get("argv", []))
