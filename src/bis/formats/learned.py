"""What a model file has learned: its kind, hyperparameters, tensors and trees, read as data, without its framework.

Nothing in a file is run. What is not understood is left out, so a comparison by this alone shows differences, and never
proves that there are none: `meaning` does that.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.formats import HEAD, PARSED, WHOLE, Unreadable
from bis.formats.archives import ZIP, open_zip, zip_box
from bis.formats.arrays import Array, numbers
from bis.formats.boosting import read_ubjson
from bis.formats.documents import read_bounded, read_json
from bis.formats.networks import HDF5, of_checkpoint, of_exported, of_hdf5, of_keras
from bis.formats.pickles import PACKED, inflated
from bis.formats.protobufs import initializers
from bis.formats.skops import tree_of
from bis.formats.tensors import LEGACY, objects_of, read_legacy, read_safetensors, with_tensors
from bis.formats.unpickle import read_pickle
from bis.formats.values import Made, Name, Number, Pairs

ESTIMATORS: Final = {"sklearn": "sklearn", "xgboost": "xgboost", "lightgbm": "lightgbm"}
"""Package of a class -> framework."""
PICKLES: Final = (".pkl", ".pickle", ".joblib", ".sav")
LIGHTGBM: Final = (b"tree\nversion=", b"tree\r\nversion=")
COUNTED: Final = ("coef_", "intercept_", "coefs_", "intercepts_", "cluster_centers_")
NODE: Final = struct.Struct("<qqqddqd")
"""Of a tree of scikit-learn: children, feature, threshold, impurity, samples, weight of samples; eight bytes each."""
DEEPEST: Final = 60
DAMAGED: Final = (
    *(RecursionError, ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError),
    *(struct.error, zipfile.BadZipFile, zlib.error, NotImplementedError),
)
"""What readers raise for what is no file of theirs."""


class Tree(msgspec.Struct, frozen=True):
    """The splits of one tree, in the order in which the file has its nodes."""

    features: tuple[int, ...]
    thresholds: tuple[float, ...]
    gains: tuple[float, ...]
    leaves: tuple[float, ...] = ()
    """Their values, where they have one each."""


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its file describes it."""

    framework: str
    kind: str
    """The class, without its module."""
    params: dict[str, Any] = {}
    tensors: dict[str, Array] = {}
    trees: tuple[Tree, ...] = ()
    features: int = 0
    """That it takes; 0: not known."""
    names: tuple[str, ...] = ()
    """Of the features, where it knows them."""
    classes: tuple[str, ...] = ()
    whole: bool = True
    """Whether the file is a model that can be asked. False: weights, whose model is elsewhere."""

    @property
    def words(self) -> str:
        """`RandomForestClassifier, 20 trees`."""
        trees = f"{len(self.trees):,} tree{'' if len(self.trees) == 1 else 's'}" if self.trees else ""
        count = self.parameter_count
        told = trees or (f"{count:,} parameter{'' if count == 1 else 's'}" if count else "")
        return ", ".join(filter(None, (self.kind, told)))

    @property
    def parameter_count(self) -> int:
        """Numbers that were learned: coefficients and weights; of trees, their nodes."""
        if self.framework in ("sklearn", "xgboost", "lightgbm"):
            kept = [array for name, array in self.tensors.items() if any(word in name for word in COUNTED)]
            return sum(map(_size, kept)) + sum(2 * len(tree.features) + 1 for tree in self.trees)
        return sum(_size(array) for array in self.tensors.values())

    @property
    def importances(self) -> list[float]:
        """Of each feature, its share of what all splits gained together."""
        found = [0.0] * max((feature + 1 for tree in self.trees for feature in tree.features), default=0)
        for tree in self.trees:
            for feature, gain in zip(tree.features, tree.gains, strict=True):
                found[feature] += gain
        total = sum(found)
        return [gain / total for gain in found] if total else found

    def summary(self) -> dict[str, Any]:
        """As a flavor tells it."""
        found: dict[str, Any] = {"kind": self.kind, "hyperparameters": {k: _plain(v) for k, v in self.params.items()}}
        if self.trees:
            found["trees"] = len(self.trees)
        if self.parameter_count:
            found["parameter_count"] = self.parameter_count
        if self.features:
            found["features"] = self.features
        if self.classes:
            found["classes"] = list(self.classes)
        if self.framework in ("pytorch", "onnx", "safetensors", "keras", "tensorflow") and self.tensors:
            found["layers"] = [{"name": name, "shape": list(one.shape)} for name, one in self.tensors.items()][:1000]
        return found


