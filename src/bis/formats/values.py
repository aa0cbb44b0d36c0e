"""Values: two trees of plain data compared leaf by leaf. What JSON, YAML, pickles and models are read into.

The walk needs no recursion and visits each pair of containers once, so that deep, shared and cyclic data are fine.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bis.formats import Context, Unreadable, clocks
from bis.formats.arrays import Array, compare_arrays
from bis.formats.masks import LONGEST, Masks
from bis.formats.moments import last_digits
from bis.formats.numbers import is_real, relative
from bis.formats.rules import LOG, STRICT
from bis.formats.tally import Tally, plural, shown, shown_pair

NOISE = 1e-6
STEPS = 50_000_000
DATE = re.compile(r"\d{4}[-/.]\d\d[-/.]\d\d")
"""A day and no time of it: in a column it is data, though it be the day of the run."""
TRIED = 100_000
"""Most pairs of keys of two dicts that are looked at for being the same under masks."""
FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.+@~-]+/)+(?=[\w.+@~-])")
RUN_NAME = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")
"""What MLflow calls a run that nobody named."""
RUN_NAME_KEYS = ("run_name", "mlflow.runName")
WORDS = re.compile(r"[a-z]+|[A-Z][a-z]*")
DIGESTS = re.compile(r"(?i)md\d|sha\d*|hash|digest|checksum|etag|fingerprint")
"""A key that says that its value stands for content, whatever it looks like."""
CLOCKS = frozenset(
    "time times timing timings seconds second secs sec elapsed duration durations runtime latency eta took walltime "
    "timestamp timestamps date datetime created updated started ended finished ms millis minutes dur passed "
    "remaining".split()
)
"""Words of a key that say that its value was read off a clock."""
POINTS = frozenset(
    "time timestamp timestamps ts date datetime created updated started ended finished start end at".split()
)
"""Words of a key that say that its value is a point in time."""

MEASURED = 100_000
"""Most values of an array that are read as durations."""
PROCESSES = ("pid", "ppid", "process_id", "parent_pid")


class Number(str):
    """A number as it is written: each printed digit counts, those behind the sixteenth too."""

    __slots__ = ()


class Name(NamedTuple):
    """Something that a pickle names and that is never imported."""

    module: str
    name: str


class Pairs:
    """A dict whose keys may be anything; `items` in insertion order. The order is part of the meaning."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[tuple[Any, Any]] = []


class Bag:
    """A set, frozen or not."""

    __slots__ = ("frozen", "items")

    def __init__(self, items: Iterable[Any] = (), frozen: bool = False) -> None:
        self.items = list(items)
        self.frozen = frozen


class Made:
    """An object as a pickle describes it: what would be called with what, and the state it would be given."""

    __slots__ = ("args", "array", "items", "pairs", "state", "what")

    def __init__(self, what: Any, args: Any) -> None:
        self.what = what
        self.args = args
        self.state: Any = None
        self.items: list[Any] = []
        self.pairs = Pairs()
        self.array: Array | None = None

    def add_state(self, state: Any) -> None:
        self.state = state if self.state is None else (self.state, state)


class Volatile(NamedTuple):
    """A key whose value says nothing of the result."""

    rule: str
    kinds: tuple[type, ...] = (object,)


KINDS: dict[type, str] = {Number: "number", Pairs: "dict", Bag: "set", Made: "object", Name: "name"}
Path = tuple[Any, ...]


