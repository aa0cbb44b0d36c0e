"""The entry point: what it answers by itself, and how every failure is told."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

from bis import __version__
from bis.__main__ import main
from bis.errors import CannotRepeat, NotFound

Type = Callable[..., int]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Type:
    """`typed("fail")` runs the entry point on a command line whose commands fail in every way."""

    @click.group()
    @click.option("--color")
    def cli(color: str) -> None:
        """A command line."""

    failures: dict[str, Exception | type[BaseException]] = {
        "not-found": NotFound("no run is named 'adam'", because="Nearest: adam-4", hint="bis log"),
        "cannot": CannotRepeat("numpy 1.0 cannot be had", code="B431"),
        "full": OSError(errno.ENOSPC, "No space left on device", "/disk/pack"),
        "odd": ValueError("\udc80 is odd"),
        "interrupt": KeyboardInterrupt,
        "pipe": BrokenPipeError(errno.EPIPE, "Broken pipe"),
        "end": EOFError("Compressed file ended before the end-of-stream marker was reached"),
        "seven": click.exceptions.Exit(7),
    }

    def failing(failure: Exception | type[BaseException]) -> Callable[[], None]:
        def command() -> None:
            raise failure

        return command

    for name, failure in failures.items():
        cli.command(name)(failing(failure))
    cli.command("one")(lambda: 1)

    @cli.command("run", context_settings={"ignore_unknown_options": True})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def run(words: tuple[str, ...]) -> None:
        click.echo(repr(words))

    module = ModuleType("bis.cli.main")
    module.cli = cli  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bis.cli.main", module)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("BIS_DEBUG", raising=False)

    def type_(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["bis", *words])
        return main()

    return type_


def test_a_failure_is_told_with_its_code_its_reason_and_what_to_type(
    typed: Type, capfd: pytest.CaptureFixture[str]
) -> None:
    assert typed("not-found") == 3
    assert capfd.readouterr().err == "error[B003]: no run is named 'adam'\n  Nearest: adam-4\nhelp: bis log\n"


def test_an_error_keeps_the_code_of_its_own(typed: Type, capfd: pytest.CaptureFixture[str]) -> None:
    assert typed("cannot") == 4
    assert capfd.readouterr().err.startswith("error[B431]: ")


def test_what_was_not_foreseen_is_saved_and_the_file_is_named(
    typed: Type, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert typed("odd") == 125
    told = capfd.readouterr().err
    (saved,) = (tmp_path / "state" / "bis").iterdir()
    assert str(saved) in told
    assert "Traceback" not in told
    assert "ValueError" in saved.read_text()


def test_debug_shows_the_traceback(typed: Type, capfd: pytest.CaptureFixture[str]) -> None:
    assert typed("--debug", "not-found") == 3
    assert "Traceback" in capfd.readouterr().err
    assert typed("not-found", "--debug") == 3
    assert "Traceback" in capfd.readouterr().err


def test_debug_of_another_command_is_left_alone(typed: Type, capfd: pytest.CaptureFixture[str]) -> None:
    assert typed("run", "train", "--debug") == 0
    assert capfd.readouterr().out == "('train', '--debug')\n"
    assert typed("--color", "never", "run", "train", "--debug") == 0
    assert capfd.readouterr().out == "('train', '--debug')\n"


def test_a_failure_is_told_where_the_home_folder_cannot_be_written(
    typed: Type, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert typed("odd") == 125
    assert "The traceback is in " in capfd.readouterr().err


def test_a_full_disk_is_trouble_with_keeping(typed: Type, capfd: pytest.CaptureFixture[str]) -> None:
    assert typed("full") == 5
    assert "cannot write /disk/pack: the disk is full" in capfd.readouterr().err


@pytest.mark.parametrize(("word", "status"), [("interrupt", 130), ("seven", 7), ("one", 1), ("--help", 0)])
def test_exit_statuses_pass_through(typed: Type, word: str, status: int) -> None:
    assert typed(word) == status


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("interrupt", "bis  interrupted\n"),
        ("pipe", "error[B001]: bis failed: BrokenPipeError: [Errno 32] Broken pipe\n"),
        ("end", "error[B001]: bis failed: EOFError: Compressed file ended"),
    ],
)
def test_nothing_ends_in_silence(typed: Type, capfd: pytest.CaptureFixture[str], word: str, told: str) -> None:
    assert typed(word) != 0
    assert capfd.readouterr().err.startswith(told)


def test_a_wrong_command_line_exits_with_2_and_says_where_help_is(
    typed: Type, capfd: pytest.CaptureFixture[str]
) -> None:
    assert typed("one", "--colour") == 2
    told = capfd.readouterr().err
    assert "--colour" in told
    assert "help: bis one --help" in told


def test_the_version_is_told_before_anything_is_imported() -> None:
    asked = "import sys; sys.argv = ['bis', '--version']; import bis.__main__ as m; m.main(); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    version, loaded = told.splitlines()
    assert version == f"bis {__version__}"
    assert not {"click", "msgspec", "typing", "re", "pathlib", "bis.errors"} & set(loaded.split())


def test_a_reader_that_has_gone_is_no_failure() -> None:
    code = (
        "import sys, types, click\n"
        "@click.command()\n"
        "def cli():\n    [print('line' * 100) for _ in range(10000)]\n"
        "module = types.ModuleType('bis.cli.main'); module.cli = cli; sys.modules['bis.cli.main'] = module\n"
        "sys.argv = ['bis']; import bis.__main__ as m; sys.exit(m.main())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
