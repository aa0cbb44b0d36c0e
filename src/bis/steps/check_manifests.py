"""Whether manifests are what a cluster takes: held against the schemas of every version of Kubernetes that are here.

Strictly: a field that a schema does not know is wrong. What a cluster finds when they are applied is not found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from bis import extras
from bis.errors import Failure, NotFound, explains

NO_SCHEMAS = explains("B145", "The schemas of Kubernetes, which manifests are checked against, are not installed.")
KSERVE: Final = "serving.kserve.io/v1beta1"
WHOLE: Final = {"type": "integer", "minimum": 0}
TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
PREDICTOR: Final[dict[str, Any]] = {
    "minReplicas": WHOLE,
    "maxReplicas": WHOLE,
    "scaleTarget": WHOLE,
    "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
    "containerConcurrency": WHOLE,
    "timeout": WHOLE,
    "canaryTrafficPercent": {"type": "integer", "minimum": 0, "maximum": 100},
    "labels": TEXTS,
    "annotations": TEXTS,
}
"""What KServe itself knows of a predictor; the other fields are those of a pod."""
INFERENCE_SERVICE: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": KSERVE},
        "kind": {"const": "InferenceService"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
                "namespace": {"type": "string"},
                "labels": TEXTS,
                "annotations": TEXTS,
            },
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["predictor"],
            "properties": {"predictor": {"type": "object", "required": ["containers"], "properties": PREDICTOR}},
        },
    },
}
"""The part of KServe's API that is written here: KServe's own schema (Apache 2.0) has a megabyte. This one was written
by hand, says which fields there are and of what kind, and takes nothing that KServe's does not take."""


def check(manifests: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The versions of Kubernetes that take them. Raises NotFound without the schemas, and Failure for what is wrong."""
    try:
        from jsonschema import ValidationError
        from kubernetes_validate import validate
        from kubernetes_validate.utils import all_versions, major_minor
    except ImportError as error:
        raise NotFound(
            "the schemas of Kubernetes are not installed beside bis",
            because=f"Manifests are written after they were checked only. ({error})",
            hint=extras.what_to_type("kubernetes"),
            code=NO_SCHEMAS,
        ) from None
    versions = sorted({major_minor(one) for one in all_versions()}, key=_ordered)
    for kind, document in _plain(manifests):
        for version in versions:
            try:
                validate(document, version, strict=True)
            except ValidationError as error:
                raise _wrong(kind, f"Kubernetes {version}", error) from None
    return tuple(versions)


def _plain(manifests: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and document; of what is no kind of Kubernetes itself, what is in it of such a kind."""
    for document in manifests:
        if document.get("apiVersion") != KSERVE:
            yield document["kind"], document
            continue
        _check_kserve(document)
        predictor = document["spec"]["predictor"]
        pod = {name: value for name, value in predictor.items() if name not in PREDICTOR}
        yield document["kind"], {"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": pod}


def _check_kserve(document: dict[str, Any]) -> None:
    from jsonschema import Draft202012Validator, ValidationError

    try:
        Draft202012Validator(INFERENCE_SERVICE).validate(document)
    except ValidationError as error:
        raise _wrong("InferenceService", "KServe", error) from None
    predictor = document["spec"]["predictor"]
    if predictor.get("minReplicas", 0) > predictor.get("maxReplicas", 0) > 0:
        raise Failure("the manifest asks for more pods at least than at most")


def _wrong(kind: str, reader: str, error: Any) -> Failure:
    where = ".".join(map(str, error.absolute_path)) or "the whole"
    return Failure(f"the manifest of the {kind} is not what {reader} takes", because=f"{where}: {error.message}")


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
