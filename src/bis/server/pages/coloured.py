"""Source code in colours: classes, which the style sheet has colours for."""

from __future__ import annotations

import functools

from markupsafe import Markup, escape

LONGEST = 300_000
"""Letters that are worth colours."""


def coloured(text: str, name: str) -> Markup:
    """`name`: of the file, which says the language."""
    if len(text) > LONGEST:
        return escape(text)
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_for_filename(name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    return Markup(highlight(text, lexer, _formatter(HtmlFormatter)))


@functools.cache
def _formatter(kind: type) -> object:
    return kind(nowrap=True)
