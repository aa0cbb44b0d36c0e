"""Manifests of Kubernetes that start an image, by its digest: a model that answers, or a training that runs once.

The same wishes give the same bytes: nothing depends on when, where or by whom they are written. What runs is nobody,
and has a root that cannot be written to, no credentials of the cluster, and no rights.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from bis.steps.image import ENVIRONMENT, NOBODY, PORT, WORK

Manifest = dict[str, Any]

LONGEST: Final = 40
"""Letters of a name: what Kubernetes and KServe put behind it must fit into 63."""
NAMES: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
"""What every kind of thing here may be called: a name of a service, which is the strictest."""
KEY: Final = "app.kubernetes.io"
LIVE: Final = "/v2/health/live"
READY: Final = "/v2/health/ready"
PATIENCE: Final = 300
"""Seconds for a model to load, before its container is started anew."""
LEAVING: Final = 5
"""Seconds for the cluster to take a pod that ends out of its services, before it is told to end."""
GRACE: Final = 45
"""Seconds for that, and for the requests under way."""
BUSY: Final = 70
"""Percent of the processors asked for, above which there is to be another pod."""
OUTPUTS: Final = "/outputs"
COPY: Final = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], symlinks=True)"
SAFE: Final = re.compile(r"[A-Za-z/][\w./@:+-]*")
WORDS: Final = frozenset("y n yes no on off true false null".split())
"""Words that some readers of YAML take for something else than words."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run in a cluster."""

    name: str
    image: str
    """By its digest."""
    annotations: Mapping[str, str] = {}
    """What it was made of."""
    version: str = ""
    namespace: str = ""
    cpu: int = 1000
    """Thousandths of a processor."""
    memory: int = 1 << 30
    gpus: int = 0
    pull_secret: str = ""


class Replicas(msgspec.Struct, frozen=True):
    """How many pods answer: as many as are needed, from the fewest to the most."""

    fewest: int = 2
    most: int = 10

    @property
    def fixed(self) -> bool:
        return self.fewest == self.most


# -- names -------------------------------------------------------------------------------------------------------


def name_for(text: str) -> str:
    """What something is called in a cluster, whose names are letters of ASCII, digits and hyphens."""
    short = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    short = short if short[:1].isalpha() else f"bis-{short}".strip("-")
    if len(short) <= LONGEST and re.search(r"[a-z0-9]", text.lower()):
        return short
    return f"{short[: LONGEST - 9].rstrip('-')}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def is_name(text: str) -> bool:
    return len(text) <= LONGEST and NAMES.fullmatch(text) is not None


def is_host_name(text: str) -> bool:
    """Whether something in a cluster can be called so that others made."""
    return len(text) <= 253 and re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", text) is not None


# -- a model -----------------------------------------------------------------------------------------------------


