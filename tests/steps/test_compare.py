"""Outputs of two runs, side by side."""

import gzip
import time
from pathlib import Path

import msgspec
import pytest

from bis.digest import digest_bytes
from bis.nouns.run import Output, Run, Usage
from bis.nouns.verdict import Judged
from bis.steps.compare import context_of, judge_metrics, judge_outputs
from bis.store.local import LocalStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(tmp_path / "store")


def run(store: LocalStore, files: dict[str, bytes], **fields: object) -> Run:
    outputs = tuple(Output(path=name, digest=store.put_bytes(data), size=len(data)) for name, data in files.items())
    store.flush()
    given = {"id": "0" * 12, "name": "a-1", "command": ("a",), "started": "2026-05-03T10:00:00Z", "status": "finished"}
    return Run(**{**given, **fields}, outputs=outputs)  # type: ignore[arg-type]


def judged(store: LocalStore, before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, Judged]:
    old, new = run(store, before), run(store, after, id="1" * 12)
    return {one.name: one for one in judge_outputs(old, new, store, context_of(old, new))}


def test_the_same_bytes_are_identical(store: LocalStore) -> None:
    assert judged(store, {"x.csv": b"1"}, {"x.csv": b"1"})["x.csv"].sameness == "identical"


def test_an_output_that_one_run_did_not_make_is_different(store: LocalStore) -> None:
    found = judged(store, {"x.csv": b"1"}, {"y.csv": b"1"})
    assert {name: one.sameness for name, one in found.items()} == {"x.csv": "different", "y.csv": "different"}


def test_empty_logs_say_nothing(store: LocalStore) -> None:
    assert judged(store, {"<stdout>": b""}, {"<stdout>": b""}) == {}


def test_a_log_that_one_run_left_empty_is_different(store: LocalStore) -> None:
    assert judged(store, {"<stdout>": b"x\n"}, {"<stdout>": b""})["<stdout>"].sameness == "different"


def test_the_size_of_a_file_that_means_the_same_is_the_same_in_a_log(store: LocalStore) -> None:
    text = b"".join(b"%d\n" % (number * number) for number in range(5000))
    files = gzip.compress(text, 1, mtime=1), gzip.compress(text, 9, mtime=2)
    assert len(files[0]) != len(files[1])
    logs = [f"wrote {len(data)} bytes to x.gz, loss 0.25\n".encode() for data in files]
    found = judged(store, {"<stdout>": logs[0], "x.gz": files[0]}, {"<stdout>": logs[1], "x.gz": files[1]})
    assert {name: one.sameness for name, one in found.items()} == {"<stdout>": "equivalent", "x.gz": "equivalent"}
    assert found["<stdout>"].masked[0].rule == "size"


def test_so_is_the_number_of_its_letters(store: LocalStore) -> None:
    files = [f"<p>{'µ' * 100} Date: {time}</p>\n".encode() for time in ("2026-05-03 10:00", "3 May 2026 10:00 AM")]
    logs = [f"wrote {len(data.decode())} bytes to x.html\n".encode() for data in files]
    assert all(len(data) != len(data.decode()) for data in files)
    found = judged(store, {"<stdout>": logs[0], "x.html": files[0]}, {"<stdout>": logs[1], "x.html": files[1]})
    assert {name: one.sameness for name, one in found.items()} == {"<stdout>": "equivalent", "x.html": "equivalent"}
    found = judged(store, {"<stdout>": logs[0], "x.html": files[0]}, {"<stdout>": logs[1], "x.html": files[0]})
    assert found["<stdout>"].sameness == "different"


