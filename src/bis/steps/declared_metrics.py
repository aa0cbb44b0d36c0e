"""Which metrics a training run declared, in the words of an evaluation: `val_roc_auc` of the training is `auc` on other
data. What an evaluation does not know (`epochs`, `best_iteration`) is no measure of a model on data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

ONE_OF: Final = {
    "accuracy": ("accuracy", "acc", "accuracy_score"),
    "f1": ("f1", "f1_score"),
    "log_loss": ("log_loss", "logloss"),
    "auc": ("auc", "roc_auc", "auroc", "roc_auc_score", "auc_roc"),
    "precision": ("precision", "precision_score"),
    "recall": ("recall", "recall_score"),
    "balanced_accuracy": ("balanced_accuracy", "balanced_accuracy_score"),
    "rmse": ("rmse", "root_mean_squared_error"),
    "mae": ("mae", "mean_absolute_error"),
    "r2": ("r2", "r2_score", "r_squared"),
    "mse": ("mse", "mean_squared_error"),
}
"""A metric of evaluations -> what it is called where models are trained."""
PART: Final = re.compile(
    r"^(train|training|val|valid|validation|test|eval|holdout|oof|cv)(_\d+)?[_/.: -]+|[_/.: -]+(train|val|test)$"
)
"""Which data it was of, as people and frameworks write it."""


def declared(names: Iterable[str]) -> tuple[str, ...]:
    """Those that an evaluation can tell, each once, in the order of its own table."""
    said = {re.sub(r"[\s/.:-]+", "_", PART.sub("", name.strip().lower())) for name in names}
    return tuple(name for name, others in ONE_OF.items() if said.intersection(others))
