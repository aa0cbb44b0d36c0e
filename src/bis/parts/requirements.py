"""What a project says its environment should be, in the files of every common tool, beside what is installed.

Thin readers: only names, versions and markers are taken. What a file cannot be read as becomes a problem of that
file, never of the run.
"""

from __future__ import annotations

import fnmatch
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bis.digest import Digest, digest_bytes, digest_value, spell
from bis.parts.installed import Installed, normal, set_digest, write_quietly
from bis.parts.interpreter import Interpreter

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Weight = Literal["main", "extra", "constraint", "lock"]
"""`main` must be there; `extra` (an extra, a group, development) may be; `constraint` and `lock` fix versions only."""

PATTERNS = (
    *("requirements*.txt", "requirements*.in", "*-requirements.txt", "*_requirements.txt", "constraints*.txt"),
    *("pyproject.toml", "setup.cfg", "Pipfile", "Pipfile.lock", "uv.lock", "poetry.lock", "pdm.lock"),
    *("pylock.toml", "pylock.*.toml", "environment*.yml", "environment*.yaml", "conda-lock.yml", "conda-lock.yaml"),
    *(".python-version", "runtime.txt"),
)
MAX_SIZE = 20 << 20
MAX_FILES = 100
FORMAT = 1
WANTED = re.compile("|".join(fnmatch.translate(pattern) for pattern in PATTERNS))
SCRIPT_BLOCK = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
STRENGTH: tuple[Weight, ...] = ("main", "extra", "constraint", "lock")


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One requirement as one file states it."""

    name: str
    """Normalised."""
    wants: str = ""
    """A PEP 440 specifier; empty: any version."""
    marker: str = ""
    weight: Weight = "main"
    file: str = ""


class Declaration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file that declares packages. `path` is spelled and relative to the project."""

    path: str
    digest: Digest
    wishes: tuple[Wish, ...] = ()
    python: str = ""
    """The interpreter it asks for: a specifier or a version."""
    problem: str = ""
    """Why it could not be read."""


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Declared against installed: one line for each, for people."""

    missing: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    """Installed in a version that the declaration excludes."""
    extra: tuple[str, ...] = ()
    """Asked for by name when it was installed, and declared nowhere."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The declaring files, and how what is installed differs from them."""

    files: tuple[Declaration, ...] = ()
    difference: Difference = Difference()


class _Noted(msgspec.Struct, frozen=True, array_like=True):
    key: Digest
    answer: Compared


def against(
    project: Path, folder: Path, command: Sequence[str], packages: Sequence[Installed], python: Interpreter, cache: Path
) -> Compared:
    """The declarations of a project beside what is installed. Files are read each time, and understood only when they
    or the set have changed since the note in `cache`."""
    sources = collect(project, folder, command)
    if not sources:
        return Compared()
    read = [[source.name, source.weight, digest_bytes(source.raw)] for source in sources]
    key = digest_value(
        [FORMAT, read, set_digest(packages), [item.name for item in packages if item.requested], python.version]
    )
    file = cache / f"{digest_bytes(spell(str(project)).encode())[3:19]}.declared"
    try:
        noted = msgspec.msgpack.decode(file.read_bytes(), type=_Noted)
        if noted.key == key:
            return noted.answer
    except (OSError, msgspec.MsgspecError):
        pass
    found = [declaration(source) for source in sources]
    bare = tuple(msgspec.structs.replace(item, wishes=()) for item in found)
    answer = Compared(files=bare, difference=difference(found, packages, python))
    write_quietly(file, msgspec.msgpack.encode(_Noted(key, answer)))
    return answer


def difference(declared: Iterable[Declaration], packages: Iterable[Installed], python: Interpreter) -> Difference:
    """What the declarations and the installed set do not agree on, markers taken for this interpreter."""
    here = {package.name: package for package in packages}
    marked = _marker_check(python)
    wishes = [wish for file in declared for wish in file.wishes if not wish.marker or marked(wish.marker)]
    if not wishes:
        return Difference()
    missing = sorted({f"{w.name}{w.wants} ({w.file})" for w in wishes if w.weight == "main" and w.name not in here})
    other = sorted(
        f"{wish.name} {here[wish.name].version}, declared {wish.wants} ({wish.file})"
        for wish in wishes
        if wish.name in here and wish.wants and not _allows(wish.wants, here[wish.name].version)
    )
    named = {wish.name for wish in wishes}
    local = ("editable", "project", "folder")
    extra = [
        f"{package.name} {package.version}"
        for name, package in sorted(here.items())
        if package.requested and name not in named and package.origin not in local
    ]
    return Difference(missing=tuple(missing), other=tuple(dict.fromkeys(other)), extra=tuple(extra))


