"""What models say that were loaded with what they need alone, and what was imported for them; beside it, what they say
when everything is there."""

import json
import subprocess
import sys
from pathlib import Path

import numpy

ROWS = numpy.random.default_rng(3).normal(size=(400, 5)) * [1, 10, 100, 0.01, 3]
THREE = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 1] > 4)
NUMBER = ROWS @ [1.0, 0.1, 0.02, 30, -1]
ASKED = [
    ROWS[:1],
    ROWS,
    numpy.where(ROWS > 1, numpy.nan, ROWS),
    ROWS.astype("float32"),
    numpy.asfortranarray(ROWS[:7]),
    ROWS[:0],
]
WITHOUT = ("sklearn", "pandas", "scipy.stats")


def models():
    import xgboost

    few = {"n_estimators": 6, "max_depth": 3}
    yield "two", xgboost.XGBClassifier(**few).fit(ROWS, THREE > 0)
    yield "three", xgboost.XGBClassifier(**few).fit(ROWS, THREE)
    yield "softmax", xgboost.XGBClassifier(objective="multi:softmax", **few).fit(ROWS, THREE)
    yield "several", xgboost.XGBClassifier(**few).fit(ROWS, numpy.c_[THREE > 0, THREE > 1])
    yield "gap", xgboost.XGBClassifier(missing=0.0, **few).fit(numpy.where(ROWS > 1, 0.0, ROWS), THREE)
    yield "number", xgboost.XGBRegressor(**few).fit(ROWS, NUMBER)
    yield "numbers", xgboost.XGBRegressor(**few).fit(ROWS, numpy.c_[NUMBER, -NUMBER])
    yield "gamma", xgboost.XGBRegressor(objective="reg:gamma", **few).fit(ROWS, numpy.abs(NUMBER) + 1)
    yield "linear", xgboost.XGBRegressor(booster="gblinear", n_estimators=6).fit(ROWS, NUMBER)
    yield "dart", xgboost.XGBRegressor(booster="dart", rate_drop=0.3, **few).fit(ROWS, NUMBER)
    yield "forest", xgboost.XGBRFClassifier(**few).fit(ROWS, THREE)
    yield "forest of numbers", xgboost.XGBRFRegressor(**few).fit(ROWS, NUMBER)
    yield "ranking", xgboost.XGBRanker(**few).fit(ROWS, THREE, qid=numpy.arange(400) // 20)
    early = xgboost.XGBRegressor(n_estimators=40, early_stopping_rounds=2)
    yield "stopped early", early.fit(ROWS[:300], NUMBER[:300], eval_set=[(ROWS[300:], NUMBER[300:])], verbose=False)
    yield "booster", xgboost.XGBRegressor(**few).fit(ROWS, NUMBER).get_booster()


def estimators():
    from sklearn import ensemble, linear_model, svm
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.isotonic import IsotonicRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, QuantileTransformer, SplineTransformer, StandardScaler

    few = {"n_estimators": 5, "random_state": 1}
    yield "logistic", make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(ROWS, THREE)
    yield "boosted", ensemble.HistGradientBoostingClassifier(max_iter=4).fit(ROWS, THREE)
    yield "older boosted", ensemble.GradientBoostingRegressor(**few).fit(ROWS, NUMBER)
    yield "trees", ensemble.ExtraTreesClassifier(**few).fit(ROWS, THREE)
    yield "isolation", ensemble.IsolationForest(**few).fit(ROWS)
    yield "vectors", svm.SVC().fit(ROWS, THREE)
    yield "calibrated", CalibratedClassifierCV(svm.LinearSVC(random_state=1), method="isotonic", cv=2).fit(ROWS, THREE)
    yield "isotonic", IsotonicRegression(out_of_bounds="clip").fit(ROWS[:, :1], NUMBER)
    yield "discriminant", LinearDiscriminantAnalysis().fit(ROWS, THREE)
    yield "process", GaussianProcessRegressor().fit(ROWS[:50], NUMBER[:50])
    yield "neighbours", KNeighborsRegressor().fit(ROWS, NUMBER)
    yield "network", MLPClassifier(4, max_iter=20, random_state=1).fit(ROWS, THREE)
    yield "searched", GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1]}, cv=2).fit(ROWS, NUMBER)
    yield "splines", make_pipeline(SplineTransformer(extrapolation="linear"), linear_model.Ridge()).fit(ROWS, NUMBER)
    # These call statistics, so they come last.
    yield "powers", make_pipeline(PowerTransformer(), linear_model.Ridge()).fit(ROWS, NUMBER)
    quantiles = QuantileTransformer(n_quantiles=20, output_distribution="normal", random_state=1)
    yield "quantiles", make_pipeline(quantiles, linear_model.Ridge()).fit(ROWS, NUMBER)


def bits(model, rows):
    try:
        found = model.predict(rows, {})
    except Exception as error:
        return type(error).__name__
    return found.dtype.str, found.shape, found.tobytes().hex()


def answers(folder, lean):
    """What a model says of each batch, and which of the modules that it can do without were imported until then."""
    from bis.flavors import Loading, kinds
    from bis.flavors.values import Columns
    from bis.scoring.lean import leanly

    how = Loading(trust=True, threads=1, alone=True, many="many" in sys.argv, lean=lean)
    flavors = json.loads((folder / "flavors.json").read_text())
    if lean:
        with leanly():
            model = kinds.load(folder, flavors, how)
    else:
        model = kinds.load(folder, flavors, how)
    said = [bits(model, Columns(tuple("abcde"), rows)) for rows in ASKED]
    return {"said": said, "with": [name for name in WITHOUT if name in sys.modules]}


def ufuncs(lean):
    """The names by which skops knows functions of NumPy and SciPy that it trusts."""
    from bis.flavors import sklearn

    sklearn._skops(lean)
    from skops.io import _trusted_types as known

    return [known.SCIPY_UFUNC_TYPE_NAMES, known.NUMPY_UFUNC_TYPE_NAMES, known.NUMPY_DTYPE_TYPE_NAMES]


def save(model, folder):
    from bis.flavors import Saving, kinds

    folder.mkdir()
    flavor = kinds.flavor_of(model)
    saved = flavor.save(model, folder, Saving())
    (folder / "flavors.json").write_text(json.dumps({flavor.name: saved.entry}))
    return flavor.name


def asked(folders, *words):
    """In one process for all, in their order."""
    words = [sys.executable, "-W", "ignore", __file__, *map(str, folders), *words]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if "ufuncs" in sys.argv:
        print(json.dumps(ufuncs("lean" in sys.argv)))
    elif "lean" in sys.argv or "full" in sys.argv:
        folders = [Path(word) for word in sys.argv[1:] if "/" in word]
        print(json.dumps([answers(folder, "lean" in sys.argv) for folder in folders]))
    else:
        told = {}
        for made in (models, estimators):
            flavors = {name: save(model, place / name) for name, model in made()}
            told.update({name: {"flavor": flavor} for name, flavor in flavors.items()})
            for how, words in {"lean": ["lean"], "many": ["lean", "many"], "full": ["full"]}.items():
                for name, found in zip(flavors, asked([place / name for name in flavors], *words), strict=True):
                    told[name][how] = found
        told["ufuncs"] = [asked([], "ufuncs", how) for how in ("lean", "full")]
        (place / "told.json").write_text(json.dumps(told))
