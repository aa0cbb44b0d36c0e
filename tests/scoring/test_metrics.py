"""The metrics of an evaluation are those of scikit-learn, whatever the size of the pieces that rows come in."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "bis"
ASK = f"""
import json, sys, types
root = types.ModuleType("_bis"); root.__path__ = [{str(SOURCE)!r}]; sys.modules["_bis"] = root
import numpy as np
from sklearn import metrics as known
from _bis.scoring import metrics as own

rng = np.random.default_rng(0)

def fed(metrics, pieces, *arrays):
    for places in np.array_split(np.arange(len(arrays[0])), pieces):
        metrics.take(*(array[places] for array in arrays))
    return {{**metrics.told(), **metrics.more()}}

def classified(classes, pieces, text=False, round_to=None):
    rows = 997
    texts = [f"class {{place}}" for place in range(classes)]
    names = np.array(texts, dtype=object) if text else np.arange(classes)
    true = rng.integers(0, classes, rows)
    scores = rng.random((rows, classes)) + 0.7 * np.eye(classes)[true]
    chances = scores / scores.sum(axis=1, keepdims=True)
    if round_to:
        chances = np.round(chances, round_to)
        chances /= chances.sum(axis=1, keepdims=True)
    said = names[chances.argmax(axis=1)]
    found = fed(own.Classified(list(names)), pieces, names[true], said, chances)
    average = "binary" if classes == 2 else "macro"
    positive = {{"pos_label": names[-1]}} if classes == 2 else {{}}
    expected = {{
        "accuracy": known.accuracy_score(names[true].astype(str), said.astype(str)),
        "f1": known.f1_score(list(names[true]), list(said), average=average, **positive),
        "precision": known.precision_score(list(names[true]), list(said), average=average, **positive),
        "recall": known.recall_score(list(names[true]), list(said), average=average, **positive),
        "balanced_accuracy": known.balanced_accuracy_score(list(names[true]), list(said)),
        "log_loss": known.log_loss(true, chances, labels=list(range(classes))),
        "auc": known.roc_auc_score(true, chances[:, 1]) if classes == 2
        else known.roc_auc_score(true, chances, multi_class="ovr", average="macro"),
    }}
    return found, expected

def measured(pieces, around):
    true = rng.normal(size=997) + around
    said = true + 0.3 * rng.normal(size=997)
    found = fed(own.Measured(), pieces, true, said)
    return found, {{
        "rmse": known.mean_squared_error(true, said) ** 0.5,
        "mse": known.mean_squared_error(true, said),
        "mae": known.mean_absolute_error(true, said),
        "r2": known.r2_score(true, said),
    }}

print(json.dumps([EXPRESSION]))
"""


def asked(training_python: Path, expression: str) -> Any:
    script = ASK.replace("EXPRESSION", expression)
    done = subprocess.run([training_python, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]


@pytest.mark.parametrize(
    "expression",
    [
        "classified(2, 1)",
        "classified(2, 13)",
        "classified(2, 13, text=True)",
        "classified(2, 5, round_to=1)",
        "classified(4, 1)",
        "classified(4, 13, text=True)",
        "measured(1, 0)",
        "measured(13, 0)",
        "measured(13, 1e6)",
    ],
)
def test_metrics_are_those_of_scikit_learn(training_python: Path, expression: str) -> None:
    found, expected = asked(training_python, expression)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_the_area_stays_close_where_scores_are_too_many_to_be_kept(training_python: Path) -> None:
    found, expected, exact, _ = asked(
        training_python,
        "(lambda curve, true, scores: [[curve.take(s, t) for s, t in zip(np.array_split(scores, 9),"
        " np.array_split(true, 9))] and curve.area(), known.roc_auc_score(true, scores), curve.exact,"
        " len(curve._scores)])(setattr(own, 'DISTINCT', 1000) or own.Curve(), *(lambda t: (t, rng.random(20000)"
        " + 0.3 * t))(rng.random(20000) > 0.5))",
    )
    assert not exact
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_class_that_the_model_never_saw_leaves_out_what_cannot_be_told(training_python: Path) -> None:
    found, notes = asked(
        training_python,
        "(lambda one: [fed(one, 1, np.array([0, 1, 2]), np.array([0, 1, 1]), np.eye(3)[:, :2]), one.notes])"
        "(own.Classified([0, 1]))",
    )
    assert set(found) == {"accuracy", "f1", "precision", "recall", "balanced_accuracy"}
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert "does not know" in notes[0]
