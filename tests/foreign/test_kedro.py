"""Kedro: versions by their time stamps, layouts and catalogs, as kedro 1.7 saves and loads them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from bis.errors import UsageError
from bis.foreign import kedro

MOMENT = datetime(2026, 5, 3, 10, 11, 12, 123_999, tzinfo=UTC)
NAME = "2026-05-03T10.11.12.123Z"
CATALOG = """
_common: &common
  type: pandas.CSVDataset
  versioned: true
cars:
  <<: *common
  filepath: data/01_raw/cars.csv
  metadata:
    owner: Ada
plain:
  type: pandas.CSVDataset
  filepath: data/plain.csv
"{place}_csv":
  <<: *common
  filepath: data/{place}.csv
bucket:
  <<: *common
  filepath: s3://bucket/a.csv
variable:
  <<: *common
  filepath: ${base}/a.csv
"""


def test_a_version_is_named_by_its_moment_to_the_millisecond() -> None:
    assert kedro.version_name(MOMENT) == NAME
    assert kedro.version_name(MOMENT.astimezone(timezone(timedelta(hours=5)))) == NAME
    assert kedro.version_moment(NAME) == MOMENT.replace(microsecond=123_000)


@pytest.mark.parametrize("name", ["", "latest", "2026-05-03", "2026-13-03T10.11.12.123Z", "2026-05-03T10:11:12.123Z"])
def test_what_is_no_time_stamp_tells_no_moment(name: str) -> None:
    assert kedro.version_moment(name) is None


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "a\\b", " "])
def test_a_version_that_leads_elsewhere_has_no_place(name: str) -> None:
    with pytest.raises(UsageError):
        kedro.version_place("data/cars.csv", name)


def test_versions_are_those_that_have_their_file(tmp_path: Path) -> None:
    for version, file in ((NAME, "cars.csv"), ("2025-01-01T00.00.00.000Z", "cars.csv"), ("empty", "other.csv")):
        place = tmp_path / "cars.csv" / version / file
        place.parent.mkdir(parents=True)
        place.touch()
    assert kedro.versions(tmp_path / "cars.csv") == ["2025-01-01T00.00.00.000Z", NAME]
    assert kedro.versions(tmp_path / "none.csv") == []
    assert list(kedro.find_versioned(tmp_path)) == [tmp_path / "cars.csv"]


def test_a_path_tells_its_version() -> None:
    assert kedro.version_of(f"data/cars.csv/{NAME}/cars.csv") == NAME
    assert kedro.version_of(f"data/parts/{NAME}/parts/a/b.csv") == NAME
    assert kedro.version_of(f"data/cars.csv/{NAME}/other.csv") == ""
    assert kedro.version_of("data/cars.csv/v1/cars.csv") == ""


def test_a_catalog_tells_the_versioned_data_sets_that_lie_here(tmp_path: Path) -> None:
    (cars,) = kedro.read_catalog(CATALOG, "catalog.yml")
    assert (cars.name, cars.filepath, cars.metadata) == ("cars", "data/01_raw/cars.csv", {"owner": "Ada"})
    catalog = tmp_path / "conf" / "base" / "catalog" / "raw.yml"
    catalog.parent.mkdir(parents=True)
    catalog.write_text(CATALOG)
    local = tmp_path / "conf" / "local" / "catalog.yml"
    local.parent.mkdir(parents=True)
    local.write_text(kedro.write_entry("cars", "/elsewhere/cars.csv"))
    assert {name: one.filepath for name, one in kedro.declared(tmp_path).items()} == {"cars": "/elsewhere/cars.csv"}


@pytest.mark.parametrize("text", ["[", "- a\n", "a: !!python/object/apply:os.system ['true']\n"])
def test_what_is_no_catalog_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"odd\.yml"):
        kedro.read_catalog(text, "odd.yml")


def test_an_entry_is_written_for_files_whose_type_is_known() -> None:
    (cars,) = kedro.read_catalog(kedro.write_entry("cars", "data/cars.csv"), "x")
    assert (cars.type, cars.filepath) == ("pandas.CSVDataset", "data/cars.csv")
    assert kedro.write_entry("cars", "data/cars.unknown") == ""


@pytest.mark.slow
def test_kedro_loads_what_is_laid_out_and_what_it_saves_is_found(
    tmp_path: Path, shell: Callable[..., str], peer: Callable[[str], Path]
) -> None:
    for version, number in ((NAME, 1), ("2026-06-01T00.00.00.000Z", 2)):
        place = tmp_path / kedro.version_place("data/cars.csv", version)
        place.parent.mkdir(parents=True)
        place.write_text(f"n\n{number}\n")
    (tmp_path / "catalog.yml").write_text(kedro.write_entry("cars", "data/cars.csv"))
    asked = f"""
import yaml
from kedro.io import DataCatalog
catalog = DataCatalog.from_config(yaml.safe_load(open("catalog.yml")))
print(catalog["cars"].load()["n"][0])
old = DataCatalog.from_config(yaml.safe_load(open("catalog.yml")), load_versions={{"cars": {NAME!r}}})
print(old["cars"].load()["n"][0])
frame = catalog["cars"].load()
frame["n"] = 3
catalog["cars"].save(frame)
"""
    assert shell(tmp_path, peer("python"), "-W", "ignore", "-c", asked).split()[:2] == ["2", "1"]
    *_, newest = found = kedro.versions(tmp_path / "data/cars.csv")
    assert len(found) == 3
    moment = kedro.version_moment(newest)
    assert moment is not None
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)
