"""DVC: `.dvc` files, `dvc.lock`, folder listings, the layout of caches and remotes, and which remotes there are.

A content is named by a hash and its kind: `md5` over the bytes, or `md5-dos2unix`, which DVC before 3.0 used and
which an entry without the key `hash` still means: there the line ends of what looks like text count as Unix ones. A
folder is named by the hash of its listing, and `.dir` behind it.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import msgspec

from bis.foreign import is_inside, not_understood

MD5 = "md5"
OLD = "md5-dos2unix"
DIR = ".dir"
FOLDER = ".dvc"
LOCK = "dvc.lock"
PIPELINE = "dvc.yaml"
MODE = 0o444
"""Of a file in a cache. DVC believes a file with this mode without reading it."""

BLOCK = 1 << 20
LOOKED = 512
TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
HEX = re.compile(r"[0-9a-f]{32}(\.dir)?")
FILES = ("credentialpath", "configpath", "keyfile")
"""Options of a remote that are paths: relative ones are seen from the folder of the configuration."""
NUMBER_LIKE = re.compile(r"[0-9]+(e[0-9]+)?(\.dir)?")
"""What a reader of YAML may take for a number, though it is a hash."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a folder that is tracked as one."""

    path: str
    """Relative to the folder, with `/`."""
    value: str