class Walk:
    """One comparison of two trees. `volatile`: keys set aside; `ordered`: whether the order of keys counts."""

    def __init__(
        self,
        context: Context,
        tally: Tally,
        volatile: Mapping[str, Volatile] | None = None,
        unordered: frozenset[str] = frozenset(),
    ) -> None:
        self.context = context
        self.tally = tally
        self.masks = Masks(context)
        self.volatile = volatile or {}
        self.unordered = unordered
        """Keys whose lists are sets written down in any order."""

    def compare(self, old: Any, new: Any, where: str = "") -> None:
        """Every difference goes into the tally."""
        stack: list[tuple[Any, Any, Path]] = [(old, new, (None, where))]
        seen: dict[tuple[int, int], tuple[Any, Any]] = {}
        steps = 0
        while stack:
            old, new, path = stack.pop()
            if old is new:
                continue
            steps += 1
            if steps > STEPS:
                raise Unreadable(f"more than {STEPS:,} values")
            if isinstance(old, (list, tuple, dict, Pairs, Bag, Made)):
                key = (id(old), id(new))
                if key in seen:
                    continue
                seen[key] = (old, new)
            stack.extend(reversed(self._pair(old, new, path)))

    def compare_leaf(self, old: str, new: str, where: str, key: str) -> None:
        """Compare one cell: two texts, or two `Number`s."""
        path: Path = ((None, where), f".{key}")
        if isinstance(old, Number) and isinstance(new, Number):
            self._number(old, new, path, cell=True)
        elif DATE.fullmatch(old) and DATE.fullmatch(new) and old != new:
            self._differ(path, shown_pair(old, new), "clock")
        else:
            self._text(old, new, path)

    def _pair(self, old: Any, new: Any, path: Path) -> list[tuple[Any, Any, Path]]:
        if type(old) is not type(new):
            self._differ(path, f"{_kind(old)} {shown(_brief(old), 60)} -> {_kind(new)} {shown(_brief(new), 60)}")
            return []
        if isinstance(old, Number):
            self._number(old, new, path)
        elif isinstance(old, str):
            self._text(old, new, path)
        elif isinstance(old, (bytes, bytearray)):
            if old != new:
                self._differ(path, f"{shown(old)} -> {shown(new)}")
        elif isinstance(old, Name):
            if old != new:
                self._differ(path, f"{'.'.join(old)} -> {'.'.join(new)}")
        elif isinstance(old, (list, tuple)):
            return self._sequence(old, new, path)
        elif isinstance(old, dict):
            return self._mapping(old, new, path)
        elif isinstance(old, Pairs):
            return self._pairs(old, new, path)
        elif isinstance(old, Bag):
            if old.frozen != new.frozen:
                self._differ(path, f"{_set(old)} -> {_set(new)}")
            return self._bag(old.items, new.items, path)
        elif isinstance(old, Made):
            return self._made(old, new, path)
        elif isinstance(old, Array):
            self._array(old, new, path)
        else:
            self._number(old, new, path)
        return []

    def _number(self, old: Any, new: Any, path: Path, cell: bool = False) -> None:
        if _same_number(old, new):
            return
        written = str(old), str(new)
        if max(map(len, written)) > LONGEST:
            self._differ(path, f"{shown(old)} -> {shown(new)}")
            return
        if isinstance(old, bool) or old is None or not all(_is_number(text) for text in written):
            self._differ(path, f"{shown(old)} -> {shown(new)}")
            return
        words = _words(path)
        moments = all(self.masks.plausible(text, "epoch", side) for side, text in enumerate(written))
        if words & POINTS and moments:
            self.tally.set_aside("time", *written)
            return
        if rule := "" if cell else self._machine_rule(_nearest(path), path, *written):
            self.tally.set_aside(rule, *written)
            return
        real = all(isinstance(value, float) or is_real(text) for value, text in zip((old, new), written, strict=True))
        distance = relative(float(old), float(new)) if real else None
        if distance is not None and 0 < self.context.tolerance >= distance:
            self.tally.within += 1
            return
        what = f"{shown(old)} -> {shown(new)}"
        if distance is not None:
            what += f" (relative difference {distance:.2g})"
        if words & CLOCKS or moments:
            self._differ(path, what, "clock")
        elif distance is not None and distance <= NOISE:
            self._differ(path, what, last_digits([(float(old), float(new))], self.context))
        else:
            self._differ(path, what)

    def _machine_rule(self, key: str, path: Path, old: str, new: str) -> str:
        """The rule of a number that says something of the machine and nothing of the result. Not for the cells of
        tables: data have columns of such names."""
        if clocks.measured(key) and clocks.lasted(key, old, new, self.context):
            return "duration"
        if key.lower() in PROCESSES and old.isdecimal() and new.isdecimal() and _single(path):
            return "process id"
        return ""

    def _text(self, old: str, new: str, path: Path) -> None:
        if old == new:
            return
        if max(len(old), len(new)) > LONGEST:
            self._differ(path, shown_pair(old, new))
            return
        kinds = masked_kinds(_key(path))
        if self.masks.same(old, new, self.tally, kinds):
            return
        if _key(path) in RUN_NAME_KEYS and RUN_NAME.fullmatch(old) and RUN_NAME.fullmatch(new):
            self.tally.set_aside("run name", old, new)
            return
        cause = ""
        if self.masks.same(FOLDERS.sub("/", old), FOLDERS.sub("/", new), None, STRICT):
            cause = "path"
        elif self.masks.same(old, new, None, LOG):
            cause = "clock"
        self._differ(path, shown_pair(old, new), cause)

    def _sequence(self, old: Any, new: Any, path: Path) -> list[tuple[Any, Any, Path]]:
        if self.unordered and _key(path) in self.unordered:
            return self._bag(old, new, path)
        if len(old) != len(new):
            self._differ(path, f"{len(old):,} -> {plural(len(new), 'item')}")
        return [(one, other, (path, f"[{place}]")) for place, (one, other) in enumerate(zip(old, new, strict=False))]

    def _mapping(self, old: dict[Any, Any], new: dict[Any, Any], path: Path) -> list[tuple[Any, Any, Path]]:
        partner = {key: key for key in old if key in new}
        if len(partner) < max(len(old), len(new)):
            self._partners(old, new, partner, path)
        elif list(old) != list(new):
            self.tally.set_aside("key order")
        found = []
        for key, other in partner.items():
            if not self._set_aside(key, old[key], new[other]):
                found.append((old[key], new[other], (path, f".{key}")))
        return found

    def _partners(self, old: dict[Any, Any], new: dict[Any, Any], partner: dict[Any, Any], path: Path) -> None:
        """Keys that are on one side only: paired when they are the same under masks, else differences."""
        left = [key for key in old if key not in partner and not self._lacking(key, old)]
        right = [key for key in new if key not in partner and not self._lacking(key, new)]
        tried = 0
        for key in left:
            for other in right if tried < TRIED else ():
                tried += 1
                if isinstance(key, str) and isinstance(other, str) and self.masks.same(key, other, self.tally, STRICT):
                    partner[key] = other
                    right.remove(other)
                    break
            else:
                self._differ((path, f".{shown(key, 60)}"), "only in the first")
        for key in right:
            self._differ((path, f".{shown(key, 60)}"), "only in the second")

    def _lacking(self, key: Any, there: dict[Any, Any]) -> bool:
        """Whether a key that only one side has is one of those that are set aside."""
        known = self.volatile.get(key) if isinstance(key, str) else None
        if known:
            self.tally.set_aside(known.rule, f"{key} {shown(there[key], 50)}", "none")
        return known is not None

    def _set_aside(self, key: Any, old: Any, new: Any) -> bool:
        known = self.volatile.get(key) if isinstance(key, str) else None
        if not known or not isinstance(old, known.kinds) or not isinstance(new, known.kinds):
            return False
        if old != new:
            self.tally.set_aside(known.rule, f"{key} {shown(old, 50)}", shown(new, 50))
        return True

    def _pairs(self, old: Pairs, new: Pairs, path: Path) -> list[tuple[Any, Any, Path]]:
        keys, others = _plain_keys(old), _plain_keys(new)
        if keys is not None and others is not None and list(keys) != list(others):
            if keys.keys() == others.keys():
                self._differ(path, "the same keys in another order", "order of keys")
            return self._mapping(keys, others, path)
        if len(old.items) != len(new.items):
            self._differ(path, f"{len(old.items):,} -> {plural(len(new.items), 'key')}")
        found: list[tuple[Any, Any, Path]] = []
        for (key, value), (other, further) in zip(old.items, new.items, strict=False):
            if isinstance(key, str) and key == other and self._set_aside(key, value, further):
                continue
            below = (path, f".{key}" if isinstance(key, str) else f"[{shown(_brief(key), 40)}]")
            found += [(key, other, below), (value, further, below)]
        return found

    def _bag(self, old: Any, new: Any, path: Path) -> list[tuple[Any, Any, Path]]:
        if len(old) != len(new):
            self._differ(path, f"a set of {len(old):,} -> {len(new):,}")
            return []
        known: dict[int, bytes] = {}
        olds = sorted((fingerprint(item, known), place) for place, item in enumerate(old))
        news = sorted((fingerprint(item, known), place) for place, item in enumerate(new))
        moved = any(one[1] != other[1] for one, other in zip(olds, news, strict=True))
        marks = {mark for mark, _ in olds} & {mark for mark, _ in news}
        rest = zip(
            (old[place] for mark, place in olds if mark not in marks),
            (new[place] for mark, place in news if mark not in marks),
            strict=False,
        )
        left = [(one, other, (path, "{}")) for one, other in rest]
        if not left and [mark for mark, _ in olds] != [mark for mark, _ in news]:
            self._differ(path, "sets of different items")
        elif not left and moved:
            self.tally.set_aside("set order")
        return left

    def _made(self, old: Made, new: Made, path: Path) -> list[tuple[Any, Any, Path]]:
        if (moments := (_moment(old), _moment(new))) and all(moments):
            self._text(*moments, path)
            return []
        if old.array is not None and new.array is not None:
            self._array(old.array, new.array, path)
            return [(old.what, new.what, path), (old.args, new.args, path)]
        return [
            (old.what, new.what, path),
            (old.args, new.args, path),
            (old.state, new.state, path),
            (old.items, new.items, path),
            (old.pairs, new.pairs, path),
        ]

    def _array(self, old: Array, new: Array, path: Path) -> None:
        """Durations in arrays are those of scikit-learn's searches: `cv_results_["mean_fit_time"]`."""
        key = _nearest(path)
        sides = (_reals(old), _reals(new)) if clocks.measured(key) and old.shape == new.shape else ([], [])
        if all(sides) and clocks.lasted(key, str(max(sides[0])), str(max(sides[1])), self.context):
            if sides[0] != sides[1]:
                self.tally.set_aside("duration", str(sides[0][0]), str(sides[1][0]), len(sides[0]))
            return
        compare_arrays(old, new, self.tally, told(path))

    def _differ(self, path: Path, what: str, cause: str = "") -> None:
        self.tally.differ(told(path), what, cause)


