"""Work by several threads, with the answers in order."""

import subprocess
import sys

import pytest

from bis.store.crew import Behind, in_order


def test_answers_come_in_the_order_of_the_things() -> None:
    assert list(in_order(lambda number: number * 2, range(100), workers=4)) == list(range(0, 200, 2))


def test_the_first_error_is_raised_where_its_answer_would_stand() -> None:
    answers = in_order(lambda number: 1 // (number - 2), range(5), workers=2)
    assert (next(answers), next(answers)) == (-1, -1)
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_one_that_lags_behind_raises_what_an_earlier_thing_raised() -> None:
    def lag() -> None:
        with Behind(lambda number: 1 // number, most=1) as behind:
            for number in (1, 0, 1, 1, 1):
                behind.do(number)

    with pytest.raises(ZeroDivisionError):
        lag()


def test_work_is_done_while_the_interpreter_ends() -> None:
    """A script's artifacts are carried on then, when no pool takes anything any more."""
    script = """
import atexit
from bis.store.crew import Behind, in_order

def last():
    print(list(in_order(lambda number: number + 1, range(3))))
    with Behind(print, most=0) as behind:
        behind.do("behind")

atexit.register(last)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[1, 2, 3]\nbehind\n", "")
