"""Remotes of every kind, as real as they come: a folder, an SFTP server behind the user's `ssh`, a `bis server`, a
server of S3, which also answers the calls that Google Cloud Storage shares with S3, and Azurite, Microsoft's own
emulator."""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.store.remote.address import open_remote

AZURITE = ("--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent")
UNTIL_WE_END = '"$@" & read -r _; kill $!'
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # in its manual
REQUEST = re.compile(rb"(?:^|\r\n\r\n|\})((?:GET|PUT|POST|HEAD|DELETE) \S+) HTTP/1\.1\r\n")


RELAY = """
import os, sys
left = int(sys.argv[1])
while left and (block := os.read(0, min(left, 65536))):
    left -= len(block)
    os.write(1, block)
"""


class Place:
    """Where a remote lies, and what a test may do to it behind the back of bis."""

    def __init__(self, url: str, variables: dict[str, str], folder: Path | None = None) -> None:
        self.url, self.variables, self.folder = url, {**os.environ, **variables}, folder

    def names(self) -> list[str]:
        """Of the packs."""
        assert self.folder is not None
        packs = self.folder / "packs"
        return sorted(path.name for path in packs.glob("*.pack")) if packs.is_dir() else []

    def read(self, name: str) -> bytes:
        assert self.folder is not None
        return (self.folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        assert self.folder is not None
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def declare(self, text: str) -> None:
        """Say which format the store has, whatever it has."""
        with contextlib.closing(open_remote(self.url, self.variables)) as remote:
            remote.declare(text)

    def forget_format(self) -> None:
        """Be no store any more."""


class ServerPlace(Place):
    """A `bis server`: its store is in a folder."""

    def declare(self, text: str) -> None:
        self.write("format", text.encode())

    def forget_format(self) -> None:
        assert self.folder is not None
        (self.folder / "format").unlink()


class BucketPlace(Place):
    """A bucket of its own on a server; `store` is another client of it."""

    def __init__(self, url: str, variables: dict[str, str], store: Any) -> None:
        super().__init__(url, variables)
        import obstore

        self._do, self._store = obstore, store

    def names(self) -> list[str]:
        return sorted(
            one["path"].removeprefix("packs/") for page in self._do.list(self._store, "packs") for one in page
        )

    def read(self, name: str) -> bytes:
        return bytes(self._do.get(self._store, name).bytes())

    def write(self, name: str, data: bytes) -> None:
        self._do.put(self._store, name, data)

    def remove(self, name: str) -> None:
        self._do.delete(self._store, name)


@pytest.fixture
def s3(s3_port: int, bucket: str) -> BucketPlace:
    from obstore.store import S3Store

    endpoint = f"http://127.0.0.1:{s3_port}"
    config: Any = {"endpoint": endpoint, "access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
    store = S3Store(bucket, prefix="team/store", config=config, client_options={"allow_http": True})
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    return BucketPlace(f"s3://{bucket}/team/store", {**keys, "AWS_ENDPOINT_URL": endpoint}, store)


@pytest.fixture
def gs(s3_port: int, bucket: str) -> BucketPlace:
    """No emulator of Google's storage knows the XML calls that obstore makes; they are those of S3, so its server
    answers them. What it does not do is look at Google's credentials."""
    from obstore.store import GCSStore

    endpoint = f"http://127.0.0.1:{s3_port}"
    config: Any = {"base_url": endpoint, "bearer_token": "test"}
    store = GCSStore(bucket, prefix="team/store", config=config, client_options={"allow_http": True})
    return BucketPlace(f"gs://{bucket}/team/store", {"STORAGE_EMULATOR_HOST": endpoint}, store)


@pytest.fixture(scope="session")
def azurite(root: Path) -> Iterator[str]:
    """The endpoint of an Azurite on this machine, which ends when the tests do. `make test` installs it where there is
    npm; where it is not, not even CI fails."""
    known = (os.environ.get("BIS_TEST_AZURITE"), root / ".azurite/node_modules/.bin/azurite-blob", "azurite-blob")
    program = next((found for one in known if one and (found := shutil.which(one))), None)
    if program is None:
        message = "Azurite is missing, so az:// is not tested. Install npm, and type `make system-packages`."
        warnings.warn(message, stacklevel=2)
        pytest.skip(message)
    words = ["sh", "-c", UNTIL_WE_END, "sh", program, *AZURITE]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        listens = (re.search(r"listens on (http://\S+)", line) for line in server.stdout)
        yield next(found[1] for found in listens if found) + f"/{AZURE_ACCOUNT}"
        server.stdin.close()


@pytest.fixture
def az(azurite: str, bucket_name: str) -> BucketPlace:
    """An empty container."""
    from obstore.store import AzureStore

    _make_container(azurite, bucket_name)
    config: Any = {"endpoint": azurite, "account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY}
    store = AzureStore(bucket_name, prefix="team/store", config=config, client_options={"allow_http": True})
    told = f"AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={azurite};"
    return BucketPlace(f"az://{bucket_name}/team/store", {"AZURE_STORAGE_CONNECTION_STRING": told}, store)


def _make_container(endpoint: str, name: str) -> None:
    """Signed as Microsoft's page "Authorize with Shared Key" says."""
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    told = "".join(f"{key}:{value}\n" for key, value in headers.items())
    text = "PUT" + "\n" * 12 + f"{told}/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
    proof = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(proof).decode()}"
    asked = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=headers)
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 201


@pytest.fixture(scope="session")
def make_ssh(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], Path]) -> Callable[..., str]:
    """The command that is `ssh` for bis: the real one, to a real `sshd` that answers it over a pipe.
    `make_ssh("-R")` gives options to the SFTP server; after `cut_after` bytes sent the connection breaks."""
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"
    ssh, sshd = tool("ssh"), tool("sshd")
    folder = tmp_path_factory.mktemp("sshd")
    shell = pwd.getpwuid(os.geteuid()).pw_shell
    if Path(shell).name in ("nologin", "false"):
        pytest.skip(f"sshd lets nobody in whose shell is {shell}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd as root wants an empty folder
    for key in ("host", "user"):
        words = [shutil.which("ssh-keygen") or "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(words, check=True)

    def make(options: str = "", cut_after: int | None = None) -> str:
        through = "" if cut_after is None else f"{sys.executable} {folder}/relay.py {cut_after} |"
        (folder / "relay.py").write_text(RELAY)
        config = folder / f"config{len(list(folder.iterdir()))}"
        config.write_text(
            f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
            f"Subsystem sftp internal-sftp {options}\n"
        )
        proxy = folder / f"{config.name}.sh"
        proxy.write_text(f"#!/bin/sh\n{through} {sshd} -i -f {config} -E /dev/null\n")
        proxy.chmod(0o755)
        asks = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        return f"{ssh} -F none -i {folder}/user {asks} -o ProxyCommand={proxy}"

    return make


@pytest.fixture
def sftp(make_ssh: Callable[..., str], tmp_path: Path) -> Place:
    folder = tmp_path / "over ssh" / "store"
    url = "ssh://server" + str(folder).replace(" ", "%20")
    return Place(url, {"BIS_SSH": make_ssh()}, folder)


@pytest.fixture
def http_server(tmp_path: Path) -> Iterator[ServerPlace]:
    """A server on loopback, and the token of a writer."""
    words = [sys.executable, "-m", "bis", "-C", str(tmp_path / "team"), "server"]
    (tmp_path / "team").mkdir()
    added = subprocess.run([*words, "token", "add", "ana", "--role", "writer"], check=True, capture_output=True)
    with subprocess.Popen([*words, "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = process.stderr.readline().split()[-1]
            yield ServerPlace(url, {"BIS_TOKEN": added.stdout.decode().strip()}, tmp_path / "team" / ".bis" / "store")
        finally:
            process.terminate()
            process.stderr.read()


@pytest.fixture(
    params=[
        "folder",
        "sftp",
        "http_server",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "gs", "az")),
    ],
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A remote of each kind, empty."""
    if request.param == "folder":
        return Place(str(tmp_path / "remote"), {}, tmp_path / "remote")
    found: Place = request.getfixturevalue(request.param)
    return found


class Wire:
    """Hands bytes on between bis and a server: counts requests, may be slow, and may be cut."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.requests: list[str] = []
        self.cut_after: int | None = None
        """Bytes sent by bis after which all connections break, and no new ones are taken."""
        self.cut_answers_after: int | None = None
        """Bytes received by bis after which they break."""
        self.received = 0
        self.pause = 0.0
        """Seconds before each block is handed on."""
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut():
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._upstream))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client), daemon=True).start()

    def _is_cut(self) -> bool:
        sent = self.cut_after is not None and self.sent >= self.cut_after
        return sent or (self.cut_answers_after is not None and self.received >= self.cut_answers_after)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while block := client.recv(1 << 16):
                self.sent += len(block)
                if self._is_cut():
                    break
                self.requests += [found.decode() for found in REQUEST.findall(block)]
                time.sleep(self.pause)
                server.sendall(block)
        except OSError:
            pass
        for end in (client, server):
            with_shutdown(end)

    def _copy(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while block := server.recv(1 << 16):
                self.received += len(block)
                if self._is_cut():
                    break
                time.sleep(self.pause)
                client.sendall(block)
        except OSError:
            pass
        for end in (client, server):
            with_shutdown(end)


def with_shutdown(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(s3_port: int, s3: BucketPlace) -> Iterator[tuple[Wire, Place]]:
    """A wire to the server of S3, and a remote that is reached over it."""
    found = Wire(s3_port)
    over = Place(s3.url, {**s3.variables, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{found.port}"})
    yield found, over
    found.close()
