"""Models that a user's environment made, and real servers on loopback that serve them from that environment."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

SAVE = '''
import json, pathlib, pickle, sys
import cloudpickle

NAMES = ["age", "income", "visits"]

def save(model, folder, flavor="sklearn", **more):
    """A model's folder as MLflow 2 wrote it."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    function = {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"}
    if flavor == "python_function":
        entry = {"loader_module": "mlflow.pyfunc.model", "python_model": "model.pkl"}
    inputs = json.dumps([{"type": "double", "name": name, "required": True} for name in NAMES])
    outputs = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}])
    example = {"dataframe_split": {"columns": NAMES, "data": [[41.0, 52000.0, 3.0], [29.0, 31000.0, 12.0]]}}
    described = {
        "flavors": {flavor: entry, **({} if flavor == "python_function" else {"python_function": function})},
        "signature": {"inputs": inputs, "outputs": outputs},
        "saved_input_example_info": {"serving_input_path": "serving_input_example.json", "type": "dataframe"},
        **more,
    }
    with open(folder / "model.pkl", "wb") as file:
        cloudpickle.dump(model, file)
    (folder / "serving_input_example.json").write_text(json.dumps(example))
    (folder / "MLmodel").write_text(json.dumps(described))
'''
TRAIN = """
import sys
import numpy, pandas
from sklearn.linear_model import LinearRegression
from saving import NAMES, save

slope = float(sys.argv[1])
rows = pandas.DataFrame(numpy.random.default_rng(1).normal(size=(50, 3)), columns=NAMES)
save(LinearRegression().fit(rows, slope * rows["age"] + rows["visits"]), "model")
"""
ODD = '''
import mmap, os, sys, time
import numpy
from saving import save

LEAKED = []

class Odd:
    """Does what the first value of what it is asked says."""

    def __init__(self):
        self.kept = 1

    def predict(self, rows):
        first = float(rows.iloc[0, 0])
        if first == 666:
            os.abort()
        if first == 555:
            time.sleep(60)
        if first == 444:
            raise RuntimeError("what it was asked: " + str(rows.iloc[0].tolist()))
        if first == 333:
            numpy.ones(1 << 33)
        if first == 222:
            LEAKED.append(mmap.mmap(-1, 700 << 20))  # shared, which a bound on data does not see
            for place in range(0, 700 << 20, 4096):
                LEAKED[-1][place] = 1
        if first == 111:
            LEAKED.append(numpy.ones(40 << 17))
        return rows.sum(axis=1).to_numpy()

class Dying(Odd):
    def __setstate__(self, state):
        os.abort()

class Slow(Odd):
    """So slow that it is always at work when it is exchanged."""

    def predict(self, rows):
        time.sleep(0.05)
        return rows.sum(axis=1).to_numpy() * self.kept

class Slower(Slow):
    def __init__(self):
        self.kept = 2

class Hungry(Odd):
    """Takes as much memory as it gets before it can be asked."""

    def __setstate__(self, state):
        while True:
            LEAKED.append(numpy.ones(8 << 20))

class Hanging(Odd):
    def __setstate__(self, state):
        time.sleep(3600)

class Late(Odd):
    def __setstate__(self, state):
        time.sleep(2)

class Refusing(Odd):
    def predict(self, rows):
        raise ValueError("never fitted")

kinds = {"odd": Odd, "dying": Dying, "refusing": Refusing, "slow": Slow, "slower": Slower, "hungry": Hungry,
         "hanging": Hanging, "late": Late}
