"""Collecting: what nothing needs goes, in two phases, and nothing else ever does."""

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bis.digest import Digest, canonical, digest_bytes
from bis.errors import KeepingError, NotFound
from bis.nouns.annotation import Annotation
from bis.nouns.dataset import DataAnnotation, DataVersion
from bis.nouns.run import Output, Run
from bis.store import doomed, writers
from bis.store.collect import Collected, alone, collect
from bis.store.local import LocalStore, open_store
from bis.store.snapshot import plant, put_leaves, restore, snapshot
from bis.store.sweep import verify

NOW = datetime(2026, 5, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def gc(store: LocalStore, hours: float = 0, **others: bool) -> Collected:
    """What `bis gc` does so many hours after noon."""
    return collect(store, now=NOW + hours * HOUR, grace=HOUR, **others)


def table(seed: int, edited: int = 0, rows: int = 60_000) -> bytes:
    """A table of some megabytes; with `edited`, a version of it in which every so many-th row differs."""
    draw = random.Random(seed)
    lines = [f"{number},{draw.random()},{draw.random()}\n" for number in range(rows)]
    if edited:
        lines[::edited] = [f"{number},edited,{number}\n" for number in range(0, len(lines), edited)]
    return "".join(lines).encode()


def version_of(store: LocalStore, folder: Path, number: int = 1) -> Digest:
    """A version of data, added and durable; the digest of its record."""
    tree = snapshot(folder, store)
    store.flush()
    version = DataVersion(name="customers", number=number, made=f"2026-05-03T00:00:0{number}Z", tree=tree, content=tree)
    record = store.put_bytes(canonical(version), "record")
    store.flush()
    return record


def hide(store: LocalStore, record: Digest) -> None:
    said = DataAnnotation(name="customers", about=(record,), made="2026-05-04T00:00:00Z", hidden=True)
    store.put_bytes(canonical(said), "record")
    store.flush()


def run_with(output: Digest) -> bytes:
    """The record of a run that made this."""
    return canonical(
        Run(
            id="7f3a00000000",
            name="train-1",
            command=("x",),
            started="2026-05-03T00:00:00Z",
            status="finished",
            outputs=(Output(path="model", digest=output, size=1),),
        )
    )


def packs_of(store: LocalStore) -> set[str]:
    return {path.name for path in store.packs.glob("*.pack")}


def of_yesterday(store: LocalStore) -> None:
    """A living writer has nothing to do with the packs that are there now."""
    for path in store.packs.glob("*.pack"):
        os.utime(path, (0, 0))


def whole(path: Path) -> None:
    with open_store(path) as found:
        assert verify(found) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    for number in range(20):
        (tmp_path / "data" / "sub" / f"{number}.txt").write_text(f"row {number}\n" * 300)
    (tmp_path / "data" / "table.csv").write_bytes(table(1))
    return tmp_path / "data"


@pytest.fixture
def gone(store: LocalStore, folder: Path) -> tuple[LocalStore, Digest]:
    """A store with a version that was removed, by a process that has ended."""
    with open_store(store.path) as writer:
        record = version_of(writer, folder)
        hide(writer, record)
    of_yesterday(store)
    return store, record


def test_what_is_needed_stays_as_it_is(store: LocalStore, folder: Path) -> None:
    with open_store(store.path) as writer:
        version_of(writer, folder)
    before = packs_of(store)
    done = gc(store, at_once=True)
    assert (done.doomed, done.deleted, done.freed, packs_of(store)) == (0, 0, 0, before)


def test_what_nothing_needs_is_doomed_first_and_deleted_after_the_time_of_grace(
    gone: tuple[LocalStore, Digest], folder: Path
) -> None:
    store, record = gone
    first = gc(store)
    assert first.doomed == 1
    assert first.deleted == 0
    assert first.unneeded["blob"].objects == 21
    assert first.unneeded["tree"].objects == 2
    assert first.until == "2026-05-03T13:00:00.000000Z"
    assert store.get_bytes(digest_bytes((folder / "table.csv").read_bytes()))
    whole(store.path)
    assert gc(store, 0.9).deleted == 0
    last = gc(store, 1)
    assert last.deleted == 1
    assert last.freed > 500_000
    assert (last.waiting, last.until) == (0, "")
    assert not (store.path / "doomed").exists()
    whole(store.path)
    assert store.has(record)  # what was there is still told
    with pytest.raises(NotFound):
        store.get_bytes(digest_bytes((folder / "table.csv").read_bytes()))


def test_at_once_there_is_no_time_of_grace(gone: tuple[LocalStore, Digest]) -> None:
    store, _ = gone
    done = gc(store, at_once=True)
    assert (done.doomed, done.deleted, done.waiting) == (1, 1, 0)
    whole(store.path)


def test_a_dry_run_says_what_would_go_and_changes_nothing(gone: tuple[LocalStore, Digest]) -> None:
    store, _ = gone
    before = {path: path.read_bytes() for path in store.packs.iterdir()}
    would = gc(store, dry=True)
    assert before == {path: path.read_bytes() for path in store.packs.iterdir()}
    assert not (store.path / "doomed").exists()
    did = gc(store)
    assert (would.unneeded, would.doomed) == (did.unneeded, did.doomed)


def test_what_is_needed_of_a_pack_moves_as_it_is_stored(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    with open_store(store.path) as writer:
        old = snapshot(folder, writer)  # in one pack with the next
        (folder / "table.csv").write_bytes(table(1, edited=100))
        (folder / "sub" / "1.txt").unlink()
        record = version_of(writer, folder)
        (folder / "table.csv").write_bytes(table(7))
        version_of(writer, folder, 2)
    before = packs_of(store)
    done = gc(store, at_once=True)
    assert done.moved
    assert done.deleted
    assert packs_of(store) != before
    whole(store.path)
    with open_store(store.path) as reader:
        assert not reader.has(old)
        for name, made in (("one", table(1, edited=100)), ("two", table(7))):
            assert digest_bytes(made) in {Digest(digest) for digest in reader.list("blob")}, name
            assert reader.get_bytes(digest_bytes(made)) == made
        assert reader.has(record)


def test_a_base_stays_as_long_as_a_difference_needs_it(store: LocalStore) -> None:
    with open_store(store.path) as writer:
        writer.put_bytes(table(1))
        writer.flush()
        after = writer.put_bytes(table(1, edited=100))
        writer.put_bytes(run_with(after), "record")
        writer.flush()
    gc(store, at_once=True)
    whole(store.path)
    assert store.get_bytes(after) == table(1, edited=100)


def test_a_run_that_was_removed_needs_nothing_until_that_is_taken_back(store: LocalStore) -> None:
    with open_store(store.path) as writer:
        model = writer.put_bytes(b"model" * 1000)
        writer.flush()
        writer.put_bytes(run_with(model), "record")
        writer.flush()
        for minute, hidden in enumerate((True, False, True)):
            said = Annotation(run="7f3a00000000", made=f"2026-05-03T00:0{minute}:00Z", hidden=hidden)
            writer.put_bytes(canonical(said), "record")
            writer.flush()
            writer.rest()
            assert bool(gc(store, dry=True).doomed) == hidden
            whole(store.path)


def test_what_is_put_again_meanwhile_is_put_into_another_pack(gone: tuple[LocalStore, Digest], folder: Path) -> None:
    store, _ = gone
    gc(store)
    with open_store(store.path) as writer:
        # The same objects in the same order would make a pack of the same name.
        version_of(writer, folder, 2)
    assert gc(store, 2).deleted == 1
    whole(store.path)
    restore(store, plant(put_leaves([("", folder)], None), None), folder.parent / "back")
    assert (folder.parent / "back" / "table.csv").read_bytes() == table(1)


def test_what_a_living_writer_found_is_not_deleted_until_it_has_ended(
    gone: tuple[LocalStore, Digest], folder: Path
) -> None:
    store, _ = gone
    with open_store(store.path) as writer:
        tree = snapshot(folder, writer)  # everything is there already, and is found so
        first = gc(store, at_once=True)
        assert (first.deleted, len(first.writers)) == (0, 1)
        assert gc(store, 5, at_once=True).deleted == 0
        version = DataVersion(name="c", number=2, made="2026-05-03T00:00:00Z", tree=tree, content=tree)
        writer.put_bytes(canonical(version), "record")
        writer.flush()
    assert gc(store, 6).deleted == 1
    whole(store.path)
    restore(store, tree, folder.parent / "back")


def test_a_writer_that_began_later_relies_on_nothing_that_is_doomed(
    gone: tuple[LocalStore, Digest], folder: Path
) -> None:
    store, _ = gone
    gc(store)
    with open_store(store.path) as writer:
        tree = snapshot(folder, writer)
        edited = writer.put_bytes(table(1, edited=100))  # like what is doomed, and no difference from that
        assert gc(store, 2).deleted == 1
        writer.put_bytes(run_with(edited), "record")
        version = DataVersion(name="c", number=2, made="2026-05-03T00:00:00Z", tree=tree, content=tree)
        writer.put_bytes(canonical(version), "record")
        writer.flush()
    whole(store.path)
    assert store.get_bytes(edited) == table(1, edited=100)
    restore(store, tree, folder.parent / "back")


def test_a_writer_that_began_later_keeps_nobody_waiting(gone: tuple[LocalStore, Digest]) -> None:
    store, _ = gone
    gc(store)
    with open_store(store.path) as writer:
        writer.put_bytes(b"begun")
        assert gc(store, 2).deleted == 1


def test_what_killed_writers_left_goes_and_leaves_nothing_behind_that_needs_it(store: LocalStore, folder: Path) -> None:
    with open_store(store.path) as killed:
        snapshot(folder, killed)
        killed.flush()
        with open_store(store.path) as other:
            (folder / "sub" / "1.txt").write_text("new")
            snapshot(folder, other)  # leans on what the first put
            other.flush()
    assert gc(store, at_once=True).deleted == 2
    whole(store.path)
    assert list(store.list("tree")) == []


def test_trees_of_a_writer_that_went_away_in_between_keep_what_they_need(store: LocalStore, folder: Path) -> None:
    with open_store(store.path) as first:
        snapshot(folder, first)
        first.flush()
    of_yesterday(store)
    second = open_store(store.path)
    assert second.has(digest_bytes((folder / "table.csv").read_bytes()))
    gc(store)
    with open_store(store.path) as third:
        third.put_bytes(b"begun")
        (folder / "sub" / "1.txt").write_text("new")
        snapshot(folder, second)  # in a pack that may be of the third, and is not doomed
        second.flush()
        second.close()
        assert gc(store, 2).deleted == 1
    whole(store.path)


def test_a_clock_that_went_backwards_begins_the_time_of_grace_anew(gone: tuple[LocalStore, Digest]) -> None:
    store, _ = gone
    gc(store, 1000)
    assert gc(store).deleted == 0
    assert gc(store, 0.5).deleted == 0
    (lot,) = doomed.read(store.path)
    assert lot.made.startswith("2026-05-03T12")
    assert gc(store, 1).deleted == 1


def test_two_collections_at_once_are_one_and_an_error(gone: tuple[LocalStore, Digest]) -> None:
    store, _ = gone
    with alone(store), pytest.raises(KeepingError, match="at work"):
        gc(store)
    assert gc(store).doomed == 1


def test_a_pack_that_is_only_partly_needed_stays_when_little_would_be_won(store: LocalStore) -> None:
    with open_store(store.path) as writer:
        kept = writer.put_bytes(os.urandom(90_000))
        writer.put_bytes(os.urandom(10_000))
        writer.put_bytes(run_with(kept), "record")
        writer.flush()
    assert gc(store).doomed == 0


def test_where_it_cannot_be_known_what_is_needed_nothing_is_touched(
    gone: tuple[LocalStore, Digest], folder: Path
) -> None:
    store, _ = gone
    store.put_bytes(b'{"schema":"bis.model/9"}', "record")
    store.flush()
    before = packs_of(store)
    with pytest.raises(KeepingError, match=r"bis\.model/9") as told:
        gc(store, at_once=True)
    assert "Nothing was deleted." in told.value.because
    assert packs_of(store) == before


def test_a_tree_that_is_damaged_keeps_everything(store: LocalStore, folder: Path) -> None:
    with open_store(store.path) as writer:
        version_of(writer, folder)
    tree = next(iter(store.list("tree")))
    (place,) = store.index.find(bytes.fromhex(tree[3:]))
    pack = store.packs / place.pack
    content = bytearray(pack.read_bytes())
    content[place.item.payload + 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(content)
    verify(store)  # which makes the index forget it
    with pytest.raises(KeepingError, match="cannot be known"):
        gc(store, at_once=True)


def test_what_is_damaged_and_needed_is_not_moved_and_its_pack_stays(store: LocalStore) -> None:
    with open_store(store.path) as writer:
        kept = writer.put_bytes(os.urandom(1000))
        writer.put_bytes(os.urandom(10_000))
        writer.flush()
        writer.put_bytes(run_with(kept), "record")
        writer.flush()
    (place,) = store.index.find(bytes.fromhex(kept[3:]))
    pack = store.packs / place.pack
    content = bytearray(pack.read_bytes())
    content[place.item.payload] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(content)
    done = gc(store, at_once=True)
    assert done.left == (place.pack,)
    assert pack.exists()


def test_a_copy_that_stays_is_looked_at_before_the_other_goes(store: LocalStore) -> None:
    content = os.urandom(5000)
    with open_store(store.path) as one, open_store(store.path) as two:
        for writer in (one, two):
            writer.put_bytes(content)
        two.put_bytes(b"more" * 100)
        one.put_bytes(run_with(digest_bytes(content)), "record")
        one.flush()
        two.flush()
    first, second = sorted(store.index.find(bytes.fromhex(digest_bytes(content)[3:])), key=lambda place: place.pack)
    for place in (first, second):  # whichever stays
        pack = store.packs / place.pack
        intact = pack.read_bytes()
        pack.chmod(0o644)
        pack.write_bytes(intact.replace(content, b"x" + content[1:]))
        with open_store(store.path) as collector:
            gc(collector, at_once=True)
        with open_store(store.path) as reader:
            assert reader.get_bytes(digest_bytes(content)) == content
        return


def test_writers_that_were_killed_are_not_waited_for(store: LocalStore) -> None:
    (store.path / "writers").mkdir(exist_ok=True)
    (store.path / "writers" / "1234-dead").touch()
    assert writers.alive(store.path) == {}
    session = writers.begin(store.path)
    assert session
    assert len(writers.alive(store.path)) == 1
    session.end()
    assert writers.alive(store.path) == {}


def test_a_reader_of_a_pack_that_goes_finds_its_content_elsewhere(store: LocalStore) -> None:
    with open_store(store.path) as writer:
        content = table(3)
        kept = writer.put_bytes(content)
        writer.put_bytes(table(4, rows=600_000))
        writer.put_bytes(run_with(kept), "record")
        writer.flush()
    with open_store(store.path) as reader:
        assert reader.get_bytes(kept) == content
        assert gc(store, at_once=True).deleted == 1
        assert reader.get_bytes(kept) == content


def test_many_small_packs_become_one_and_lose_nothing(tmp_path: Path) -> None:
    kept: dict[Digest, bytes] = {}
    with open_store(tmp_path / "store") as store:
        for number in range(120):
            data = random.Random(number).randbytes(2000)
            kept[store.put_bytes(data)] = data
            store.flush()
    with open_store(tmp_path / "store") as store:
        assert len(packs_of(store)) == 120
        done = collect(store, now=NOW, grace=HOUR, at_once=True, named=lambda: kept)
        assert done.deleted == 120
        assert len(packs_of(store)) == 1
        assert all(store.get_bytes(digest) == data for digest, data in kept.items())
        assert not verify(store)
        again = collect(store, now=NOW + HOUR, grace=HOUR, at_once=True, named=lambda: kept)
        assert (again.doomed, again.moved) == (0, 0)


def test_what_is_named_elsewhere_while_it_is_found_out_what_is_needed_stays(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        digest = store.put_bytes(table(1))
        store.flush()
    with open_store(tmp_path / "store") as store:
        asked: list[list[Digest]] = []

        def named() -> list[Digest]:
            asked.append([digest] if asked else [])  # somebody names it after the first look
            return asked[-1]

        collect(store, now=NOW, grace=HOUR, at_once=True, named=named)
        assert len(asked) >= 2
        assert store.get_bytes(digest) == table(1)
        assert not verify(store)
