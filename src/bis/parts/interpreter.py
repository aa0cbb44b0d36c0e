"""Which Python a command uses: guessed from the command line before it runs, known from its own report afterwards."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from bis.digest import spell, unspell
from bis.nouns.part import Part
from bis.parts import Report

PYTHON = re.compile(r"^(python|pypy|graalpy)[\d.]*[td]?w?$")
LIBRARY = re.compile(r"^(python|pypy|graalpy)\d+\.\d+t?$")
WRAPPERS: dict[str, int] = {
    **dict.fromkeys(("env", "nohup", "setsid", "time", "nice", "ionice", "stdbuf", "caffeinate", "xvfb-run"), 0),
    **dict.fromkeys(("numactl", "chrt", "sudo", "exec", "command"), 0),
    **dict.fromkeys(("timeout", "taskset"), 1),
}
"""Programs that run another one -> how many plain words of their own come before it."""
RUNNERS = frozenset(("uv", "poetry", "pipenv", "pdm", "rye", "hatch", "pixi"))
CONDAS = frozenset(("conda", "mamba", "micromamba"))
LAUNCHERS = RUNNERS | CONDAS | {"nox", "tox", "bis"}
"""Tools, some of them written in Python, that only start the interpreter that matters."""
TAKES_VALUE = frozenset(
    (
        "-n",
        "-p",
        "-u",
        "-C",
        "-k",
        "-s",
        "-c",
        "-e",
        "-o",
        "-i",
        "--name",
        "--prefix",
        "--python",
        "--with",
        "--extra",
        "--group",
        "--project",
        "--directory",
        "--package",
        "--env-file",
        "--with-requirements",
        "--with-editable",
        "--index",
        "--signal",
        "--kill-after",
    )
)
"""Options (of any wrapper) that a value follows as a word of its own."""
SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "fish", "make", "just"))
MAX_HOPS = 8


class Interpreter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Python, as far as its files (or its own report) tell. Paths are spelled."""

    executable: str = ""
    """As the command names it: in a virtual environment, the link."""
    real: str = ""
    """The file behind all links."""
    prefix: str = ""
    base_prefix: str = ""
    version: str = ""
    """`3.11.7`; empty when only running it could tell."""
    implementation: str = "cpython"
    abi: str = ""
    """Of its extension modules: `cpython-311-x86_64-linux-gnu`."""
    origin: str = ""
    """Who installed it: `pyenv`, `uv`, `conda`, `system`, `homebrew`, … or empty."""
    path: tuple[str, ...] = ()
    """The folders it imports from that exist, in order."""
    system_site: bool = False
    """A virtual environment that also sees the packages of its base."""

    @property
    def is_virtual(self) -> bool:
        return self.prefix != self.base_prefix


# -- guessed from the command ------------------------------------------------------------------------------------