def _allows(wants: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(wants).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return wants.removeprefix("==") == version or not wants.startswith("==")


def _marker_check(python: Interpreter) -> Callable[[str], bool]:
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    full = python.version
    about = {"python_full_version": full, "python_version": ".".join(full.split(".")[:2])} if full else {}

    def holds(marker: str) -> bool:
        try:
            return Marker(marker).evaluate({"extra": "", **about})
        except (InvalidMarker, UndefinedEnvironmentName):
            return True

    return holds


# -- finding the files -------------------------------------------------------------------------------------------


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file that declares, as bytes."""

    path: Path
    name: str
    """For people: spelled, relative to the project."""
    raw: bytes
    weight: Weight = "main"
    """Of a file of requirements, by its name and by what includes it."""


def collect(project: Path, folder: Path, command: Sequence[str] = ()) -> list[Source]:
    """The declaring files in the project's root and in the folder of the run, what they include, and the script itself
    where it holds metadata of its own."""
    found: dict[Path, Source] = {}
    roots = [*_files(project), *(_files(folder) if folder != project else ()), *_under(project)]
    waiting = [(path, _weight(path)) for path in roots]
    while waiting and len(found) < MAX_FILES:
        path, weight = waiting.pop(0)
        known = found.get(path)
        if known and STRENGTH.index(known.weight) <= STRENGTH.index(weight):
            continue
        raw = known.raw if known else _read(path)
        if raw is not None:
            found[path] = Source(path=path, name=_named(path, project), raw=raw, weight=weight)
            waiting += _included(found[path])
    for script in (folder / word for word in command if word.endswith(".py")):
        raw = _read(script)
        if raw and SCRIPT_BLOCK.search(raw.decode("utf-8", "replace")):
            found.setdefault(script, Source(path=script, name=_named(script, project), raw=raw))
            break
    return list(found.values())


def _included(source: Source) -> list[tuple[Path, Weight]]:
    """What a file of requirements includes by `-r` and `-c`."""
    if _reader(source.path.name) is not _requirements:
        return []
    text = source.raw.decode("utf-8", "replace")
    rows = re.findall(r"(?m)^\s*(-r|--requirement|-c|--constraint)[ =]?\s*(\S+)", text)
    return [
        ((source.path.parent / name).resolve(), "constraint" if option in ("-c", "--constraint") else source.weight)
        for option, name in rows
        if "://" not in name
    ]


def _weight(path: Path) -> Weight:
    if path.name.lower().startswith("constraints"):
        return "constraint"
    return "main" if path.name.lower() in ("requirements.txt", "requirements.in") else "extra"


def _files(folder: Path) -> list[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return []
    return [folder / name for name in names if WANTED.match(name)]


def _under(project: Path) -> list[Path]:
    return sorted((project / "requirements").glob("*.txt"))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_SIZE else None
    except OSError:
        return None


def _named(path: Path, project: Path) -> str:
    return spell(str(path.relative_to(project) if path.is_relative_to(project) else path))


def declaration(source: Source) -> Declaration:
    """A file, understood."""
    blank = Declaration(path=source.name, digest=digest_bytes(source.raw))
    try:
        wishes, python = _reader(source.path.name)(source.raw.decode("utf-8-sig"), source.path.name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return msgspec.structs.replace(blank, problem=f"{type(error).__name__}: {error}"[:300])
    if _reader(source.path.name) is _requirements:
        wishes = [msgspec.structs.replace(wish, weight=source.weight) for wish in wishes]
    named = tuple(msgspec.structs.replace(wish, file=source.name) for wish in wishes)
    return msgspec.structs.replace(blank, wishes=named, python=python)


Read = tuple[list[Wish], str]
Reader = Callable[[str, str], Read]


def _reader(name: str) -> Reader:
    if name == "pyproject.toml":
        return _pyproject
    if name in ("uv.lock", "poetry.lock", "pdm.lock") or fnmatch.fnmatch(name, "pylock*.toml"):
        return _toml_lock
    if name.endswith(".py"):
        return _script
    if name.startswith("conda-lock"):
        return _conda_lock
    if name.startswith("environment"):
        return _conda_environment
    others: dict[str, Reader] = {
        "setup.cfg": _setup_cfg,
        "Pipfile": _pipfile,
        "Pipfile.lock": _pipfile_lock,
        ".python-version": _python_version,
        "runtime.txt": _python_version,
    }
    return others.get(name, _requirements)


# -- requirement texts -------------------------------------------------------------------------------------------


def _wishes(lines: Iterable[str], weight: Weight = "main") -> list[Wish]:
    return [wish for line in lines if (wish := _wish(line, weight))]


def _wish(line: str, weight: Weight) -> Wish | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        stated: Requirement = Requirement(line)
    except InvalidRequirement:
        return None
    marker = str(stated.marker) if stated.marker else ""
    return Wish(name=normal(stated.name), wants=str(stated.specifier), marker=marker, weight=weight)


def _requirements(text: str, _: str) -> Read:
    """What `-r` and `-c` include is read as a file of its own."""
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in re.sub(r"\\\r?\n", " ", text).splitlines())
    return _wishes(re.split(r"\s--", line)[0] for line in lines if line and not line.startswith("-")), ""


def _script(text: str, _: str) -> Read:
    """PEP 723: the comment block in which a script names its own requirements."""
    block = SCRIPT_BLOCK.search(text)
    lines = block["content"].splitlines() if block else []
    table = tomllib.loads("\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))
    return _wishes(table.get("dependencies", [])), str(table.get("requires-python", ""))


# -- TOML, JSON, INI ---------------------------------------------------------------------------------------------


def _pyproject(text: str, _: str) -> Read:
    table = tomllib.loads(text)
    project, tool = table.get("project", {}), table.get("tool", {})
    wishes = _wishes(project.get("dependencies", []))
    for lines in project.get("optional-dependencies", {}).values():
        wishes += _wishes(lines, "extra")
    for group in (table.get("dependency-groups", {}), tool.get("pdm", {}).get("dev-dependencies", {})):
        for lines in group.values():
            wishes += _wishes((line for line in lines if isinstance(line, str)), "extra")
    wishes += _wishes(tool.get("uv", {}).get("dev-dependencies", []), "extra")
    poetry = tool.get("poetry", {})
    wishes += _poetry(poetry.get("dependencies", {}), "main") + _poetry(poetry.get("dev-dependencies", {}), "extra")
    for group in poetry.get("group", {}).values():
        wishes += _poetry(group.get("dependencies", {}), "extra")
    asked = poetry.get("dependencies", {}).get("python", "")
    return wishes, str(project.get("requires-python", "") or asked)


def _poetry(table: Mapping[str, Any], weight: Weight) -> list[Wish]:
    wishes = []
    for name, told in table.items():
        if name == "python":
            continue
        one = told if isinstance(told, dict) else {"version": told if isinstance(told, str) else ""}
        optional: Weight = "extra" if one.get("optional") else weight
        wants = _caret(str(one.get("version", "")))
        wishes.append(Wish(name=normal(name), wants=wants, marker=str(one.get("markers", "")), weight=optional))
    return wishes


def _caret(version: str) -> str:
    """Poetry's `^1.2`, `~1.2`, `1.2.*` and `*` as PEP 440."""
    return (
        ",".join(filter(None, (_one_caret(part.strip()) for part in version.split(",")))) if "|" not in version else ""
    )


def _one_caret(version: str) -> str:
    if version in ("", "*"):
        return ""
    if version[0] not in "^~" or version.startswith("~="):
        return version if version[0] in "<>=!~" else f"=={version}"
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    if not numbers:
        return ""
    if version[0] == "~":
        place = min(1, len(numbers) - 1)
    else:
        place = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
    above = [*numbers[:place], numbers[place] + 1]
    return f">={version[1:]},<{'.'.join(map(str, above))}"


def _toml_lock(text: str, name: str) -> Read:
    """uv.lock, poetry.lock, pdm.lock and pylock.toml all list `name` and `version`."""
    table = tomllib.loads(text)
    rows = table.get("packages" if name.startswith("pylock") else "package", [])
    return _locked((row["name"], row.get("version"), row.get("marker") or "") for row in rows), str(
        table.get("requires-python", "")
    )


def _locked(rows: Iterable[tuple[str, Any, Any]]) -> list[Wish]:
    """Exact versions. A lock may hold several versions of a package, for several platforms: then none is said."""
    versions: dict[str, set[str]] = {}
    markers: dict[str, str] = {}
    for name, version, marker in rows:
        versions.setdefault(normal(name), set()).add(str(version or ""))
        markers[normal(name)] = marker if isinstance(marker, str) else ""
    return [
        Wish(name=name, wants=f"=={next(iter(found))}" if found != {""} else "", marker=markers[name], weight="lock")
        for name, found in versions.items()
        if len(found) == 1
    ]


def _setup_cfg(text: str, _: str) -> Read:
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error)) from None
    get = parser.get
    wishes = _wishes(get("options", "install_requires", fallback="").splitlines())
    if parser.has_section("options.extras_require"):
        for _name, lines in parser.items("options.extras_require"):
            wishes += _wishes(lines.splitlines(), "extra")
    return wishes, get("options", "python_requires", fallback="")


