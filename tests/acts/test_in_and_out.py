"""What goes into a run and comes out of it beside what it reads and writes: removals, modes, names."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.nouns.run import Run

Bis = Callable[..., subprocess.CompletedProcess[str]]
Verdict = Callable[[subprocess.CompletedProcess[str]], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("python3", "room", "kernel_trace")


@pytest.fixture
def elsewhere(project: Path) -> Iterator[Path]:
    """A folder outside the project, and outside those for temporary files."""
    folder = Path.home() / "bis-elsewhere" if os.geteuid() else Path("/opt/bis-elsewhere")
    folder = folder.with_name(f"{folder.name}-{os.getpid()}")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def record(bis: Bis, project: Path, source: str, **more: Any) -> None:
    (project / "a.py").write_text(source)
    done = bis("run", "--", "python3", "a.py", **more)
    assert done.returncode == 0, done.stderr


def repeated(bis: Bis, verdict: Verdict) -> dict[str, Any]:
    return verdict(bis("repeat", "@", "--json"))


def words(found: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["sameness"] for one in found["outputs"]}


# -- what is removed ---------------------------------------------------------------------------------------------


def test_what_a_run_removes_is_a_result_of_it(
    bis: Bis, project: Path, last: Callable[[], Run], verdict: Verdict
) -> None:
    (project / "old").mkdir()
    (project / "old" / "a.ckpt").write_bytes(bytes(2 << 20))
    (project / "raw.csv").write_text("5\n")
    source = "import os, shutil; shutil.rmtree('old'); os.rename('raw.csv', 'work.csv'); print(open('work.csv').read())"
    record(bis, project, source + "; open('own', 'w'); os.remove('own')")
    assert last().removed == ("old/a.ckpt", "raw.csv")
    assert "old/a.ckpt" in bis("show", "@").stdout
    (project / "work.csv").unlink()
    found = repeated(bis, verdict)
    assert found["sameness"] == "identical", found
    assert words(found) == {
        "<stdout>": "identical",
        "work.csv": "identical",
        "old/a.ckpt": "identical",
        "raw.csv": "identical",
    }


def test_a_repeat_that_does_not_remove_it_is_different(
    bis: Bis, project: Path, verdict: Verdict, tmp_path: Path
) -> None:
    (project / "old.csv").write_text("1")
    switch = tmp_path / "switch"
    record(bis, project, f"import os; print(1); os.path.exists('{switch}') or os.remove('old.csv')")
    switch.touch()
    found = repeated(bis, verdict)
    assert (found["sameness"], words(found)["old.csv"]) == ("different", "different"), found


def test_what_can_be_executed_is_another_thing_than_what_cannot(bis: Bis, project: Path, verdict: Verdict) -> None:
    source = "import os; open('x.sh', 'w').write('echo'); os.chmod('x.sh', {})"
    for mode in ("0o755", "0o640", "0o644"):
        record(bis, project, source.format(mode))
        assert repeated(bis, verdict)["sameness"] == "identical"
    assert "executable, then not" in bis("diff", "a-1", "a-2").stdout
    assert "executable" not in (said := bis("diff", "a-2", "a-3").stdout)
    assert "0640 -> 0644" in said


def test_what_is_appended_to_keeps_who_may_read_it(bis: Bis, project: Path, verdict: Verdict) -> None:
    (project / "log.csv").write_text("1\n")
    (project / "log.csv").chmod(0o600)
    record(bis, project, "open('log.csv', 'a').write('2')")
    assert repeated(bis, verdict)["sameness"] == "identical"


# -- outside of the project --------------------------------------------------------------------------------------


def test_what_a_run_changes_elsewhere_is_there_again_as_it_was(
    bis: Bis, project: Path, verdict: Verdict, elsewhere: Path
) -> None:
    """Appended to, renamed, removed: the repeat finds it, and does all of that in a place of its own."""
    for name in ("log", "named", "gone"):
        (elsewhere / name).write_text(f"{name}\n")
    source = f"""
import os
os.chdir('{elsewhere}')
open('log', 'a').write('more')
os.replace('named', 'renamed')
os.remove('gone')
print(open('log').read(), open('renamed').read(), os.path.exists('gone'))
"""
    record(bis, project, source)
    (elsewhere / "log").write_text("of today")
    before = sorted(path.name for path in elsewhere.iterdir())
    found = repeated(bis, verdict)
    assert found["sameness"] == "identical", found
    assert (elsewhere / "log").read_text() == "of today"
    assert sorted(path.name for path in elsewhere.iterdir()) == before


def test_a_repeat_changes_nothing_that_the_run_had_left_alone(
    bis: Bis, project: Path, verdict: Verdict, elsewhere: Path, tmp_path: Path
) -> None:
    (elsewhere / "kept").write_text("kept")
    switch, named = tmp_path / "switch", Path(f"/tmp/named-{os.getpid()}")
    source = f"""