def _moment(made: Made) -> str:
    """A pickled date or time of no time zone, as text. Empty for all else."""
    packed = made.args[0] if isinstance(made.args, tuple) and len(made.args) == 1 else b""
    packed = packed.encode("latin-1", "replace") if isinstance(packed, str) else packed
    if made.what == ("datetime", "date") and isinstance(packed, bytes) and len(packed) == 4:
        return f"{int.from_bytes(packed[:2]):04}-{packed[2]:02}-{packed[3]:02}"
    if made.what == ("datetime", "datetime") and isinstance(packed, bytes) and len(packed) == 10:
        year, month, day, hour, minute, second = int.from_bytes(packed[:2]), *packed[2:7]
        return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{int.from_bytes(packed[7:]):06}"
    return ""


def masked_kinds(key: str) -> frozenset[str]:
    """What may be masked in a text below a key."""
    return STRICT if not DIGESTS.search(key) else STRICT - {"id"}


def told(path: Path) -> str:
    """A path as text: `model.steps[1].coef_`."""
    pieces: list[str] = []
    while path and path[0] is not None:
        pieces.append(path[1])
        path = path[0]
    pieces.append(path[1] if path else "")
    text = "".join(reversed(pieces))
    return text.lstrip(".") if len(text) < 200 else f"…{text[-200:]}"


