"""Templates to HTML. Whatever is put into one is text, and comes out as text: nothing that a person named can become
markup. The filters spell values as the commands do (`bis.text`)."""

from __future__ import annotations

import functools
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bis import text
from bis.digest import readable, short
from bis.ledger.moments import stamp
from bis.nouns.verdict import MARKS
from bis.server.pages.coloured import coloured
from bis.server.pages.marked import markdown
from bis.server.pages.sides import sides

TEMPLATES: Final = Path(__file__).parent / "templates"
SHADES: Final = {
    "identical": "same",
    "equivalent": "alike",
    "different": "differs",
    "not repeatable": "cannot",
    "nothing observed": "untried",
    "not compared": "untried",
    "": "untried",
}
"""The class of a mark, by the word that it stands for."""


def rendered(template: str, **values: Any) -> str:
    return environment().get_template(template).render(**values)


@functools.cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "size": text.size,
        "duration": text.duration,
        "number": text.number,
        "numbers": text.numbers,
        "counted": text.count,
        "plain": readable,
        "short": short,
        "command": text.command_line,
        "moment": moment,
        "utc": utc,
        "mark": mark,
        "digest": digest,
        "sides": sides,
        "shade": lambda word: SHADES.get(word, "untried"),
        "absent": absent,
        "markdown": markdown,
        "coloured": coloured,
        "is_number": is_number,
    }
    return made


def moment(value: str | int | None, now: datetime) -> Markup:
    """A time: how long ago, with the exact one where a pointer rests, and for a program. A number is microseconds."""
    if value in (None, ""):
        return Markup("")
    said = stamp(value) if isinstance(value, int) else str(value)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(said, text.utc(said), text.ago(said, now))


def utc(value: str) -> Markup:
    """A time by the clock, for what is read whenever."""
    return Markup('<time datetime="{}">{}</time>').format(value, text.utc(value)) if value else Markup("")


def mark(word: str) -> Markup:
    """`[=]` and its word: told by shape and by word, never by colour alone."""
    sign = MARKS.get(word or "not compared", "[ ]")
    said = word or "not tried"
    return Markup('<span class="mark {}" title="{}" role="img" aria-label="{}">{}</span>').format(
        SHADES.get(word, "untried"), said, said, sign
    )


def digest(value: str, length: int = 8) -> Markup:
    """The beginning of one, with all of it where a pointer rests."""
    if not value:
        return Markup("")
    return Markup('<code class="digest" title="{}">{}</code>').format(value, short(value, length))


def absent(value: str | None) -> Markup | str:
    """A value of one of several things, of which some have none."""
    if value is None:
        return Markup('<span class="soft">absent</span>')
    return readable(value) if value else '""'


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
