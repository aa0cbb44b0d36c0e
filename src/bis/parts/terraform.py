"""Reading Terraform (and OpenTofu): modules, providers and images without an exact version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from bis.parts.dockerfile import COMMIT
from bis.parts.floating import Floating, Reading, image_line

EXACT = re.compile(r"=?\s*v?\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?")
TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*|//[^\n]*|/\*.*?\*/)|(?P<heredoc><<[-~]?(?P<end>\w+)\n.*?\n\s*(?P=end)\b)"""
    r"""|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<open>[{\[(])|(?P<close>[}\])])|(?P<line>\n)|(?P<equals>=)|(?P<word>[\w.-]+)""",
    re.S,
)
IMAGE_KEYS = ("image", "image_uri", "docker_image", "container_image")


class Value(NamedTuple):
    """One string that is set, and the blocks around it."""

    line: int
    path: tuple[str, ...]
    """Heads of the blocks and the key: `("module vpc", "version")`."""
    text: str


def read_terraform(text: str) -> Reading:
    blocks: dict[tuple[str, ...], dict[str, Value]] = {}
    reading = Reading()
    for value in values(text):
        blocks.setdefault(value.path[:-1], {})[value.path[-1]] = value
        if value.path[-1] in IMAGE_KEYS:
            reading += image_line(value.line, "image", value.text)
    for path, found in blocks.items():
        if path and path[-1].startswith("module ") and "source" in found:
            reading += _module(path[-1], found["source"], found.get("version"))
        elif len(path) > 1 and path[-2] == "required_providers" and "source" in found:
            reading += _provider(path[-1], found["source"], found.get("version"))
    return reading


def values(text: str) -> Iterator[Value]:
    """Every `key = "text"`, with the blocks that it stands in."""
    line, head, stack = 1, list[str](), list[str]()
    key = ""
    for token in TOKEN.finditer(text):
        kind = token.lastgroup if token.lastgroup != "end" else "heredoc"
        written = token.group()
        if kind == "string":
            if key:
                yield Value(line, (*stack, key), written[1:-1])
                key, head = "", []
            else:
                head.append(written[1:-1])
        elif kind == "word":
            head.append(written)
        elif kind == "equals":
            key, head = (head[-1] if head else ""), []
        elif kind == "open":
            stack.append(key or " ".join(head))
            key, head = "", []
        elif kind == "close":
            stack, head, key = stack[:-1], [], ""
        elif kind == "line":
            head, key = [], ""
        line += written.count("\n")


def _module(name: str, source: Value, version: Value | None) -> Reading:
    where = source.text
    if where.startswith(("./", "../", "/")):
        return Reading()
    if "://" in where or where.startswith(("git::", "git@", "hg::", "github.com/", "bitbucket.org/")):
        reference = re.search(r"[?&]ref=([^&]+)", where)
        if reference and COMMIT.fullmatch(reference.group(1)):
            return Reading()
        return _one(
            source.line, "module", f"{name}: {where}", "is a branch or tag, which can be moved", "…?ref= and a commit"
        )
    if version and EXACT.fullmatch(version.text):
        return Reading()
    what, why = (
        f"{name}: {where} {version.text if version else ''}",
        "is a range of versions" if version else "names no version",
    )
    return _one(version.line if version else source.line, "module", what.rstrip(), why, 'version = "1.2.3"')


def _provider(name: str, source: Value, version: Value | None) -> Reading:
    if version and EXACT.fullmatch(version.text):
        return Reading()
    what, why = (
        f"provider {name} {version.text if version else ''}",
        "is a range of versions" if version else "names no version",
    )
    hint = "terraform init, and commit .terraform.lock.hcl"
    return _one(version.line if version else source.line, "provider", what.rstrip(), why, hint)


def _one(line: int, kind: str, what: str, why: str, hint: str) -> Reading:
    return Reading((), (Floating(line=line, code=f"floating-{kind}", what=what, why=why, hint=hint),))
