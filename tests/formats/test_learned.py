"""What a model file has learned is read without its framework, as the framework itself would say it."""

import json
import os
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from bis.formats import Unreadable
from bis.formats.arrays import Array, apart, numbers
from bis.formats.learned import learned
from bis.formats.meaning import meaning
from bis.formats.skops import tree_of

SKLEARN = """
import joblib, json, pickle
import numpy as np
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rows = np.random.default_rng(0).normal(size=(200, 4))
answers = (rows[:, 0] + rows[:, 1] > 0).astype(int)
forest = RandomForestClassifier(20, max_depth=4, random_state=0).fit(rows, answers)
joblib.dump(forest, "forest.joblib")
joblib.dump(forest, "packed.joblib", compress=3)
pickle.dump(forest, open("forest.pkl", "wb"))
steps = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(rows, answers)
joblib.dump(steps, "steps.joblib")
boosted = GradientBoostingRegressor(n_estimators=5, random_state=0).fit(rows, rows[:, 0])
joblib.dump(boosted, "boosted.joblib")
joblib.dump({"rows": rows}, "rows.joblib")
tree = forest.estimators_[0].tree_
json.dump({"nodes": int(sum(one.tree_.node_count for one in forest.estimators_)),
           "coef": steps[-1].coef_.ravel().tolist(),
           "first": [int(tree.feature[0]), float(tree.threshold[0])],
           "importances": forest.estimators_[0].feature_importances_.tolist()}, open("told.json", "w"))
"""
OTHERS = """
import json
import lightgbm, numpy as np, skops.io, xgboost
from sklearn.ensemble import RandomForestClassifier
rows = np.random.default_rng(0).normal(size=(200, 4))
answers = (rows[:, 0] + rows[:, 1] > 0).astype(int)
forest = RandomForestClassifier(20, max_depth=4, random_state=0).fit(rows, answers)
skops.io.dump(forest, "forest.skops")
boosted = xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(rows, answers)
boosted.save_model("boosted.ubj")
boosted.save_model("boosted.json")
light = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(rows, answers)
light.booster_.save_model("light.txt")
gains = light.booster_.feature_importance("gain")
json.dump({"light": (gains / gains.sum()).tolist()}, open("told.json", "w"))
"""


def _made(python: Path, folder: Path, script: str) -> Path:
    done = subprocess.run([python, "-c", script], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, training_python: Path) -> Path:
    return _made(training_python, tmp_path_factory.mktemp("sklearn"), SKLEARN)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(__file__).resolve().parent.parent.parent
    python = Path(os.environ.get("BIS_TEST_MODELS") or root / ".venv-models" / "bin" / "python")
    if not python.is_file():
        if os.environ.get("CI"):
            pytest.fail("there is no environment of models: make .venv-models")
        pytest.skip("there is no environment of models: make .venv-models")
    return _made(python, tmp_path_factory.mktemp("others"), OTHERS)


def told(folder: Path) -> Any:
    return json.loads((folder / "told.json").read_text())


@pytest.mark.parametrize("name", ["forest.joblib", "forest.pkl", "packed.joblib"])
def test_a_forest_is_read_with_its_trees_and_hyperparameters(files: Path, name: str) -> None:
    found = learned(files / name)
    assert found is not None
    assert (found.framework, found.words) == ("sklearn", "RandomForestClassifier, 20 trees")
    assert (found.params["max_depth"], found.params["random_state"], found.features) == (4, 0, 4)
    assert found.classes == ("0", "1")
    assert found.parameter_count == told(files)["nodes"]
    assert [found.trees[0].features[0], found.trees[0].thresholds[0]] == told(files)["first"]


def test_importances_are_the_shares_of_what_splits_gained(files: Path) -> None:
    found = learned(files / "forest.joblib")
    assert found is not None
    alone = type(found)(framework="sklearn", kind="tree", trees=found.trees[:1]).importances
    assert alone == pytest.approx(told(files)["importances"][: len(alone)])


def test_a_pipeline_is_told_by_its_last_step_and_has_the_coefficients_of_each(files: Path) -> None:
    found = learned(files / "steps.joblib")
    assert found is not None
    assert found.words == "LogisticRegression, 5 parameters"
    assert found.params["logisticregression__C"] == 0.5
    assert list(numbers(found.tensors["logisticregression__coef_"])) == told(files)["coef"]
    assert "standardscaler__mean_" in found.tensors


def test_boosted_trees_of_scikit_learn_are_found_in_arrays_of_objects(files: Path) -> None:
    found = learned(files / "boosted.joblib")
    assert found is not None
    assert found.words == "GradientBoostingRegressor, 5 trees"


def test_a_pickle_that_is_no_estimator_is_no_model(files: Path) -> None:
    assert learned(files / "rows.joblib") is None


def test_a_packed_file_means_what_it_holds(files: Path) -> None:
    assert meaning(files / "packed.joblib") == meaning(files / "forest.joblib")
    assert (files / "packed.joblib").read_bytes() != (files / "forest.joblib").read_bytes()


