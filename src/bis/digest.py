"""Names of content: BLAKE3 digests, and the one serialisation that is ever hashed.

Canonical JSON: UTF-8, keys sorted by their UTF-8 bytes, no white space, integers in decimal, floats as the
shortest text that reads back as the same double, NaN and infinities as the strings "NaN", "Infinity" and
"-Infinity". Two writers that follow this produce the same bytes for the same value, whatever their library.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO, NewType, TypeVar

import msgspec
from blake3 import blake3

from bis.errors import Damaged

T = TypeVar("T")
Digest = NewType("Digest", str)
"""`b3:` and 64 hexadecimal digits."""

PREFIX = "b3:"
READ_SIZE = 1 << 20


def digest_bytes(data: bytes | memoryview) -> Digest:
    return Digest(PREFIX + blake3(data).hexdigest())


def digest_file(path: Path | str | bytes) -> Digest:
    """The digest of a file's bytes, read in bounded memory."""
    with open(os.fsdecode(path), "rb") as file:
        return digest_stream(file)


def digest_stream(file: BinaryIO) -> Digest:
    hasher = blake3()
    while block := file.read(READ_SIZE):
        hasher.update(block)
    return Digest(PREFIX + hasher.hexdigest())


def digest_value(value: Any) -> Digest:
    """The digest of any JSON-like value or msgspec.Struct, over its canonical bytes."""
    return digest_bytes(canonical(value))


def keyed_digest(secret: bytes, text: str) -> str:
    """A digest of something that must not be guessed from the record: equal secrets compare, nobody can reverse."""
    import hmac

    return "hmac:" + hmac.new(secret, os.fsencode(text), "sha256").hexdigest()[:32]


def canonical(value: Any) -> bytes:
    """The bytes of `value` in canonical JSON. Raises TypeError for what JSON cannot hold."""
    plain = msgspec.to_builtins(value, str_keys=True)
    return json.dumps(
        _spelled(plain), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def decoded(data: bytes, kind: type[T]) -> T:
    """A record read back from its canonical JSON. Raises Damaged for what is none of that kind."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)  # not strict: "NaN" where a number is meant
    except msgspec.MsgspecError as error:
        raise Damaged(f"a record is not readable as a {kind.__name__}: {error}", hint="bis verify") from None


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(item) for item in value]
    return value


def short(digest: str, length: int = 8) -> str:
    """The first hexadecimal digits, for people."""
    return digest.removeprefix(PREFIX)[:length]


def spell(name: str | bytes) -> str:
    """A path, argument or variable as text that JSON can hold, reversibly.

    The operating system hands out bytes. What is UTF-8 stays as it is; each other byte becomes NUL and two
    hexadecimal digits, which can collide with nothing, as NUL cannot occur in a path, argument or variable.
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    if text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    return "".join(f"\0{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else letter for letter in text)


def unspell(text: str) -> str:
    """What `spell` was given, as the operating system's `str` (surrogateescape)."""
    if "\0" not in text:
        return text
    first, *rest = text.split("\0")
    return first + "".join(chr(0xDC00 + int(piece[:2], 16)) + piece[2:] for piece in rest)


def readable(text: str) -> str:
    """A spelled name for a person to read: odd bytes as \\xNN, control characters escaped."""
    first, *rest = text.split("\0")
    plain = first + "".join(f"\\x{piece}" for piece in rest)
    if plain.isprintable():
        return plain
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in plain)
