"""What bis and mlflow tell of the same rows, and what both accept. Runs in the environment of models."""

import datetime
import decimal
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 float16 float32 float64".split()


def examples():
    """Rows of all kinds, by name."""
    for kind in DTYPES:
        array = np.array([0, 1, 1, 0]).astype(kind)
        yield f"array of {kind}", array
        yield f"matrix of {kind}", array.reshape(2, 2)
        yield f"frame of {kind}", pd.DataFrame({"a": array, "b": array})
        yield f"series of {kind}", pd.Series(array, name="a")
    for rank in range(1, 6):
        yield f"array of {rank} dimensions", np.ones((2,) * rank, "float32")
    yield "uint64 array", np.array([1, 2], "uint64")
    yield "int64 frame of mixed widths", pd.DataFrame({"a": np.int32([1]), "b": np.int64([1]), "c": np.float32([1])})
    yield "texts", np.array(["a", "bc"])
    yield "bytes array", np.array([b"a", b"bc"])
    yield "frame of texts", pd.DataFrame({"a": ["x", "y"]})
    yield "frame of objects", pd.DataFrame({"a": np.array(["x", "y"], dtype=object)})
    yield "frame of bytes", pd.DataFrame({"a": [b"x", b"y"]})
    yield "frame of categories", pd.DataFrame({"a": pd.Categorical(["x", "y"])})
    yield "frame with missing texts", pd.DataFrame({"a": ["x", None]})
    yield "frame with missing numbers", pd.DataFrame({"a": [1.5, np.nan]})
    yield "frame with missing objects", pd.DataFrame({"a": np.array([1, None], dtype=object)})
    yield "frame of whole objects", pd.DataFrame({"a": np.array([1, 2], dtype=object)})
    yield "frame of truth objects", pd.DataFrame({"a": np.array([True, None], dtype=object)})
    yield "frame of nullable whole numbers", pd.DataFrame({"a": pd.array([1, None], dtype="Int64")})
    yield "frame of whole nullable numbers", pd.DataFrame({"a": pd.array([1, 2], dtype="Int64")})
    yield "frame of nullable truth values", pd.DataFrame({"a": pd.array([True, None], dtype="boolean")})
    yield "frame of nullable floats", pd.DataFrame({"a": pd.array([1.5, None], dtype="Float32")})
    yield "frame of nullable texts", pd.DataFrame({"a": pd.array(["x", None], dtype="string")})
    yield "frame of times", pd.DataFrame({"a": pd.to_datetime(["2020-01-01", "2020-01-02"])})
    yield "frame of missing times", pd.DataFrame({"a": pd.to_datetime(["2020-01-01", None])})
    yield "frame of times as objects", pd.DataFrame({"a": np.array([datetime.datetime(2020, 1, 1)], dtype=object)})
    yield "frame of dates", pd.DataFrame({"a": [datetime.date(2020, 1, 1)]})
    yield "frame of decimals", pd.DataFrame({"a": [decimal.Decimal("1.5")]})
    yield "frame of nothing", pd.DataFrame({"a": [None, None]})
    yield "frame of lists", pd.DataFrame({"a": [[1, 2], [3]], "b": [["x"], ["y", "z"]]})
    yield "frame of arrays", pd.DataFrame({"a": [np.array([1.5, 2]), np.array([3.5])]})
    yield "frame of nested lists", pd.DataFrame({"a": [[[1.5]], [[2.5], [3.5]]]})
    yield "frame of objects by key", pd.DataFrame({"a": [{"x": 1, "y": "t"}, {"x": 2}]})
    yield "frame of lists of objects", pd.DataFrame({"a": [[{"x": 1.5}], [{"x": 2.5}, {"x": 0.5}]]})
    yield "frame of mixed objects", pd.DataFrame({"a": np.array([1, 2.5], dtype=object)})
    yield "frame of mixed kinds", pd.DataFrame({"a": np.array([1, "x"], dtype=object)})
    yield "frame of numbered columns", pd.DataFrame(np.ones((2, 2)))
    yield "frame of one numbered column", pd.DataFrame(np.ones((2, 1)))
    yield "frame without rows", pd.DataFrame({"a": pd.Series([], dtype="float64")})
    yield "series of texts", pd.Series(["x", "y"], name="t")
    yield "series without name", pd.Series([1.5, 2.5])
    yield "dict of arrays", {"a": np.ones(3), "b": np.ones((3, 2), "float32")}
    yield "dict of vectors", {"a": np.ones(3), "b": np.arange(3)}
    yield "dict of lists", {"a": [1, 2], "b": ["x", "y"]}
    yield "dict of scalars", {"a": 1, "b": "x", "c": 2.5, "d": True}
    yield "dict of lists of lists", {"a": [[1.5, 2.5]]}
    yield "list of numbers", [1, 2, 3]
    yield "list of fractions", [1.5, 2.5]
    yield "list of texts", ["x", "y"]
    yield "list of truth values", [True, False]
    yield "list of dicts", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    yield "list of dicts with gaps", [{"a": 1, "b": "x"}, {"a": 2}]
    yield "list of lists", [[1.5, 2.5], [3.5, 4.5]]
    yield "list of ragged lists", [[1, 2], [3]]


