"""Whose servers are told the user's credentials: those that the user named, and not those that a project brings."""

import contextlib
import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.errors import UsageError
from bis.settings import Settings
from bis.steps.trust import NOT_TRUSTED, demand_places

Type = Callable[..., Any]
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAMINE", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "us-east-1"}


class Nosy(http.server.ThreadingHTTPServer):
    """A server that keeps what it is told, and has nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.told: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Nosy

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.server.told.append(f"{self.path} {self.headers}")
        self.send_error(404)

    do_PUT = do_HEAD = do_GET


@pytest.fixture
def nosy() -> Iterator[Nosy]:
    server = Nosy()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def type_(bis: Type, tmp_path: Path) -> Type:
    """`bis` of somebody with a home folder of their own."""

    def typed(*words: str, **variables: str) -> Any:
        return bis(*words, folder=tmp_path / "theirs", HOME=str(tmp_path / "me"), **variables)

    return typed


@pytest.fixture(params=["server", "bucket"])
def secret(request: pytest.FixtureRequest, nosy: Nosy, tmp_path: Path) -> dict[str, str]:
    """A project of somebody else's that names a server of theirs; returns what the user has set for another one."""
    if request.param == "bucket":
        pytest.importorskip("obstore")
    url = nosy.url if request.param == "server" else f"s3://bucket/x?endpoint={nosy.url}"
    (tmp_path / "me").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "bis.toml").write_text(f'[remotes]\norigin = "{url}"\n')
    return {"BIS_TOKEN": "bis_mine"} if request.param == "server" else KEYS


def spoke_of_me(nosy: Nosy) -> bool:
    assert nosy.told, "the server was asked"
    return any(word in "".join(nosy.told) for word in ("bis_mine", "AKIAMINE"))


@pytest.mark.parametrize("words", [("pull",), ("fetch", "origin"), ("push",), ("remote", "show")])
def test_a_server_that_a_project_names_is_not_even_asked_and_the_error_says_what_to_type(
    words: tuple[str, ...], type_: Type, secret: dict[str, str], nosy: Nosy, tmp_path: Path
) -> None:
    refused = type_(*words, **secret)
    assert refused.status == 2
    assert nosy.told == []
    for told in (nosy.url, "bis.toml", "bis remote trust origin", f"BIS_TRUST={nosy.url}", "B130"):
        assert told in refused.err
    assert type_("remote", "trust", "origin", **secret).out == f"trusted  {nosy.url}\n"
    assert type_(*words, **secret).status != 2
    assert spoke_of_me(nosy)
    assert (tmp_path / "me/.config/bis/trusted").read_text() == f"{nosy.url}\n"


def test_a_list_of_remotes_that_came_with_the_project_is_no_word_of_the_user(
    type_: Type, secret: dict[str, str], nosy: Nosy, tmp_path: Path
) -> None:
    assert type_("remote", "add", "lab", "../shared").status == 0
    url = nosy.url if "BIS_TOKEN" in secret else f"s3://bucket/x?endpoint={nosy.url}"
    (tmp_path / "theirs/.bis/remotes").write_text(f'{{"lab": "{url}"}}')
    refused = type_("pull", "lab", **secret)
    assert (refused.status, nosy.told) == (2, [])
    assert ".bis/remotes" in refused.err


def test_ci_names_servers_in_a_variable(type_: Type, secret: dict[str, str], nosy: Nosy) -> None:
    assert type_("pull", **secret, BIS_TRUST="https://other.example.org").status == 2
    assert nosy.told == []
    assert type_("pull", **secret, BIS_TRUST=f"https://other.example.org {nosy.url}").status != 2
    assert spoke_of_me(nosy)


def test_what_the_user_adds_is_trusted_and_what_is_in_their_own_settings(
    type_: Type, secret: dict[str, str], nosy: Nosy, tmp_path: Path
) -> None:
    url = nosy.url if "BIS_TOKEN" in secret else f"s3://bucket/x?endpoint={nosy.url}"
    own = tmp_path / "own" / "bis" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(f'[remotes]\nlab = "{url}"\n')
    assert type_("pull", "lab", **secret, XDG_CONFIG_HOME=str(tmp_path / "own")).status != 2
    assert spoke_of_me(nosy)
    assert type_("pull", "origin", **secret).status == 2
    assert type_("remote", "add", "lab", url).status == 0
    assert type_("pull", "origin", **secret).status != 2


def test_a_url_that_is_typed_is_the_word_of_whoever_types_it(type_: Type, secret: dict[str, str], nosy: Nosy) -> None:
    url = nosy.url if "BIS_TOKEN" in secret else f"s3://bucket/x?endpoint={nosy.url}"
    assert type_("push", url, **secret).status != 2
    assert spoke_of_me(nosy)