import os, tempfile, multiprocessing
lock, held = multiprocessing.Lock(), tempfile.NamedTemporaryFile()
print('alive')
if os.path.exists('{switch}'):
    open('{named}', 'w').write('1')
    for name in ('kept', 'new'):
        try:
            open('{elsewhere}/' + name, 'w').write('1')
        except OSError as error:
            print(error.strerror)
"""
    record(bis, project, source)
    switch.touch()
    found = repeated(bis, verdict)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["kept"]
    assert (elsewhere / "kept").read_text() == "kept"
    assert not named.exists()
    refused = next(one for one in found["findings"] if one["code"] == "write-refused")
    assert f"{elsewhere}/kept, {elsewhere}/new" in refused["text"]
    assert refused["text"] in found["causes"]
    assert f"{elsewhere}/kept" not in words(found)


def test_where_the_run_changed_the_system_itself_a_repeat_may_as_well(
    bis: Bis, project: Path, verdict: Verdict
) -> None:
    if os.geteuid():
        pytest.skip("only root changes the system")
    folder = Path(f"/var/lib/bis-test-{os.getpid()}")
    source = (
        f"import os; os.makedirs('{folder}/deep', exist_ok=True); open('{folder}/deep/x', 'w').write('1'); print(1)"
    )
    try:
        record(bis, project, source)
        shutil.rmtree(folder)
        found = repeated(bis, verdict)
        assert (folder / "deep" / "x").exists()
        assert found["sameness"] == "identical", found
    finally:
        shutil.rmtree(folder)


# -- names -------------------------------------------------------------------------------------------------------


def test_a_listing_of_the_project_itself_is_the_same(bis: Bis, project: Path, verdict: Verdict) -> None:
    (project / "notes.pdf").write_bytes(b"%PDF")
    (project / "pictures").mkdir()
    (project / "link").symlink_to("notes.pdf")
    record(bis, project, "import os; print(sorted(os.listdir('.')), os.path.getsize('notes.pdf'))")
    found = repeated(bis, verdict)
    assert found["sameness"] == "identical", found
    back = project.parent / "back"
    assert bis("restore", "@", str(back)).returncode == 0
    assert sorted(path.name for path in back.iterdir()) == ["a.py"]


def test_a_name_without_content_that_a_repeat_reads_is_told(
    bis: Bis, project: Path, verdict: Verdict, tmp_path: Path
) -> None:
    (project / "notes.pdf").write_bytes(b"%PDF")
    switch = tmp_path / "switch"
    record(bis, project, f"import os; os.path.exists('{switch}') and open('notes.pdf').read(); print(1)")
    switch.touch()
    found = repeated(bis, verdict)
    assert found["sameness"] == "equivalent", found
    assert any("notes.pdf" in text for text in found["not_compared"]), found


@pytest.mark.parametrize("cached", ["", "compiled"])
def test_a_source_of_which_only_the_compiled_form_is_opened_is_recorded(
    bis: Bis, project: Path, verdict: Verdict, cached: str
) -> None:
    """In the project, in a package of it, and beside it; with the compiled form beside the source, or elsewhere."""
    beside = project.parent / "beside"
    for folder, name in ((project, "one"), (project / "package", "two"), (beside, "three")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(f"WORD = '{name}'\n")
    (project / "a.py").write_text(
        f"import sys; sys.path.append({str(beside)!r})\n"
        "import one, package.two, three\nprint(one.WORD, package.two.WORD, three.WORD)"
    )
    python = Path(sys.base_prefix) / "bin" / "python3"
    env = {"PYTHONPYCACHEPREFIX": str(project.parent / cached)} if cached else {}
    subprocess.run([python, "a.py"], cwd=project, check=True, env=env)  # it compiles them
    done = bis("run", "--", "python3", "a.py", python=python, env=env)
    assert done.returncode == 0, done.stderr
    found = verdict(bis("repeat", "@", "--json"))
    assert found["sameness"] in ("identical", "equivalent"), found
    (project / "one.py").write_text("WORD = 'other'\n")
    assert "one.py" in bis("status").stdout


def test_an_empty_folder_that_a_run_writes_into_is_there_in_a_repeat(bis: Bis, project: Path, verdict: Verdict) -> None:
    (project / "models" / "first").mkdir(parents=True)
    (project / "made.sh").write_text("mkdir -p own/deep; mkdir own/deep/er; echo 1 > own/deep/er/a; echo 1 > models/b")
    assert bis("run", "--", "sh", "made.sh").returncode == 0
    assert verdict(bis("repeat", "@", "--json"))["sameness"] in ("identical", "equivalent")


@pytest.mark.usefixtures("kernel_trace")
def test_so_is_one_below_others(bis: Bis, project: Path, verdict: Verdict) -> None:
    (project / "models" / "first").mkdir(parents=True)
    assert (
        bis(
            "run", "--", "sh", "-c", "mkdir own models/first/new; echo 1 > own/a; echo 1 > models/first/new/b"
        ).returncode
        == 0
    )
    assert verdict(bis("repeat", "@", "--json"))["sameness"] == "identical"
