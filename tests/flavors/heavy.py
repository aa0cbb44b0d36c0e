"""Models of the heavy frameworks, for the contract of flavors. Runs in an environment of gigabytes."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from making import Case, main
from networks import Scaled

RANDOM = np.random.RandomState(7)
ROWS = RANDOM.rand(6, 4).astype("float32")


def _torch():
    import torch

    torch.manual_seed(1)

    def ask(model, rows):
        several = rows if isinstance(rows, dict) else {"": rows}
        with torch.no_grad():
            model = model if "GraphModule" in type(model).__name__ else model.eval()
            return model(*(torch.from_numpy(array) for array in several.values()))

    def nudge(model):
        with torch.no_grad():
            weight = next(model.parameters())
            weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(4, 2)

        def forward(self, a, b):
            return self.line(a) * b[:, :1]

    class Moody(torch.nn.Module):
        """What cannot be exported, as its shape depends on its numbers."""

        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(4, 2)

        def forward(self, rows):
            return self.line(rows) if float(rows.sum()) > 0 else rows[:, :2]

    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    yield Case("torch-pt2", net, ROWS, nudge, ask=ask)
    yield Case("torch-two-inputs", Two(), {"a": ROWS, "b": ROWS * 2}, nudge, ask=ask, asked_by_mlflow=False)
    yield Case("torch-pickle", net, ROWS, nudge, ask=ask, format="pickle", pickle=True)
    yield Case("torch-moody", Moody(), ROWS, nudge, ask=ask, pickle=True)
    yield Case("torch-script", torch.jit.script(net.eval()), ROWS, nudge, ask=ask, pickle=True)
    yield Case("torch-weights", Scaled(), ROWS, nudge, ask=ask, format="safetensors", pickle=True, mlflow=False)


def _keras():
    import keras

    keras.utils.set_random_seed(1)

    def ask(model, rows):
        return model.predict(rows, verbose=0)

    def copied(model):
        other = keras.models.clone_model(model)
        other.set_weights(model.get_weights())
        return other

    def nudge(model):
        weights = model.get_weights()
        weights[0].flat[0] = np.nextafter(weights[0].flat[0], np.float32(9))
        model.set_weights(weights)

    one = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])
    one.compile("adam", "mse")
    one.fit(ROWS, ROWS[:, :2], epochs=1, verbose=0)
    ends = [keras.Input((4,), name="a"), keras.Input((4,), name="b")]
    two = keras.Model(ends, keras.layers.Dense(2)(keras.layers.Add()(ends)))
    yield Case("keras-sequential", one, ROWS, nudge, ask=ask, copied=copied)
    yield Case("keras-two-inputs", two, {"a": ROWS, "b": ROWS * 2}, nudge, ask=ask, copied=copied)


def _tensorflow():
    import tensorflow

    class Line(tensorflow.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = tensorflow.Variable(weight, name="weight")

        @tensorflow.function(input_signature=[tensorflow.TensorSpec([None, 4], tensorflow.float32)])
        def __call__(self, rows):
            return rows @ self.weight

    weight = RANDOM.rand(4, 2).astype("float32")

    def copied(model):
        return Line(model.weight.numpy())

    def nudge(model):
        weight = model.weight.numpy()
        weight.flat[0] = np.nextafter(weight.flat[0], np.float32(9))
        model.weight.assign(weight)

    yield Case(
        "tensorflow-module",
        Line(weight),
        ROWS,
        nudge,
        ask=lambda model, rows: model(tensorflow.constant(rows)),
        copied=copied,
        pickle=True,
    )


if __name__ == "__main__":
    main({"torch": _torch, "keras": _keras, "tensorflow": _tensorflow})