def test_hundreds_of_files_of_another_size_cost_no_more_than_each_of_them(store: LocalStore) -> None:
    numbers = [b"1" * (150 + place) for place in range(900)]
    before = {f"{place}.json": b'{"a": %b}' % number for place, number in enumerate(numbers)}
    after = {f"{place}.json": b'{"a":%b%b}' % (b" " * (place + 3), number) for place, number in enumerate(numbers)}
    began = time.process_time()
    found = judged(store, {**before, "<stdout>": b"a"}, {**after, "<stdout>": b"b"})
    assert {one.sameness for name, one in found.items() if name != "<stdout>"} == {"equivalent"}
    assert time.process_time() - began < 15


def test_the_size_of_a_link_says_nothing_of_the_file_that_was_compared_before_it(store: LocalStore) -> None:
    outputs = []
    for size, second in ((500, "00"), (600, "59")):
        text, log, to = b"x" * size, b"wrote %d bytes\n" % size, f"outputs/2026-05-03/10-00-{second}"
        files = run(store, {"a.txt": text, "<stdout>": log}).outputs
        outputs.append((*files, Output(path="b", digest=store.put_bytes(to.encode()), size=len(to), target=to)))
    before, after = (
        msgspec.structs.replace(run(store, {}, id=name), outputs=made)
        for name, made in zip(("0" * 12, "1" * 12), outputs, strict=True)
    )
    found = {one.name: one.sameness for one in judge_outputs(before, after, store, context_of(before, after))}
    assert found == {"<stdout>": "different", "a.txt": "different", "b": "equivalent"}


@pytest.mark.parametrize(
    ("old", "new", "sameness"),
    [
        ("outputs/2026-05-03/10-00-00", "outputs/2026-05-03/10-00-59", "equivalent"),
        ("run-2", "run-3", "different"),
        ("outputs/2025-05-03/10-00-00", "outputs/2024-05-03/10-00-59", "different"),
    ],
)
def test_a_link_to_what_is_named_after_the_time_of_its_run(
    store: LocalStore, old: str, new: str, sameness: str
) -> None:
    links = (Output(path="latest", digest=store.put_bytes(to.encode()), size=9, target=to) for to in (old, new))
    before, after = (
        msgspec.structs.replace(run(store, {}, id=name), outputs=(link,))
        for name, link in zip(("0" * 12, "1" * 12), links, strict=True)
    )
    (found,) = judge_outputs(before, after, store, context_of(before, after))
    assert found.sameness == sameness


def test_a_file_in_a_folder_named_after_the_time_of_its_run_tells_the_part_that_differs(store: LocalStore) -> None:
    names = [f"outputs/2026-05-03/{time}/model.pkl" for time in ("10-00-00", "10-00-07")]
    found = judged(store, {names[0]: b"x"}, {names[1]: b"x"})[names[0]]
    assert (found.sameness, found.why) == ("equivalent", "the same bytes")
    assert [mask.example for mask in found.masked] == ["10-00-00 -> 10-00-07"]


def test_another_number_of_bytes_is_different(store: LocalStore) -> None:
    found = judged(store, {"<stdout>": b"read 1234 bytes\n"}, {"<stdout>": b"read 1235 bytes\n"})
    assert found["<stdout>"].sameness == "different"


def test_content_that_was_not_kept_is_never_called_the_same_when_it_differs(store: LocalStore) -> None:
    old = run(store, {"x.csv": b"1"})
    new = run(store, {"x.csv": b"2"}, id="1" * 12)
    away = Output(path="x.csv", digest=new.outputs[0].digest, size=1, kept=False)
    new = Run(**{**{name: getattr(new, name) for name in new.__struct_fields__}, "outputs": (away,)})
    (found,) = judge_outputs(old, new, store, context_of(old, new))
    assert found.sameness == "different"
    assert "not kept" in found.why


def test_metrics_are_equal_within_a_declared_tolerance_or_different(store: LocalStore) -> None:
    old, new = run(store, {}, metrics={"loss": 1.0, "auc": 0.5}), run(store, {}, metrics={"loss": 1.001, "auc": 0.5})
    plain = {one.name: one.sameness for one in judge_metrics(old, new, {})}
    assert plain == {"loss": "different", "auc": "identical"}
    tolerant = {one.name: one.sameness for one in judge_metrics(old, new, {"l*": 0.01})}
    assert tolerant == {"loss": "equivalent", "auc": "identical"}


