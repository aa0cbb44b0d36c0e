"""Manifests of Kubernetes: what they hold, that every cluster takes them, and that every reader reads the same."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bis.errors import Failure
from bis.steps.check_manifests import check
from bis.steps.manifests import (
    LONGEST,
    Manifest,
    Replicas,
    Workload,
    is_name,
    name_for,
    served,
    served_by_kserve,
    text_of,
    trained,
)

IMAGE = f"ghcr.io/team/churn@sha256:{'0b6f' * 16}"
WORK = Workload(
    name="churn",
    image=IMAGE,
    annotations={"bis.run": "7f3a91c20b41", "bis.model": "models:/churn/3"},
    version="3",
    namespace="shop",
    cpu=2500,
    memory=3 << 30,
    gpus=1,
    pull_secret="registry",
)
NUMBERS = re.compile(
    r"[-+]?(0[xob])?[\d_]*\.?[\d_]*([eE][-+]?\d+)?|\.(inf|nan)|\d+(:\d+)+|\d{4}-\d\d?-\d\d?.*", re.IGNORECASE
)
"""What a reader of YAML, 1.1 or 1.2, may take for a number or a date."""


def everything(work: Workload = WORK) -> list[list[Manifest]]:
    return [
        served(work, Replicas(2, 10)),
        served(work, Replicas(3, 3)),
        served_by_kserve(work, Replicas(0, 5)),
        trained(work, 50 << 30, has_python=True),
        trained(work, 50 << 30, has_python=False),
    ]


def by_kind(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {one["kind"]: one for one in manifests}


def below(value: Any, name: str) -> Iterator[Any]:
    """Every value of that name, at any depth."""
    if isinstance(value, dict):
        yield from (inner for key, inner in value.items() if key == name)
        for inner in value.values():
            yield from below(inner, name)
    if isinstance(value, list):
        for inner in value:
            yield from below(inner, name)


# -- what they hold


def test_a_model_gets_what_keeps_it_answering() -> None:
    found = by_kind(served(WORK, Replicas(2, 10)))
    assert set(found) == {"Service", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    pod = found["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports.values()
    for selector in (
        found["Service"]["spec"]["selector"],
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= pod["metadata"]["labels"].items()
    assert found["Service"]["spec"]["ports"][0]["targetPort"] in ports
    scaled = found["HorizontalPodAutoscaler"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == (2, 10)
    assert "cpu" in container["resources"]["requests"], "percent of what, else"


def test_applied_again_they_do_not_undo_what_the_autoscaler_did() -> None:
    assert "replicas" not in by_kind(served(WORK, Replicas(2, 10)))["Deployment"]["spec"]
    fixed = by_kind(served(WORK, Replicas(3, 3)))
    assert fixed["Deployment"]["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in fixed


def test_another_version_is_the_same_thing_to_the_cluster() -> None:
    third, fourth = (
        by_kind(served(Workload(name="churn", image=IMAGE, version=version), Replicas())) for version in "34"
    )
    for kind in third:
        assert third[kind]["metadata"]["name"] == fourth[kind]["metadata"]["name"]
    assert third["Deployment"]["spec"]["selector"] == fourth["Deployment"]["spec"]["selector"]
    assert third["Deployment"]["spec"]["template"] != fourth["Deployment"]["spec"]["template"]


@pytest.mark.parametrize("manifests", everything())
def test_every_container_starts_the_image_by_its_digest_and_may_do_nothing_else(manifests: list[Manifest]) -> None:
    containers = [one for name in ("containers", "initContainers") for found in below(manifests, name) for one in found]
    assert containers
    for container in containers:
        assert container["image"] == IMAGE
        assert container["resources"]["limits"]["memory"] == "3Gi"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
    assert list(below(manifests, "runAsNonRoot")) == [True]
    assert list(below(manifests, "automountServiceAccountToken")) == [False]
    assert {one["name"] for one in next(below(manifests, "imagePullSecrets"))} == {"registry"}


@pytest.mark.parametrize("manifests", everything())
def test_what_runs_says_what_it_was_made_of(manifests: list[Manifest]) -> None:
    assert all(found == WORK.annotations for found in below(manifests, "annotations"))
    assert all(one["metadata"]["namespace"] == "shop" for one in manifests)


def test_each_attempt_of_a_training_leaves_its_files_in_a_folder_of_its_own() -> None:
    job = by_kind(trained(WORK, 50 << 30, has_python=True))["Job"]["spec"]
    pod = job["template"]["spec"]
    (files,), (training,) = pod["initContainers"], pod["containers"]
    copied_to = files["command"][-1]
    (kept,) = [one for one in files["volumeMounts"] if one["name"] == "outputs"]
    (used,) = [one for one in training["volumeMounts"] if one["name"] == "outputs"]
    assert copied_to == f"{kept['mountPath']}/{used['subPathExpr']}"
    assert used["mountPath"] == files["command"][-2] == "/work"
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"


def test_a_model_with_several_processors_has_as_many_workers() -> None:
    (container,) = next(below(served(WORK, Replicas()), "containers"))
    assert container["args"][-2:] == ["--workers", "3"]


def test_kserve_is_asked_for_nothing_that_knative_below_it_refuses() -> None:
    """Of a pod, Knative takes these fields only, unless whoever looks after the cluster allows others."""
    (service,) = served_by_kserve(WORK, Replicas(0, 5))
    predictor = service["spec"]["predictor"]
    of_pods = {"containers", "volumes", "imagePullSecrets", "automountServiceAccountToken"}
    assert set(predictor) - {"minReplicas", "maxReplicas"} <= of_pods
    (container,) = predictor["containers"]
    assert not {"lifecycle", "volumeDevices"} & set(container)
    assert container["name"] == "kserve-container"
    assert all(port.get("name", "") in ("", "http1", "h2c") for port in container["ports"])


# -- that clusters take them


@pytest.mark.parametrize("manifests", everything())
def test_every_version_of_kubernetes_takes_them(manifests: list[Manifest]) -> None:
    checked = check(manifests)
    assert {"1.25", "1.31", "1.37"} <= set(checked)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replica"), 3),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "imagePullPolicies"), "Always"),
        ("Service", ("spec", "ports"), "80"),
        ("PodDisruptionBudget", ("spec", "maxUnavailables"), 1),
        ("HorizontalPodAutoscaler", ("spec", "minReplicas"), "two"),
        ("Job", ("spec", "backOffLimit"), 0),
        ("PersistentVolumeClaim", ("spec", "resources", "request"), {}),
        ("InferenceService", ("spec", "predictors"), {}),
        ("InferenceService", ("spec", "predictor", "minReplica"), 1),
        ("InferenceService", ("spec", "predictor", "maxReplicas"), "5"),
        ("InferenceService", ("spec", "predictor", "scaleMetric"), "requests"),
        ("InferenceService", ("spec", "predictor", "containers", 0, "prots"), []),
        ("InferenceService", ("metadata", "name"), "3churn"),
    ],
)
def test_a_misspelt_field_or_a_wrong_type_is_found_and_named(kind: str, path: tuple[Any, ...], value: Any) -> None:
    manifests = copy.deepcopy(next(found for found in everything() if kind in by_kind(found)))
    place: Any = by_kind(manifests)[kind]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(Failure, match=f"manifest of the {kind} is not what") as found:
        check(manifests)
    assert str(path[-1]) in str(found.value)


def test_more_pods_at_least_than_at_most_are_found() -> None:
    with pytest.raises(Failure, match="more pods at least than at most"):
        check(served_by_kserve(WORK, Replicas(3, 2)))


# -- as text


@pytest.mark.parametrize("manifests", everything())
def test_as_text_they_say_the_same(manifests: list[Manifest]) -> None:
    assert list(yaml.safe_load_all(text_of(manifests))) == manifests
    assert text_of(copy.deepcopy(manifests)) == text_of(manifests)


@pytest.mark.parametrize(
    "text", ["1e3", "7f3e12", "12345e67", "0o17", "0x1f", "1_000", "yes", "Off", "n", "~", "", "3", "2026-01-01"]
)
def test_a_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    """An id of a run of digits and one `e` is a number to programs written in Go."""
    line = text_of([{"a": text}]).decode().splitlines()[-1]
    assert line == f'a: "{text}"' or not NUMBERS.fullmatch(text)
    assert yaml.safe_load(text_of([{"a": text}])) == {"a": text}


@given(st.text())
def test_any_text_is_read_back_as_it_was_and_never_as_a_number(text: str) -> None:
    written = text_of([{"a": text}]).decode()
    assert yaml.safe_load(written) == {"a": text}
    plain = re.search(r'^a: (?!")(.*)$', written, re.MULTILINE)
    assert plain is None or not NUMBERS.fullmatch(plain[1])


# -- names


@given(st.text(max_size=80))
def test_any_name_becomes_one_that_a_cluster_takes(text: str) -> None:
    assert is_name(name_for(text))


def test_names_are_kept_as_far_as_they_can_be() -> None:
    assert name_for("churn") == "churn"
    assert name_for("Churn_Model v2") == "churn-model-v2"
    assert name_for("2026-forecast") == "bis-2026-forecast"
    long = [name_for("x" * 60 + end) for end in "ab"]
    assert all(len(name) <= LONGEST for name in long)
    assert long[0] != long[1]
    assert name_for("модель") != name_for("данные")
