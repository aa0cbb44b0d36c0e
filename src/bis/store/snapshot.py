"""Folders as trees: taken, walked, compared and put back.

Paths inside a tree are spelled, relative, with `/`. What cannot be taken (a socket, a file that may not be read or
that somebody is writing to) becomes a Finding and is left out; nothing is guessed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from bis.digest import Digest, digest_bytes, digest_file, readable, short, spell, unspell
from bis.errors import Damaged, KeepingError
from bis.nouns.part import Finding
from bis.nouns.tree import Entry, Leaf, Tree
from bis.store import Store
from bis.store.folders import Hands, Seen, take_folder
from bis.store.statcache import Files, StatCache, believed, open_cache
from bis.store.trouble import IN_THE_WAY, UNREADABLE, UNSAFE, shown, trouble, unreadable

Keep = Callable[[str, os.stat_result], bool]
Modes = Literal["full", "exec"]
"""`exec`: only whether a file may be executed, as Git does; `full`: all nine permission bits."""

TRIES = 3
SMALL = 256 << 10
"""A file up to this size is read at once."""
FOLDER_MODE = 0o755


def keep_all(path: str, status: os.stat_result) -> bool:
    return True


def snapshot(
    folder: Path,
    store: Store | None,
    cache: StatCache | None = None,
    *,
    paths: Iterable[str] | None = None,
    keep: Keep = keep_all,
    modes: Modes = "full",
    notes: list[Finding] | None = None,
) -> Digest:
    """Take the files below `folder`, or only `paths` of it. Files for which `keep` is false are hashed, not copied.
    With no store, nothing is kept and only the digest is found out. Durable after the store's `flush`."""
    if paths is None and keep is keep_all:
        return _whole(folder, store, cache or open_cache(None), modes, [] if notes is None else notes)
    pairs = [("", folder)] if paths is None else [(path, folder / unspell(path)) for path in paths]
    return put_paths(pairs, store, cache, keep=keep, modes=modes, notes=notes)


def _whole(folder: Path, store: Store | None, cache: StatCache, modes: Modes, notes: list[Finding]) -> Digest:
    taking = _Taking(store, cache, keep_all, modes, notes)
    hands = Hands(taking.entries, taking.cannot, taking.mode, read_tree, _encoded)
    try:
        top = os.path.realpath(folder)
        digest = take_folder(top, store, cache, hands)
    except OSError as error:
        raise unreadable(error, folder) from error
    cache.save()
    return digest


def _encoded(tree: Tree) -> bytes:
    """As `canonical` does, ten times as fast: a tree has no numbers that JSON can write in two ways."""
    return msgspec.json.encode(tree, order="sorted")


def put_paths(
    pairs: Iterable[tuple[str, Path | str]],
    store: Store | None,
    cache: StatCache | None = None,
    *,
    keep: Keep = keep_all,
    modes: Modes = "full",
    notes: list[Finding] | None = None,
) -> Digest:
    """Take each file under the path given beside it. A folder stands for everything below it."""
    return plant(put_leaves(pairs, store, cache, keep=keep, modes=modes, notes=notes), store)


def put_leaves(
    pairs: Iterable[tuple[str, Path | str]],
    store: Store | None,
    cache: StatCache | None = None,
    *,
    keep: Keep = keep_all,
    modes: Modes = "full",
    notes: list[Finding] | None = None,
) -> list[Leaf]:
    """As `put_paths`, without making trees of it yet."""
    taking = _Taking(store, cache or open_cache(None), keep, modes, [] if notes is None else notes)
    return taking.take([(path, os.fspath(place)) for path, place in pairs])


def plant(leaves: Iterable[Leaf], store: Store | None) -> Digest:
    """The tree of these leaves. A leaf of kind `tree` is a folder, there even when nothing lies in it."""
    folders: dict[str, dict[str, Entry]] = {"": {}}
    modes: dict[str, int] = {}
    for leaf in leaves:
        if leaf.entry.kind == "tree":
            _folder(folders, leaf.path)
            modes[leaf.path] = leaf.entry.mode
            continue
        parent, _, name = leaf.path.rpartition("/")
        if _safe(name, leaf.path) in _folder(folders, parent):
            raise KeepingError(f"{readable(leaf.path)} is there twice", code=UNSAFE)
        folders[parent][name] = msgspec.structs.replace(leaf.entry, name=name)
    return _fold(folders, modes, store)


