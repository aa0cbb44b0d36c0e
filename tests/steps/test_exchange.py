"""A run with a part of another run."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bis.digest import Digest
from bis.errors import NotFound
from bis.nouns.part import Part, PartKind
from bis.nouns.run import Run
from bis.settings import Settings
from bis.steps.exchange import exchange, not_taken
from bis.steps.home import Home, open_home
from bis.steps.seal import seal


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path, Settings())


@pytest.fixture
def sealed(home: Home) -> Callable[..., Run]:
    """A run in the ledger with these parts."""

    def work(id: str, started: str, *kinds: PartKind) -> Run:
        parts = {kind: Part(kind=kind, digest=Digest(f"b3:{id}")) for kind in kinds}
        run = Run(id=id * 6, name=f"train-{id}", command=("a",), started=started, status="finished", parts=parts)
        seal(run, home.store, home.ledger)
        return run

    return work


@pytest.fixture
def bogota(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Five hours behind UTC."""
    monkeypatch.setenv("TZ", "<-05>5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_part_that_a_run_has_not_is_told_with_the_run(home: Home, sealed: Callable[..., Run]) -> None:
    run = sealed("a1", "2026-05-03T10:00:00Z", "environment")
    sealed("b2", "2026-05-03T11:00:00Z")  # as a run that was lost before all of it was seen
    with pytest.raises(NotFound, match="b2b2b2b2 has no environment"):
        exchange(run, {"env": "train-b2"}, home, {})


@pytest.mark.usefixtures("bogota")
def test_a_date_ends_at_midnight_where_the_person_is(home: Home, sealed: Callable[..., Run]) -> None:
    run = sealed("a1", "2026-05-03T10:00:00Z", "environment")
    evening = sealed("b2", "2026-05-04T03:00:00Z", "environment")
    assert exchange(run, {"env": "@{2026-05-03}"}, home, {}) == evening.parts


def test_what_lies_on_the_machine_itself_is_said_not_to_be_taken_along(home: Home, sealed: Callable[..., Run]) -> None:
    def part(libc: str) -> Part:
        return Part(kind="infrastructure", digest=Digest(f"b3:{libc}"), facts={"libc": libc, "declared": []})

    again = msgspec.structs.replace(sealed("a", "2026-11-23T12:00:00Z"), parts={"infrastructure": part("glibc 2.41")})
    parts: dict[PartKind, Part] = {"infrastructure": part("glibc 2.36")}
    (told,) = not_taken({"infra": "train-9"}, parts, again, home.store)
    assert told.text.endswith("of train-9 not everything can be put in place; here it is another: C library")
    assert list(not_taken({"infra": "train-9"}, again.parts, again, home.store)) == []
    assert list(not_taken({"code": "train-9"}, parts, again, home.store)) == []