def params():
    yield from ({"a": 1}, {"a": 1.5}, {"a": "x"}, {"a": True}, {"a": [1, 2]}, {"a": ["x"]}, {"a": [1.5]}, {"a": None})
    yield {"a": np.float32(1.5)}
    yield {"a": np.int64(3), "b": datetime.datetime(2020, 1, 1)}
    yield {"a": {"b": 1, "c": "x"}}


def inferred():
    from mlflow.models import infer_signature

    from bis.flavors.inferring import infer
    from bis.flavors.signature import read, spell

    def told(make):
        try:
            return make()
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    found = {}
    for name, rows in examples():
        theirs = told(lambda rows=rows: infer_signature(rows).to_dict()["inputs"])
        ours = told(lambda rows=rows: spell(infer(rows))["inputs"])
        found[f"inputs: {name}"] = [theirs, ours]
        theirs = told(lambda rows=rows: infer_signature([1], rows).to_dict()["outputs"])
        ours = told(lambda rows=rows: spell(infer([1], rows))["outputs"])
        found[f"outputs: {name}"] = [theirs, ours]
        if isinstance(theirs, str) and theirs.startswith("["):
            found[f"read: {name}"] = [theirs, told(lambda s=theirs: spell(read({"inputs": s}))["inputs"])]
    for one in params():
        theirs = told(lambda one=one: infer_signature(params=one).to_dict()["params"])
        ours = told(lambda one=one: spell(infer([1], None, one))["params"])
        found[f"params: {one}"] = [theirs, ours]
    return found


COLUMN_TYPES = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime", "any")
NESTED = (
    {"type": "array", "items": {"type": "long"}},
    {"type": "array", "items": {"type": "string"}},
    {"type": "object", "properties": {"x": {"type": "long", "required": True}, "y": {"type": "string"}}},
)


