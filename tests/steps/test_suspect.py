"""Where code asks for the clock or for the number of a process is read off its source, and never guessed."""

import json

import pytest

from bis.steps.suspect import asked


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\nt = time.time()", ["clock time.time (a.py:2)"]),
        ("import time as t\nf(t.perf_counter_ns())", ["clock time.perf_counter_ns (a.py:2)"]),
        ("from time import monotonic as m\n\nm()", ["clock time.monotonic (a.py:3)"]),
        ("from time import *\nperf_counter()", ["clock time.perf_counter (a.py:2)"]),
        ("from time import perf_counter\nrun(clock=perf_counter)", ["clock time.perf_counter (a.py:2)"]),
        ("import datetime\ndatetime.datetime.now().year", ["clock datetime.datetime.now (a.py:2)"]),
        ("def f():\n  from datetime import datetime as d\n  d.utcnow()", ["clock datetime.datetime.utcnow (a.py:3)"]),
        ("import pandas as pd\npd.Timestamp.now()", ["clock pandas.Timestamp.now (a.py:2)"]),
        ("import time\ntime.strftime('%c')", ["clock time.strftime (a.py:2)"]),
        ("import os\nos.getpid()", ["process os.getpid (a.py:2)"]),
        ("import os.path\nos.getpid()", ["process os.getpid (a.py:2)"]),
        ("import subprocess\nsubprocess.Popen('x').pid", ["process .pid (a.py:2)"]),
        ("#!/bin/sh\nx=$$\ny=${SECONDS}", ["process $$ (a.py:2)", "clock ${SECONDS} (a.py:3)"]),
    ],
)
def test_what_asks_is_named_with_its_place(source: str, found: list[str]) -> None:
    assert [f"{kind} {place}" for kind, place in asked("a.py", source)] == found


@pytest.mark.parametrize(
    "source",
    [
        "time = 3\nprint(time)",
        "from .time import time\ntime()",
        "import time\ntime.sleep(1)",
        "import time\ntime.strftime('%c', moment)\ntime.localtime(0)",
        "from os import getpid",
        "import pandas\nframe.pid.mean()",
        "frame.time.time()",
        "print 'Python 2', $$",
        "#!/bin/sh\n# $$",
        "\0",
    ],
)
def test_what_does_not_ask_is_not(source: str) -> None:
    assert list(asked("a.py", source)) == []


def test_a_notebook_is_read_cell_by_cell() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["time.time()"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import time"]},
        {"cell_type": "code", "source": "x = 1\ntime.time()"},
    ]
    found = list(asked("a.ipynb", json.dumps({"cells": cells})))
    assert found == [("clock", "time.time (a.ipynb, cell 3, line 2)")]
    assert list(asked("a.ipynb", "time.time()")) == []


@pytest.mark.filterwarnings("error")
def test_what_python_thinks_of_the_code_is_not_printed() -> None:
    assert [kind for kind, _ in asked("a.py", "import os\nos.getpid(), '\\d'")] == ["process"]
