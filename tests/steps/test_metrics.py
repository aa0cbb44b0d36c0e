"""Metrics from files."""

import math
from pathlib import Path

import pytest

from bis.nouns.part import Part
from bis.steps.metrics import is_metric_file, metric_globs, read_metrics
from bis.store.local import open_store
from bis.store.snapshot import snapshot


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        (
            "metrics.json",
            b'{"loss": 0.25, "val": {"auc": 0.9}, "name": "x", "ok": true}',
            {"loss": 0.25, "val.auc": 0.9},
        ),
        ("metrics.yaml", b"loss: 0.25\nval:\n  auc: 0.9\n", {"loss": 0.25, "val.auc": 0.9}),
        ("metrics.csv", b"step,loss,auc\n0,1.0,\n1,0.5,0.9\n2,0.25,\n", {"step": 2, "loss": 0.25, "auc": 0.9}),
        ("metrics.tsv", b"step\tloss\n0\t1.0\n", {"step": 0, "loss": 1.0}),
        ("metrics.json", b'{"best": Infinity, "worst": -Infinity}', {"best": math.inf, "worst": -math.inf}),
        ("metrics.json", b"not json", {}),
        ("metrics.csv", b"only,a,header\n", {}),
    ],
)
def test_numbers_are_read_by_name(name: str, content: bytes, found: dict[str, float]) -> None:
    assert read_metrics(name, content) == found


def test_nan_is_a_metric() -> None:
    assert math.isnan(read_metrics("metrics.json", b'{"loss": NaN}')["loss"])


def test_globs_match_paths_and_names() -> None:
    assert is_metric_file("out/metrics.json", ["metrics.json"])
    assert is_metric_file("eval/a.json", ["eval/*.json"])
    assert not is_metric_file("other.json", ["metrics.json"])


PIPELINE = """
metrics: [summary.json]
stages:
  train:
    cmd: python train.py
    metrics:
      - exp/scores[1].json:
          cache: false
  each:
    foreach: [a, b]
    do:
      cmd: python each.py ${item}
      wdir: parts
      metrics: ["${item}/scores.yaml"]
  odd: 3
"""


def test_what_a_pipeline_of_dvc_declares_are_metric_files(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    (tmp_path / "project").mkdir()

    def globs(pipeline: str) -> tuple[str, ...]:
        (tmp_path / "project" / "dvc.yaml").write_text(pipeline)
        tree = snapshot(tmp_path / "project", store)
        return metric_globs(["metrics.json"], Part(kind="code", digest=tree, trees={"tree": tree}), store)

    assert metric_globs(["metrics.json"], None, store) == ("metrics.json",)
    for path in ("metrics.json", "summary.json", "exp/scores[1].json", "parts/a/scores.yaml"):
        assert is_metric_file(path, globs(PIPELINE))
    assert not is_metric_file("exp/scores1.json", globs(PIPELINE))
    for nonsense in ("[]", "stages: 3", "metrics: x", "not: [yaml"):
        assert globs(nonsense) == ("metrics.json",)


def test_a_file_that_means_billions_of_values_is_looked_at_only_so_far() -> None:
    lines = ["a0: &a0 [{x: 1}, {x: 2}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert read_metrics("metrics.yaml", "\n".join(lines).encode())["a0.1.x"] == 2


@pytest.mark.parametrize("inner", ["[*a]", "[*a, *a]", "{b: *a, c: *a}"])
def test_a_file_that_holds_itself_is_looked_at_only_so_far(inner: str) -> None:
    assert read_metrics("metrics.yaml", f"loss: 0.25\nself: &a {inner}\nauc: 0.9\n".encode())["loss"] == 0.25


def test_a_file_that_means_billions_of_empty_values_holds_none() -> None:
    lines = ["a0: &a0 {}", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert read_metrics("metrics.yaml", "\n".join(lines).encode()) == {}
