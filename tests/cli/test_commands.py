"""Typing each command: help, suggestions, streams, JSON, exit statuses."""

import json
import os
import re
import shlex
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
        (["lgo", "train-12"], "did you mean  bis log"),
        (["shwo", "train-12", "--stdout"], "did you mean  bis show train-12 --stdout"),
        (["shwo", "train-12", "--tail"], "did you mean  bis show"),
        (["logs", "train-12"], "did you mean  bis show --log train-12"),
        (["dtaa", "add", "rows"], "did you mean  bis data add rows"),
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
    "words",
    [
        *(["log"], ["show"], ["diff"], ["verify"], ["du"], ["status"], ["reindex"], ["repeat", "@"]),
        *(["tag", "@", "a=b"], ["note", "@", "x"], ["restore", "@"]),
    ],
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
        (["clean", "--dry-run"], "bis.clean/1"),
        (["tag", "low"], "bis.tag/1"),
        (["explain"], "bis.explain/1"),
    ],
)
def test_every_command_answers_in_json_with_its_schema(words: list[str], schema: str, bis: Type, project: Path) -> None:
    done = bis(*words, "--json", folder=project)
    assert done.json["schema"] == schema
    assert len(done.out.splitlines()) == 1
    assert done.err == ""


def test_a_log_can_be_had_as_one_object_a_line(bis: Type, project: Path) -> None:
    done = bis("log", "--jsonl", folder=project)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["name"] for line in lines] == ["broken", "high", "low"]
    assert {line.pop("schema") for line in lines} == {"bis.log.run/1"}
    assert lines == bis("log", "--json", folder=project).json["runs"]
    assert done.err == ""


def test_times_are_told_by_the_clock_of_utc_when_that_is_wanted(bis: Type, terminal: Type, project: Path) -> None:
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
    began = bis("show", "low", "--json", folder=project).json["run"]["started"]
    for words in (["log"], ["show", "low"]):
        assert " ago" in terminal(*words, folder=project).out
        told = terminal(*words, "--utc", folder=project, TZ="XXX-14").out
        assert " ago" not in told
        assert f"{began[:10]} {began[11:19]}Z" in re.findall(stamp, told)


def alone(name: str, found: click.Command | None = None) -> list[tuple[str, click.Command]]:
    """A command, or those of its family and of the families in it, by what is typed."""
    found = found or command(name)
    if not isinstance(found, click.Group):
        return [(name, found)]
    return [each for inner, below in found.commands.items() for each in alone(f"{name} {inner}", below)]


def test_every_command_but_completion_has_json() -> None:
    without = [
        words
        for name in COMMANDS
        for words, each in alone(name)
        if "--json" not in [word for param in each.params for word in param.opts]
    ]
    assert without == ["completion"]


WORDS_OF_ALL = """
import json, sys
from bis.__main__ import main
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    print(json.dumps(main()), flush=True)
"""
"""Types many command lines, and tells the exit status of each."""


def test_every_command_tells_a_script_in_json_what_was_wrong(variables: dict[str, str], tmp_path: Path) -> None:
    lines = [[*words.split(), "--json", "--no-such"] for name in COMMANDS for words, _ in alone(name)]
    lines = [line for line in lines if line[0] != "completion"]
    typed = [sys.executable, "-c", WORDS_OF_ALL, json.dumps(lines)]
    done = subprocess.run(typed, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert answers[1::2] == [2] * len(lines)
    for line, answer in zip(lines, answers[::2], strict=True):
        assert (answer["schema"], set(answer["error"])) == ("bis.error/1", {"code", "what", "because", "hint"}), line
        assert answer["error"]["code"] == "B002"
        assert answer["error"]["what"] == f'bis {" ".join(line[:-2])} has no option "--no-such"'
        assert answer["error"]["hint"]
    assert done.stderr.count("error[B002]: ") == len(lines)


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["show", "nothing"], 3, "B003"),
        (["repeat", "nothing"], 3, "B003"),
        (["data", "show", "nothing"], 3, "B003"),
        (["log", "-n", "-3"], 2, "B002"),
        (["log", "--jsonl"], 2, "B002"),
        (["run", "--seed", "1", "--no-seed", "--", "true"], 2, "B002"),
        (["run", "--", "nosuchprogram"], 127, "B127"),
        (["-C", "/nowhere", "log"], 2, "B002"),
    ],
)
def test_an_error_is_one_object_for_a_script_and_words_for_people(
    words: list[str], status: int, code: str, bis: Type, project: Path
) -> None:
    place = words.index("--") if "--" in words else len(words)
    done = bis(*words[:place], "--json", *words[place:], folder=project)
    assert done.status == status
    assert (done.json["schema"], done.json["error"]["code"]) == ("bis.error/1", code)
    assert len(done.out.splitlines()) == 1
    assert done.err.startswith(f"error[{code}]: {done.json['error']['what']}\n")


