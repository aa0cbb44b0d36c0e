"""What people write in Markdown, as HTML that can do nothing: no script, no style, no form, and no picture or link that
asks somebody else without being pressed."""

from __future__ import annotations

import functools
from typing import Final

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

TAGS: Final = frozenset(
    "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong table tbody td th thead tr ul".split()
)
LONGEST: Final = 200_000
"""Characters that are read as Markdown."""


def markdown(text: str) -> Markup:
    made = _reader().render(text[:LONGEST])
    clean = nh3.clean(
        made, tags=set(TAGS), attributes={"a": {"href"}}, url_schemes={"http", "https"}, link_rel="noopener noreferrer"
    )
    return Markup(clean)


@functools.cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
