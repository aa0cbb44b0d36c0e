"""Contents that only a remote of DVC has, on servers of every kind, are found there by `bis import dvc`, and proved."""

import base64
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.acts.adopt_dvc import adopt_dvc
from bis.foreign import dvc
from bis.foreign.dvc import Member, Out
from bis.settings import Settings
from bis.steps.bring import bring
from bis.steps.home import Home, open_home
from bis.steps.taking import Adopted

Shell = Callable[..., str]
Peer = Callable[[str], Path]
Config = Callable[..., None]

RAW = b"a\r\n1\r\n"
IMAGES = {"x.png": b"x" * 100_000, "deep/y z.png": b"y"}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Site(http.server.ThreadingHTTPServer):
    """A web server of a folder, which keeps what it is asked and by whom."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), lambda *given: Answer(*given, directory=str(folder)))
        self.asked: list[tuple[str, str, str]] = []
        self.wants: tuple[str, str] | None = None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Answer(http.server.SimpleHTTPRequestHandler):
    server: Site

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"] or "", self.headers["X-Token"] or ""))
        if self.server.wants and self.headers[self.server.wants[0]] != self.server.wants[1]:
            self.send_error(401)
        else:
            super().do_GET()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder behind a remote."""
    (tmp_path / "the store").mkdir()
    return tmp_path / "the store"


@pytest.fixture
def site(store: Path) -> Iterator[Site]:
    server = Site(store)
    yield server
    server.shutdown()
    server.server_close()


def keep(store: Path, data: bytes, value: str = "", kind: str = dvc.MD5) -> str:
    """Lay a content out as DVC does it."""
    place = store / dvc.object_place(value or md5(data), kind)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return value or md5(data)


@pytest.fixture
def old(tmp_path: Path, store: Path) -> Path:
    """A project with a file and a folder, of which the remote alone has the contents."""
    project = tmp_path / "old"
    (project / ".dvc").mkdir(parents=True)
    (project / "raw.csv.dvc").write_text(dvc.write_pointer([Out(path="raw.csv", value=keep(store, RAW))]))
    listing = dvc.write_listing(Member(path=path, value=keep(store, data)) for path, data in IMAGES.items())
    value = keep(store, listing, dvc.folder_value(listing))
    (project / "images.dvc").write_text(dvc.write_pointer([Out(path="images", value=value, nfiles=2)]))
    return project


@pytest.fixture
def config(old: Path) -> Config:
    """Write the configuration of the project: `config(url=…, core="x", local={…})`."""

    def write(name: str = "far", *, local: dict[str, str] | None = None, core: str = "far", **options: Any) -> None:
        lines = [f"['remote \"{name}\"']", *(f"    {key} = {value}" for key, value in options.items())]
        path = old / ".dvc" / "config"
        before = path.read_text() if path.exists() else f"[core]\n    remote = {core}\n"
        path.write_text("\n".join([before, *lines, ""]))
        if local:
            lines = [lines[0], *(f"    {key} = {value}" for key, value in local.items())]
            (old / ".dvc" / "config.local").write_text("\n".join([*lines, ""]))

    return write


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    made: list[Home] = []

    def make(variables: dict[str, str] | None = None) -> Home:
        (tmp_path / "new").mkdir(exist_ok=True)
        made.append(open_home(tmp_path / "new", Settings(), variables=variables or {}))
        return made[-1]

    yield make
    for home in made:
        home.store.close()


def adopt(project: Path, home: Home) -> Adopted:
    return adopt_dvc(project, home, home.variables, "", lambda text, done, total: None)


def contents(adopted: Adopted, home: Home, into: Path) -> dict[str, bytes]:
    """All files of what was imported, as they come back."""
    for held in adopted.versions:
        bring(held, "", into / held.version.name, home)
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}


EXPECTED = {"raw/raw.csv": RAW, **{f"images/{path}": data for path, data in IMAGES.items()}}