def read_tree(store: Store, digest: Digest) -> Tree:
    """Raises Damaged for an object that is no tree, or names that could lead out of a folder."""
    return _decoded(digest, store.get_bytes(digest))


def read_trees(store: Store, digests: Iterable[Digest]) -> Iterator[tuple[Digest, Tree]]:
    """As `read_tree`, each once, in the order that is cheapest."""
    wanted = dict.fromkeys(digests)
    for digest, data in store.get_many(list(wanted)):
        del wanted[digest]
        yield digest, _decoded(digest, data)
    for digest in wanted:
        yield digest, read_tree(store, digest)


def _decoded(digest: Digest, data: bytes) -> Tree:
    try:
        tree = msgspec.json.decode(data, type=Tree)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{short(digest)} is not a tree: {error}", hint="bis verify") from None
    names = {_safe(entry.name, entry.name) for entry in tree.entries}
    if len(names) < len(tree.entries):
        raise Damaged(f"tree {short(digest)} has a name twice", hint="bis verify", code=UNSAFE)
    return tree


def walk(store: Store, digest: Digest, *, folders: bool = False) -> Iterator[Leaf]:
    """The files and links of a tree, in order; with `folders`, each folder before what lies in it."""
    levels = [("", iter(read_tree(store, digest).entries))]
    while levels:
        prefix, entries = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        path = prefix + entry.name
        if entry.kind != "tree" or folders:
            yield Leaf(path=path, entry=entry)
        if entry.kind == "tree":
            levels.append((path + "/", iter(read_tree(store, entry.digest).entries)))


def find_leaf(store: Store, digest: Digest, path: str) -> Leaf | None:
    """What lies at `path`: a file, link or folder; None when nothing does."""
    entry: Entry | None = None
    for name in path.split("/"):
        if entry and entry.kind != "tree":
            return None
        tree = read_tree(store, entry.digest if entry else digest)
        entry = next((entry for entry in tree.entries if entry.name == name), None)
        if entry is None:
            return None
    return Leaf(path=path, entry=entry) if entry else None


def restore(
    store: Store,
    digest: Digest,
    into: Path,
    *,
    overwrite: bool = False,
    only: Callable[[str], bool] | None = None,
) -> list[Leaf]:
    """Put the files of a tree back below `into`. Returns those that were recorded by reference: their bytes are not in
    the store. Unless told to `overwrite`, raises KeepingError before anything is written when a file is in the way;
    never writes through a link, never outside `into`."""
    from bis.store.fill import clear, fill

    leaves = [leaf for leaf in walk(store, digest, folders=True) if only is None or only(leaf.path)]
    clear(leaves, into)
    _look_first(leaves, into, overwrite)
    absent = []
    made: set[Path] = set()
    try:
        others = fill(store, leaves, into, over=overwrite)
        into.mkdir(parents=True, exist_ok=True)
        for leaf in others:
            if leaf.entry.kind == "file" and not leaf.entry.kept:
                absent.append(leaf)
            else:
                _put_back(store, leaf, into / unspell(leaf.path), overwrite, made)
        for leaf in reversed(leaves):
            if leaf.entry.kind == "tree" and leaf.entry.mode != FOLDER_MODE:
                (into / unspell(leaf.path)).chmod(leaf.entry.mode)
    except OSError as error:
        raise trouble(error, "restore into", Path(error.filename or into)) from error
    return absent


def difference(store: Store, before: Digest, after: Digest) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """What differs: path, entry before, entry after (None: not there). Equal sub-trees are not even read. A folder is
    named itself only where it is empty on the side where it is, or where its own mode differs."""
    levels = [("", iter(_pairs(store, before, after)))]
    while levels:
        prefix, pairs = levels[-1]
        old, new = next(pairs, (None, None))
        entry = old or new
        if entry is None:
            levels.pop()
            continue
        if _same(old, new):
            continue
        path = prefix + entry.name
        old_tree, new_tree = _subtree(old), _subtree(new)
        if _named_itself(store, old, new):
            yield path, old, new
        elif old and new and not (old_tree and new_tree):
            yield path, None if old_tree else old, None if new_tree else new
        if old_tree or new_tree:
            levels.append((path + "/", iter(_pairs(store, old_tree, new_tree))))


