"""A Reference: how a person names a run, or a version of data. One parser, used everywhere.

7f3a            the start of an id (4 digits or more)
train-12        a name
@latest, @      the newest run
@{2026-05-03}   the newest run that had started by then (a date: by the end of that day; a time stamp; `2 days ago`,
                `yesterday`); the braces may be left out where no space is inside
RUN@{…}         the newest run of that name that had started by then
RUN~1           the run before RUN; `@~2`, `train-12~1`, `RUN~` is `RUN~1`

And a version of a data set, by `parse_data`; where only data can be meant, `data:/` may be left out:

data:/NAME              the newest version; also data:/NAME@latest
data:/NAME@v3           by number
data:/NAME@2026-05-03T10.11.12.123Z      by its time stamp, exactly
data:/NAME@{2026-05-03}                  the newest that was there by then, dates as above
data:/NAME@b3:8e4c      by checksum, or its start: b3, md5, sha1, sha256; also without a name
data:/NAME@TAG          by a tag
data:/NAME@v3~1         the version before
data:/NAME@v3/PATH      a file or folder in it

And a registered model or a version of it, by `parse_model`; where only that can be meant, `models:/` may be left out:

models:/NAME            the model; where a version is wanted, its newest
models:/NAME/3          by number; also models:/NAME@v3
models:/NAME@champion   the one that an alias means
models:/NAME@{2026-05-03}                the newest that was there by then, dates as above
models:/NAME@champion@{2026-05-03}       the one that the alias meant then
models:/NAME/Production the newest in a stage
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec

from bis.digest import spell
from bis.errors import UsageError


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    """As typed."""
    base: str = ""
    """An id prefix or a name; empty for the newest."""
    moment: str = ""
    """RFC 3339, UTC: the newest run that had started by then."""
    back: int = 0
    """So many runs before."""


WORDS: Final = ("now", "today", "yesterday")
LATEST: Final = frozenset({"", "latest"})
UNITS: Final = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 604800,
    "month": 2629746,
    "year": 31556952,
}
"""Seconds; a month and a year are the average ones."""
SHORT: Final = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week"}
AGO: Final = re.compile(r"(\d{1,12}|an?|one)\s*([a-z]+?)s?\s+ago")
SHAPE: Final = re.compile(r"(?P<base>[^@~]*)(?:@(?:\{(?P<braced>[^{}]*)\}|(?P<bare>[^{}~]*)))?(?P<back>(?:~\d{0,9})*)")
EXAMPLES: Final = "7f3a (start of an id), train-12 (a name), @latest, @{2026-05-03}, @{2 days ago}, @~1, train-12~1"


def parse(text: str, now: datetime) -> Reference:
    """Read a reference to a run. `now` is what `2 days ago` and a plain date are relative to: with a time zone, or,
    without one, by the clock of this machine, whose change to summer time is then known.
    Raises UsageError, with examples, for what is none."""
    shape = SHAPE.fullmatch(text.strip())
    if not text.strip() or shape is None:
        raise _nonsense(text, "")
    base, when = shape["base"].strip(), shape["braced"] if shape["braced"] is not None else shape["bare"]
    if base.startswith(("models:", "data:")):
        raise _nonsense(
            text, f"It names {'a model' if base.startswith('models:') else 'data'}, and a run is wanted here."
        )
    if base and when is not None and when.strip() in LATEST:
        raise _nonsense(text, f"{base!r} already names one run.")
    moment = "" if when is None or when.strip() in LATEST else _moment(text, when.strip(), now)
    return Reference(text=text, base=base, moment=moment, back=_back(shape["back"]))


class DataReference(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    """As typed."""
    base: str = ""
    """The name of a data set; empty: any. Without anything behind an `@`, the path in it may follow after a slash."""
    number: int | None = None
    stamp: str = ""
    """RFC 3339, UTC: the version that was made exactly then."""
    moment: str = ""
    """RFC 3339, UTC: the newest version that was made by then."""
    checksum: tuple[str, str] | None = None
    """The algorithm, and the first hexadecimal digits."""
    tag: str = ""
    back: int = 0
    """So many versions before."""
    path: str = ""
    """Of a file or folder in it, spelled."""


DATA_EXAMPLES: Final = "customers, customers@v3, customers@2026-05-03, customers@b3:8e4c, customers@TAG, customers@v3~1"
DATA_SHAPE: Final = re.compile(
    r"(?P<base>[^@~]*)(?:@(?:\{(?P<braced>[^{}]*)\}|(?P<bare>[^{}~/]*)))?(?P<back>(?:~\d{0,9})*)(?:/(?P<path>.*))?",
    re.S,
)
STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)\.(\d\d)\.(\d\d)\.(\d{3})Z")
CHECKSUM: Final = re.compile(r"(b3|md5|sha1|sha256):([0-9a-fA-F]+)")
DATA: Final = "data:"


def parse_data(text: str, now: datetime) -> DataReference:
    """Read a reference to a version of a data set, or to a file of one. `now` is as for `parse`.
    Raises UsageError, with examples, for what is none."""
    bare = text.strip().removeprefix(DATA).lstrip("/")
    found = DATA_SHAPE.fullmatch(bare)
    if not bare or found is None:
        raise _no_data(text, "")
    base, chosen = found["base"].strip().rstrip("/"), found["braced"] if found["bare"] is None else found["bare"]
    if whole := CHECKSUM.fullmatch(base):
        base, chosen = "", whole[0]
    path = spell((found["path"] or "").strip("/"))
    plain = DataReference(text=text.strip(), base=spell(base), back=_back(found["back"]), path=path)
    return _chosen(plain, chosen.strip() if chosen else "", now)


def _chosen(plain: DataReference, chosen: str, now: datetime) -> DataReference:
    """What stands behind the `@`."""
    if chosen in LATEST:
        return plain
    if re.fullmatch(r"v\d{1,9}", chosen):
        return msgspec.structs.replace(plain, number=int(chosen[1:]))
    if stamp := STAMP.fullmatch(chosen):
        day, hour, minute, second, milli = stamp.groups()
        return msgspec.structs.replace(plain, stamp=f"{day}T{hour}:{minute}:{second}.{milli}000Z")
    if checksum := CHECKSUM.fullmatch(chosen):
        return msgspec.structs.replace(plain, checksum=(checksum[1], checksum[2].lower()))
    if _relative(chosen.lower(), now) or _absolute(chosen, now):
        return msgspec.structs.replace(plain, moment=_moment(plain.text, chosen, now))
    if not is_tag(chosen):
        raise _no_data(plain.text, f"{chosen!r} is no number (v3), time, checksum (b3:8e4c) or tag.")
    return msgspec.structs.replace(plain, tag=chosen)


def is_tag(text: str) -> bool:
    """Whether a version can be tagged so: what could be typed behind an `@` and means nothing else there."""
    return bool(re.fullmatch(r"[\w][\w.+-]*", text)) and not (
        text in LATEST
        or text.lower() in WORDS
        or re.fullmatch(r"v\d+", text)
        or STAMP.fullmatch(text)
        or _absolute(text, datetime.now(UTC))
    )


def is_data_name(text: str) -> bool:
    """Whether a data set can be called so: words of letters, digits and `._+-`, joined by slashes."""
    return all(re.fullmatch(r"\w[\w.+-]*(?: [\w.+-]+)*", word) for word in text.split("/"))


class ModelReference(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    """As typed."""
    name: str
    """Of the registered model."""
    number: int | None = None
    record: str = ""
    """The first digits of the record of the event that registered it, behind `b3:`."""
    alias: str = ""
    stage: str = ""
    """As typed, in any case of letters."""
    moment: str = ""
    """RFC 3339, UTC: as it was then."""
    newest: bool = False
    """True: the newest version was asked for by that word."""

    @property
    def is_version(self) -> bool:
        """Whether it names one version, and not the model as a whole."""
        named = self.which is not None or self.alias or self.stage
        return bool(named or self.moment or self.newest)

    @property
    def which(self) -> int | str | None:
        """The number or the record that it names."""
        return self.record or self.number


MODELS: Final = "models:"
MODEL_EXAMPLES: Final = "churn, churn/3, churn@champion, churn@b3:8e4c, churn@{2026-05-03}, churn@champion@{2026-05-03}"
MODEL_SHAPE: Final = re.compile(
    r"(?P<name>[^/@{}]+)(?:/(?P<place>[^/@{}]+)|@(?P<alias>(?:b3:)?[\w-]+))?(?:@\{(?P<moment>[^{}]*)\})?"
)


def parse_model(text: str, now: datetime) -> ModelReference:
    """Read a reference to a registered model or a version of one. `now` is as for `parse`.
    Raises UsageError, with examples, for what is none."""
    bare = text.strip()
    if bare.startswith(MODELS):
        bare = bare.removeprefix(MODELS).lstrip("/")
    shape = MODEL_SHAPE.fullmatch(bare)
    if shape is None or not shape["name"].strip():
        raise _no_model(text)
    place, alias = shape["place"] or "", shape["alias"] or ""
    if re.fullmatch(r"[vV]\d{1,18}", alias):
        place, alias = alias[1:], ""
    record = ""
    if alias.startswith("b3:"):
        if not re.fullmatch(r"b3:[0-9a-fA-F]{4,64}", alias):
            raise _no_model(text)
        record, alias = alias.lower(), ""
    named = ModelReference(
        text=text.strip(),
        name=shape["name"],
        number=int(place) if re.fullmatch(r"\d{1,18}", place) else None,
        record=record,
        alias="" if alias == "latest" else alias,
        newest=place == "latest" or alias == "latest",
        moment="" if shape["moment"] is None else _moment(text, shape["moment"].strip(), now),
    )
    if named.number is None and place and not named.newest:
        return msgspec.structs.replace(named, stage=place)
    return named


def _no_model(text: str) -> UsageError:
    return UsageError(f"{text!r} is not a reference to a model", hint=f"one of: {MODEL_EXAMPLES}")


def _no_data(text: str, because: str) -> UsageError:
    return UsageError(f"{text!r} is not a reference to data", because=because, hint=f"one of: {DATA_EXAMPLES}")


def _back(tildes: str) -> int:
    return sum(int(number or 1) for number in tildes.split("~")[1:])


def _moment(text: str, when: str, now: datetime) -> str:
    found = _relative(when.lower(), now) or _absolute(when, now)
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(when.lower(), [*WORDS, *LATEST, *(f"2 {unit}s ago" for unit in UNITS)], 1)
        meant = f" Did you mean @{{{near[0]}}}?" if near else ""
        raise _nonsense(text, f"{when!r} is no date, time stamp, or time ago.{meant}")
    return _in_utc(found).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    """The first and the last day of the calendar may be none any more in another zone: as near to it as there is."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        return (datetime.max if moment.year > 1 else datetime.min).replace(tzinfo=UTC)


def _relative(when: str, now: datetime) -> datetime | None:
    if when in WORDS:
        return now if when != "yesterday" else _end_of(now.date() - timedelta(days=1), now)
    ago = AGO.fullmatch(when)
    unit = SHORT.get(ago[2], ago[2]) if ago else ""
    if not ago or unit not in UNITS:
        return None
    count = int(ago[1]) if ago[1].isdecimal() else 1
    try:
        return now.astimezone(UTC) - timedelta(seconds=count * UNITS[unit])
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _absolute(when: str, now: datetime) -> datetime | None:
    try:
        return _end_of(date.fromisoformat(when), now)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(when)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


def _end_of(day: date, now: datetime) -> datetime:
    return datetime.combine(day, time.max, now.tzinfo)


def _nonsense(text: str, because: str) -> UsageError:
    return UsageError(f"{text!r} is not a reference to a run", because=because, hint=f"one of: {EXAMPLES}")