def served(work: Workload, replicas: Replicas) -> list[Manifest]:
    """A model that answers at a service of its name, by as many pods as its requests need."""
    labels = _selected(work)
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    service = {"type": "ClusterIP", "selector": labels, "ports": [port]}
    made = [
        _thing("v1", "Service", work, service),
        _thing("apps/v1", "Deployment", work, _deployment(work, replicas)),
        # Never more than one away at once, and a machine can be emptied even of the last one.
        _thing(
            "policy/v1",
            "PodDisruptionBudget",
            work,
            {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        ),
    ]
    return made if replicas.fixed else [*made, _autoscaler(work, replicas)]


def served_by_kserve(work: Workload, replicas: Replicas) -> list[Manifest]:
    """The same model as a service of KServe, which itself sees to pods, names and scaling."""
    container = _server(work, "kserve-container")
    container["ports"] = [{"containerPort": PORT, "protocol": "TCP"}]
    # Of the pod as a whole KServe takes less than Kubernetes does.
    container["securityContext"] |= {**_as_nobody(), **_confined()}
    predictor: Manifest = {
        "minReplicas": replicas.fewest,
        "maxReplicas": replicas.most,
        "automountServiceAccountToken": False,
        **_pulling(work),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return [_thing("serving.kserve.io/v1beta1", "InferenceService", work, {"predictor": predictor})]


def _deployment(work: Workload, replicas: Replicas) -> Manifest:
    labels = _selected(work)
    container = _server(work, "model")
    container["ports"] = [{"name": "http", "containerPort": PORT, "protocol": "TCP"}]
    # With the image's own interpreter: it may have no other program.
    sleep = [f"/{ENVIRONMENT}/bin/python", "-c", f"import time; time.sleep({LEAVING})"]
    container["lifecycle"] = {"preStop": {"exec": {"command": sleep}}}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    pod = {
        **_pod(work),
        "terminationGracePeriodSeconds": GRACE,
        "topologySpreadConstraints": [spread],
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    # How many there are is left to the autoscaler: applied again, these manifests do not set it back.
    count = {"replicas": replicas.fewest} if replicas.fixed else {}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    template = {"metadata": _described(work), "spec": pod}
    return {**count, "selector": {"matchLabels": labels}, "strategy": rolling, "template": template}


def _server(work: Workload, name: str) -> Manifest:
    """The container of a model, in the image that `bis build image` made of it."""
    workers = math.ceil(work.cpu / 1000)
    listening = ["--host", "0.0.0.0", "--port", str(PORT), "--open", "--workers", str(workers)]
    return {
        **_container(work, name),
        **({"args": listening} if workers > 1 else {}),
        "startupProbe": {**_asked(READY), "periodSeconds": 2, "failureThreshold": PATIENCE // 2},
        "readinessProbe": {**_asked(READY), "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {**_asked(LIVE), "periodSeconds": 10, "failureThreshold": 6},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _asked(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": PORT, "scheme": "HTTP"}, "timeoutSeconds": 5}


def _autoscaler(work: Workload, replicas: Replicas) -> Manifest:
    busy = {"type": "Utilization", "averageUtilization": BUSY}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": work.name},
        "minReplicas": replicas.fewest,
        "maxReplicas": replicas.most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
    }
    return _thing("autoscaling/v2", "HorizontalPodAutoscaler", work, spec)


# -- a training --------------------------------------------------------------------------------------------------


def trained(work: Workload, storage: int, *, has_python: bool) -> list[Manifest]:
    """A training that runs once, and a claim on which each attempt leaves a folder of its own."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _bytes(storage)}}}
    return [
        _thing("v1", "PersistentVolumeClaim", work, claim),
        _thing("batch/v1", "Job", work, _job(work, has_python)),
    ]


def _job(work: Workload, has_python: bool) -> Manifest:
    called = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    temporary = {"name": "tmp", "mountPath": "/tmp"}
    at = f"{OUTPUTS}/$(POD_NAME)"
    copy = [f"/{ENVIRONMENT}/bin/python", "-c", COPY, f"/{WORK}", at] if has_python else ["cp", "-RPp", f"/{WORK}", at]
    # The command works where the files of the image lie; there the claim is mounted, with those files in it.
    files = {
        **_container(work, "files"),
        "command": copy,
        "env": [called],
        "volumeMounts": [{"name": "outputs", "mountPath": OUTPUTS}, temporary],
    }
    place = {"name": "outputs", "mountPath": f"/{WORK}", "subPathExpr": "$(POD_NAME)"}
    training = {**_container(work, "training"), "env": [called], "volumeMounts": [place, temporary]}
    kept = {"name": "outputs", "persistentVolumeClaim": {"claimName": work.name}}
    pod = {
        **_pod(work, fsGroup=NOBODY),
        "restartPolicy": "Never",
        "initContainers": [files],
        "containers": [training],
        "volumes": [kept, {"name": "tmp", "emptyDir": {}}],
    }
    # A training that failed is looked at, not tried again in silence.
    return {"backoffLimit": 0, "template": {"metadata": _described(work), "spec": pod}}


# -- what they have in common ------------------------------------------------------------------------------------


def _thing(version: str, kind: str, work: Workload, spec: Manifest) -> Manifest:
    described = _described(work)
    placed = {"namespace": work.namespace} if work.namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": work.name, **placed, **described}, "spec": spec}


def _described(work: Workload) -> Manifest:
    version = {f"{KEY}/version": work.version} if work.version else {}
    labels = {**_selected(work), **version, f"{KEY}/managed-by": "bis"}
    return {"labels": labels, "annotations": dict(work.annotations)}


def _selected(work: Workload) -> dict[str, str]:
    """What its pods are known by; the same for every version."""
    return {f"{KEY}/name": work.name}


def _pod(work: Workload, **more: Any) -> Manifest:
    security = {**_as_nobody(), **more, **_confined()}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        **_pulling(work),
    }


def _pulling(work: Workload) -> Manifest:
    return {"imagePullSecrets": [{"name": work.pull_secret}]} if work.pull_secret else {}


def _as_nobody() -> Manifest:
    return {"runAsNonRoot": True, "runAsUser": NOBODY, "runAsGroup": NOBODY}


def _confined() -> Manifest:
    return {"seccompProfile": {"type": "RuntimeDefault"}}


def _container(work: Workload, name: str) -> Manifest:
    memory = _bytes(work.memory)
    gpus = {"nvidia.com/gpu": str(work.gpus)} if work.gpus else {}
    return {
        "name": name,
        "image": work.image,
        "imagePullPolicy": "IfNotPresent",
        # Memory that was not asked for is taken from others; processors that nobody else wants may be had.
        "resources": {
            "requests": {"cpu": _processors(work.cpu), "memory": memory},
            "limits": {"memory": memory, **gpus},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _processors(thousandths: int) -> str:
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _bytes(count: int) -> str:
    for power, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if count % (1 << power) == 0:
            return f"{count >> power}{unit}"
    return str(count)


# -- as text -----------------------------------------------------------------------------------------------------


def text_of(manifests: Sequence[Manifest]) -> bytes:
    """As YAML that every reader understands alike: what might be taken for a number or a word of its own is quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def spelled(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        plain = SAFE.fullmatch(text) and text.lower() not in WORDS and not text.endswith(":")
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')

    Dumper.add_representer(str, spelled)
    told = yaml.dump_all(
        list(manifests), Dumper=Dumper, explicit_start=True, sort_keys=False, default_flow_style=False, width=math.inf
    )
    return str(told).encode()
