"""All printing: results on stdout, progress and advice on stderr. The only module that prints.

On a terminal: aligned tables, six colours, a pager. In a pipe: tables as TSV, no colour. Colour never says
anything that the text does not say. What was stored is made safe by `text.plain` before it comes here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from bis.digest import spell
from bis.text import ago, cut, duration, utc, width

COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36, "grey": 90}
GAP = "  "
LEAST = 10
"""Columns below which no cell of a table is cut."""

Painted = tuple[str, str]
"""Text, and the colour it has."""
Cell = str | Painted


class Column:
    """A column of a table. `shrinks`: may be cut where the terminal is narrow."""

    def __init__(self, title: str, *, right: bool = False, shrinks: bool = False) -> None:
        self.title, self.right, self.shrinks = title, right, shrinks


class Terminal:
    """The two streams, and what may be done on them."""

    def __init__(
        self,
        variables: Mapping[str, str],
        *,
        out: TextIO | None = None,
        err: TextIO | None = None,
        color: str = "auto",
        pager: bool = True,
        quiet: bool = False,
    ) -> None:
        self._variables = variables
        self.utc = False
        """Times on the clock of UTC, not as so long ago."""
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self.quiet = quiet
        forced = variables.get("BIS_FORCE_TTY", "")
        self.tty = bool(forced) or self._out.isatty()
        self._pager = pager and self._out.isatty()
        self._out_colours = _coloured(self._out, variables, color)
        self._err_colours = _coloured(self._err, variables, color)
        columns, lines = _terminal_size()
        self.width = int(forced) if forced.isdigit() and int(forced) > 1 else columns
        self.height = lines
        self.answered = False
        """Whether a JSON object was printed: a script gets one, whatever happens afterwards."""
        self._pending = ""
        self._started = time.monotonic()
        # Work that is done soon shows no meter at all.
        self._metered = self._started + 0.4

    # -- results ---------------------------------------------------------------------------------------------------

    def paint(self, text: str, colour: str) -> str:
        """A result in a colour."""
        return _painted(text, colour) if self._out_colours and text else text

    def show(self, lines: Sequence[str]) -> None:
        """Print a result, through the pager when it is longer than the screen."""
        self.settle()
        text = "".join(f"{line}\n" for line in lines)
        if not (self._pager and self._taller(lines) and self._page(text)):
            _write(self._out, text)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
        """The lines of a table: aligned on a terminal, TSV in a pipe."""
        if not self.tty:
            return tsv([[column.title for column in columns], *rows])
        titles: list[Cell] = [(column.title, "grey") for column in columns]
        return self.aligned([titles, *rows], columns=columns, fit=self.width)

    def aligned(
        self, rows: Sequence[Sequence[Cell]], *, columns: Sequence[Column] = (), fit: int = 0, indent: str = ""
    ) -> list[str]:
        """Rows as lines with aligned columns, wherever they are printed."""
        if not rows:
            return []
        texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
        wide = [max(map(width, column)) for column in zip(*texts, strict=True)]
        if fit:
            _fit(wide, columns, fit - len(indent))
        lines = []
        for row, words in zip(rows, texts, strict=True):
            cells = []
            for place, (cell, word) in enumerate(zip(row, words, strict=True)):
                word = cut(word, wide[place])
                blank = " " * (wide[place] - width(word))
                shown = self.paint(word, "" if isinstance(cell, str) else cell[1])
                right = bool(columns) and columns[place].right
                cells.append(blank + shown if right else shown + blank)
            lines.append((indent + GAP.join(cells)).rstrip())
        return lines

    def time(self, then: str, now: datetime) -> str:
        """A stored time: how long ago on a terminal, or by the clock with `--utc`; RFC 3339 in a pipe."""
        if not self.tty:
            return then
        return utc(then) if self.utc else ago(then, now)

    def json(self, schema: str, value: Mapping[str, Any]) -> None:
        """Print one JSON object with its schema: indented on a terminal, on one line in a pipe."""
        self.answered = True
        text = as_json({"schema": schema, **value}, indent=2 if self._out.isatty() else None)
        self.show(text.split("\n"))

    def json_lines(self, schema: str, values: Iterable[Mapping[str, Any]]) -> None:
        """Print one JSON object a line, each with its schema."""
        self.show([as_json({"schema": schema, **value}) for value in values])

    def raw(self, blocks: Iterable[bytes]) -> None:
        """Write bytes to stdout as they are."""
        self._out.flush()
        for block in blocks:
            self._out.buffer.write(block)
        self._out.buffer.flush()

    # -- progress and advice ---------------------------------------------------------------------------------------

    def say(self, *pieces: Cell) -> None:
        """A line of bis' own on stderr, pieces two spaces apart; nothing with `--quiet`."""
        if self.quiet:
            return
        self.settle()
        self._advise(GAP.join(self._painted_piece(piece) for piece in (("bis", "green"), *pieces) if piece) + "\n")

    def tell(self, text: str = "") -> None:
        """A line of advice on stderr; nothing with `--quiet`."""
        if not self.quiet:
            self.settle()
            self._advise(text + "\n")

    def progress(self, text: str) -> None:
        """What is being done: one line that the next one replaces on a terminal; a line each elsewhere."""
        if self.quiet:
            return
        if not self._err.isatty() or self._variables.get("TERM") == "dumb":
            self.say(text)
            return
        self._pending = cut(f"bis  {text}", self.width - 1)
        self._advise(f"\r\x1b[K{self._pending}")

    def meter(self, text: str, done: float, total: float) -> None:
        """How far a long piece of work is, and how long the rest will take at this rate; may be called often. A line
        every ten seconds where there is no terminal."""
        now = time.monotonic()
        pause = 0.1 if self._err.isatty() else 10.0
        if now - self._metered >= pause:
            self._metered = now
            left = (now - self._started) * (total - done) / done if done else 0
            self.progress(f"{text}, {duration(left)} left" if left >= 1 else text)

    def settle(self) -> None:
        """Take the line of progress away."""
        if self._pending:
            self._pending = ""
            self._advise("\r\x1b[K")

    def _advise(self, text: str) -> None:
        """Write to stderr. That nobody reads there any more is no reason to give up the work."""
        with contextlib.suppress(OSError):
            _write(self._err, text)

    def _painted_piece(self, piece: Cell) -> str:
        if isinstance(piece, str):
            return piece
        return _painted(*piece) if self._err_colours else piece[0]

    # -- the pager -------------------------------------------------------------------------------------------------

    def _taller(self, lines: Sequence[str]) -> bool:
        return sum(max(1, -(-len(line) // self.width)) for line in lines) >= self.height

    def _page(self, text: str) -> bool:
        """Show the text in the user's pager; False when there is none."""
        import shutil
        import subprocess

        chosen = self._variables.get("BIS_PAGER", self._variables.get("PAGER", "less"))
        try:
            words = shlex.split(chosen)
        except ValueError:  # a quotation without its end
            return False
        if not words or words == ["cat"] or shutil.which(words[0]) is None:
            return False
        variables = {"LESS": "FRX", **self._variables}
        self._out.flush()
        with subprocess.Popen(words, stdin=subprocess.PIPE, env=variables) as pager:
            assert pager.stdin is not None
            try:
                pager.stdin.write(text.encode("utf-8", "backslashreplace"))
                pager.stdin.close()
            except BrokenPipeError:
                pass
            except KeyboardInterrupt:
                # The reader's, not ours: `less` deals with it, and is left by `q`.
                pass
            while True:
                try:
                    pager.wait()
                    return True
                except KeyboardInterrupt:
                    continue


def tsv(rows: Sequence[Sequence[Cell]]) -> list[str]:
    return ["\t".join(cell if isinstance(cell, str) else cell[0] for cell in row) for row in rows]


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON text of nouns and plain values; NaN and infinities as the strings that records use. What is no printable
    character is escaped, so that no stored text can steer a terminal."""
    import msgspec

    plain_value = msgspec.to_builtins(value, str_keys=True, enc_hook=lambda path: spell(str(path)))
    text = json.dumps(_finite(plain_value), ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else _escaped(letter) for letter in text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _escaped(letter: str) -> str:
    return json.dumps(letter)[1:-1]


def _fit(wide: list[int], columns: Sequence[Column], room: int) -> None:
    """Cut the columns that may shrink, the widest first, until the table fits or nothing more may go."""
    shrinking = [place for place, column in enumerate(columns) if column.shrinks]
    while sum(wide) + len(GAP) * (len(wide) - 1) > room and shrinking:
        widest = max(shrinking, key=lambda place: wide[place])
        if wide[widest] <= LEAST:
            return
        wide[widest] -= 1


def _terminal_size() -> tuple[int, int]:
    """Columns and lines. Most that is written for a program needs no import for that."""
    if not os.isatty(1) and not os.environ.keys() & {"COLUMNS", "LINES"}:
        return 100, 40
    import shutil

    return shutil.get_terminal_size((100, 40))


def _coloured(stream: TextIO, variables: Mapping[str, str], color: str) -> bool:
    """`--color` wins, then NO_COLOR, then FORCE_COLOR and CLICOLOR_FORCE, then whether it is a capable terminal."""
    if color != "auto":
        return color == "always"
    if variables.get("NO_COLOR"):
        return False
    if any(variables.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return stream.isatty() and variables.get("TERM") != "dumb"


def _painted(text: str, colour: str) -> str:
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if colour else text


def _write(stream: TextIO, text: str) -> None:
    """Write, also what the stream's encoding cannot hold."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
