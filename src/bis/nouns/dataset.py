"""A Data set is a named line of Versions; a Version is one state of it, as somebody added it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from bis.digest import Digest

VERSION_SCHEMA = "bis.data/1"
NOTE_SCHEMA = "bis.data-annotation/1"
SEEN_SCHEMA = "bis.data-seen/1"
LEFT_ALONE = 60
"""Seconds."""


class Sight(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a server says of a file: by it, a change is noticed without reading the file again."""

    size: int = -1
    """-1: not said."""
    etag: str = ""
    """As it was sent, in quotes; one that begins with `W/` vouches for the meaning, not for the bytes."""
    version: str = ""
    """Of the object, where a bucket keeps versions."""
    modified: str = ""
    """Last-Modified, as a number of seconds since 1970."""
    asked: str = ""
    """The server's own time when it said so, likewise."""

    def vouches(self, earlier: Sight) -> bool:
        """Whether this is proof that the bytes are those of an earlier sight. The same size and time of change are,
        where the change was a minute past when it was first looked at (RFC 9110, 8.8.2.2)."""
        if self.refutes(earlier):
            return False
        if self.version and self.version == earlier.version:
            return True
        if self.etag or earlier.etag:
            return self.etag == earlier.etag and not self.etag.startswith("W/")
        if not (self.modified and earlier.asked and self.modified == earlier.modified and self.size >= 0):
            return False
        return int(earlier.asked) - int(self.modified) >= LEFT_ALONE

    def refutes(self, earlier: Sight) -> bool:
        """Whether this is proof that the bytes are others."""
        return self.size >= 0 and earlier.size >= 0 and self.size != earlier.size


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag=SEEN_SCHEMA, tag_field="schema"):
    """What servers said of the files of a version by URL, when their bytes were read."""

    files: dict[str, Sight]
    """By path in the version."""


class DataVersion(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=VERSION_SCHEMA, tag_field="schema"
):
    """The record of one version. It never changes; tags, remarks and removals lie beside it."""

    name: str
    """Of the data set: words joined by `/`."""
    number: int
    """One more than the largest that this ledger knew. Two people may both have made a third version."""
    made: str
    """RFC 3339, UTC, whole milliseconds: when it was added, or the time that its layout gave it. Two versions that one
    ledger made of one data set never have the same."""
    user: str = ""
    host: str = ""
    message: str = ""
    tree: Digest
    """Of its files. A single file is a tree with one entry."""
    single: bool = False
    """It is one file, not a folder that holds one."""
    content: Digest
    """The checksum that names it: of the bytes of the file where it is a single one, else of the tree."""
    files: int = 0
    """Files and links."""
    size: int = 0
    """Bytes of all files."""
    source: str = ""
    """The path that it was added from, spelled: relative to the project when inside it, else absolute. Or the URL,
    without credentials, where its bytes stay there."""
    seen: Digest = Digest("")
    """The blob that says what the server said of its files (`Seen`), of a version by URL."""
    parent: Digest = Digest("")
    """The record of the version before; empty for the first one."""
    metadata: dict[str, str] = {}
    checksums: dict[str, str] = {}
    """Those that were asked for, in hexadecimal: `md5`, `sha1`, `sha256`. Of the file; of a folder, over a listing
    (`docs/format.md`)."""

    @property
    def stamp(self) -> str:
        """Its time as a name: `2026-05-03T10.11.12.123Z`, as Kedro names versions."""
        return stamp_of(self.made)


class DataAnnotation(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=NOTE_SCHEMA, tag_field="schema"
):
    """One entry of the journal beside the versions of a data set."""

    name: str
    """Of the data set."""
    about: tuple[Digest, ...]
    """The records of the versions that it is about."""
    made: str
    """When: RFC 3339, UTC. A later one wins over an earlier one."""
    user: str = ""
    tags: tuple[str, ...] = ()
    """Tags that mean this version from now on, and no other of the data set."""
    removed: tuple[str, ...] = ()
    """Tags that are taken away."""
    note: str = ""
    """A remark, in words. Earlier ones stay."""
    metadata: dict[str, str] = {}
    checksums: dict[str, str] = {}
    hidden: bool | None = None
    """True: removed, so that its content may go. False: taken back. None: nothing is said of that."""
    seen: Digest = Digest("")
    """What the server said of the same bytes later."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A version with what was said of it later."""

    version: DataVersion
    record: Digest
    tags: tuple[str, ...] = ()
    said_metadata: dict[str, str] = {}
    said_checksums: dict[str, str] = {}
    notes: tuple[DataAnnotation, ...] = ()
    """Remarks, in the order of time."""
    hidden: bool = False
    said_seen: Digest = Digest("")

    @property
    def seen(self) -> Digest:
        """What servers said of its files last."""
        return self.said_seen or self.version.seen

    @property
    def metadata(self) -> dict[str, str]:
        """What was said with it and later."""
        return self.version.metadata | self.said_metadata

    @property
    def checksums(self) -> dict[str, str]:
        """All that are known of it, by algorithm, `b3` among them."""
        return {"b3": self.version.content.removeprefix("b3:")} | self.version.checksums | self.said_checksums

    @property
    def reference(self) -> str:
        """`customers@v3`."""
        return f"{self.version.name}@v{self.version.number}"


def hold(versions: Sequence[tuple[DataVersion, Digest]], annotations: Sequence[DataAnnotation]) -> list[Held]:
    """The versions of one data set with what was said of them. Both are given, and come back, in the order of time."""
    found = {record: Held(version=version, record=record) for version, record in versions}
    owners: dict[str, Digest] = {}
    for one in annotations:
        # A tag is one version's: setting it on another takes it from the first.
        owners = {tag: owner for tag, owner in owners.items() if not (tag in one.removed and owner in one.about)}
        owners |= {tag: one.about[0] for tag in one.tags if one.about}
        for record in one.about:
            if record in found:
                found[record] = _after(found[record], one)
    tagged: dict[Digest, list[str]] = {}
    for tag, owner in sorted(owners.items()):
        tagged.setdefault(owner, []).append(tag)
    return [msgspec.structs.replace(one, tags=tuple(tagged.get(record, ()))) for record, one in found.items()]


def _after(found: Held, said: DataAnnotation) -> Held:
    return msgspec.structs.replace(
        found,
        said_metadata=found.said_metadata | said.metadata,
        said_checksums=found.said_checksums | said.checksums,
        notes=(*found.notes, said) if said.note else found.notes,
        hidden=found.hidden if said.hidden is None else said.hidden,
        said_seen=said.seen or found.said_seen,
    )


def is_url(source: str) -> bool:
    """Whether what a version was added from is no path of this disk."""
    return "://" in source


def stamp_of(made: str) -> str:
    """A time as Kedro writes one in the name of a version."""
    return f"{_utc(made):%Y-%m-%dT%H.%M.%S}.{_utc(made).microsecond // 1000:03}Z"


def made_at(moment: datetime, after: str = "") -> str:
    """A moment as a version's time: whole milliseconds, and later than `after`, whatever the clock says."""
    found = moment.astimezone(UTC)
    found = found.replace(microsecond=found.microsecond // 1000 * 1000)
    if after and found <= _utc(after):
        found = _utc(after) + timedelta(milliseconds=1)
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _utc(stamp: str) -> datetime:
    found = datetime.fromisoformat(stamp)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
