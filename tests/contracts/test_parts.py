"""What every kind of part promises. A new kind is one more line in `KINDS`, and here one more change to be seen."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from bis.digest import canonical, spell
from bis.nouns.part import Part
from bis.nouns.trace import Access, Stat, Trace
from bis.parts import Kind, Place, Report, Scene
from bis.parts.kinds import KINDS
from bis.settings import Settings
from bis.store import Store
from bis.store.local import open_store
from bis.store.statcache import open_cache

FILES = {
    "train.py": "import helper\nprint(open('data.csv').read())\n",
    "lib/helper.py": "RATE = 1\n",
    "data.csv": "a,b\n1,2\n",
    "conf.yaml": "lr: 0.1\n",
    "Dockerfile": "FROM python:3.11.7\nRUN pip install tiny==1.0\n",
}
POOL = {"api": "openblas", "file": "libopenblas.so", "threads": 2, "kernel": "Haswell", "version": "0.3.30"}
NUMERICS = {"pools": [POOL]}


class World(NamedTuple):
    """What a run was made of: files, a command, an interpreter that told of itself."""

    files: dict[str, str] = FILES
    words: tuple[str, ...] = ("train.py", "--lr", "0.1")
    python: str = "one"
    facts: dict[str, Any] = NUMERICS


CHANGED: Mapping[str, World] = {
    "code": World(files={**FILES, "lib/helper.py": "RATE = 2\n"}),
    "data": World(files={**FILES, "data.csv": "a,b\n1,3\n"}),
    "params": World(words=("train.py", "--lr", "0.2")),
    "environment": World(python="two"),
    "infrastructure": World(files={**FILES, "Dockerfile": FILES["Dockerfile"].replace("tiny==1.0", "tiny==2.0")}),
    "machine": World(facts={"pools": [{**POOL, "kernel": "SkylakeX"}]}),
}
"""One thing that is different, of each kind."""
ALSO = {"infrastructure": ("code",), "environment": ("params",)}
"""Files of the project that declare something are code, too; and the command names its interpreter."""

MakeScene = Callable[..., Scene]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def scene(
    tmp_path: Path, make_wheel: Callable[..., Path], make_environment: Callable[..., Path], uv_variables: dict[str, str]
) -> MakeScene:
    """`scene(folder, world)`: a run of `world` that has ended in `folder`; with `written`, after its files were put
    there; before it began with `ended=False`."""
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1\n"})

    def make(folder: Path, world: World, *, written: bool = True, ended: bool = True) -> Scene:
        for name, text in world.files.items() if written else ():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        python = tmp_path / world.python / "bin" / "python"
        if not python.exists():
            make_environment(tmp_path / world.python, *(["tiny"] if world.python == "two" else []))
        return Scene(
            project=folder,
            folder=folder,
            command=(str(python), *world.words),
            variables=uv_variables,
            settings=Settings(),
            home=tmp_path / "home",
            key=b"key",
            cache=open_cache(None),
            trace=reading(folder, world.files) if ended else None,
            reports=(report_of(python, world.facts),) if ended else (),
        )

    return make


def reading(folder: Path, names: Mapping[str, str]) -> Trace:
    """A complete trace in which all files were read, as they are now."""
    accesses = []
    for name in sorted(names):
        status = (folder / name).stat()
        before = Stat(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        accesses.append(Access(path=spell(str(folder / name)), how="r", before=before))
    return Trace(mechanism="notify", complete=True, accesses=tuple(accesses))


def report_of(python: Path, facts: dict[str, Any]) -> Report:
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    prefix, base = str(python.parent.parent), str(python.resolve().parent.parent)
    version = site.parent.name.removeprefix("python") + ".0"
    return Report(
        pid=1,
        executable=str(python),
        prefix=prefix,
        base_prefix=base,
        version=version,
        path=(str(site),),
        facts=facts,
    )


def folder_of(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


@pytest.fixture(params=KINDS, ids=lambda kind: kind.KIND)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def whole(kind: Kind, make: MakeScene, folder: Path, world: World, store: Store, *, written: bool = True) -> Part:
    """A part as a run has it: captured before the command starts, and again when it has ended."""
    before = kind.capture(make(folder, world, written=written, ended=False), store, None)
    return kind.capture(make(folder, world, written=False), store, before)


@pytest.mark.parametrize("there", [True, False], ids=["empty", "gone"])
def test_where_there_is_nothing_a_capture_does_not_fail(
    kind: Kind, scene: MakeScene, store: Store, tmp_path: Path, there: bool
) -> None:
    """Also for a command that is nowhere, and a run that told nothing."""
    folder = folder_of(tmp_path, "project")
    nothing = World(files={}, words=(), facts={})
    before = msgspec.structs.replace(scene(folder, nothing, ended=False), command=("no-such-program",), variables={})
    after = msgspec.structs.replace(before, trace=Trace(mechanism="none", complete=False))
    if not there:
        folder.rmdir()
    first = kind.capture(before, store, None)
    again = kind.capture(after, store, first)
    assert first.kind == again.kind == kind.KIND
    assert kind.compare(again, kind.capture(after, store, first), store) == []


def test_two_captures_of_one_state_are_equal(kind: Kind, scene: MakeScene, store: Store, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "project")
    one, two = (whole(kind, scene, folder, World(), store) for _ in range(2))
    assert one.digest == two.digest
    assert (one.trees, one.summary) == (two.trees, two.summary)
    assert kind.compare(one, two, store) == []


def test_what_was_restored_is_captured_as_the_same(kind: Kind, scene: MakeScene, store: Store, tmp_path: Path) -> None:
    recorded = {each.KIND: whole(each, scene, tmp_path / "project", World(), store) for each in KINDS}
    place = Place(project=folder_of(tmp_path, "again"), outside=tmp_path / "outside")
    for each in KINDS:
        each.restore(recorded[each.KIND], place, store)
    again = whole(kind, scene, place.project, World(), store, written=False)
    assert again.digest == recorded[kind.KIND].digest
    assert [change for change in kind.compare(recorded[kind.KIND], again, store) if change.weight == "matters"] == []


def test_a_part_compared_with_itself_shows_no_change(
    kind: Kind, scene: MakeScene, store: Store, tmp_path: Path
) -> None:
    part = whole(kind, scene, folder_of(tmp_path, "project"), World(), store)
    assert kind.compare(part, part, store) == []


def test_what_is_different_is_a_change_of_its_kind_in_both_directions(
    kind: Kind, scene: MakeScene, store: Store, tmp_path: Path
) -> None:
    one = whole(kind, scene, folder_of(tmp_path, "one-project"), World(), store)
    two = whole(kind, scene, folder_of(tmp_path, "two-project"), CHANGED[kind.KIND], store)
    assert one.digest != two.digest
    there, back = kind.compare(one, two, store), kind.compare(two, one, store)
    assert {change.kind for change in (*there, *back)} == {kind.KIND}
    assert {(c.name, c.before, c.after) for c in there} == {(c.name, c.after, c.before) for c in back}


@pytest.mark.parametrize("changed", CHANGED)
def test_what_is_different_is_seen_by_its_own_kind(
    changed: str, scene: MakeScene, store: Store, tmp_path: Path
) -> None:
    folders = [folder_of(tmp_path, name) for name in ("one-project", "two-project")]
    worlds = (World(), CHANGED[changed])
    seen = set()
    for each in KINDS:
        one, two = (whole(each, scene, *pair, store) for pair in zip(folders, worlds, strict=True))
        seen |= {each.KIND} if one.digest != two.digest else set()
    assert seen == {changed, *ALSO.get(changed, ())}


def test_a_part_that_was_kept_is_read_as_it_was(kind: Kind, scene: MakeScene, store: Store, tmp_path: Path) -> None:
    part = whole(kind, scene, folder_of(tmp_path, "project"), World(), store)
    kept = canonical(part)
    again = msgspec.json.decode(kept, type=Part)
    assert canonical(again) == kept
    assert kind.compare(part, again, store) == []
    assert all(store.has(digest) for digest in again.trees.values())