def learned(path: Path, name: str = "") -> Learned | None:
    """What a file has learned; None for one that is no model of a framework that is known here. Raises OSError, and
    Unreadable for one that is damaged or too large. `name`: what it is called, where it lies under another name."""
    called = (name or path.name).lower()
    with path.open("rb") as file:
        head = file.read(HEAD)
    try:
        return _read(path, called, head)
    except DAMAGED as error:
        raise Unreadable(f"it cannot be understood ({type(error).__name__})") from None


def _read(path: Path, name: str, head: bytes) -> Learned | None:
    if head.startswith(LIGHTGBM):
        return _of_lightgbm(read_bounded(path, WHOLE).decode("utf-8", "replace"))
    if head.startswith(ZIP):
        return _of_zip(path, name)
    if head.startswith(LEGACY):
        return _of_torch(read_legacy(path))
    if name.endswith(".safetensors"):
        return Learned(framework="safetensors", kind="weights", tensors=read_safetensors(path), whole=False)
    if name.endswith(".onnx") and head[:1] == b"\x08":
        found = initializers(read_bounded(path, WHOLE))
        return Learned(framework="onnx", kind="ModelProto", tensors=found)
    if name.endswith((".ubj", ".json", ".bin", ".model", ".xgb")) and head[:1] == b"{" and b"learner" in head:
        return _of_xgboost(_document(path, head))
    if head.startswith(HDF5) and name.endswith((".h5", ".hdf5", ".keras")):
        return Learned(framework="keras", kind="weights", tensors=of_hdf5(path, path.stat().st_size), whole=False)
    if name.endswith("variables/variables.index"):
        return Learned(framework="tensorflow", kind="SavedModel", tensors=of_checkpoint(path))
    if head[:1] == b"\x80" or head.startswith(PACKED):
        return _of_pickle(path, head) if name.endswith(PICKLES) else None
    return None


def _document(path: Path, head: bytes) -> Any:
    text = head.lstrip()[1:].lstrip()[:1] == b'"'
    return read_json(read_bounded(path, PARSED * 4)) if text else read_ubjson(read_bounded(path, 1 << 30))


# -- scikit-learn, and estimators like its own -------------------------------------------------------------------


def _of_pickle(path: Path, head: bytes) -> Learned | None:
    data = inflated(read_bounded(path, WHOLE)) if head.startswith(PACKED) else read_bounded(path, WHOLE)
    return of_objects(with_tensors(read_pickle(io.BytesIO(data), joblib=True)))


def of_objects(root: Any) -> Learned | None:
    """An estimator, as what described it was read."""
    if not isinstance(root, Made) or not isinstance(root.what, Name):
        return None
    fields = attributes(root)
    package = root.what.module.partition(".")[0]
    framework = ESTIMATORS.get(package) or ("sklearn" if "_sklearn_version" in fields else "")
    if not framework or root.array is not None:
        return None
    inside = _Inside()
    inside.estimator(root, "")
    last = _last_step(root)
    about = attributes(last)
    return Learned(
        framework=framework,
        kind=last.what.name if isinstance(last.what, Name) else root.what.name,
        params=inside.params,
        tensors=inside.tensors,
        trees=tuple(inside.trees),
        features=_whole_number(fields.get("n_features_in_", about.get("n_features_in_"))),
        names=_texts(fields.get("feature_names_in_")),
        classes=_texts(about.get("classes_")),
    )


def attributes(made: Made) -> dict[str, Any]:
    """Of an object, by name, as a pickle or skops describes them."""
    state = made.state[0] if isinstance(made.state, tuple) and made.state else made.state
    pairs = state if isinstance(state, Pairs) else state.pairs if isinstance(state, Made) else made.pairs
    return {key: value for key, value in pairs.items if isinstance(key, str)}


