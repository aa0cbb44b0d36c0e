"""Which output belongs to which."""

import time

import pytest

from bis.digest import digest_bytes
from bis.formats import Context, Side
from bis.nouns.run import Output
from bis.steps.pairing import pair, stable


def made(path: str, content: bytes = b"x") -> Output:
    return Output(path=path, digest=digest_bytes(content), size=len(content))


def names(pairs: list[tuple[Output | None, Output | None]]) -> list[tuple[str | None, str | None]]:
    return [(old.path if old else None, new.path if new else None) for old, new in pairs]


def test_equal_names_pair() -> None:
    assert names(pair([made("a"), made("b")], [made("b"), made("a")])) == [("a", "a"), ("b", "b")]


def test_what_only_one_run_made_stands_alone() -> None:
    assert names(pair([made("a")], [made("b")])) == [("a", None), (None, "b")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model.pkl/2026-05-03T10.00.00.123Z/model.pkl", "model.pkl/2026-05-04T11.22.33.456Z/model.pkl"),
        ("logs/events.out.tfevents.1777777777.host.12.0", "logs/events.out.tfevents.1777779999.host.99.0"),
        ("mlruns/0/0123456789abcdef0123456789abcdef/m", "mlruns/0/fedcba9876543210fedcba9876543210/m"),
        ("runs/20260503_100000/x.pt", "runs/20260504_112233/x.pt"),
        ("worker.pid123.log", "worker.pid45.log"),
    ],
)
def test_names_that_differ_by_time_or_id_pair(before: str, after: str) -> None:
    assert names(pair([made(before)], [made(after, b"y")])) == [(before, after)]


def test_among_several_candidates_equal_content_pairs_first() -> None:
    first, second = "run-0123456789abcdef0123456789abcdef", "run-fedcba9876543210fedcba9876543210"
    third, fourth = "run-11112222333344445555666677778888", "run-99998888777766665555444433332222"
    pairs = pair([made(first, b"1"), made(second, b"2")], [made(third, b"2"), made(fourth, b"1")])
    assert names(pairs) == [(first, fourth), (second, third)]


def test_many_candidates_cost_no_more_than_each_of_them() -> None:
    sides = [
        [made(f"mlruns/{at + number:032x}", b"%d" % (at + number)) for number in range(20_000)] for at in (0, 1 << 64)
    ]
    began = time.process_time()
    assert all(names(pair(*sides))[0])
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "name", ["model-v2.pkl", "fold_3.csv", "epoch=12-loss=0.1234.ckpt", "data_20.csv", "acc_9123.txt"]
)
def test_numbers_that_are_no_times_or_ids_stay_in_the_name(name: str) -> None:
    assert stable(name) == name


RUN = Side(started=1_795_718_265.0, ended=1_795_718_300.0)
"""26 November 2026, from 18:37:45 UTC on."""


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("outputs/2026-11-26/18-37-45/.hydra/config.yaml", "outputs/<time>/.hydra/config.yaml"),
        ("runs/Nov26_18-37-45_host_mlp/x", "runs/<time>_host_mlp/x"),
        ("saved/LeNet/1126_183745/x.pth", "saved/LeNet/<time>/x.pth"),
        ("wandb/offline-run-20261126_183745-65cjnrh7/logs", "wandb/offline-run-<time>-<id>/logs"),
        ("run_2026-11-26_18-37-45_123456.log", "run_<time>.log"),
        ("exp_26-11-2026_18-37/x", "exp_<time>/x"),
        ("m_2026_11_26_18_37_45.h5", "m_<time>.h5"),
        ("log_11-26-2026.txt", "log_<time>.txt"),
        ("predictions_20261126.csv", "predictions_<time>.csv"),
        ("part_2024-01-03.csv", "part_2024-01-03.csv"),
        ("part_2026-11-25.csv", "part_2026-11-25.csv"),
        ("data_1126_1234.csv", "data_1126_1234.csv"),
        ("img_000123_104530.png", "img_000123_104530.png"),
    ],
)
def test_a_time_of_the_run_counts_as_one_in_any_spelling_and_another_time_stays(name: str, without: str) -> None:
    assert stable(name, RUN, 120.0) == without


def test_folders_named_after_the_time_of_their_runs_pair() -> None:
    before, after = "outputs/2026-11-26/18-37-45/model.pkl", "outputs/2026-11-28/09-00-01/model.pkl"
    later = Side(started=RUN.started + 138_136, ended=RUN.ended + 138_136)
    assert names(pair([made(before)], [made(after)], Context(before=RUN, after=later))) == [(before, after)]
    assert names(pair([made(before)], [made(after)], Context(before=RUN, after=RUN))) == [(before, None), (None, after)]