def test_where_there_is_no_secret_or_one_for_this_host_alone_nothing_has_to_be_trusted(
    type_: Type, nosy: Nosy, tmp_path: Path
) -> None:
    for name in ("me", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "theirs" / "bis.toml").write_text(f'[remotes]\norigin = "{nosy.url}"\n')
    assert type_("pull").status != 2
    assert not spoke_of_me(nosy)
    (tmp_path / "me/.netrc").write_text("machine 127.0.0.1 login me password bis_of_this_host\n")
    assert type_("pull").status != 2
    assert "Authorization: Basic" in "".join(nosy.told)


def test_a_trusted_name_with_https_is_not_trusted_without(type_: Type, nosy: Nosy, tmp_path: Path) -> None:
    for name in ("me", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "theirs" / "bis.toml").write_text(f'[remotes]\norigin = "{nosy.url}"\n')
    safe = nosy.url.replace("http:", "https:")
    assert type_("pull", BIS_TOKEN="bis_mine", BIS_TRUST=safe).status == 2
    assert nosy.told == []


class Hanging(socketserver.ThreadingTCPServer):
    """A place that a stranger chose: whoever comes is counted, and hears nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.came = 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.came += 1
        self.shutdown_request(request)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    server = Hanging()
    yield server
    server.shutdown()
    server.server_close()


def test_a_database_that_a_project_names_as_its_ledger_is_told_no_password(
    type_: Type, hanging: Hanging, tmp_path: Path
) -> None:
    pytest.importorskip("psycopg")
    for name in ("me", "theirs"):
        (tmp_path / name).mkdir()
    server = f"postgresql://127.0.0.1:{hanging.server_address[1]}"
    (tmp_path / "theirs" / "bis.toml").write_text(f'ledger = "{server.replace("//", "//bis@")}/runs"\n')
    secret = {"PGPASSWORD": "hush", "PGGSSENCMODE": "disable"}
    for words in (("log",), ("run", "--", "true"), ("server", "--port", "0")):
        refused = type_(*words, **secret)
        assert refused.status != 0
        for told in (server, "ledger", "bis.toml", f"bis remote trust {server}", f"BIS_TRUST={server}", "B130"):
            assert told in refused.err
    assert hanging.came == 0
    assert not (tmp_path / "theirs" / ".bis" / "store").exists(), "nothing is begun"
    for named in ({"BIS_TRUST": server}, {"PGHOST": "127.0.0.1"}, {"BIS_LEDGER": f"{server}/runs"}):
        before = hanging.came
        assert "B130" not in type_("run", "--", "true", **secret, **named).err
        assert hanging.came > before
    assert type_("remote", "trust", f"{server}/runs", **secret).out == f"trusted  {server}\n"
    before = hanging.came
    assert "B130" not in type_("run", "--", "true", **secret).err
    assert hanging.came > before


@pytest.mark.parametrize(
    ("ledger", "secrets", "file", "told"),
    [
        ("postgresql://db.example.org/x", {}, "", False),
        ("postgresql://db.example.org/x", {"PGPASSWORD": "hush"}, "", True),
        ("postgresql:///x?host=db.example.org&port=9", {"PGPASSWORD": "hush"}, "", True),
        ("postgresql:///x?service=team", {"PGPASSWORD": "hush"}, "", False),
        ("postgresql:///x?host=/run/postgresql", {"PGPASSWORD": "hush"}, "", False),
        ("postgresql://them:theirs@db.example.org/x", {"PGPASSWORD": "hush"}, "", False),
        ("postgresql://db.example.org/x", {}, "db.example.org:*:*:me:hush\n", False),
        ("postgresql://db.example.org/x", {}, "*:*:*:me:hush\n", True),
    ],
)
def test_only_what_is_a_secret_for_any_host_has_to_be_trusted(
    ledger: str, secrets: dict[str, str], file: str, told: bool, tmp_path: Path
) -> None:
    (tmp_path / ".pgpass").write_text(file)
    variables = {"HOME": str(tmp_path), **secrets}
    refused = pytest.raises(UsageError) if told else contextlib.nullcontext()
    with refused as error:
        demand_places(tmp_path, Settings(ledger=ledger), variables)
    assert error is None or error.value.code == NOT_TRUSTED


def test_the_server_of_a_bucket_that_a_project_names_as_its_store_is_told_no_keys(
    type_: Type, nosy: Nosy, tmp_path: Path
) -> None:
    pytest.importorskip("obstore")
    for name in ("me", "theirs"):
        (tmp_path / name).mkdir()
    (tmp_path / "theirs" / "bis.toml").write_text(f'store = "s3://bucket/x?endpoint={nosy.url}"\n')
    refused = type_("server", "--port", "0", **KEYS)
    assert (refused.status, nosy.told) == (2, [])
    for told in (nosy.url, "store", f"bis remote trust {nosy.url}", "B130"):
        assert told in refused.err
    assert type_("remote", "trust", nosy.url).out == f"trusted  {nosy.url}\n"
    assert "B130" not in type_("server", "--port", "0", **KEYS).err
    assert spoke_of_me(nosy)
