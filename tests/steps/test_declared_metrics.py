"""Which metrics of a training an evaluation tells again."""

import pytest

from bis.scoring import metrics
from bis.steps.declared_metrics import ONE_OF, declared


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (["accuracy"], ("accuracy",)),
        (["val_loss", "val_acc", "epochs"], ("accuracy",)),
        (["test/roc_auc", "Log Loss"], ("log_loss", "auc")),
        (["validation_0-auc", "f1_test"], ("f1", "auc")),
        (["r2_score", "rmse"], ("rmse", "r2")),
        (["training", "macro_f1", "accuracy_of_somebody", ""], ()),
    ],
)
def test_names_of_trainings_are_those_of_evaluations(said: list[str], meant: tuple[str, ...]) -> None:
    assert declared(said) == meant


def test_what_may_be_declared_is_what_an_evaluation_tells() -> None:
    told = metrics.CLASSIFICATION + metrics.MORE_CLASSIFICATION + metrics.REGRESSION + metrics.MORE_REGRESSION
    assert set(ONE_OF) == set(told)
