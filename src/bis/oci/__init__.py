"""Images of the Open Container Initiative, written and read without a daemon.

A layer is a tar in which nothing depends on when, where or by whom it was made; a layout is a folder of blobs by their
SHA-256; a registry is spoken to over HTTP. The same content gives the same digest on every machine.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
"""Not compressed: what a compressor writes changes with its version, and the digest of a layer with it."""
LAYER_GZIP: Final = f"{LAYER}+gzip"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYERS: Final = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{LAYER}+zstd",
}
"""What Docker calls a layer -> what the specification calls one of the same bytes."""
MANIFESTS: Final = (MANIFEST, DOCKER_MANIFEST)
INDEXES: Final = (INDEX, DOCKER_LIST)
NAME: Final = "org.opencontainers.image.ref.name"
"""The annotation that names an image of a layout."""


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an image runs on."""

    architecture: str
    os: str = "linux"
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Some content, by its digest."""

    media_type: str
    digest: str
    """`sha256:` and 64 hexadecimal digits, of the bytes as they are stored."""
    size: int
    platform: Platform | None = None
    artifact_type: str = ""
    annotations: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image: its configuration, and its layers from the lowest."""

    schema_version: int
    media_type: str
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    """What this says something of, where it is no image itself."""
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Several images: of one name for several platforms, or all of a layout."""

    schema_version: int
    media_type: str
    manifests: tuple[Descriptor, ...] = ()
    annotations: dict[str, str] = {}


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that lies in a layout."""

    descriptor: Descriptor
    manifest: Manifest
    config: dict[str, Any]
    """As the specification of images has it: `architecture`, `os`, `config`, `rootfs`, `history`."""

    @property
    def diff_ids(self) -> list[str]:
        """The digests of its layers as they are unpacked: what the image holds, however it is compressed."""
        return [str(one) for one in self.config.get("rootfs", {}).get("diff_ids", ())]
