"""The lock: what is written can be read back, by us and by every reader of TOML."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from bis.digest import Digest
from bis.parts import pylock
from bis.parts.installed import Installed
from bis.parts.interpreter import Interpreter

PYTHON = Interpreter(version="3.11.7", abi="cpython-311-x86_64-linux-gnu")
words = st.text(min_size=1, max_size=12)
packages = st.builds(
    Installed,
    name=st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True),
    version=words,
    record=st.just(Digest("b3:12")),
    proof=st.sampled_from(["record", "metadata"]),
    origin=st.sampled_from(["index", "archive", "vcs", "folder", "editable", "project", "system", "conda", "unknown"]),
    installer=words,
    requested=st.booleans(),
    url=st.one_of(st.just(""), words),
    commit=words,
    subdirectory=words,
    sha256=st.one_of(st.just(""), st.just("ab" * 32)),
    archive=st.sampled_from(["", "x-1.0.tar.gz", "x-1.0-py3-none-any.whl"]),
    built=st.booleans(),
    source=words,
    info=words,
    tree=st.sampled_from([Digest(""), Digest("b3:34")]),
)


@given(st.lists(packages, max_size=4, unique_by=lambda item: item.name))
def test_what_is_written_is_read_back(found: list[Installed]) -> None:
    lock = pylock.read(pylock.write(PYTHON, found))
    assert (lock.version, lock.abi) == (PYTHON.version, PYTHON.abi)
    assert list(lock.packages) == sorted(found, key=lambda item: item.name)


def test_the_order_of_the_packages_does_not_matter() -> None:
    one, two = (Installed(name=name, version="1", record=Digest("b3:0")) for name in ("a", "b"))
    assert pylock.write(PYTHON, [one, two]) == pylock.write(PYTHON, [two, one])


def test_an_empty_lock_is_valid() -> None:
    assert pylock.problems(pylock.write(PYTHON, [])) == ""


def test_a_wheel_with_a_proved_hash_is_written_as_the_standard_says() -> None:
    proved = Installed(
        name="tiny",
        version="1.0",
        record=Digest("b3:0"),
        url="https://files.example/tiny-1.0-py3-none-any.whl",
        archive="tiny-1.0-py3-none-any.whl",
        sha256="ab" * 32,
        tags=("py3-none-any",),
    )
    text = pylock.write(PYTHON, [proved])
    assert pylock.problems(text) == ""
    (package,) = tomllib.loads(text)["packages"]
    assert package["wheels"] == [{"name": proved.archive, "url": proved.url, "hashes": {"sha256": proved.sha256}}]
    assert package["tool"]["bis"]["artifact"] == "proved"


def test_a_wheel_nobody_vouches_for_gets_no_invented_hash() -> None:
    text = pylock.write(PYTHON, [Installed(name="tiny", version="1.0", record=Digest("b3:0"))])
    assert "hashes" not in text
    assert "packages[0]" in pylock.problems(text)


def test_a_checkout_is_named_by_address_and_commit() -> None:
    checkout = Installed(
        name="tiny", version="1.0", record=Digest("b3:0"), origin="vcs", url="git+https://h.example/t", commit="f00"
    )
    text = pylock.write(PYTHON, [checkout])
    assert pylock.problems(text) == ""
    assert tomllib.loads(text)["packages"][0]["vcs"]["commit-id"] == "f00"