def _subtree(entry: Entry | None) -> Digest | None:
    return entry.digest if entry and entry.kind == "tree" else None


def _named_itself(store: Store, old: Entry | None, new: Entry | None) -> bool:
    """Whether a difference is of this entry, and not only of what lies below it."""
    if old and new and old.kind == new.kind:
        return old.kind != "tree" or old.mode != new.mode
    return all(entry is None or entry.kind != "tree" or _is_empty(store, entry) for entry in (old, new))


def _is_empty(store: Store, folder: Entry) -> bool:
    return not read_tree(store, folder.digest).entries


class _Taking:
    """One taking of many files: what each step needs, kept together."""

    def __init__(self, store: Store | None, cache: StatCache, keep: Keep, modes: Modes, notes: list[Finding]) -> None:
        self.store, self.cache, self.keep, self.modes, self.notes = store, cache, keep, modes, notes

    def take(self, pairs: list[tuple[str, str]]) -> list[Leaf]:
        """Each path and, where it is a folder, all below it."""
        absolute = [(path, os.path.abspath(place)) for path, place in pairs]  # noqa: PTH100
        return self.leaves([item for path, place in absolute for item in self.look(path, place)])

    def entries(self, place: str, below: str, seen: list[Seen], remembered: Files) -> list[Entry]:
        """What a folder was seen to hold and is no folder: in few steps, as there may be very many."""
        looked, start = self.cache.now(), f"{below}/" if below else ""
        known = self.known(seen, remembered) if remembered else {}
        found: list[Entry | None] = []
        fresh: list[tuple[str, os.stat_result, Digest]] = []
        for name, status in seen:
            spelled = spell(name)
            digest = known.get(spelled)
            if status and not digest and stat.S_ISREG(status.st_mode) and status.st_size <= SMALL:
                digest = self.small(f"{place}/{name}", status)
                if digest:
                    fresh.append((spelled, status, digest))
            if status and digest:
                mode = self.mode(status.st_mode)
                found.append(Entry(name=spelled, kind="file", digest=digest, size=status.st_size, mode=mode))
            else:
                found.append(self.slowly(start + spelled, f"{place}/{name}", status, looked))
        self.cache.remember_files(place, fresh, looked)
        return [entry for entry in found if entry]

    def known(self, seen: list[Seen], remembered: Files) -> dict[str, Digest]:
        """By name, spelled, the digests of the files that need not be read."""
        found = {}
        for name, status in seen:
            spelled = spell(name)
            if status and (digest := believed(remembered.get(spelled), status)):
                found[spelled] = digest
        missing = self.store.missing(found.values()) if self.store else ()
        return {name: digest for name, digest in found.items() if digest not in missing} if missing else found

    def slowly(self, path: str, place: str, status: os.stat_result | None, looked: int) -> Entry | None:
        """As `entries`, for what needs a closer look."""
        try:
            status = status or os.lstat(place)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, "it became a folder while it was looked at", place)
        except OSError as error:
            self.cannot(path, error)
            return None
        if stat.S_ISREG(status.st_mode):
            leaf = self.file(path, place, status, None, looked)
        else:
            leaf = self.other(path, place, status)
        return leaf.entry if leaf else None

    def leaves(self, found: list[tuple[str, str, os.stat_result]]) -> list[Leaf]:
        looked = self.cache.now()
        regular = [item for item in found if stat.S_ISREG(item[2].st_mode)]
        known = self.cache.recall([(place, status) for _, place, status in regular])
        leaves = [self.other(*item) for item in found if not stat.S_ISREG(item[2].st_mode)]
        leaves += [self.file(*item, digest, looked) for item, digest in zip(regular, known, strict=True)]
        self.cache.save()
        return [leaf for leaf in leaves if leaf]

    def look(self, path: str, place: str) -> Iterator[tuple[str, str, os.stat_result]]:
        """The path itself, and, for a folder, all below it."""
        todo = [(path, place)]
        while todo:
            path, place = todo.pop()
            try:
                status = os.lstat(place) if path else Path(place).stat()
                if path:
                    yield path, place, status
                elif not stat.S_ISDIR(status.st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place)
                if stat.S_ISDIR(status.st_mode):
                    with os.scandir(place) as entries:
                        todo += [
                            (f"{path}/{spell(entry.name)}" if path else spell(entry.name), entry.path)
                            for entry in entries
                        ]
            except OSError as error:
                if not path:  # nothing at all could be taken: no finding is loud enough
                    raise unreadable(error, Path(place)) from error
                self.cannot(path, error)

    def other(self, path: str, place: str, status: os.stat_result) -> Leaf | None:
        name = path.rpartition("/")[2]
        if stat.S_ISDIR(status.st_mode):
            return Leaf(path=path, entry=Entry(name=name, kind="tree", mode=self.mode(status.st_mode)))
        if stat.S_ISLNK(status.st_mode):
            try:
                target = spell(os.readlink(place))  # noqa: PTH115 - Path.readlink would tidy what was written
            except OSError as error:
                self.cannot(path, error)
                return None
            return Leaf(path=path, entry=Entry(name=name, kind="link", target=target))
        kind = (
            "a socket" if stat.S_ISSOCK(status.st_mode) else "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device"
        )
        self.notes.append(Finding(code="not-a-file", text=f"{readable(path)} is {kind}: it has no content to keep"))
        return None

    def file(self, path: str, place: str, status: os.stat_result, known: Digest | None, looked: int) -> Leaf | None:
        kept = self.keep(path, status)
        try:
            digest = None
            if known:  # nothing is read, so nothing can change meanwhile
                digest = known if not kept or self.store is None or self.store.has(known) else None
            elif kept and status.st_size <= SMALL:
                digest = self.small(place, status)
                if digest:
                    self.cache.remember(place, status, digest, looked)
            if digest is None:
                digest, status = self.settled(path, place, status, known, kept)
        except OSError as error:
            self.cannot(path, error)
            return None
        except KeepingError as error:
            if error.code != UNREADABLE:
                raise
            self.cannot(path, error.__cause__ or error)
            return None
        name, mode = path.rpartition("/")[2], self.mode(status.st_mode)
        return Leaf(
            path=path, entry=Entry(name=name, kind="file", digest=digest, size=status.st_size, mode=mode, kept=kept)
        )

    def small(self, place: str, status: os.stat_result) -> Digest | None:
        """Read and keep a file in the fewest steps. None when it is not as `status` says, or cannot be read."""
        try:
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(fd, status.st_size + 1)
                after = os.fstat(fd)
            finally:
                os.close(fd)
        except OSError:
            return None
        if len(data) != status.st_size or _times(after) != _times(status):
            return None
        return self.store.put_bytes(data) if self.store else digest_bytes(data)

    def settled(
        self, path: str, place: str, status: os.stat_result, known: Digest | None, kept: bool
    ) -> tuple[Digest, os.stat_result]:
        """Read the file until it stays as it is while it is read."""
        digest = Digest("")
        for _ in range(TRIES):
            looked = self.cache.now()
            digest = self.content(place, known, kept)
            after = os.lstat(place)
            if _times(after) == _times(status):
                if digest != known:
                    self.cache.remember(place, status, digest, looked)
                return digest, status
            known, status = None, after
        text = f"{readable(path)} was written to while it was read, {TRIES} times: what was kept may be a mixture"
        self.notes.append(Finding(code="changed-while-read", text=text, hint="wait for its writer", blocks=True))
        return digest, status

    def content(self, place: str, known: Digest | None, kept: bool) -> Digest:
        if self.store is None or not kept:
            return known or digest_file(place)
        if known and self.store.has(known):
            return known
        return self.store.put_file(place)

    def mode(self, told: int) -> int:
        mode = stat.S_IMODE(told) & 0o777
        if self.modes == "full":
            return mode
        return 0o755 if mode & 0o100 or stat.S_ISDIR(told) else 0o644

    def cannot(self, path: str, error: BaseException) -> None:
        said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        code = "vanished" if isinstance(error, FileNotFoundError) else "unreadable"
        self.notes.append(Finding(code=code, text=f"{readable(path)} cannot be read: {said}", blocks=True))


