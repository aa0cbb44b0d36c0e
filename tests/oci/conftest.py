"""A real registry on loopback, and images to put there."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bis.oci import Image
from bis.oci.layers import Entry, write_layer
from bis.oci.layout import Layout

MOMENT = 1_700_000_000
SECRET = "$2y$05$63qK4ineczRKdA8UPcE/vOYdt2v/ZYmPpkmTiWX1F.8bPa71stUEC"
"""`secret`, as a registry keeps it."""


class Host(NamedTuple):
    """A registry under way."""

    name: str
    blobs: Path
    """Where it keeps what it has."""


@pytest.fixture
def tool(lacking: Callable[[str, str], None]) -> Callable[..., str]:
    """Run another program that knows images, and return what it says."""

    def run(*command: str) -> str:
        if shutil.which(command[0]) is None:
            lacking(command[0], f"apt-get install {command[0]}")
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    return run


@pytest.fixture
def registry(tmp_path: Path, lacking: Callable[[str, str], None]) -> Iterator[Callable[..., Host]]:
    """Start a registry; with `locked`, one that knows the user `team` with the password `secret`."""
    if shutil.which("docker-registry") is None:
        lacking("docker-registry", "apt-get install docker-registry")
    started = []

    def start(locked: bool = False) -> Host:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            port = door.getsockname()[1]
        place = tmp_path / f"registry-{port}"
        place.mkdir()
        (place / "users").write_text(f"team:{SECRET}\n")
        auth = f"auth: {{htpasswd: {{realm: here, path: {place}/users}}}}\n" if locked else ""
        (place / "config.yml").write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
        )
        command = ["docker-registry", "serve", str(place / "config.yml")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)
        for _ in range(200):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    return Host(f"127.0.0.1:{port}", place / "data")
            time.sleep(0.05)
        raise AssertionError("the registry did not start")

    yield start
    for process in started:
        process.kill()
        process.wait()


def made(folder: Path, files: dict[str, bytes], name: str = "test") -> tuple[Layout, Image]:
    """A layout with one image of one layer."""
    layout = Layout(folder)
    layout.make()
    with layout.new_blob() as file:
        written = write_layer([Entry(path, content) for path, content in files.items()], file, MOMENT)
        layout.keep(file, written.descriptor.digest)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": [written.diff_id]},
    }
    image = layout.put_image(config, (written.descriptor,), {})
    layout.name(image.descriptor, name)
    return layout, image


@pytest.fixture
def signed_in(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The variables of a user who has typed `docker login` for a host."""

    def variables(host: str) -> dict[str, str]:
        folder = tmp_path / "docker"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": "dGVhbTpzZWNyZXQ="}}}))
        return {**os.environ, "DOCKER_CONFIG": str(folder)}

    return variables
