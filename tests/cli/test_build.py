"""Images of runs and of models: the same each time, of what was recorded, and leading back to it."""

import contextlib
import io
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from bis.oci import Image
from bis.oci.layout import Layout

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
WITH = f"usr/bin/python{VERSION}"
LABEL = "org.opencontainers.image."


def built(bis: Any, project: Path, *words: str) -> dict[str, Any]:
    done = bis("build", "image", *words, "--json", folder=project)
    assert done.status == 0, done.err
    found: dict[str, Any] = done.json
    return found


def image_of(project: Path, name: str, output: str = "image") -> tuple[Image, dict[str, bytes]]:
    """An image and the files of its own layers, by their path."""
    layout = Layout(project / output)
    image = layout.find(name)
    files: dict[str, bytes] = {}
    for layer in image.manifest.layers[1:]:
        with tarfile.open(fileobj=io.BytesIO(layout.path(layer.digest).read_bytes())) as box:
            files |= {info.name: box.extractfile(info).read() for info in box if info.isreg()}  # type: ignore[union-attr]
    return image, files


def test_an_image_of_a_run_holds_its_code_its_environment_and_what_it_was_made_of(
    bis: Any, trained: Path, base: Callable[..., str]
) -> None:
    answer = built(bis, trained, "train-1", "--base", base(WITH))
    image, files = image_of(trained, "train-1")
    assert answer["digest"] == image.descriptor.digest
    assert files["work/train.py"].startswith(b"open('out.txt'")
    assert b"home = /usr/bin\n" in files["opt/env/pyvenv.cfg"]
    assert image.config["config"]["Cmd"] == ["/opt/env/bin/python", "train.py"]
    labels = image.config["config"]["Labels"]
    run = bis("show", "train-1", "--json", folder=trained).json["run"]
    assert labels["bis.run"] == run["id"]
    assert labels[f"{LABEL}revision"] == run["parts"]["code"]["facts"]["revision"]


def test_built_again_and_from_a_clone_the_digest_is_the_same(
    bis: Any, trained: Path, base: Callable[..., str], tmp_path: Path
) -> None:
    first = built(bis, trained, "train-1", "--base", base(WITH))
    again = built(bis, trained, "train-1", "--base", base(WITH), "--output", "other")
    for words in (("remote", "add", "shared", str(tmp_path / "shared")), ("push", "shared")):
        assert bis(*words, folder=trained).status == 0
    assert bis("clone", str(tmp_path / "shared"), "clone", folder=tmp_path).status == 0
    elsewhere = built(bis, tmp_path / "clone", "train-1", "--base", base(WITH))
    assert first["digest"] == again["digest"] == elsewhere["digest"]
    assert first["provenance"] == again["provenance"]


