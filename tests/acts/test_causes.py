"""A repeat that comes out otherwise names what the code asked for: the clock, the number of a process."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bis = Callable[..., subprocess.CompletedProcess[str]]
Repeated = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.usefixtures("python3")


@pytest.fixture
def repeated(bis: Bis, project: Path, verdict: Callable[..., dict[str, Any]]) -> Repeated:
    """Record `python3 a.py` and repeat it: the verdict."""

    def call(source: str, *command: str) -> dict[str, Any]:
        (project / "a.py").write_text(source)
        done = bis("run", "--", *(command or ("python3", "a.py")))
        assert done.returncode == 0, done.stderr
        return verdict(bis("repeat", "@", "--json"))

    return call


@pytest.mark.parametrize(
    "source",
    [
        "import json, os\njson.dump({'n': os.getpid()}, open('m.json', 'w'))",
        "import os\nprint(os.getpid() * 3)",
        "from os import getppid as number\nnumber = number()\nprint('x', number + 1)",
    ],
)
def test_the_number_of_a_process_is_named_where_nothing_in_the_output_tells_it(repeated: Repeated, source: str) -> None:
    found = repeated(source)
    assert found["sameness"] == "different", found
    (cause,) = found["causes"]
    assert cause.startswith("perhaps the number of a process: os.get"), cause
    assert "(a.py:" in cause


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("from time import perf_counter\nt = perf_counter()\nprint('score', perf_counter() - t)", "a.py:2"),
        ("from datetime import datetime\nprint(datetime.now().microsecond)", "a.py:2"),
        ("import time\nprint(time.time_ns() * 7)", "a.py:2"),
        ("import time as t, json\njson.dump({'score': t.monotonic() % 1}, open('m.json', 'w'))", "a.py:2"),
    ],
)
def test_the_clock_is_named_where_its_value_has_no_form_of_a_time(repeated: Repeated, source: str, place: str) -> None:
    found = repeated(source)
    assert found["sameness"] == "different", found
    (cause,) = found["causes"]
    assert cause.startswith("perhaps the clock: "), cause
    assert place in cause


@pytest.mark.parametrize(
    "source",
    [
        "import time\nprint(time.time() * 7)",
        "import json, time\njson.dump({'score': time.time() * 7}, open('m.json', 'w'))",
    ],
)
def test_a_number_that_went_on_as_the_clock_did_is_not_put_down_to_sums(repeated: Repeated, source: str) -> None:
    found = repeated(source)
    assert found["sameness"] == "different", found
    (cause,) = found["causes"]
    assert cause.startswith("perhaps the clock"), cause
    assert "time.time (a.py:2)" in cause


def test_code_that_did_not_run_is_not_named(repeated: Repeated, project: Path) -> None:
    (project / "bench.py").write_text("import time\nprint(time.time())")
    (project / "lib.py").write_text("import os\ndef number():\n    return os.getpid()")
    found = repeated("import lib\nprint(lib.number() * 3)")
    assert found["causes"] == ["perhaps the number of a process: os.getpid (lib.py:3)"]


def test_a_module_whose_compiled_form_was_read_is_named(repeated: Repeated, project: Path, plain_python: Path) -> None:
    (project / "lib.py").write_text("import os\ndef number():\n    return os.getpid()")
    subprocess.run([plain_python, "-c", "import lib"], cwd=project, check=True, env={})
    found = repeated("import lib\nprint(lib.number() * 3)")
    assert found["causes"] == ["perhaps the number of a process: os.getpid (lib.py:3)"]


def test_code_on_the_command_line_is_read_too(repeated: Repeated) -> None:
    found = repeated("", "python3", "-c", "import os; print(os.getpid() * 3)")
    assert found["causes"] == ["perhaps the number of a process: os.getpid (-c:1)"]
    found = repeated("", "sh", "-c", "echo $(($$ * 3))")
    assert found["causes"] == ["perhaps the number of a process: $$ (-c:1)"]


@pytest.mark.usefixtures("kernel_trace")
def test_a_program_that_tells_the_time_is_named(repeated: Repeated) -> None:
    found = repeated("", "sh", "-c", "echo x$(date +%N)y")
    assert found["causes"] == ["perhaps the clock: the program date"]
