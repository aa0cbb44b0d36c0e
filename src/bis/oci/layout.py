"""A folder of images, as the image layout specification has it: `oci-layout`, `index.json`, and blobs by their SHA-256.

Every blob is verified when it is read, and written under another name first: a killed writer leaves garbage only.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import msgspec

from bis.digest import canonical
from bis.errors import KeepingError, NotFound, UsageError
from bis.oci import CONFIG, INDEX, INDEXES, MANIFEST, MANIFESTS, NAME, Descriptor, Image, Index, Manifest, Platform

T = TypeVar("T")

MARK: Final = "oci-layout"
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
BLOCK: Final = 1 << 20
LARGEST: Final = 16 << 20
"""Bytes of a manifest or configuration."""


class Layout:
    """A folder of images; made where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Raises OSError, and UsageError where something else lies."""
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / MARK).exists():
            raise UsageError(f"{self.folder} is no image layout, and not empty", hint="name an empty folder")
        (self.folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        _replace(self.folder / MARK, b'{"imageLayoutVersion":"1.0.0"}')
        if not (self.folder / "index.json").exists():
            _replace(self.folder / "index.json", canonical(Index(schema_version=2, media_type=INDEX)))

    # -- blobs -------------------------------------------------------------------------------------------------------

    def path(self, digest: str) -> Path:
        """Where a blob lies, or would. Raises KeepingError for what is no SHA-256."""
        if not DIGEST.fullmatch(digest):
            raise KeepingError(f"{digest[:100]!r} is no digest of a blob", because="Only SHA-256 is read.")
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    @contextmanager
    def new_blob(self) -> Iterator[IO[bytes]]:
        """A file for a blob whose digest is not known yet; hand its `name` to `keep`."""
        place = self.folder / "blobs" / f".new-{secrets.token_hex(8)}"
        try:
            with place.open("wb") as file:
                yield file
        finally:
            place.unlink(missing_ok=True)

    def keep(self, file: IO[bytes], digest: str) -> None:
        """Give what was written to `new_blob` its name."""
        file.flush()
        Path(file.name).replace(self.path(digest))

    def put(self, content: bytes, media_type: str, **more: Any) -> Descriptor:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if not self.has(digest):
            _replace(self.path(digest), content)
        return Descriptor(media_type=media_type, digest=digest, size=len(content), **more)

    def read(self, descriptor: Descriptor) -> bytes:
        """A small blob. Raises KeepingError where it is missing, too large or not what its digest says."""
        if descriptor.size > LARGEST:
            raise KeepingError(f"{descriptor.digest} has {descriptor.size:,} bytes, too many for what it is to be")
        try:
            content = self.path(descriptor.digest).read_bytes()
        except FileNotFoundError:
            raise KeepingError(f"the image layout {self.folder} lacks {descriptor.digest}") from None
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != descriptor.digest:
            raise KeepingError(f"{self.path(descriptor.digest)} is damaged: its digest is another")
        return content

    def verify(self, descriptor: Descriptor) -> None:
        """Raises KeepingError where a blob is not what its digest says."""
        hasher, size = hashlib.sha256(), 0
        with self.path(descriptor.digest).open("rb") as file:
            while block := file.read(BLOCK):
                hasher.update(block)
                size += len(block)
        if f"sha256:{hasher.hexdigest()}" != descriptor.digest or size != descriptor.size:
            raise KeepingError(f"{self.path(descriptor.digest)} is damaged: its digest is another")

    # -- images ------------------------------------------------------------------------------------------------------

    def index(self) -> Index:
        """Raises NotFound where there is no layout, KeepingError for a damaged one."""
        try:
            return _decoded((self.folder / "index.json").read_bytes(), Index, "index.json")
        except FileNotFoundError:
            raise NotFound(f"{self.folder} is no image layout", hint="bis build image RUN --output DIR") from None

    def name(self, descriptor: Descriptor, name: str) -> None:
        """Let a name mean an image, and no longer the one that it meant."""
        named = msgspec.structs.replace(descriptor, annotations={**descriptor.annotations, NAME: name} if name else {})
        others = [
            one
            for one in self.index().manifests
            if one.annotations.get(NAME, "") != name or (not name and one.digest != descriptor.digest)
        ]
        _replace(
            self.folder / "index.json", canonical(Index(schema_version=2, media_type=INDEX, manifests=(*others, named)))
        )

    def find(self, name: str = "", platform: Platform | None = None) -> Image:
        """By its name or digest; the only one where none is said. Raises NotFound, and UsageError where several are."""
        found = [one for one in self.index().manifests if not name or name in (one.annotations.get(NAME), one.digest)]
        if not found:
            raise NotFound(f"{self.folder} has no image {name!r}", hint=self._names())
        if len(found) > 1:
            raise UsageError(f"{self.folder} has several images", hint=self._names())
        return self.image(found[0], platform)

    def image(self, descriptor: Descriptor, platform: Platform | None = None) -> Image:
        """What a descriptor names; of several for one name, that for a platform. Raises NotFound, KeepingError."""
        if descriptor.media_type in INDEXES:
            index = _decoded(self.read(descriptor), Index, descriptor.digest)
            return self.image(chosen(index, platform), platform)
        if descriptor.media_type not in MANIFESTS:
            raise KeepingError(f"{descriptor.digest} is no image but {descriptor.media_type}")
        manifest = _decoded(self.read(descriptor), Manifest, descriptor.digest)
        config = _decoded(self.read(manifest.config), dict[str, Any], manifest.config.digest)
        return Image(descriptor=descriptor, manifest=manifest, config=config)

    def put_image(self, config: dict[str, Any], layers: tuple[Descriptor, ...], annotations: dict[str, str]) -> Image:
        """An image of layers that lie here."""
        kept = self.put(canonical(config), CONFIG)
        manifest = Manifest(schema_version=2, media_type=MANIFEST, config=kept, layers=layers, annotations=annotations)
        platform = Platform(architecture=config["architecture"], os=config["os"])
        return Image(
            descriptor=self.put(canonical(manifest), MANIFEST, platform=platform), manifest=manifest, config=config
        )

    def _names(self) -> str:
        names = [one.annotations.get(NAME) or one.digest for one in self.index().manifests]
        return "there are " + ", ".join(names[:10]) if names else "it is empty"


def chosen(index: Index, platform: Platform | None) -> Descriptor:
    """The image for a platform. Raises NotFound, with those that there are."""
    wanted = platform or Platform(architecture=machine())
    for one in index.manifests:
        if one.platform is None or (one.platform.os, one.platform.architecture) == (wanted.os, wanted.architecture):
            return one
    there = ", ".join(f"{one.platform.os}/{one.platform.architecture}" for one in index.manifests if one.platform)
    raise NotFound(f"the image is not made for {wanted.os}/{wanted.architecture}", because=f"It is made for {there}.")


def machine() -> str:
    """The architecture of this machine, in the words of images."""
    import platform

    name = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(name, name)


def _decoded(content: bytes, kind: type[T], called: str) -> T:
    try:
        return msgspec.convert(json.loads(content), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise KeepingError(f"{called} cannot be read: {error}") from None


def _replace(path: Path, content: bytes) -> None:
    place = path.with_name(f".{path.name[:40]}-{secrets.token_hex(4)}")
    place.write_bytes(content)
    place.replace(path)
