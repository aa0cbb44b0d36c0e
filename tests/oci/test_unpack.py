"""An image as a folder: upper layers over lower ones, and nothing outside of it."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from bis.errors import KeepingError
from bis.oci import LAYER, Descriptor, Image
from bis.oci.layers import Entry, write_layer
from bis.oci.layout import Layout
from bis.oci.unpack import unpack

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    LAYER: lambda data: data,
    f"{LAYER}+gzip": gzip.compress,
    f"{LAYER}+zstd": zstd.compress,
}


def tar(*files: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as box:
        for one in files:
            info, content = (one, b"") if isinstance(one, tarfile.TarInfo) else (tarfile.TarInfo(one[0]), one[1])
            info.size = len(content)
            box.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(path: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, target
    return info


def image_of(folder: Path, *layers: bytes, packing: str = LAYER) -> tuple[Layout, Image]:
    layout = Layout(folder)
    layout.make()
    kept = tuple(layout.put(PACKINGS[packing](layer), packing) for layer in layers)
    diff_ids = [layout.put(layer, LAYER).digest for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    return layout, layout.put_image(config, kept, {})


@pytest.mark.parametrize("packing", PACKINGS)
def test_an_image_is_unpacked_however_it_is_compressed(tmp_path: Path, packing: str) -> None:
    out = io.BytesIO()
    write_layer([Entry("bin/run", b"#!/bin/sh\n", executable=True), Entry("sbin", target="bin")], out, 0)
    unpack(*image_of(tmp_path / "image", out.getvalue(), packing=packing), tmp_path / "root")
    assert (tmp_path / "root" / "sbin" / "run").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "root" / "bin" / "run").stat().st_mode & 0o111


def test_upper_layers_change_and_take_away_what_lower_ones_have(tmp_path: Path) -> None:
    lower = tar(("etc/one", b"1"), ("etc/two", b"2"), ("var/old", b"x"), ("usr/lib/a", b"a"), link("lib", "usr/lib"))
    upper = tar(("etc/.wh.one", b""), ("etc/two", b"3"), ("var/new", b"n"), ("var/.wh..wh..opq", b""), ("lib/b", b"b"))
    unpack(*image_of(tmp_path / "image", lower, upper), tmp_path / "root")
    root = tmp_path / "root"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
        *("etc/two", "usr/lib/a", "usr/lib/b", "var/new"),
    ]
    assert (root / "etc" / "two").read_bytes() == b"3"


@pytest.mark.parametrize(
    "layer",
    [
        tar(("../../evil", b"x")),
        tar(link("out", "/../../.."), ("out/evil", b"x")),
        tar(link("out", "../../../../../../../../tmp"), ("out/evil", b"x")),
    ],
    ids=["dots", "absolute link", "relative link"],
)
def test_nothing_lands_outside_of_the_folder(tmp_path: Path, layer: bytes) -> None:
    root = tmp_path / "deep" / "root"
    unpack(*image_of(tmp_path / "image", layer), root)
    assert [path for path in tmp_path.rglob("evil") if not path.is_relative_to(root)] == []
    assert not Path("/tmp/evil").exists()
    assert list(root.rglob("evil"))


def test_a_hard_link_to_a_file_outside_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    layout, image = image_of(tmp_path / "image", tar(link("copy", f"{tmp_path}/secret", tarfile.LNKTYPE)))
    with pytest.raises(KeepingError, match="cannot be unpacked"):
        unpack(layout, image, tmp_path / "root")


def test_layers_that_are_another_than_the_image_says_are_refused(tmp_path: Path) -> None:
    layout, image = image_of(tmp_path / "image", tar(("a", b"1")))
    other = layout.put(tar(("a", b"2")), LAYER)
    forged = layout.put_image(image.config, (Descriptor(media_type=LAYER, digest=other.digest, size=other.size),), {})
    with pytest.raises(KeepingError, match="something else than its image says"):
        unpack(layout, forged, tmp_path / "root")