def fingerprint(value: Any, known: dict[int, bytes] | None = None) -> bytes:
    """A digest of a value by what it holds: equal for equal sets in any order, for shared and for separate parts.
    `known` remembers by identity, so the values must stay alive."""
    known = {} if known is None else known
    if isinstance(value, (list, tuple, dict, Pairs, Bag, Made)):
        if id(value) in known:
            return known[id(value)]
        known[id(value)] = b"cycle"
        mark = _digest(type(value).__name__.encode(), *_parts(value, known))
        known[id(value)] = mark
        return mark
    if isinstance(value, Array):
        return _digest(b"array", value.dtype.encode(), repr(value.shape).encode(), bytes(value.data))
    if isinstance(value, (bytes, bytearray)):
        return _digest(b"bytes", bytes(value))
    text = hex(value) if type(value) is int else repr(value) if not isinstance(value, str) else value
    return _digest(type(value).__name__.encode(), text.encode("utf-8", "surrogatepass"))


def _parts(value: Any, known: dict[int, bytes]) -> list[bytes]:
    if isinstance(value, Bag):
        return [_set(value).encode(), *sorted(fingerprint(item, known) for item in value.items)]
    if isinstance(value, dict):
        return [fingerprint(item, known) for pair in value.items() for item in pair]
    if isinstance(value, Pairs):
        return [fingerprint(item, known) for pair in value.items for item in pair]
    if isinstance(value, Made):
        inner = (value.array,) if value.array else (value.what, value.args, value.state, value.items, value.pairs)
        return [fingerprint(item, known) for item in inner]
    return [fingerprint(item, known) for item in value]


