"""Versions as files side by side, out and in again."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bis.acts.data_layout import read, take_in, write
from bis.errors import NotFound, UsageError
from bis.nouns.dataset import Held
from bis.settings import Settings
from bis.steps.add_data import Adding, add
from bis.steps.home import Home, open_home


@pytest.fixture
def home(project: Path) -> Home:
    return open_home(project, Settings())


@pytest.fixture
def other(tmp_path: Path) -> Home:
    """Another project, with nothing in it."""
    (tmp_path / "other").mkdir()
    return open_home(tmp_path / "other", Settings())


@pytest.fixture
def versions(project: Path, home: Home) -> list[Held]:
    """Three versions of one file, the first and the third the same, newest first."""
    for day, text in ((1, "1\n"), (2, "2\n"), (3, "1\n")):
        (project / "cars.csv").write_text(text)
        add(Adding(path=project / "cars.csv", made=datetime(2026, 5, day, 10, 11, 12, 123456, UTC)), home)
    return home.ledger.data.versions("cars")


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_kedro_finds_each_version_where_it_looks_for_it(project: Path, home: Home, versions: list[Held]) -> None:
    write(versions, project / "out", "kedro", home)
    assert files_of(project / "out") == {
        "cars.csv/2026-05-01T10.11.12.123Z/cars.csv": "1\n",
        "cars.csv/2026-05-02T10.11.12.123Z/cars.csv": "2\n",
        "cars.csv/2026-05-03T10.11.12.123Z/cars.csv": "1\n",
    }


def test_files_named_by_their_day_have_the_time_where_a_day_has_two(
    project: Path, home: Home, versions: list[Held]
) -> None:
    (project / "cars.csv").write_text("3\n")
    add(Adding(path=project / "cars.csv", made=datetime(2026, 5, 3, 12, tzinfo=UTC)), home)
    write(home.ledger.data.versions("cars"), project / "out", "dated", home)
    assert files_of(project / "out") == {
        "cars_20260501.csv": "1\n",
        "cars_20260502.csv": "2\n",
        "cars_20260503T101112.csv": "1\n",
        "cars_20260503T120000.csv": "3\n",
    }
    write(versions[:1], project / "plain", "plain", home)
    assert files_of(project / "plain") == {"cars.csv": "1\n"}


@pytest.mark.parametrize("layout", ["kedro", "dated"])
def test_what_was_written_is_taken_in_again_with_its_times(
    layout: str, project: Path, home: Home, other: Home, versions: list[Held]
) -> None:
    write(versions, other.project / "in", layout, home)  # type: ignore[arg-type]
    done = take_in(Adding(path=other.project / "in", tags=("last",)), layout, other)  # type: ignore[arg-type]
    found = other.ledger.data.versions("cars")
    length = 23 if layout == "kedro" else 10
    assert [one.version.made[:length] for one in found] == [one.version.made[:length] for one in versions]
    assert [one.version.content for one in found] == [one.version.content for one in versions]
    assert [one.version.number for one in found] == [3, 2, 1]
    assert [one.tags for one in found] == [("last",), (), ()]
    assert all(one.new for one in done)
    # Once more: all of them are there.
    again = take_in(Adding(path=other.project / "in"), layout, other)  # type: ignore[arg-type]
    assert not any(one.new for one in again)
    assert other.ledger.data.versions("cars") == found


def test_folders_have_versions_too(project: Path, home: Home, other: Home) -> None:
    (project / "images").mkdir()
    for number in (1, 2):
        (project / "images" / "a.png").write_text(str(number))
        add(Adding(path=project / "images", made=datetime(2026, 5, number, tzinfo=UTC)), home)
    for layout in ("kedro", "dated"):
        write(home.ledger.data.versions(), other.project / layout, layout, home)  # type: ignore[arg-type]
        take_in(Adding(path=other.project / layout, name=layout), layout, other)  # type: ignore[arg-type]
        contents = [one.version.content for one in other.ledger.data.versions(layout)]
        assert contents == [one.version.content for one in home.ledger.data.versions()]


def test_a_version_that_came_late_takes_its_place_in_time(project: Path, home: Home, versions: list[Held]) -> None:
    (project / "old").mkdir()
    (project / "old" / "cars_20260502-235959.csv").write_text("late\n")
    (added,) = take_in(Adding(path=project / "old"), "dated", home)
    assert (added.held.reference, added.held.version.parent) == ("cars@v4", versions[1].record)
    assert [one.version.number for one in home.ledger.data.versions("cars")] == [3, 4, 2, 1]


def test_many_data_sets_lie_in_one_folder(tmp_path: Path) -> None:
    for name in (
        "a_20260501.csv",
        "a_2026-05-02.csv",
        "b-20260501.csv",
        "b-20260501.parquet",
        "c_12345678.csv",
        "d.csv",
    ):
        (tmp_path / name).write_text("x")
    found = {series.name: [str(moment.date()) for moment, _ in series.versions] for series in read(tmp_path, "dated")}
    assert found == {"a": ["2026-05-01", "2026-05-02"], "b.csv": ["2026-05-01"], "b.parquet": ["2026-05-01"]}
    (only,) = read(tmp_path / "a_20260501.csv", "dated")
    assert [path.name for _, path in only.versions] == ["a_20260501.csv", "a_2026-05-02.csv"]


def test_where_there_is_no_such_layout_it_is_told_what_was_looked_for(project: Path, home: Home) -> None:
    (project / "x").mkdir()
    for layout in ("kedro", "dated"):
        with pytest.raises(NotFound, match=f"nothing in the layout {layout}"):
            take_in(Adding(path=project / "x"), layout, home)  # type: ignore[arg-type]
    for name in ("a_20260501.csv", "b_20260501.csv"):
        (project / "x" / name).write_text(name)
    with pytest.raises(UsageError, match=r"2 data sets \(a, b\)"):
        take_in(Adding(path=project / "x", name="one"), "dated", home)


def test_another_content_at_the_same_time_is_refused(project: Path, home: Home, versions: list[Held]) -> None:
    (project / "cars.csv").write_text("other\n")
    with pytest.raises(UsageError, match="and another content"):
        add(Adding(path=project / "cars.csv", made=datetime(2026, 5, 2, 10, 11, 12, 123456, UTC)), home)