def test_json_that_another_command_is_to_give_is_none_of_bis(bis: Type, project: Path) -> None:
    done = bis("run", "--seed", "x", "--", "true", "--json", folder=project)
    assert (done.status, done.out) == (2, "")


# -- wrong use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["-C", "/nowhere", "log"], "error[B002]: /nowhere is not there\nhelp: bis -C FOLDER, or cd FOLDER first\n"),
        (["-C", "train.py", "log"], "error[B002]: train.py is not a folder\n"),
        (["-C"], "error[B002]: bis: -C needs a value, DIR\n"),
        (
            ["--color", "nevr", "log"],
            "error[B002]: bis: --color is one of auto, always, never, not 'nevr'\n  Did you mean n",
        ),
        (["run", "--seed", "x", "--", "true"], "error[B002]: bis run: --seed is a whole number from 0 on, not 'x'\n"),
        (["run", "--seed=-1", "--", "true"], "error[B002]: bis run: --seed is a whole number from 0 on, not '-1'\n"),
        (
            ["run", "--trace", "ful", "--", "true"],
            "error[B002]: bis run: --trace is one of auto, notify, audit, full, off",
        ),
        (["run", "--data"], "error[B002]: bis run: --data needs a value, GLOB\nhelp: bis run -- python train.py"),
        (["log", "--json=1"], "error[B002]: bis log: --json takes no value\nhelp: bis log\n"),
        (["log", "-n", "-3"], "error[B002]: bis log: --limit is a whole number from 0 on, not '-3'\n"),
        (
            ["log", "a < 3", "AND", "params.lr = '1'"],
            """too many words: a < 3 AND params.lr = '1'\nhelp: bis log --filter "a < 3 AND params.lr = '1'"\n""",
        ),
        (["log", "low"], "error[B002]: bis log: too many words: low\nhelp: bis log\n"),
        (["log", "-f", "metrics.loss <"], "error[B002]: the filter makes no sense at position 15: the end where more"),
        (["log", "-f", "parms.lr = 1"], "error[B002]: no field 'parms.lr' at position 1 of the filter: parms.lr = 1\n"),
        (["log", "--sort", "stats"], "error[B002]: no field 'stats' at position 1 of the order: stats\n"),
        (["log", "--columns", "nmae"], "error[B002]: none of these runs has a column 'nmae'\n  Did you mean name?\n"),
        (["du", "-n", "x"], "error[B002]: bis du: --largest is a whole number from 0 on, not 'x'\n"),
        (["diff", "low", "high", "x"], "error[B002]: bis diff: too many words: x\nhelp: bis diff train-1 train-2\n"),
        (["show", "@lates"], "error[B002]: '@lates' is not a reference to a run\n  'lates' is no date, time stamp, or"),
        (["completion", "bahs"], "error[B002]: bis completion: SHELL is one of bash, zsh, fish, not 'bahs'\n  Did you"),
        (["clean", "--older", "long"], "error[B002]: bis clean: --older: 'long' is no age such as 30d, 12h or 2w\n"),
        (["restore", "low", "train.py"], "is not a folder\nhelp: bis restore low "),
        (["tag", "low", "team"], "error[B002]: 'team' is not NAME=VALUE\nhelp: bis tag RUN team=yes\n"),
        (["tag", "low", "a'b=1"], "cannot be the name of a tag\n"),
        (["note", "low"], "error[B002]: bis note: TEXT... is missing\n"),
        (["note", "low", " "], "error[B002]: there is nothing to say\n"),
    ],
    ids=" ".join,
)
def test_wrong_use_says_what_was_wrong_and_what_to_type(typed: list[str], told: str, bis: Type, project: Path) -> None:
    done = bis(*typed, folder=project)
    assert (done.status, done.out) == (2, "")
    assert told in done.err
    assert "help: " in done.err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["show", "@~9"], "@~9 is not there: only 2 runs lie before the newest\n"),
        (["show", "low@{2020-01-01}"], "no run called low had started by 2020-01-01 23:59:59Z\n"),
        (["tag", "low", "--remove", "x"], "low has no tag 'x'\n"),
        (["restore", "low", "{new}", "--only", "nothing"], "low has nothing named nothing\n"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_named(typed: list[str], told: str, bis: Type, project: Path, tmp_path: Path) -> None:
    done = bis(*(word.format(new=tmp_path / "new") if word == "{new}" else word for word in typed), folder=project)
    assert done.status == 3
    assert done.err.startswith(f"error[B003]: {told}help: ")


def test_a_date_ends_at_midnight_where_the_person_is(bis: Type, project: Path) -> None:
    done = bis("show", "@{2020-01-01}", folder=project, TZ="XXX-14")
    assert "by 2020-01-01 09:59:59Z" in done.err


def test_a_name_to_sort_by_that_no_run_has_is_told(bis: Type, project: Path) -> None:
    done = bis("log", "--sort=-metrics.acuracy", folder=project)
    assert done.status == 0
    assert "help: no run has metrics.acuracy; did you mean metrics.accuracy?" in done.err


def test_a_pager_that_cannot_be_understood_is_passed_over(terminal: Type, project: Path) -> None:
    done = terminal("log", folder=project, lines=3, BIS_PAGER="less '")
    assert done.status == 0
    assert "high" in done.out


# -- run ---------------------------------------------------------------------------------------------------------


def test_the_output_of_a_run_is_the_commands_own_and_bis_speaks_on_stderr(bis: Type, tmp_path: Path) -> None:
    done = bis("run", "--seed", "7", "--", sys.executable, "-c", "print('hello')", folder=tmp_path)
    assert (done.status, done.out) == (0, "hello\n")
    told = done.err.splitlines()
    assert re.fullmatch(r'bis  run [0-9a-f]{8}  ".+-1"  .*seed 7', told[0])
    assert any(re.fullmatch(r"bis  finished in \S+", line) for line in told)
    assert re.fullmatch(r"bis  next  bis repeat \S+-1", told[-1])


def test_the_command_that_it_names_next_can_be_typed_whatever_the_run_is_called(bis: Type, tmp_path: Path) -> None:
    done = bis("run", "--name", "it's $HOME", "--", sys.executable, "-c", "pass", folder=tmp_path)
    told = done.err.splitlines()[-1].removeprefix("bis  next  ")
    assert shlex.split(told) == ["bis", "repeat", "it's $HOME"]
    assert bis(*shlex.split(told)[1:], folder=tmp_path).status == 0


def test_what_comes_after_a_failure_is_to_look_at_it(bis: Type, tmp_path: Path) -> None:
    done = bis("run", "--name", "typo", "--", sys.executable, "nosuch.py", folder=tmp_path)
    assert done.status == 2
    assert done.err.splitlines()[-1] == "bis  next  bis show typo"


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
    assert "  run " not in done.err  # nothing is said to have begun


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
    assert re.fullmatch(r"sound  3 runs, [\d,]+ objects, .* of content\n", done.out)


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
    ledger = copy / ".bis" / "ledger"
    before = bis("log", "--json", folder=copy).json
    for damage in (b"no database", None):
        for path in ledger.parent.glob("ledger*"):
            path.unlink()
        if damage:
            ledger.write_bytes(damage * 1000)
            assert "bis reindex" in bis("log", folder=copy).err
        done = bis("reindex", folder=copy)
        assert done.status == 0, done.err
        assert "3 runs added, 3 runs in all" in done.out
        assert bis("log", "--json", folder=copy).json == before


def test_a_ledger_that_is_gone_is_made_anew_by_whoever_asks(bis: Type, copy: Path) -> None:
    before = bis("log", "--json", folder=copy).json
    for path in (copy / ".bis").glob("ledger*"):
        path.unlink()
    assert bis("log", "--json", folder=copy).json == before


def test_tags_and_notes_find_a_run_and_outlive_the_ledger(bis: Type, copy: Path) -> None:
    record = bis("log", "-f", "name = 'low'", "--json", folder=copy).json["runs"][0]["record"]
    assert bis("tag", "low", "team=fraud", "state=draft", "score=0.5", folder=copy).status == 0
    done = bis("tag", "low", "state=final", "--remove", "team", folder=copy)
    assert (done.status, done.out) == (0, "score\t0.5\nstate\tfinal\n")
    assert bis("note", "low", "the one", "that we ship", folder=copy).status == 0
    for path in (copy / ".bis").glob("ledger*"):
        path.unlink()
    assert bis("reindex", folder=copy).out.endswith("3 runs in all\n")
    for filter in ("tags.state = 'final'", "tags.score > 0.4", "note LIKE '%ship'", "tags.team IS NULL and exit = 0"):
        found = bis("log", "-f", filter, "--json", folder=copy).json["runs"]
        assert "low" in [run["name"] for run in found], filter
    (low,) = bis("log", "-f", "tags.state = 'final'", "--json", folder=copy).json["runs"]
    assert (low["tags"], low["note"]) == ({"score": "0.5", "state": "final"}, "the one that we ship")
    assert low["record"] == record
    page = bis("show", "low", folder=copy).out
    assert "\ntags            score=0.5\n                state=final\n" in page
    assert "\nnote            the one that we ship  (" in page
    told = bis("show", "low", "--json", folder=copy).json
    assert told["tags"] == low["tags"]
    assert len(told["annotations"]) == 3
    assert bis("log", "--columns", "name,state", folder=copy).out.splitlines()[-1] == "low\tfinal"
    assert bis("verify", folder=copy).status == 0


def test_environments_that_nobody_used_for_long_are_removed(bis: Type, project: Path, tmp_path: Path) -> None:
    old, new = (tmp_path / "cache" / (digit * 20) for digit in "ab")
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "bis-environment.json").write_text("{}")
    for path in (old / "bis-environment.json", old):
        os.utime(path, (1e9, 1e9))
    given = {"BIS_ENVIRONMENTS": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    assert "bis clean  removes what nobody used for 30 days: 1 environment" in bis("du", folder=project, **given).err
    assert bis("clean", "--dry-run", folder=project, **given).out.splitlines()[-1].startswith("would be removed: 1 env")
    assert old.exists()
    done = bis("clean", folder=project, **given)
    assert (done.status, done.out.splitlines()[-1].partition(",")[0]) == (0, "removed: 1 environment")
    assert not old.exists()
    assert new.exists()


def test_what_could_not_be_read_of_a_lost_run_is_told_and_removed(bis: Type, project: Path, tmp_path: Path) -> None:
    rest = project / ".bis" / "unread" / "0123456789ab"
    rest.mkdir(parents=True)
    (rest / "end").write_text("{}")
    for path in (rest / "end", rest):
        os.utime(path, (1e9, 1e9))
    given = {"BIS_ENVIRONMENTS": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    told = bis("du", folder=project, **given)
    assert "bis clean  removes what nobody used for 30 days: 1 unread rest of a lost run" in told.err
    assert "rests of lost runs\t1\t" in told.out
    assert bis("clean", folder=project, **given).out.splitlines()[-1].startswith("removed: 1 unread rest of a lost run")
    assert not rest.exists()


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