def _digest(*parts: bytes) -> bytes:
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8))
        hasher.update(part)
    return hasher.digest()


def _same_number(old: Any, new: Any) -> bool:
    """Two numbers, or other values without parts, of one type. What is equal by value need not be the same: 0.0 and
    -0.0, a moment in two time zones."""
    return bool(old == new) if isinstance(old, (int, Number)) else repr(old) == repr(new)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except (ValueError, OverflowError):
        return False
    return True


def _plain_keys(pairs: Pairs) -> dict[Any, Any] | None:
    """The pairs as a dict, when all keys are plain and different."""
    if not all(isinstance(key, (str, int, float, bool, type(None))) for key, _ in pairs.items):
        return None
    found = {(type(key).__name__, repr(key)) if not isinstance(key, str) else key: value for key, value in pairs.items}
    return found if len(found) == len(pairs.items) else None


def _key(path: Path) -> str:
    return path[1][1:] if path and path[0] is not None and str(path[1]).startswith(".") else ""


def _reals(array: Array) -> list[float]:
    """The values of an array of doubles; none if it is another, is large, or holds what no clock shows."""
    if array.dtype != "<f8" or not 0 < len(array.data) <= MEASURED * 8:
        return []
    values = [value for (value,) in struct.iter_unpack("<d", array.data)]
    return values if all(0 <= value < math.inf for value in values) else []


def _nearest(path: Path) -> str:
    """The nearest key above a value."""
    while path and path[0] is not None and not _key(path):
        path = path[0]
    return _key(path)


def _single(path: Path) -> bool:
    """Whether a value is no item of a list, nor of anything in one: no row of a table of products, with their `pid`."""
    while path and path[0] is not None:
        if str(path[1]).startswith("["):
            return False
        path = path[0]
    return True


def _words(path: Path) -> set[str]:
    """The words of the nearest two keys above a value."""
    words: set[str] = set()
    keys = 0
    while path and path[0] is not None and keys < 2:
        if key := _key(path):
            words |= {word.lower() for word in WORDS.findall(key)}
            keys += 1
        path = path[0]
    return words


def _set(bag: Bag) -> str:
    return "frozenset" if bag.frozen else "set"


def _kind(value: Any) -> str:
    return {Number: "number", Pairs: "dict", Bag: "set", Made: "object", Name: "name"}.get(
        type(value), type(value).__name__
    )


def _brief(value: Any) -> Any:
    if isinstance(value, Made):
        return ".".join(value.what) if isinstance(value.what, Name) else "object"
    if isinstance(value, (Pairs, Bag, dict, list, tuple)):
        return f"of {len(value.items if isinstance(value, (Pairs, Bag)) else value)}"
    return value if not isinstance(value, Array) else f"{value.dtype} {value.shape}"
