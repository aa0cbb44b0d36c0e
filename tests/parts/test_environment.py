"""What is recorded of an environment, with real virtual environments, wheels and edits."""

import json
import os
import py_compile
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.nouns.part import Part
from bis.nouns.trace import Access, Process, Stat, Trace
from bis.parts import Report, Scene, environment, pylock
from bis.parts.installed import Installed
from bis.store.local import LocalStore
from bis.store.snapshot import walk

MakeScene = Callable[..., Scene]
Make = Callable[..., Path]


def report_of(python: Path, pid: int = 1, argv: tuple[str, ...] = ("train.py",), path: tuple[str, ...] = ()) -> Report:
    """What an interpreter says of itself: asked for real."""
    code = "import sys, json; print(json.dumps([sys.prefix, sys.base_prefix, sys.version.split()[0], sys.path]))"
    told = json.loads(subprocess.check_output([python, "-c", code]))
    whole = (*path, *filter(None, told[3]))
    return Report(
        pid=pid, executable=str(python), prefix=told[0], base_prefix=told[1], version=told[2], path=whole, argv=argv
    )


def site_of(python: Path) -> Path:
    return next(python.parent.parent.glob("lib/*/site-packages"))


@pytest.fixture
def capture(scene: MakeScene, store: LocalStore, uv_variables: dict[str, str], tmp_path: Path) -> Callable[..., Part]:
    """The environment of `python`, as if a run had reported it; keyword arguments are fields of the scene."""

    def make(
        python: Path, *more: Report, earlier: Part | None = None, path: tuple[str, ...] = (), **fields: Any
    ) -> Part:
        given = {"variables": uv_variables, "home": tmp_path / "home", "trace": Trace(mechanism="none", complete=False)}
        reports = (report_of(python, path=path), *more)
        whole = scene((str(python), "train.py"), **{**given, "reports": reports, **fields})
        return environment.capture(whole, store, earlier)

    return make


def codes(part: Part) -> set[str]:
    return {finding.code for finding in part.findings}


def packages(part: Part, store: LocalStore) -> dict[str, Installed]:
    return {item.name: item for item in pylock.packages_of(part, store)}


# -- the set -----------------------------------------------------------------------------------------------------