def served(kind: str, store: Path, request: pytest.FixtureRequest, config: Config) -> dict[str, str]:
    """Serve what lies in `store` from a server of this kind, and configure it as the remote; variables of the shell."""
    if kind == "http":
        config(url=f"http://{request.getfixturevalue('site').host}")
        return {}
    if kind == "ssh":
        config(url=f"ssh://server{store}")
        return {"BIS_SSH": request.getfixturevalue("make_ssh")()}
    place = request.getfixturevalue(kind)
    for path in store.rglob("*"):
        if path.is_file():
            place.write(f"dvc/{path.relative_to(store)}", path.read_bytes())
    rest = place.url.partition("//")[2]
    if kind == "s3":
        local = {"access_key_id": "test", "secret_access_key": "test"}
        config(url=f"s3://{rest}/dvc", endpointurl=place.variables["AWS_ENDPOINT_URL"], region="us-east-1", local=local)
    elif kind == "gs":
        config(url=f"gs://{rest}/dvc/", endpointurl=place.variables["STORAGE_EMULATOR_HOST"])
    else:
        config(
            url=f"azure://{rest}/dvc", local={"connection_string": place.variables["AZURE_STORAGE_CONNECTION_STRING"]}
        )
    return {}


FAR = ["http", "ssh", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "gs", "az"))]


@pytest.mark.parametrize("kind", FAR)
def test_what_only_a_remote_on_a_server_has_is_imported(
    kind: str,
    old: Path,
    store: Path,
    config: Config,
    make_home: Callable[..., Home],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    home = make_home(served(kind, store, request, config))
    adopted = adopt(old, home)
    assert (adopted.missing, adopted.notes) == ((), ())
    assert contents(adopted, home, tmp_path / "back") == EXPECTED
    assert [path for path in home.folder.iterdir() if path.name.startswith("tmp")] == []


@pytest.mark.parametrize("kind", FAR)
def test_what_a_server_does_not_have_is_named_and_the_rest_is_imported(
    kind: str,
    old: Path,
    store: Path,
    config: Config,
    make_home: Callable[..., Home],
    request: pytest.FixtureRequest,
) -> None:
    (store / dvc.object_place(md5(IMAGES["x.png"]))).unlink()
    adopted = adopt(old, make_home(served(kind, store, request, config)))
    assert [held.version.name for held in adopted.versions] == ["raw"]
    (gone,) = adopted.missing
    assert gone.what == "images, not committed"
    assert (
        gone.why
        == f"x.png (md5 {md5(IMAGES['x.png'])[:8]}) is neither in the cache nor in a remote that could be asked"
    )
    assert adopted.notes == (), "it was asked, so there is nothing to be said of it"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "ssh", "s3"])
