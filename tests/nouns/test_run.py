"""Runs as values: what they were told, what makes two commands the same, and records read back."""

import os
from typing import Any

import pytest

from bis.digest import Digest, canonical, decoded
from bis.errors import Damaged
from bis.nouns.part import Part
from bis.nouns.run import Run, command_key, told


def a_run(**fields: Any) -> Run:
    plain = {"id": "000000000001", "name": "run-1", "command": ("python", "x.py")}
    return Run(**{**plain, "started": "2026-05-03T00:00:01.000000Z", "status": "finished", **fields})


def test_options_and_configuration_values_are_params() -> None:
    facts = {
        "options": {"lr": "0.1", "depth": "3"},
        "values": {"a.yaml:model.layers": "2", "a.yaml:lr": "9", "b.yaml:seed": "1", "c.yaml:seed": "2"},
    }
    run = a_run(parts={"params": Part(kind="params", digest=Digest("b3:"), facts=facts)})
    assert told(run) == {
        "lr": "0.1",
        "depth": "3",
        "model.layers": "2",
        **facts["values"],
    }
    assert told(a_run()) == {}


SAME = [
    ("python train.py", "python train.py --lr 0.1"),
    ("python train.py --lr 0.1", "python train.py --lr 0.2 --fast"),
    ("python train.py --lr=0.1", "python train.py -n 3"),
    ("python train.py lr=0.1", "python train.py lr=0.2"),
    ("python -m pkg.train --lr 1", "python -m pkg.train"),
    ("python -u train.py", "python train.py"),
    ("/usr/bin/python train.py", ".venv/bin/python train.py"),
]
OTHER = [
    ("python train.py", "python other.py"),
    ("python train.py", "python -m train"),
    ("python -m a", "python -m b"),
    ("python train.py a.csv", "python train.py b.csv"),
    ("bash train.sh", "sh train.sh"),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_the_same_script_with_other_values_is_the_same_command(one: str, two: str) -> None:
    assert command_key(one.split(), ".") == command_key(two.split(), ".")
    assert command_key(one.split(), ".") != command_key(two.split(), "sub")


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_another_script_is_another_command(one: str, two: str) -> None:
    assert command_key(one.split(), ".") != command_key(two.split(), ".")


def test_a_command_has_one_key_as_typed_and_as_spelled() -> None:
    typed = ["python", os.fsdecode(b"\xff.py")]
    assert command_key(typed, ".") == command_key(["python", "\0ff.py"], ".")


def test_what_is_no_record_is_not_taken_for_one() -> None:
    for data in (b"", b"{}", b'{"schema":"bis.run/2","id":"x"}', b'{"schema":"bis.verdict/1"}'):
        with pytest.raises(Damaged):
            decoded(data, Run)


def test_a_record_with_fields_of_a_later_bis_can_be_read() -> None:
    """Fields are only ever added within a version of the schema."""
    data = canonical(a_run()).replace(b'"id"', b'"colour":"red","id"')
    assert decoded(data, Run) == a_run()
