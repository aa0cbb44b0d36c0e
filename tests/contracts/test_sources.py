"""Data by URL: noted where it lies, noticed when it changes, proved when it is used. A web server, and buckets."""

import base64
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bis.acts.collect import collect
from bis.acts.share import pull, push
from bis.acts.standing import standing
from bis.digest import digest_bytes
from bis.errors import CannotRepeat, KeepingError, NotFound, UsageError
from bis.nouns.dataset import Held, Sight
from bis.settings import Settings
from bis.steps.add_data import Added, Adding, Delta
from bis.steps.add_url import add_url, sights_of
from bis.steps.bring import bring, leaves_of, opened
from bis.steps.home import Home, open_home
from bis.steps.originals import CHANGED_THERE
from bis.steps.remotes import add as add_remote
from bis.steps.urls import clean
from bis.store.remote import REFUSED, UNREACHABLE
from bis.store.sweep import verify

TABLE = b"id,x\n1,2\n"


class Web(http.server.ThreadingHTTPServer):
    """A web server with files in memory: validators, ranges, passwords; it may cut an answer, and send on elsewhere."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.etags, self.head, self.changed = True, True, "Sun, 03 May 2026 10:00:00 GMT"
        self.password, self.cut, self.onward = "", 0, ""
        self.seen_passwords: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name: str, login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.server_address[1]}/{name}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        server, name = self.server, self.path.partition("?")[0].lstrip("/")
        server.asked.append(f"{self.command} {name} {self.headers['Range'] or ''}".strip())
        server.seen_passwords.append(self.headers["Authorization"] or "")
        wanted = f"Basic {base64.b64encode(server.password.encode()).decode()}"
        if server.onward:
            self.send_response(302)
            self.send_header("Location", server.onward)
            self.end_headers()
        elif not with_body and not server.head:
            self.send_error(403)
        elif server.password and self.headers["Authorization"] != wanted:
            self.send_error(401)
        elif name not in server.files:
            self.send_error(404)
        else:
            self.hand_out(server.files[name], with_body)

    def hand_out(self, data: bytes, with_body: bool) -> None:
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if self.headers["If-Range"] not in (None, tag):
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.server.etags:
            self.send_header("ETag", tag)
        self.send_header("Last-Modified", self.server.changed)
        self.end_headers()
        if with_body:
            end = min(len(data), start + self.server.cut) if self.server.cut else len(data)
            self.wfile.write(data[start:end])


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.shutdown()
    server.server_close()


class Bucket:
    """Objects below one prefix of a bucket."""

    def __init__(self, place: Any) -> None:
        self.place, self.url = place, f"{place.url}/set/"

    def put(self, name: str, data: bytes) -> None:
        self.place.write(f"set/{name}", data)

    def remove(self, name: str) -> None:
        self.place._do.delete(self.place._store, f"set/{name}")


@pytest.fixture(params=["s3", "gs", "az"])
def objects(request: pytest.FixtureRequest) -> Bucket:
    return Bucket(request.getfixturevalue(request.param))


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    made: list[Home] = []

    def make(name: str = "ana", variables: dict[str, str] | None = None) -> Home:
        (tmp_path / name).mkdir(exist_ok=True)
        made.append(open_home(tmp_path / name, Settings(), variables=variables or {}))
        return made[-1]

    yield make
    for home in made:
        home.store.close()


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home()


def add(url: str, home: Home, **more: Any) -> Added:
    return add_url(Adding(url=url, **more), home)


def content(held: Held, home: Home, path: str = "") -> bytes:
    with opened(held, path, home) as blocks:
        return b"".join(blocks)


# a file of a web server


def test_a_file_by_url_is_noted_and_not_copied(web: Web, home: Home) -> None:
    web.files["data/table.csv"] = TABLE
    held = add(web.url("data/table.csv"), home, checksums=("md5",)).held
    assert (held.reference, held.version.single, held.version.size) == ("table@v1", True, len(TABLE))
    assert held.version.content == digest_bytes(TABLE)
    assert held.checksums["md5"] == hashlib.md5(TABLE).hexdigest()
    assert held.version.source == web.url("data/table.csv")
    assert not home.store.has(digest_bytes(TABLE))
    sight = sights_of(held, home)["table.csv"]
    assert sight.etag == f'"{hashlib.md5(TABLE).hexdigest()}"'
    assert (sight.size, sight.modified) == (len(TABLE), "1777802400")


def test_what_is_at_the_url_comes_back_proved(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    held = add(web.url("table.csv"), home).held
    assert content(held, home) == TABLE
    brought = bring(held, "", home.project / "out", home)
    assert (brought.into, brought.written) == (home.project / "out" / "table.csv", 1)
    assert brought.into.read_bytes() == TABLE


@pytest.mark.parametrize("now", [b"id,x\n1,3\n", b"id,x\n1,2\n2,3\n"], ids=["same size", "other size"])
def test_another_content_there_is_refused_with_both_digests(web: Web, home: Home, now: bytes) -> None:
    web.files["table.csv"] = TABLE
    held = add(web.url("table.csv"), home).held
    web.files["table.csv"] = now
    with pytest.raises(CannotRepeat) as caught:
        bring(held, "", home.project / "out", home)
    assert caught.value.code == CHANGED_THERE
    assert digest_bytes(now)[3:11] in caught.value.what
    assert held.version.content[3:11] in caught.value.because
    assert caught.value.hint.startswith(f"bis data add --by-reference {web.url('table.csv')} --name table")
    assert not list((home.project / "out").glob("*")), "nothing of it may appear"
    with pytest.raises(CannotRepeat):
        content(held, home)


def test_an_unchanged_file_is_not_read_again(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    held = add(web.url("table.csv"), home).held
    web.asked.clear()
    assert not add(web.url("table.csv"), home).new
    found = standing(held, home)
    assert (found.state, found.unread) == ("same", 1)
    assert web.asked == ["HEAD table.csv"] * 2


def test_a_changed_file_is_noticed_and_becomes_the_next_version(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    first = add(web.url("table.csv"), home).held
    web.files["table.csv"] = b"id,x\n1,9\n"
    assert standing(first, home).state == "changed"
    second = add(web.url("table.csv"), home)
    assert (second.new, second.held.reference) == (True, "table@v2")
    web.files["table.csv"] = TABLE
    found = standing(second.held, home)
    assert (found.state, found.like) == ("changed", "table@v1")


def test_a_new_etag_alone_is_no_change_and_is_noted(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    web.etags = False
    web.changed = "Sun, 03 May 2037 10:00:00 GMT"  # newer than the server's clock: no proof
    held = add(web.url("table.csv"), home).held
    web.etags = True
    assert standing(held, home).unread == 0
    again = add(web.url("table.csv"), home)
    assert not again.new
    assert standing(again.held, home).unread == 1


def test_without_etags_a_time_of_change_long_past_is_proof(web: Web, home: Home) -> None:
    web.etags = False
    web.files["table.csv"] = TABLE
    web.changed = "Sun, 03 May 2020 10:00:00 GMT"
    held = add(web.url("table.csv"), home).held
    assert standing(held, home).unread == 1
    web.files["table.csv"] = b"id,x\n1,3\n"
    web.changed = "Sun, 03 May 2020 10:00:01 GMT"
    assert standing(held, home).state == "changed"


def test_a_weak_etag_and_a_time_just_past_prove_nothing() -> None:
    weak = Sight(size=3, etag='W/"a"')
    assert not weak.vouches(weak)
    fresh = Sight(size=3, modified="1000", asked="1059")
    assert not fresh.vouches(fresh)
    assert Sight(size=3, modified="1000").vouches(Sight(size=3, modified="1000", asked="1060"))


def test_a_server_that_knows_no_head_is_asked_for_the_file(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    web.head = False
    held = add(web.url("table.csv"), home).held
    assert standing(held, home).state == "same"


def test_what_is_gone_is_told_as_gone(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    held = add(web.url("table.csv"), home).held
    del web.files["table.csv"]
    assert standing(held, home).state == "gone"
    with pytest.raises(CannotRepeat, match="not there any more"):
        bring(held, "", home.project, home)
    with pytest.raises(NotFound, match="nothing is at"):
        add(web.url("table.csv"), home)


def test_without_a_network_the_error_names_the_url(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    held = add(web.url("table.csv"), home).held
    web.shutdown()
    web.server_close()
    for ask in (lambda: add(web.url("table.csv"), home), lambda: bring(held, "", home.project, home)):
        with pytest.raises(KeepingError) as caught:
            ask()
        assert caught.value.code == UNREACHABLE
        assert web.url("table.csv") in caught.value.what
    found = standing(held, home)
    assert (found.state, web.url("table.csv") in found.why) == ("unknown", True)


def test_a_connection_that_is_cut_goes_on_where_it_was(web: Web, home: Home) -> None:
    web.files["table.csv"] = data = os.urandom(3 << 20)
    web.cut = 2 << 20
    assert add(web.url("table.csv"), home).held.version.content == digest_bytes(data)
    assert web.asked[-1] == f"GET table.csv bytes={2 << 20}-"


def test_half_a_file_is_never_taken_for_a_whole_one(web: Web, home: Home) -> None:
    web.files["table.csv"] = os.urandom(3 << 20)
    web.cut, web.etags = 1 << 20, False
    with pytest.raises(KeepingError, match="cut after 1,048,576 of 3,145,728 bytes"):
        add(web.url("table.csv"), home)
    assert not home.ledger.data.versions()


def test_a_large_file_is_hashed_in_little_memory(web: Web, home: Home) -> None:
    web.files["big.bin"] = os.urandom(1 << 20) * 96
    code = (
        "import sys, resource; from pathlib import Path; from bis.settings import Settings\n"
        "from bis.steps.home import open_home; from bis.steps.add_data import Adding\n"
        "from bis.steps.add_url import add_url\n"
        "home = open_home(Path(sys.argv[1]), Settings())\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "add_url(Adding(url=sys.argv[2]), home)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    words = [sys.executable, "-c", code, str(home.project), web.url("big.bin")]
    # A process begins with the peak of the one that started it, so a small one stands between.
    between = f"import subprocess, sys; subprocess.run({words!r}, check=True)"
    done = subprocess.run([sys.executable, "-c", between], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 48 << 10, "more than 48 MiB for a file of 96 MiB"


# credentials


def test_credentials_are_used_and_never_recorded(web: Web, home: Home) -> None:
    web.files["table.csv"] = TABLE
    web.password = "ana:s3cr3t word"
    held = add(web.url("table.csv", login="ana:s3cr3t%20word@"), home).held
    assert held.version.source == web.url("table.csv")
    kept = b"".join(path.read_bytes() for path in home.folder.rglob("*") if path.is_file())
    assert b"s3cr3t" not in kept


def test_a_password_that_is_asked_for_later_is_that_of_netrc(
    web: Web, make_home: Callable[..., Home], tmp_path: Path
) -> None:
    web.files["table.csv"] = TABLE
    web.password = "ana:word"
    home = make_home("ana")
    held = add(web.url("table.csv", login="ana:word@"), home).held
    with pytest.raises(KeepingError, match="401") as caught:
        content(held, home)
    assert caught.value.code == REFUSED
    assert "machine 127.0.0.1" in caught.value.hint
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ana password word\n")
    assert content(held, make_home("ana", {"HOME": str(tmp_path)})) == TABLE


def test_a_password_is_not_handed_on_to_where_a_server_sends(web: Web, home: Home) -> None:
    other = Web()
    other.files["table.csv"] = TABLE
    web.onward = other.url("table.csv")
    add(web.url("table.csv", login="ana:word@"), home)
    assert set(other.seen_passwords) == {""}
    assert all(web.seen_passwords)
    other.shutdown()
    other.server_close()


@pytest.mark.parametrize(
    ("typed", "kept", "removed"),
    [
        ("https://u:p@h/a.csv?v=2#top", "https://h/a.csv?v=2", ("user and password",)),
        ("https://h/a?X-Amz-Signature=9f&X-Amz-Date=1&part=3", "https://h/a?part=3", ("X-Amz-Signature", "X-Amz-Date")),
        ("https://h/a?sv=1&se=2&sp=r&sig=abc&comp=x", "https://h/a?comp=x", ("sv", "se", "sp", "sig")),
        ("https://h/a?Expires=1&Signature=2&Key-Pair-Id=3", "https://h/a", ("Expires", "Signature", "Key-Pair-Id")),
        ("https://h/a?access_token=abc&q=a%20b", "https://h/a?q=a%20b", ("access_token",)),
        ("https://h/a?x=ghp_abcdefghijklmnopqrstuvwxyz", "https://h/a", ("x",)),
        ("https://h/a?Expires=1&sv=2", "https://h/a?Expires=1&sv=2", ()),
        ("s3://key:word@bucket/p/?region=eu", "s3://bucket/p/?region=eu", ("user and password",)),
    ],
)
def test_what_gives_access_is_taken_out_of_a_url(typed: str, kept: str, removed: tuple[str, ...]) -> None:
    assert clean(typed) == (kept, removed)


def test_a_url_that_nothing_reads_is_refused() -> None:
    for url in ("ftp://host/a", "https:///a"):
        with pytest.raises(UsageError):
            clean(url)


# what else must know of it


def test_a_repeat_is_given_data_by_url(web: Web, home: Home) -> None:
    from bis.nouns.part import Part
    from bis.steps.exchange_data import data_from_version

    web.files["table.csv"] = TABLE
    held = add(web.url("table.csv"), home).held
    rows = [{"path": "in/table.csv", "digest": digest_bytes(b"old"), "size": 3, "read": True, "how": "traced"}]
    recorded = Part(kind="data", digest=digest_bytes(b""), summary="", facts={"inputs": rows})
    part = data_from_version(held, "", recorded, home)
    (row,) = part.facts["inputs"]
    assert (row["digest"], row["kept"]) == (digest_bytes(TABLE), True)
    assert home.store.get_bytes(digest_bytes(TABLE)) == TABLE


def test_what_the_server_said_survives_gc_and_travels(web: Web, make_home: Callable[..., Home], tmp_path: Path) -> None:
    ana, ben = make_home("ana"), make_home("ben")
    web.files["table.csv"] = web.files["other.csv"] = TABLE
    add(web.url("table.csv"), ana)
    add(web.url("other.csv"), ana)
    web.etags = False
    web.changed = "Sun, 03 May 2020 10:00:00 GMT"
    add(web.url("table.csv"), ana)  # the server says something else of the same bytes
    collect(ana, now=datetime.now(UTC), grace=timedelta(0), at_once=True)
    for home in (ana, ben):
        add_remote("origin", str(tmp_path / "remote"), home.project, home.settings, seen_from=home.project)
    push(ana, "", {})
    pull(ben, "", {})
    (held,) = ben.ledger.data.versions("table")
    assert sights_of(held, ben)["table.csv"].modified == "1588500000"
    (other,) = ben.ledger.data.versions("other")
    assert sights_of(other, ana) == sights_of(other, ben) != {}
    assert standing(held, ben).unread == 1
    assert not verify(ben.store)
    assert content(held, ben) == TABLE


# many files


@pytest.mark.slow
def test_a_prefix_of_a_bucket_is_a_data_set_of_many_files(objects: Bucket, make_home: Callable[..., Home]) -> None:
    home = make_home("ana", objects.place.variables)
    for number in range(30):
        objects.put(f"deep/{number}.txt", f"{number}\n".encode())
    objects.put("table.csv", TABLE)
    held = add(objects.url, home, checksums=("sha256",)).held
    assert (held.version.name, held.version.single, held.version.files) == ("set", False, 31)
    assert held.version.source == objects.url
    bring(held, "", home.project / "out", home)
    assert {path.read_text() for path in (home.project / "out" / "deep").iterdir()} == {f"{n}\n" for n in range(30)}
    names = sorted(path for path in (home.project / "out").rglob("*") if path.is_file())
    listing = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(home.project / 'out')}\n" for path in names
    )
    assert held.checksums["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    assert content(held, home, "deep/7.txt") == b"7\n"
    assert [leaf.path for leaf in leaves_of(held, "deep", home)][:2] == ["0.txt", "1.txt"]
    assert bring(held, "deep/8.txt", home.project / "one", home).into.read_bytes() == b"8\n"


@pytest.mark.slow
def test_what_changed_below_a_prefix_is_told_by_name(objects: Bucket, make_home: Callable[..., Home]) -> None:
    home = make_home("ana", objects.place.variables)
    for name in ("a.txt", "b.txt", "c.txt"):
        objects.put(name, b"same\n")
    held = add(objects.url, home).held
    found = standing(held, home)
    assert (found.state, found.unread) == ("same", 3)
    objects.put("a.txt", b"SAME\n")
    objects.put("d.txt", b"new\n")
    objects.remove("c.txt")
    found = standing(held, home)
    assert found.delta == Delta(added=("d.txt",), removed=("c.txt",), changed=("a.txt",))
    with pytest.raises(CannotRepeat):
        bring(held, "", home.project / "out", home)
    assert add(objects.url, home).held.reference == "set@v2"


@pytest.mark.slow
def test_one_object_of_a_bucket_is_a_single_file(objects: Bucket, make_home: Callable[..., Home]) -> None:
    home = make_home("ana", objects.place.variables)
    objects.put("table.csv", TABLE)
    held = add(f"{objects.url}table.csv", home).held
    assert (held.reference, held.version.single, content(held, home)) == ("table@v1", True, TABLE)
    assert standing(held, home).unread == 1
    objects.put("table.csv", b"other")
    assert standing(held, home).state == "changed"
    with pytest.raises(CannotRepeat) as caught:
        content(held, home)
    assert caught.value.code == CHANGED_THERE


@pytest.mark.slow
def test_a_prefix_without_the_slash_at_its_end_is_found(objects: Bucket, make_home: Callable[..., Home]) -> None:
    home = make_home("ana", objects.place.variables)
    objects.put("table.csv", TABLE)
    assert add(objects.url.rstrip("/"), home).held.version.source == objects.url
    with pytest.raises(NotFound):
        add(f"{objects.url}nothing/", home)
