"""Screen: what a text that was written for a terminal shows in the end.

Progress bars rewrite their line with carriage returns, backspaces and cursor movements. A row is what was left
standing on one line, with the states (frames) that were overwritten, which depend on when the bar was refreshed.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

from bis.formats import Unreadable

CONTROLS = re.compile(rb"[\r\x08\x1b]")
OTHER_CONTROLS = re.compile(rb"[\n\x08\x1b]")
SPLIT = re.compile(
    r"(\n|\r+|\x08+|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[=>78@-Z\\^_])"
)
UNFINISHED = re.compile(r"\x1b(?:[\[\]()][^@-~\x07]*)?$")
REACH = 100
"""Rows above the last one that can still be rewritten."""
FRAMES = 50_000
LONGEST = 8 << 20


class Row:
    """One line of the screen: `text` as it stands, `frames` as it stood before it was overwritten."""

    __slots__ = ("frames", "returned", "text")

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.frames: list[str] = []
        self.returned = False

    def leave(self) -> None:
        """Keep the state that is about to be overwritten."""
        if self.returned and (frame := self.text.rstrip()):
            if len(self.frames) >= FRAMES:
                raise Unreadable(f"a line is rewritten more than {FRAMES:,} times")
            self.frames.append(frame)
        self.returned = False


def has_controls(file: BinaryIO) -> bool:
    """Whether anything in the file moves a cursor. Leaves the file at its start."""
    found = False
    while block := file.read(1 << 20):
        if CONTROLS.search(block):
            found = True
            break
    file.seek(0)
    return found


class Returned(io.RawIOBase):
    """A file whose lines end as on the first Macs, with a carriage return, read as if they ended as everywhere."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def readinto(self, into: Any) -> int:
        data = self.file.read(len(into)).replace(b"\r", b"\n")
        into[: len(data)] = data
        return len(data)


def has_no_line_feed(file: BinaryIO) -> bool:
    """Whether carriage returns alone can be the ends of its lines. Leaves the file at its start."""
    found = True
    while found and (block := file.read(1 << 20)):
        found = not OTHER_CONTROLS.search(block)
    file.seek(0)
    return found


def plain_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file without their ends. Raises Unreadable for a line longer than can be looked at."""
    while line := file.readline(LONGEST):
        if line.endswith(b"\n"):
            yield line[:-1]
        elif len(line) >= LONGEST:
            raise Unreadable(f"a line is longer than {LONGEST >> 20} MiB")
        else:
            yield line


def rows(file: BinaryIO) -> Iterator[Row]:
    """The rows of the screen after the whole file was written to it, in bounded memory."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    screen = _Screen()
    rest = ""
    while True:
        block = file.read(1 << 16)
        text = rest + decoder.decode(block, final=not block)
        match = UNFINISHED.search(text[-64:]) if block else None
        cut = len(text) - len(match.group()) if match else len(text)
        rest = text[cut:]
        screen.write(text[:cut])
        yield from screen.passed()
        if not block:
            break
    yield from screen.everything()


class _Screen:
    def __init__(self) -> None:
        self.rows: deque[Row] = deque([Row()])
        self.row = 0
        self.column = 0

    def write(self, text: str) -> None:
        for number, piece in enumerate(SPLIT.split(text)):
            if not piece:
                continue
            if number % 2 == 0:
                self._put(piece)
            elif piece == "\n":
                self._down()
                self.column = 0
            elif piece[0] == "\r":
                self._back(0)
            elif piece[0] == "\x08":
                self._back(max(0, self.column - len(piece)))
            elif piece.startswith("\x1b["):
                self._control(piece)

    def passed(self) -> Iterator[Row]:
        while len(self.rows) > REACH and self.row > 0:
            self.row -= 1
            yield self.rows.popleft()

    def everything(self) -> Iterator[Row]:
        if not self.rows[-1].text and not self.rows[-1].frames:
            self.rows.pop()
        yield from self.rows

    def _put(self, piece: str) -> None:
        row = self.rows[self.row]
        if row.returned:
            row.leave()
        end = self.column + len(piece)
        if end > LONGEST:
            raise Unreadable(f"a line is longer than {LONGEST >> 20} MiB")
        if self.column == len(row.text):
            row.text += piece
        else:
            row.text = row.text[: self.column].ljust(self.column) + piece + row.text[end:]
        self.column = end

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append(Row())

    def _back(self, column: int) -> None:
        row = self.rows[self.row]
        row.returned = row.returned or column < len(row.text)
        self.column = column

    def _control(self, piece: str) -> None:
        number = int(piece[2:-1]) if piece[2:-1].isdigit() else 0
        count = min(max(1, number), REACH)
        match piece[-1]:
            case "A" | "F":
                self.row = max(0, self.row - count)
                self._back(0 if piece[-1] == "F" else self.column)
                self.rows[self.row].returned = True
            case "B" | "E":
                for _ in range(count):
                    self._down()
                self.column = 0 if piece[-1] == "E" else self.column
            case "C":
                self.column += count
            case "D":
                self._back(max(0, self.column - max(1, number)))
            case "G":
                self._back(max(0, min(number, LONGEST) - 1))
            case "K":
                self._erase(number)
            case "J":
                self._erase(0)

    def _erase(self, how: int) -> None:
        row = self.rows[self.row]
        row.returned = True
        row.leave()
        if how == 0:
            row.text = row.text[: self.column]
        elif how == 1:
            row.text = " " * min(self.column, len(row.text)) + row.text[self.column :]
        else:
            row.text = ""