class _Inside:
    """What is found within an estimator."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.tensors: dict[str, Array] = {}
        self.trees: list[Tree] = []
        self._seen: set[int] = set()

    def estimator(self, made: Made, prefix: str) -> None:
        for key, value in attributes(made).items():
            if ("random_state" in key or key == "_rng") and not isinstance(value, (int, str, type(None))):
                continue
            if key == "handle":
                self.packed(value, key)
            if key.endswith("_") or key.startswith("_"):
                self.fitted(value, f"{prefix}{key}", 0)
            elif isinstance(value, Made) and value.array is None and _is_estimator(value):
                self.estimator(value, f"{prefix}{key}__")
            elif isinstance(value, (list, tuple)) and any(_named_step(one) for one in value):
                for one in filter(_named_step, value):
                    self.estimator(one[1], f"{prefix}{one[0]}__")
            elif (known := _param(value)) is not _NONE:
                self.params[f"{prefix}{key}"] = known

    def fitted(self, value: Any, where: str, depth: int) -> None:
        """What was learned: arrays by their place, and trees."""
        if depth > DEEPEST or id(value) in self._seen or not isinstance(value, (Made, Pairs, list, tuple, dict)):
            self.packed(value, where)
            return
        self._seen.add(id(value))
        if isinstance(value, Made):
            if value.array is not None:
                self.tensors[where] = value.array
            elif isinstance(value.what, Name) and value.what.name == "Tree" and "tree" in value.what.module:
                self.trees += _tree_of(value)
            elif "tree_" in (fields := attributes(value)):
                self.fitted(fields["tree_"], where, depth + 1)
            elif _is_estimator(value):
                self.estimator(value, f"{where}__")
            else:
                for key, inner in fields.items():
                    self.fitted(inner, f"{where}.{key}", depth + 1)
                for inner in (value.args, value.items, () if isinstance(value.state, (Pairs, Made)) else value.state):
                    self.fitted(inner, where, depth + 1)
        elif isinstance(value, Pairs):
            for key, inner in value.items:
                self.fitted(inner, f"{where}.{key}" if isinstance(key, str) else where, depth + 1)
        else:
            several = value.values() if isinstance(value, dict) else value
            for place, inner in enumerate(several):
                self.fitted(inner, f"{where}[{place}]", depth + 1)

    def packed(self, value: Any, where: str) -> None:
        """What other libraries keep as bytes or text of their own."""
        if where.endswith("handle") and isinstance(value, (bytes, bytearray)) and value[:1] == b"{":
            self.trees += _of_xgboost(read_ubjson(bytes(value)).get("Model", {})).trees
        elif isinstance(value, str) and value.startswith("tree\nversion="):
            self.trees += _of_lightgbm(value).trees


_NONE: Final = object()


def _param(value: Any) -> Any:
    if isinstance(value, Number):
        return _number(value)
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, Made) and value.array is not None and not value.array.shape:
        return next(iter(numbers(value.array)))
    if isinstance(value, Name):
        return value.name
    if isinstance(value, (list, tuple)) and len(value) < 50 and all(_param(one) is not _NONE for one in value):
        return type(value)(map(_param, value))
    return _NONE


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _is_estimator(made: Made) -> bool:
    fields = attributes(made)
    return "_sklearn_version" in fields or (
        isinstance(made.what, Name) and made.what.module.partition(".")[0] in ESTIMATORS and bool(fields)
    )


def _named_step(one: Any) -> bool:
    return isinstance(one, (list, tuple)) and len(one) >= 2 and isinstance(one[0], str) and isinstance(one[1], Made)


def _last_step(made: Made) -> Made:
    fields = attributes(made)
    steps = [one for one in fields.get("steps") or () if _named_step(one)]
    best = fields.get("best_estimator_")
    if steps:
        return _last_step(steps[-1][1])
    return _last_step(best) if isinstance(best, Made) and best.array is None else made


def _tree_of(made: Made) -> list[Tree]:
    nodes = attributes(made).get("nodes")
    if not isinstance(nodes, Made) or nodes.array is None or not nodes.array.shape:
        return []
    data, count = bytes(nodes.array.data), nodes.array.shape[0]
    step = len(data) // count if count else 0
    if step < NODE.size:
        return []
    rows = [NODE.unpack_from(data, place * step) for place in range(count)]
    inner = [row for row in rows if row[0] >= 0]
    gains = [row[6] * row[4] - rows[row[0]][6] * rows[row[0]][4] - rows[row[1]][6] * rows[row[1]][4] for row in inner]
    values = attributes(made).get("values")
    told = list(numbers(values.array)) if isinstance(values, Made) and values.array is not None else []
    each = len(told) // count if count else 0
    leaves = [
        value for place, row in enumerate(rows) if row[0] < 0 for value in told[place * each : (place + 1) * each]
    ]
    return [Tree(tuple(row[2] for row in inner), tuple(row[3] for row in inner), tuple(gains), tuple(leaves))]


def _whole_number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _texts(value: Any) -> tuple[str, ...]:
    """The values of an array as texts; of one of objects, the texts in it."""
    if not isinstance(value, Made):
        return ()
    if value.array is not None:
        found = list(numbers(value.array))
        return tuple(one.decode("utf-32-le", "replace").rstrip("\0") if isinstance(one, bytes) else str(one)
                     for one in found) if len(found) <= 1000 else ()  # fmt: skip
    return tuple(str(one) for one in _strings([value.state, value.items, value.args]))[:1000]


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """Texts in the last list of what describes an array of objects."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        yield from value
    elif depth < 10 and isinstance(value, (list, tuple)):
        for one in value:
            yield from _strings(one, depth + 1)
    elif depth < 10 and isinstance(value, Made):
        yield from _strings([value.state, value.items], depth + 1)


