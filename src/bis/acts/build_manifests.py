"""`bis build k8s`: manifests for a cluster, which start the image of a model or of a run by its digest."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Final, NamedTuple

from bis.digest import readable
from bis.errors import CannotRepeat, NotFound, UsageError
from bis.nouns.built import Built
from bis.nouns.reference import parse
from bis.nouns.run import Run
from bis.oci.registry import HUB, Name, read_name
from bis.parts.interpreter import python_of
from bis.steps.built import images_of, with_digest
from bis.steps.check_manifests import check
from bis.steps.manifests import Manifest, Replicas, Workload, name_for, served, served_by_kserve, text_of, trained
from bis.steps.model_folder import read_folder
from bis.steps.model_identity import APART
from bis.steps.model_place import place
from bis.steps.shipping import Site, Source, is_model, note, source_of
from bis.store.trouble import trouble

STEP: Final = 256 << 20
"""Memory is asked for in so many bytes."""


class Wanted(NamedTuple):
    """What is to be written, and how it is to run."""

    what: str
    output: str
    """A file; `-`: none, and empty: one called as what it is in the cluster."""
    folder: Path
    """Where its path starts."""
    image: str = ""
    """By digest; else the one that was built of it and sent last."""
    name: str = ""
    namespace: str = ""
    replicas: Replicas | None = None
    cpu: int = 0
    """Thousandths of a processor; 0: what it is known to need."""
    memory: int = 0
    gpus: int = 0
    storage: int = 0
    """Bytes for what a run writes."""
    pull_secret: str = ""
    kserve: bool = False


class BuiltManifests(NamedTuple):
    """Manifests that were written."""

    name: str
    image: str
    digest: str
    """SHA-256 of their bytes."""
    content: bytes
    file: Path | None
    kinds: tuple[str, ...]
    checked: tuple[str, ...]
    """The versions of Kubernetes that take them."""
    told: tuple[str, ...] = ()


class _Needs(NamedTuple):
    """What a thing is, and what it takes to run it."""

    source: Source
    cpu: int
    memory: int
    has_python: bool = True


def build_manifests(wanted: Wanted, site: Site) -> BuiltManifests:
    """Raises UsageError for an image that is no digest or was made of something else, NotFound, and CannotRepeat for a
    run that no image can be built of."""
    is_served = is_model(wanted.what, site.folder)
    _demand_fitting(wanted, is_served)
    needs = _of_model(wanted, site) if is_served else _of_run(wanted, site)
    image, told = _image(wanted, needs.source, site)
    work = Workload(
        name=wanted.name or name_for(needs.source.title),
        image=image,
        annotations=_annotations(needs.source),
        version=needs.source.version,
        namespace=wanted.namespace,
        cpu=needs.cpu,
        memory=needs.memory,
        gpus=wanted.gpus,
        pull_secret=wanted.pull_secret,
    )
    manifests = _manifests(work, wanted, is_served, needs.has_python)
    checked = check(manifests)
    content = text_of(manifests)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    file = _file(wanted, work.name)
    if file:
        _write(file, content, site)
    note("kubernetes", digest, work.name, needs.source, site, image=image)
    kinds = tuple(one["kind"] for one in manifests)
    return BuiltManifests(work.name, image, digest, content, file, kinds, checked, tuple(filter(None, [told])))


def _demand_fitting(wanted: Wanted, is_served: bool) -> None:
    """Raises UsageError for wishes that make no sense together."""
    if not is_served and (wanted.kserve or wanted.replicas):
        raise UsageError(
            f"{wanted.what} is a run, which is executed once and does not answer requests",
            hint=f"bis build k8s runs:/{quote(wanted.what)}/PATH  for a model that it made",
        )
    if is_served and wanted.storage:
        raise UsageError("--storage is for what a run writes; a model writes nothing")
    if wanted.replicas and wanted.replicas.fewest == 0 and not wanted.kserve:
        raise UsageError("a Deployment cannot be woken by a request, so it has a pod at least", hint="--kserve")


def _manifests(work: Workload, wanted: Wanted, is_served: bool, has_python: bool) -> list[Manifest]:
    replicas = wanted.replicas or Replicas()
    if not is_served:
        return trained(work, wanted.storage or 10 << 30, has_python=has_python)
    return served_by_kserve(work, replicas) if wanted.kserve else served(work, replicas)


def _of_model(wanted: Wanted, site: Site) -> _Needs:
    placed = place(wanted.what, site.now, site.folder, site.homes, site.models)
    source = source_of(placed, read_folder(placed.folder), site.home)
    cpu = wanted.cpu or 1000
    # The server, and for each worker its libraries and the model, of which loading makes a copy or two.
    memory = STEP + -(-cpu // 1000) * (3 * STEP + 3 * _size(placed.folder))
    return _Needs(source, cpu, wanted.memory or _rounded(memory))


def _size(folder: Path) -> int:
    """Bytes of what a model is, without what is written beside it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.relative_to(folder).parts[0] not in APART)