def test_a_damaged_file_says_so(files: Path, tmp_path: Path) -> None:
    content = (files / "packed.joblib").read_bytes()
    (tmp_path / "cut.joblib").write_bytes(content[: len(content) // 2])
    with pytest.raises(Unreadable, match="cut off"):
        learned(tmp_path / "cut.joblib")


def test_skops_is_read_as_the_pickle_of_the_same_model(others: Path, files: Path) -> None:
    one, other = learned(others / "forest.skops"), learned(files / "forest.joblib")
    assert one is not None
    assert other is not None
    assert (one.words, one.features, one.params["max_depth"]) == (other.words, other.features, 4)
    assert [len(tree.features) for tree in one.trees] == [len(tree.features) for tree in other.trees]


@pytest.mark.parametrize("name", ["boosted.ubj", "boosted.json"])
def test_xgboost_tells_its_estimator_and_trees(others: Path, name: str) -> None:
    found = learned(others / name)
    assert found is not None
    assert (found.framework, found.words, found.features) == ("xgboost", "XGBClassifier, 5 trees", 4)
    assert found.params["objective"] == "binary:logistic"


def test_lightgbm_tells_its_params_and_what_its_splits_gained(others: Path) -> None:
    found = learned(others / "light.txt")
    assert found is not None
    assert (found.framework, found.words, found.params["num_iterations"]) == ("lightgbm", "Booster, 5 trees", 5)
    assert found.importances == pytest.approx(told(others)["light"], abs=1e-4)
    assert found.names == ("Column_0", "Column_1", "Column_2", "Column_3")


def test_arrays_are_as_far_apart_as_their_numbers(files: Path) -> None:
    found = learned(files / "steps.joblib")
    assert found is not None
    one = found.tensors["standardscaler__mean_"]
    same = apart(one, one)
    assert same is not None
    assert (same.differ, same.furthest, same.cosine) == (0, 0.0, pytest.approx(1.0))
    twice = Array(one.dtype, one.shape, struct.pack("<4d", *(2 * value for value in numbers(one))))
    far = apart(one, twice)
    assert far is not None
    assert far.differ == 4
    assert (far.relative, far.cosine) == (pytest.approx(1.0), pytest.approx(1.0))
    assert apart(one, Array("<f8", (1,), bytes(8))) is None


def test_a_file_of_groups_that_are_in_themselves_is_read_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        inner = file.create_group("layers/one")
        inner["kernel"] = [1.0, 2.0]
        for name in "abcdefgh":
            inner[name] = file["layers"]
            file[name] = file
    found = learned(tmp_path / "model.weights.h5")
    assert found is not None
    assert len(found.tensors) == 1


def exported(path: Path, tensors: dict[str, dict[str, Any]], size: int) -> Path:
    """An exported program of one member of zeros, which tensors of bytes show, each `shape` by `stride`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as box:
        box.writestr("m/archive_format", "pt2")
        box.writestr("m/data/weights/weight_0", bytes(size))
        config = {
            name: {
                "path_name": "weight_0",
                "use_pickle": False,
                "tensor_meta": {
                    "dtype": 1,
                    "sizes": [{"as_int": side} for side in one["shape"]],
                    "strides": [{"as_int": step} for step in one["stride"]],
                    "storage_offset": {"as_int": 0},
                },
            }
            for name, one in tensors.items()
        }
        box.writestr("m/data/weights/model_weights_config.json", json.dumps({"config": config}))
    return path


def test_an_exported_network_that_is_small_and_would_fill_the_memory_is_refused_before_it_is_read(
    tmp_path: Path,
) -> None:
    """Each of its names is within the bounds, and all of them together are not."""
    size = 64 << 20
    whole = {"shape": [size], "stride": [1]}
    bomb = exported(tmp_path / "bomb.pt2", {f"layer{number}": whole for number in range(33)}, size)
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(Unreadable, match="its weights have more than 2,048 MiB"):
        learned(bomb)
    one = learned(exported(tmp_path / "one.pt2", {"layer": whole}, size))
    assert one
    (tensor,) = one.tensors.values()
    assert (tensor.shape, len(tensor.data)) == ((size,), size)


def test_an_exported_network_whose_tensors_show_each_value_many_times_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bis.formats.networks.TOGETHER", 1 << 20)
    often = {f"layer{number}": {"shape": [1000, 200], "stride": [0, 1]} for number in range(4)}
    four = learned(exported(tmp_path / "four.pt2", often, 200))
    assert four
    assert len(four.tensors) == 4
    often |= {f"more{number}": often["layer0"] for number in range(2)}
    with pytest.raises(Unreadable, match="its weights have more than 1 MiB"):
        learned(exported(tmp_path / "six.pt2", often, 200))


def test_objects_of_skops_that_name_one_member_many_times_are_refused_where_they_would_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bis.formats.UNPACKED", 1 << 20)
    node = {"__class__": "bytes", "__module__": "builtins", "__loader__": "BytesNode", "file": "0.bin"}
    for number, fits in ((3, True), (30, False)):
        path = tmp_path / f"{number}.skops"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
            content = [{**node, "__id__": place} for place in range(number)]
            schema = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": content}
            box.writestr("schema.json", json.dumps({**schema, "protocol": 2}))
            box.writestr("0.bin", bytes(100_000))
        with zipfile.ZipFile(path) as box:
            if fits:
                assert len(tree_of(box)[""]) == number
            else:
                with pytest.raises(Unreadable, match="it unpacks to more than"):
                    tree_of(box)