# -- boosted trees -----------------------------------------------------------------------------------------------


def _of_xgboost(document: Mapping[str, Any]) -> Learned:
    """Of XGBoost's own document, in JSON or UBJSON."""
    learner = document["learner"]
    booster = learner["gradient_booster"]
    model = booster.get("model") or (booster.get("gbtree") or {}).get("model") or {}
    about = learner.get("learner_model_param") or {}
    objective = learner.get("objective") or {}
    params = {"objective": str(objective.get("name", "")), "booster": str(booster.get("name", ""))}
    params |= {key: value for name, told in objective.items() if isinstance(told, dict) for key, value in told.items()}
    weights = model.get("weights")
    return Learned(
        framework="xgboost",
        kind={"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}.get(
            estimator_type(learner), "Booster"
        ),
        params={key: _numeric(value) for key, value in params.items()} | {"base_score": _numeric(about["base_score"])},
        tensors={"coef_": _array(weights)} if weights else {},
        trees=tuple(_xgboost_tree(tree) for tree in model.get("trees") or ()),
        features=_whole_number(about.get("num_feature")),
        names=tuple(map(str, learner.get("feature_names") or ())),
    )


def estimator_type(learner: Mapping[str, Any]) -> str:
    """`classifier`, `regressor`, `ranker` of an estimator that was saved; empty for a booster alone."""
    try:
        return str(json.loads((learner.get("attributes") or {})["scikit_learn"]).get("_estimator_type", ""))
    except (KeyError, ValueError, AttributeError):
        return ""


def _xgboost_tree(tree: Mapping[str, Any]) -> Tree:
    left, features, thresholds, gains = (
        _several(tree[key]) for key in ("left_children", "split_indices", "split_conditions", "loss_changes")
    )
    inner = [place for place, child in enumerate(left) if child >= 0]
    return Tree(
        tuple(int(features[place]) for place in inner),
        tuple(thresholds[place] for place in inner),
        tuple(gains[place] for place in inner),
        tuple(thresholds[place] for place, child in enumerate(left) if child < 0),
    )


def _several(value: Any) -> list[Any]:
    if isinstance(value, Array):
        return list(numbers(value))
    return [_number(one) if isinstance(one, str) else one for one in value]


def _array(values: Any) -> Array:
    if isinstance(values, Array):
        return values
    found = _several(values)
    return Array("<f8", (len(found),), struct.pack(f"<{len(found)}d", *found))


def _numeric(value: Any) -> Any:
    """A text of digits as the number."""
    if not isinstance(value, str):
        return value
    try:
        return _number(value.strip("[]"))
    except ValueError:
        return str(value)