def test_what_dvc_pushed_is_found_where_it_put_it(
    kind: str,
    store: Path,
    config: Config,
    make_home: Callable[..., Home],
    tmp_path: Path,
    shell: Shell,
    peer: Peer,
    request: pytest.FixtureRequest,
) -> None:
    """DVC itself pushes into a folder, and that folder is then what a server has."""
    old: Path = request.getfixturevalue("old")
    for path in old.rglob("*.dvc"):
        if path.is_file():
            path.unlink()
    (old / ".dvc").rmdir()
    for name, data in EXPECTED.items():
        place = old / name.removeprefix("raw/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    pushed = tmp_path / "pushed"
    shell(old, peer("dvc"), "init", "-q", "--no-scm")
    shell(old, peer("dvc"), "add", "-q", "raw.csv", "images")
    shell(old, peer("dvc"), "remote", "add", "-q", "-d", "folder", str(pushed))
    shell(old, peer("dvc"), "push", "-q")
    for gone in (old / ".dvc" / "cache", old / "images"):
        shell(old, "rm", "-rf", gone)
    (old / "raw.csv").unlink()
    (old / ".dvc" / "config").unlink()
    shell(tmp_path, "rm", "-rf", store)
    pushed.rename(store)
    home = make_home(served(kind, store, request, config))
    assert contents(adopt(old, home), home, tmp_path / "back") == EXPECTED


def test_a_remote_of_dvc_2_is_read_in_its_layout_with_its_hash(
    old: Path, store: Path, site: Site, config: Config, make_home: Callable[..., Home], tmp_path: Path
) -> None:
    value = keep(store, b"b\r\n", md5(b"b\n"), dvc.OLD)
    (old / "images.dvc").unlink()
    (old / "raw.csv.dvc").write_text(f"outs:\n- md5: {value}\n  path: raw.csv\n")
    config(url=f"http://{site.host}/")
    home = make_home()
    assert contents(adopt(old, home), home, tmp_path / "back") == {"raw/raw.csv": b"b\r\n"}


def test_a_content_that_was_damaged_on_the_server_is_refused(
    old: Path, store: Path, site: Site, config: Config, make_home: Callable[..., Home]
) -> None:
    place = dvc.object_place(md5(RAW))
    (store / place).write_bytes(b"another")
    config(url=f"http://{site.host}")
    home = make_home()
    adopted = adopt(old, home)
    (gone,) = adopted.missing
    assert gone.why.endswith(f"is damaged: http://{site.host}/{place} holds other bytes than its hash says")
    assert [held.version.name for held in adopted.versions] == ["images"]


def test_the_remote_that_a_pointer_names_is_asked_first_and_then_the_default_one(
    old: Path, site: Site, config: Config, make_home: Callable[..., Home]
) -> None:
    (old / "images.dvc").unlink()
    out = Out(path="raw.csv", value=md5(b"nowhere"), remote="named")
    (old / "raw.csv.dvc").write_text(dvc.write_pointer([out]))
    for name in ("another", "far", "named"):
        config(name, url=f"http://{site.host}/{name}")
    assert adopt(old, make_home()).missing
    assert list(dict.fromkeys(path.split("/")[1] for path, _, _ in site.asked)) == ["named", "far", "another"]


def test_a_content_is_asked_for_once_though_many_versions_have_it(
    old: Path, site: Site, config: Config, make_home: Callable[..., Home]
) -> None:
    (old / "other.csv.dvc").write_text(dvc.write_pointer([Out(path="other.csv", value=md5(RAW))]))
    config(url=f"http://{site.host}")
    assert len(adopt(old, make_home()).versions) == 3
    asked = [path for path, _, _ in site.asked]
    assert len(asked) == len(set(asked)) == 4


def test_a_password_and_a_header_of_the_configuration_are_sent(
    old: Path, site: Site, config: Config, make_home: Callable[..., Home]
) -> None:
    config(url=f"http://{site.host}", auth="basic", user="ada", local={"password": "h@sh/1"})
    site.wants = ("Authorization", "Basic " + base64.b64encode(b"ada:h@sh/1").decode())
    assert len(adopt(old, make_home()).versions) == 2
    config(auth="custom", custom_auth_header="X-Token", local={"password": "hush"})
    site.wants = ("X-Token", "hush")
    (old / "raw.csv.dvc").write_text(dvc.write_pointer([Out(path="raw.csv", value=md5(b"gone"))]))
    assert "could be asked" in adopt(old, make_home()).missing[0].why
    assert site.asked[-1][1:] == ("", "hush")


def test_a_remote_that_refuses_or_is_away_is_asked_no_more_and_that_is_said(
    old: Path, site: Site, config: Config, make_home: Callable[..., Home]
) -> None:
    site.wants = ("X-Token", "hush")
    config(url=f"http://ada:secret@{site.host}")
    config("away", url="http://127.0.0.1:9/dvc")
    adopted = adopt(old, make_home())
    assert len(adopted.missing) == 2
    assert len(site.asked) == 1
    refused, away = adopted.notes
    assert refused.startswith("the remote far could not be asked: cannot read http://127.0.0.1:")
    assert "401" in refused
    assert "secret" not in "".join(adopted.notes)
    assert away.startswith("the remote away could not be asked: cannot read http://127.0.0.1:9/dvc/files/md5/")
    assert away.endswith("dvc fetch --all-commits, and import again")


@pytest.mark.parametrize(("url", "more"), [("hdfs://lab/x", {}), ("s3://lab/x", {"version_aware": "true"})])
def test_a_remote_that_bis_does_not_read_says_so(
    url: str, more: dict[str, str], old: Path, config: Config, make_home: Callable[..., Home]
) -> None:
    config(url=url, **more)
    (note,) = adopt(old, make_home()).notes
    assert "bis does not read" in note


def test_a_server_that_only_the_project_names_is_not_told_the_keys_of_whoever_imports(
    old: Path, site: Site, config: Config, make_home: Callable[..., Home], tmp_path: Path
) -> None:
    pytest.importorskip("obstore")
    server = f"http://{site.host}"
    mine = {"AWS_ACCESS_KEY_ID": "AKIAMINE", "AWS_SECRET_ACCESS_KEY": "hush", "HOME": str(tmp_path)}
    config(url="s3://lab/dvc", endpointurl=server)
    refused = adopt(old, make_home(mine))
    assert len(refused.missing) == 2
    assert site.asked == []
    assert f"bis remote trust {server}" in "".join(refused.notes)
    adopt(old, make_home({**mine, "BIS_TRUST": server}))
    assert "AKIAMINE" in str(site.asked)
