"""git-annex, and DataLad, which is built on it: keys, the links and pointer files that name them, and where they lie.

A key says with which function a content was hashed, how large it is, and the hash: `SHA256E-s6--622c….txt`. A file is
in Git as a link into `.git/annex/objects`, or, when it is unlocked, as a small file that names the key.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path, PurePosixPath

import msgspec

BLOCK = 1 << 20
POINTER = b"/annex/objects/"
LARGEST = 32 * 1024
"""Bytes: a larger file is content, not a pointer."""
OBJECTS = "annex/objects"
HASHES = {
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA3_224": "sha3_224",
    "SHA3_256": "sha3_256",
    "SHA3_384": "sha3_384",
    "SHA3_512": "sha3_512",
}
"""Backend, without the E that says that the key ends as the file's name does -> function."""
KEY = re.compile(r"(?P<backend>[A-Z0-9_]+)(?P<fields>(?:-[a-zA-Z][^-]*)*)--(?P<name>.+)", re.DOTALL)
LETTERS = "0123456789zqjxkmvwgpfZQJXKMVWGPF"
ESCAPES = (("&", "&a"), ("%", "&s"), (":", "&c"), ("/", "%"))


class Key(msgspec.Struct, frozen=True, kw_only=True):
    backend: str
    name: str
    """The hash, and, for backends that end in E, the suffix of the file's name."""
    size: int | None = None
    others: tuple[str, ...] = ()
    """Further fields as written (`m1287…` a time, `S…` and `C…` a chunk)."""

    @property
    def hash(self) -> tuple[str, str] | None:
        """The function and the hexadecimal value; None for keys that do not say what the content is (URL, WORM)."""
        ends = self.backend.endswith("E") and self.backend[:-1] in HASHES
        function = HASHES.get(self.backend[:-1] if ends else self.backend)
        value = self.name.partition(".")[0] if ends else self.name
        return (function, value) if function and re.fullmatch(r"[0-9a-f]+", value) else None

    def __str__(self) -> str:
        fields = ([] if self.size is None else [f"s{self.size}"]) + list(self.others)
        return "-".join([self.backend, *fields]) + f"--{self.name}"


# Keys --------------------------------------------------------------------------------------------------------------


def read_key(text: str) -> Key | None:
    """The key that a text is; None when it is none."""
    shape = KEY.fullmatch(text)
    if not shape or "\n" in text or "\0" in text:
        return None
    size: int | None = None
    others = []
    for field in shape["fields"].split("-")[1:]:
        if field[0] == "s" and field[1:].isdecimal():
            size = int(field[1:])
        else:
            others.append(field)
    return Key(backend=shape["backend"], name=shape["name"], size=size, others=tuple(others))


def make_key(path: Path, backend: str = "SHA256E") -> Key:
    """The key of a file, which is read. Its suffix becomes part of the key as git-annex does it."""
    ends = backend.endswith("E")
    value, size = _hash(path, HASHES[backend.removesuffix("E")])
    return Key(backend=backend, size=size, name=value + (_suffix(path.name) if ends else ""))


def is_content(path: Path, key: Key) -> bool | None:
    """Whether a file's bytes are those of a key; None when the key does not say, or not by a function known here."""
    if key.size is not None and path.stat().st_size != key.size:
        return False
    named = key.hash
    return None if named is None else _hash(path, named[0])[0] == named[1]


def _hash(path: Path, function: str) -> tuple[str, int]:
    hasher = hashlib.new(function, usedforsecurity=False)
    size = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
            size += len(block)
    return hasher.hexdigest(), size


def _suffix(name: str) -> str:
    """The end of a file's name that a key takes over: up to two suffixes, each of at most four letters or digits."""
    parts = reversed(name.lstrip(".").split(".")[1:])
    found = [part for part in itertools.takewhile(lambda part: len(part) <= 4, parts) if part.isalnum()]
    return "".join(f".{part}" for part in reversed(found[:2]))


# What is in Git ----------------------------------------------------------------------------------------------------


def key_of_link(target: str) -> Key | None:
    """The key that a link's target names; None for a link that leads anywhere else."""
    parts = PurePosixPath(target).parts
    if "annex" not in parts or "objects" not in parts:
        return None
    return read_key(_unescaped(parts[-1]))


def key_of_pointer(data: bytes) -> Key | None:
    """The key that an unlocked file names in Git; None when these bytes are something else."""
    if len(data) >= LARGEST or POINTER not in data:
        return None
    line = data.split(b"\n", 1)[0]
    if not line.startswith((POINTER, b".git" + POINTER)):
        return None
    try:
        return read_key(_unescaped(line.rpartition(b"/")[2].decode()))
    except UnicodeDecodeError:
        return None


def key_of_file(path: Path) -> Key | None:
    """The key that a path names: as a link, or as a pointer file whose content was never fetched."""
    try:
        if path.is_symlink():
            return key_of_link(str(path.readlink()))
        with path.open("rb") as file:
            return key_of_pointer(file.read(LARGEST))
    except OSError:
        return None


def write_pointer(key: Key) -> bytes:
    """What an unlocked file is in Git."""
    return POINTER + _escaped(str(key)).encode() + b"\n"


# Where contents lie ------------------------------------------------------------------------------------------------


def object_places(key: Key) -> tuple[str, str]:
    """Where a content lies below `annex/objects`: in a repository with files, and in a bare one."""
    name = _escaped(str(key))
    return f"{_mixed(str(key))}/{name}/{name}", f"{_lower(str(key))}/{name}/{name}"


def find_content(key: Key, roots: tuple[Path, ...]) -> Path | None:
    """The file that should hold a content. `roots`: folders `.git/annex/objects`, `annex/objects` of a bare repository,
    or a special remote of kind directory. Its bytes are not looked at: see `is_content`."""
    for root in roots:
        for place in object_places(key):
            if (root / place).is_file():
                return root / place
    return None


def _lower(key: str) -> str:
    value = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    return f"{value[:3]}/{value[3:6]}"


def _mixed(key: str) -> str:
    word = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest()[:4], "little")
    letters = [LETTERS[word >> 6 * place & 31] for place in range(4)]
    return f"{letters[1]}{letters[0]}/{letters[3]}{letters[2]}"


def _escaped(name: str) -> str:
    return "".join(dict(ESCAPES).get(letter, letter) for letter in name)


def _unescaped(name: str) -> str:
    back = {escaped: letter for letter, escaped in ESCAPES}
    return re.sub(r"&[asc]|%", lambda found: back[found[0]], name)
