"""What a notebook shows of an answer: tables as HTML and as Markdown, with small drawings. Nothing in them runs, or
asks for anything, and whatever a person named is text; a saved notebook shows the same later, and to others."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from bis.digest import canonical, readable

LONGEST: Final = 120
"""Letters of a value in a table."""
MARKUP: Final = "\\`*_{}[]<>()#+|~!&$"
"""Letters that may mean something in Markdown."""


class Cell(NamedTuple):
    """A value: text, and beside it a drawing, or more text to unfold."""

    text: str
    number: bool = False
    svg: str = ""
    more: str = ""


class Table(NamedTuple):
    title: str
    titles: Sequence[str]
    """Of the columns; none where they need none."""
    rows: Sequence[Sequence[Cell]]
    below: Sequence[str] = ()
    """Remarks."""


def as_html(table: Table) -> str:
    numbers = _numbers(table)
    head = "".join(
        f'<th style="text-align:{"right" if number else "left"}">{_html(title)}</th>'
        for title, number in zip(table.titles, numbers, strict=False)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    title = f"<p><strong>{_html(table.title)}</strong></p>" if table.title else ""
    below = "".join(f"<p><small>{_html(text)}</small></p>" for text in table.below)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f"<div>{title}<table>{head}<tbody>{rows}</tbody></table>{below}</div>"


def _numbers(table: Table) -> list[bool]:
    """Which of its columns are of numbers."""
    return [any(row[place].number for row in table.rows) for place in range(len(table.rows[0]) if table.rows else 0)]


def _cell(cell: Cell) -> str:
    drawn = f"<br>{cell.svg}" if cell.svg else ""
    more = f"<details><summary>more</summary><pre>{escape(_lines(cell.more))}</pre></details>" if cell.more else ""
    align = "right" if cell.number else "left"
    return f'<td style="text-align:{align};vertical-align:top">{_html(cell.text)}{drawn}{more}</td>'


def _html(text: str) -> str:
    return escape(_short(text))


def as_markdown(table: Table) -> str:
    numbers = _numbers(table)
    titles = list(table.titles) or [""] * len(numbers)
    lines = [f"**{_markdown(table.title)}**", ""] if table.title else []
    if table.rows:
        lines.append(_row(map(_markdown, titles)))
        lines.append(_row("--:" if number else "---" for number in numbers))
    lines += [_row(_markdown(cell.text) for cell in row) for row in table.rows]
    for text in table.below:
        lines += ["", _markdown(text)]
    return "\n".join(lines) + "\n"


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    """Nothing in it is markup, and nothing ends the cell."""
    return "".join(f"\\{letter}" if letter in MARKUP else letter for letter in _short(text))


def as_text(table: Table) -> str:
    """For who shows nothing but letters."""
    rows = [list(map(_short, table.titles))] if table.titles else []
    rows += [[_short(cell.text) for cell in row] for row in table.rows]
    wide = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))] if rows else []
    lines = [_short(table.title)] if table.title else []
    lines += ["  ".join(text.ljust(some) for text, some in zip(row, wide, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *map(_short, table.below)])


def bundle(
    table: Table,
    kind: str,
    value: Mapping[str, Any],
    include: Collection[str] | None,
    exclude: Collection[str] | None,
) -> dict[str, Any]:
    """An answer in all forms. That for programs has a name of its own: notebooks prefer plain JSON to a table."""
    forms: dict[str, Callable[[], Any]] = {
        "text/plain": lambda: as_text(table),
        "text/html": lambda: as_html(table),
        "text/markdown": lambda: as_markdown(table),
        f"application/vnd.bis.{kind}+json": lambda: json.loads(canonical({"schema": f"bis.{kind}/1", **value})),
    }
    wanted = {name for name in forms if not include or name in include} - set(exclude or ())
    return {name: form() for name, form in forms.items() if name in wanted}


def _short(text: str) -> str:
    text = readable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _lines(text: str) -> str:
    return "\n".join(readable(line.expandtabs(8)) for line in text.split("\n"))