def test_a_statement_of_what_it_was_made_of_lies_beside_it(bis: Any, trained: Path, base: Callable[..., str]) -> None:
    answer = built(bis, trained, "train-1", "--base", base(WITH))
    layout = Layout(trained / "image")
    beside = layout.find("train-1.provenance")
    assert beside.manifest.subject is not None
    assert beside.manifest.subject.digest == answer["digest"]
    statement = json.loads(layout.read(beside.manifest.layers[0]))
    assert statement["subject"] == [{"name": "train-1", "digest": {"sha256": answer["digest"].removeprefix("sha256:")}}]
    run = bis("show", "train-1", "--json", folder=trained).json["run"]
    named = {one["uri"]: one["digest"] for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert named["bis:part/code"] == {"blake3": run["parts"]["code"]["digest"].removeprefix("b3:")}
    assert f"bis:run/{run['id']}" in named


def test_an_image_of_a_model_starts_bis_with_packages_that_its_model_does_not_see(
    bis: Any, trained: Path, model: Path, base: Callable[..., str]
) -> None:
    built(bis, trained, str(model), "--base", base(WITH), "--python", ".venv", "--name", "churn")
    image, files = image_of(trained, "churn")
    assert files["opt/model/python_model.pkl"] == b"\x80\x05N."
    assert files["opt/bis/bin/bis"].startswith(f"#!/usr/bin/python{VERSION}\n".encode())
    assert "opt/bis/lib/bis/serving/app.py" in files
    assert any(name.startswith("opt/bis/lib/starlette/") for name in files)
    assert not any(name.startswith("opt/env/") and "starlette" in name for name in files)
    config = image.config["config"]
    assert config["Entrypoint"][:3] == ["/opt/bis/bin/bis", "serve", "model=/opt/model"]
    assert not any(entry.startswith("PYTHONPATH") for entry in config["Env"])
    assert config["User"] == "65534:65534"


def test_where_the_base_has_not_the_version_of_python_it_says_so_or_takes_that_along(
    bis: Any, trained: Path, base: Callable[..., str]
) -> None:
    done = bis("build", "image", "train-1", "--base", base("usr/bin/python3.2", "etc/x"), folder=trained)
    if done.status:  # the interpreter here belongs to the system
        assert f"the base has no Python {VERSION}" in done.err
        assert "It has 3.2" in done.err
    else:
        assert f"opt/python/bin/python{VERSION}" in image_of(trained, "train-1")[1]


def test_from_the_digest_of_an_image_lineage_tells_the_run_and_from_the_run_the_image(
    bis: Any, trained: Path, base: Callable[..., str]
) -> None:
    answer = built(bis, trained, "train-1", "--base", base(WITH))
    built(bis, trained, "train-1", "--base", base(WITH), "--output", "again")
    found = bis("lineage", f"ghcr.io/team/train@{answer['digest']}", "--json", folder=trained).json["lineage"]
    assert found["thing"]["kind"] == "image"
    (run,) = [node for node in found["made_of"] if node["kind"] == "run"]
    assert run["name"] == "train-1"
    assert {"code", "environment"} <= {node["kind"] for node in run["children"]}
    reached = bis("lineage", "train-1", "--json", folder=trained).json["lineage"]["reached"]
    assert [(node["kind"], node["name"]) for node in reached] == [("image", answer["digest"])]


@pytest.fixture
def registry(tmp_path: Path, lacking: Callable[[str, str], None]) -> Iterator[tuple[str, Callable[[], None]]]:
    """The name of a real registry on loopback, and what starts it."""
    if shutil.which("docker-registry") is None:
        lacking("docker-registry", "apt-get install docker-registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with contextlib.ExitStack() as stack:

        def start() -> None:
            words = ["docker-registry", "serve", str(tmp_path / "config.yml")]
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            patience = time.monotonic() + 20
            with socket.socket() as knock:
                while knock.connect_ex(("127.0.0.1", port)) and time.monotonic() < patience:
                    time.sleep(0.05)

        yield f"127.0.0.1:{port}", start


def test_an_image_that_cannot_be_sent_was_built_and_the_error_says_what_sends_it(
    bis: Any, trained: Path, base: Callable[..., str], registry: tuple[str, Callable[[], None]]
) -> None:
    host, start = registry
    words = ("build", "image", "train-1", "--base", base(WITH), "--name", "two words", "--output", "out/image")
    done = bis(*words, "--push", f"{host}/team/train:1", "--no-data", folder=trained)
    assert done.status == 5
    assert f"the registry {host} cannot be asked" in done.err
    digest = Layout(trained / "out/image").find("two words").descriptor.digest
    assert f"The image was built and recorded: {digest}" in done.err
    found = bis("lineage", digest, "--json", folder=trained).json["lineage"]
    assert [node["name"] for node in found["made_of"] if node["kind"] == "run"] == ["train-1"]

    start()
    (hint,) = re.findall("bis build image .*", done.err)
    assert (bis(*shlex.split(hint)[1:], "--json", folder=trained)).json["pushed"] == f"{host}/team/train@{digest}"
    reached = bis("lineage", "train-1", "--json", folder=trained).json["lineage"]["reached"]
    assert [(node["name"], node["detail"]) for node in reached] == [(digest, f"{host}/team/train@{digest}")]


def test_a_name_to_send_to_that_makes_no_sense_is_refused_before_anything_is_built(
    bis: Any, trained: Path, base: Callable[..., str]
) -> None:
    done = bis("build", "image", "train-1", "--base", base(WITH), "--push", "Ghcr.io/Team", folder=trained)
    assert (done.status, "'Ghcr.io/Team' is no name of an image" in done.err) == (2, True)
    assert not (trained / "image").exists()


@pytest.mark.parametrize("what", ["train-99", "models:/nothing/1", "nothing"])
def test_what_is_not_there_is_said_before_anything_is_built(
    bis: Any, trained: Path, base: Callable[..., str], what: str
) -> None:
    done = bis("build", "image", what, "--base", base(WITH), folder=trained)
    assert done.status == 3, done.err
    assert not (trained / "image").exists()


def test_what_was_built_is_known_again_after_the_ledger_is_lost_and_where_its_run_was_pulled(
    bis: Any, trained: Path, base: Callable[..., str], tmp_path: Path
) -> None:
    digest = built(bis, trained, "train-1", "--base", base(WITH))["digest"]
    for words in (("remote", "add", "shared", str(tmp_path / "shared")), ("push", "shared", "train-1")):
        assert bis(*words, folder=trained).status == 0
    assert bis("clone", str(tmp_path / "shared"), "clone", folder=tmp_path).status == 0
    for file in (trained / ".bis").glob("ledger*"):
        file.unlink()
    assert bis("reindex", folder=trained).status == 0
    for place in (trained, tmp_path / "clone"):
        found = bis("lineage", digest, "--json", folder=place).json["lineage"]
        assert [node["name"] for node in found["made_of"] if node["kind"] == "run"] == ["train-1"]


def test_a_digest_that_nothing_was_built_with_is_told(bis: Any, trained: Path) -> None:
    done = bis("lineage", f"sha256:{'0' * 64}", folder=trained)
    assert done.status == 3
    assert "nothing that was built here has the digest" in done.err


def test_credentials_in_the_folder_of_a_model_stop_the_build(
    bis: Any, trained: Path, model: Path, base: Callable[..., str]
) -> None:
    (model / "credentials.json").write_text('{"key": "x"}')
    done = bis("build", "image", str(model), "--base", base(WITH), "--python", ".venv", folder=trained)
    assert done.status == 4
    assert "credentials.json of the model looks like a credential" in done.err


def test_inputs_of_a_run_are_in_its_image_unless_they_are_left_out(
    bis: Any, trained: Path, base: Callable[..., str]
) -> None:
    (trained / "in.csv").write_text("1,2\n")
    (trained / ".gitignore").write_text("in.csv\nimage\nwithout\n.venv\n")
    (trained / "train.py").write_text("print(open('in.csv').read())\n")
    assert bis("run", "--", ".venv/bin/python", "train.py", folder=trained).status == 0
    built(bis, trained, "@latest", "--base", base(WITH), "--name", "it")
    built(bis, trained, "@latest", "--base", base(WITH), "--name", "it", "--no-data", "--output", "without")
    _, files = image_of(trained, "it")
    assert files["work/in.csv"] == b"1,2\n"
    assert "work/in.csv" not in image_of(trained, "it", "without")[1]


def test_where_an_environment_lies_changes_nothing(
    bis: Any, trained: Path, model: Path, base: Callable[..., str], make_wheel: Callable[..., Path]
) -> None:
    wheel = make_wheel(
        "tool", "1.0", {"tool.py": "def main(): pass\n"}, entry_points="[console_scripts]\ntool = tool:main\n"
    )
    digests = []
    for place in ("here", "there"):
        subprocess.run([find_uv_bin(), "venv", "-q", "-p", sys.executable, place], cwd=trained, check=True)
        command = [find_uv_bin(), "pip", "install", "-q", "--no-deps", "-p", place, str(wheel)]
        subprocess.run(command, cwd=trained, check=True)
        words = (str(model), "--base", base(WITH), "--python", place, "--output", f"image-{place}")
        digests.append(built(bis, trained, *words)["digest"])
    assert digests[0] == digests[1]


def test_compressed_layers_hold_the_same(bis: Any, trained: Path, base: Callable[..., str]) -> None:
    plain = built(bis, trained, "train-1", "--base", base(WITH), "--name", "plain")
    packed = built(bis, trained, "train-1", "--base", base(WITH), "--name", "packed", "--compress", "gzip")
    layout = Layout(trained / "image")
    assert plain["digest"] != packed["digest"]
    assert layout.find("plain").diff_ids == layout.find("packed").diff_ids


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train-1",), "nothing says what the image is built on"),
        (("train-1", "--base", "oci:missing"), "no image layout"),
        (("nobody", "--base", "oci:missing"), "no run is called 'nobody'"),
        (("train-1", "--base", "mmdebstrap:../x"), "is no release of Debian"),
        (("train-1", "--base", "UPPER case"), "is no name of an image"),
        (("./nowhere", "--base", "oci:missing"), "there is no folder"),
    ],
)
def test_what_makes_no_sense_is_told_in_words(bis: Any, trained: Path, words: tuple[str, ...], said: str) -> None:
    done = bis("build", "image", *words, folder=trained)
    assert done.status in (2, 3)
    assert said in done.err
    assert "Traceback" not in done.err
