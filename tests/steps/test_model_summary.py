"""What a model is, in rows for a person."""

from typing import Any

from bis.steps.model_summary import about, hyperparameters, layers

PIPELINE: dict[str, Any] = {
    "kind": "RandomForestClassifier",
    "architecture": "ColumnTransformer > RandomForestClassifier",
    "steps": [{"name": "columns", "kind": "ColumnTransformer"}, {"name": "forest", "kind": "RandomForestClassifier"}],
    "hyperparameters": {
        "columns__remainder": "passthrough",
        "columns__r__categories": "auto",
        "forest__estimator__depth": 2,
        "forest__max_depth": None,
        "forest__n_estimators": 20,
        "verbose": False,
    },
    "classes": ["no", "yes"],
    "parameter_count": 12345,
    "size": 603583,
}


def test_what_the_last_step_of_a_pipeline_was_told_comes_first_and_what_is_not_set_is_left_out() -> None:
    assert hyperparameters(PIPELINE) == [
        ("forest__n_estimators", "20"),
        ("forest__estimator__depth", "2"),
        ("verbose", "False"),
        ("columns__remainder", "passthrough"),
        ("columns__r__categories", "auto"),
    ]


def test_how_it_is_built_and_how_large_it_is_is_said_in_words() -> None:
    assert about(PIPELINE) == [
        ("architecture", "ColumnTransformer > RandomForestClassifier"),
        ("classes", "no, yes"),
        ("parameter count", "12,345"),
        ("size", "589 KiB"),
    ]


def test_layers_are_told_by_what_is_known_of_them() -> None:
    flavor = [{"name": "0", "kind": "Linear", "parameters": 4160}, {"name": "1", "kind": "ReLU", "parameters": 0}]
    file = [{"name": "bias", "shape": [2]}, {"name": "net.weight", "shape": [2, 3]}, {"name": "scale", "shape": []}]
    assert layers({"layers": flavor}) == [("0", "Linear, 4,160 parameters"), ("1", "ReLU")]
    assert layers({"layers": file}) == [("bias", "2"), ("net.weight", "2×3"), ("scale", "one number")]
    assert layers({"layers": 12}) == []
    assert about({"layers": 12}) == [("layers", "12")]


def test_whatever_a_summary_holds_is_told_or_left_out() -> None:
    odd: dict[str, Any] = {"hyperparameters": 3, "steps": ["a"], "layers": ["b"], "note": "x" * 1000, "empty": ""}
    assert hyperparameters(odd) == []
    assert layers(odd) == []
    assert [(key, len(value)) for key, value in about(odd)] == [("layers", 5), ("note", 301)]