def _times(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def _folder(folders: dict[str, dict[str, Entry]], path: str) -> dict[str, Entry]:
    """The entries of a folder, itself and its parents made when they are new."""
    known = path
    while known not in folders:
        parent, _, name = known.rpartition("/")
        folders[known] = {}
        _safe(name, path)
        known = parent
    return folders[path]


def _fold(folders: dict[str, dict[str, Entry]], modes: dict[str, int], store: Store | None) -> Digest:
    """Trees from the deepest folder up; each becomes an entry of its parent."""
    digest = Digest("")
    for path in sorted(folders, key=lambda path: -len(path.split("/")) if path else 0):
        entries = sorted(folders[path].values(), key=lambda entry: entry.name.encode())
        data = _encoded(Tree(entries=tuple(entries)))
        digest = store.put_bytes(data, "tree") if store else digest_bytes(data)
        if path:
            parent, _, name = path.rpartition("/")
            if name in folders[parent]:
                raise KeepingError(f"{readable(path)} is both a file and a folder", code=UNSAFE)
            size, mode = sum(entry.size for entry in entries), modes.get(path, FOLDER_MODE)
            folders[parent][name] = Entry(name=name, kind="tree", digest=digest, size=size, mode=mode)
    return digest


def _safe(name: str, path: str) -> str:
    """Raises unless `name` is one plain name, spelled: what leads elsewhere is never made and never followed."""
    if name in ("", ".", "..") or "/" in name or not _is_spelled(name):
        raise Damaged(f"{path!r} is no path inside a folder", hint="bis verify", code=UNSAFE)
    return name


def _is_spelled(name: str) -> bool:
    if name.isascii() and "\0" not in name:
        return True
    try:
        return spell(os.fsencode(unspell(name))) == name
    except ValueError:
        return False


def _look_first(leaves: list[Leaf], into: Path, overwrite: bool) -> None:
    """Raise before anything is written when something is in the way."""
    taken: list[str] = []
    for leaf in leaves:
        place = into / unspell(leaf.path)
        try:
            status = place.lstat()
        except OSError:
            continue
        if leaf.entry.kind == "tree" and not stat.S_ISDIR(status.st_mode):
            raise KeepingError(
                f"{shown(place)} is not a folder, and a folder is to be restored there: nothing was written",
                hint=f"mv {shown(place)} {shown(place)}.old",
                code=IN_THE_WAY,
            )
        if leaf.entry.kind != "tree" and (not overwrite or stat.S_ISDIR(status.st_mode)):
            taken.append(leaf.path)
    if taken:
        more = f" and {len(taken) - 3} more" if len(taken) > 3 else ""
        raise KeepingError(
            f"{', '.join(readable(path) for path in taken[:3])}{more} would be overwritten in {shown(into)}",
            because="Nothing was written.",
            hint=f"restore into an empty folder, or move {shown(into)} away",
            code=IN_THE_WAY,
        )


def _put_back(store: Store, leaf: Leaf, place: Path, overwrite: bool, made: set[Path]) -> None:
    folder = place if leaf.entry.kind == "tree" else place.parent
    if folder not in made:
        folder.mkdir(exist_ok=True, parents=True)
        made.add(folder)
    if leaf.entry.kind == "tree":
        return
    if not overwrite or not os.path.lexists(place):
        _make(store, leaf, place)
        return
    from bis.store.drafts import drafting

    with drafting(os.fspath(place.parent)) as drafts:
        fresh = Path(drafts, "file")
        _make(store, leaf, fresh)
        fresh.replace(place)


def _make(store: Store, leaf: Leaf, place: Path) -> None:
    if leaf.entry.kind == "link":
        place.symlink_to(unspell(leaf.entry.target))
    else:
        store.get_file(leaf.entry.digest, place, leaf.entry.mode)


def _pairs(store: Store, before: Digest | None, after: Digest | None) -> list[tuple[Entry | None, Entry | None]]:
    """The entries of two folders side by side."""
    if before == after:
        return []
    old = {entry.name: entry for entry in read_tree(store, before).entries} if before else {}
    new = {entry.name: entry for entry in read_tree(store, after).entries} if after else {}
    return [(old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys(), key=str.encode)]


def _same(old: Entry | None, new: Entry | None) -> bool:
    """Whether two entries mean the same content; whether it was copied does not matter."""
    return old is not None and new is not None and _identity(old) == _identity(new)


def _identity(entry: Entry) -> tuple[str, str, int, str]:
    return (entry.kind, entry.digest, entry.mode, entry.target)
