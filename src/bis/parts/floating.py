"""What a declaration leaves open: a name in it that may mean something else on another day."""

from __future__ import annotations

import re

import msgspec

from bis.parts.images import parse_image

OPEN = re.compile(r"\$\{?[A-Za-z_(]|\{\{|<[A-Za-z]|%\(|\$\(")
"""What is filled in later: `${TAG}`, `{{ .Values.tag }}`."""


class Floating(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One floating reference, at a line of a file."""

    line: int
    code: str
    """`floating-image`, `floating-action`, …: the code of the finding."""
    what: str
    why: str
    hint: str = ""


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader found in one file."""

    images: tuple[str, ...] = ()
    floating: tuple[Floating, ...] = ()
    pins: tuple[str, ...] = ()
    """Packages of the system that are asked for in one version: `libgomp1=12.2.0-14`."""

    def __add__(self, other: Reading) -> Reading:
        return Reading((*self.images, *other.images), (*self.floating, *other.floating), (*self.pins, *other.pins))


def image_line(line: int, word: str, text: str) -> Reading:
    """An image that is named at a line; nothing when the text is no image or is filled in elsewhere."""
    if OPEN.search(text):
        what = f"{word} {text}".strip()
        why = "is filled in when it is used: the file alone does not say which image it is"
        return Reading((), (Floating(line=line, code="floating-image", what=what, why=why),))
    image = parse_image(text)
    if image is None:
        return Reading()
    if not image.floating:
        return Reading((str(image),))
    named = msgspec.structs.replace(image, tag=image.tag or "latest")
    one = Floating(
        line=line,
        code="floating-image",
        what=f"{word} {image}".strip(),
        why=image.floating,
        hint=f"write {named}@sha256:… (docker buildx imagetools inspect {named} tells it)",
    )
    return Reading((str(image),), (one,))