def columns():
    """What may come as a column, by name."""
    for kind in (*DTYPES, "uint64"):
        yield kind, pd.Series(np.array([0, 1, 2]).astype(kind))
    yield "zeros and ones", pd.Series([0, 1, 1])
    yield "whole floats", pd.Series([1.0, 2.0])
    yield "fractions", pd.Series([1.5, 2.25])
    yield "fractions that need double", pd.Series([0.1, 1e300])
    yield "floats with gaps", pd.Series([1.0, np.nan])
    yield "large whole numbers", pd.Series([2**40, 2**53 + 1])
    yield "negative numbers", pd.Series([-1, -5])
    yield "texts", pd.Series(["x", "y"])
    yield "texts with gaps", pd.Series(["x", None])
    yield "texts as objects", pd.Series(["x", "y"], dtype=object)
    yield "numbers in texts", pd.Series(["1", "2"])
    yield "times in texts", pd.Series(["2020-01-01", "2020-01-02T03:04:05"])
    yield "bytes", pd.Series([b"x", b"y"])
    yield "times", pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02"]))
    yield "times with gaps", pd.Series(pd.to_datetime(["2020-01-01", None]))
    yield "times as objects", pd.Series([datetime.datetime(2020, 1, 1)], dtype=object)
    yield "dates", pd.Series([datetime.date(2020, 1, 1)])
    yield "objects that are whole", pd.Series([1, 2], dtype=object)
    yield "objects with gaps", pd.Series([1, None], dtype=object)
    yield "truth values with gaps", pd.Series([True, None], dtype=object)
    yield "truth values as objects", pd.Series([True, False], dtype=object)
    yield "mixed objects", pd.Series([1, "x"], dtype=object)
    yield "decimals", pd.Series([decimal.Decimal("1.5")])
    yield "nullable whole numbers", pd.Series(pd.array([1, 2], dtype="Int64"))
    yield "nullable whole numbers with gaps", pd.Series(pd.array([1, None], dtype="Int64"))
    yield "nullable truth values", pd.Series(pd.array([True, False], dtype="boolean"))
    yield "categories", pd.Series(pd.Categorical(["x", "y"]))
    yield "lists", pd.Series([[1, 2], [3]])
    yield "lists of texts", pd.Series([["x"], ["y", "z"]])
    yield "arrays", pd.Series([np.array([1, 2]), np.array([3])])
    yield "objects by key", pd.Series([{"x": 1, "y": "t"}, {"x": 2}])
    yield "objects by other keys", pd.Series([{"z": 1}])
    yield "nothing", pd.Series([None, None], dtype=object)


def tensors():
    """What may come as a tensor, by name."""
    for kind in DTYPES:
        yield kind, np.array([[0, 1], [1, 0]]).astype(kind)
    yield "fractions", np.array([[1.5, 0.1]])
    yield "one dimension", np.ones(3)
    yield "three dimensions", np.ones((1, 2, 2))
    yield "another width", np.ones((2, 3))
    yield "texts", np.array([["a", "b"]])


def checked():
    from mlflow.models.utils import _enforce_schema
    from mlflow.types import Schema

    from bis.flavors.checking import check
    from bis.flavors.signature import read
    from bis.flavors.values import batch_of

    def outcome(make):
        try:
            return ["accepted", make()]
        except Exception as error:
            return ["refused", f"{type(error).__name__}: {error}"]

    found = {}
    for wanted in (*({"type": one} for one in COLUMN_TYPES), *NESTED):
        spec = json.dumps([{**wanted, "name": "a", "required": True}])
        for name, series in columns():
            frame = pd.DataFrame({"a": series})
            theirs = outcome(lambda f=frame, s=spec: _values(_enforce_schema(f.copy(), Schema.from_json(s))["a"].array))
            ours = outcome(lambda f=frame, s=spec: _values(check(read({"inputs": s}), batch_of(f)).column("a")))
            label = wanted["type"] if len(wanted) == 1 else json.dumps(wanted)
            found[f"{label} <- {name}"] = [*theirs, *ours]
    for dtype in ("float32", "float64", "int64", "int32", "bool", "str"):
        spec = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, 2]}}])
        for name, array in tensors():
            theirs = outcome(lambda a=array, s=spec: _values(_enforce_schema(a, Schema.from_json(s))))
            ours = outcome(lambda a=array, s=spec: _values(check(read({"inputs": s}), batch_of(a)).only))
            found[f"tensor of {dtype} <- {name}"] = [*theirs, *ours]
    return found


def _values(array):
    """As what JSON can hold, with the type of each."""
    return [f"{type(one).__name__} {one}" for one in np.ravel(np.asarray(array)).tolist()]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    told = {"inferred": inferred(), "checked": checked()}
    (Path(sys.argv[1]) / "told.json").write_text(json.dumps(told, default=str))
