"""An evaluation, as it runs in the interpreter of a model: what is true is held against what the model says."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.scoring import evaluate

SAVE = """
import json, pathlib, pickle
import numpy
from sklearn.linear_model import LinearRegression

rows = numpy.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 5.0]])
model = LinearRegression().fit(rows, rows @ [1.0, 2.0])
folder = pathlib.Path("model")
folder.mkdir()
(folder / "model.pkl").write_bytes(pickle.dumps(model))
flavors = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"}}
inputs = [{"type": "double", "name": name, "required": True} for name in ("a", "b")]
pathlib.Path("described").write_text(json.dumps({"flavors": flavors, "signature": {"inputs": json.dumps(inputs)}}))
"""
Evaluate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def asked(models_python: Path, tmp_path: Path) -> Evaluate:
    """`asked("rows.jsonl")`, of a model that says a + 2b."""
    subprocess.run([models_python, "-c", SAVE], cwd=tmp_path, check=True)

    def call(data: str, *more: str) -> "subprocess.CompletedProcess[str]":
        words = [str(models_python), evaluate.__file__, "--model", "model", "--described", "described", "--data", data]
        return subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


@pytest.mark.parametrize("end", ["jsonl", "parquet", "csv"])
def test_numbers_with_gaps_among_them_are_measured_as_numbers(asked: Evaluate, tmp_path: Path, end: str) -> None:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    rows = [{"a": float(place), "b": 1.0, "y": None if place == 3 else place + 3} for place in range(8)]
    table = pyarrow.Table.from_pylist(rows)
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    pyarrow.csv.write_csv(table, tmp_path / "rows.csv")
    done = asked(f"rows.{end}", "--trust")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "evaluation.json").read_text())
    assert (about["task"], about["rows"], about["left_out"]) == ("regression", 7, 1)
    assert json.loads((tmp_path / "metrics.json").read_text())["mae"] == pytest.approx(1.0)


def test_only_what_trust_opens_is_said_to_be_opened_by_it(asked: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b,y\n1,2,3\n")
    refused = asked("rows.csv")
    assert "error: model.pkl is not opened: it is a pickle" in refused.stderr
    assert "hint: --trust opens it" in refused.stderr
    (tmp_path / "model" / "model.pkl").write_bytes(b"\x80\x04damaged")
    damaged = asked("rows.csv", "--trust")
    assert damaged.stderr.startswith("error: sklearn cannot load it: ")
    assert "hint" not in damaged.stderr


def test_the_last_column_that_the_model_does_not_take_is_proposed_as_what_it_should_say(
    asked: Evaluate, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("id,a,b,y\n7,1,2,3\n")
    done = asked("rows.csv", "--trust")
    assert "Columns that the model does not take: id, y." in done.stderr
    assert "hint: --target y" in done.stderr