save(kinds[sys.argv[1]](), sys.argv[2], "python_function")
'''


MLFLOW = """
import mlflow, numpy, pandas, xgboost
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

rows = pandas.DataFrame(numpy.random.default_rng(1).normal(size=(80, 3)), columns=["age", "income", "visits"])
target = rows["age"] * 2 + rows["visits"] ** 2
label = (target > 1).astype("int64")
towns = rows.assign(town=numpy.where(label == 1, "Ulm", "Bonn"))[["town", "age"]]
save = {"input_example": rows.head(2)}

mlflow.sklearn.save_model(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, label), "logistic", **save)
forest = RandomForestRegressor(20, random_state=1).fit(rows, target)
mlflow.sklearn.save_model(forest, "forest", skops_trusted_types=["sklearn.tree._tree.Tree"], **save)
mlflow.xgboost.save_model(xgboost.XGBRegressor(n_estimators=20).fit(rows, target), "boosted", **save)
by_name = make_pipeline(ColumnTransformer([("town", OneHotEncoder(), ["town"])], remainder="passthrough"),
                        LogisticRegression()).fit(towns, label)
mlflow.sklearn.save_model(by_name, "named", input_example=towns.head(2))
"""


@pytest.fixture(scope="session")
def saved(models_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that the released MLflow saved: `logistic`, `forest`, `boosted`, `named`."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "make.py").write_text(MLFLOW)
    _python(models_python, folder, "make.py")
    return folder


@pytest.fixture(scope="session")
def made(training_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that others must not write to: `model`, `odd`, `dying`, `refusing`."""
    folder = tmp_path_factory.mktemp("models")
    for name, text in (("saving.py", SAVE), ("train.py", TRAIN), ("odd.py", ODD)):
        (folder / name).write_text(text)
    _python(training_python, folder, "train.py", "2")
    for kind in ("odd", "dying", "refusing"):
        _python(training_python, folder, "odd.py", kind, kind)
    return folder


def _python(python: Path, folder: Path, *words: str) -> None:
    subprocess.run([python, *words], cwd=folder, check=True)


class Served:
    """A `bis serve` process."""

    def __init__(self, folder: Path, *words: str, variables: dict[str, str] | None = None) -> None:
        self.told = ""
        """What it says."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bis", "-C", str(folder), "serve", "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(variables or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for(r"serving .* on (https?://\S+)")
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.told += line

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """What it says that looks so; the first group of it, if there is one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.search(pattern, self.told):
                return found[1] if found.groups() else found[0]
            if self.process.poll() is not None:
                self._reader.join()
                if not re.search(pattern, self.told):
                    break
            time.sleep(0.01)
        raise AssertionError(f"it does not say {pattern}: {self.told}")

    def ask(self, *rows: list[Any], columns: list[str] | None = None, at: str = "/invocations") -> httpx.Response:
        columns = columns or ["age", "income", "visits"]
        return self.http.post(at, json={"dataframe_split": {"columns": columns, "data": list(rows)}})

    def workers(self) -> list[int]:
        """Its processes that hold models; skips the test where processes are not listed."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if not children.exists():
            pytest.skip("processes are not listed here")
        return [int(one) for one in children.read_text().split()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join()
        return status


@pytest.fixture
def served(made: Path, training_python: Path) -> Iterator[Callable[..., Served]]:
    """Serves models from the environment that made them, until the test ends."""
    started: list[Served] = []

    def start(*words: str, folder: Path = made, python: bool = True, **more: Any) -> Served:
        chosen = ["--python", str(training_python)] if python else []
        started.append(Served(folder, *words, *chosen, **more))
        return started[-1]

    yield start
    for one in started:
        one.http.close()
        if one.process.poll() is None:
            one.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def project(training_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the models `churn` (2 that answer, one that dies as it loads, one that takes all memory, one that
    never ends to load) and `slow` (the last takes seconds to load) in versions, made by runs that are recorded."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in (("saving.py", SAVE), ("train.py", TRAIN), ("odd.py", ODD)):
        (folder / name).write_text(text)
    odd = [["odd.py", kind, "model"] for kind in ("dying", "hungry", "hanging")]
    for words in (["train.py", "2"], ["train.py", "3"], *odd):
        run_bis(folder, "run", "--", str(training_python), *words)
        run_bis(folder, "model", "register", "churn", "@latest", "--path", "model")
    for kind in ("slow", "slower", "late"):
        run_bis(folder, "run", "--", str(training_python), "odd.py", kind, "model")
        run_bis(folder, "model", "register", "slow", "@latest", "--path", "model")
    return folder


def run_bis(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bis", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def bis() -> Callable[..., str]:
    """What a command of bis prints, in a folder; it must succeed."""
    return run_bis


@pytest.fixture
def alias(project: Path) -> Callable[[str, int], None]:
    """Lets an alias of `churn`, or of another model, mean a version."""

    def let(name: str, number: int, model: str = "churn") -> None:
        run_bis(project, "model", "alias", f"{model}/{number}", name)

    return let


def predictions(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text)["predictions"]


@pytest.fixture(scope="session")
def of() -> Callable[[httpx.Response], Any]:
    """The predictions of an answer, which is one."""
    return predictions
