"""Folders of models that are damaged, or that somebody made who means harm."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bis.flavors import Loading, Refused, below
from bis.flavors.kinds import load


class Bomb:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.mark,)


PICKLES: list[tuple[str, dict[str, Any]]] = [
    ("python_function", {"python_model": "model.pkl", "loader_module": "mlflow.pyfunc.model"}),
    ("python_function", {"python_model": "model.pkl", "loader_module": "bis_function_1"}),
]


@pytest.mark.parametrize(("flavor", "entry"), PICKLES)
def test_a_pickle_is_never_opened_without_trust(flavor: str, entry: dict[str, Any], tmp_path: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "opened"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(Refused):
        load(folder, {flavor: entry}, Loading())
    assert not mark.exists()


def test_the_bomb_goes_off_for_whoever_trusts_it(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "opened")))
    load(tmp_path, {"python_function": {"python_model": "model.pkl", "loader_module": "bis_function_1"}}, Loading(True))
    assert (tmp_path / "opened").exists()


@pytest.mark.parametrize("named", ["../secret.pkl", "/etc/passwd", "a/../../secret.pkl", "link.pkl", ".", "..", "gone"])
def test_a_description_names_only_what_is_in_the_folder(named: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "secret.pkl").write_bytes(b"")
    (folder / "link.pkl").symlink_to(tmp_path / "secret.pkl")
    with pytest.raises(Refused):
        below(folder, named)


def test_a_link_out_of_the_folder_is_refused_whoever_trusts_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "weights").write_bytes(b"")
    (folder / "data" / "weights").symlink_to(tmp_path / "weights")
    with pytest.raises(Refused, match="'data/weights' is a link to what is not in the model's folder"):
        load(folder, {"python_function": {}}, Loading(trust=True))


def test_code_that_a_model_brings_is_on_the_path_only_for_whoever_trusts_it(tmp_path: Path) -> None:
    import sys

    (tmp_path / "code").mkdir()
    (tmp_path / "python_model.pkl").write_bytes(pickle.dumps(len))
    flavors = {"python_function": {"code": "code", "python_model": "python_model.pkl", "loader_module": "its_own"}}
    before = list(sys.path)
    try:
        with pytest.raises(Refused):
            load(tmp_path, flavors, Loading())
        assert sys.path == before
        load(tmp_path, flavors, Loading(trust=True))
        assert sys.path[0] == str(tmp_path.resolve() / "code")
    finally:
        sys.path[:] = before


@pytest.mark.parametrize(
    ("flavor", "file", "entry"),
    [
        ("sklearn", "model.skops", {"pickled_model": "model.skops", "serialization_format": "skops"}),
        ("lightgbm", "model.skops", {"data": "model.skops", "serialization_format": "skops", "model_class": "x.Y"}),
        ("keras", "data/model.keras", {"data": "data"}),
        ("pytorch", "data/model.pt2", {"model_data": "data"}),
    ],
)
def test_a_small_file_that_would_fill_the_memory_is_refused_before_it_is_opened(
    flavor: str, file: str, entry: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / file, "w", zipfile.ZIP_DEFLATED) as box, box.open("schema.json", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert (tmp_path / file).stat().st_size < 1 << 20
    with pytest.raises(Refused, match="is not opened: it unpacks to 300 MiB"):
        load(tmp_path, {flavor: entry}, Loading())
