"""Identities: whether the ids of two databases stand for each other, one to one, in all rows in which they occur.

Two ids are told apart by what the rows that mention them say, then by the ids that stand beside them there, and so
on (colour refinement). What that leaves alike is paired by trial. A pairing counts only when, put in place of the
ids, it makes the rows of one side into those of the other: sameness is proved, and else not said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

STEPS = 20_000_000
"""Most rows that are looked at, each time that one is looked at, before two databases are given up on."""


class Mention(NamedTuple):
    """A row that mentions ids. `says`: the rest of it, equal for rows that differ in their ids only."""

    says: Hashable
    ids: tuple[str, ...]
    row: Any = None
    """Whatever the caller knows it by."""


class Unpaired(NamedTuple):
    """Two databases for whose ids no pairing was found. `surely`: there is none; else too much of them is alike."""

    surely: bool
    mention: Mention | None = None
    """One that shows it."""


def unpaired(olds: Sequence[Mention], news: Sequence[Mention]) -> Unpaired | None:
    """Nothing, if one pairing of ids holds for all rows. An id that both sides have stands for itself."""
    fixed = _ids(olds) & _ids(news)
    old, new = _Side(olds, fixed), _Side(news, fixed)
    partner: dict[str, str] = {}
    try:
        shown = _pair(old, new, partner)
    except _GivenUp:
        return Unpaired(surely=False)
    if shown is not None:
        return Unpaired(surely=True, mention=shown)
    renamed = Counter((says, tuple(partner.get(name, "") for name in ids)) for says, ids in old.rows)
    proved = len(set(partner.values())) == len(partner) and renamed == Counter(new.rows)
    return None if proved else Unpaired(surely=False)


class _GivenUp(Exception):
    pass


class _Side:
    """The rows of one database with the ids that more than one of them mentions, and a colour for each of those."""

    def __init__(self, mentions: Sequence[Mention], fixed: set[str]) -> None:
        found = Counter(name for mention in mentions for name in set(mention.ids))
        self.mentions = mentions
        self.rows: list[tuple[Hashable, tuple[str, ...]]] = []
        self.places: dict[str, list[int]] = defaultdict(list)
        for number, mention in enumerate(mentions):
            pattern, shared = _pattern(mention.ids, fixed, found)
            self.rows.append(((mention.says, pattern), shared))
            for name in set(shared):
                self.places[name].append(number)
        self.colours: dict[str, int] = dict.fromkeys(self.places, 0)
        self.steps = 0

    def colour(self, number: int) -> int:
        says, ids = self.rows[number]
        return hash((says, *(self.colours[name] for name in ids)))

    def refine(self, names: Sequence[str]) -> None:
        """Tell these ids apart by all that hangs together with them."""
        apart = 0
        while apart < (count := len({self.colours[name] for name in names})):
            apart = count
            seen: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
            numbers = {number for name in names for number in self.places[name]}
            self.steps += len(numbers)
            if self.steps > STEPS:
                raise _GivenUp
            for number in numbers:
                colour = self.colour(number)
                for place, name in enumerate(self.rows[number][1]):
                    if name in seen:
                        seen[name].append((colour, place))
            self.colours.update({name: hash((self.colours[name], *sorted(seen[name]))) for name in names})

    def classes(self, names: Iterable[str]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = defaultdict(list)
        for name in names:
            found[self.colours[name]].append(name)
        return found

    def clusters(self, names: Sequence[str]) -> list[list[str]]:
        """The ids that hang together by rows, apart from those of other clusters."""
        left, found = set(names), []
        for name in names:
            if name not in left:
                continue
            left.discard(name)
            cluster = [name]
            for member in cluster:
                for number in self.places[member]:
                    beside = [other for other in self.rows[number][1] if other in left]
                    left.difference_update(beside)
                    cluster += dict.fromkeys(beside)
            found.append(cluster)
        return found

    def mark(self, cluster: list[str]) -> list[int]:
        """What clusters that may stand for each other have in common."""
        return sorted(self.colours[name] for name in cluster)


def _ids(mentions: Sequence[Mention]) -> set[str]:
    return {name for mention in mentions for name in mention.ids}


def _pattern(ids: tuple[str, ...], fixed: set[str], found: Counter[str]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """The ids of a row as content where they are: those of both sides, and by their order those of no other row."""
    own = {name: place for place, name in enumerate(dict.fromkeys(ids)) if found[name] == 1}
    pattern = tuple(name if name in fixed else own.get(name, -1) for name in ids)
    return pattern, tuple(name for name, kind in zip(ids, pattern, strict=True) if kind == -1)


def _pair(old: _Side, new: _Side, partner: dict[str, str]) -> Mention | None:
    """Fill in the partner of each id. A row that has none on the other side, if there is one."""
    for side in (old, new):
        side.refine(list(side.places))
    if (shown := _left_over(old, new)) is not None:
        return shown
    unsure: tuple[list[str], list[str]] = ([], [])
    others = new.classes(new.places)
    for colour, names in old.classes(old.places).items():
        if len(names) == 1 == len(others[colour]):
            partner[names[0]] = others[colour][0]
        else:
            unsure[0].extend(names)
            unsure[1].extend(others[colour])
    clusters = [sorted(side.clusters(names), key=side.mark) for side, names in zip((old, new), unsure, strict=True)]
    for one, other in zip(*clusters, strict=False):
        _try(old, new, one, other, partner)
    return None


def _left_over(old: _Side, new: _Side) -> Mention | None:
    for one, other in ((old, new), (new, old)):
        left = Counter(map(other.colour, range(len(other.rows))))
        for number, mention in enumerate(one.mentions):
            colour = one.colour(number)
            if left[colour] == 0:
                return mention
            left[colour] -= 1
    return None


def _try(old: _Side, new: _Side, one: list[str], other: list[str], partner: dict[str, str]) -> None:
    """Pair two clusters: where ids are alike, the first of each, and see what that tells apart."""
    for trial in range(1, len(one) + 1):
        classes, others = old.classes(one), new.classes(other)
        alike = min((colour for colour, names in classes.items() if len(names) > 1), default=None)
        if alike is None or alike not in others:
            break
        old.colours[classes[alike][0]] = new.colours[others[alike][0]] = hash(("paired", trial))
        old.refine(one)
        new.refine(other)
    others = new.classes(other)
    partner.update((names[0], others[colour][0]) for colour, names in old.classes(one).items() if colour in others)
