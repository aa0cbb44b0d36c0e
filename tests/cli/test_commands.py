"""Typing each command: help, suggestions, streams, JSON, exit statuses."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from bis.cli.main import COMMANDS, SECTIONS, cli
from bis.cli.repeat import exit_status

Type = Callable[..., Any]


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


# -- help --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_lists_its_exit_statuses_and_examples_that_it_understands(name: str, bis: Type) -> None:
    told = bis(name, "--help").out
    _, _, statuses = told.partition("\nExit status:\n")
    assert re.search(r"^  0 +\S", statuses, re.M)
    assert re.search(r"^  2 +\S", statuses, re.M)
    assert command(name).examples  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_bis_says_of_each_command_what_its_own_help_says(name: str) -> None:
    assert COMMANDS[name].says == command(name).short_help


def test_help_is_complete_without_importing_a_command(bis: Type) -> None:
    code = "import sys; from bis.cli.main import cli; cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(re.search(rf"^  {name} ", done, re.M) for name in COMMANDS)
    assert all(title in done for title in SECTIONS)
    assert not [module for module in done.splitlines()[-1].split() if module.startswith("bis.cli.look")]


def test_bis_alone_shows_its_help_and_is_wrong_use(bis: Type) -> None:
    assert bis().status == 2


# -- suggestions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["rpeat", "train-12"], "did you mean  bis repeat train-12"),
        (["lgo"], "did you mean  bis log"),
        (["python3", "train.py"], "did you mean  bis run -- python3 train.py"),
        (["nb.ipynb"], "did you mean  bis run -- nb.ipynb"),
        (["qwxz"], "bis --help"),
    ],
)
def test_a_command_that_is_not_there_names_what_was_meant(typed: list[str], hint: str, bis: Type) -> None:
    done = bis(*typed)
    assert done.status == 2
    assert done.err == f'error[B002]: no command "{typed[0]}"\nhelp: {hint}\n'
    assert done.out == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["log", "--jsno"], "--json"), (["run", "--sed", "1", "--", "true"], "--seed"), (["--colour", "log"], "--color")],
)
def test_an_option_that_is_not_there_names_what_was_meant(typed: list[str], meant: str, bis: Type) -> None:
    done = bis(*typed)
    assert done.status == 2
    assert f"Did you mean {meant}?" in done.err


def test_a_missing_run_is_asked_for_with_an_example(bis: Type) -> None:
    done = bis("repeat")
    assert done.status == 2
    assert "bis repeat: RUN is missing" in done.err
    assert "help: bis repeat train-12" in done.err


def test_a_run_that_is_not_there_names_those_like_it(bis: Type, project: Path) -> None:
    done = bis("show", "hihg", folder=project)
    assert done.status == 3
    assert "high" in done.err


@pytest.mark.parametrize(
    "words", [["log"], ["show"], ["diff"], ["verify"], ["du"], ["status"], ["reindex"], ["repeat", "@"]]
)
def test_where_nothing_was_recorded_every_command_says_how_to_begin(
    words: list[str], bis: Type, tmp_path: Path
) -> None:
    done = bis(*words, folder=tmp_path)
    assert done.status == 3
    assert "help: bis run -- python train.py" in done.err
    assert not list(tmp_path.iterdir())


# -- JSON --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (["log"], "bis.log/1"),
        (["show", "low"], "bis.show/1"),
        (["diff", "low", "high"], "bis.diff/1"),
        (["status", "low"], "bis.status/1"),
        (["verify"], "bis.verify/1"),
        (["du"], "bis.du/1"),
        (["reindex"], "bis.reindex/1"),
        (["explain"], "bis.explain/1"),
    ],
)
def test_every_command_answers_in_json_with_its_schema(words: list[str], schema: str, bis: Type, project: Path) -> None:
    done = bis(*words, "--json", folder=project)
    assert done.json["schema"] == schema
    assert len(done.out.splitlines()) == 1
    assert done.err == ""


def test_every_command_but_completion_has_json() -> None:
    without = [
        name for name in COMMANDS if "--json" not in [word for each in command(name).params for word in each.opts]
    ]
    assert without == ["completion"]


# -- run ---------------------------------------------------------------------------------------------------------


def test_the_output_of_a_run_is_the_commands_own_and_bis_speaks_on_stderr(bis: Type, tmp_path: Path) -> None:
    done = bis("run", "--seed", "7", "--", sys.executable, "-c", "print('hello')", folder=tmp_path)
    assert (done.status, done.out) == (0, "hello\n")
    told = done.err.splitlines()
    assert re.fullmatch(r'bis  run [0-9a-f]{8}  ".+-1"  .*seed 7', told[0])
    assert any(re.fullmatch(r"bis  finished in \S+", line) for line in told)
    assert re.fullmatch(r"bis  next  bis repeat \S+-1", told[-1])


def test_a_quiet_run_adds_nothing(bis: Type, tmp_path: Path) -> None:
    done = bis("run", "-q", "--", sys.executable, "-c", "print('hello')", folder=tmp_path)
    assert done == (0, "hello\n", "")


@pytest.mark.parametrize(
    ("code", "status"), [("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137), ("exit(125)", 125)]
)
def test_the_exit_status_is_that_of_the_command(code: str, status: int, bis: Type, tmp_path: Path) -> None:
    assert bis("run", "-q", "--", sys.executable, "-c", code, folder=tmp_path).status == status


def test_a_command_that_is_not_there_exits_with_127(bis: Type, tmp_path: Path) -> None:
    done = bis("run", "--", "no-such-program", folder=tmp_path)
    assert done.status == 127
    assert "error[B127]" in done.err


def test_a_command_that_is_no_program_exits_with_126_and_says_how_to_run_it(bis: Type, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    done = bis("run", "--", "./train.py", folder=tmp_path)
    assert done.status == 126
    assert "help: bis run -- python ./train.py" in done.err


def test_the_two_dashes_may_be_left_out(bis: Type, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; print(sys.argv[1:])", "--seed", "1", "--json"]
    assert bis("run", *words, folder=tmp_path).out == "['--seed', '1', '--json']\n"


def test_a_run_in_json_keeps_what_the_command_prints(bis: Type, tmp_path: Path) -> None:
    done = bis("run", "--json", "--", sys.executable, "-c", "print('hello')", folder=tmp_path)
    assert done.json["schema"] == "bis.run/1"
    assert done.json["run"]["status"] == "finished"
    assert bis("show", "--stdout", folder=tmp_path).out == "hello\n"


def test_bis_may_be_told_where_to_start(bis: Type, project: Path, tmp_path: Path) -> None:
    assert bis("-C", str(project), "log", "--json", folder=tmp_path).json["shown"] == 3
    assert bis("log", "-C", str(project), "--json", folder=tmp_path).json["shown"] == 3
    words = ["-C", str(tmp_path), "run", "--", sys.executable, "-c", "import os; print(os.getcwd())"]
    assert bis(*words, folder=project).out == f"{tmp_path}\n"


def test_runs_that_start_at_once_have_names_of_their_own(bis: Type, tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "train.py").write_text("print('trained')\n")
    words = [sys.executable, "-m", "bis", "run", "-q", "--", sys.executable, "train.py"]
    started = [
        subprocess.Popen(words, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(6)
    ]
    assert [process.wait() for process in started] == [0] * 6
    found = bis("log", "--json", folder=tmp_path).json["runs"]
    assert sorted(run["name"] for run in found) == [f"train-{number}" for number in range(1, 7)]
    assert {run["status"] for run in found} == {"finished"}


def test_a_command_that_could_not_be_started_uses_up_no_name(bis: Type, tmp_path: Path) -> None:
    assert bis("run", "--", "./train", folder=tmp_path).status == 127
    (tmp_path / "train").symlink_to("/bin/true")
    assert '"train-1"' in bis("run", "--", "./train", folder=tmp_path).err


@pytest.mark.parametrize("name", ["a/b", "a~1", "@latest", "-x", "..", "a\nb", "models:a"])
def test_a_name_that_no_reference_could_name_is_refused(name: str, bis: Type, tmp_path: Path) -> None:
    assert bis("run", f"--name={name}", "--", "true", folder=tmp_path).status == 2
    assert not list(tmp_path.iterdir())


def test_seed_and_no_seed_exclude_each_other(bis: Type, tmp_path: Path) -> None:
    assert bis("run", "--seed", "1", "--no-seed", "--", "true", folder=tmp_path).status == 2


# -- repeat and restore ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--tolerance", "auc"],
        ["--tolerance", "auc=much"],
        ["--with", "environment"],
        ["--into", "full"],
        ["--times", "0"],
    ],
)
def test_a_repeat_with_options_that_make_no_sense_is_refused(words: list[str], bis: Type, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "work.txt").write_text("mine")
    done = bis("repeat", "low", *words, folder=tmp_path)
    assert done.status == 2
    assert "help: bis repeat" in done.err


@pytest.mark.parametrize(
    ("sameness", "status", "strictly"),
    [
        ("identical", 0, 0),
        ("equivalent", 0, 1),
        ("nothing observed", 0, 1),
        ("different", 1, 1),
        ("not repeatable", 4, 4),
    ],
)
def test_the_exit_status_of_a_repeat_is_its_verdict(sameness: str, status: int, strictly: int) -> None:
    assert exit_status(sameness, strict=False) == status
    assert exit_status(sameness, strict=True) == strictly


def test_restore_puts_the_run_into_a_folder_of_its_name_and_never_over_work(
    bis: Type, project: Path, tmp_path: Path
) -> None:
    done = bis("restore", "high", str(tmp_path / "past"), folder=project)
    assert done.status == 0
    assert done.out.startswith(f"restored  high into {tmp_path}/past  ")
    assert (tmp_path / "past" / "train.py").read_text() == (project / "train.py").read_text()
    again = bis("restore", "high", str(tmp_path / "past"), folder=project)
    assert again.status == 2
    assert "is not empty" in again.err


# -- keep --------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """The project, to be damaged."""
    return shutil.copytree(project, tmp_path / "copy")


def test_a_store_that_is_whole_is_sound(bis: Type, project: Path) -> None:
    done = bis("verify", folder=project)
    assert done.status == 0
    assert re.fullmatch(r"sound  3 runs, \d+ objects, .* of content\n", done.out)


def test_a_flipped_bit_is_found(bis: Type, copy: Path) -> None:
    pack = max((copy / ".bis" / "store" / "packs").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(content)
    done = bis("verify", folder=copy)
    assert done.status == 5
    assert done.out.startswith("[!]")
    assert not bis("verify", "--json", folder=copy).json["sound"]


def test_a_ledger_that_is_gone_or_damaged_is_built_again(bis: Type, copy: Path) -> None:
    ledger = copy / ".bis" / "ledger.db"
    before = bis("log", "--json", folder=copy).json
    for damage in (b"no database", None):
        for path in ledger.parent.glob("ledger.db*"):
            path.unlink()
        if damage:
            ledger.write_bytes(damage * 1000)
            assert "bis reindex" in bis("log", folder=copy).err
        done = bis("reindex", folder=copy)
        assert done.status == 0, done.err
        assert "3 runs added, 3 runs in all" in done.out
        assert bis("log", "--json", folder=copy).json == before


def test_du_counts_bytes_in_a_pipe(bis: Type, project: Path) -> None:
    rows = [line.split("\t") for line in bis("du", folder=project).out.splitlines()]
    assert rows[0] == ["what", "objects", "content", "on disk"]
    assert {row[0] for row in rows} >= {"files", "records", "store", "ledger"}
    assert all(row[3].isdigit() for row in rows[1:])


# -- the rest ----------------------------------------------------------------------------------------------------


def test_a_code_is_explained_and_a_misspelled_one_is_not_taken_for_another(bis: Type) -> None:
    assert bis("explain", "b004").out.startswith("B004  The run is recorded")
    assert bis("explain", "B9999").status == 3
    assert len(bis("explain").out.splitlines()) > 10


def test_a_finding_is_explained_by_the_runs_that_have_it(bis: Type, tmp_path: Path) -> None:
    bis("run", "--name", "shell", "--", "true", folder=tmp_path)
    done = bis("explain", "no-python", folder=tmp_path)
    assert done.out.startswith("findings        [!] ")
    assert done.out.endswith("in              shell\n")
    assert bis("explain", "no-pyhton", folder=tmp_path).err.endswith("help: bis explain no-python\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_completion_is_taken_by_its_shell(shell: str, bis: Type, tmp_path: Path) -> None:
    script = bis("completion", shell).out
    assert f"_BIS_COMPLETE={shell}_complete" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script)
    subprocess.run([program, "-n", str(tmp_path / "script")], check=True)


def completed(bis: Type, words: str, folder: Path) -> list[list[str]]:
    """What bash is offered for the last of the words: kind, word, help."""
    count = len(words.split()) - (not words.endswith(" "))
    done = bis(folder=folder, _BIS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count))
    return [line.split("\t") for line in done.out.splitlines() if line]


def test_completion_says_what_commands_options_and_runs_are(bis: Type, project: Path) -> None:
    assert completed(bis, "bis rep", project) == [["plain", "repeat", COMMANDS["repeat"].says]]
    assert ["--offline", "Install packages from caches only."] in [
        row[1:] for row in completed(bis, "bis repeat --o", project)
    ]
    runs = {row[1]: row[2] for row in completed(bis, "bis show ", project)}
    assert set(runs) == {"low", "high", "broken"}
    assert "accuracy 0.92" in runs["high"]
    assert completed(bis, "bis show ", project.parent) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_a_run_and_shows_help_only_in_its_list(bis: Type, project: Path, tmp_path: Path) -> None:
    (tmp_path / "bis").write_text(f'#!/bin/sh\nexec {sys.executable} -m bis "$@"\n')
    (tmp_path / "bis").chmod(0o755)
    (tmp_path / "script").write_text(bis("completion", "bash").out)
    asked = "COMP_WORDS=(bis show {word}) COMP_CWORD=2 COMP_TYPE={kind}; _bis_completion bis"
    asked += "; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    for word, kind, expected in (("hi", 9, r"high\n"), ("''", 63, r"(\w+ +\(.+\)\n){3}")):
        code = f"source {tmp_path / 'script'} 2> /dev/null; {asked.format(word=word, kind=kind)}"
        variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", code], cwd=project, env=variables, capture_output=True, text=True)
        assert re.fullmatch(expected, done.stdout), done.stdout + done.stderr


def test_what_cannot_be_repeated_exits_with_4_and_json_names_the_reason(bis: Type, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "print(1)", "--password", "correct-horse-battery"]
    assert bis("run", "--name", "login", "--", *words, folder=tmp_path).status == 0
    assert "correct-horse" not in bis("show", "login", "--json", folder=tmp_path).out
    done = bis("repeat", "login", "--json", folder=tmp_path)
    assert done.status == 4
    assert done.json["sameness"] == "not repeatable"
    assert done.json["error"]["code"] == "B004"
    assert "error[B004]" in done.err