def _of_lightgbm(text: str) -> Learned:
    head, *rest = text.split("\nTree=")
    facts = _facts(head)
    _, _, tail = text.partition("\nparameters:")
    params = {}
    for line in tail.partition("end of parameters")[0].splitlines():
        key, colon, value = line.strip().strip("[]").partition(": ")
        if colon and value:
            params[key] = _numeric(value)
    return Learned(
        framework="lightgbm",
        kind="Booster",
        params=params or {"objective": facts.get("objective", "")},
        trees=tuple(_lightgbm_tree(_facts(block)) for block in rest),
        features=_whole_number(facts.get("max_feature_idx", "-1")) + 1,
        names=tuple(facts.get("feature_names", "").split()),
    )


def _facts(block: str) -> dict[str, str]:
    lines = block.partition("end of trees")[0].splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines) if value}


def _lightgbm_tree(facts: Mapping[str, str]) -> Tree:
    def several(key: str) -> list[float]:
        return [float(word) for word in facts.get(key, "").split()]

    return Tree(
        tuple(map(int, several("split_feature"))),
        tuple(several("threshold")),
        tuple(several("split_gain")),
        tuple(several("leaf_value")),
    )


# -- networks ----------------------------------------------------------------------------------------------------


def _of_zip(path: Path, name: str) -> Learned | None:
    with open_zip(path) as box:
        names = box.namelist()
        if "schema.json" in names:
            return of_objects(tree_of(box)[""])
        if name.endswith(".keras") or {"config.json", "model.weights.h5"} <= set(names):
            return msgspec.structs.replace(_of_keras(box.read("config.json")), tensors=of_keras(box))
        members = zip_box(box)
        if "archive_format" in members.members:
            return Learned(framework="pytorch", kind="ExportedProgram", tensors=of_exported(members))
        if "data.pkl" not in members.members:
            return None
        script = any(one.startswith("code/") for one in members.members)
        return _of_torch(objects_of(members, "data.pkl")[0], script=script)


def _of_torch(root: Any, *, script: bool = False) -> Learned | None:
    """A state dict, a module, or what a script made of it."""
    tensors = dict(_tensors(root))
    if not tensors:
        return None
    module = isinstance(root, Made) and isinstance(root.what, Name) and root.what.name != "OrderedDict"
    kind = root.what.name.rpartition(".")[2] if module else "weights"
    return Learned(framework="pytorch", kind=kind, tensors=tensors, whole=script or module)


INSIDE: Final = ("_parameters", "_buffers", "_modules")


def _tensors(root: Any) -> Iterator[tuple[str, Array]]:
    """Arrays by the names that lead to them, without recursion; each once."""
    stack, seen = [("", root)], set()
    while stack:
        where, node = stack.pop()
        if id(node) in seen or not isinstance(node, (Made, Pairs, list, tuple)):
            continue
        seen.add(id(node))
        if isinstance(node, Made) and node.array is not None:
            if type(node) is Made:
                yield where, node.array
            continue
        below: Iterable[tuple[Any, Any]]
        if isinstance(node, Made):
            inner = [(None, node.state), *attributes(node).items(), *node.pairs.items]
            below = [*inner, *((None, one) for each in (node.args, node.items) for one in _listed(each))]
        else:
            below = node.items if isinstance(node, Pairs) else enumerate(node)
        named = [(key if isinstance(key, (str, int)) and key not in INSIDE else None, one) for key, one in below]
        stack += [(_joined(where, key), one) for key, one in reversed(named)]


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _joined(where: str, key: Any) -> str:
    return where if key is None else f"{where}.{key}" if where else str(key)


def _of_keras(config: bytes) -> Learned:
    told = read_json(config)
    inner = told.get("config") or {}
    layers = [one.get("class_name", "") for one in inner.get("layers") or () if isinstance(one, dict)]
    params = {
        f"{one['config'].get('name', one.get('class_name'))}.{key}": known
        for one in inner.get("layers") or ()
        if isinstance(one, dict) and isinstance(one.get("config"), dict)
        for key, value in one["config"].items()
        if key != "name" and (known := _param(value)) is not _NONE
    }
    return Learned(framework="keras", kind=f"{told.get('class_name', 'Model')} of {len(layers)} layers", params=params)


def _size(array: Array) -> int:
    found = 1
    for side in array.shape:
        found *= side
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def named(features: Sequence[str], place: int) -> str:
    """A feature by its name, or by its number where it has none."""
    return features[place] if place < len(features) else f"feature {place}"
