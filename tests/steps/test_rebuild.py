"""Environments rebuilt with uv from wheels written by the test; no network."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.digest import Digest
from bis.errors import CannotRepeat, KeepingError
from bis.nouns.part import Part
from bis.nouns.trace import Access, Stat, Trace
from bis.parts import Report, Scene, environment
from bis.parts.interpreter import Interpreter
from bis.settings import Settings
from bis.steps.pythons import find_python
from bis.steps.rebuild import MARKER, Rebuilt, rebuild
from bis.store.local import LocalStore, open_store

Make = Callable[..., Path]
Capture = Callable[..., Part]
Build = Callable[..., Rebuilt]
BUILDER = """
import os, sys
from pathlib import Path
import msgspec
from bis.nouns.part import Part
from bis.steps.rebuild import rebuild
from bis.store.local import open_store
top = Path(sys.argv[1])
part = msgspec.json.decode((top / "part.json").read_bytes(), type=Part)
told = {"UV_CACHE_DIR": str(top / "uv-cache"), "UV_NO_CONFIG": "1", "UV_FIND_LINKS": str(top / "wheels")}
told |= {"UV_DEFAULT_INDEX": (top / "no-index").as_uri(), "PATH": "/usr/bin:/bin", "PIP_CONFIG_FILE": os.devnull}
rebuild(part, open_store(top / "store"), top / "cache", variables=told, home=top / "home")
"""
HERE = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(tmp_path / "store")


@pytest.fixture
def capture(store: LocalStore, uv_variables: dict[str, str], tmp_path: Path) -> Capture:
    """The environment of an interpreter that ran, asked for real."""

    def make(python: Path, *opened: Path, project: Path | None = None, **changed: Any) -> Part:
        code = (
            "import sys, json; print(json.dumps([sys.prefix, sys.base_prefix, sys.version.split()[0], sys.path[1:]]))"
        )
        told = json.loads(subprocess.check_output([python, "-c", code], env={"PATH": "/usr/bin"}))
        fields = {"prefix": told[0], "base_prefix": told[1], "version": told[2], "path": tuple(told[3]), **changed}
        report = Report(pid=1, executable=str(python), **fields)
        trace = Trace(mechanism="notify", complete=True, accesses=tuple(_access(path) for path in opened))
        scene = Scene(
            project=project or tmp_path / "project",
            folder=project or tmp_path / "project",
            command=(str(python), "x.py"),
            variables=uv_variables,
            settings=Settings(),
            home=tmp_path / "home",
            trace=trace,
            reports=(report,),
        )
        return environment.capture(scene, store)

    return make


def _access(path: Path) -> Access:
    status = path.stat()
    before = Stat(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
    return Access(path=str(path), how="r", before=before)


@pytest.fixture
def build(store: LocalStore, uv_variables: dict[str, str], tmp_path: Path) -> Build:
    def make(part: Part, **fields: Any) -> Rebuilt:
        given = {"variables": uv_variables, "home": tmp_path / "home", **fields}
        return rebuild(part, store, tmp_path / "cache", **given)

    return make


def site_of(python: Path) -> Path:
    return next(python.parent.parent.glob("lib/*/site-packages"))


def say(python: Path, code: str) -> str:
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"})
    return answer.stdout.strip()


def codes(rebuilt: Rebuilt) -> set[str]:
    return {finding.code for finding in rebuilt.findings}


# -- the same environment ----------------------------------------------------------------------------------------


def test_a_rebuilt_environment_is_proved_to_be_the_recorded_one(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 'hello'"})
    make_wheel("other", "2.0+cpu", {"other/__init__.py": ""})
    part = capture(make_environment(tmp_path / "env", "tiny", "other"))
    shutil.rmtree(tmp_path / "env")
    rebuilt = build(part)
    assert (rebuilt.how, rebuilt.packages, rebuilt.proved, rebuilt.findings) == ("built", 2, 2, ())
    assert rebuilt.at == str(tmp_path / "env")
    assert say(rebuilt.python, "import tiny; print(tiny.x)") == "hello"
    assert capture(rebuilt.python).digest == part.digest


def test_an_environment_is_built_once(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    first = build(part)
    shutil.rmtree(tmp_path / "wheels")
    shutil.rmtree(tmp_path / "uv-cache")
    second = build(part)
    assert (second.how, second.prefix, second.proved) == ("cached", first.prefix, first.proved)


def test_an_environment_without_packages_can_be_rebuilt(
    capture: Capture, build: Build, make_environment: Make, tmp_path: Path
) -> None:
    part = capture(make_environment(tmp_path / "env"))
    assert build(part).packages == 0


def test_commands_work_wherever_the_environment_is_moved_to(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    code = {"tiny.py": "def main():\n    print('tiny works')\n"}
    make_wheel("tiny", "1.0", code, entry_points="[console_scripts]\ntiny = tiny:main\n")
    rebuilt = build(capture(make_environment(tmp_path / "env", "tiny")))
    shutil.move(rebuilt.prefix, tmp_path / "moved")
    answer = subprocess.check_output([tmp_path / "moved" / "bin" / "tiny"], env={"PATH": "/usr/bin:/bin"})
    assert answer == b"tiny works\n"


def test_nothing_of_what_the_person_has_set_leaks_into_the_build(
    capture: Capture,
    build: Build,
    make_wheel: Make,
    make_environment: Make,
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    hostile = {"VIRTUAL_ENV": "/nowhere", "PYTHONPATH": "/x", "UV_EXCLUDE_NEWER": "2001-01-01", "UV_PYTHON": "2.7"}
    hostile |= {"UV_CONSTRAINT": "/no/such/file", "UV_TARGET": "/x", "UV_REQUIRE_HASHES": "1"}
    assert build(part, variables={**uv_variables, **hostile}).proved == 1


def test_a_run_without_python_needs_no_environment(build: Build) -> None:
    part = Part(kind="environment", digest=Digest("b3:0"), facts={"program": {}})
    assert build(part).how == "none"


# -- what cannot be had ------------------------------------------------------------------------------------------


def test_every_package_that_cannot_be_had_is_named(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    for name in ("kept", "lost", "gone"):
        make_wheel(name, "1.0", {f"{name}.py": ""})
    part = capture(make_environment(tmp_path / "env", "kept", "lost", "gone"))
    shutil.rmtree(tmp_path / "uv-cache")
    for name in ("lost", "gone"):
        (tmp_path / "wheels" / f"{name}-1.0-py3-none-any.whl").unlink()
    shutil.rmtree(tmp_path / "env")
    with pytest.raises(CannotRepeat) as caught:
        build(part, run="7f3a")
    assert {"lost 1.0", "gone 1.0"} == set(caught.value.what.partition(" cannot")[0].split(", "))
    assert str(tmp_path / "wheels") in caught.value.because
    assert "bis repeat 7f3a" in caught.value.hint
    assert not list((tmp_path / "cache").glob("*/" + MARKER))
    assert not list((tmp_path / "cache").glob(".building-*"))


def test_an_index_that_cannot_be_asked_is_another_trouble_than_a_missing_package(
    capture: Capture,
    build: Build,
    make_wheel: Make,
    make_environment: Make,
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    shutil.rmtree(tmp_path / "uv-cache")
    wheel.unlink()
    shutil.rmtree(tmp_path / "env")
    unreachable = {**uv_variables, "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(KeepingError, match="could not be asked") as caught:
        build(part, variables=unreachable)
    assert "127.0.0.1:9" in caught.value.because


def test_another_wheel_under_the_same_version_is_a_finding(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    make_wheel("tiny", "1.0", {"tiny.py": "x = 2"})
    shutil.rmtree(tmp_path / "uv-cache")
    shutil.rmtree(tmp_path / "env")
    said: list[str] = []
    rebuilt = build(part, progress=said.append)
    assert (rebuilt.proved, codes(rebuilt)) == (0, {"other-files"})
    assert "tiny 1.0" in rebuilt.findings[0].text
    assert said[0].endswith("with 1 package")


# -- where it was recorded ---------------------------------------------------------------------------------------


def test_what_no_index_has_is_copied_from_where_it_was_recorded(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    say_hello = {"entry_points": "[console_scripts]\nlost-say = lost:say\n"}
    make_wheel("kept", "1.0", {"kept.py": "x = 1"})
    make_wheel("lost", "1.0", {"lost.py": "def say(): print('hello')"}, **say_hello)
    part = capture(make_environment(tmp_path / "env", "kept", "lost"))
    shutil.rmtree(tmp_path / "uv-cache")
    (tmp_path / "wheels" / "lost-1.0-py3-none-any.whl").unlink()
    rebuilt = build(part)
    assert (rebuilt.proved, codes(rebuilt)) == (2, {"copied"})
    assert say(rebuilt.python, "import kept; print(kept.x)") == "1"
    assert subprocess.check_output([rebuilt.prefix / "bin" / "lost-say"], text=True) == "hello\n"


def test_what_was_edited_where_it_was_recorded_is_not_copied(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("lost", "1.0", {"lost.py": "x = 1"})
    python = make_environment(tmp_path / "env", "lost")
    part = capture(python)
    shutil.rmtree(tmp_path / "uv-cache")
    (tmp_path / "wheels" / "lost-1.0-py3-none-any.whl").unlink()
    file = site_of(python) / "lost.py"
    file.unlink()
    file.write_text("x = 2")
    with pytest.raises(CannotRepeat, match=r"lost 1\.0"):
        build(part)


def test_what_was_edited_before_the_run_is_copied_around_the_edit(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("lost", "1.0", {"lost.py": "x = 1", "more.py": "y = 1"})
    python = make_environment(tmp_path / "env", "lost")
    shutil.rmtree(tmp_path / "uv-cache")
    (tmp_path / "wheels" / "lost-1.0-py3-none-any.whl").unlink()
    file = site_of(python) / "lost.py"
    file.unlink()
    file.write_text("x = 2")
    part = capture(python, file)
    file.write_text("x = 3")
    rebuilt = build(part)
    assert (rebuilt.proved, codes(rebuilt)) == (1, {"copied"})
    assert say(rebuilt.python, "import lost, more; print(lost.x, more.y)") == "2 1"


def test_what_cannot_be_had_is_left_out_where_the_run_did_not_use_it(
    capture: Capture,
    build: Build,
    make_wheel: Make,
    make_environment: Make,
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    make_wheel("lost", "1.0", {"lost.py": "x = 1"})
    make_wheel("unused", "1.0", {"unused.py": "y = 1"})
    python = make_environment(tmp_path / "env", "lost", "unused")
    part = capture(python, site_of(python) / "lost.py")
    shutil.rmtree(tmp_path / "uv-cache")
    for wheel in (tmp_path / "wheels").iterdir():
        wheel.unlink()
    file = site_of(python) / "unused.py"
    file.unlink()
    file.write_text("y = 2")
    unreachable = {**uv_variables, "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    rebuilt = build(part, variables=unreachable)
    assert (rebuilt.proved, codes(rebuilt)) == (1, {"copied", "left-out"})
    assert "unused 1.0" in rebuilt.findings[-1].text
    assert say(rebuilt.python, "import lost; print(lost.x)") == "1"


def test_another_build_of_the_version_gives_way_to_the_recorded_files(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    make_wheel("tiny", "1.0", {"tiny.py": "x = 2", "more.py": ""})
    shutil.rmtree(tmp_path / "uv-cache")
    rebuilt = build(part)
    assert (rebuilt.proved, codes(rebuilt)) == (1, {"copied"})
    assert say(rebuilt.python, "import tiny; print(tiny.x)") == "1"
    assert not list(rebuilt.prefix.glob("lib/*/site-packages/more.py"))


def test_another_build_stays_where_the_recorded_files_are_not_whole_any_more(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    """With nothing in its place the repeat would fail for the lack of a package."""
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1", "rest.py": "y = 1"})
    python = make_environment(tmp_path / "env", "tiny")
    part = capture(python)
    make_wheel("tiny", "1.0", {"tiny.py": "x = 2"})
    shutil.rmtree(tmp_path / "uv-cache")
    (site_of(python) / "rest.py").unlink()
    rebuilt = build(part)
    assert (rebuilt.proved, codes(rebuilt)) == (0, {"other-files"})
    assert say(rebuilt.python, "import tiny; print(tiny.x)") == "2"
    assert sorted(path.name for path in site_of(rebuilt.python).iterdir() if "tiny" in path.name) == [
        "tiny-1.0.dist-info",
        "tiny.py",
    ]


def test_an_index_that_has_the_recorded_wheel_is_found_among_several(
    capture: Capture,
    build: Build,
    make_wheel: Make,
    make_environment: Make,
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    """As pip chooses among all its indexes, and uv takes the first that has the version."""
    for name, value in (("main", 1), ("extra", 2)):
        wheel = make_wheel("tiny", "1.0", {"tiny.py": f"x = {value}"}, folder=tmp_path / name / "tiny")
        (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    make_environment(tmp_path / "env", tmp_path / "extra" / "tiny" / "tiny-1.0-py3-none-any.whl")
    info = next(site_of(tmp_path / "env" / "bin" / "python").glob("*.dist-info"))
    (info / "direct_url.json").unlink()
    part = capture(tmp_path / "env" / "bin" / "python")
    shutil.rmtree(tmp_path / "uv-cache")
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = file://{tmp_path}/main\nextra-index-url = file://{tmp_path}/extra\n"
    )
    variables = {key: value for key, value in uv_variables.items() if key not in ("UV_DEFAULT_INDEX", "UV_FIND_LINKS")}
    rebuilt = build(part, variables={**variables, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})
    assert say(rebuilt.python, "import tiny; print(tiny.x)") == "2"
    assert rebuilt.proved == 1


# -- interpreters ------------------------------------------------------------------------------------------------


def recorded_with(part: Part, version: str, **fields: str) -> Part:
    python = {**part.facts["python"], "version": version, "real": "", "base_prefix": "/gone", **fields}
    return msgspec.structs.replace(part, facts={**part.facts, "python": python})


def test_a_version_that_is_not_here_is_named_with_those_that_are(
    capture: Capture, build: Build, make_environment: Make, tmp_path: Path
) -> None:
    part = recorded_with(capture(make_environment(tmp_path / "env")), "3.11.99")
    with pytest.raises(CannotRepeat) as caught:
        build(part, run="7f3a")
    assert "3.11.99" in caught.value.what
    assert HERE in caught.value.because
    assert "uv python install 3.11.99" in caught.value.hint
    assert f"bis repeat 7f3a --python {HERE}" in caught.value.hint or sys.version_info[:2] != (3, 11)


def test_another_version_is_taken_only_when_asked_for_and_never_in_silence(
    capture: Capture, build: Build, make_environment: Make, tmp_path: Path
) -> None:
    part = recorded_with(capture(make_environment(tmp_path / "env")), "3.9.99")
    minor = ".".join(HERE.split(".")[:2])
    rebuilt = build(part, python=minor)
    assert rebuilt.version.startswith(minor)
    assert [finding.blocks for finding in rebuilt.findings if finding.code == "other-python"] == [True]


@pytest.mark.parametrize(("recorded", "loaded"), [("cpython-39-x86_64-linux-gnu", "2"), ("", "1")])
def test_what_was_compiled_for_the_recorded_version_is_not_copied_for_another(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path, recorded: str, loaded: str
) -> None:
    """Its files have the name of that interpreter, and no other one loads them."""
    make_wheel("tiny", "1.0", {"tiny/__init__.py": "x = 1", "tiny/fast.cpython-39-x86_64-linux-gnu.so": ""})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    make_wheel("tiny", "1.0", {"tiny/__init__.py": "x = 2"})
    shutil.rmtree(tmp_path / "uv-cache")
    part = recorded_with(part, "3.9.99", **({"abi": recorded} if recorded else {}))
    rebuilt = build(part, python=".".join(HERE.split(".")[:2]))
    assert say(rebuilt.python, "import tiny; print(tiny.x)") == loaded
    assert ("copied" in codes(rebuilt)) == (loaded == "1")


def test_an_interpreter_for_another_processor_does_not_fit(tmp_path: Path) -> None:
    recorded = Interpreter(version=HERE, abi="cpython-399-m68k-linux-gnu", implementation="cpython")
    with pytest.raises(CannotRepeat, match=HERE):
        find_python(recorded, None, {"PATH": os.environ["PATH"]}, tmp_path)


# -- from the store ----------------------------------------------------------------------------------------------


def test_a_local_wheel_comes_from_the_store(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": "x = 1"}, folder=tmp_path / "elsewhere")
    part = capture(make_environment(tmp_path / "env", wheel))
    shutil.rmtree(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "uv-cache")
    rebuilt = build(part)
    assert (rebuilt.proved, say(rebuilt.python, "import tiny; print(tiny.x)")) == (1, "1")


def test_a_package_from_a_folder_comes_from_the_store_with_its_commands(
    capture: Capture, build: Build, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    (source / "src" / "libone" / "__init__.py").write_text("def say():\n    print('libone works')\n")
    part = capture(make_environment(tmp_path / "env", source))
    shutil.rmtree(source)
    shutil.rmtree(tmp_path / "uv-cache")
    rebuilt = build(part)
    assert rebuilt.proved == 1
    answer = subprocess.check_output([rebuilt.prefix / "bin" / "libone-say"], env={"PATH": "/usr/bin:/bin"})
    assert answer == b"libone works\n"


def test_an_editable_package_is_imported_from_its_restored_source(
    capture: Capture, build: Build, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    part = capture(make_environment(tmp_path / "env", "-e", source))
    (source / "src" / "libone" / "__init__.py").write_text("VALUE = 2\n")
    rebuilt = build(part)
    assert say(rebuilt.python, "import libone; print(libone.VALUE)") == "1"
    assert list(rebuilt.sources) == [str(source)]
    restored = Path(rebuilt.sources[str(source)])
    assert say(rebuilt.python, "import libone; print(libone.__file__)") == f"{restored}/src/libone/__init__.py"
    pointing = site_of(rebuilt.python) / "__editable__.libone.pth"
    assert capture(rebuilt.python, pointing).digest == part.digest


def test_a_restored_source_that_somebody_changed_is_restored_again(
    capture: Capture, build: Build, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    part = capture(make_environment(tmp_path / "env", "-e", source))
    restored = Path(build(part).sources[str(source)])
    (restored / "src" / "libone" / "__init__.py").write_text("VALUE = 3\n")
    (restored / "src" / "libone" / "more.py").write_text("")
    rebuilt = build(part)
    assert rebuilt.how == "cached"
    assert say(rebuilt.python, "import libone; print(libone.VALUE)") == "1"
    assert not (restored / "src" / "libone" / "more.py").exists()


def test_with_original_paths_an_editable_package_stays_where_it_was(
    capture: Capture, build: Build, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    python = make_environment(tmp_path / "env", "-e", source)
    rebuilt = build(capture(python), original_paths=True)
    pth = "__editable__.libone.pth"
    assert (site_of(rebuilt.python) / pth).read_text() == (site_of(python) / pth).read_text()
    assert rebuilt.sources[str(source)].startswith(str(tmp_path / "cache"))


def test_a_project_installed_into_its_own_environment_is_imported_from_where_it_is_restored(
    capture: Capture, build: Build, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    project = make_source(tmp_path / "project", "mine")
    part = capture(make_environment(tmp_path / "env", "-e", project), project=project)
    for name in ("again", "once-more"):
        shutil.copytree(project, tmp_path / name)
        rebuilt = build(part, project=tmp_path / name)
        assert say(rebuilt.python, "import mine; print(mine.__file__)") == f"{tmp_path}/{name}/src/mine/__init__.py"
        assert capture(rebuilt.python, project=tmp_path / name).digest == part.digest
        shutil.rmtree(tmp_path / name)
    assert len(list((tmp_path / "cache").glob("*/" + MARKER))) == 1, "one for a project that is gone stays behind"


def test_files_edited_in_place_are_put_over_what_was_installed(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    python = make_environment(tmp_path / "env", "tiny")
    clean = capture(python)
    for name, text in (("tiny.py", "x = 2"), ("by_hand.py", "y = 3")):
        (site_of(python) / name).unlink(missing_ok=True)
        (site_of(python) / name).write_text(text)
    part = capture(python, site_of(python) / "tiny.py", site_of(python) / "by_hand.py")
    rebuilt = build(part)
    assert say(rebuilt.python, "import tiny, by_hand; print(tiny.x, by_hand.y)") == "2 3"
    site = site_of(rebuilt.python)
    assert capture(rebuilt.python, site / "tiny.py", site / "by_hand.py").digest == part.digest
    assert say(build(clean).python, "import tiny; print(tiny.x)") == "1", "uv's cache was written through"


def test_an_edit_that_reached_the_cache_of_uv_is_not_taken_for_the_package(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    """Environments share their files with uv's cache: writing into one can change it, and all others."""
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    cached = list((tmp_path / "uv-cache").rglob("tiny.py"))
    assert cached
    for file in cached:
        with file.open("w") as handle:
            handle.write("x = 2  # longer")
    rebuilt = build(part)
    assert say(rebuilt.python, "import tiny; print(tiny.x)") == "1"
    assert rebuilt.findings == ()


