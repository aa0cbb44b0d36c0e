"""Tables that come as requests."""

import io
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bis.scoring import Wrong, tabular


def body(rows: list[Any], kind: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"x": pyarrow.array(rows, kind)}), file)
    return file.getvalue()


NESTED = [
    (pyarrow.list_(pyarrow.string()), [["ab", "c"], [], None, [None, "ab"]]),
    (pyarrow.struct([("in", pyarrow.list_(pyarrow.binary()))]), [{"in": [b"a"]}, None, {"in": None}]),
    (pyarrow.map_(pyarrow.string(), pyarrow.int64()), [[("a", 1)], None]),
    (pyarrow.binary(3), [b"abc", None]),
]


@pytest.mark.parametrize(("kind", "rows"), NESTED)
def test_texts_in_lists_and_the_like_are_read(kind: Any, rows: list[Any]) -> None:
    found = tabular.columns_of_parquet(body(rows, kind))
    assert found.column("x").tolist() == pyarrow.array(rows, kind).to_pylist()


@pytest.mark.parametrize(("kind", "rows"), NESTED)
def test_what_is_said_often_is_counted_as_often(kind: Any, rows: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    longer = {"ab": "ab" * 99, b"a": b"a" * 99, "a": "a" * 99}
    many = body(_with(rows, longer) * 500, kind)
    metadata = pyarrow.parquet.read_metadata(io.BytesIO(many))
    size = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
    monkeypatch.setattr(tabular, "UNPACKED", size)
    with pytest.raises(Wrong, match="unpacks to more than"):
        tabular.columns_of_parquet(many)


def _with(value: Any, longer: dict[Any, Any]) -> Any:
    """The same with other texts."""
    if isinstance(value, dict):
        return {key: _with(one, longer) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_with(one, longer) for one in value)
    return longer.get(value, value) if isinstance(value, (str, bytes)) else value
