"""Where paths lead, and what the kernel opens to run a program."""

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

INSIDE = Path(__file__).resolve().parent.parent.parent / "src" / "bis" / "inside"


def inside(name: str) -> ModuleType:
    """A standalone module, imported as the tracer imports it."""
    if str(INSIDE) not in sys.path:
        sys.path.append(str(INSIDE))
    return importlib.import_module(name)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def resolve(tmp_path: Path) -> object:
    """The real path of a path of this process, and what lies on the way."""
    module = inside("sight")
    sight = module.Sight()
    _memory, view = sight.attach(os.getpid())
    return lambda path: [os.fsdecode(name) for name, _ in sight.chain(view, os.getpid(), os.fsencode(path))]


@pytest.mark.parametrize(
    "spelling",
    ["{}/a/x", "{}/a/./x", "{}//a///x", "{}/a/b/../x", "{}/link/x", "{}/link/b/../../link/x", "{}/loop/../a/x"],
)
def test_folders_are_resolved_as_the_kernel_does(spelling: str, tmp_path: Path, resolve: object) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_text("1")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").mkdir()
    assert resolve(spelling.format(tmp_path)) == [os.path.realpath(spelling.format(tmp_path))]  # type: ignore[operator]


def test_the_way_over_links_to_a_file_is_known(tmp_path: Path, resolve: object) -> None:
    (tmp_path / "v2").write_text("1")
    (tmp_path / "latest").symlink_to(tmp_path / "v2")
    (tmp_path / "best").symlink_to("latest")
    found = [str(tmp_path.resolve() / name) for name in ("best", "latest", "v2")]
    assert resolve(tmp_path / "best") == found  # type: ignore[operator]


def test_a_circle_of_links_ends(tmp_path: Path, resolve: object) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("c/x")
    assert len(resolve(tmp_path / "a")) <= 40  # type: ignore[operator]
    assert len(resolve(tmp_path / "c" / "d")) <= 40  # type: ignore[operator]


def test_a_pipe_behind_a_name_leads_nowhere(resolve: object) -> None:
    reader, writer = os.pipe()
    assert resolve(f"/proc/self/fd/{reader}") == []  # type: ignore[operator]
    os.close(reader)
    os.close(writer)


def test_what_the_kernel_opens_to_run_a_program_is_known(tmp_path: Path) -> None:
    interpreter_of = inside("sight").interpreter_of
    (tmp_path / "script").write_text("#! /usr/bin/env python -u\nprint(1)\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "cut").write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 60)
    assert interpreter_of(tmp_path / "script") == b"/usr/bin/env"
    assert interpreter_of(tmp_path / "empty") is None
    assert interpreter_of(tmp_path / "cut") is None
    assert interpreter_of(tmp_path / "absent") is None
    loader = interpreter_of(shutil.which("sh"))
    assert loader is None or Path(os.fsdecode(loader)).exists()