# -- many at once, and killed ------------------------------------------------------------------------------------


def test_builders_of_the_same_environment_at_once_share_one(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    answers: list[Rebuilt] = []
    threads = [threading.Thread(target=lambda: answers.append(build(part))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.how for answer in answers) == ["built", "cached", "cached", "cached"]
    assert len({answer.prefix for answer in answers}) == 1


def test_what_a_killed_builder_left_is_cleared_away(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    rebuilt = build(part)
    left = tmp_path / "cache" / f".building-{rebuilt.prefix.name}-1-abcd"
    rebuilt.prefix.rename(left)
    (left / MARKER).unlink()
    assert build(part).how == "built"
    assert not left.exists()


def test_builders_may_be_killed_at_any_moment(
    capture: Capture,
    store: LocalStore,
    make_wheel: Make,
    make_environment: Make,
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    """Other processes, killed while they build; the last one, left alone, still gets a whole environment."""
    make_wheel("tiny", "1.0", {f"tiny/m{number}.py": "x = 1\n" * 50 for number in range(300)})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    store.flush()
    store.close()
    (tmp_path / "part.json").write_bytes(msgspec.json.encode(part))
    for after in (0.3, 0.5, 0.7):
        with subprocess.Popen([sys.executable, "-c", BUILDER, str(tmp_path)], env={"PATH": "/usr/bin:/bin"}) as builder:
            with contextlib.suppress(subprocess.TimeoutExpired):
                builder.wait(after)
            builder.kill()
    opened = open_store(tmp_path / "store")
    rebuilt = rebuild(part, opened, tmp_path / "cache", variables=uv_variables, home=tmp_path / "home")
    assert rebuilt.proved == 1
    assert len(list(site_of(rebuilt.python).glob("tiny/m*.py"))) == 300
    assert not list((tmp_path / "cache").glob(".building-*"))


def test_a_folder_that_cannot_be_written_is_told_as_such(
    build: Build, capture: Capture, make_environment: Make, tmp_path: Path
) -> None:
    part = capture(make_environment(tmp_path / "env"))
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(KeepingError, match="cannot build an environment in"):
        build(part)


@pytest.mark.parametrize("damage", ["marker", "package", "interpreter"])
def test_a_damaged_environment_is_built_anew(
    damage: str, capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    part = capture(make_environment(tmp_path / "env", "tiny"))
    rebuilt = build(part)
    if damage == "marker":
        (rebuilt.prefix / MARKER).write_text("{")
    elif damage == "package":
        shutil.rmtree(site_of(rebuilt.python) / "tiny-1.0.dist-info")
    else:
        rebuilt.python.unlink()
    again = build(part)
    assert (again.how, again.proved) == ("built", 1)
    assert say(again.python, "import tiny; print('here')") == "here"


# -- what uv cannot rebuild --------------------------------------------------------------------------------------


def test_an_environment_of_conda_is_used_as_it_is_while_it_is_the_recorded_one(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    (tmp_path / "env" / "conda-meta").mkdir()
    (tmp_path / "env" / "conda-meta" / "mkl-2024.1-0.json").write_text("{}")
    part = capture(python, base_prefix=str(tmp_path / "env"))
    assert part.facts["python"]["origin"] == "conda"
    rebuilt = build(part)
    assert (rebuilt.how, rebuilt.python, codes(rebuilt)) == ("as-is", python, {"used-as-is"})
    (tmp_path / "env" / "conda-meta" / "mkl-2024.1-0.json").rename(
        tmp_path / "env" / "conda-meta" / "mkl-2024.2-0.json"
    )
    with pytest.raises(CannotRepeat, match="made by conda and has changed"):
        build(part)
    shutil.rmtree(tmp_path / "env")
    with pytest.raises(CannotRepeat, match="is not here"):
        build(part)


def test_packages_of_the_operating_system_that_are_not_here_are_named_unless_unused(
    capture: Capture, build: Build, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    folder = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    folder.mkdir(parents=True)
    (folder / "oldie-3.1.egg-info").write_text("Metadata-Version: 2.1\nName: oldie\nVersion: 3.1\n")
    (folder / "top_level.txt").write_text("oldie")
    path = (str(site_of(python)), str(folder))
    part = capture(python, site_of(python) / "tiny.py", path=path)
    rebuilt = build(part)
    assert codes(rebuilt) == {"left-out"}
    used = msgspec.structs.replace(part, facts={**part.facts, "used": ["oldie", "tiny"]})
    with pytest.raises(CannotRepeat, match=r"oldie 3\.1"):
        build(used)