class Out(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file or folder that DVC tracks, or that one of its stages depends on."""

    path: str
    """As written: relative to the folder in which its stage works; absolute or an address for what lies elsewhere."""
    value: str = ""
    """The hash, with `.dir` for a folder; empty where none is recorded (not yet run, or kept by a cloud's versions)."""
    hash: str = MD5
    size: int | None = None
    nfiles: int | None = None
    cached: bool = True
    """False: DVC names the content and keeps no copy; Git may."""
    remote: str = ""
    """The remote that has it, where it is not the default one."""
    executable: bool = False
    members: tuple[Member, ...] = ()
    """Files of a folder whose listing is written out in place (remotes that version by themselves)."""
    description: str = ""
    metadata: dict[str, Any] = {}

    @property
    def is_folder(self) -> bool:
        return self.value.endswith(DIR) or bool(self.members)

    @property
    def is_elsewhere(self) -> bool:
        """Not in the project: an absolute path, or an address such as `s3://…`."""
        return "://" in self.path or self.path.startswith("/")


class Stage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes outputs: a stage of `dvc.lock`, or a `.dvc` file, which has no command."""

    name: str = ""
    command: str = ""
    folder: str = ""
    """Where it works, relative to the folder of its file; paths are relative to that."""
    outs: tuple[Out, ...] = ()
    deps: tuple[Out, ...] = ()
    source: str = ""
    """Where an imported file came from: an address, or a repository with its revision."""
    description: str = ""
    metadata: dict[str, Any] = {}

    def place(self, out: Out) -> str:
        """The path of an output relative to the folder of this stage's file; may begin with `..`."""
        return out.path if out.is_elsewhere else posixpath.normpath(posixpath.join(self.folder, out.path))


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """Where contents are pushed to."""

    name: str
    url: str
    """As written."""
    folder: Path | None
    """Its place where it is a folder of this machine; None for all others."""
    options: dict[str, str] = {}
    """What else is said of it: servers, accounts, credentials. Files among them are whole paths."""

    @property
    def is_versioned(self) -> bool:
        """Whether it is left to the cloud to keep versions, so that contents do not lie there by their hashes."""
        return "true" in (self.options.get("version_aware", "").lower(), self.options.get("worktree", "").lower())


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What `.dvc/config` and `.dvc/config.local` say of places."""

    remotes: dict[str, Remote] = {}
    default: str = ""
    cache: Path

    @property
    def roots(self) -> list[Path]:
        """The folders of this machine in which contents lie."""
        return [self.cache, *(remote.folder for remote in self.remotes.values() if remote.folder is not None)]

    def in_order(self, named: str = "") -> list[Remote]:
        """The remotes as they are to be asked: the one that a pointer names, then the default one, then the others,
        which may have been the default one when a content was pushed."""
        first = [self.remotes[name] for name in (named, self.default) if name in self.remotes]
        return list({remote.name: remote for remote in (*first, *self.remotes.values())}.values())


# Hashes ------------------------------------------------------------------------------------------------------------


def hash_file(path: Path, kind: str = MD5) -> str:
    """The hash of a file's bytes, read in bounded memory. `kind` is `md5` or `md5-dos2unix`."""
    with path.open("rb") as file:
        return hash_stream(file, kind)


def hash_stream(file: BinaryIO, kind: str = MD5, *, first: bool = False) -> str:
    """As `hash_file`. DVC 3 looks at each mebibyte whether it is text; `first`: only at the first one, as DVC 2 did."""
    hasher = hashlib.md5(usedforsecurity=False)
    text: bool | None = None
    while block := file.read(BLOCK):
        if kind == OLD:
            text = _looks_like_text(block[:LOOKED]) if text is None or not first else text
        hasher.update(block.replace(b"\r\n", b"\n") if text else block)
    return hasher.hexdigest()


def is_content(path: Path, value: str, kind: str) -> bool:
    """Whether a file's bytes are the ones that a hash names. Never taken on trust, whatever the mode of the file."""
    return matches(lambda: path.open("rb"), value, kind)


def matches(opened: Callable[[], BinaryIO], value: str, kind: str) -> bool:
    """As `is_content`, for bytes that can be read more than once."""
    for first in (False, True) if kind == OLD else (False,):
        with opened() as file:
            if hash_stream(file, kind, first=first) == value.removesuffix(DIR):
                return True
    return False


def _looks_like_text(block: bytes) -> bool:
    if b"\0" in block:
        return False
    return len(block.translate(None, TEXT)) / len(block) <= 0.30


# Listings of folders -----------------------------------------------------------------------------------------------


def read_listing(data: bytes, name: str = "a .dir object") -> list[Member]:
    """The files of a folder. Raises UsageError for what is no listing, or names a path that leads out of the folder."""
    try:
        rows = json.loads(data)
        members = [Member(path=str(row["relpath"]), value=str(row.get(MD5, ""))) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise not_understood(name, f"it is no listing of a folder ({error})") from None
    for member in members:
        if not is_inside(member.path):
            raise not_understood(name, f"{member.path!r} is no path inside a folder")
    return members


def write_listing(members: Iterable[Member]) -> bytes:
    """The object that DVC writes for a folder, byte for byte: its hash is the folder's name."""
    rows = [{MD5: member.value, "relpath": member.path} for member in members]
    return json.dumps(sorted(rows, key=lambda row: row["relpath"]), sort_keys=True).encode()


def folder_value(listing: bytes) -> str:
    """The name of a folder whose listing this is."""
    return hashlib.md5(listing, usedforsecurity=False).hexdigest() + DIR


# Where contents lie ------------------------------------------------------------------------------------------------


def object_place(value: str, kind: str = MD5) -> str:
    """Where the cache, and each remote, has a content: `files/md5/aa/…` since DVC 3, `aa/…` before. Raises UsageError
    for a value that is no hash: it may come from anybody's file, and becomes a path."""
    if not HEX.fullmatch(value):
        raise not_understood(f"the hash {value!r}", "it is not 32 hexadecimal digits")
    inner = f"{value[:2]}/{value[2:]}"
    return inner if kind == OLD else f"files/{MD5}/{inner}"


def object_places(value: str, kind: str = MD5) -> tuple[str, str]:
    """Where a content may lie in either layout, the one of its kind first."""
    return object_place(value, kind), object_place(value, OLD if kind == MD5 else MD5)


def find_content(value: str, kind: str, roots: Iterable[Path]) -> Path | None:
    """The file that should hold a content, in the first cache or folder that has it, in either layout. Its bytes are
    not looked at: see `is_content`."""
    for root in roots:
        for place in object_places(value, kind):
            if (root / place).is_file():
                return root / place
    return None


def read_config(project: Path, texts: Iterable[str] | None = None) -> Config:
    """The remotes of a project, from its shared and its local configuration; a later text wins over an earlier one.
    Other people's and the machine's settings are not read. Raises UsageError for a file that cannot be read as such."""
    folder = project / FOLDER
    if texts is None:
        files = [folder / "config", folder / "config.local"]
        texts = [file.read_text("utf-8", "replace") for file in files if file.is_file()]
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    for text in texts:
        try:
            parser.read_string(re.sub(r"(?m)^[ \t]+", "", text), str(folder / "config"))
        except configparser.Error as error:
            raise not_understood(str(folder / "config"), str(error).replace("\n", " ")) from None
    remotes = {}
    for section in parser.sections():
        named = re.fullmatch(r"""['"]?remote\s+"(.*)"['"]?""", section)
        options = {key: _bare(value) for key, value in parser.items(section)}
        if named and (url := options.pop("url", "")):
            options |= {key: str(folder / Path(options[key]).expanduser()) for key in FILES if options.get(key)}
            remotes[named[1]] = Remote(name=named[1], url=url, folder=_local(url, folder), options=options)
    remotes = {name: _resolved(remote, remotes) for name, remote in remotes.items()}
    cache = _bare(parser.get("cache", "dir", fallback=""))
    default = _bare(parser.get("core", "remote", fallback=""))
    return Config(remotes=remotes, default=default, cache=folder / cache if cache else folder / "cache")


def _bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _resolved(remote: Remote, known: Mapping[str, Remote]) -> Remote:
    """A remote whose URL is `remote://NAME/PATH` lies below another one, and takes over what is said of that."""
    parts = urlsplit(remote.url)
    base = known.get(parts.netloc) if parts.scheme == "remote" else None
    if base is None or base.url.startswith("remote://"):
        return remote
    path = parts.path.strip("/")
    return Remote(
        name=remote.name,
        url=f"{base.url.rstrip('/')}/{path}",
        folder=base.folder / unquote(path) if base.folder else None,
        options={**base.options, **remote.options},
    )


def _local(url: str, folder: Path) -> Path | None:
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return None if "://" in url else folder / Path(url).expanduser()


# `.dvc` files and `dvc.lock` ---------------------------------------------------------------------------------------


def read_pointer(text: str, name: str) -> Stage:
    """What a `.dvc` file tracks. Raises UsageError, with the file's name, for what is none."""
    whole = _mapping(text, name)
    deps = tuple(_out(row, name, inherited="") for row in _rows(whole.get("deps"), name))
    return Stage(
        folder=str(whole.get("wdir") or ""),
        outs=tuple(_out(row, name) for row in _rows(whole.get("outs"), name)),
        deps=deps,
        source=_source(_rows(whole.get("deps"), name)),
        description=str(whole.get("desc") or ""),
        metadata=whole["meta"] if isinstance(whole.get("meta"), dict) else {},
    )


def read_lock(text: str, name: str, pipeline: str = "") -> list[Stage]:
    """The stages of a `dvc.lock`, with what they read and made when they last ran. `pipeline` is the text of the
    `dvc.yaml` beside it: it says in which folder a stage works and which outputs are not cached."""
    whole = _mapping(text, name)
    stages = whole.get("stages", whole if "schema" not in whole else {})
    if not isinstance(stages, dict):
        raise not_understood(name, "its stages are no mapping")
    defined = _definitions(pipeline, name)
    found = []
    for stage, entry in stages.items():
        if not isinstance(entry, dict):
            raise not_understood(name, f"the stage {stage!r} is no mapping")
        definition = defined.get(stage) or defined.get(stage.partition("@")[0], {})
        uncached = _uncached(definition)
        command = entry.get("cmd") or ""
        found.append(
            Stage(
                name=str(stage),
                command=" && ".join(map(str, command)) if isinstance(command, list) else str(command),
                folder=str(definition.get("wdir") or ""),
                outs=tuple(
                    msgspec.structs.replace(out, cached=out.path not in uncached)
                    for out in (_out(row, name) for row in _rows(entry.get("outs"), name))
                ),
                deps=tuple(_out(row, name) for row in _rows(entry.get("deps"), name)),
            )
        )
    return found


def write_pointer(outs: Iterable[Out], *, description: str = "", metadata: Mapping[str, Any] | None = None) -> str:
    """The text of a `.dvc` file, as DVC 3 writes it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Hashes that could be taken for numbers are quoted, whichever YAML their reader speaks."""

    class Quoted(str): ...

    Dumper.add_representer(Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "'"))
    rows = []
    for out in outs:
        value = Quoted(out.value) if NUMBER_LIKE.fullmatch(out.value) else out.value
        row: dict[str, Any] = {MD5: value}
        row |= {} if out.size is None else {"size": out.size}
        row |= {} if out.nfiles is None else {"nfiles": out.nfiles}
        row |= {"isexec": True} if out.executable else {}
        row |= {"hash": out.hash} if out.hash == MD5 else {}
        row |= {"desc": out.description} if out.description else {}
        row |= {"remote": out.remote} if out.remote else {}
        rows.append(row | {"path": out.path})
    whole: dict[str, Any] = {"outs": rows}
    whole |= {"desc": description} if description else {}
    whole |= {"meta": dict(metadata)} if metadata else {}
    return str(yaml.dump(whole, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000))


def is_pointer(name: str) -> bool:
    """Whether a file is, by its name, one that says what DVC tracks."""
    return posixpath.basename(name) == LOCK or (name.endswith(".dvc") and posixpath.basename(name) != FOLDER)


def tracking(path: Path, project: Path) -> Iterator[tuple[Path, Stage, Out, str]]:
    """The `.dvc` files and `dvc.lock`s, in the folders from a file's own up to the project's, which track it: pointer,
    stage, output, and the path inside an output that is a folder. A pointer that cannot be read tracks nothing."""
    folder = path.parent
    while folder == project or folder.is_relative_to(project):
        for file in [*sorted(folder.glob("*.dvc")), folder / LOCK]:
            if not file.is_file():
                continue
            for stage in stages_of(file):
                for out in stage.outs:
                    place = Path(os.path.normpath(folder / stage.folder / out.path))
                    if path == place or (out.is_folder and path.is_relative_to(place)):
                        yield file, stage, out, "" if path == place else path.relative_to(place).as_posix()
        folder = folder.parent


def stages_of(file: Path) -> list[Stage]:
    """The stages of a `.dvc` file or a `dvc.lock` on disk; none where it cannot be read or understood."""
    from bis.errors import UsageError

    try:
        text = file.read_text("utf-8")
        if file.name != LOCK:
            return [read_pointer(text, file.name)]
        pipeline = file.with_name(PIPELINE)
        return read_lock(text, file.name, pipeline.read_text("utf-8") if pipeline.is_file() else "")
    except (OSError, UnicodeDecodeError, UsageError):
        return []


def _mapping(text: str, name: str) -> dict[str, Any]:
    """YAML in which every scalar stays the text that it is: a hash of digits alone is no number."""
    import yaml

    try:
        whole = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise not_understood(name, " ".join(str(error).split())) from None
    if whole in (None, ""):
        return {}
    if not isinstance(whole, dict):
        raise not_understood(name, "it is no mapping")
    return whole


def _rows(value: Any, name: str) -> list[dict[str, Any]]:
    rows = [] if value in (None, "", "null") else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise not_understood(name, "what it tracks is no list of mappings")
    return rows


def _out(row: Mapping[str, Any], name: str, *, inherited: str = OLD) -> Out:
    path = row.get("path")
    if not isinstance(path, str) and not inherited:
        path = ""
    if not isinstance(path, str):
        raise not_understood(name, "an entry has no path")
    value = str(row.get(MD5) or "")
    members = tuple(
        Member(path=str(file.get("relpath", "")), value=str(file.get(MD5, "")))
        for file in _rows(row.get("files"), name)
        if is_inside(str(file.get("relpath", "")))
    )
    meta = row.get("meta")
    return Out(
        path=path,
        value=value if HEX.fullmatch(value) else "",
        hash=str(row.get("hash") or OLD),
        size=_count(row.get("size")),
        nfiles=_count(row.get("nfiles")),
        cached=row.get("cache") != "false",
        remote=str(row.get("remote") or ""),
        executable=row.get("isexec") == "true",
        members=members,
        description=str(row.get("desc") or ""),
        metadata=meta if isinstance(meta, dict) else {},
    )


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def _source(deps: list[dict[str, Any]]) -> str:
    for dep in deps:
        repository = dep.get("repo")
        if isinstance(repository, dict):
            revision = repository.get("rev_lock") or repository.get("rev") or ""
            return f"{repository.get('url', '')}@{revision}:{dep.get('path', '')}"
        if "://" in str(dep.get("path", "")):
            return str(dep["path"])
    return ""


def _definitions(pipeline: str, name: str) -> dict[str, dict[str, Any]]:
    """Stage -> what `dvc.yaml` defines it as; of `foreach` and `matrix`, what is common to all."""
    stages = _mapping(pipeline, name.replace(LOCK, PIPELINE)).get("stages") if pipeline else None
    found = {}
    for stage, entry in stages.items() if isinstance(stages, dict) else ():
        if isinstance(entry, dict):
            found[str(stage)] = entry["do"] if isinstance(entry.get("do"), dict) else entry
    return found


def _uncached(definition: Mapping[str, Any]) -> set[str]:
    found = set()
    for kind in ("outs", "metrics", "plots"):
        rows = definition.get(kind)
        for row in rows if isinstance(rows, list) else ():
            for path, details in row.items() if isinstance(row, dict) else ():
                if isinstance(details, dict) and details.get("cache") == "false":
                    found.add(str(path))
    return found
