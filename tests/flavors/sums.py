"""What the sums of estimators are, beside what the estimators say: told by kind, for rows of many sizes and ranges."""

import json
import sys
import warnings
from pathlib import Path

import numpy
import xgboost
from sklearn import ensemble, linear_model, svm
from sklearn.datasets import make_classification
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, StandardScaler

from bis.flavors.arithmetic import boosted_sums_of, sums_of
from bis.flavors.sklearn import Estimator
from bis.flavors.values import Columns

warnings.simplefilter("ignore")
ROWS, THREE = make_classification(300, 7, n_informative=5, n_classes=3, random_state=1)
ROWS = ROWS * [1, 10, 100, 1000, 0.1, 1e-5, 1] + [0, 5, -7, 1e4, 0, 0, 3]
NUMBER = ROWS @ [1.0, 0.2, 0.03, 0.001, 4, 1e4, -2]
NAMES = tuple("abcdefg")


class Derived(linear_model.LogisticRegression):
    """Which may do anything."""

    def predict(self, rows):
        return super().predict(rows) + 1


def models():
    few = {"n_estimators": 8, "random_state": 1}
    for name in ("LogisticRegression", "SGDClassifier", "Perceptron"):
        for kind, target in (("three", THREE), ("two", THREE > 0), ("text", numpy.where(THREE > 0, "yes", "no"))):
            model = getattr(linear_model, name)()
            yield f"{name}, {kind}", make_pipeline(StandardScaler(), model).fit(ROWS, target)
    yield "LinearSVC", make_pipeline(MinMaxScaler(clip=True), svm.LinearSVC()).fit(ROWS, THREE)
    for name in ("LinearRegression", "Ridge", "Lasso", "ElasticNet"):
        yield name, getattr(linear_model, name)().fit(ROWS, NUMBER)
        if name != "Ridge":
            several = make_pipeline(MinMaxScaler(), getattr(linear_model, name)())
            yield f"{name}, several", several.fit(ROWS, numpy.c_[NUMBER, THREE])
    yield "no mean", make_pipeline(StandardScaler(with_mean=False), linear_model.Ridge()).fit(ROWS, NUMBER)
    for name in ("RandomForest", "ExtraTrees"):
        yield f"{name}Classifier", getattr(ensemble, f"{name}Classifier")(**few).fit(ROWS, THREE)
        yield f"{name}Regressor", getattr(ensemble, f"{name}Regressor")(**few).fit(ROWS, NUMBER)
    yield "XGBClassifier, three", xgboost.XGBClassifier(n_estimators=9).fit(ROWS, THREE)
    yield "XGBClassifier, two", xgboost.XGBClassifier(n_estimators=9).fit(ROWS, THREE > 0)
    yield "XGBRegressor", xgboost.XGBRegressor(n_estimators=9).fit(ROWS, NUMBER)
    early = xgboost.XGBRegressor(n_estimators=30, early_stopping_rounds=2)
    yield "XGBRegressor, stopped early", early.fit(ROWS[:200], NUMBER[:200], eval_set=[(ROWS[200:], NUMBER[200:])])


def others():
    """Which are asked themselves."""
    yield "derived", Derived().fit(ROWS, THREE)
    yield "a step that is not known", make_pipeline(PowerTransformer(), linear_model.Ridge()).fit(ROWS, NUMBER)
    yield "neighbours", KNeighborsClassifier().fit(ROWS, THREE)
    odd = linear_model.LinearRegression().fit(ROWS, NUMBER)
    odd.predict = lambda rows: numpy.zeros(len(rows))
    yield "a method of its own", odd
    yield "several at once", ensemble.RandomForestRegressor(3).fit(ROWS, numpy.c_[NUMBER, NUMBER])
    yield "not fitted", linear_model.Ridge()
    counts = ensemble.RandomForestClassifier(3, random_state=1).fit(ROWS, THREE)
    counts.estimators_[0].tree_.value[:] *= 5
    yield "counts at its leaves, as older releases have them", counts


def found(model):
    return boosted_sums_of(model) if "xgboost" in type(model).__module__ else sums_of(model)


def bits(array):
    return array.dtype.str, array.shape, array.tobytes() if array.dtype.kind != "O" else array.tolist()


def differing(model):
    """Of many batches, those whose answers are not the same bits; `none`: the model has no sums."""
    sums = found(model)
    if sums is None:
        return "none"
    chance, wrong = numpy.random.default_rng(7), 0
    for turn in range(120):
        rows = numpy.ascontiguousarray(ROWS[chance.integers(0, len(ROWS), chance.integers(1, 40))])
        rows += chance.normal(size=rows.shape) * 10.0 ** (turn % 9 - 3)
        before = rows.copy()
        one, other = sums(rows), model.predict(before.copy())
        wrong += one is None or bits(one) != bits(other) or bits(rows) != bits(before)
    return wrong


def outcome(model, rows):
    try:
        return bits(model(rows))
    except ValueError as error:
        return type(error).__name__, str(error)[:60]


def unusual():
    """Whether rows that are not as they should be are answered, or refused, as the model does it itself."""
    told = {}
    for name, model in (
        ("linear", make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(ROWS, THREE)),
        ("forest", ensemble.RandomForestRegressor(3, random_state=1).fit(ROWS, NUMBER)),
    ):
        served = Estimator(model, few=True)
        for kind, rows in {
            "gap": numpy.where(ROWS[:3] > 5, numpy.nan, ROWS[:3]),
            "infinite": numpy.where(ROWS[:3] > 5, numpy.inf, ROWS[:3]),
            "beyond 32 bits": ROWS[:3] * 1e300,
            "narrow": ROWS[:3].astype("float32"),
            "whole": ROWS[:3].astype("int64"),
            "by column": numpy.asfortranarray(ROWS[:3]),
            "too few columns": ROWS[:3, :4],
            "no rows": ROWS[:0],
        }.items():
            names = NAMES[: rows.shape[1]]
            ours = outcome(lambda one, s=served, n=names: s.predict(Columns(n, one), {}), rows.copy())
            told[f"{name}, {kind}"] = ours == outcome(model.predict, rows.copy())
    return told


if __name__ == "__main__":
    told = {
        "differing": {name: differing(model) for name, model in models()},
        "others": {name: found(model) is None for name, model in others()},
        "unusual": unusual(),
    }
    (Path(sys.argv[1]) / "told.json").write_text(json.dumps(told))
