"""A model of a user's environment, and the program that scores with it, as `bis predict` starts it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.steps.model_folder import read_folder
from bis.steps.scoring_program import program

SAVE = """
import json, pathlib
import numpy, skops.io
from sklearn.linear_model import LogisticRegression

rows = numpy.random.default_rng(1).normal(size=(90, 2))
model = LogisticRegression().fit(rows, (rows[:, 0] - rows[:, 1] > 0).astype("int64"))
folder = pathlib.Path("model")
folder.mkdir()
skops.io.dump(model, folder / "model.skops")
inputs = [{"type": "double", "name": name, "required": True} for name in ("age", "income")]
outputs = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
flavors = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}
described = {"flavors": flavors, "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}}
(folder / "MLmodel").write_text(json.dumps(described))
"""
ASK = """
import sys, numpy, skops.io
model = skops.io.load(sys.argv[1])
rows = numpy.loadtxt(sys.argv[2], delimiter=",", skiprows=1, ndmin=2, usecols=(1, 2))
print(*map(int, model.predict(rows)), sep="\\n")
"""

Score = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def model(models_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that takes the columns age and income."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "save.py").write_text(SAVE)
    subprocess.run([models_python, "save.py"], cwd=folder, check=True)
    return folder / "model"


@pytest.fixture(scope="session")
def words(models_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How the program is started, without what is scored."""
    script = program(read_folder(model).described, tmp_path_factory.mktemp("program"))
    return [os.fspath(models_python), os.fspath(script), "--model", os.fspath(model)]


@pytest.fixture
def score(words: list[str], tmp_path: Path) -> Score:
    """`score("x.csv", "y.csv", "--batch", "10")`, in a folder of the test."""

    def call(input: str, output: str, *more: str) -> subprocess.CompletedProcess[str]:
        named = ["--format", Path(output.removesuffix(".gz").removesuffix(".zst")).suffix[1:]]
        asked = [*words, "--input", input, "--output", output, "--work", "work", *named, *more]
        return subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def own_answers(models_python: Path, model: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """What the model itself says of a CSV file with the columns id, age, income."""

    def ask(name: str) -> list[str]:
        asked = [models_python, "-c", ASK, model / "model.skops", tmp_path / name]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

    return ask
