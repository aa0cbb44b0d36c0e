"""What every remote promises: a folder, SFTP over ssh, a `bis server`, a bucket of each cloud. A new kind
is one more parameter of the fixture `place`."""

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from bis.acts.collect import collect
from bis.acts.data import remove as hide
from bis.acts.share import clone, fetch, look, mend, pull, push
from bis.digest import digest_file
from bis.errors import BisError, KeepingError, NotFound, UsageError
from bis.settings import Settings
from bis.steps import meeting
from bis.steps.add_data import Adding, add
from bis.steps.bring import bring
from bis.steps.here import now
from bis.steps.home import Home, open_home
from bis.steps.remotes import add as add_remote
from bis.steps.remotes import remotes, remove
from bis.store import choose, chunks, deltas, doomed, planes
from bis.store.local import LocalStore, digest_of, open_store
from bis.store.packs import CHUNK, DELTA, PARTS, PLANES, RAW, Form, PackWriter, list_items
from bis.store.remote import NO_SUCH_REMOTE, REFUSED, UNREACHABLE, Remote
from bis.store.remote.address import checked, open_remote
from bis.store.sweep import verify
from bis.store.transfer import Receiving
from bis.store.trouble import NEWER, NOT_A_STORE

MIB = 1 << 20
# A process begins with the peak of the one that started it, so a small one stands between.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
CHANCE = random.Random(20260503)


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    """`make_home("ana")`: a project of that name with nothing in it."""
    made: list[Home] = []

    def make(name: str) -> Home:
        (tmp_path / name).mkdir(exist_ok=True)
        made.append(open_home(tmp_path / name, Settings()))
        return made[-1]

    yield make
    for home in made:
        home.store.close()


@pytest.fixture
def ana(make_home: Callable[[str], Home]) -> Home:
    """A project with two versions of a table, the second with an edit in every hundredth row, and a folder of small
    files: objects of every kind and form."""
    home, chance = make_home("ana"), random.Random(20260503)
    rows = [f"{number},{chance.random()},{chance.random()}\n" for number in range(40_000)]
    keep(home, "table.csv", "".join(rows).encode())
    keep(home, "table.csv", "".join("edited\n" if not n % 100 else row for n, row in enumerate(rows)).encode())
    for number in range(30):
        (home.project / "small").mkdir(exist_ok=True)
        (home.project / "small" / f"{number}.txt").write_text(f"small {number}\n" * number)
    add(Adding(path=home.project / "small"), home)
    return home


def keep(home: Home, name: str, content: bytes) -> None:
    """Add content as a version of data of that name."""
    (home.project / name).write_bytes(content)
    add(Adding(path=home.project / name, name=name.partition(".")[0]), home)


def versions(home: Home) -> list[str]:
    return sorted(held.reference for held in home.ledger.data.versions())


def contents(home: Home, into: Path) -> dict[str, str]:
    """Every version of data, brought back as files."""
    found = {}
    for held in home.ledger.data.versions():
        folder = into / held.version.content[3:12]
        folder.mkdir(parents=True)
        bring(held, "", folder / "it", home)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                found[f"{held.reference} {path.name}"] = digest_file(path)
    return found


def items_of(place: Any, tmp_path: Path) -> list[Any]:
    """All objects of a remote, read from its packs as they lie there."""
    found: list[Any] = []
    for name in place.names():
        (tmp_path / "seen.pack").write_bytes(place.read(f"packs/{name}"))
        fd = os.open(tmp_path / "seen.pack", os.O_RDONLY)
        listed = list_items(fd)
        os.close(fd)
        assert listed is not None
        found += listed[0]
    return found


