"""This store and a remote, which is listed once: what each has that the other has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bis import __version__
from bis.digest import Digest
from bis.nouns.part import Finding
from bis.settings import Settings
from bis.steps.home import Home
from bis.steps.remotes import KNOWN, choose
from bis.store.index import Place
from bis.store.known import Known, learn
from bis.store.local import LocalStore
from bis.store.mending import missing
from bis.store.packs import NUMBER_OF_KIND, SUFFIX
from bis.store.remote import Remote
from bis.store.remote.address import open_remote
from bis.store.transfer import Copies, Moved, Receiving, check_remote, no_store, spread, uncovered

Told = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is: bytes, or packs."""
READING: Final = "reading lists of packs"
SENDING: Final = "sent"
RECEIVING: Final = "received"
TELLING: Final = frozenset((NUMBER_OF_KIND["tree"], NUMBER_OF_KIND["record"]))
FEW: Final = 20_000
"""Up to so many objects are looked for one by one in what is known of a remote; for more, all of it is gone through."""
SMALL: Final = 4 << 20
"""A pack up to this size is fetched whole."""


class Meeting:
    """This store and a remote, which is listed once."""

    def __init__(self, home: Home, url: str, variables: Mapping[str, str]) -> None:
        self.url = url
        self.store = home.store
        self.remote: Remote = open_remote(url, variables)
        try:
            self.listed = self.remote.list()
            self.store.index.catch_up(sure=True)
            self.here = packs_of(self.store)
            self.known = Known(home.folder / KNOWN)
        except BaseException:
            self.remote.close()
            raise

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *_: object) -> None:
        self.known.close()
        self.remote.close()

    def check(self) -> None:
        """Raises NotFound when there is no store, KeepingError when it is one of a newer bis."""
        if not check_remote(self.remote):
            raise no_store(self.remote)

    def learn(self, told: Told) -> tuple[list[str], list[Finding]]:
        return learn(self.remote, self.listed, self.known, self.store, telling(told, READING))

    def that_tell(self, sound: Sequence[str], *, small: bool) -> list[Copies]:
        """What lies in the sound packs there, says what is needed, and is not here; if `small`, with it all of the
        packs that are small."""
        whole = [name for name in sound if self.listed.get(name, 0) <= SMALL] if small else []
        return self._absent(self.known.of_kinds(sound, TELLING, whole))

    def copies_there(self, sound: Iterable[str], digests: set[bytes]) -> list[Copies]:
        """What lies in the sound packs there, has one of these digests, and is not here."""
        if len(digests) <= FEW:
            return self._absent(self.known.places(sound, [*digests]))
        return self._absent(place for place in self.known.places(sound) if place.item.digest in digests)

    def _absent(self, there: Iterable[Place]) -> list[Copies]:
        """What of these is not here. Few are looked for one by one: this store may have very many others."""
        places = list(there)
        few = len(places) <= FEW
        here = self.store.index.copies_of(place.item.digest for place in places) if few else self.copies_here()
        return spread(uncovered(places, here), self.listed)

    def unserved(self, roots: Iterable[Digest]) -> tuple[list[str], list[Digest]]:
        """The packs here, and the roots, of which the remote is not known to have all."""
        served = self.known.served(self._mark, self.listed)
        return [name for name in self.here if name not in served], [root for root in roots if root not in served]

    def serves(self, what: Iterable[str], relied: Iterable[str]) -> None:
        self.known.serves(self._mark, what, relied)

    @property
    def _mark(self) -> str:
        """The remote, as this bis understands its packs."""
        return f"{__version__} {self.url}"

    def lacking(self, fresh: Sequence[str], there: Sequence[str]) -> Iterator[Copies]:
        """What lies in these packs here and not in those there."""
        new = set(fresh)
        count = sum(objects for name, _, objects in self.store.index.by_pack() if name in new)
        if count > FEW:
            return uncovered(self.store.index.copies(fresh), self.known.places(there))
        ours = list(self.store.index.copies(fresh))
        return uncovered(ours, self.known.places(there, [place.item.digest for place in ours]))

    def are_here(self, digests: set[bytes]) -> bool:
        """Whether this store has all of these: only then does the remote have all, when nothing is lacking."""
        return len(digests & {place.item.digest for place in self.copies_here()}) == len(digests)

    def copies_here(self) -> Iterable[Place]:
        return self.store.index.copies()


def packs_of(store: LocalStore) -> list[str]:
    return sorted(path.name for path in store.packs.iterdir() if path.name.endswith(SUFFIX))


def telling(told: Told, what: str) -> Callable[[int, int], None]:
    return lambda done, total: told(what, done, total)


def chosen(name: str, project: Path, settings: Settings, variables: Mapping[str, str]) -> tuple[str, str]:
    """As `remotes.choose`. Raises UsageError where secrets would go to a server that only the project names."""
    found = choose(name, project, settings)
    if "://" not in found[1]:
        return found  # a folder is told no secrets
    from bis.steps.trust import choose_trusted

    return choose_trusted(name, project, settings, variables)


def bring_missing(meeting: Meeting, receiving: Receiving, sound: list[str], gone: Callable[[], set[bytes]]) -> None:
    """Fetch what is gone. It may need more that is gone, which shows when it has come."""
    asked = set[bytes]()

    while (lacking := gone() | receiving.needed) - asked:
        asked |= lacking
        receiving.bring(meeting.copies_there(sound, asked))


def bring_needed(home: Home, name: str, roots: list[Digest], told: Told) -> Moved:
    """Bring what these and all that they need lack here, each object proved."""
    if not missing(home.store, roots):
        return Moved()
    _, url = chosen(name, home.project, home.settings, home.variables)
    with Meeting(home, url, home.variables) as meeting:
        meeting.check()
        sound, findings = meeting.learn(told)
        with Receiving(home.store, meeting.remote, telling(told, RECEIVING)) as receiving:
            bring_missing(meeting, receiving, sound, lambda: missing(home.store, roots, receiving.record))
        moved = receiving.moved()
    return moved._replace(findings=(*findings, *moved.findings))
