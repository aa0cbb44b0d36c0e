"""Every file belongs somewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

import bis
from bis.nouns.trace import Access, Stat
from bis.parts import Report, Scene
from bis.parts.origin import is_data, is_lock, sorter


@pytest.mark.parametrize(
    ("path", "size", "data"),
    [
        ("train.py", 10, False),
        ("data/x.csv", 10, True),
        ("requirements-dev.txt", 10, False),
        ("corpus.txt", 10, True),
        ("config.yaml", 10, False),
        ("params.json", 10, False),
        ("big.json", 5 << 20, True),
        ("nb.ipynb", 5 << 20, False),
        ("weights.bin", 10, True),
        ("Makefile", 10, False),
        ("noextension", 10, False),
    ],
)
def test_code_and_data_are_told_apart_by_name_and_size(path: str, size: int, data: bool) -> None:
    assert is_data(path, size) is data


def test_each_path_has_its_origin(scene: Callable[..., Scene], project: Path) -> None:
    venv = Report(
        pid=1, prefix=f"{project}/.venv", base_prefix="/opt/python", path=(f"{project}/.venv/lib/site-packages",)
    )
    origin = sorter(scene(reports=(venv,), home=Path("/home/ana")))
    found = {
        f"{project}/train.py": "project",
        f"{project}/.bis": "own",
        f"{project}/.bis/store/x": "own",
        f"{project}/.git/config": "cache",
        f"{project}/.venv/lib/python3.11/os.py": "environment",
        "/opt/python/lib/python3.11/json/__init__.py": "environment",
        f"{project}/__pycache__/train.cpython-311.pyc": "cache",
        "/usr/lib/libc.so.6": "system",
        "/etc/localtime": "system",
        "/home/ana/.cache/matplotlib/fontlist.json": "cache",
        "/home/ana/.cache/huggingface/hub/model.bin": "outside",
        "/home/ana/data/x.csv": "outside",
        "/data/x.csv": "outside",
        "/tmp/x.csv": "temporary",
    }
    assert {path: origin(path) for path in found} == found


def test_bis_itself_is_no_input_but_where_it_is_the_project(scene: Callable[..., Scene]) -> None:
    module = bis.__file__
    assert sorter(scene())(module) == "own"
    assert sorter(scene(project=Path(module).parents[2]))(module) == "project"


def test_a_folder_with_a_similar_name_is_not_the_project(scene: Callable[..., Scene], project: Path) -> None:
    assert sorter(scene())(f"{project}-2/x.csv") != "project"


@pytest.mark.parametrize(
    ("path", "how", "size", "lock"),
    [
        ("/tmp/uv-5660221b78613cc1.lock", "rw", 0, True),
        ("/tmp/tmp8sd7f", "rd", 0, True),
        ("/tmp/uv-5660221b78613cc1.lock", "rw", 3, False),
        ("/tmp/uv-5660221b78613cc1.lock", "r", 0, False),
        ("/tmp/mine.csv", "rw", 0, False),
        ("/home/ana/x.lock", "rw", 0, False),
        ("/home/ana/.local/share/bis/.using", "r", 0, True),
        ("/home/ana/.local/share/bis/.using", "r", 3, False),
    ],
)
def test_a_lock_is_told_from_a_file_of_somebodys(path: str, how: str, size: int, lock: bool) -> None:
    assert is_lock(Access(path=path, how=how, before=Stat(size, 1, 1))) is lock
