"""The weights of networks, read without their frameworks from what PyTorch, Keras and TensorFlow really wrote."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bis.formats import Unreadable
from bis.formats.arrays import numbers
from bis.formats.learned import Learned, learned

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = """
import json, os
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import keras, numpy as np, tensorflow as tf, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 3)
        self.register_buffer("scale", torch.arange(6.0).reshape(2, 3).t())
        self.register_buffer("steps", torch.tensor([1, 2, 3]))

    def forward(self, x):
        return self.first(x) @ self.scale + self.steps.sum()

told, net = {}, Net()
for name in ("one", "two"):
    torch.export.save(torch.export.export(net, (torch.zeros(2, 4),)), f"{name}.pt2")
    told[f"{name}.pt2"] = {key: value.detach().flatten().tolist() for key, value in net.state_dict().items()}
    with torch.no_grad():
        net.first.bias[1] += 0.5

layers = [keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(1, name="out")]
model = keras.Sequential(layers)
model.compile("adam", "mse")
model.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
for name in ("one", "two"):
    model.save(f"{name}.keras")
    model.export(name, verbose=False)
    told[name] = {f"{kind}": np.array(value).flatten().tolist() for kind, value in zip(
        ("hidden/kernel", "hidden/bias", "out/kernel", "out/bias"), model.get_weights())}
    model.get_layer("out").set_weights([model.get_weights()[2], model.get_weights()[3] + 1])

class Plain(tf.Module):
    def __init__(self):
        self.parts = [tf.Variable([float(n)], name="same") for n in range(2)]
        self.counts = tf.Variable([3, 4], dtype=tf.int64, name="counts")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, x):
        return x * self.parts[0] * self.parts[1]

tf.saved_model.save(Plain(), "plain")
json.dump(told, open("told.json", "w"))
"""
KERAS = {"layers/dense/vars/0": 12, "layers/dense/vars/1": 3, "layers/dense_1/vars/0": 3, "layers/dense_1/vars/1": 1}
INDEX = "variables/variables.index"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, heavy_python: Path) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    (folder / "make.py").write_text(SCRIPT)
    done = subprocess.run([heavy_python, "make.py"], cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return folder


def read(path: Path) -> Learned:
    found = learned(path, str(path))
    assert found is not None
    return found


def values(found: Learned) -> dict[str, list[float]]:
    return {name: [float(one) for one in numbers(array)] for name, array in found.tensors.items()}


def told(folder: Path, name: str) -> Any:
    return json.loads((folder / "told.json").read_text())[name]


def differing(one: Learned, other: Learned) -> list[str]:
    olds, news = values(one), values(other)
    return sorted(name for name in {*olds, *news} if olds.get(name) != news.get(name))


def test_an_exported_program_has_its_weights_buffers_and_their_names(made: Path) -> None:
    one, two = read(made / "one.pt2"), read(made / "two.pt2")
    assert one.words == "ExportedProgram, 24 parameters"
    assert values(one) == told(made, "one.pt2"), "a buffer that is turned in memory, too"
    assert differing(one, two) == ["first.bias"]


def test_a_model_of_keras_has_its_weights_and_not_those_of_its_optimizer(made: Path) -> None:
    one, two = read(made / "one.keras"), read(made / "two.keras")
    assert {name: len(found) for name, found in values(one).items()} == KERAS
    assert one.params["hidden.units"] == 3
    assert differing(one, two) == ["layers/dense_1/vars/1"]


def test_a_saved_model_has_each_variable_once_by_its_full_name(made: Path) -> None:
    one, two = read(made / "one" / INDEX), read(made / "two" / INDEX)
    assert {name.partition("/")[2]: found for name, found in values(one).items()} == told(made, "one")
    assert [name.partition("/")[2] for name in differing(one, two)] == ["out/bias"]


def test_variables_of_one_name_are_called_by_their_places(made: Path) -> None:
    assert values(read(made / "plain" / INDEX)) == {"parts/0": [0.0], "parts/1": [1.0], "counts": [3.0, 4.0]}


@pytest.mark.parametrize(
    "name", ["one.pt2", "one.keras", f"one/{INDEX}", "one/variables/variables.data-00000-of-00001"]
)
def test_what_is_cut_off_anywhere_is_told_and_never_taken_for_whole(made: Path, tmp_path: Path, name: str) -> None:
    content = (made / name).read_bytes()
    asked = tmp_path / (name if "data-" not in name else f"one/{INDEX}")
    for part in (0.1, 0.5, 0.9):
        for file in (made / "one" / "variables").iterdir():
            (tmp_path / "one" / "variables").mkdir(parents=True, exist_ok=True)
            (tmp_path / "one" / "variables" / file.name).write_bytes(file.read_bytes())
        (tmp_path / name).write_bytes(content[: int(len(content) * part)])
        with pytest.raises(Unreadable):
            learned(asked, str(asked))