def _pipfile(text: str, _: str) -> Read:
    table = tomllib.loads(text)
    wishes = _pipfile_section(table.get("packages", {}), "main")
    wishes += _pipfile_section(table.get("dev-packages", {}), "extra")
    asked = table.get("requires", {})
    return wishes, str(asked.get("python_full_version") or asked.get("python_version") or "")


def _pipfile_section(table: Mapping[str, Any], weight: Weight) -> list[Wish]:
    wishes = []
    for name, told in table.items():
        one = told if isinstance(told, dict) else {"version": told}
        version = str(one.get("version", "")).strip()
        wants = "" if version in ("", "*") else version
        wishes.append(Wish(name=normal(name), wants=wants, marker=str(one.get("markers", "")), weight=weight))
    return wishes


def _pipfile_lock(text: str, _: str) -> Read:
    table = msgspec.json.decode(text)
    rows = [
        (name, str(told.get("version", "")).removeprefix("=="), told.get("markers", ""))
        for section in ("default", "develop")
        for name, told in table.get(section, {}).items()
    ]
    asked = table.get("_meta", {}).get("requires", {})
    return _locked(rows), str(asked.get("python_full_version") or asked.get("python_version") or "")


def _python_version(text: str, _: str) -> Read:
    words = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    return [], words[0].removeprefix("python-") if words else ""


