"""A server that a record names is told nobody's credentials, unless the person's own settings name it as well."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.errors import KeepingError, UsageError
from bis.nouns.dataset import Held
from bis.settings import Settings
from bis.steps.add_data import Adding
from bis.steps.add_url import add_url
from bis.steps.bring import bring
from bis.steps.home import Home, open_home
from bis.steps.remotes import add as add_remote
from bis.steps.trust import trust
from bis.store.remote import REFUSED
from bis.store.remote.clouds import OWN, options, stranger

TABLE = b"id\n1\n"
SECRET = {
    "s3": {
        "AWS_ACCESS_KEY_ID": "AKIAMINE",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_SESSION_TOKEN": "TOKENMINE",
        "AWS_REGION": "us-east-1",
    },
    "gs": {"GOOGLE_BEARER_TOKEN": "TOKENMINE"},
    "az": {"AZURE_STORAGE_ACCOUNT_NAME": "lab", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"},
}
NAMES = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST", "az": "AZURE_STORAGE_ENDPOINT"}


class Nosy(http.server.ThreadingHTTPServer):
    """A server of any cloud with one object, which keeps all that it is told. It may want to know who asks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.told: list[str] = []
        self.strict = False
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Nosy

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.told.append(f"{self.path} {self.headers}")
        known = any(name.lower() in ("authorization", "x-amz-security-token") for name in self.headers)
        if self.server.strict and not known:
            self.send_error(403)
            return
        self.send_response(200)
        for name, value in (("Content-Length", str(len(TABLE))), ("ETag", '"x"')):
            self.send_header(name, value)
        self.send_header("Last-Modified", "Sun, 03 May 2026 10:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(TABLE)


@pytest.fixture
def nosy() -> Iterator[Nosy]:
    server = Nosy()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    made: list[Home] = []

    def make(variables: dict[str, str]) -> Home:
        (tmp_path / "ana").mkdir(exist_ok=True)
        made.append(open_home(tmp_path / "ana", Settings(), variables={"HOME": str(tmp_path), **variables}))
        return made[-1]

    yield make
    for home in made:
        home.store.close()


def recorded(scheme: str, nosy: Nosy, home: Home) -> Held:
    """A version that somebody recorded by reference, from a server of theirs."""
    url = f"{scheme}://lab/table.csv?endpoint={nosy.endpoint}"
    held = add_url(Adding(url=url, name="theirs"), home).held
    nosy.told.clear()
    return held


def spoke_of_me(nosy: Nosy) -> bool:
    said = "".join(nosy.told).lower()
    assert said, "the server was asked"
    return any(word in said for word in ("authorization", "akiamine", "tokenmine", "x-amz-security-token", "sharedkey"))


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_server_that_a_record_names_is_asked_as_nobody(
    scheme: str, nosy: Nosy, make_home: Callable[..., Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRET[scheme].items():
        monkeypatch.setenv(name, value)  # the client of buckets looks there by itself
    home = make_home(SECRET[scheme])
    bring(recorded(scheme, nosy, home), "", tmp_path / "back", home)
    assert (tmp_path / "back" / "table.csv").read_bytes() == TABLE
    assert not spoke_of_me(nosy)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_when_it_refuses_the_error_names_it_and_says_how_to_trust_it(
    scheme: str, nosy: Nosy, make_home: Callable[..., Home], tmp_path: Path
) -> None:
    home = make_home(SECRET[scheme])
    held = recorded(scheme, nosy, home)
    nosy.strict = True
    with pytest.raises(KeepingError) as caught:
        bring(held, "", tmp_path / "back", home)
    assert caught.value.code == REFUSED
    assert nosy.endpoint.removeprefix("http://") in caught.value.because
    assert not spoke_of_me(nosy)
    words = caught.value.hint.partition("bis remote add ")[2].replace("'", "").split()
    add_remote(words[0], words[1], home.project, home.settings, seen_from=home.project)
    trust(words[1], home.variables)
    bring(held, "", tmp_path / "back", home)
    assert spoke_of_me(nosy)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_server_that_the_environment_names_is_told_who_asks(
    scheme: str, nosy: Nosy, make_home: Callable[..., Home], tmp_path: Path
) -> None:
    home = make_home({**SECRET[scheme], NAMES[scheme]: nosy.endpoint})
    bring(recorded(scheme, nosy, home), "", tmp_path / "back", home)
    assert spoke_of_me(nosy)


def test_a_server_that_a_profile_names_is_told_who_asks(
    nosy: Nosy, make_home: Callable[..., Home], tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[default]\nendpoint_url = {nosy.endpoint}\n")
    home = make_home(SECRET["s3"])
    bring(recorded("s3", nosy, home), "", tmp_path / "back", home)
    assert spoke_of_me(nosy)


@pytest.mark.parametrize(
    ("scheme", "endpoint", "is_own"),
    [
        ("s3", "https://s3.eu-west-1.amazonaws.com", True),
        ("s3", "https://s3.dualstack.us-gov-west-1.amazonaws.com/", True),
        ("s3", "https://s3.amazonaws.com", True),
        ("s3", "https://s3.cn-north-1.amazonaws.com.cn", True),
        ("s3", "https://vpce-1.s3.us-east-1.vpce.amazonaws.com", True),
        ("s3", "http://s3.amazonaws.com", False),
        ("s3", "https://s3.amazonaws.com.example.org", False),
        ("s3", "https://s3.amazonaws.com@example.org", False),
        ("s3", "https://s3-mine-1.us-east-1.elb.amazonaws.com", False),
        ("s3", "https://ec2-1-2-3-4.compute-1.amazonaws.com", False),
        ("gs", "https://storage.googleapis.com", True),
        ("gs", "https://storage.europe-west3.rep.googleapis.com", True),
        ("gs", "https://storage.googleapis.com.example.org", False),
        ("az", "https://lab.blob.core.windows.net/", True),
        ("az", "https://lab.blob.core.windows.net.example.org", False),
    ],
)
def test_the_servers_of_a_cloud_itself_are_known_and_no_others(scheme: str, endpoint: str, is_own: bool) -> None:
    assert (stranger(scheme, SECRET[scheme], {"endpoint": endpoint}, ()) == "") is is_own
    assert bool(OWN[scheme].fullmatch(endpoint.rstrip("/"))) is is_own
    assert stranger(scheme, SECRET[scheme], {"endpoint": endpoint}, None) == "", "who types it means it"


@pytest.mark.parametrize("url", ["s3://lab/x?region=example.org%2F", "az://lab/x?account=example.org%2F%23"])
def test_what_becomes_part_of_the_name_of_a_host_is_a_plain_word(url: str) -> None:
    with pytest.raises(UsageError, match=r"is no (region|account)"):
        options(url)