def test_the_set_is_what_the_interpreter_sees(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("Tiny_Tool", "1.0", {"tiny_tool.py": "x = 1"})
    make_wheel("other", "2.5+local", {"other/__init__.py": ""})
    python = make_environment(tmp_path / "env", "tiny-tool", "other")
    part = capture(python)
    assert {name: item.version for name, item in packages(part, store).items()} == {
        "tiny-tool": "1.0",
        "other": "2.5+local",
    }
    assert part.summary.startswith("Python 3.")
    assert part.summary.endswith(", 2 packages")
    assert part.facts["python"]["prefix"] == str(tmp_path / "env")


def test_the_same_wheels_elsewhere_are_the_same_environment(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"}, entry_points="[console_scripts]\ntiny = tiny:x\n")
    one = capture(make_environment(tmp_path / "one", "tiny"))
    two = capture(make_environment(tmp_path / "two", "tiny"))
    assert one.digest == two.digest
    assert environment.compare(one, two, store) == []


def test_notes_of_installers_and_byte_code_are_not_the_package(
    capture: Callable[..., Part], make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    """As pip leaves it: other notes, other scripts, compiled files, rows in another order."""
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1", "more.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    before = capture(python)
    info = site_of(python) / "tiny-1.0.dist-info"
    (info / "INSTALLER").write_text("pip")
    rows = (info / "RECORD").read_text().splitlines()
    rows = [*reversed(rows), "../../../bin/tiny,sha256=xyz,12", "__pycache__/tiny.cpython-311.pyc,,"]
    (info / "RECORD").write_bytes("\r\n".join(rows).encode())
    assert capture(python).digest == before.digest


def test_what_virtualenv_notes_of_its_seeds_is_not_the_package(
    capture: Callable[..., Part], make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    """It adds the folders of byte code, each file of theirs, and an empty file of its own, none with a hash."""
    make_wheel("tiny", "1.0", {"tiny/__init__.py": "x = 1", "more.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    before = capture(python)
    site = site_of(python)
    (site / "tiny-1.0.virtualenv").touch()
    made = ("tiny-1.0.virtualenv", "__pycache__", "tiny/__pycache__", "tiny/__init__.cpython-311.pyc")
    with (site / "tiny-1.0.dist-info" / "RECORD").open("a") as rows:
        rows.writelines(f"{path},,\n" for path in (*made, "tiny-1.0.dist-info/INSTALLER"))
    assert capture(python).digest == before.digest


def test_other_files_under_the_same_version_are_another_environment(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    one = capture(make_environment(tmp_path / "one", "tiny"))
    make_wheel("tiny", "1.0", {"tiny.py": "x = 2"})
    shutil.rmtree(tmp_path / "uv-cache")
    two = capture(make_environment(tmp_path / "two", "tiny"))
    change = environment.compare(one, two, store)[0]
    assert (change.name, change.before, change.after, change.detail) == (
        "tiny",
        "1.0",
        "1.0",
        "same version, other files",
    )


def test_changed_packages_are_named_one_by_one(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    for name, version in (("kept", "1.0"), ("gone", "1.0"), ("moved", "1.0"), ("moved", "2.0"), ("new", "3.0")):
        make_wheel(name, version, {f"{name}.py": version})
    one = capture(make_environment(tmp_path / "one", "kept", "gone", "moved==1.0"))
    two = capture(make_environment(tmp_path / "two", "kept", "moved==2.0", "new"))
    changes = {change.name: (change.before, change.after) for change in environment.compare(one, two, store)}
    assert changes.pop("prefix") == (str(tmp_path / "one"), str(tmp_path / "two"))
    assert changes == {"gone": ("1.0", None), "moved": ("1.0", "2.0"), "new": (None, "3.0")}


def test_a_notes_folder_that_cannot_be_written_costs_nothing_but_time(
    capture: Callable[..., Part], make_wheel: Make, make_environment: Make, tmp_path: Path, uv_variables: dict[str, str]
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    (tmp_path / "file").write_text("in the way")
    blocked = {**uv_variables, "XDG_CACHE_HOME": str(tmp_path / "file")}
    assert capture(python, variables=blocked).digest == capture(python).digest


def test_a_package_that_is_replaced_is_seen_although_notes_were_kept(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    python = make_environment(tmp_path / "env", "tiny")
    before = capture(python)
    assert capture(python).digest == before.digest
    record = site_of(python) / "tiny-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text().replace("tiny.py,sha256=", "tiny.py,sha256=A"))
    assert capture(python).digest != before.digest


def test_the_second_of_two_installations_is_hidden(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    make_wheel("tiny", "2.0", {"tiny.py": "x = 2"})
    first = site_of(make_environment(tmp_path / "one", "tiny==2.0"))
    part = capture(make_environment(tmp_path / "two", "tiny==1.0"), path=(str(first),))
    assert packages(part, store)["tiny"].version == "2.0"
    assert part.facts["hidden"] == ["tiny 1.0"]


def test_what_is_left_of_a_broken_installation_is_not_a_package(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    shutil.copytree(site_of(python) / "tiny-1.0.dist-info", site_of(python) / "~iny-1.0.dist-info")
    (site_of(python) / "empty-1.0.dist-info").mkdir()
    assert list(packages(capture(python), store)) == ["tiny"]


def test_an_environment_seen_through_a_mount_is_the_one_behind_it(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "real", "tiny")
    plain = capture(python)
    report = report_of(python)
    old, new = "/somewhere/else", str(tmp_path / "real")
    moved = msgspec.structs.replace(
        report,
        executable=report.executable.replace(new, old),
        prefix=old,
        path=tuple(entry.replace(new, old) for entry in report.path),
    )
    seen = capture(python, reports=(moved,), locate=lambda path: Path(str(path).replace(old, new)))
    assert seen.digest == plain.digest
    assert seen.facts["python"]["prefix"] == old


# -- packages that no index has ----------------------------------------------------------------------------------


def test_an_editable_package_is_counted_once_and_its_source_is_kept(
    capture: Callable[..., Part], store: LocalStore, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    python = make_environment(tmp_path / "env", "-e", source)
    egg = source / "src" / "libone.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: libone\nVersion: 0.9\n")
    part = capture(python, path=(str(source / "src"),))
    found = packages(part, store)
    assert {name: (item.version, item.origin) for name, item in found.items()} == {"libone": ("1.0", "editable")}
    paths = {leaf.path for leaf in walk(store, part.trees["local:libone"])}
    assert {"src/libone/__init__.py", "pyproject.toml", "backend.py"} <= paths


def test_changing_the_source_of_an_editable_package_changes_the_environment(
    capture: Callable[..., Part], store: LocalStore, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    python = make_environment(tmp_path / "env", "-e", source)
    before = capture(python)
    (source / "src" / "libone" / "__init__.py").write_text("VALUE = 2\n")
    change = environment.compare(before, capture(python), store)[0]
    assert (change.name, change.detail) == ("libone", "its source differs: src/libone/__init__.py")


def test_the_source_is_kept_by_the_rules_of_its_version_control(
    capture: Callable[..., Part], store: LocalStore, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    python = make_environment(tmp_path / "env", "-e", source)
    subprocess.run(["git", "init", "-q", source], check=True)
    (source / ".gitignore").write_text("_version.py\nnotes.txt\n*.so\n")
    for name in ("notes.txt", "src/libone/_version.py", "src/libone/fast.so", ".env", "build/x.py", "plain.txt"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("KEY=abc")
    paths = {leaf.path for leaf in walk(store, capture(python).trees["local:libone"])}
    assert {"plain.txt", "src/libone/_version.py", "src/libone/fast.so"} <= paths
    assert not paths & {"notes.txt", ".env", "build/x.py"}
    assert not any(path.startswith((".git/", ".venv/")) for path in paths)


def test_a_package_whose_source_is_the_project_is_code(
    capture: Callable[..., Part], store: LocalStore, make_source: Make, make_environment: Make, project: Path
) -> None:
    project.rmdir()
    make_source(project, "mine")
    python = make_environment(project.parent / "env", "-e", project)
    part = capture(python)
    assert packages(part, store)["mine"].origin == "project"
    assert "local:mine" not in part.trees
    (project / "src" / "mine" / "__init__.py").write_text("VALUE = 2\n")
    assert capture(python).digest == part.digest


def test_a_local_wheel_is_kept_while_it_is_there(
    capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": "x = 1"}, folder=tmp_path / "elsewhere")
    part = capture(make_environment(tmp_path / "env", wheel))
    assert store.get_bytes(part.trees["wheel:tiny"]) == wheel.read_bytes()
    assert packages(part, store)["tiny"].sha256
    assert pylock.problems(store.get_bytes(part.trees["lock"]).decode()) == ""


@pytest.mark.parametrize("what", ["gone", "another"])
def test_the_installed_files_are_kept_when_the_local_wheel_is_not_there_any_more(
    what: str, capture: Callable[..., Part], store: LocalStore, make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": "x = 1"}, folder=tmp_path / "elsewhere")
    python = make_environment(tmp_path / "env", wheel)
    if what == "gone":
        wheel.unlink()
    else:
        make_wheel("tiny", "1.0", {"tiny.py": "x = 2"}, folder=tmp_path / "elsewhere")
    part = capture(python)
    assert "wheel:tiny" not in part.trees
    assert "tiny.py" in {leaf.path for leaf in walk(store, part.trees["installed:tiny"])}


def test_a_source_that_is_gone_is_a_finding(
    capture: Callable[..., Part], make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    python = make_environment(tmp_path / "env", "-e", source)
    shutil.rmtree(source)
    finding = next(finding for finding in capture(python).findings if finding.code == "local-not-kept")
    assert str(source) in finding.text


# -- files that were opened --------------------------------------------------------------------------------------


def test_a_file_edited_in_place_is_found_and_kept(
    capture: Callable[..., Part],
    store: LocalStore,
    make_wheel: Make,
    make_environment: Make,
    reading: Callable[..., Trace],
    tmp_path: Path,
) -> None:
    make_wheel("tiny", "1.0", {"tiny/a.py": "x = 1", "tiny/b.py": "y = 1"})
    python = make_environment(tmp_path / "env", "tiny")
    files = [site_of(python) / "tiny" / name for name in ("a.py", "b.py")]
    before = capture(python, trace=reading(*files))
    assert before.facts["verified"] == 2
    assert before.facts["used"] == ["tiny"]
    files[0].unlink()
    files[0].write_text("x = 2")
    after = capture(python, trace=reading(*files))
    assert codes(after) == {"environment-edited"}
    assert after.facts["edited"] == [
        {"path": "tiny/a.py", "site": str(site_of(python)), "why": "edited", "package": "tiny"}
    ]
    assert [leaf.path for leaf in walk(store, after.trees["patched"])] == ["tiny/a.py"]
    change = environment.compare(before, after, store)[0]
    assert change.name == "tiny/a.py"
    assert change.before == "as installed"


def test_files_that_are_gone_from_a_package_in_use_are_told(
    capture: Callable[..., Part],
    make_wheel: Make,
    make_environment: Make,
    reading: Callable[..., Trace],
    tmp_path: Path,
) -> None:
    for name in ("tiny", "unused"):
        make_wheel(name, "1.0", {f"{name}/a.py": "x = 1", f"{name}/deep/b.py": "y = 1"})
    python = make_environment(tmp_path / "env", "tiny", "unused")
    trace = reading(site_of(python) / "tiny" / "a.py")
    for _ in range(2):  # once looked at, once remembered
        assert "gone" not in capture(python, trace=trace).facts
    for name in ("tiny", "unused"):
        (site_of(python) / name / "deep" / "b.py").unlink()
    after = capture(python, trace=trace)
    assert after.facts["gone"] == {"tiny": [1, "tiny/deep/b.py"]}
    assert "tiny/deep/b.py" in next(each.text for each in after.findings if each.code == "environment-incomplete")


def test_an_edit_of_the_standard_library_is_a_difference(
    capture: Callable[..., Part],
    store: LocalStore,
    make_environment: Make,
    reading: Callable[..., Trace],
    tmp_path: Path,
) -> None:
    python = make_environment(tmp_path / "env")
    library = tmp_path / "lib" / "python3.11"
    library.mkdir(parents=True)
    (library / "json.py").write_text("x = 1")
    (library / "other.py").write_text("x = 1")
    parts = []
    for text, opened in (("x = 1", "json.py"), ("x = 1", "other.py"), ("x = 2", "json.py")):
        (library / "json.py").write_text(text)
        parts.append(capture(python, trace=reading(library / opened), path=(str(library),)))
    assert environment.compare(parts[0], parts[1], store) == []
    (change,) = environment.compare(parts[0], parts[2], store)
    assert (change.name, change.weight) == ("standard library json.py", "matters")


def test_byte_code_stands_for_its_source(
    capture: Callable[..., Part],
    make_wheel: Make,
    make_environment: Make,
    reading: Callable[..., Trace],
    tmp_path: Path,
) -> None:
    make_wheel("tiny", "1.0", {"tiny/a.py": "x = 1"})
    python = make_environment(tmp_path / "env", "tiny")
    source = site_of(python) / "tiny" / "a.py"
    source.unlink()
    source.write_text("x = 2")
    cached = Path(py_compile.compile(str(source), doraise=True))
    assert codes(capture(python, trace=reading(cached))) == {"environment-edited"}


def test_a_module_put_there_by_hand_is_found_and_kept(
    capture: Callable[..., Part],
    store: LocalStore,
    make_wheel: Make,
    make_environment: Make,
    reading: Callable[..., Trace],
    tmp_path: Path,
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    (site_of(python) / "mine.py").write_text("z = 3")
    part = capture(python, trace=reading(site_of(python) / "mine.py"))
    assert part.facts["edited"][0]["why"] == "foreign"
    assert [leaf.path for leaf in walk(store, part.trees["patched"])] == ["mine.py"]


def test_files_that_the_run_itself_made_are_no_edits(
    capture: Callable[..., Part], make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    made = site_of(python) / "__pycache__" / "tiny.cpython-311.pyc"
    trace = Trace(mechanism="notify", complete=True, accesses=(Access(path=str(made), how="cwr"),))
    assert codes(capture(python, trace=trace)) == set()


def test_a_namespace_shared_by_two_packages_is_told_apart(
    capture: Callable[..., Part],
    make_wheel: Make,
    make_environment: Make,
    reading: Callable[..., Trace],
    tmp_path: Path,
) -> None:
    make_wheel("space_a", "1.0", {"space/a.py": ""})
    make_wheel("space_b", "1.0", {"space/b.py": ""})
    make_wheel("unused", "1.0", {"unused.py": ""})
    python = make_environment(tmp_path / "env", "space-a", "space-b", "unused")
    assert capture(python, trace=reading(site_of(python) / "space" / "b.py")).facts["used"] == ["space-b"]


def test_an_edit_is_still_found_after_the_file_was_found_right(
    capture: Callable[..., Part],
    make_wheel: Make,
    make_environment: Make,
    reading: Callable[..., Trace],
    tmp_path: Path,
) -> None:
    """Same size, times set back: only the time of the status change tells."""
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    python = make_environment(tmp_path / "env", "tiny")
    file = site_of(python) / "tiny.py"
    assert codes(capture(python, trace=reading(file))) == set()
    status = file.stat()
    with file.open("r+") as handle:
        handle.write("x = 2")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert codes(capture(python, trace=reading(file))) == {"environment-edited"}


# -- which interpreter -------------------------------------------------------------------------------------------


def test_a_command_without_python_is_a_finding_not_an_error(scene: MakeScene, store: LocalStore) -> None:
    part = environment.capture(scene(("ls", "-l")), store)
    assert codes(part) == {"no-python"}
    assert part.facts["program"]["digest"].startswith("b3:")
    assert pylock.packages_of(part, store) == ()
    other = environment.capture(scene(("cat",)), store)
    assert environment.compare(part, other, store)


def test_a_missing_command_is_recorded_without_complaint(scene: MakeScene, store: LocalStore) -> None:
    assert environment.capture(scene(("no-such-program",)), store).facts["program"]["digest"] == ""


def test_before_the_run_the_interpreter_is_guessed_and_the_guess_is_right(
    scene: MakeScene,
    store: LocalStore,
    make_wheel: Make,
    make_environment: Make,
    capture: Callable[..., Part],
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    guessed = environment.capture(scene((str(python), "x.py"), variables=uv_variables), store)
    assert guessed.facts["guessed"] is True
    after = capture(python, earlier=guessed)
    assert "guessed" not in after.facts
    assert after.digest == guessed.digest


def test_a_second_environment_of_the_run_is_a_finding(
    capture: Callable[..., Part], make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    one, two = make_environment(tmp_path / "one"), make_environment(tmp_path / "two", "tiny")
    part = capture(one, report_of(two, pid=2))
    assert codes(part) == {"several-interpreters"}
    assert [row["executable"] for row in part.facts["others"]] == [str(two)]
    assert part.digest != capture(one).digest


def test_the_environment_of_the_command_counts_not_that_of_its_launcher(
    capture: Callable[..., Part], make_environment: Make, tmp_path: Path
) -> None:
    launcher, worker = make_environment(tmp_path / "launcher"), make_environment(tmp_path / "worker")
    reports = (report_of(launcher, pid=1, argv=("/x/bin/poetry", "run")), report_of(worker, pid=2))
    part = capture(worker, reports=reports)
    assert part.facts["python"]["prefix"] == str(tmp_path / "worker")
    assert "others" not in part.facts


def test_an_interpreter_that_does_not_tell_of_itself_is_read_from_its_files(
    scene: MakeScene, store: LocalStore, make_environment: Make, uv_variables: dict[str, str], tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "env")
    process = Process(pid=5, executable=os.path.realpath(python), argv=(str(python), "-I", "x.py"))
    trace = Trace(mechanism="notify", complete=True, processes=(process,))
    part = environment.capture(scene(("sh", "x.sh"), variables=uv_variables, trace=trace), store)
    assert codes(part) == {"silent-interpreter"}
    assert part.facts["python"]["prefix"] == str(tmp_path / "env")


def test_a_run_that_installs_is_a_finding(
    capture: Callable[..., Part], make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env")
    before = capture(python)
    make_environment(tmp_path / "env", "tiny")
    after = capture(python, earlier=before)
    assert after.facts["changed"] == ["tiny not there -> 1.0"]
    assert "environment-changed" in codes(after)


# -- system and conda --------------------------------------------------------------------------------------------


def test_packages_of_the_operating_system_are_known_by_their_metadata(
    capture: Callable[..., Part], store: LocalStore, make_environment: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    folder.mkdir(parents=True)
    (folder / "oldie-3.1.egg-info").write_text("Metadata-Version: 2.1\nName: oldie\nVersion: 3.1\n")
    part = capture(make_environment(tmp_path / "env"), path=(str(folder),))
    item = packages(part, store)["oldie"]
    assert (item.version, item.origin, item.proof) == ("3.1", "system", "metadata")
    assert "fixed-packages" in codes(part)


def test_what_conda_lists_is_part_of_the_environment(
    capture: Callable[..., Part], store: LocalStore, make_environment: Make, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "env")
    meta = tmp_path / "env" / "conda-meta"
    meta.mkdir()
    told = {"build": "h1_0", "channel": "https://me:word@host.example/t/secret-token/main/linux-64", "name": "mkl"}
    (meta / "mkl-2024.1-h1_0.json").write_text(json.dumps(told))
    report = msgspec.structs.replace(report_of(python), base_prefix=str(tmp_path / "env"))
    one = capture(python, reports=(report,))
    assert one.facts["conda"] == [
        {"name": "mkl", "version": "2024.1", "build": "h1_0", "channel": "https://host.example/main/linux-64"}
    ]
    (meta / "mkl-2024.1-h1_0.json").rename(meta / "mkl-2024.2-h1_0.json")
    two = capture(python, reports=(report,))
    assert [change.name for change in environment.compare(one, two, store)] == ["conda"]


# -- secrets -----------------------------------------------------------------------------------------------------


def test_no_credential_of_an_index_reaches_the_record(
    capture: Callable[..., Part],
    store: LocalStore,
    make_wheel: Make,
    make_environment: Make,
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", wheel)
    told = {"url": "https://ana:hunter2@host.example/tiny-1.0-py3-none-any.whl?key=hunter2", "archive_info": {}}
    (site_of(python) / "tiny-1.0.dist-info" / "direct_url.json").write_text(json.dumps(told))
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://ana:hunter2@host.example/simple?key=hunter2\n")
    variables = {**uv_variables, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    variables["UV_INDEX"] = "corp=https://ana:hunter2@other.example/simple"
    part = capture(python, variables=variables)
    held = msgspec.json.encode(part) + store.get_bytes(part.trees["lock"])
    assert b"hunter2" not in held
    assert b"host.example/simple" in held
    assert b"other.example/simple" in held


# -- the lock ----------------------------------------------------------------------------------------------------


def test_an_artifact_that_the_cache_of_uv_proves_makes_a_valid_lock(
    capture: Callable[..., Part],
    store: LocalStore,
    make_wheel: Make,
    make_environment: Make,
    uv_variables: dict[str, str],
    tmp_path: Path,
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(tmp_path / "env", "tiny")
    assert pylock.problems(store.get_bytes(capture(python).trees["lock"]).decode())
    entry = tmp_path / "cache" / "wheels-v6" / "pypi" / "tiny" / "1.0-py3-none-any"
    shutil.copytree(site_of(python), entry)
    address = "https://files.example/tiny-1.0-py3-none-any.whl"
    entry.with_name(entry.name + ".http").write_bytes(b"\x95\xa6Sha256\xd9@" + b"ab" * 32 + b"\xd9" + address.encode())
    shutil.rmtree(tmp_path / "home" / ".cache")
    part = capture(python, variables={**uv_variables, "UV_CACHE_DIR": str(tmp_path / "cache")})
    item = packages(part, store)["tiny"]
    assert (item.sha256, item.url, item.archive) == ("ab" * 32, address, "tiny-1.0-py3-none-any.whl")
    assert pylock.problems(store.get_bytes(part.trees["lock"]).decode()) == ""


def test_a_file_as_it_was_when_opened_is_what_counts(
    capture: Callable[..., Part], make_wheel: Make, make_environment: Make, tmp_path: Path
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1"})
    python = make_environment(tmp_path / "env", "tiny")
    file = site_of(python) / "tiny.py"
    before = Stat(5, 1, 1, 1)
    file.unlink()
    file.write_text("x = 2")
    access = Access(path=str(file), how="r", before=before)
    part = capture(python, trace=Trace(mechanism="notify", complete=True, accesses=(access,)))
    assert part.facts["edited"][0]["why"] == "changed"


def test_a_checkout_is_recorded_with_its_commit_and_its_files(
    capture: Callable[..., Part], store: LocalStore, make_source: Make, make_environment: Make, tmp_path: Path
) -> None:
    source = make_source(tmp_path / "lib", "libone")
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    part = capture(make_environment(tmp_path / "env", f"libone @ git+file://{source}"))
    item = packages(part, store)["libone"]
    assert (item.origin, item.commit, item.url) == ("vcs", commit, f"git+file://{source}")
    assert "libone/__init__.py" in {leaf.path for leaf in walk(store, part.trees["installed:libone"])}
