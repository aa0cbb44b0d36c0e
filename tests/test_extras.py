"""What to type for more of bis names where it is, where it came from, and what it has already."""

import json
from pathlib import Path

import pytest

from bis import extras

METADATA = """\
Metadata-Version: 2.4
Name: bis
Version: 0.1.0
Provides-Extra: formats
Provides-Extra: remote
Provides-Extra: elsewhere
Requires-Dist: click>=8
Requires-Dist: pyarrow>=18; extra == 'formats'
Requires-Dist: h5py>=3; extra == 'formats'
Requires-Dist: obstore>=0.12; extra == 'remote'
Requires-Dist: waitress; (sys_platform == 'win32') and extra == 'remote'
Requires-Dist: waitress; extra == 'elsewhere'
"""
FOLDER = {"url": "file:///srv/my%20bis", "dir_info": {}}
REPOSITORY = {"url": "https://git.example.org/bis", "vcs_info": {"vcs": "git", "commit_id": "4f2a"}}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An environment that has bis and click."""
    has(tmp_path, "bis", METADATA)
    has(tmp_path, "click")
    return tmp_path


def has(place: Path, package: str, text: str = "") -> Path:
    info = place / "lib" / "python3.11" / "site-packages" / f"{package}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(text or f"Metadata-Version: 2.4\nName: {package}\nVersion: 0.1.0\n")
    return info


def came_from(place: Path, origin: object) -> None:
    (info,) = place.glob("lib/*/site-packages/bis-*.dist-info")
    (info / "direct_url.json").write_text(json.dumps(origin))


def test_in_an_environment_pip_adds_to_what_is_there(place: Path) -> None:
    """The interpreter is named: elsewhere pip would ask an index for a package of that name."""
    assert extras.what_to_type("remote", place) == f"{place}/bin/python -m pip install 'bis[remote]'"


def test_in_an_environment_without_pip_uv_does(place: Path) -> None:
    (info,) = place.glob("lib/*/site-packages/bis-*.dist-info")
    (info / "INSTALLER").write_text("uv\n")
    assert extras.what_to_type("remote", place) == f"uv pip install --python {place}/bin/python 'bis[remote]'"


def test_a_tool_of_uv_keeps_the_extras_that_it_has(place: Path) -> None:
    """uv takes away what is not named anew. An extra is there when all its packages are."""
    (place / "uv-receipt.toml").touch()
    came_from(place, FOLDER)
    has(place, "h5py")
    assert extras.what_to_type("remote", place) == "uv tool install '/srv/my bis[remote]'"
    has(place, "pyarrow")
    assert extras.what_to_type("remote", place) == "uv tool install '/srv/my bis[formats,remote]'"
    assert extras.what_to_type("formats", place) == "uv tool install '/srv/my bis[formats]'"


def test_pipx_is_told_where_bis_came_from(place: Path) -> None:
    (place / "pipx_metadata.json").touch()
    assert extras.what_to_type("remote", place) == "pipx install --force 'bis[remote]'"
    came_from(place, REPOSITORY)
    assert (
        extras.what_to_type("remote", place) == "pipx install --force 'bis[remote] @ git+https://git.example.org/bis'"
    )


def test_where_nothing_is_known_of_bis_the_extra_is_named(tmp_path: Path) -> None:
    assert extras.what_to_type("remote", tmp_path) == "install bis with its extra 'remote'"


def test_the_packages_of_this_bis_are_known_by_extra() -> None:
    assert "starlette" in extras.packages()["server"]
    assert not {"click", "msgspec"} & {name for names in extras.packages().values() for name in names}
