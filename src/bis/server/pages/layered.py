"""A graph in layers: a thing in the middle, what it is made of on the left of it, and what it reached on the right.

A node that is told several times is drawn once, with a line from each place where it is told. It stands in the layer
behind the last of those, so that every line leads outwards; its row is in the tree of where it is told first.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from bis.acts.lineage import Lineage, Node
from bis.digest import readable

MOST: Final = 200
"""Nodes that are drawn; of those behind them there is a number."""
WIDTH: Final = 196
HEIGHT: Final = 40
ACROSS: Final = 56
"""Between two layers."""
DOWN: Final = 10
"""Between two rows."""
MARGIN: Final = 8
LETTERS: Final = 25
FILES: Final = frozenset({"data", "file", "predictions", "data version"})
"""Of these the end of the name is telling."""
PARTS: Final = frozenset({"code", "environment", "infrastructure", "machine", "params"})
"""Of these not the name, which is a digest, is telling."""


class Box(NamedTuple):
    node: Node
    x: float
    y: float
    kind: str
    label: str
    """As much as there is room for."""
    middle: bool = False
    folded: int = 0
    """So many nodes are behind this one, which stands for them."""


class Drawing(NamedTuple):
    width: float
    height: float
    boxes: list[Box]
    lines: list[str]
    """Paths, as SVG has them."""
    total: int
    """Nodes, with those that are folded."""
    across: int = WIDTH
    """Of a box."""
    down: int = HEIGHT

    @property
    def shown(self) -> int:
        return sum(not box.folded for box in self.boxes)


class _Knot:
    """A node that is drawn."""

    def __init__(self, node: Node, folded: int = 0) -> None:
        self.node = node
        self.folded = folded
        self.tree: list[_Knot] = []
        """Told here first: below it in rows."""
        self.next: list[_Knot] = []
        """All that lines lead to."""
        self.layer = 0
        self.row = 0.0


def drawn(lineage: Lineage, most: int = MOST) -> Drawing:
    middle = _Knot(lineage.thing)
    left, right = _Knot(lineage.thing), _Knot(lineage.thing)
    told = _woven([(left, lineage.made_of), (right, lineage.reached)], most - 1)
    for side in (left, right):
        _rows(side)
        _layers(side)
    middle.row = (max(left.row, right.row)) if left.tree or right.tree else 0.0
    boxes = [_box(middle, middle.row, 0, 1)]
    lines: list[tuple[Box, Box]] = []
    for side, way in ((left, -1), (right, 1)):
        lift = middle.row - side.row
        placed = {id(side): boxes[0]}
        for knot in _all(side)[1:]:
            placed[id(knot)] = _box(knot, knot.row + lift, knot.layer, way)
        boxes += list(placed.values())[1:]
        lines += [(placed[id(one)], placed[id(other)]) for one in _all(side) for other in one.next]
    return _moved(boxes, lines, told + 1)


def _woven(sides: Sequence[tuple[_Knot, Sequence[Node]]], room: int) -> int:
    """Make knots of nodes, the nearest first, as long as there is room. Returns how many nodes there are."""
    total = 0
    known: dict[tuple[int, str, str], _Knot] = {}
    waiting = deque((side, node, place) for place, (side, nodes) in enumerate(sides) for node in nodes)
    left_out: dict[int, tuple[_Knot, int]] = {}
    while waiting:
        parent, node, side = waiting.popleft()
        name = (side, node.kind, node.id or node.name)
        knot = known.get(name)
        if knot is not None and not _leads(knot, parent):
            if knot not in parent.next:
                parent.next.append(knot)
        elif len(known) < room:
            total += 1
            known[name if knot is None else (*name[:2], f"{name[2]} {total}")] = knot = _Knot(node)
            parent.tree.append(knot)
            parent.next.append(knot)
        else:
            count = _count(node)
            total += count
            left_out[id(parent)] = (parent, left_out.get(id(parent), (parent, 0))[1] + count)
            continue
        waiting.extend((knot, child, side) for child in node.children)
    for parent, count in left_out.values():
        more = _Knot(Node(kind="more", name=f"{count:,} more"), count)
        parent.tree.append(more)
        parent.next.append(more)
    return total


def _leads(one: _Knot, other: _Knot) -> bool:
    """Whether lines lead from one to the other."""
    return any(knot is other for knot in _all(one))


def _all(knot: _Knot) -> list[_Knot]:
    """It, and all that is behind it."""
    found, waiting = {id(knot): knot}, [knot]
    while waiting:
        for child in waiting.pop().next:
            if id(child) not in found:
                found[id(child)] = child
                waiting.append(child)
    return list(found.values())


def _count(node: Node) -> int:
    return 1 + sum(map(_count, node.children))


def _rows(top: _Knot) -> None:
    """Every knot without others in a row of its own, and each of the others in the middle of those behind it."""
    for number, leaf in enumerate(knot for knot in _first(top) if not knot.tree):
        leaf.row = float(number)
    for knot in reversed(list(_first(top))):
        if knot.tree:
            knot.row = (knot.tree[0].row + knot.tree[-1].row) / 2


def _first(knot: _Knot) -> Iterator[_Knot]:
    yield knot
    for child in knot.tree:
        yield from _first(child)


def _layers(top: _Knot) -> None:
    """Each behind all that lead to it."""
    coming = {id(knot): 0 for knot in _all(top)}
    for knot in _all(top):
        for child in knot.next:
            coming[id(child)] += 1
    ready = [top]
    while ready:
        knot = ready.pop()
        for child in knot.next:
            child.layer = max(child.layer, knot.layer + 1)
            coming[id(child)] -= 1
            if not coming[id(child)]:
                ready.append(child)


def _box(knot: _Knot, row: float, layer: int, way: int) -> Box:
    return Box(
        knot.node,
        way * layer * (WIDTH + ACROSS),
        row * (HEIGHT + DOWN),
        "folded" if knot.folded else kind_of(knot.node),
        label(knot.node),
        middle=layer == 0,
        folded=knot.folded,
    )


def _moved(boxes: list[Box], lines: Sequence[tuple[Box, Box]], total: int) -> Drawing:
    """Into a picture that begins at 0."""
    left, top = min(box.x for box in boxes) - MARGIN, min(box.y for box in boxes) - MARGIN
    moved = [box._replace(x=box.x - left, y=box.y - top) for box in boxes]
    return Drawing(
        max(box.x for box in moved) + WIDTH + MARGIN,
        max(box.y for box in moved) + HEIGHT + MARGIN,
        moved,
        [
            _line(one._replace(x=one.x - left, y=one.y - top), two._replace(x=two.x - left, y=two.y - top))
            for one, two in lines
        ],
        total,
    )


def _line(one: Box, other: Box) -> str:
    """From the side of one to that side of the other which faces it."""
    if one.x > other.x:
        one, other = other, one
    start, end = one.x + WIDTH, other.x
    half = (start + end) / 2
    y, z = one.y + HEIGHT / 2, other.y + HEIGHT / 2
    return f"M{start:g} {y:g}C{half:g} {y:g} {half:g} {z:g} {end:g} {z:g}"


def kind_of(node: Node) -> str:
    named = node.kind in PARTS and node.detail
    return _cut(f"{node.kind} {readable(node.name)}") if named else node.kind


def label(node: Node) -> str:
    """The name, or what tells more, as far as there is room: of a file its end, of others the beginning."""
    if node.kind in PARTS and node.detail:
        return _cut(readable(node.detail))
    name = readable(node.name.removeprefix("models:/"))
    return _cut(name[::-1])[::-1] if node.kind in FILES else _cut(name)


def _cut(text: str) -> str:
    if _wide(text) <= LETTERS:
        return text
    kept = ""
    for letter in text:
        if _wide(kept + letter) >= LETTERS:
            break
        kept += letter
    return f"{kept}…"


def _wide(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