def _of_run(wanted: Wanted, site: Site) -> _Needs:
    home = site.homes()
    run = home.ledger.find(parse(wanted.what, site.now.astimezone().replace(tzinfo=None)))
    if "code" not in run.parts:
        raise CannotRepeat(f"nothing of the code of {run.name} is recorded", hint=f"bis show {run.id[:8]}")
    part = run.parts.get("environment")
    source = Source(run.name, run, title=run.name)
    return _Needs(source, wanted.cpu or _processors(run), wanted.memory or _memory(run), bool(part and python_of(part)))


def _processors(run: Run) -> int:
    """As many as it kept busy."""
    used = run.usage
    return 1000 * max(1, round(used.cpu_seconds / used.seconds)) if used.seconds else 1000


def _memory(run: Run) -> int:
    """Half as much again as it had at most."""
    return _rounded(max(STEP, run.usage.peak_bytes * 3 // 2))


def _rounded(count: int) -> int:
    return -(-count // STEP) * STEP


def _annotations(source: Source) -> Mapping[str, str]:
    """The words by which images are labelled, too."""
    run = source.run
    known = {
        "bis.model": source.model,
        "bis.identity": source.identity,
        "bis.flavor": source.flavor,
        "bis.run": run.id if run else "",
        "bis.run.name": readable(run.name) if run else "",
    }
    return {key: value for key, value in known.items() if value}


# -- the image ---------------------------------------------------------------------------------------------------


def _image(wanted: Wanted, source: Source, site: Site) -> tuple[str, str]:
    """What is started, by its digest, and what whoever asked should know of it."""
    if not wanted.image:
        return _sent_last(wanted.what, source, site)
    named = read_name(wanted.image)
    if not named.digest:
        raise _is_tag(wanted, source, site)
    home = site.home
    known = with_digest(home, named.digest) if home else []
    if not known:
        return _spelled(named), f"what {named.digest[:19]}… was built of is not recorded here"
    if wrong := _other(known[-1], source):
        raise UsageError(
            f"{wanted.image} is not the image of {wanted.what}",
            because=wrong,
            hint=f"bis lineage {named.digest}",
        )
    return _spelled(named), ""


def _sent_last(what: str, source: Source, site: Site) -> tuple[str, str]:
    images = _images(source, site)
    sent = [one for one in images if one.pushed]
    if sent:
        digests = len({one.digest for one in sent})
        told = f"{digests} images of it were sent to registries; this is the last one" if digests > 1 else ""
        return _spelled(read_name(sent[-1].pushed)), told
    because = "Its image was built, but not sent to a registry." if images else "No image of it was built."
    raise NotFound(
        f"there is no image of {what} that a cluster could start",
        because=because,
        hint=f"bis build image {quote(what)} --push REGISTRY/NAME:TAG, or --image REGISTRY/NAME@sha256:…",
    )


def _images(source: Source, site: Site) -> list[Built]:
    home = site.home
    if home is None or not (source.run or source.model):
        return []
    return images_of(home, run=source.run.id if source.run else "", model=source.model, identity=source.identity)


def _is_tag(wanted: Wanted, source: Source, site: Site) -> UsageError:
    """The error for an image by its tag, with the digest that was probably meant."""
    named = read_name(wanted.image)
    sent = (read_name(one.pushed) for one in reversed(_images(source, site)) if one.pushed)
    meant = next((one for one in sent if (one.host, one.path) == (named.host, named.path)), None)
    known = f"--image {_spelled(meant)}" if meant else ""
    return UsageError(
        f"{wanted.image} names an image by a tag",
        because="What a tag means may be another image tomorrow, or on another node of the cluster.",
        hint=known or f"bis build image {quote(wanted.what)} --push {wanted.image}  says its digest",
    )


def _other(one: Built, source: Source) -> str:
    """What an image is instead of that of a model or run; empty where it is."""
    if one.kind != "image":
        return f"It was built for another purpose: {one.kind}."
    same_run = not one.run or source.run is None or one.run == source.run.id
    if one.identity == source.identity and same_run and (source.identity or one.model == source.model):
        return ""
    return f"It was built of {one.model or f'run {one.run[:8]}'}{', of a model that it made' if one.identity else ''}."


def _spelled(named: Name) -> str:
    """As clusters name it."""
    return str(named._replace(host="docker.io" if named.host == HUB else named.host, tag=""))


# -- the file ----------------------------------------------------------------------------------------------------


def _file(wanted: Wanted, name: str) -> Path | None:
    if wanted.output == "-":
        return None
    return wanted.folder / (Path(wanted.output).expanduser() if wanted.output else f"{name}.yaml")


def _write(path: Path, content: bytes, site: Site) -> None:
    """Whole or not at all, and never over what somebody wrote by hand. Raises UsageError, KeepingError."""
    try:
        there = path.read_bytes() if path.exists() else None
        if there is not None and there != content and not _is_ours(there, site):
            raise UsageError(
                f"{path} is there, and is not as bis wrote it",
                because="What was changed by hand would be lost.",
                hint="--output OTHER, or move it away",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name[:40]}-{secrets.token_hex(4)}")
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise trouble(error, "write", path) from error


def _is_ours(content: bytes, site: Site) -> bool:
    home = site.home
    return home is not None and bool(with_digest(home, f"sha256:{hashlib.sha256(content).hexdigest()}"))
