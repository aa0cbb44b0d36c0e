"""Two answers to one request are compared row by row, in whichever protocol it was asked."""

from typing import Any

import msgspec
import pytest

from bis.serving.asking import Answer
from bis.serving.compare import compared
from bis.serving.tally import Agreement


def answer(document: Any, rows: int) -> Answer:
    return Answer(200, "application/json", msgspec.json.encode(document), rows)


def tensor(*values: float, rows: int) -> Any:
    return {"outputs": [{"name": "p", "datatype": "FP64", "shape": [rows, len(values) // rows], "data": list(values)}]}


@pytest.mark.parametrize(
    ("first", "second", "rows", "same", "furthest"),
    [
        ({"predictions": [1, 2]}, {"predictions": [1, 5]}, 2, 1, 3.0),
        ({"predictions": [[0.2, 0.8]]}, {"predictions": [[0.5, 0.8]]}, 1, 0, 0.3),
        (tensor(0.2, 0.8, rows=1), tensor(0.5, 0.8, rows=1), 1, 0, 0.3),
        (tensor(0.2, 0.8, 0.4, 0.6, rows=2), tensor(0.2, 0.8, 0.4, 0.5, rows=2), 2, 1, 0.1),
        (tensor(1, 2, rows=2), tensor(1, 3, rows=2), 2, 1, 1.0),
    ],
)
def test_rows_are_the_same_where_all_of_their_numbers_are(
    first: Any, second: Any, rows: int, same: int, furthest: float
) -> None:
    agreement = Agreement()
    compared(answer(first, rows), answer(second, rows), agreement)
    assert (agreement.rows, agreement.same_rows) == (rows, same)
    assert agreement.furthest == pytest.approx(furthest)
