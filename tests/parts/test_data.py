"""Data: what the run read that is neither code nor environment."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bis.errors import CannotRepeat
from bis.nouns.trace import Access, Process, Trace
from bis.parts import Place, Report, Scene, data
from bis.settings import Limits, Settings
from bis.store.local import LocalStore


def rows(part: object) -> dict[str, dict[str, object]]:
    return {row["path"]: row for row in part.facts["inputs"]}  # type: ignore[attr-defined]


def test_what_was_read_is_recorded_and_restored(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    (project / "data").mkdir()
    (project / "data" / "x.csv").write_text("a\n1\n")
    (project / "data" / "unread.csv").write_text("a\n2\n")
    (project / "train.py").write_text("")
    part = data.capture(scene(trace=reading(project / "data" / "x.csv", project / "train.py")), store)
    assert list(rows(part)) == ["data/x.csv"]
    data.restore(part, Place(project=tmp_path / "back"), store)
    assert (tmp_path / "back" / "data" / "x.csv").read_text() == "a\n1\n"


def test_a_folder_that_was_listed_brings_its_other_data_files(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    (project / "data").mkdir()
    for name in ("a.csv", "b.csv"):
        (project / "data" / name).write_text(name)
    trace = reading(project / "data" / "a.csv")
    listed = Access(path=str(project / "data"), how="l")
    trace = msgspec.structs.replace(trace, accesses=(*trace.accesses, listed))
    part = data.capture(scene(trace=trace), store)
    assert rows(part)["data/b.csv"]["read"] is False
    assert rows(part)["data/b.csv"]["how"] == "listed"


def test_a_file_that_was_read_counts_as_read_also_when_its_folder_was_listed(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    (project / "data").mkdir()
    (project / "data" / "a.csv").write_text("1")
    trace = reading(project / "data" / "a.csv")
    both = msgspec.structs.replace(trace, accesses=(*trace.accesses, Access(path=str(project / "data"), how="l")))
    part = data.capture(scene(trace=both), store)
    assert (rows(part)["data/a.csv"]["read"], rows(part)["data/a.csv"]["how"]) == (True, "discovered")
    assert part.digest == data.capture(scene(trace=trace), store).digest


def test_a_link_that_leads_to_itself_hides_no_other_file_of_a_listed_folder(
    project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    (project / "data").mkdir()
    (project / "data" / "a.csv").write_text("1")
    (project / "data" / "loop.csv").symlink_to("loop.csv")
    listed = Access(path=str(project / "data"), how="l")
    part = data.capture(scene(trace=Trace(mechanism="notify", complete=True, accesses=(listed,))), store)
    assert list(rows(part)) == ["data/a.csv"]


def test_what_bis_keeps_in_the_project_is_no_data_when_a_run_lists_all_folders(
    project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    (project / ".bis").mkdir()
    (project / ".bis" / "ledger.db").write_text("1")
    listed = Access(path=str(project / ".bis"), how="l")
    part = data.capture(scene(trace=Trace(mechanism="notify", complete=True, accesses=(listed,))), store)
    assert rows(part) == {}


def test_files_outside_the_project_are_named_by_their_absolute_path(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere.csv"
    other.write_text("a\n")
    part = data.capture(scene(trace=reading(other)), store)
    assert list(rows(part)) == [str(other)]
    data.restore(part, Place(project=tmp_path / "back", outside=tmp_path / "out"), store)
    assert (tmp_path / "out" / str(other)[1:]).read_text() == "a\n"


def test_a_file_that_the_run_overwrote_is_recorded_as_it_was(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    state, kept = project / "state.csv", tmp_path / "preimage"
    state.write_text("before")
    kept.write_text("before")
    trace = reading(state, how="rwt", preimage=str(kept))
    state.write_text("after")
    part = data.capture(scene(trace=trace), store)
    assert store.get_bytes(rows(part)["state.csv"]["digest"]) == b"before"  # type: ignore[arg-type]
    assert part.findings == ()


def test_an_overwritten_file_without_its_old_content_is_a_finding_that_blocks(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    state = project / "state.csv"
    state.write_text("before")
    trace = reading(state, how="rwt")
    state.write_text("after")
    part = data.capture(scene(trace=trace), store)
    assert [(finding.code, finding.blocks) for finding in part.findings] == [("input-overwritten", True)]
    assert rows(part) == {}


def test_a_declared_file_that_the_run_overwrites_is_recorded_before_it(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    state = project / "state.csv"
    state.write_text("before")
    settings = Settings(data=("state.csv",))
    early = data.capture(scene(settings=settings), store)
    trace = reading(state, how="rwt")
    state.write_text("after")
    part = data.capture(scene(settings=settings, trace=trace), store, early)
    assert store.get_bytes(rows(part)["state.csv"]["digest"]) == b"before"  # type: ignore[arg-type]


def test_a_file_that_somebody_else_changed_meanwhile_is_a_finding(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    file = project / "x.csv"
    file.write_text("before")
    trace = reading(file)
    file.write_text("changed by another program")
    part = data.capture(scene(trace=trace), store)
    assert [(finding.code, finding.blocks) for finding in part.findings] == [("input-changed", True)]


def test_a_file_that_vanished_is_a_finding(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    (project / "x.csv").write_text("a")
    trace = reading(project / "x.csv")
    (project / "x.csv").unlink()
    part = data.capture(scene(trace=trace), store)
    assert [finding.code for finding in part.findings] == ["input-vanished"]


def test_large_inputs_are_recorded_by_reference_and_brought_back_only_while_they_are_the_same(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    (project / "big.csv").write_text("x" * 2000)
    part = data.capture(scene(limits=Limits(input_file=1000), trace=reading(project / "big.csv")), store)
    assert rows(part)["big.csv"]["kept"] is False
    assert [finding.code for finding in part.findings] == ["by-reference"]
    data.restore(part, Place(project=tmp_path / "back"), store)
    assert (tmp_path / "back" / "big.csv").stat().st_size == 2000
    (project / "big.csv").write_text("y" * 2000)
    with pytest.raises(CannotRepeat, match=r"big\.csv"):
        data.restore(part, Place(project=tmp_path / "again"), store)


def test_secret_files_leave_only_a_keyed_digest(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    (project / ".env").write_text("PASSWORD=hunter2")
    part = data.capture(scene(trace=reading(project / ".env")), store)
    assert rows(part) == {}
    assert part.facts["secrets"][0]["path"] == ".env"
    store.flush()
    assert not any(b"hunter2" in pack.read_bytes() for pack in store.path.rglob("*") if pack.is_file())


def test_names_of_any_bytes_survive(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(project) + b"/new\nline \xff.csv"))
    odd.write_text("a")
    part = data.capture(scene(trace=reading(odd)), store)
    assert list(rows(part)) == ["new\nline \0ff.csv"]
    data.restore(part, Place(project=tmp_path / "back"), store)
    assert [os.fsencode(path.name) for path in (tmp_path / "back").iterdir()] == [b"new\nline \xff.csv"]


def test_a_far_address_is_an_input_without_a_version(scene: Callable[..., Scene], store: LocalStore) -> None:
    here = ("tcp:127.0.0.1:5000", "tcp:[::ffff:127.0.0.1]:29500", "tcp:[::1]:80", "unix:/x")
    trace = Trace(mechanism="notify", complete=True, connections=("udp:9.9.9.9:53", "tcp:192.0.2.7:443", *here))
    report = Report(pid=1, executable="", facts={"names": ["data.example"], "connections": ["tcp:192.0.2.7:443"]})
    part = data.capture(scene(trace=trace, reports=(report,)), store)
    assert part.facts["network"] == ["tcp:192.0.2.7:443"]
    (finding,) = part.findings
    assert finding.code == "network-input"
    assert "tcp:192.0.2.7:443 (looked up: data.example)" in finding.text


def test_a_changed_table_is_shown_line_by_line(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    file = project / "x.csv"
    file.write_text("a\n1\n")
    before = data.capture(scene(trace=reading(file)), store)
    file.write_text("a\n2\n")
    (change,) = data.compare(before, data.capture(scene(trace=reading(file)), store), store)
    assert change.name == "x.csv"
    assert "-1\n+2\n" in change.detail


def test_a_run_that_reads_what_bis_keeps_is_told_so_unless_it_runs_bis_itself(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    (project / ".bis").mkdir()
    (project / ".bis" / "key").write_text("1")
    trace = reading(project / ".bis" / "key")
    (finding,) = data.capture(scene(trace=trace), store).findings
    assert (finding.code, ".bis/key" in finding.text) == ("own-files-read", True)
    nested = msgspec.structs.replace(trace, processes=(Process(pid=1, argv=("python", "/usr/bin/bis", "run")),))
    assert data.capture(scene(trace=nested), store).findings == ()


def test_what_lies_in_the_projects_own_folder_is_known_by_name(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    (project / "notes.pdf").write_bytes(b"%PDF")
    (project / "folder").mkdir()
    (project / "link").symlink_to("notes.pdf")
    before = data.capture(scene(), store)
    (project / "made").touch()
    after = data.capture(scene(trace=reading(project / "notes.pdf")), store, before)
    assert after.facts["there"] == before.facts["there"]
    assert before.facts["there"] == [
        {"path": "folder", "kind": "folder"},
        {"path": "link", "kind": "link", "target": "notes.pdf"},
        {"path": "notes.pdf", "kind": "file", "size": 4},
    ]


def test_what_is_moved_is_an_input_and_what_is_removed_unread_counts_by_its_name(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace], tmp_path: Path
) -> None:
    (project / "data").mkdir()
    moved, removed, kept = project / "data" / "m.csv", project / "data" / "d.csv", tmp_path / "preimage"
    for file in (moved, removed, kept):
        file.write_text("before")
    accesses = (*reading(moved, how="m", preimage=str(kept)).accesses, *reading(removed, how="d").accesses)
    trace = msgspec.structs.replace(reading(), accesses=accesses)
    moved.unlink(), removed.unlink()
    part = data.capture(scene(trace=trace), store)
    assert list(rows(part)) == ["data/m.csv"]
    assert part.facts["there"] == [{"path": "data/d.csv", "kind": "file", "size": 6}]


def test_where_a_run_changed_something_outside_the_project_is_recorded(
    project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    paths = [
        "/srv/a",
        "/srv/__pycache__/a.pyc",
        "/tmp/tmpab12",
        "/tmp/named",
        "/dev/shm/x",
        f"{project}/x",
        "/srv/read",
    ]
    accesses = tuple(Access(path=path, how="r" if path == "/srv/read" else "cw") for path in paths)
    seen = Trace(mechanism="notify", complete=True, accesses=accesses)
    assert data.capture(scene(trace=seen), store).facts["wrote"] == ["/srv/a", "/tmp/named"]
    partly = msgspec.structs.replace(seen, complete=False)
    assert "wrote" not in data.capture(scene(trace=partly), store).facts


@pytest.mark.parametrize(
    "glob", ["data", "data/*.csv", "{project}/data", "~/project/data", "../project/data/a.csv", "**"]
)
def test_data_is_declared_by_file_folder_or_glob(
    glob: str, project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    for folder in ("data", ".bis"):
        (project / folder).mkdir()
        (project / folder / "a.csv").write_text("1")
    declared = Settings(data=(glob.format(project=project),))
    part = data.capture(scene(settings=declared), store)
    assert "data/a.csv" in rows(part)
    assert part.findings == ()


@pytest.mark.parametrize("glob", ["", "/", "**x", "no/such.csv", "/no/such/*.csv", "["])
def test_declared_data_that_is_not_there_is_told_and_keeps_nothing_else_from_the_record(
    glob: str, project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    (project / "a.csv").write_text("1")
    part = data.capture(scene(settings=Settings(data=(glob, "a.csv"))), store)
    assert list(rows(part)) == ["a.csv"]
    assert [finding.code for finding in part.findings] == ["declared-absent"]


@pytest.mark.parametrize("glob", ["/srv/kept/*.csv", "/srv/kept", "~/../kept/x.csv"])
def test_data_of_absolute_paths_are_those_of_the_record_in_a_repeat(
    glob: str, project: Path, scene: Callable[..., Scene], store: LocalStore, tmp_path: Path
) -> None:
    restored = tmp_path / "ground" / "srv" / "kept"
    restored.mkdir(parents=True)
    (restored / "x.csv").write_text("1")
    again = scene(settings=Settings(data=(glob,)), outside=tmp_path / "ground", home=Path("/srv/ana"))
    assert list(rows(data.capture(again, store))) == ["/srv/kept/x.csv"]


def test_declared_data_beside_the_project_is_named_by_its_absolute_path(
    project: Path, scene: Callable[..., Scene], store: LocalStore
) -> None:
    (project.parent / "x.csv").write_text("1")
    part = data.capture(scene(settings=Settings(data=("../x.csv",))), store)
    assert list(rows(part)) == [str(project.parent / "x.csv")]
