"""Typing `bis build k8s`: manifests that start what was built and sent, by its digest, and lead back to it."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from uv import find_uv_bin

from bis.oci.layers import Entry, write_layer
from bis.oci.layout import Layout, machine

TRAIN = """
import json, pathlib
folder = pathlib.Path("model")
folder.mkdir(exist_ok=True)
flavors = {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}}
(folder / "MLmodel").write_text(json.dumps({"flavors": flavors}))
(folder / "python_model.pkl").write_bytes(b"\\x80\\x05N.")
(folder / "requirements.txt").write_text("")
"""


class Sent(NamedTuple):
    """A project whose model and whose run were built and sent."""

    project: Path
    registry: str
    model: str
    """Where its image is, by digest."""
    run: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, lacking: Callable[[str, str], None]) -> Iterator[str]:
    """A real registry on loopback, by its name."""
    if shutil.which("docker-registry") is None:
        lacking("docker-registry", "apt-get install docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{door.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{name}'}}\n"
    )
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        host, _, port = name.partition(":")
        for _ in range(400):
            with socket.socket() as knock:
                if knock.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.05)
        yield name
        process.kill()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, bis: Any, registry: str) -> Sent:
    """A run made `models:/churn/1`, champion; images of both were sent. Read only."""
    project = tmp_path_factory.mktemp("sent")
    (project / "bis.toml").write_text("")
    (project / "train.py").write_text(TRAIN)
    base = f"oci:{a_base(tmp_path_factory.mktemp('base'))}"
    subprocess.run([find_uv_bin(), "venv", "--quiet", "-p", sys.executable, ".venv"], cwd=project, check=True)
    for words in (
        ("run", "--", ".venv/bin/python", "train.py"),
        ("model", "register", "churn", "train-1", "--path", "model", "--alias", "champion"),
    ):
        done = bis(*words, folder=project)
        assert done.status == 0, done.err
    places = []
    for what, *python in (("models:/churn/1", "--python", ".venv"), ("train-1",)):
        name = f"{registry}/team/{what[-7:].strip(':/').replace('/', '-')}:1"
        done = bis("build", "image", what, *python, "--base", base, "--push", name, "--json", folder=project)
        assert done.status == 0, done.err
        places.append(done.json["pushed"])
    return Sent(project, registry, *places)


def a_base(folder: Path) -> Path:
    """An image layout with an interpreter in it, as far as one looks."""
    layout = Layout(folder / "layout")
    layout.make()
    name = f"usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    with layout.new_blob() as file:
        written = write_layer([Entry(name, b"", executable=True)], file, 0)
        layout.keep(file, written.descriptor.digest)
    config = {
        "architecture": machine(),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [written.diff_id]},
    }
    layout.name(layout.put_image(config, (written.descriptor,), {}).descriptor, "base")
    return layout.folder


@pytest.fixture
def build(bis: Any, sent: Sent, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Build manifests in the project: what was answered, and what the file holds."""

    def built(*words: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        file = tmp_path / "it.yaml"
        done = bis("build", "k8s", *words, "--output", str(file), "--json", folder=sent.project)
        assert done.status == 0, done.err
        return done.json, list(yaml.safe_load_all(file.read_bytes()))

    return built


def test_a_model_is_started_by_the_digest_of_the_image_that_was_sent_last(build: Any, sent: Sent) -> None:
    answer, documents = build("models:/churn@champion")
    assert answer["image"] == sent.model
    assert answer["kinds"] == ["Service", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert answer["checked"][-1] == "1.37"
    text = json.dumps(documents)
    assert sent.model in text
    assert text.count('"image": ') == text.count(f'"image": "{sent.model}"') == 1
    described = documents[1]["metadata"]
    assert described["name"] == "churn"
    assert described["labels"]["app.kubernetes.io/version"] == "1"
    assert described["annotations"]["bis.model"] == "models:/churn/1"
    assert described["annotations"]["bis.run.name"] == "train-1"


def test_built_again_and_from_a_clone_and_by_another_name_the_bytes_are_the_same(
    build: Any, bis: Any, sent: Sent, tmp_path: Path
) -> None:
    first, _ = build("models:/churn@champion")
    again, _ = build("models:/churn/1")
    shared = tmp_path / "shared"
    for words in (("remote", "add", "shared", str(shared)), ("push", "shared")):
        assert bis(*words, folder=sent.project).status == 0
    assert bis("clone", str(shared), "clone", folder=tmp_path).status == 0
    done = bis("build", "k8s", "models:/churn/1", "--json", folder=tmp_path / "clone")
    assert done.status == 0, done.err
    assert first["digest"] == again["digest"] == done.json["digest"]
    content = (tmp_path / "clone" / "churn.yaml").read_bytes()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == first["digest"]


def test_a_run_becomes_a_job_with_what_it_was_seen_to_need(build: Any, sent: Sent) -> None:
    answer, documents = build("train-1", "--gpus", "1", "--storage", "50G")
    assert answer["kinds"] == ["PersistentVolumeClaim", "Job"]
    assert answer["image"] == sent.run != sent.model
    claim, job = documents
    assert claim["spec"]["resources"]["requests"]["storage"] == "50Gi"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == sent.run
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "256Mi"}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_kserve_gets_an_inference_service(build: Any, sent: Sent) -> None:
    answer, documents = build("models:/churn/1", "--kserve", "--replicas", "0-5", "--namespace", "shop")
    (service,) = documents
    assert answer["kinds"] == ["InferenceService"]
    assert service["metadata"]["namespace"] == "shop"
    predictor = service["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (0, 5)
    assert predictor["containers"][0]["image"] == sent.model


def test_what_a_pod_gets_is_asked_for_in_the_words_of_clusters(build: Any) -> None:
    _, documents = build("models:/churn/1", "--cpu", "500m", "--memory", "3Gi", "--replicas", "3", "--name", "front")
    deployment = documents[1]
    assert deployment["metadata"]["name"] == "front"
    assert deployment["spec"]["replicas"] == 3
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "3Gi"}


def test_an_image_may_be_named_itself_by_its_digest(build: Any, sent: Sent) -> None:
    tagged = sent.model.replace("@", ":1@")
    answer, _ = build("models:/churn/1", "--image", tagged)
    assert answer["image"] == sent.model


def test_the_same_model_by_the_name_of_its_run_has_the_same_image(build: Any, sent: Sent) -> None:
    answer, documents = build("runs:/train-1/model")
    assert answer["image"] == sent.model
    assert documents[1]["metadata"]["name"] == "train-1"


def test_a_folder_without_a_project_needs_an_image_to_be_named(bis: Any, sent: Sent, tmp_path: Path) -> None:
    shutil.copytree(sent.project / "model", tmp_path / "Churn Model")
    done = bis("build", "k8s", "./Churn Model", folder=tmp_path)
    assert done.status == 3
    assert "there is no image of ./Churn Model that a cluster could start" in done.err
    assert "bis build image './Churn Model' --push" in done.err
    done = bis("build", "k8s", "./Churn Model", "--image", sent.model, "--json", folder=tmp_path)
    assert done.status == 0, done.err
    assert Path(done.json["file"]) == tmp_path / "churn-model.yaml"


def test_a_tag_is_refused_with_the_digest_that_was_meant(bis: Any, sent: Sent) -> None:
    tag = f"{sent.model.partition('@')[0]}:1"
    done = bis("build", "k8s", "models:/churn/1", "--image", tag, folder=sent.project)
    assert done.status == 2
    assert "names an image by a tag" in done.err
    assert f"--image {sent.model}" in done.err
    assert not (sent.project / "churn.yaml").exists()


def test_a_tag_of_somewhere_else_is_refused_too(bis: Any, sent: Sent) -> None:
    for name in ("ghcr.io/team/churn:3", "churn"):
        done = bis("build", "k8s", "models:/churn/1", "--image", name, folder=sent.project)
        assert done.status == 2
        assert f"bis build image models:/churn/1 --push {name}" in done.err


def test_the_image_of_something_else_is_refused(bis: Any, sent: Sent) -> None:
    done = bis("build", "k8s", "models:/churn/1", "--image", sent.run, folder=sent.project)
    assert done.status == 2
    assert "is not the image of models:/churn/1" in done.err
    done = bis("build", "k8s", "train-1", "--image", sent.model, folder=sent.project)
    assert done.status == 2
    assert "It was built of models:/churn/1" in done.err


def test_an_image_that_is_not_known_here_is_taken_and_told(bis: Any, sent: Sent, tmp_path: Path) -> None:
    unknown = f"team/churn@sha256:{'0b6f' * 16}"
    words = ("build", "k8s", "models:/churn/1", "--image", unknown, "--output", str(tmp_path / "it.yaml"))
    done = bis(*words, folder=sent.project)
    assert done.status == 0
    assert "is not recorded here" in done.err
    assert f"image: docker.io/{unknown}\n" in (tmp_path / "it.yaml").read_text(), "as clusters name the hub"


def test_where_nothing_was_sent_it_says_what_to_type(bis: Any, sent: Sent, tmp_path: Path) -> None:
    assert bis("run", "--", ".venv/bin/python", "-c", "print(1)", folder=sent.project).status == 0
    done = bis("build", "k8s", "@latest", folder=sent.project)
    assert done.status == 3
    assert "No image of it was built." in done.err
    assert "bis build image @latest --push" in done.err
    base = f"oci:{a_base(tmp_path)}"
    assert bis("build", "image", "@latest", "--base", base, folder=sent.project).status == 0
    done = bis("build", "k8s", "@latest", folder=sent.project)
    assert "Its image was built, but not sent to a registry." in done.err


def test_lineage_leads_from_the_manifests_to_the_image_and_from_the_version_to_them(
    build: Any, bis: Any, sent: Sent, tmp_path: Path
) -> None:
    answer, _ = build("models:/churn/1")
    for thing in (answer["digest"], str(tmp_path / "it.yaml")):
        found = bis("lineage", thing, "--json", folder=sent.project).json["lineage"]
        assert found["thing"]["kind"] == "kubernetes"
        named = {node["kind"]: node["name"] for node in found["made_of"]}
        assert named["model version"] == "models:/churn/1"
        assert named["image"] == sent.model
        assert named["run"] == "train-1"
    reached = bis("lineage", "models:/churn/1", "--json", folder=sent.project).json["lineage"]["reached"]
    assert answer["digest"] in json.dumps(reached)


def test_what_somebody_changed_by_hand_is_not_lost(bis: Any, sent: Sent, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    words = ("build", "k8s", "models:/churn/1", "--output", str(file))
    assert bis(*words, folder=sent.project).status == 0
    assert bis(*words, "--cpu", "2", folder=sent.project).status == 0, "as bis wrote it, it may be written anew"
    file.write_text(file.read_text().replace("maxUnavailable: 0", "maxUnavailable: 1"))
    changed = file.read_bytes()
    done = bis(*words, folder=sent.project)
    assert done.status == 2
    assert "is not as bis wrote it" in done.err
    assert file.read_bytes() == changed


def test_manifests_can_go_straight_to_another_program(bis: Any, sent: Sent) -> None:
    done = bis("build", "k8s", "models:/churn/1", "--output", "-", folder=sent.project)
    assert done.status == 0
    assert [one["kind"] for one in yaml.safe_load_all(done.out)][:2] == ["Service", "Deployment"]
    assert not (sent.project / "churn.yaml").exists()


def test_without_the_schemas_nothing_is_written(bis: Any, sent: Sent, tmp_path: Path) -> None:
    """A package that cannot be imported stands for one that is not there."""
    (tmp_path / "kubernetes_validate.py").write_text("raise ImportError('not installed')")
    file = tmp_path / "it.yaml"
    words = ("build", "k8s", "models:/churn/1", "--output", str(file))
    done = bis(*words, folder=sent.project, PYTHONPATH=str(tmp_path))
    assert done.status == 3
    assert "[kubernetes]" in done.err
    assert not file.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train-1", "--kserve"), "does not answer requests"),
        (("train-1", "--replicas", "2"), "does not answer requests"),
        (("models:/churn/1", "--storage", "1G"), "a model writes nothing"),
        (("models:/churn/1", "--replicas", "0-3"), "has a pod at least"),
        (("models:/churn/1", "--replicas", "5-2"), "is no number of pods"),
        (("models:/churn/1", "--cpu", "0"), "is no number of processors"),
        (("models:/churn/1", "--name", "Churn_1"), "is no name in a cluster"),
        (("models:/churn/1", "--namespace", "a b"), "is no name in a cluster"),
        (("models:/churn/1", "--image", "UPPER case"), "is no name of an image"),
        (("models:/churn/1", "--output", "-", "--json"), "both write to the terminal"),
        (("nobody",), "nobody"),
    ],
)
def test_what_makes_no_sense_is_told_in_words(bis: Any, sent: Sent, words: tuple[str, ...], said: str) -> None:
    done = bis("build", "k8s", *words, folder=sent.project)
    assert done.status in (2, 3)
    assert said in done.err + done.out
    assert "Traceback" not in done.err
