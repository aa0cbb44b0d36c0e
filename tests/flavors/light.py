"""Models of the light frameworks, for the contract of flavors. Runs in the environment of models."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from making import Case, main

RANDOM = np.random.RandomState(7)
NUMBERS = RANDOM.rand(60, 4)
LABELS = (NUMBERS[:, 0] + NUMBERS[:, 2] > 1).astype(int)
FRAME = pd.DataFrame(NUMBERS, columns=["length", "width", "height", "wing span"])
MIXED = pd.DataFrame(
    {
        "age": RANDOM.randint(18, 90, 60),
        "income": np.where(NUMBERS[:, 1] > 0.9, np.nan, NUMBERS[:, 1] * 1e5),
        "town": np.array(["Ulm", "Bonn", "Jena"])[RANDOM.randint(0, 3, 60)],
    }
)


def _next(array):
    array.flat[0] = np.nextafter(array.flat[0], np.inf)


def _sklearn():
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def first_coefficient(model):
        _next(getattr(model, "steps", [("", model)])[-1][1].coef_)

    def first_leaf(model):
        tree = np.ravel(model.estimators_)[0].tree_
        tree.value[np.flatnonzero(tree.children_left < 0)[0], 0, 0] += 1e-9

    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, LABELS)
    columns = ColumnTransformer([("numbers", SimpleImputer(), ["age", "income"]), ("words", OneHotEncoder(), ["town"])])
    mixed = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(MIXED, LABELS)
    line = LinearRegression().fit(NUMBERS.astype("float32"), LABELS)
    forest = RandomForestClassifier(5, random_state=1).fit(NUMBERS, LABELS)
    boosted = GradientBoostingRegressor(n_estimators=4, random_state=1).fit(FRAME, NUMBERS[:, 0])
    yield Case("sklearn-pipeline", scaled, FRAME, first_coefficient)
    yield Case("sklearn-by-name", mixed, MIXED, first_coefficient)
    yield Case("sklearn-array", line, NUMBERS.astype("float32"), first_coefficient)
    yield Case("sklearn-forest", forest, NUMBERS, first_leaf)
    yield Case("sklearn-boosted", boosted, FRAME, first_leaf)
    for format in ("cloudpickle", "pickle"):
        yield Case(f"sklearn-{format}", scaled, FRAME, first_coefficient, format=format, pickle=True)


def _xgboost():
    import xgboost
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def first_threshold(model):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.json"
            model.save_model(file)
            told = json.loads(file.read_text())
            tree = told["learner"]["gradient_booster"]["model"]["trees"][0]
            tree["split_conditions"][0] += 1e-4
            file.write_text(json.dumps(told))
            model.load_model(file)

    settings = {"n_estimators": 4, "max_depth": 2, "n_jobs": 1}
    estimator = xgboost.XGBClassifier(**settings).fit(FRAME, LABELS)
    step = make_pipeline(StandardScaler(), xgboost.XGBRegressor(**settings)).fit(FRAME, NUMBERS[:, 1])
    yield Case("xgboost-estimator", estimator, FRAME, first_threshold)
    yield Case(
        "xgboost-json", xgboost.XGBRegressor(**settings).fit(NUMBERS, LABELS), NUMBERS, first_threshold, format="json"
    )
    yield Case(
        "xgboost-booster",
        estimator.get_booster(),
        FRAME,
        first_threshold,
        ask=lambda model, rows: model.inplace_predict(rows.to_numpy(), validate_features=False),
        asked_by_mlflow=False,
    )
    yield Case("sklearn-xgboost", step, FRAME, lambda model: first_threshold(model.steps[-1][1]))


def _lightgbm():
    import lightgbm
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    settings = {"n_estimators": 4, "num_leaves": 4, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}

    def other_leaf(booster):
        text = booster.model_to_string()
        found = text.split("leaf_value=", 1)[1].split(" ", 1)[0]
        other = found[:-1] + ("4" if found[-1] != "4" else "6")  # the text tells how long each tree is
        booster.model_from_string(text.replace(f"leaf_value={found}", f"leaf_value={other}", 1))

    estimator = lightgbm.LGBMClassifier(**settings).fit(FRAME, LABELS)
    step = make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(**settings)).fit(FRAME, NUMBERS[:, 1])
    towns = MIXED.assign(town=MIXED["town"].astype("category"))
    yield Case("lightgbm-estimator", estimator, FRAME, lambda model: other_leaf(model._Booster))
    yield Case(
        "lightgbm-booster", lightgbm.LGBMRegressor(**settings).fit(NUMBERS, NUMBERS[:, 3]).booster_, NUMBERS, other_leaf
    )
    yield Case(
        "lightgbm-categories",
        lightgbm.LGBMClassifier(**settings).fit(towns, LABELS),
        towns,
        lambda m: other_leaf(m._Booster),
        asked_by_mlflow=False,
    )
    yield Case("lightgbm-pickle", estimator, FRAME, lambda m: other_leaf(m._Booster), format="cloudpickle", pickle=True)
    yield Case("sklearn-lightgbm", step, FRAME, lambda model: other_leaf(model.steps[-1][1]._Booster))


def _onnx():
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    def ask(model, rows):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        fed = rows if isinstance(rows, dict) else {session.get_inputs()[0].name: np.asarray(rows)}
        return dict(zip((one.name for one in session.get_outputs()), session.run(None, fed), strict=True))

    def other_weight(model):
        weights = model.graph.initializer[0]
        array = onnx.numpy_helper.to_array(weights).copy()
        _next(array)
        weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))

    def other_coefficient(model):
        node = next(one for one in model.graph.node if one.op_type == "LinearClassifier")
        attribute = next(one for one in node.attribute if one.name == "coefficients")
        attribute.floats[0] = attribute.floats[0] * 1.01

    rows = NUMBERS.astype("float32")
    converted = to_onnx(LogisticRegression().fit(rows, LABELS), rows[:1], options={"zipmap": False})
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4]) for name in "ab"]
    out = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["rows", 4])
    weights = onnx.numpy_helper.from_array(np.arange(4, dtype="float32"), "w")
    nodes = [helper.make_node("Add", ["a", "b"], ["ab"]), helper.make_node("Mul", ["ab", "w"], ["sum"])]
    graph = helper.make_graph(nodes, "two", ends, [out], [weights])
    two = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    yield Case("onnx-converted", converted, rows, other_coefficient, ask=ask)
    yield Case("onnx-two-inputs", two, {"a": rows, "b": rows * 2}, other_weight, ask=ask)


class Sums:
    """A class of the script, with a weight."""

    def __init__(self, weight):
        self.weight = weight

    def predict(self, rows, params=None):
        return rows.sum(axis=1).to_numpy() * self.weight * (params or {}).get("times", 1)


def _function():
    import mlflow.pyfunc

    class Model(mlflow.pyfunc.PythonModel):
        def __init__(self):
            self.weight = 2.0

        def predict(self, context, model_input, params=None):
            return model_input.sum(axis=1).to_numpy() * self.weight

    def heavier(model):
        model.weight = float(np.nextafter(model.weight, 3))

    def times(factor):
        return lambda rows: rows.to_numpy() * factor

    yield Case(
        "function-object",
        Sums(1.5),
        FRAME,
        heavier,
        ask=lambda model, rows: model.predict(rows, {"times": 3}),
        pickle=True,
        params={"times": 3},
    )
    yield Case(
        "function-plain",
        times(0.5),
        FRAME,
        lambda _: None,
        ask=lambda model, rows: model(rows),
        pickle=True,
        copied=lambda _: times(0.25),
    )
    yield Case(
        "function-mlflow", Model(), FRAME, heavier, ask=lambda model, rows: model.predict(None, rows), pickle=True
    )


if __name__ == "__main__":
    main({"sklearn": _sklearn, "xgboost": _xgboost, "lightgbm": _lightgbm, "onnx": _onnx, "function": _function})