class Counting:
    """A remote that counts what is asked of it."""

    def __init__(self, remote: Remote, asked: Counter[str]) -> None:
        self._remote, self._asked = remote, asked

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._remote, name)
        if not callable(found) or name == "close":
            return found

        def ask(*words: Any) -> Any:
            self._asked[name] += 1
            return found(*words)

        return ask


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What was asked of any remote so far."""
    count: Counter[str] = Counter()
    monkeypatch.setattr(meeting, "open_remote", lambda url, variables: Counting(open_remote(url, variables), count))
    return count


# -- there and back --------------------------------------------------------------------------------------------------


def test_what_was_pushed_comes_back_elsewhere_byte_for_byte(ana: Home, place: Any, tmp_path: Path) -> None:
    sent = push(ana, place.url, place.variables)
    forms = {item.method for item in items_of(place, tmp_path)}
    assert {PARTS, DELTA} < forms, "the table was to be stored in pieces and as differences"
    there, shared = clone(place.url, tmp_path / "bea", place.variables, seen_from=tmp_path)
    assert shared.objects == sent.objects
    assert versions(there) == versions(ana) == ["small@v1", "table@v1", "table@v2"]
    assert contents(there, tmp_path / "theirs") == contents(ana, tmp_path / "ours")
    assert verify(there.store) == []
    assert remotes(there.project, there.settings) == {"origin": place.url}


def test_a_push_with_nothing_to_do_is_one_listing_and_so_is_a_fetch(
    ana: Home, place: Any, make_home: Callable[[str], Home], asked: Counter[str]
) -> None:
    bea = make_home("bea")
    push(ana, place.url, place.variables)
    pull(bea, place.url, place.variables)
    for home in (ana, bea):
        for act in (push, fetch, pull, push):
            asked.clear()
            assert act(home, place.url, place.variables).objects == 0
            assert asked == {"list": 1}


def test_a_remote_that_lost_its_packs_is_sent_them_again_whoever_else_has_them(ana: Home, tmp_path: Path) -> None:
    sent = [push(ana, str(tmp_path / name), {}) for name in ("one", "two")]
    for pack in (tmp_path / "two" / "packs").iterdir():
        pack.unlink()
    assert push(ana, str(tmp_path / "two"), {}).objects == sent[1].objects > 0


def test_only_what_is_missing_travels(
    ana: Home, place: Any, make_home: Callable[[str], Home], asked: Counter[str], tmp_path: Path
) -> None:
    push(ana, place.url, place.variables)
    bea = make_home("bea")
    pull(bea, place.url, place.variables)
    before = set(place.names())
    keep(bea, "more.bin", b"little more")
    assert push(bea, place.url, place.variables).objects == 3, "a blob, a tree and a record"
    asked.clear()
    assert pull(ana, place.url, place.variables).objects == 3
    assert asked["read"] == 2, "the list of the new pack, and its objects"
    assert before < set(place.names())
    assert versions(ana) == versions(bea)
    keys = [(item.digest, item.kind) for item in items_of(place, tmp_path)]
    assert len(keys) == len(set(keys)), "nothing lies there twice"


def test_a_push_of_one_version_sends_what_it_needs_and_no_more(
    ana: Home, place: Any, make_home: Callable[[str], Home], tmp_path: Path
) -> None:
    held = next(held for held in ana.ledger.data.versions() if held.reference == "table@v2")
    push(ana, place.url, place.variables, what=[held])
    bea = make_home("bea")
    pull(bea, place.url, place.variables)
    assert versions(bea) == ["table@v2"]
    theirs = contents(bea, tmp_path / "theirs")
    assert theirs.items() <= contents(ana, tmp_path / "ours").items()
    assert verify(bea.store) == []


def test_two_who_push_at_once_lose_nothing(place: Any, make_home: Callable[[str], Home], tmp_path: Path) -> None:
    homes = [make_home(name) for name in ("ana", "bea", "cem")]
    for number, home in enumerate(homes):
        keep(home, f"own{number}.bin", CHANCE.randbytes(3 * MIB))
        keep(home, "common.bin", random.Random(1).randbytes(2 * MIB))
    threads = [threading.Thread(target=push, args=(home, place.url, place.variables)) for home in homes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there, _ = clone(place.url, tmp_path / "all", place.variables, seen_from=tmp_path)
    assert {one.version.name for one in there.ledger.data.versions()} == {"own0", "own1", "own2", "common"}
    assert verify(there.store) == []


def test_one_who_is_overtaken_while_writing_a_pack_has_written_it(place: Any, tmp_path: Path) -> None:
    """Two push the same pack at once. It is the same, so it is there for both, and whole."""
    writer = PackWriter(_made(tmp_path / "made"))
    for number in range(20):
        content = random.Random(number).randbytes(MIB)
        writer.add("blob", blake3(content).digest(), MIB, Form(RAW, content))
    name, _ = writer.finish()
    data = (tmp_path / "made" / name).read_bytes()
    slow, quick = (open_remote(place.url, place.variables) for _ in range(2))
    slow.declare("bis store 3\n")

    def blocks(overtaken: bool) -> Iterator[bytes]:
        for start in range(0, len(data), MIB):
            if overtaken and start == 12 * MIB:
                other = threading.Thread(target=quick.write, args=(name, len(data), blocks(False)))
                other.start()
                other.join()
            yield data[start : start + MIB]

    slow.write(name, len(data), blocks(True))
    assert slow.list() == {name: len(data)}
    assert place.read(f"packs/{name}") == data
    slow.close()
    quick.close()


def test_the_clock_says_nothing_about_what_is_new(
    ana: Home, place: Any, make_home: Callable[[str], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    push(ana, place.url, place.variables)
    bea = make_home("bea")
    pull(bea, place.url, place.variables)
    assert versions(bea) == versions(ana)


# -- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_killed_push_had_sent_is_not_sent_again_and_the_rest_is(place: Any, tmp_path: Path) -> None:
    """Killed at any moment, each push goes on; what is there is whole at any moment."""
    home = open_home(_made(tmp_path / "ana"), Settings())
    for number in range(4):
        keep(home, f"big{number}.bin", random.Random(number).randbytes(40 * MIB))
    home.store.close()
    bis = [str(Path(sys.executable).with_name("bis")), "-C", str(tmp_path / "ana"), "push", place.url]
    killed = 0
    for number in range(6):  # a little later each time, as a push that has ended leaves nothing to kill
        with subprocess.Popen(bis, env=place.variables, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(CHANCE.uniform(0.1, 0.2) + number / 10)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed += 1
        items_of(place, tmp_path)
    assert killed
    subprocess.run(bis, env=place.variables, check=True, stdout=subprocess.DEVNULL)
    keys = [(item.digest, item.kind) for item in items_of(place, tmp_path)]
    assert len(keys) == len(set(keys)), "nothing was sent twice"
    there, _ = clone(place.url, tmp_path / "bea", place.variables, seen_from=tmp_path)
    assert len(versions(there)) == 4
    assert verify(there.store) == []


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_flipped_bit_in_a_remote_is_refused_by_name_and_the_rest_arrives(
    ana: Home, place: Any, make_home: Callable[[str], Home], tmp_path: Path
) -> None:
    push(ana, place.url, place.variables)
    keep(ana, "fine.bin", b"fine")
    push(ana, place.url, place.variables)
    large = max(place.names(), key=lambda name: len(place.read(f"packs/{name}")))
    data = bytearray(place.read(f"packs/{large}"))
    data[len(data) // 2] ^= 1
    place.write(f"packs/{large}", bytes(data))
    bea = make_home("bea")
    shared = pull(bea, place.url, place.variables)
    assert [finding.code for finding in shared.findings] == ["damaged-pack"]
    assert large[:12] in shared.findings[0].text
    assert "fine@v1" in versions(bea)
    assert all(not finding.text.startswith("pack") for finding in verify(bea.store)), "what was kept is whole"
    assert any(finding.blocks for finding in verify(bea.store)), "and what is missing is not forgotten"


@pytest.mark.parametrize("harm", ["cut", "list", "end", "longer"])
def test_a_pack_whose_list_does_not_hold_is_refused_by_name(
    ana: Home, place: Any, make_home: Callable[[str], Home], harm: str
) -> None:
    push(ana, place.url, place.variables)
    (name,) = place.names()
    data = place.read(f"packs/{name}")
    flipped = {"list": -200, "end": -12}.get(harm)
    harmed = bytearray(data[: len(data) // 2] if harm == "cut" else data + b"\0" * 64 * (harm == "longer"))
    if flipped:
        harmed[flipped] ^= 1
    place.write(f"packs/{name}", bytes(harmed))
    bea = make_home("bea")
    shared = pull(bea, place.url, place.variables)
    assert shared.objects == 0
    assert name[:12] in shared.findings[0].text
    assert push(ana, place.url, place.variables).objects > 0 or harm in ("list", "end"), "it is sent anew"


def test_a_remote_that_lies_about_content_is_not_believed(place: Any, tmp_path: Path, make_home: Any) -> None:
    """A pack in good order whose difference gives other bytes than its digest says."""
    (tmp_path / "forged").mkdir()
    base, told, true = b"base" * 100_000, b"told" * 100_000, b"true" * 100_000
    writer = PackWriter(tmp_path / "forged")
    writer.add("chunk", blake3(base).digest(), len(base), Form(0, base))
    payload = deltas.write(deltas.Delta((blake3(base).digest(),), deltas.make(true, base)))
    writer.add("chunk", blake3(told).digest(), len(told), Form(DELTA, payload, 1))
    name, _ = writer.finish()
    open_remote(place.url, place.variables).declare("bis store 2\n")
    place.write(f"packs/{name}", (tmp_path / "forged" / name).read_bytes())
    bea = make_home("bea")
    shared = fetch(bea, place.url, place.variables)
    assert "do not match" in shared.findings[0].text
    assert bea.store.holds(blake3(base).digest(), "chunk")
    assert not bea.store.holds(blake3(told).digest(), "chunk"), "else the true bytes could never be put"


def test_pieces_in_another_order_than_that_of_the_file_are_not_believed(
    tmp_path: Path, make_home: Callable[[str], Home]
) -> None:
    """Each piece is what its name says, and so is the list; the file is not."""
    (tmp_path / "forged" / "packs").mkdir(parents=True)
    (tmp_path / "forged" / "format").write_text("bis store 3\n")
    pieces = [CHANCE.randbytes(2 * MIB) for _ in range(3)]
    writer = PackWriter(tmp_path / "forged" / "packs")
    for piece in pieces:
        writer.add("chunk", blake3(piece).digest(), len(piece), Form(RAW, piece))
    parts = [chunks.Part(blake3(piece).digest(), len(piece), b"12345678") for piece in pieces]
    file = blake3(b"".join(pieces)).digest()
    listed = chunks.write_list(chunks.PartList("equal/1m", b"12345678", (parts[1], parts[0], parts[2])))
    writer.add("blob", file, 6 * MIB, Form(PARTS, listed))
    writer.finish()
    bea = make_home("bea")
    with meeting.Meeting(bea, str(tmp_path / "forged"), {}) as met:
        sound, _ = met.learn(lambda text, done, total: None)
        with Receiving(bea.store, met.remote) as receiving:
            receiving.bring(met.copies_there(sound, {file}))
            assert receiving.needed == {part.digest for part in parts}
            receiving.bring(met.copies_there(sound, receiving.needed | {file}))
    assert "do not match" in receiving.moved().findings[0].text
    assert all(bea.store.holds(part.digest, "chunk") for part in parts)
    assert not bea.store.holds(file, "blob"), "else the true file could never be put"


def test_a_large_file_is_proved_while_its_pieces_arrive_and_not_read_back(
    tmp_path: Path, make_home: Callable[[str], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, bea = make_home("ana"), make_home("bea")
    for number in range(3):  # packs travel in the order of their names, which is not the one of the files
        keep(ana, "big.bin", CHANCE.randbytes((number + 5) * MIB))
    push(ana, str(tmp_path / "shared"), {})
    read_back: list[bytes] = []
    glance = LocalStore.glance

    def noting(store: LocalStore, digest: bytes) -> bytes:
        read_back.append(digest)
        return glance(store, digest)

    monkeypatch.setattr(LocalStore, "glance", noting)
    pull(bea, str(tmp_path / "shared"), {})
    assert read_back == []
    assert contents(bea, tmp_path / "bea-has") == contents(ana, tmp_path / "ana-has")


def weights(nudge: float) -> bytes:
    chance = random.Random(1)
    return struct.pack("<600000f", *((chance.random() - 0.5) * (1 + nudge) for _ in range(600_000)))


def test_checkpoints_travel_as_they_are_kept(place: Any, tmp_path: Path, make_home: Callable[[str], Home]) -> None:
    ana, bea = make_home("ana"), make_home("bea")
    for nudge in (0, 0.001):
        keep(ana, "model.npy", weights(nudge))
    push(ana, place.url, place.variables)
    there = {item.digest: item.method for item in items_of(place, tmp_path) if item.kind == CHUNK}
    assert Counter(there.values()) == {PLANES: len(there) / 2, DELTA: len(there) / 2}
    assert pull(bea, place.url, place.variables).findings == ()
    assert {digest: bea.store._places(digest_of(digest))[0].item.method for digest in there} == there
    assert contents(bea, tmp_path / "b") == contents(ana, tmp_path / "a")
    assert verify(bea.store) == []
    before = sum(path.stat().st_size for path in bea.store.packs.iterdir())
    keep(bea, "model.npy", weights(0.002))
    after = sum(path.stat().st_size for path in bea.store.packs.iterdir())
    assert after - before < 0.7 * 2_400_000, "what came is compared with"


def test_planes_that_give_other_bytes_are_not_believed(place: Any, tmp_path: Path, make_home: Any) -> None:
    (tmp_path / "forged").mkdir()
    told, true, other = (weights(nudge)[:400_000] for nudge in (0, 0.001, 0.002))
    change = planes.pack(planes.differing(other, true), 4)
    digests = [blake3(data).digest() for data in (told, true, other)]
    writer = PackWriter(tmp_path / "forged")
    writer.add("chunk", digests[0], len(told), Form(PLANES, planes.write(true, 4)))
    writer.add("chunk", digests[1], len(true), Form(PLANES, planes.write(true, 4)))
    writer.add(
        "chunk", digests[2], len(other), Form(DELTA, deltas.write(deltas.Delta((digests[1],), change[:-1], 4)), 1)
    )
    name, _ = writer.finish()
    open_remote(place.url, place.variables).declare("bis store 3\n")
    place.write(f"packs/{name}", (tmp_path / "forged" / name).read_bytes())
    bea = make_home("bea")
    assert "do not match" in fetch(bea, place.url, place.variables).findings[0].text
    assert [bea.store.holds(digest, "chunk") for digest in digests] == [False, True, False]


def test_an_older_remote_says_that_it_is_a_newer_one_before_a_pack_comes(ana: Home, place: Any, tmp_path: Path) -> None:
    place.declare("bis store 2\n")
    pull(ana, place.url, place.variables)
    assert open_remote(place.url, place.variables).format() == "bis store 2\n", "who reads changes nothing"
    push(ana, place.url, place.variables)
    assert open_remote(place.url, place.variables).format() == "bis store 3\n"


def test_an_sftp_server_that_does_not_rename_over_a_file_can_be_told_a_newer_format(sftp: Any) -> None:
    with contextlib.closing(open_remote(sftp.url, sftp.variables)) as remote:
        remote.declare("bis store 2\n")
        remote._extensions.pop("posix-rename@openssh.com")  # type: ignore[attr-defined]
        remote.declare("bis store 3\n")
        assert remote.format() == "bis store 3\n"
    assert [path.name for path in sftp.folder.iterdir() if path.name.startswith("format")] == ["format"]


def test_a_damaged_store_is_repaired_from_a_remote(ana: Home, place: Any, tmp_path: Path) -> None:
    push(ana, place.url, place.variables)
    names = sorted((ana.store.packs).glob("*.pack"))
    for number, path in enumerate(names):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.unlink()
        path.write_bytes(data[: len(data) // 2] if number == 1 else data)
    assert verify(ana.store) != []
    mended = mend(ana, place.url, place.variables)
    assert mended.objects > 0
    assert mended.findings == ()
    assert verify(ana.store) == []
    assert len(contents(ana, tmp_path / "whole")) == 32


def test_a_pack_that_comes_back_with_the_name_of_the_damaged_one_is_read_anew(ana: Home, place: Any) -> None:
    def damage_lists() -> set[str]:
        """One bit of each list of pieces; the packs that hold them."""
        hurt = set()
        for copy in [copy for copy in ana.store.index.copies() if copy.item.method == PARTS]:
            path = ana.store.packs / copy.pack
            data = bytearray(path.read_bytes())
            data[copy.item.payload + copy.item.stored // 2] ^= 1
            path.chmod(0o644)
            path.write_bytes(data)
            hurt.add(copy.pack)
        return hurt

    push(ana, place.url, place.variables)
    for _ in range(3):  # from the second time on they lie in packs of their own
        hurt = damage_lists()
        assert verify(ana.store) != []
        mend(ana, place.url, place.variables)
        assert verify(ana.store) == []
    assert hurt <= {path.name for path in ana.store.packs.iterdir()}


def test_a_repair_brings_nothing_that_was_not_lost(ana: Home, place: Any, make_home: Callable[[str], Home]) -> None:
    bea = make_home("bea")
    keep(bea, "theirs.bin", b"of somebody else")
    push(bea, place.url, place.variables)
    push(ana, place.url, place.variables)
    path = max(ana.store.packs.glob("*.pack"), key=lambda path: path.stat().st_size)
    path.unlink()
    assert verify(ana.store) != []
    mend(ana, place.url, place.variables)
    assert verify(ana.store) == []
    assert "theirs@v1" not in versions(ana)
    assert len(list(ana.store.list("record"))) == 3


def test_damage_here_is_not_spread_and_is_told(ana: Home, place: Any, make_home: Callable[[str], Home]) -> None:
    path = max(ana.store.packs.glob("*.pack"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    shared = push(ana, place.url, place.variables)
    assert any(path.name[:12] in finding.text for finding in shared.findings)
    bea = make_home("bea")
    assert pull(bea, place.url, place.variables).findings == (), "what is there can be used"
    assert "small@v1" in versions(bea)


def test_a_remote_of_a_newer_bis_is_left_alone(ana: Home, place: Any) -> None:
    place.declare("bis store 4\n")
    for act in (push, pull):
        with pytest.raises(KeepingError) as error:
            act(ana, place.url, place.variables)
        assert error.value.code == NEWER
    assert place.names() == []


def test_a_remote_that_is_no_store_is_said_to_be_none(ana: Home, place: Any, tmp_path: Path) -> None:
    place.forget_format()
    with pytest.raises(NotFound) as error:
        clone(place.url, tmp_path / "bea", place.variables, seen_from=tmp_path)
    assert error.value.code == NO_SUCH_REMOTE
    assert not (tmp_path / "bea").exists()
    place.declare("something else\n")
    with pytest.raises(KeepingError) as other:
        push(ana, place.url, place.variables)
    assert other.value.code == NOT_A_STORE


def test_a_folder_in_which_somebody_collects_is_not_relied_upon_for_what_is_going(ana: Home, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    first = push(ana, remote, {})
    with open_store(tmp_path / "remote") as there:
        doomed.write(there.path, [doomed.Lot(made=now(), packs=tuple(choose.pack_names(there)), writers=())])
    with pytest.raises(KeepingError, match="about to be deleted"):
        push(ana, remote, {})  # the same pack again, which would go with the doomed one
    keep(ana, "more.bin", b"more")
    assert push(ana, remote, {}).objects == first.objects + 3, "what lies in doomed packs alone is sent again"
    for name in doomed.names(doomed.read(tmp_path / "remote")):
        (tmp_path / "remote" / "packs" / name).unlink(missing_ok=True)
    with open_store(tmp_path / "remote") as there:
        doomed.write(there.path, [])
        assert verify(there) == []


def test_a_folder_that_holds_other_things_is_not_made_a_store(ana: Home, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(KeepingError, match=r"cat\.jpg"):
        push(ana, str(tmp_path / "photos"), {})


def test_a_remote_that_may_only_be_read_can_be_fetched_from(
    ana: Home, sftp: Any, make_ssh: Callable[..., str], make_home: Callable[[str], Home]
) -> None:
    push(ana, sftp.url, sftp.variables)
    variables = {**sftp.variables, "BIS_SSH": make_ssh("-R")}
    bea = make_home("bea")
    pull(bea, sftp.url, variables)
    assert versions(bea) == versions(ana)
    assert push(bea, sftp.url, variables).objects == 0, "nothing to do needs no right to write"
    keep(bea, "more.bin", b"more")
    with pytest.raises(KeepingError) as error:
        push(bea, sftp.url, variables)
    assert error.value.code == REFUSED


def test_a_connection_of_ssh_that_breaks_leaves_nothing_half(
    ana: Home, sftp: Any, make_ssh: Callable[..., str], make_home: Callable[[str], Home]
) -> None:
    keep(ana, "random.bin", CHANCE.randbytes(2 * MIB))
    for size in (0, 4000, 10_000, 300_000, 2 * MIB):
        variables = {**sftp.variables, "BIS_SSH": make_ssh(cut_after=size)}
        with pytest.raises(KeepingError) as error:
            push(ana, sftp.url, variables)
        assert error.value.code == UNREACHABLE
        assert sftp.names() == []
    push(ana, sftp.url, sftp.variables)
    bea = make_home("bea")
    pull(bea, sftp.url, sftp.variables)
    assert verify(bea.store) == []
    assert versions(bea) == versions(ana)


def test_an_ssh_that_lets_nobody_in_names_the_login_to_try(ana: Home) -> None:
    with pytest.raises(KeepingError) as error:
        push(ana, "ssh://ada@host.invalid:2222/srv", {"BIS_SSH": "false"})
    assert "try false -o ServerAliveInterval=15 -p 2222 -- ada@host.invalid; then" in error.value.hint


# -- S3, over a wire -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_to_do_is_one_request_on_the_wire(
    ana: Home, wire: tuple[Any, Any], make_home: Callable[[str], Home]
) -> None:
    line, place = wire
    push(ana, place.url, place.variables)
    bea = make_home("bea")
    pull(bea, place.url, place.variables)
    for home in (ana, bea):
        for act in (push, fetch, pull):
            line.requests.clear()
            act(home, place.url, place.variables)
            assert len(line.requests) == 1
            assert "list-type=2" in line.requests[0]


@pytest.mark.slow
def test_a_push_goes_on_after_the_server_was_gone(
    wire: tuple[Any, Any], s3: Any, make_home: Callable[[str], Home], tmp_path: Path
) -> None:
    line, place = wire
    home = make_home("ana")
    for number in range(4):
        keep(home, f"big{number}.bin", random.Random(number).randbytes(40 * MIB))
    line.cut_after = 110 * MIB
    with pytest.raises(KeepingError) as error:
        push(home, place.url, place.variables)
    assert error.value.code == UNREACHABLE
    arrived = len(items_of(s3, tmp_path))
    line.cut_after, line.sent = None, 0
    shared = push(home, place.url, place.variables)
    keys = [(item.digest, item.kind) for item in items_of(s3, tmp_path)]
    assert len(keys) == len(set(keys)) == arrived + shared.objects
    there, _ = clone(place.url, tmp_path / "bea", place.variables, seen_from=tmp_path)
    assert len(versions(there)) == 4
    assert verify(there.store) == []


@pytest.mark.slow
def test_a_fetch_goes_on_after_the_server_was_gone(
    ana: Home, wire: tuple[Any, Any], s3: Any, make_home: Callable[[str], Home]
) -> None:
    line, place = wire
    keep(ana, "big.bin", random.Random(5).randbytes(60 * MIB))
    push(ana, s3.url, s3.variables)
    bea = make_home("bea")
    line.cut_answers_after = 30 * MIB
    with pytest.raises(KeepingError):
        pull(bea, place.url, place.variables)
    assert versions(bea) == []
    line.cut_answers_after = None
    line.received = 0
    pull(bea, place.url, place.variables)
    assert line.received < 50 * MIB, "what had arrived is not asked for again"
    assert versions(bea) == versions(ana)
    assert verify(bea.store) == []


@pytest.mark.slow
def test_a_slow_server_is_waited_for(ana: Home, wire: tuple[Any, Any], make_home: Callable[[str], Home]) -> None:
    line, place = wire
    line.pause = 0.15
    push(ana, place.url, place.variables)
    bea = make_home("bea")
    pull(bea, place.url, place.variables)
    assert versions(bea) == versions(ana)


@pytest.mark.slow
def test_memory_is_bounded_whatever_travels(s3: Any, tmp_path: Path) -> None:
    """What a push and a clone of 400 MiB take at their peak, in MiB."""
    home = open_home(_made(tmp_path / "ana"), Settings())
    for number in range(2):
        keep(home, f"big{number}.bin", random.Random(number).randbytes(200 * MIB))
    home.store.close()
    bis = str(Path(sys.executable).with_name("bis"))
    for words in (["-C", str(tmp_path / "ana"), "push", s3.url], ["clone", s3.url, str(tmp_path / "bea")]):
        measured = [sys.executable, "-c", MEASURE, bis, "--quiet", *words]
        done = subprocess.run(measured, env=s3.variables, check=True, capture_output=True, text=True)
        assert int(done.stdout.splitlines()[-1]) / 1024 < 300


# -- names and URLs --------------------------------------------------------------------------------------------------


def test_the_remotes_of_a_project_are_named_listed_and_forgotten(ana: Home, tmp_path: Path) -> None:
    add_remote("disk", "../disk", ana.project, ana.settings, seen_from=ana.project)
    add_remote("lab", "s3://bucket/prefix", ana.project, ana.settings, seen_from=ana.project)
    assert remotes(ana.project, ana.settings) == {"disk": str(tmp_path / "disk"), "lab": "s3://bucket/prefix"}
    with pytest.raises(UsageError, match="there is a remote disk already"):
        add_remote("disk", "../other", ana.project, ana.settings, seen_from=ana.project)
    with pytest.raises(UsageError, match="which remote"):
        push(ana, "", {})
    assert remove("lab", ana.project, ana.settings) == "s3://bucket/prefix"
    push(ana, "", {})
    assert open_store(tmp_path / "disk", create=False).has(next(iter(ana.store.list("record"))))
    for name in ("lab", "s3://bucket/prefix", "../disk", ""):  # a remote is forgotten by its name alone
        with pytest.raises(NotFound):
            remove(name, ana.project, ana.settings)
    assert remotes(ana.project, ana.settings) == {"disk": str(tmp_path / "disk")}


def test_the_settings_may_name_remotes_for_a_team(ana: Home, tmp_path: Path) -> None:
    settings = Settings(remotes={"team": "../team"})
    assert remotes(ana.project, settings) == {"team": str(tmp_path / "team")}
    with pytest.raises(UsageError, match=r"bis\.toml"):
        remove("team", ana.project, settings)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/x",
        "s3://key@bucket/x",
        "ssh://me:secret@host/x",
        "ftp://host/x",
        "https://me:secret@host/x",
        "http://secret@host",
        "http://host/x?token=secret",
        "http://",
        "ssh://host/",
        "s3:///x",
    ],
)
def test_a_url_that_is_none_or_holds_a_secret_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        checked(url, tmp_path)
    assert "secret" not in str(error.value)


def test_what_a_remote_holds_can_be_asked(ana: Home, place: Any, make_home: Callable[[str], Home]) -> None:
    push(ana, place.url, place.variables)
    keep(ana, "more.bin", b"more")
    found = look(ana, place.url, place.variables)
    assert (found.to_push, found.to_pull) == (3, 0)
    bea = make_home("bea")
    assert look(bea, place.url, place.variables).to_pull == len(items_of(place, bea.project))


def test_a_run_that_has_not_ended_is_not_pushed(ana: Home, tmp_path: Path) -> None:
    from bis.nouns.run import Run

    run = Run(
        id="0123456789ab", name="train-1", command=("true",), started="2026-05-03T10:00:00.000000Z", status="running"
    )
    ana.ledger.begin(run)
    with pytest.raises(UsageError, match="has not ended"):
        push(ana, str(tmp_path / "remote"), {}, what=[run])


def test_a_path_that_cannot_be_reached_is_told_with_what_to_type(ana: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BisError):
        push(ana, str(tmp_path / "file" / "store"), {})
    with pytest.raises(KeepingError) as error:
        push(ana, "ssh://nowhere.invalid/x", {**os.environ, "BIS_SSH": "no-such-program"})
    assert "OpenSSH" in str(error.value)


def test_what_was_removed_and_collected_does_not_come_back_with_every_pull(
    ana: Home, place: Any, make_home: Callable[[str], Home]
) -> None:
    keep(ana, "large.bin", CHANCE.randbytes(6 * MIB))
    push(ana, place.url, place.variables)
    bea = make_home("bea")
    pull(bea, place.url, place.variables)
    hide([held for held in bea.ledger.data.versions() if held.version.name == "large"], bea)
    collect(bea, now=datetime.now(UTC), grace=timedelta(0), at_once=True)
    (held,) = (held for held in bea.ledger.data.versions(hidden=True) if held.version.name == "large")
    assert not bea.store.has(held.version.content)
    assert pull(bea, place.url, place.variables).size < MIB
    assert not bea.store.has(held.version.content)
    assert verify(ana.store) == []
