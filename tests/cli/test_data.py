"""Typing `bis data`: what each command says, in a pipe and on a terminal, and with which exit status."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Type = Callable[..., Any]
TRAINING = "print(open('data/customers.csv').read().count('\\n'))"


@pytest.fixture
def type_(tmp_path: Path, bis: Type) -> Type:
    """`type_("add", "x.csv")`: bis data add x.csv, in a project of its own."""
    (tmp_path / "bis.toml").write_text("")
    return lambda *words, **options: bis("data", *words, folder=tmp_path, **options)


@pytest.fixture
def customers(tmp_path: Path, type_: Type) -> Path:
    """A data set with two versions, `customers`, tagged `first` and `second`."""
    file = tmp_path / "data" / "customers.csv"
    file.parent.mkdir()
    for number, tag in enumerate(("first", "second"), start=1):
        file.write_text("id,age\n" + "".join(f"{row},{20 + row}\n" for row in range(number * 3)))
        assert type_("add", "data/customers.csv", "-m", f"number {number}", "--tag", tag).status == 0
    return file


def test_a_version_is_added_listed_and_brought_back(tmp_path: Path, type_: Type, customers: Path) -> None:
    again = type_("add", "data/customers.csv")
    assert (again.status, again.out[:40]) == (0, "no new version  this is customers@v2, b3")
    lines = type_("log").out.splitlines()
    assert lines[1].split("\t")[:3] == ["customers", "2", "v2"]
    titles, newest, oldest = (line.split("\t") for line in type_("log", "customers").out.splitlines())
    assert titles[:3] == ["version", "time stamp", "checksum"]
    assert (newest[0], newest[-1], oldest[0]) == ("v2", "number 2", "v1")
    for number, name in enumerate(
        ("customers@v1", f"customers@{oldest[1]}", f"customers@{oldest[2]}", "customers@first")
    ):
        assert type_("get", name, f"out{number}").status == 0
        assert (tmp_path / f"out{number}" / "customers.csv").read_text().count("\n") == 4
    assert type_("cat", "data:/customers").out == customers.read_text()
    assert type_("cat", "customers~1").out.count("\n") == 4


def test_where_nothing_was_recorded_it_is_said_how_to_begin(tmp_path: Path, bis: Type) -> None:
    for words in (["log"], ["show", "x"], ["get", "x"], ["status"], ["ls", "x"], ["add", "nothing"], ["rm", "x"]):
        done = bis("data", *words, folder=tmp_path)
        assert done.status == 3, words
        assert "help: bis data add" in done.err
    assert not list(tmp_path.iterdir())


def test_a_home_without_a_ledger_gets_one_when_data_is_added(tmp_path: Path, type_: Type) -> None:
    """As when only a remote has been named so far."""
    (tmp_path / "a.csv").write_text("id\n1\n")
    (tmp_path / ".bis").mkdir()
    assert type_("add", "a.csv").out.startswith("added  a@v1")


def test_other_content_is_not_replaced_unless_told_to(tmp_path: Path, type_: Type, customers: Path) -> None:
    done = type_("get", "customers@v1", "data")
    assert done.status == 2
    assert "help: bis data get customers@v1 data --force" in done.err
    assert customers.read_text().count("\n") == 7
    done = type_("get", "customers@v1", "data", "--force")
    assert "1 replaced" in done.out
    assert "nothing to do" in type_("get", "customers@v1", "data").out
    assert type_("status").status == 1
    assert "as customers@v1" in type_("status").out


def test_a_file_is_no_place_for_the_files_of_a_version(type_: Type, customers: Path) -> None:
    done = type_("get", "customers@v1", "data/customers.csv")
    assert (done.status, "data/customers.csv is not a folder" in done.err) == (2, True)
    assert customers.read_text().count("\n") == 7


def test_names_and_commands_that_are_not_there_name_what_was_meant(type_: Type, customers: Path) -> None:
    for words, status, hint in (
        (["show", "custmers"], 3, "Did you mean customers?"),
        (["get", "customers@v7"], 3, "There are v2, v1."),
        (["lgo"], 2, "did you mean  bis data log"),
        (["show", "customers@{nonsense"], 2, "customers@v3"),
        (["diff", "data/customers.csv"], 3, "help: bis data log customers"),
        (["diff", "customers@v1"], 3, "help: bis data status customers"),
        (["add", "data/custmers.csv"], 3, "is not there"),
        (["add", "data/customers.csv", "--meta", "licence"], 2, "--meta licence=yes"),
        (["add", "data/customers.csv", "--checksum", "md4"], 2, "md5, sha1, sha256"),
        (["cat", "customers/other.csv"], 3, "help: bis data ls customers@v2"),
    ):
        done = type_(*words)
        assert done.status == status, words
        assert hint in done.err, done.err


def test_a_difference_has_its_exit_status(type_: Type, customers: Path) -> None:
    done = type_("diff", "customers@v1", "customers")
    assert done.status == 1
    assert "3 added, 0 removed" in done.out
    assert type_("diff", "customers").out == done.out
    assert type_("diff", "customers", "customers").status == 0
    found = type_("diff", "customers", "--json").json
    assert found["changes"][0]["inside"]["rows"] == {"added": 3, "removed": 0}


def test_content_that_comes_back_and_files_that_are_gone_are_told(type_: Type, customers: Path) -> None:
    type_("get", "customers@v1", "data", "--force")
    assert "the content of customers@v1 again" in type_("add", "data/customers.csv").out
    customers.unlink()
    done = type_("status")
    assert (done.status, done.out.split("bis ")[-1]) == (0, "data get customers@v3 data\n")
    assert type_("get", "customers@v3", "data").status == 0
    assert type_("status").out.startswith("same")


def test_removing_hides_and_can_be_taken_back(type_: Type, customers: Path) -> None:
    assert type_("rm", "customers@v2").out == "removed  customers@v2\n"
    assert type_("show", "customers@v2").status == 3
    assert type_("log", "customers").out.count("\n") == 2
    assert "removed" in type_("log", "customers", "--removed").out
    assert type_("rm", "--undo", "customers@v2").status == 0
    assert type_("rm", "customers").out == "removed  customers@v1, customers@v2\n"
    assert type_("log").out.count("\n") == 1
    assert type_("rm", "--undo", "customers").status == 0
    assert type_("log", "customers").out.count("\n") == 3


def test_a_tag_is_set_moved_listed_and_taken_away(type_: Type, customers: Path) -> None:
    assert type_("tag", "customers@v1", "live").out == "first\tcustomers@v1\nlive\tcustomers@v1\nsecond\tcustomers@v2\n"
    assert type_("tag", "customers", "live", "--remove", "second").out == "first\tcustomers@v1\nlive\tcustomers@v2\n"
    assert type_("show", "customers@live", "--json").json["version"]["reference"] == "customers@v2"
    assert type_("tag", "customers", "--remove", "no").status == 3


def test_a_pointer_brings_the_version_that_it_names(tmp_path: Path, type_: Type, customers: Path) -> None:
    done = type_("add", "data/customers.csv", "--pointer")
    assert "echo /customers.csv >> data/.gitignore" in done.err
    customers.with_name(".gitignore").write_text("/customers.csv\n")
    assert ".gitignore" not in type_("add", "data/customers.csv", "--pointer").err
    pointer = customers.with_name("customers.csv.bis")
    first = pointer.read_text()
    assert [
        line.partition(":")[0] for line in first.splitlines()
    ] == "schema name version made checksum size files".split()
    customers.write_text("id,age\n")
    assert "would be v3" in type_("status", "data/customers.csv").out
    # The pointer follows when the data is added again, without being asked for.
    assert "customers.csv.bis" in type_("add", "data/customers.csv").err
    assert pointer.read_text() != first
    pointer.write_text(first)  # as `git checkout` does
    customers.unlink()
    assert type_("get", "data/customers.csv.bis").out.startswith("brought  customers@v2 into data/customers.csv")
    assert customers.read_text().count("\n") == 7
    assert type_("add", "data/customers.csv.bis").status == 2
    pointer.write_text(first.replace("b3:", "b3:0000"))
    assert "is no checksum" in type_("get", "data/customers.csv.bis").err
    digits = first.partition("b3:")[2][:64]
    pointer.write_text(first.replace(digits, digits[::-1]))
    done = type_("get", "data/customers.csv.bis")
    assert (done.status, "names version 2 of customers" in done.err) == (3, True)
    pointer.write_text(first.replace("size: ", "size: many"))
    done = type_("get", "data/customers.csv.bis")
    assert (done.status, "cannot be read" in done.err) == (2, True)


def test_the_bytes_of_a_file_come_as_they_are(tmp_path: Path, type_: Type, variables: dict[str, str]) -> None:
    content = bytes(range(256)) * 100
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.bin").write_bytes(content)
    type_("add", "x")
    done = subprocess.run(
        [sys.executable, "-m", "bis", "data", "cat", "x/a.bin"], cwd=tmp_path, env=variables, capture_output=True
    )
    assert (done.stdout, done.stderr) == (content, b"")
    assert base64.b64decode(type_("cat", "x/a.bin", "--json").json["base64"]) == content


def test_the_runs_that_used_a_version_are_told(tmp_path: Path, type_: Type, bis: Type, customers: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINING)
    assert bis("run", "--name", "training", "--", sys.executable, "train.py", folder=tmp_path).status == 0
    assert [run["name"] for run in type_("show", "customers", "--json").json["runs"]] == ["training"]
    assert "training" in type_("show", "customers").out
    assert type_("show", "customers@v1", "--json").json["runs"] == []


def test_a_run_is_repeated_on_another_version_of_its_data(
    tmp_path: Path, type_: Type, bis: Type, customers: Path
) -> None:
    (tmp_path / "train.py").write_text(TRAINING)
    bis("run", "--name", "training", "--", sys.executable, "train.py", folder=tmp_path)
    with customers.open("a") as file:
        file.write("9,99\n")
    type_("add", "data/customers.csv")
    done = bis("repeat", "training", "--with", "data=data:/customers@latest", "--json", folder=tmp_path)
    assert done.status == 1, done.err
    again = bis("show", "training-repeat", "--json", folder=tmp_path).json["run"]
    # Which version that was is recorded: another one may be the newest tomorrow.
    assert again["taken"] == {"data": "data:/customers@v3"}
    assert bis("show", "training-repeat", "--stdout", folder=tmp_path).out == "8\n"
    done = bis("repeat", "training", "--with", "data=data:/custmers", folder=tmp_path)
    assert (done.status, "Did you mean customers?" in done.err) == (3, True)


def test_layouts_go_out_and_come_in(tmp_path: Path, type_: Type, customers: Path) -> None:
    assert type_("export", "customers", "out", "--layout", "kedro").status == 0
    assert len(list((tmp_path / "out" / "customers.csv").glob("20*Z/customers.csv"))) == 2
    done = type_("add", "--layout", "kedro", "out", "--name", "again")
    assert done.out.splitlines()[-1] == "2 versions added, 0 there already"
    stamps = [
        [one["stamp"] for one in type_("log", name, "--json").json["versions"]] for name in ("customers", "again")
    ]
    assert stamps[0] == stamps[1]
    assert type_("add", "--layout", "dated", "data").status == 3
    assert type_("export", "customers@v1", "plain", "--layout", "plain").status == 0
    assert (tmp_path / "plain" / "customers.csv").read_text().count("\n") == 4


JSON = {
    "add": ["data/customers.csv"],
    "log": [],
    "show": ["customers"],
    "diff": ["customers"],
    "status": [],
    "ls": ["customers"],
    "cat": ["customers"],
    "get": ["customers", "there"],
    "tag": ["customers"],
    "rm": ["customers@v1"],
    "export": ["customers", "out", "--layout", "dated"],
}


def test_each_command_prints_one_json_object_with_its_schema(type_: Type, customers: Path) -> None:
    from bis.cli.data import data

    assert JSON.keys() == data.commands.keys()
    for name, words in JSON.items():
        done = type_(name, *words, "--json")
        assert json.loads(done.out)["schema"] == f"bis.data.{name}/1", done.err


def test_each_command_says_what_its_statuses_mean_and_shows_examples(type_: Type) -> None:
    for name in JSON:
        told = type_(name, "--help").out
        assert "\nExamples:\n  bis data " in told
        assert "\nExit status:\n" in told


def test_names_complete_in_a_shell(tmp_path: Path, bis: Type, customers: Path) -> None:
    def complete(words: str) -> list[str]:
        told = {"_BIS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split("\n")) - 1)}
        return [line.split("\t")[1] for line in bis(folder=tmp_path, **told).out.splitlines()]

    assert complete("bis\ndata\nshow\ncu") == ["customers"]
    assert complete("bis\ndata\nshow\ncustomers@") == ["customers@v2", "customers@v1"]
    assert "status" in complete("bis\ndata\nst")


def test_on_a_terminal_it_is_a_page_for_people(tmp_path: Path, terminal: Type, customers: Path) -> None:
    shown = terminal("data", "show", "customers", "--columns", folder=tmp_path, NO_COLOR="1").out
    assert "customers@v2" in shown
    assert "6 rows, 2 columns" in shown
    assert "bis data diff customers@v1 customers@v2" in shown


def test_rows_that_cannot_be_matched_are_told_with_the_reason(tmp_path: Path, type_: Type) -> None:
    for text in ("a\nx\n", "b\nx\ny\n"):
        (tmp_path / "t.csv").write_text(text)
        assert type_("add", "t.csv").status == 0
    assert "1 -> 2   not matched one by one: no column is in both" in type_("diff", "t@v1", "t@v2").out
    (change,) = type_("diff", "t@v1", "t@v2", "--json").json["changes"]
    assert (change["inside"]["rows"], change["inside"]["unmatched"]) == (None, "no column is in both")


@pytest.mark.parametrize(
    "words",
    [
        "data add --by-reference http://127.0.0.1:1/table.csv",
        "data add file --name x/../y",
        "data add file --checksum sha0",
        "data add file --layout kedro",
        "import dvc .",
        "import lfs file",
        "import annex file",
        "import quilt .",
        "import kedro .",
        "import croissant file",
    ],
)
def test_a_command_that_keeps_nothing_leaves_nothing_in_a_new_project(
    words: str, tmp_path: Path, bis: Callable[..., Any]
) -> None:
    (tmp_path / "file").write_text("x")
    done = bis(*words.split(), folder=tmp_path)
    assert "added" not in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"], done.err
