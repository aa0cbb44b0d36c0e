"""Metrics of predictions against what was true, told while rows stream by: the memory that they take does not grow with
the rows. The numbers are those of scikit-learn, of which nothing is needed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..flavors.values import Array

CLASSIFICATION = ("accuracy", "f1", "log_loss", "auc")
REGRESSION = ("rmse", "mae", "r2")
MORE_CLASSIFICATION = ("precision", "recall", "balanced_accuracy")
MORE_REGRESSION = ("mse",)
"""Those that are told when somebody asks for them."""
WAITING = 1 << 18
"""Scores that wait to be merged with those from before, at least."""
DISTINCT = 1 << 20
"""Different scores up to which the area under the curve is exact."""
MOST = 20
"""Classes up to which the area is told for each of them against the others."""


class Classified:
    """Labels against labels, and against probabilities where the model has them.

    `f1`, `precision` and `recall` are of the class that comes last of two, and the mean over the classes of more; `auc`
    of more than two is the mean over the classes, each against all others."""

    def __init__(self, classes: Sequence[Any] | None) -> None:
        self.classes = None if classes is None else [plain(one) for one in classes]
        self.rows = 0
        self.notes: list[str] = []
        self._pairs: Counter[tuple[Any, Any]] = Counter()
        self._loss = 0.0
        self._curves: dict[Any, Curve] = {}

    def take(self, true: Array, said: Array, probabilities: Array | None) -> None:
        """`probabilities`: one column for each of the classes, in their order."""
        wanted, codes = coded(true)
        self.rows += len(codes)
        self._count(wanted, codes, *coded(said))
        if probabilities is None or self.classes is None:
            return
        places = {label: place for place, label in enumerate(self.classes)}
        if any(label not in places for label in wanted):
            self.classes = None
            self.notes.append("some rows are of classes that the model does not know: no log_loss, no auc")
            return
        where = np.array([places[label] for label in wanted], dtype=np.int64)[codes]
        eps = np.finfo(probabilities.dtype).eps if probabilities.dtype.kind == "f" else 1e-15
        clipped = np.clip(probabilities, eps, 1 - eps).astype(np.float64)
        chosen = clipped[np.arange(len(where)), where]
        self._loss += float(-np.log(chosen).sum())
        if len(self.classes) == 2:
            self._curve(1).take(probabilities[:, 1], where == 1)
        elif len(self.classes) <= MOST:
            for place in range(len(self.classes)):
                self._curve(place).take(probabilities[:, place], where == place)

    def _count(self, wanted: Sequence[Any], codes: Array, given: Sequence[Any], others: Array) -> None:
        pairs, counts = np.unique(codes * len(given) + others, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist()):
            self._pairs[wanted[pair // len(given)], given[pair % len(given)]] += count

    def _curve(self, place: int) -> Curve:
        return self._curves.setdefault(place, Curve())

    def told(self) -> dict[str, float]:
        found = {"accuracy": self._accuracy(), "f1": self._f1()}
        if self.classes is not None and self.rows and (self._curves or len(self.classes) > MOST):
            found["log_loss"] = self._loss / self.rows
            areas = [curve.area() for curve in self._curves.values()]
            if areas and not any(map(math.isnan, areas)):
                found["auc"] = sum(areas) / len(areas)
        if any(not curve.exact for curve in self._curves.values()):
            self.notes.append(f"auc is of scores that were rounded: more than {DISTINCT:,} are different")
        return found

    def more(self) -> dict[str, float]:
        """What is told when it is asked for."""
        recalls = [self._share_of(label, 0) for label in {true for true, _ in self._pairs}]
        return {
            "precision": self._mean([self._share_of(label, 1) for label in self._wanted()]),
            "recall": self._mean([self._share_of(label, 0) for label in self._wanted()]),
            "balanced_accuracy": self._mean(recalls),
        }

    def _accuracy(self) -> float:
        same = sum(count for (true, said), count in self._pairs.items() if true == said)
        return same / self.rows if self.rows else math.nan

    def _f1(self) -> float:
        return self._mean([self._f1_of(label) for label in self._wanted()])

    def _wanted(self) -> list[Any]:
        """The class that comes last of two, or all of more."""
        seen = {label for pair in self._pairs for label in pair}
        known = sorted(seen | set(self.classes or ()), key=lambda label: (isinstance(label, str), label))
        return known[-1:] if len(known) <= 2 else sorted(seen, key=lambda label: (isinstance(label, str), label))

    def _mean(self, scores: Sequence[float]) -> float:
        return sum(scores) / len(scores) if scores else math.nan

    def _share_of(self, label: Any, side: int) -> float:
        """Of the rows that are of a class (0), or are said to be (1), those that are both."""
        rows = sum(count for pair, count in self._pairs.items() if pair[side] == label)
        return self._pairs[label, label] / rows if rows else 0.0

    def _f1_of(self, label: Any) -> float:
        hits = self._pairs[label, label]
        true = sum(count for (one, _), count in self._pairs.items() if one == label)
        said = sum(count for (_, one), count in self._pairs.items() if one == label)
        return 2 * hits / (true + said) if true + said else 0.0


class Curve:
    """How often each score was of a row that is of a class, and of one that is not."""

    def __init__(self) -> None:
        self.exact = True
        self._scores: Array = np.empty(0)
        self._counts: Array = np.empty((0, 2), dtype=np.int64)
        self._waiting: list[tuple[Array, Array]] = []
        self._rows = 0

    def take(self, scores: Array, is_of: Array) -> None:
        self._waiting.append((scores.astype(np.float64), is_of))
        self._rows += len(scores)
        # As many as there are already, so that each score is merged a few times, however many follow.
        if self._rows >= max(WAITING, len(self._scores)):
            self._settle()

    def _settle(self) -> None:
        if not self._waiting:
            return
        values = np.concatenate([self._scores, *(scores for scores, _ in self._waiting)])
        own = np.concatenate([is_of for _, is_of in self._waiting])
        fresh = np.stack([~own, own], axis=1).astype(np.int64)
        self._scores, self._counts = _merged(values, np.concatenate([self._counts, fresh]))
        self._waiting, self._rows = [], 0
        if len(self._scores) > DISTINCT:
            self.exact = False
            self._scores, self._counts = _merged(np.round(self._scores, 5), self._counts)

    def area(self) -> float:
        """NaN where all rows are of one side."""
        self._settle()
        others, own = self._counts.sum(axis=0)
        if not others or not own:
            return math.nan
        below = np.concatenate([[0], np.cumsum(self._counts[:, 0])[:-1]])
        wins = (self._counts[:, 1] * (below + self._counts[:, 0] / 2)).sum()
        return float(wins / (float(others) * float(own)))


def _merged(values: Array, counts: Array) -> tuple[Array, Array]:
    found, where = np.unique(values, return_inverse=True)
    sides = [np.bincount(where.ravel(), counts[:, side], len(found)) for side in (0, 1)]
    return found, np.stack(sides, axis=1).astype(np.int64)


class Measured:
    """Numbers against numbers."""

    def __init__(self) -> None:
        self.rows = 0
        self.notes: list[str] = []
        self._squares = self._absolutes = 0.0
        self._around = self._sum = self._sum_of_squares = 0.0

    def take(self, true: Array, said: Array, probabilities: Array | None = None) -> None:
        wanted, given = true.astype(np.float64).ravel(), said.astype(np.float64).ravel()
        if not self.rows and len(wanted):
            self._around = float(wanted.mean())  # so that large numbers that are close lose no digits
        apart = wanted - given
        self.rows += len(wanted)
        self._squares += float((apart * apart).sum())
        self._absolutes += float(np.abs(apart).sum())
        shifted = wanted - self._around
        self._sum += float(shifted.sum())
        self._sum_of_squares += float((shifted * shifted).sum())

    def told(self) -> dict[str, float]:
        if not self.rows:
            return dict.fromkeys(REGRESSION, math.nan)
        spread = self._sum_of_squares - self._sum * self._sum / self.rows
        found = {"rmse": math.sqrt(self._squares / self.rows), "mae": self._absolutes / self.rows}
        if self.rows > 1:
            found["r2"] = 1 - self._squares / spread if spread > 0 else float(self._squares == 0)
        return found

    def more(self) -> dict[str, float]:
        """What is told when it is asked for."""
        return {"mse": self._squares / self.rows if self.rows else math.nan}


def coded(values: Array) -> tuple[list[Any], Array]:
    """The labels that there are, and of each row the place of its label among them."""
    flat = values.ravel()
    if flat.dtype.kind in "iubf":
        found, codes = np.unique(flat, return_inverse=True)
        return labels(found), codes.ravel()
    known: dict[Any, int] = {}
    try:
        codes = np.array([known.setdefault(value, len(known)) for value in flat.tolist()], dtype=np.int64)
    except TypeError:  # lists and the like
        known = {}
        codes = np.array([known.setdefault(plain(value), len(known)) for value in flat.tolist()], dtype=np.int64)
    return [plain(value) for value in known], codes


def labels(values: Array) -> list[Any]:
    """Labels as they are compared: 1, 1.0 and true are one, and text is text."""
    if values.dtype.kind in "iub":
        return [int(value) for value in values.ravel().tolist()]
    return [plain(value) for value in values.ravel().tolist()]


def plain(value: Any) -> Any:
    found = value.item() if hasattr(value, "item") else value
    if isinstance(found, (bool, int)):
        return int(found)
    if isinstance(found, float) and found.is_integer():
        return int(found)
    return found if isinstance(found, float) else str(found)


def chosen(told: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Those that were asked for; all where none was."""
    return {name: told[name] for name in names if name in told} if names else dict(told)
