"""What becomes of models that MLflow saved, told as JSON: `python saved.py FOLDER light`, or `heavy`, or the path of a
folder of models with `rows.json`. Runs in the environments of models."""

import json
import sys
import traceback
from pathlib import Path

import numpy as np
from making import difference

SCRIPT = """
import mlflow

class Weighed(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input.sum(axis=1).to_numpy() * 3

mlflow.models.set_model(Weighed())
"""
LOADER = """
import json

class Shifted:
    def __init__(self, by):
        self.by = by

    def predict(self, rows):
        return rows.sum(axis=1).to_numpy() + self.by

def _load_pyfunc(path):
    with open(path) as file:
        return Shifted(json.load(file)["by"])
"""
HELPER = "def weigh(rows, by):\n    return rows.sum(axis=1).to_numpy() * by\n"


def light(folder):
    """Saves a model of each light flavor in each of MLflow's formats; returns what they are asked."""
    import lightgbm
    import mlflow
    import pandas as pd
    import xgboost
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = pd.DataFrame(np.random.RandomState(3).rand(40, 3), columns=["age", "income", "visits"])
    target = rows["age"] * 2 - rows["visits"]
    told = {"signature": infer_signature(rows, target.to_numpy()), "input_example": rows.head(2)}
    line = make_pipeline(StandardScaler(), LinearRegression()).fit(rows, target)
    for format in ("skops", "cloudpickle", "pickle"):
        mlflow.sklearn.save_model(line, folder / f"sklearn-{format}", serialization_format=format, **told)
    boosted = xgboost.XGBRegressor(n_estimators=3, max_depth=2).fit(rows, target)
    for format in ("ubj", "json"):
        mlflow.xgboost.save_model(boosted, folder / f"xgboost-{format}", model_format=format, **told)
    mlflow.xgboost.save_model(boosted.get_booster(), folder / "xgboost-booster", **told)
    trees = lightgbm.LGBMRegressor(n_estimators=3, num_leaves=4, min_child_samples=5, verbose=-1).fit(rows, target)
    mlflow.lightgbm.save_model(trees, folder / "lightgbm-estimator", **told)
    mlflow.lightgbm.save_model(trees.booster_, folder / "lightgbm-booster", **told)
    (folder / "helper.py").write_text(HELPER)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "loader.py").write_text(LOADER)
    (folder / "loader.json").write_text('{"by": 10}')
    sys.path.insert(0, str(folder))

    class WithCode(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            from helper import weigh

            return weigh(model_input, 2)

    code = [str(folder / "helper.py")]
    mlflow.pyfunc.save_model(folder / "function-code", python_model=WithCode(), code_paths=code, **told)
    mlflow.pyfunc.save_model(folder / "function-script", python_model=str(folder / "script.py"), **told)
    mlflow.pyfunc.save_model(
        folder / "function-loader",
        loader_module="loader",
        code_paths=[str(folder / "loader.py")],
        data_path=str(folder / "loader.json"),
        **told,
    )
    return rows.head(4)


def heavy(folder):
    import mlflow
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    torch.manual_seed(1)
    rows = np.random.RandomState(3).rand(4, 3).astype("float32")
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ends = [Schema([TensorSpec(np.dtype("float32"), (-1, side))]) for side in (3, 2)]
    told = {"signature": ModelSignature(*ends), "input_example": rows[:2]}
    mlflow.pytorch.save_model(net, folder / "torch-pt2", **told)
    mlflow.pytorch.save_model(net, folder / "torch-pickle", serialization_format="pickle", **told)
    return rows


def read(folder, rows, answers):
    """What is read of one model."""
    import mlflow.pyfunc
    import yaml

    from bis.flavors import Loading, Refused, kinds
    from bis.flavors.checking import check
    from bis.flavors.signature import read as signature_of
    from bis.flavors.values import batch_of
    from bis.scoring.worker import Scorer

    described = yaml.safe_load((folder / "MLmodel").read_text())
    expected = answers or np.asarray(mlflow.pyfunc.load_model(str(folder)).predict(rows))
    try:
        kinds.load(folder, described["flavors"], Loading())
        refused = ""
    except Refused as error:
        refused = str(error)
    predictor = kinds.load(folder, described["flavors"], Loading(trust=True))
    found = predictor.predict(check(signature_of(described.get("signature")), batch_of(rows)), {})
    flavor = next(kinds.flavor(name) for name in kinds.FLAVORS if name in described["flavors"])
    scorer = Scorer({"folder": str(folder), "description": described, "trust": True})
    if hasattr(rows, "columns"):
        asked = {"dataframe_split": {"columns": list(rows.columns), "data": rows.to_numpy().tolist()}}
    else:
        asked = {"inputs": rows.tolist()}
    body = json.dumps(asked).encode()
    part = {"id": 0, "form": "invocations", "content_type": "application/json", "length": len(body)}
    (answer,) = scorer.score([part], body)
    return {
        "refused": refused,
        "same": "" if answers and np.allclose(found, answers, rtol=1e-6) else difference(found, expected),
        "served": json.loads(answer.body).get("predictions", answer.body.decode()),
        "expected": np.asarray(expected).tolist(),
        "proved": scorer.prove()["proved"],
        "summary": flavor.summary(predictor.model),
        "flavor": flavor.name,
    }


def main():
    folder, which = Path(sys.argv[1]), sys.argv[2]
    answers = {}
    if which in ("light", "heavy"):
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        rows, place = {"light": light, "heavy": heavy}[which](folder), folder
    else:
        import pandas as pd

        place = Path(which)
        told = json.loads((place / "rows.json").read_text())
        rows, answers = pd.DataFrame(told["data"], columns=told["columns"]), told["answers"]
    found = {}
    for model in sorted(one.parent for one in place.glob("*/MLmodel")):
        try:
            found[model.name] = read(model, rows, answers.get(model.name))
        except Exception:
            found[model.name] = {"failed": traceback.format_exc()}
    (folder / "told.json").write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
