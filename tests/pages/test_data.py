"""Data sets, their versions and what differs between them: the pages say what the commands say."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bis.digest import digest_value
from bis.ledger.datasets import put_version
from bis.ledger.runs import open_ledger
from bis.nouns.dataset import DataVersion
from bis.nouns.part import Part
from bis.nouns.run import Run
from bis.server.pages.data import place

LARGE = 9 << 20
"""Bytes of a table that no page looks into."""
HOSTILE = '<script>document.title="caught"</script>'


def bis(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bis", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def told(folder: Path, *asked: str) -> Any:
    found = json.loads(bis(folder, *asked, "--json"))
    found.pop("schema")
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with data sets of several kinds, and a run by hand that used some of them."""
    folder = tmp_path_factory.mktemp("data") / "shop"
    pets = folder / "pets"
    (pets / "cats").mkdir(parents=True)
    (folder / "bis.toml").write_text("")
    for number in range(4):
        (pets / "cats" / f"{number}.txt").write_text(f"cat {number}")
    (pets / "ages.csv").write_text("id,age,name\n1,10,ana\n2,20,bo\n3,30,cy\n")
    bis(folder, "data", "add", "pets", "--name", "vision/pets", "-m", HOSTILE)
    (pets / "ages.csv").write_text("id,age,name\n1,10,ana\n2,25,bo\n3,30,cy\n4,50,di\n")
    (pets / "cats" / "0.txt").unlink()
    (pets / "cats" / "1.txt").rename(pets / "cats" / "first.txt")
    (pets / "cats" / "new.txt").write_text("a new one")
    bis(folder, "data", "add", "pets", "--name", "vision/pets", "-m", "one more", "--tag", "live")
    (folder / "t.csv").write_text("a\n1\n")
    bis(folder, "data", "add", "t.csv", "--name", "odd/v2")
    bis(folder, "data", "add", "t.csv", "--name", "gone")
    bis(folder, "data", "rm", "gone")
    (folder / "far.csv").write_text("b\n7\n")
    bis(folder, "data", "add", "far.csv", "--by-reference")
    (folder / "large.csv").write_text("n\n" + "1234567\n" * (LARGE // 8))
    bis(folder, "data", "add", "large.csv")
    many = folder / "many"
    many.mkdir()
    for number in range(501):
        (many / f"{number}.txt").write_text(str(number))
    bis(folder, "data", "add", "many")
    rows = [
        {"path": one["path"], "digest": one["digest"], "size": one["size"]}
        for one in told(folder, "data", "ls", "vision/pets@v2", "--recursive")["files"][:3]
    ]
    part = Part(kind="data", digest=digest_value(rows), facts={"inputs": rows})
    with open_ledger(folder / ".bis" / "ledger") as ledger:
        started = "2026-05-03T00:00:00.000000Z"
        run = Run(
            id="0123456789ab", name="user", command=("x",), started=started, status="finished", parts={"data": part}
        )
        ledger.seal(run, digest_value("user"))
    return folder


@pytest.fixture(scope="module")
def shop_server(shop: Path, served: Any) -> Iterator[Any]:
    server = served(shop)
    yield server
    server.stop()


def page_of(server: Any, place: str, /, **query: str) -> Any:
    answer = httpx.get(server.url + place, params=query, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_list_of_data_sets_says_what_the_log_says(visitor: Any, shop_server: Any, shop: Path) -> None:
    said = told(shop, "data", "log")
    found = page_of(shop_server, "/data.json")
    assert found["sets"] == said["sets"]
    assert found["total"] == len(said["sets"])
    page = visitor.go(f"{shop_server.url}/data")
    assert page.locator("tbody th").all_inner_texts() == [one["name"] for one in said["sets"]]
    rows = httpx.get(f"{shop_server.url}/data.csv").text.splitlines()
    assert len(rows) == len(said["sets"]) + 1


def test_a_list_that_is_longer_than_a_page_goes_on_at_the_next(shop_server: Any, shop: Path) -> None:
    names = [one["name"] for one in told(shop, "data", "log")["sets"]]
    assert [one["name"] for one in page_of(shop_server, "/data.json", after=names[1])["sets"]] == names[2:]


def test_the_page_of_a_data_set_says_what_its_log_says(visitor: Any, shop_server: Any, shop: Path) -> None:
    said = told(shop, "data", "log", "vision/pets")
    found = page_of(shop_server, "/data/vision/pets", **{"as": "json"})
    assert (found["name"], found["versions"]) == (said["name"], said["versions"])
    used = [told(shop, "data", "show", one["reference"])["runs"] for one in said["versions"]]
    assert any(used)
    assert [one["runs"] for one in found["uses"]] == [len(runs) for runs in used]
    page = visitor.go(f"{shop_server.url}/data")
    page.get_by_role("link", name="vision/pets").click()
    page.wait_for_url("**/data/vision/pets")
    assert page.locator("tbody th").all_inner_texts() == ["v2", "v1"]
    assert HOSTILE in page.locator("main").inner_text()
    assert page.title().startswith("vision/pets")
    page.get_by_role("link", name="what changed").click()
    page.wait_for_url("**/data/vision/pets/v2/diff?other=v1")


def test_a_data_set_that_is_called_like_a_version_is_found(visitor: Any, shop_server: Any) -> None:
    page = visitor.go(f"{shop_server.url}/data")
    page.get_by_role("link", name="odd/v2").click()
    page.wait_for_url("**/data/odd/v2/")
    page.get_by_role("link", name="v1", exact=True).click()
    page.wait_for_url("**/data/odd/v2/v1")
    assert page.locator("h1").inner_text().startswith("odd/v2 v1")


@pytest.mark.parametrize("name", ["x/v2", "x/v2/diff", "x/v2/tag", "x/v2.json", "x/v2/diff.csv"])
def test_no_name_hides_behind_the_page_of_a_version(name: str) -> None:
    assert place(name) == f"/data/{name}/"
    assert [place(other) for other in ("x/v", "v2", "x/v2a", "x/v2/y")] == [
        "/data/x/v",
        "/data/v2",
        "/data/x/v2a",
        "/data/x/v2/y",
    ]


def test_a_version_says_what_show_and_ls_say(shop_server: Any, shop: Path) -> None:
    for name, at, path in (
        ("vision/pets@v2", "/data/vision/pets/v2", ""),
        ("vision/pets@v2/ages.csv", "/data/vision/pets/v2", "ages.csv"),
        ("vision/pets@v1", "/data/vision/pets/v1", ""),
        ("far@v1", "/data/far/v1", ""),
    ):
        said = told(shop, "data", "show", name, *(["--columns"] if path else []))
        found = page_of(shop_server, f"{at}.json", path=path)
        assert {key: found[key] for key in said} == said
    for folder in ("", "cats"):
        said = told(shop, "data", "ls", f"vision/pets@v2/{folder}".rstrip("/"))
        assert page_of(shop_server, "/data/vision/pets/v2.json", path=folder)["files"] == said["files"]


def test_the_files_of_a_version_are_walked_through_as_folders(visitor: Any, shop_server: Any) -> None:
    page = visitor.go(f"{shop_server.url}/data/vision/pets/v2")
    files = page.get_by_role("region", name="Files")
    assert files.locator("tbody th").all_inner_texts() == ["ages.csv", "cats/"]
    files.get_by_role("link", name="cats/").click()
    page.wait_for_url("**/v2?path=cats#files")
    assert files.locator("tbody th").all_inner_texts() == ["2.txt", "3.txt", "first.txt", "new.txt"]
    page.go_back()
    files.get_by_role("link", name="ages.csv").click()
    page.wait_for_url("**/v2?path=ages.csv#file")
    columns = page.get_by_role("region", name="Columns of ages.csv")
    assert columns.locator("tbody th").all_inner_texts() == ["id", "age", "name"]
    drawn = columns.locator("svg").nth(1)
    assert drawn.get_attribute("aria-label").startswith("4 values from 10 to 50")
    heights = [float(one.get_attribute("height")) for one in drawn.locator("rect").all()]
    assert heights == [24.0] * 4  # one value in each of four stretches


def columns_of(folder: Path, ages: list[float | None]) -> None:
    """A file of each kind with these columns."""
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"age": pyarrow.array(ages, "float64"), "city": ["ulm"] * len(ages)})
    pytest.importorskip("pyarrow.parquet").write_table(table, folder / "p.parquet")
    pytest.importorskip("pyarrow.feather").write_feather(table, folder / "f.feather")
    rows = "".join(f"{'' if age is None else age},ulm\n" for age in ages)
    (folder / "c.csv").write_text(f"age,city\n{rows}")


@pytest.fixture(scope="module")
def columned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with data in columns, in two versions."""
    folder = tmp_path_factory.mktemp("data") / "columned"
    folder.mkdir()
    (folder / "bis.toml").write_text("")
    for ages in ([10.0, 20.0, 30.0, None], [10.0, 25.0, 30.0, 50.0, None]):
        columns_of(folder, ages)
        for name in ("p.parquet", "f.feather", "c.csv"):
            bis(folder, "data", "add", name)
    return folder


def test_of_files_of_columns_the_page_says_what_it_says_of_a_table_as_text(
    visitor: Any, served: Any, columned: Path
) -> None:
    server = served(columned)
    try:
        seen = []
        for name in ("c", "p", "f"):
            said = told(columned, "data", "show", f"{name}@v2", "--columns")
            found = page_of(server, f"/data/{name}/v2.json")
            assert found["profile"] == said["profile"]
            page = visitor.go(f"{server.url}/data/{name}/v2")
            row = page.locator("table.columns tbody tr", has_text="age")
            words = row.locator("td:not(.type):not(:has(svg))").all_inner_texts()
            drawn = row.locator("svg")
            heights = [one.get_attribute("height") for one in drawn.locator("rect").all()]
            seen.append((words, drawn.get_attribute("aria-label"), heights, found["bins"]))
        assert seen[0][0][:4] == ["1", "4", "10", "50"]
        assert seen[1:] == seen[:1] * 2
        for name, rows in (("p", "+2 added, −1 removed"), ("f", "Arrow files are compared by their columns alone")):
            page = visitor.go(f"{server.url}/data/{name}/v2/diff")
            assert rows in page.locator("main").inner_text()
            age = page.locator("table.columns tbody tr", has_text="age")
            assert "20 → 28.75" in age.inner_text()
            assert (age.locator("svg .before rect").count(), age.locator("svg .after rect").count()) == (3, 4)
    finally:
        server.stop()


def test_a_server_without_pyarrow_says_what_to_install(
    served: Any, columned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('it is not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = served(columned)
    try:
        said = page_of(server, "/data/p/v2.json")["limits"]
        why = "its columns were not looked at, as looking into it needs pyarrow (the extra 'formats' of bis)"
        assert said == [f"{why}: bis data show p@v2 --columns"]
        assert "(the extra &#39;formats&#39; of bis)" in httpx.get(f"{server.url}/data/p/v2").text
        assert page_of(server, "/data/c/v2.json")["profile"]["rows"] == 5
    finally:
        server.stop()


def test_what_is_not_looked_at_is_said_with_the_command_that_does(shop_server: Any) -> None:
    for at, words in (
        ("/data/far/v1", ("recorded by reference", "bis data show far@v1 --columns")),
        ("/data/large/v1", ("larger than 8.0 MiB", "bis data show large@v1 --columns")),
    ):
        found = page_of(shop_server, f"{at}.json")
        assert found["profile"] is None
        assert all(word in " ".join(found["limits"]) for word in words)
        assert found["limits"][0] in httpx.get(shop_server.url + at).text
    assert page_of(shop_server, "/data/many", **{"as": "json"})["uses"] == [{"runs": None, "newest": None}]


def test_a_difference_says_what_the_command_says(visitor: Any, shop_server: Any, shop: Path) -> None:
    said = told(shop, "data", "diff", "vision/pets@v1", "vision/pets@v2")
    found = page_of(shop_server, "/data/vision/pets/v2/diff.json")
    assert found["difference"] == said
    assert page_of(shop_server, "/data/vision/pets/v2/diff.json", other="v1")["difference"] == said
    page = visitor.go(f"{shop_server.url}/data/vision/pets/v2/diff")
    files = page.get_by_role("region", name="Files that differ")
    kinds = [row.locator(".kind").inner_text() for row in files.locator("tbody tr").all()]
    assert sorted(kinds) == ["added", "changed", "moved", "removed"]
    assert "3 → 4 rows: +2 added, −1 removed" in page.locator("main").inner_text()
    age = page.get_by_role("region", name="Columns of ages.csv").locator("tr", has_text="age").last
    assert "30 → 50" in age.inner_text()
    assert age.locator("svg .before rect").count() == 3
    assert age.locator("svg .after rect").count() == 4
    page.get_by_role("link", name="Swap").click()
    page.wait_for_url("**/v1/diff?*")
    assert page.locator("h1").inner_text().startswith("v2 → v1")


def test_a_difference_of_two_data_sets_and_of_none(shop_server: Any, shop: Path) -> None:
    said = told(shop, "data", "diff", "vision/pets@v1", "odd/v2@v1")
    found = page_of(shop_server, "/data/odd/v2/v1/diff.json", other="vision/pets@v1")
    assert found["difference"] == said
    answer = httpx.get(f"{shop_server.url}/data/vision/pets/v1/diff")
    assert answer.status_code == 404
    assert "the first version" in answer.text


def test_at_a_moment_data_is_as_it_was_then(visitor: Any, shop_server: Any, shop: Path) -> None:
    newest, first = told(shop, "data", "log", "vision/pets")["versions"]
    page = visitor.go(f"{shop_server.url}/data/vision/pets")
    page.get_by_label("As of").fill(first["made"])
    page.get_by_role("button", name="Look").click()
    page.wait_for_url("**asof=*")
    assert page.locator("tbody th").all_inner_texts() == ["v1"]
    found = page_of(shop_server, "/data.json", asof=first["made"])
    assert [one["latest"]["reference"] for one in found["sets"]] == [first["reference"]]
    assert newest["tags"] == ["live"]
    then = page_of(shop_server, "/data/vision/pets/v1.json", asof=first["made"])
    assert (then["newest"], then["users"]) == (first["reference"], 1)
    assert httpx.get(f"{shop_server.url}/data/vision/pets/v2", params={"asof": first["made"]}).status_code == 404
    assert page_of(shop_server, "/data.json", asof="2001-01-01")["sets"] == []
    assert "by then" in visitor.go(f"{shop_server.url}/data?asof=2001-01-01").locator(".empty").inner_text()
    answer = httpx.get(f"{shop_server.url}/data/vision/pets", params={"asof": "2001-01-01"})
    assert answer.status_code == 404
    assert "vision/pets@v1" in answer.text


def test_a_removed_version_says_that_it_is(shop_server: Any) -> None:
    assert "gone" not in {one["name"] for one in page_of(shop_server, "/data.json")["sets"]}
    hits = {kind["name"]: kind["hits"] for kind in page_of(shop_server, "/search.json", q="gone")["kinds"]}
    (hit,) = hits["data sets"]
    listed = httpx.get(shop_server.url + hit["path"])
    assert (listed.status_code, "removed" in listed.text) == (200, True)
    text = httpx.get(f"{shop_server.url}/data/gone/v1").text
    assert "removed" in text
    assert "bis data rm --undo gone@v1" in text


def test_what_is_not_there_names_what_is_near(shop_server: Any) -> None:
    for at, word in (
        ("/data/vison/pets", "vision/pets"),
        ("/data/vision/pets/v12", "v1"),
        ("/data/vision/pets/v2?path=nothing", "bis data ls vision/pets@v2"),
    ):
        answer = httpx.get(shop_server.url + at)
        assert answer.status_code == 404
        assert word in answer.text


def test_a_tag_is_set_and_taken_away_by_forms(visitor: Any, shop_server: Any, shop: Path) -> None:
    page = visitor.go(f"{shop_server.url}/data/vision/pets/v1")
    page.get_by_text("Change them").click()
    page.get_by_label("Tag", exact=True).fill("checked")
    page.get_by_role("button", name="Tag", exact=True).click()
    page.wait_for_url("**/data/vision/pets/v1")
    assert told(shop, "data", "show", "vision/pets@checked")["version"]["number"] == 1
    page.get_by_text("Change them").click()
    page.get_by_role("button", name="Take away checked").click()
    page.wait_for_url("**/data/vision/pets/v1")
    assert told(shop, "data", "show", "vision/pets@v1")["version"]["tags"] == []
    form = f"{shop_server.url}/data/vision/pets/v1/tag"
    assert httpx.post(form, data={"tag": "stolen"}).status_code == 403
    assert told(shop, "data", "show", "vision/pets@v1")["version"]["tags"] == []


def test_of_two_versions_with_one_number_each_is_found_by_its_time(shop_server: Any, shop: Path) -> None:
    one = told(shop, "data", "show", "odd/v2")["version"]
    with open_ledger(shop / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        for made in ("2026-05-01T10:00:00.000000Z", "2026-05-02T10:00:00.000000Z"):
            version = DataVersion(
                name="odd/twice", number=1, made=made, tree=one["tree"], content=one["checksum"], single=True, files=1
            )
            put_version(connection, version, digest_value(version))
    answer = httpx.get(f"{shop_server.url}/data/odd/twice/v1")
    assert answer.status_code == 400
    assert "2026-05-02T10.00.00.000Z" in answer.text
    listed = httpx.get(f"{shop_server.url}/data/odd/twice").text
    assert "/data/odd/twice/v1?at=2026-05-01T10.00.00.000Z" in listed
    found = page_of(shop_server, "/data/odd/twice/v1.json", at="2026-05-01T10.00.00.000Z")
    assert found["version"]["stamp"] == "2026-05-01T10.00.00.000Z"


# -- runs ------------------------------------------------------------------------------------------------------------


def test_the_runs_that_used_a_version_are_those_that_the_command_names(small_server: Any, person: Path) -> None:
    said = told(person, "data", "show", "customers@v2")
    found = page_of(small_server, "/data/customers/v2.json")
    assert said["runs"]
    assert {key: found[key] for key in said} == said
    assert found["users"] == len(said["runs"])
    models = page_of(small_server, "/data/customers/v1.json")["models"]
    assert [(one["name"], one["number"]) for one in models] == [("churn", 1)]


def test_two_runs_with_other_data_are_compared_down_to_the_columns(visitor: Any, small_server: Any) -> None:
    page = visitor.go(f"{small_server.url}/compare?run=second&run=changed")
    data = page.get_by_role("region", name="Changes of data")
    assert "data/customers.csv" in data.inner_text()
    assert data.get_by_role("link", name="customers@v1").count() == 1
    columns = page.get_by_role("region", name="Columns of data/customers.csv")
    assert columns.locator("tbody th").all_inner_texts() == ["age", "id"]  # the most shifted one first
    data.get_by_role("link", name="what changed").click()
    page.wait_for_url("**/data/customers/v2/diff?*")
    assert page.locator("h1").inner_text().startswith("v1 → v2")
