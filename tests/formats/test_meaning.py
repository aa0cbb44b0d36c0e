"""A model that is saved twice has one digest, whatever its bytes; a model that is another has another."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.digest import digest_file
from bis.formats.meaning import meaning

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def zipped(path: Path, members: Mapping[str, bytes], when: int = 2001) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        for name, data in members.items():
            box.writestr(zipfile.ZipInfo(name, (when, 1, 1, 0, 0, 0)), data)
    return path


def test_a_zip_is_known_by_its_members_and_not_by_their_times_order_or_outer_folder(tmp_path: Path) -> None:
    one = zipped(tmp_path / "a.pt2", {"a/weights": b"1" * 999, "a/graph": b"g"})
    other = zipped(tmp_path / "b.pt2", {"b/graph": b"g", "b/weights": b"1" * 999}, when=2020)
    assert one.read_bytes() != other.read_bytes()
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize("members", [{"a/weights": b"2"}, {"a/weight": b"1"}, {"a/weights": b"1", "a/more": b""}])
def test_a_zip_whose_members_differ_is_another(tmp_path: Path, members: dict[str, bytes]) -> None:
    one = zipped(tmp_path / "a.zip", {"a/weights": b"1"})
    assert meaning(one) != meaning(zipped(tmp_path / "b.zip", members))


def test_a_keras_model_is_known_without_the_time_at_which_it_was_saved(tmp_path: Path) -> None:
    def saved(name: str, date: str, units: int) -> Path:
        metadata = b'{"keras_version": "3.15.1", "date_saved": "%s"}' % date.encode()
        return zipped(tmp_path / name, {"metadata.json": metadata, "config.json": b'{"units": %d}' % units})

    first = saved("one.keras", "2026-01-01@00:00:00", 8)
    assert meaning(first) == meaning(saved("two.keras", "2026-05-05@10:00:00", 8))
    assert meaning(first) != meaning(saved("three.keras", "2026-01-01@00:00:00", 9))


class Vectorizer:
    """As scikit-learn's, which keeps an address."""

    def __init__(self, address: int, words: tuple[str, ...]) -> None:
        self._stop_words_id = address
        self.vocabulary = {word: place for place, word in enumerate(words)}


def pickled(path: Path, value: Any, protocol: int = 5) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def test_a_pickle_is_known_without_the_address_in_it(tmp_path: Path) -> None:
    one = pickled(tmp_path / "a.pkl", Vectorizer(1, ("a", "b")))
    assert meaning(one) == meaning(pickled(tmp_path / "b.pkl", Vectorizer(2, ("a", "b"))))
    assert meaning(one) != meaning(pickled(tmp_path / "c.pkl", Vectorizer(1, ("b", "a"))))


@given(PLAIN, PLAIN)
def test_two_pickles_have_one_digest_when_they_hold_the_same_and_another_when_not(
    tmp_path_factory: pytest.TempPathFactory, first: Any, second: Any
) -> None:
    folder = tmp_path_factory.mktemp("pickles")
    one, again = pickled(folder / "a.pkl", [first, "x"]), pickled(folder / "b.pkl", [first, "x"], protocol=4)
    other = pickled(folder / "c.pkl", [second, "x"])
    assert meaning(one) == meaning(again)
    assert (meaning(one) == meaning(other)) == (repr(first) == repr(second))


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    meaning(pickled(tmp_path / "trap.pkl", Trap()))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.zip", "config.json", "model.ubj"])
def test_what_cannot_be_understood_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    starts = {"model.zip": b"PK\3\4", "model.pkl": b"\x80\5", "config.json": b'{"registered_name"'}
    path = tmp_path / name
    path.write_bytes(starts.get(name, b"") + b"nonsense")
    assert meaning(path) == digest_file(path)


def test_a_zip_that_holds_itself_many_times_over_ends(tmp_path: Path) -> None:
    inner = b"x"
    for _ in range(20):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as box:
            box.writestr("inner.zip", inner)
        inner = file.getvalue()
    path = tmp_path / "deep.zip"
    path.write_bytes(inner)
    assert meaning(path).startswith("b3:")


def test_a_script_of_pytorch_is_known_without_the_order_of_constants_and_where_its_source_lay(tmp_path: Path) -> None:
    def script(name: str, constants: list[str], body: str, debug: bytes) -> str:
        source = "class Linear(Module):\n" + "".join(f"  {one} : Final[int] = 3\n" for one in constants) + body
        with zipfile.ZipFile(tmp_path / name, "w") as box:
            box.writestr("m/data.pkl", pickle.dumps({"a": 1}, 2))
            box.writestr("m/constants.pkl", pickle.dumps((), 2))
            box.writestr("m/code/__torch__/linear.py", source)
            box.writestr("m/code/__torch__/linear.py.debug_pkl", debug)
        return meaning(tmp_path / name)

    one = script("one.pth", ["out", "in"], "  def forward(self): return 1\n", b"/home/ada/net.py")
    assert script("same.pth", ["in", "out"], "  def forward(self): return 1\n", b"/home/bob/net.py") == one
    assert script("other.pth", ["in", "out"], "  def forward(self): return 2\n", b"/home/ada/net.py") != one