# -- conda -------------------------------------------------------------------------------------------------------


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _conda_environment(text: str, _: str) -> Read:
    table = _yaml(text)
    wishes: list[Wish] = []
    python = ""
    for item in table.get("dependencies") or []:
        if isinstance(item, dict):
            wishes += _wishes([line for line in item.get("pip") or [] if not line.startswith("-")])
            continue
        name, wants = _conda_spec(str(item))
        if name == "python":
            python = wants
        elif name not in ("pip", ""):
            wishes.append(Wish(name=normal(name), wants=wants, weight="extra"))  # conda's names are not always Python's
    return wishes, python


def _conda_spec(spec: str) -> tuple[str, str]:
    """`conda-forge::numpy=1.26=py311_0` as (`numpy`, `==1.26.*`)."""
    spec = spec.rpartition("::")[2].partition("[")[0].strip()
    found = re.match(r"^([\w.-]+)\s*(.*)$", spec)
    if not found:
        return "", ""
    name, rest = found[1], found[2].strip()
    if re.match(r"^=[^=]", rest):
        return name, f"=={rest[1:].partition('=')[0].removesuffix('.*')}.*"
    if rest.startswith("=="):
        return name, "==" + rest[2:].partition("=")[0]
    if re.match(r"^\d", rest):
        return name, f"=={rest.partition(' ')[0].removesuffix('.*')}.*"
    return name, rest.replace(" ", "") if "|" not in rest else ""


def _conda_lock(text: str, _: str) -> Read:
    rows = _yaml(text).get("package") or []
    return _locked((row["name"], row.get("version"), "") for row in rows if row["name"] != "python"), ""