def guess(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> tuple[str, bool]:
    """The interpreter that `command` will use, and whether that is more than a likelihood.

    Reads the command line, `PATH`, first lines of scripts and the settings of version managers; runs nothing.
    ("", True): the program was found and is not Python. ("", False): nothing could be told.
    """
    words = list(command)
    search = variables.get("PATH", os.defpath)
    for _ in range(MAX_HOPS):
        if not words:
            return "", False
        name = os.path.basename(words[0])
        if name in RUNNERS | CONDAS:
            words, found = _runner(name, words[1:], folder, variables)
            if found:
                return found, True
            continue
        if name in WRAPPERS:
            words, search = _unwrap(words, search)
            continue
        program = which(words[0], search, folder)
        if not program:
            return "", False
        if PYTHON.match(name):
            return _behind_shim(program, folder, variables), True
        if name in SHELLS:
            return _behind_shim(_any_python(search, folder), folder, variables), False
        line = _shebang(program)
        if line is None:
            return "", True
        if PYTHON.match(os.path.basename(line[0])):
            return _behind_shim(line[0], folder, variables), True
        if _is_shim(program, name, variables):
            return _behind_shim(program, folder, variables), True
        words = [*line, program, *words[1:]]
    return "", False


def _unwrap(words: list[str], search: str) -> tuple[list[str], str]:
    """The command inside `env A=1 …`, `timeout 10 …`, `nice -n 5 …`, and the PATH it would be looked for on."""
    name = os.path.basename(words[0])
    own, valued = WRAPPERS[name], TAKES_VALUE if name != "taskset" else frozenset()
    rest = words[1:]
    while rest:
        word = rest[0]
        if word == "--":
            rest = rest[1:]
            break
        if word in ("-S", "--split-string") and len(rest) > 1:
            return [*shlex.split(rest[1]), *rest[2:]], search
        if word.startswith("-"):
            rest = rest[2:] if word in valued else rest[1:]
        elif "=" in word and re.match(r"^[A-Za-z_]\w*=", word):
            search = word[5:] if word.startswith("PATH=") else search
            rest = rest[1:]
        elif own:
            own -= 1
            rest = rest[1:]
        else:
            break
    return rest, search


def _runner(name: str, words: list[str], folder: Path, variables: Mapping[str, str]) -> tuple[list[str], str]:
    """What `uv run …`, `poetry run …`, `conda run -n NAME …` runs, with the interpreter where it can be told."""
    if "run" not in words:
        return [], ""
    after = words[words.index("run") + 1 :]
    if name in CONDAS:
        return [], _conda_python(after, variables)
    own = variables.get("UV_PROJECT_ENVIRONMENT", ".venv") if name == "uv" else ".venv"
    for parent in (folder, *folder.parents):
        python = parent / own / "bin" / "python"
        if python.exists():
            return [], str(python)
        if (parent / "pyproject.toml").exists() and name == "uv":
            break
    if active := variables.get("VIRTUAL_ENV"):
        return [], str(Path(active) / "bin" / "python")
    return [], ""


def _conda_python(words: list[str], variables: Mapping[str, str]) -> str:
    root = Path(variables.get("CONDA_EXE", "/opt/conda/bin/conda")).parent.parent
    root = Path(variables["MAMBA_ROOT_PREFIX"]) if "MAMBA_ROOT_PREFIX" in variables else root
    for option, value in pairwise(words):
        if option in ("-n", "--name"):
            prefix = root if value == "base" else root / "envs" / value
        elif option in ("-p", "--prefix"):
            prefix = Path(value)
        else:
            continue
        python = prefix / "bin" / "python"
        return str(python) if python.exists() else ""
    return ""


def which(word: str, search: str, folder: Path) -> str:
    if "/" in word:
        program = os.path.join(folder, word)
        return program if os.access(program, os.X_OK) and not os.path.isdir(program) else ""
    for part in search.split(os.pathsep):
        program = os.path.join(folder, part or ".", word)
        if os.access(program, os.X_OK) and not os.path.isdir(program):
            return program
    return ""


def _any_python(search: str, folder: Path) -> str:
    return which("python", search, folder) or which("python3", search, folder)


def _shebang(program: str) -> list[str] | None:
    """The words of a script's first line, also where an installer wrapped a long path in `#!/bin/sh` and `'''exec'`."""
    try:
        with open(program, "rb") as file:
            head = file.read(1024)
    except OSError:
        return None
    if not head.startswith(b"#!"):
        return None
    lines = os.fsdecode(head).splitlines()
    if len(lines) > 1 and lines[1].startswith("'''exec'"):
        inner = lines[1][len("'''exec'") :].replace('"$(dirname -- "$(realpath -- "$0")")"', _folder_of(program))
        try:
            return shlex.split(inner)[:1]
        except ValueError:
            return None
    words = lines[0][2:].split()
    return words or None


def _folder_of(program: str) -> str:
    return shlex.quote(os.path.dirname(os.path.realpath(program)))


# -- version managers that put small scripts first on PATH --------------------------------------------------------


def _is_shim(program: str, name: str, variables: Mapping[str, str]) -> bool:
    return os.path.basename(os.path.dirname(program)) == "shims" and bool(name) and "HOME" in variables


def _behind_shim(program: str, folder: Path, variables: Mapping[str, str]) -> str:
    """What a shim of pyenv would start: by `PYENV_VERSION`, `.python-version` upward from `folder`, or globally."""
    if not program or os.path.basename(os.path.dirname(program)) != "shims":
        return program
    root = Path(variables.get("PYENV_ROOT") or Path(program).parent.parent)
    name = os.path.basename(program)
    for version in _pyenv_versions(root, folder, variables):
        chosen = root / "versions" / version / "bin" / name
        if chosen.exists():
            return str(chosen)
        longer = sorted(root.glob(f"versions/{version}.*/bin/{name}"))
        if longer:
            return str(longer[-1])
    return program


def _pyenv_versions(root: Path, folder: Path, variables: Mapping[str, str]) -> list[str]:
    if chosen := variables.get("PYENV_VERSION"):
        return chosen.split(":")
    for file in (*(parent / ".python-version" for parent in (folder, *folder.parents)), root / "version"):
        try:
            return [line for line in file.read_text("utf-8").split() if not line.startswith("#")]
        except (OSError, UnicodeDecodeError):
            continue
    return []


# -- described from its files ------------------------------------------------------------------------------------


def describe(executable: str, variables: Mapping[str, str], home: Path) -> Interpreter | None:
    """The interpreter at `executable` (a path, not spelled) from its files; None when it is not Python."""
    real = os.path.realpath(executable)
    names = (os.path.basename(path).lower() for path in (executable, real))
    if not os.path.isfile(real) or not any(map(PYTHON.match, names)):
        return None
    prefix, settings = _virtual(executable)
    base = _base_prefix(real, settings)
    library = _library(base)
    if library is None:
        return None
    system_site = settings.get("include-system-site-packages", "false").lower() == "true"
    abi = abi_of(library)
    found = Interpreter(
        executable=spell(os.path.abspath(executable)),
        real=spell(real),
        prefix=spell(prefix or base),
        base_prefix=spell(base),
        version=_version(library, base) or settings.get("version_info", settings.get("version", "")),
        implementation=abi.partition("-")[0] or "cpython",
        abi=abi,
        origin=origin_of(base),
        system_site=system_site,
    )
    path = _guess_path(prefix, base, library.name, system_site, variables, home)
    version = ".".join(found.version.split(".")[:3]) or ask_version(executable)
    return msgspec.structs.replace(found, version=version, path=tuple(spell(item) for item in path))


def from_report(report: Report, real: Callable[[str], Path]) -> Interpreter:
    """The interpreter that told of itself. What it said is the truth; its files add who installed it."""
    base = report.base_prefix or report.prefix
    library = _library(os.fspath(real(base)))
    abi = abi_of(library) if library else ""
    settings = _settings(os.path.join(real(report.prefix), "pyvenv.cfg"))
    return Interpreter(
        executable=report.executable,
        real=spell(os.path.realpath(real(report.executable))) if report.executable else "",
        prefix=report.prefix,
        base_prefix=base,
        version=report.version,
        implementation=abi.partition("-")[0] or "cpython",
        abi=abi,
        origin=origin_of(unspell(base)),
        path=tuple(item for item in report.path if item and os.path.isdir(real(item))),
        system_site=settings.get("include-system-site-packages", "false").lower() == "true",
    )


def python_of(part: Part) -> Interpreter | None:
    """The interpreter of an environment; None for a run without Python."""
    told = {key: value for key, value in part.facts.get("python", {}).items() if key != "digest"}
    return msgspec.convert(told, Interpreter) if told else None


def title(python: Interpreter) -> str:
    """`Python 3.11.7`."""
    name = {"cpython": "Python", "pypy": "PyPy"}.get(python.implementation.rstrip("0123456789"), python.implementation)
    return f"{name} {python.version}".strip()


def _virtual(executable: str) -> tuple[str, dict[str, str]]:
    """The prefix and settings of the virtual environment that `executable` lies in; empty for none."""
    folder = os.path.dirname(os.path.abspath(executable))
    for prefix in (os.path.dirname(folder), folder):
        if settings := _settings(os.path.join(prefix, "pyvenv.cfg")):
            return prefix, settings
    return "", {}


def _settings(file: str) -> dict[str, str]:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            pairs = (line.partition("=") for line in lines)
            return {key.strip().lower(): value.strip() for key, _, value in pairs}
    except OSError:
        return {}


def _base_prefix(real: str, settings: Mapping[str, str]) -> str:
    """Beside the real executable, or where the environment's `home` says, for builds whose executable is a copy."""
    beside = os.path.dirname(os.path.dirname(real))
    if _library(beside) or "home" not in settings:
        return beside
    return os.path.dirname(os.path.realpath(settings["home"]))


def _library(base: str) -> Path | None:
    """The folder of the standard library: `lib/python3.11`, `lib/pypy3.10`."""
    lib = os.path.join(base, "lib")
    try:
        names = sorted((name for name in os.listdir(lib) if LIBRARY.match(name)), key=_by_version, reverse=True)
    except OSError:
        return None
    with_os = [Path(lib, name) for name in names if os.path.exists(os.path.join(lib, name, "os.py"))]
    return with_os[0] if with_os else None


def _by_version(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def abi_of(library: Path) -> str:
    """`cpython-311-x86_64-linux-gnu`, read off the name of an extension module of the standard library."""
    for folder in (library / "lib-dynload", library):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if name.endswith(".so") and name.count(".") == 2:
                return name.split(".")[1]
    return ""


def _version(library: Path, base: str) -> str:
    """The full version, from the header that says it where headers are installed."""
    for header in Path(base, "include").glob(f"{library.name}*/patchlevel.h"):
        try:
            found = re.search(r'#define\s+PY_VERSION\s+"(\d+\.\d+\.\d+)', header.read_text("utf-8", "replace"))
        except OSError:
            continue
        if found:
            return found[1]
    return ""


def ask_version(executable: str) -> str:
    """The version that an executable prints of itself; empty when it is no Python that runs here."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        answer = subprocess.run([executable, "-I", "-S", "-c", code], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    version = answer.stdout.decode("ascii", "replace").strip()
    return version if re.fullmatch(r"\d+\.\d+\.\d+", version) else ""


def origin_of(base: str) -> str:
    """Who installed the interpreter at this base prefix."""
    if os.path.isdir(os.path.join(base, "conda-meta")):
        return "conda"
    for mark, origin in (
        ("/.pyenv/", "pyenv"),
        ("/pyenv/versions/", "pyenv"),
        ("/uv/python/", "uv"),
        ("/homebrew/", "homebrew"),
        ("/Cellar/", "homebrew"),
        ("/Python.framework/", "framework"),
        ("/mise/installs/", "mise"),
        ("/asdf/installs/", "asdf"),
        ("/rye/py/", "rye"),
        ("/nix/store/", "nix"),
    ):
        if mark in base + "/":
            return origin
    return {"/usr": "system", "/": "system", "/usr/local": "local"}.get(base, "")


# -- where it imports from ---------------------------------------------------------------------------------------


def _guess_path(
    prefix: str, base: str, library: str, system_site: bool, variables: Mapping[str, str], home: Path
) -> list[str]:
    folders = [item for item in variables.get("PYTHONPATH", "").split(os.pathsep) if item]
    sites = _sites(prefix, library) if prefix else []
    if not prefix or system_site:
        if not variables.get("PYTHONNOUSERSITE"):
            sites += [str(home / ".local/lib" / library / "site-packages")]
        sites += _sites(base, library)
    seen: dict[str, None] = dict.fromkeys(folders)
    for site in sites:
        if os.path.isdir(site):
            seen[site] = None
            seen.update(dict.fromkeys(added_by_pth(site)))
    return [folder for folder in seen if os.path.isdir(folder)]


def _sites(prefix: str, library: str) -> list[str]:
    sites = [os.path.join(prefix, lib, library, "site-packages") for lib in ("lib", "lib64")]
    if os.path.islink(os.path.join(prefix, "lib64")):
        sites.pop()
    if prefix == "/usr":
        sites += [f"/usr/local/lib/{library}/dist-packages", "/usr/lib/python3/dist-packages"]
        sites += [f"/usr/lib/{library}/dist-packages"]
    return sites


def added_by_pth(site: str) -> Iterator[str]:
    """The folders that the `.pth` files of a site folder add to the path."""
    for name in sorted(name for name in os.listdir(site) if name.endswith(".pth")):
        try:
            with open(os.path.join(site, name), encoding="utf-8", errors="surrogateescape") as lines:
                entries = [line.rstrip() for line in lines]
        except OSError:
            continue
        for entry in entries:
            if entry and not entry.startswith(("#", "import ", "import\t")):
                folder = os.path.normpath(os.path.join(site, entry))
                if os.path.isdir(folder):
                    yield folder
