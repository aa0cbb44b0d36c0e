"""What an image is built on: one of a registry by its digest, one of a layout, or one that `mmdebstrap` makes here.

ghcr.io/team/base@sha256:…   by digest; a tag is looked up once, and the digest that it meant is said
oci:FOLDER                   of a layout; oci:FOLDER:NAME where it has several
mmdebstrap:bookworm          Debian's own packages, of the sources that this machine installs from
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bis.errors import CannotRepeat, KeepingError, NotFound, UsageError
from bis.oci import LAYER, Descriptor, Image, Platform
from bis.oci.layout import BLOCK, Layout, machine
from bis.oci.registry import Registry, read_name
from bis.oci.unpack import opened
from bis.steps.leftovers import note_use

DEBIAN: Final = "mmdebstrap:"
FOLDER: Final = "oci:"
EPOCH: Final = 1_700_000_000
"""The time of the files of a base that is made here, in seconds since 1970 UTC."""
INCLUDED: Final = "ca-certificates,python3,python3-venv"
PYTHONS: Final = re.compile(r"(?:\./)?((?:usr/local|usr|var/lang|opt/[^/]+)/bin/python(3\.\d+))")
SOURCES: Final = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


class Base(NamedTuple):
    """What is built on."""

    image: Image
    reference: str
    """By digest: what names the same base again."""
    told: str = ""
    """What whoever builds should know."""


def bring(text: str, layout: Layout, cache: Path, variables: Mapping[str, str], say: Callable[[str], None]) -> Base:
    """A base in a layout. The caller keeps the cache from being cleaned meanwhile. Raises UsageError, NotFound,
    KeepingError, and CannotRepeat where it cannot be made."""
    if text.startswith(DEBIAN):
        return _made(text, layout, cache, variables, say)
    if text.startswith(FOLDER):
        place, _, name = text.removeprefix(FOLDER).partition(":")
        return _copied(Layout(Path(place).expanduser()), name, layout)
    named = read_name(text)
    registry, platform = Registry(named.host, variables), Platform(architecture=machine())
    say(f"looking for {named}")
    descriptor = registry.pull(named, layout, platform)
    reference = str(named._replace(tag="", digest=descriptor.digest))
    told = "" if named.digest else f"{text} means {reference} today: write that to build on the same again"
    return Base(layout.image(descriptor, platform), reference, told)


def pythons(image: Image, layout: Layout) -> dict[str, str]:
    """The interpreters of an image: `3.11` -> its path. Of layers that are compressed, too."""
    found: dict[str, str] = {}
    for layer in image.manifest.layers:
        try:
            with opened(layout, layer) as file, tarfile.open(fileobj=file, mode="r|", bufsize=BLOCK) as box:
                for info in box:
                    if shape := PYTHONS.fullmatch(info.name):
                        found[shape[2]] = f"/{shape[1]}"
        except (tarfile.TarError, OSError, EOFError) as error:
            raise KeepingError(f"the layer {layer.digest} of the base cannot be read: {error}") from None
    return found


def _copied(source: Layout, name: str, layout: Layout) -> Base:
    image = source.find(name, Platform(architecture=machine()))
    for blob in (image.manifest.config, *image.manifest.layers, image.descriptor):
        if not layout.has(blob.digest):
            source.verify(blob)
            with layout.new_blob() as file, source.path(blob.digest).open("rb") as there:
                shutil.copyfileobj(there, file, BLOCK)
                layout.keep(file, blob.digest)
    # Not where it lies: the same base gives the same image, wherever that is.
    return Base(image, f"{FOLDER}{name or 'base'}@{image.descriptor.digest}")


def _made(text: str, layout: Layout, cache: Path, variables: Mapping[str, str], say: Callable[[str], None]) -> Base:
    suite = text.removeprefix(DEBIAN)
    if not re.fullmatch(r"[a-z][a-z0-9.-]*", suite):
        raise UsageError(f"{suite!r} is no release of Debian", hint=f"{DEBIAN}bookworm")
    program = shutil.which("mmdebstrap", path=variables.get("PATH"))
    if program is None:
        raise NotFound("mmdebstrap is not installed", hint="apt-get install mmdebstrap, or --base NAME@sha256:…")
    kept = cache / f"base-{suite}-{machine()}.tar"
    if not kept.exists():
        say(f"making a base of Debian {suite}; this takes a minute, once")
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{secrets.token_hex(4)}")
        command = [
            program,
            "--quiet",
            "--format=tar",
            "--variant=minbase",
            f"--include={INCLUDED}",
            f"--architectures={_debian()}",
            suite,
        ]
        done = subprocess.run(
            [*command, str(draft), "-"],
            input="\n".join(_sources(suite)).encode(),
            env={**variables, "SOURCE_DATE_EPOCH": str(EPOCH)},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            draft.unlink(missing_ok=True)
            tail = " ".join(done.stderr.decode("utf-8", "replace").split()[-60:])
            raise CannotRepeat(f"mmdebstrap cannot make Debian {suite}", because=tail)
        draft.replace(kept)
    note_use(kept)
    hasher = hashlib.sha256()
    with layout.new_blob() as file, kept.open("rb") as there:
        while block := there.read(BLOCK):
            hasher.update(block)
            file.write(block)
        digest = f"sha256:{hasher.hexdigest()}"
        layout.keep(file, digest)
    config = {
        "architecture": machine(),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    layer = Descriptor(media_type=LAYER, digest=digest, size=kept.stat().st_size)
    image = layout.put_image(config, (layer,), {})
    return Base(image, f"{text}@{digest}", f"{kept} is built on again; remove it for today's packages")


def _debian() -> str:
    return {"386": "i386", "arm": "armhf"}.get(machine(), machine())


def _sources(suite: str) -> Iterator[str]:
    """Where this machine installs from, for another release: lines of `sources.list`."""
    yielded = False
    places = [path for place in SOURCES for path in ([place] if place.is_file() else sorted(place.glob("*.list")))]
    for path in places:
        for line in path.read_text("utf-8", "replace").splitlines():
            shape = re.match(r"deb(?:\s+\[[^\]]*\])?\s+(\S+)\s+[a-z]+\s+", line)
            if shape and not yielded and "security" not in line:
                yielded = True
                yield f"deb {shape[1]} {suite} main"
    for path in sorted(SOURCES[1].glob("*.sources")) if not yielded else ():
        for address in re.findall(r"(?m)^URIs:\s*(\S+)", path.read_text("utf-8", "replace")):
            yield f"deb {address} {suite} main"
            return
