"""A zip for a runtime of Lambda, which knows no links."""

import zipfile
from pathlib import Path

from bis.oci.layers import Entry
from bis.steps.lambda_zip import write


def test_in_the_place_of_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    entries = [
        Entry("lib/one.py", b"1"),
        Entry("lib/inner/two.py", b"2"),
        Entry("lib/around", target=".."),
        Entry("code/file", target="../lib/one.py"),
        Entry("code/folder", target="../lib"),
        Entry("code/again", target="folder"),
        Entry("code/gone", target="nowhere"),
        Entry("code/round", target="round"),
    ]
    write(entries, tmp_path / "it.zip", "", compressed=False)
    with zipfile.ZipFile(tmp_path / "it.zip") as box:
        found = {name: box.read(name) for name in box.namelist()}
    for place in ("lib", "code/folder", "code/again"):
        assert (found[f"{place}/one.py"], found[f"{place}/inner/two.py"]) == (b"1", b"2")
    assert found["code/file"] == b"1"
    assert not [name for name in found if name.startswith(("code/gone", "code/round", "lib/around"))]