def test_a_metric_that_says_it_was_measured_with_a_clock_is_set_aside_as_in_a_file(store: LocalStore) -> None:
    """Only what the run can have measured, and only under a name that speaks of nothing else."""
    names = ("fit_time", "seconds", "survival_time", "score_time")
    took = {"ended": "2026-05-03T10:00:10Z", "usage": Usage(seconds=10.0, cpu_seconds=9.0)}
    old = run(store, {}, metrics=dict(zip(names, (0.2, 0.2, 0.2, 0.2), strict=True)), **took)
    new = run(store, {}, metrics=dict(zip(names, (0.3, 0.3, 0.3, 9e9), strict=True)), **took)
    judged = {one.name: one for one in judge_metrics(old, new, {})}
    assert {name: one.sameness for name, one in judged.items()} == {
        "fit_time": "equivalent",
        "seconds": "different",
        "survival_time": "different",
        "score_time": "different",
    }
    assert [one.rule for one in judged["fit_time"].masked] == ["duration"]
    declared = {one.name: one.sameness for one in judge_metrics(old, new, {"fit_time": 0.01})}
    assert declared["fit_time"] == "different"


def test_nan_equals_nan_and_nothing_else(store: LocalStore) -> None:
    nan = float("nan")
    old, new = run(store, {}, metrics={"a": nan, "b": nan}), run(store, {}, metrics={"a": nan, "b": 1.0})
    assert [one.sameness for one in judge_metrics(old, new, {"*": 1.0})] == ["identical", "different"]


def test_a_file_that_only_one_run_removed_is_different(store: LocalStore) -> None:
    old, new = run(store, {}, removed=("a", "b")), run(store, {}, removed=("b", "c"))
    found = {one.name: (one.sameness, one.why) for one in judge_outputs(old, new, store, context_of(old, new))}
    assert found == {
        "a": ("different", "removed only by the first run"),
        "b": ("identical", ""),
        "c": ("different", "removed only by the second run"),
    }


def test_what_a_record_does_not_say_of_removals_is_not_compared(store: LocalStore) -> None:
    old, new = run(store, {}), run(store, {}, removed=("b",))
    found = judge_outputs(old, new, store, context_of(old, new))
    assert [(one.sameness, one.why) for one in found] == [
        ("not compared", "what the first run removed is not recorded")
    ]


@pytest.mark.parametrize(
    ("modes", "sameness"),
    [((0o644, 0o644), "identical"), ((0o644, 0o600), "equivalent"), ((0o644, 0o755), "different")],
)
def test_whether_a_file_can_be_executed_counts_and_who_may_read_it_is_set_aside(
    store: LocalStore, modes: tuple[int, int], sameness: str
) -> None:
    sides = []
    for mode, text in zip(modes, (b"1", b"1"), strict=True):
        made = run(store, {"x.sh": text})
        outputs = tuple(msgspec.structs.replace(output, mode=mode) for output in made.outputs)
        sides.append(msgspec.structs.replace(made, outputs=outputs))
    (found,) = judge_outputs(sides[0], sides[1], store, context_of(sides[0], sides[1]))
    assert found.sameness == sameness
    assert [each.rule for each in found.masked] == ["mode"] * (sameness == "equivalent")


def test_a_log_whose_bytes_were_lost_is_not_passed_over(store: LocalStore) -> None:
    old, new = run(store, {"<stdout>": b"loss 1\n"}), run(store, {})
    lost = Output(path="<stdout>", digest=digest_bytes(b"loss 2\n"), size=7)
    (found,) = judge_outputs(old, msgspec.structs.replace(new, outputs=(lost,)), store, context_of(old, new))
    assert (found.name, found.sameness) == ("<stdout>", "not compared")
