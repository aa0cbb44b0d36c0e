"""What a built thing was made of, as a statement beside it: in-toto's form, with SLSA's words for a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bis.digest import canonical
from bis.nouns.run import Run
from bis.oci import EMPTY, MANIFEST, Descriptor, Image, Manifest
from bis.oci.layout import Layout

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
MEDIA: Final = "application/vnd.in-toto+json"
BUILD: Final = "urn:bis:image:1"


def attach(layout: Layout, image: Image, name: str, statement: Mapping[str, Any]) -> Descriptor:
    """Put a statement into the layout that names the image as its subject."""
    subject = image.descriptor
    kept = layout.put(canonical(statement), MEDIA, annotations={"predicateType": PREDICATE})
    manifest = Manifest(
        schema_version=2,
        media_type=MANIFEST,
        artifact_type=MEDIA,
        config=layout.put(b"{}", EMPTY),
        layers=(kept,),
        subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
    )
    descriptor = layout.put(canonical(manifest), MANIFEST, artifact_type=MEDIA)
    layout.name(descriptor, f"{name}.provenance")
    return descriptor


def provenance(
    digest: str, name: str, *, source: str, base: str, run: Run | None, record: str, model: str, identity: str
) -> dict[str, Any]:
    """The same for the same thing: no time of the build, and no place. `base`: empty for what is no image."""
    made_of = [{"uri": base.partition("@")[0], "digest": _algorithm(base.partition("@")[2])}] if "@" in base else []
    if run is not None:
        made_of.append({"uri": f"bis:run/{run.id}", "digest": _algorithm(record)})
        made_of += [{"uri": f"bis:part/{kind}", "digest": _algorithm(part.digest)} for kind, part in run.parts.items()]
    if identity:
        made_of.append({"uri": model or "bis:model", "digest": _algorithm(identity)})
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": _algorithm(digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"source": source, "base": base},
                "resolvedDependencies": _known(made_of),
            },
            "runDetails": {"builder": {"id": "urn:bis"}},
        },
    }


def _known(made_of: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in made_of if one["digest"]]


def _algorithm(digest: str) -> dict[str, str]:
    kind, _, digits = digest.partition(":")
    return {{"b3": "blake3"}.get(kind, kind): digits} if digits else {}
