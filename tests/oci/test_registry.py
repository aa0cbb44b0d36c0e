"""Images pushed to a real registry and pulled back, held against what other programs make of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.errors import BisError, KeepingError, NotFound, UsageError
from bis.oci.layout import Layout
from bis.oci.registry import Registry, read_name
from bis.steps.provenance import attach

from .conftest import Host, made

HELLO = {"opt/hello": b"hello\n", "opt/more/deep": b"x" * 100_000}


def test_an_image_comes_back_as_it_went(
    tmp_path: Path, registry: Callable[..., Host], tool: Callable[..., str]
) -> None:
    host = registry().name
    layout, image = made(tmp_path / "here", HELLO)
    name = read_name(f"{host}/team/hello:1")
    Registry(host).push(name, image.descriptor, layout)
    seen = json.loads(tool("skopeo", "inspect", "--tls-verify=false", f"docker://{host}/team/hello:1"))
    assert seen["Digest"] == image.descriptor.digest
    there = Layout(tmp_path / "there")
    there.make()
    came = Registry(host).pull(name, there)
    assert came.digest == image.descriptor.digest
    assert there.image(came).diff_ids == image.diff_ids


def test_another_program_unpacks_what_was_written(tmp_path: Path, tool: Callable[..., str]) -> None:
    made(tmp_path / "here", HELLO)
    tool("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/here:test", f"{tmp_path}/bundle")
    assert (tmp_path / "bundle" / "rootfs" / "opt" / "hello").read_bytes() == b"hello\n"
    tool("skopeo", "copy", f"oci:{tmp_path}/here:test", f"dir:{tmp_path}/copy")
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == Layout(tmp_path / "here").read(
        Layout(tmp_path / "here").find("test").descriptor
    )


def test_what_is_there_is_not_sent_again(
    tmp_path: Path, registry: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = registry().name
    layout, image = made(tmp_path / "here", HELLO)
    Registry(host).push(read_name(f"{host}/hello:1"), image.descriptor, layout)
    monkeypatch.setattr(Registry, "_send", lambda *_: pytest.fail("it was sent"))
    Registry(host).push(read_name(f"{host}/hello:2"), image.descriptor, layout)
    assert Registry(host).resolve(read_name(f"{host}/hello:2")).digest == image.descriptor.digest


def test_a_blob_that_a_registry_has_damaged_is_refused(tmp_path: Path, registry: Callable[..., Host]) -> None:
    host = registry()
    layout, image = made(tmp_path / "here", HELLO)
    name = read_name(f"{host.name}/hello:1")
    Registry(host.name).push(name, image.descriptor, layout)
    digits = image.manifest.layers[0].digest.removeprefix("sha256:")
    (blob,) = host.blobs.rglob(f"{digits}/data")
    content = bytearray(blob.read_bytes())
    content[1000] ^= 1
    blob.write_bytes(content)
    there = Layout(tmp_path / "there")
    there.make()
    with pytest.raises(KeepingError, match=digits):
        Registry(host.name).pull(name, there)
    assert not there.has(image.manifest.layers[0].digest)


def test_a_damaged_blob_is_not_sent(tmp_path: Path, registry: Callable[..., Host]) -> None:
    host = registry().name
    layout, image = made(tmp_path / "here", HELLO)
    place = layout.path(image.manifest.layers[0].digest)
    place.write_bytes(place.read_bytes()[:-1] + b"!")
    with pytest.raises(KeepingError, match="damaged"):
        Registry(host).push(read_name(f"{host}/hello:1"), image.descriptor, layout)
    with pytest.raises(NotFound):
        Registry(host).resolve(read_name(f"{host}/hello:1"))


def test_a_registry_that_knows_its_users_is_told_who_asks(
    tmp_path: Path, registry: Callable[..., Host], signed_in: Callable[[str], dict[str, str]]
) -> None:
    host = registry(locked=True).name
    layout, image = made(tmp_path / "here", HELLO)
    name = read_name(f"{host}/hello:1")
    with pytest.raises(BisError) as refused:
        Registry(host, {}).push(name, image.descriptor, layout)
    assert refused.value.hint == f"docker login {host}"
    Registry(host, signed_in(host)).push(name, image.descriptor, layout)
    with pytest.raises(BisError):
        Registry(host, signed_in("elsewhere.example")).resolve(name)


def test_plain_http_is_spoken_on_this_machine_alone() -> None:
    assert Registry("registry.example")._base == "https://registry.example"
    assert Registry("127.0.0.1:5000")._base == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("churn", "registry-1.docker.io/library/churn:latest"),
        ("team/churn:3", "registry-1.docker.io/team/churn:3"),
        ("ghcr.io/team/churn", "ghcr.io/team/churn:latest"),
        ("localhost:5000/churn:a", "localhost:5000/churn:a"),
        ("docker://[::1]:5000/a/b/c:x", "[::1]:5000/a/b/c:x"),
        ("ghcr.io/a@sha256:" + "0" * 64, "ghcr.io/a@sha256:" + "0" * 64),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, told: str) -> None:
    assert str(read_name(text)) == told


@pytest.mark.parametrize("text", ["", "UPPER/case", "a b", "ghcr.io/", "x:", "x@sha256:12", "../x"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no name of an image"):
        read_name(text)


def test_what_speaks_of_an_image_is_found_also_where_a_registry_does_not_know_it_by_itself(
    tmp_path: Path, registry: Callable[..., Host]
) -> None:
    host = registry().name
    layout, image = made(tmp_path / "here", HELLO)
    name = read_name(f"{host}/hello:1")
    Registry(host).push(name, image.descriptor, layout)
    for said in ({"a": 1}, {"b": 2}, {"b": 2}):
        beside = attach(layout, image, "hello", said)
        Registry(host).push(name._replace(tag="", digest=beside.digest), beside, layout)
    found = Registry(host).referrers(name, image.descriptor.digest)
    assert len({one.digest for one in found}) == len(found) == 2
    assert {one.artifact_type for one in found} == {"application/vnd.in-toto+json"}
