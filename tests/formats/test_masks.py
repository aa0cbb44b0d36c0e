"""Masks: what may differ in a text, and that nothing else is covered."""

import uuid

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bis.formats import Context, Side
from bis.formats.masks import Masks
from bis.formats.rules import LOG, STRICT
from bis.formats.tally import Tally

NOON = 1_795_348_800.0
CONTEXT = Context(
    before=Side(roots=("/home/ana/churn",), names=("7f3a5c0d1e52",), started=NOON, ended=NOON + 60),
    after=Side(roots=("/tmp/again/churn",), names=("0b94d27c68aa",), started=NOON + 97_200, ended=NOON + 97_260),
    slack=5.0,
)

SAME = [
    # times within the runs, in any spelling and time zone
    ("2026-11-22 12:00:07,123 INFO start", "2026-11-23 15:00:09,456 INFO start", "time"),
    ("at 2026-11-22T13:30:07.123456+01:30 ok", "at 2026-11-23T15:00:09Z ok", "time"),
    ("2026/11/22 07:00:07 INFO mlflow", "2026/11/23 10:00:09 INFO mlflow", "time"),
    ("[11/22/26 12:00:07] INFO", "[11/23/26 15:00:09] INFO", "time"),
    ("Sun Nov 22 12:00:07 2026", "Mon Nov 23 15:00:09 2026", "time"),
    ("Sun, 22 Nov 2026 12:00:07 GMT", "Mon, 23 Nov 2026 15:00:09 GMT", "time"),
    ("Nov 22 12:00:07 vm kernel", "Nov 23 15:00:09 vm kernel", "time"),
    ('1.2.3.4 - - [22/Nov/2026:12:00:07 +0000] "GET"', '1.2.3.4 - - [23/Nov/2026:15:00:09 +0000] "GET"', "time"),
    ("run-20261122-120007.log", "run-20261123-150009.log", "time"),
    ("2026-11-22T12.00.07.123Z/model", "2026-11-23T15.00.09.456Z/model", "time"),
    ("Date: Sun, 22 Nov 2026", "Date: Mon, 23 Nov 2026", "time"),
    ("[12:00:07] WARNING: learner.cc", "[15:00:09] WARNING: learner.cc", "time"),
    ("saved at 1795348807.123", "saved at 1795446009.456", "time"),
    ("saved at 1795348807123, ok", "saved at 1795446009456, ok", "time"),
    (
        "I0000 00:00:1795348807.123456   29416 port.cc:153] on",
        "I0000 00:00:1795446009.500000   311 port.cc:153] on",
        None,
    ),
    # durations: with a unit, after a word
    ("10/10 - 0s 3ms/step - loss: 0.1", "10/10 - 1s 12ms/step - loss: 0.1", "duration"),
    ("fitted in 1.2 s", "fitted in 850 ms", "duration"),
    ("Elapsed: 3", "Elapsed: 4", "duration"),
    ("Finished Squared Error in: 0.0378 ", "Finished Squared Error in: 0.0371 ", "duration"),
    ("training took 12.53 seconds.", "training took 9.1 seconds.", "duration"),
    ("total time=   0.0s", "total time=  10.0s", "duration"),
    ("{'fit_time': 0.123, 'acc': 0.5}", "{'fit_time': 0.131, 'acc': 0.5}", "duration"),
    ("{'fit_time': array([0.001, 0.002])}", "{'fit_time': array([0.003, 0.001])}", "duration"),
    ("ETA 59s", "ETA 1m 2s", "duration"),
    ("3/10 - ETA: 1:02 - loss", "3/10 - ETA: 0:05 - loss", "duration"),
    ("train_time 0.123", "train_time 0.124", "duration"),
    ("Time taken by the fit: 1.25", "Time taken by the fit: 1.5", "duration"),
    ("time (s): 0.25", "time (s): 0.5", "duration"),
    ("| time 12.25 | ppl 3.4", "| time 13.5 | ppl 3.4", "duration"),
    ("| ms/batch 12.34 | loss 0.5", "| ms/batch 9.1 | loss 0.5", "duration"),
    (
        "Epoch: [0][0/10]\tTime  0.123 ( 0.120)\tData  0.001 ( 0.002)\tLoss 0.5",
        "Epoch: [0][0/10]\tTime  1.125 ( 0.620)\tData  0.003 ( 0.001)\tLoss 0.5",
        "duration",
    ),
    (
        "{'train_runtime': 12.3, 'train_samples_per_second': 81.2}",
        "{'train_runtime': 1.3, 'train_samples_per_second': 8.2}",
        "duration",
    ),
    ("outputs/2026-11-22/12-00-07/x", "outputs/2026-11-23/15-00-09/x", "time"),
    ("wandb: run-20261122_120007-a1b2c3d4", "wandb: run-20261123_150009-z9y8x7w6", "run name"),
    ("took 0:00:12.345678", "took 0:00:13.2", None),
    ("1.23 µs ± 45.6 ns per loop", "1.3 µs ± 9 ns per loop", "duration"),
    (
        "CPU times: user 22 μs, sys: 1e+03 ns, total: 23 μs",
        "CPU times: user 15 μs, sys: 2 μs, total: 17 μs",
        "duration",
    ),
    ("12.5it/s", "9.87it/s", "duration"),
    (
        "100%|██████████| 10/10 [00:05<00:00, 19.8it/s, loss=0.3]",
        "100%|██████████| 10/10 [00:06<00:00, 1.2s/it, loss=0.3]",
        None,
    ),
    # beside results
    ("fit took 1.25 s", "fit took 1.5 s", None),
    ("Elapsed: 12.5 s", "Elapsed: 11.5 s", None),
    ("epoch 1/3 [00:01<00:02,  1.51it/s]", "epoch 1/3 [00:02<00:02,  1.31it/s]", None),
    ("12:00:07 INFO x", "15:00:09 INFO x", None),
    ("2026-11-22 12:00:07,123 x", "2026-11-23 15:00:08,001 x", None),
    ("<obj at 0x7f3a5c0d1e50>", "<obj at 0x7fbb5c0d1e50>", None),
    ("<obj at 0x1a2b3c0>", "<obj at 0x2a2b3c0>", None),
    ("ptr=0x55d0c8a01230", "ptr=0x55d0c8a01240", None),
    ("0x00007f3a5c0d1e50", "0x00007f3a5c0d1e60", None),
    ("id=140068612563280", "id=140568515076432", None),
    ("Nov 22 12:00:07 vm kernel[123]: x", "Nov 23 15:00:07 vm kernel[124]: x", None),
    ("score_time: 0.123", "score_time: 0.124", None),
    (
        "{'fit_time': 0.12, 'score_time': 0.01, 'test_score': 0.9}",
        "{'fit_time': 0.13, 'score_time': 0.02, 'test_score': 0.9}",
        None,
    ),
    ("mean_fit_time: 0.1", "mean_fit_time: 0.2", None),
    ("prediction time: 0.5 s", "prediction time: 0.6 s", None),
    ("predict took 0.5 s", "predict took 0.6 s", None),
    ("evaluated in 1.2 s, loss 0.5", "evaluated in 1.3 s, loss 0.5", None),
    ("loss 0.5 - 12ms/step", "loss 0.5 - 13ms/step", None),
    ("loss: 0.5 time: 1.5", "loss: 0.5 time: 1.6", None),
    ("accuracy 0.9 (1.5s)", "accuracy 0.9 (1.6s)", None),
    ("accuracy: 0.9 in 1.5s", "accuracy: 0.9 in 1.6s", None),
    ("score 0.9, 1.5 s", "score 0.9, 1.6 s", None),
    ("localhost:41235", "localhost:52345", None),
    ("error after 3.5 s", "error after 3.6 s", None),
    ("test error 0.5, test time 1.5 s", "test error 0.5, test time 1.6 s", None),
    ("Epoch 3: loss=0.5, 1.5s", "Epoch 3: loss=0.5, 1.7s", None),
    ("inference latency: 1.5 ms", "inference latency: 1.6 ms", None),
    ("saved to /home/ana/churn/out.pkl in 2s", "saved to /tmp/again/churn/out.pkl in 3s", None),
    # addresses and ids
    ("<function f at 0x7f3a5c0d1e50>", "<function f at 0x55d0c8a01230>", "address"),
    ("  140068612563280: TensorSpec(shape=())", "  140568515076432: TensorSpec(shape=())", "address"),
    ("run 098f6bcd462144739ade4e832627b4f6 ok", "run a7f35d1e22c84c0d9b1e6a5f7d3c2b1a ok", "id"),
    ("id 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "id 9c858901-8a57-4791-81fe-4c455b099bc9", "id"),
    ("model m-098f6bcd462144739ade4e832627b4f6", "model m-a7f35d1e22c84c0d9b1e6a5f7d3c2b1a", "id"),
    ("pid=1234 started", "pid=98765 started", "process id"),
    ("Started server process [1234]", "Started server process [22]", "process id"),
    ("/tmp/ipykernel_123/456.py:3: UserWarning", "/tmp/ipykernel_9876/456.py:3: UserWarning", "process id"),
    ("(ThreadPoolExecutor-0_1) done", "(ThreadPoolExecutor-0_3) done", "process id"),
    ("listening on http://127.0.0.1:41235/", "listening on http://127.0.0.1:55555/", "port"),
    ("/tmp/tmpab12cd_9/x.csv", "/tmp/tmpzz98ff00/x.csv", "temporary name"),
    ("View run clumsy-bird-123 at", "View run sassy-wolf-20 at", "run name"),
    # what belongs to the run
    ("saved /home/ana/churn/out/m.pkl", "saved /tmp/again/churn/out/m.pkl", "path"),
    ("in /home/ana/churn.", "in /tmp/again/churn.", "path"),
    ("run 7f3a5c0d1e52 done", "run 0b94d27c68aa done", "name"),
]

DIFFERENT = [
    ("loss: 0.1234 - 12ms/step", "loss: 0.1235 - 9ms/step"),
    ("acc 0.91", "acc 0.92"),
    ("epoch 3", "epoch 4"),
    ("12 rows in 1.2s", "13 rows in 1.2s"),
    ("Elapsed: 3 epochs", "Elapsed: 4 epochs"),
    ("time step: 10", "time step: 11"),
    ("finished epoch 3 in 0.5 steps", "finished epoch 3 in 0.6 steps"),
    ("timeout 30", "timeout 31"),
    ("eta: 0.3, max_depth: 6", "eta: 0.4, max_depth: 6"),
    ("eta=1", "eta=2"),
    ("duration    0.351234", "duration    0.351235"),
    ("train_time: 1.25, 0.91", "train_time: 1.25, 0.92"),
    ("took 1.25, 0.91", "took 1.25, 0.92"),
    ("at time 0.5", "at time 0.6"),
    ("Time 0.5 Reward 3", "Time 0.5 Reward 4"),
    ("accuracy 0.51 min 0.42", "accuracy 0.52 min 0.42"),
    ("p = 0.12 ns", "p = 0.13 ns"),
    ("born in the 1980s", "born in the 1990s"),
    ("error rate 5%", "error rate 6%"),
    ("speed 3.2 m/s", "speed 3.3 m/s"),
    ("params: 5m", "params: 6m"),
    # a date of the data is no time of the run
    ("2015-03-01 00:00:00,10", "2015-03-02 00:00:00,10"),
    ("published Mar 1, 2015", "published Mar 2, 2015"),
    ("id 1200000000", "id 1200000001"),
    ("count 1795348807", "count 1795348808"),
    # a checksum is content
    ("md5: 098f6bcd462144739ade4e832627b4f6", "md5: a7f35d1e22c84c0d9b1e6a5f7d3c2b1a"),
    ("098f6bcd4621d373cade4e832627b4f6", "5d41402abc4b2a76b9719d911017c592"),
    ("commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "commit de9f2c7fd25e1b3afad3e85a0bd17d9b100db4b3"),
    ("3d813cbb-47fb-32ba-91df-831e1593ac29", "5df41881-3aed-3515-88a7-2f4a814cf09e"),
    # colours and small hexadecimal numbers are no addresses
    ("colour 0xffffff", "colour 0xfffffe"),
    ("process 500 rows", "process 501 rows"),
    ("conv-block-12", "conv-block-13"),
    ("port 8080", "port 8081"),
    ("/home/ana/other/x", "/tmp/again/churn/x"),
    ("/home/ana/churn2/x", "/tmp/again/churn2/x"),
    ("/home/ana/churn/a", "/tmp/again/churn/b"),
    ("2026-11-22 12:00:07 INFO start", "2026-11-23 15:00:09 WARN start"),
    ("took five seconds", "took six seconds"),
    ("horizon 24 hours", "horizon 25000 hours"),
    ("score: 0.5 time: 1.0s", "score: 0.6 time: 1.0s"),
    ("1,2,3s", "1,4,3s"),
    ("ratio 3:05", "ratio 3:06"),
    ("Version 2.13.0", "Version 2.13.1"),
    ("10.0.0.12 ok", "10.0.0.13 ok"),
    # what a word before it says is a result, a setting or a code, whatever its unit
    ("loss 0.32s", "loss 0.33s"),
    ("accuracy 0.91s", "accuracy 0.92s"),
    ("MAE: 12.3s", "MAE: 12.4s"),
    ("mae 12.3 s", "mae 12.4 s"),
    ("RMSE 3.45 minutes", "RMSE 3.46 minutes"),
    ("MAE duration: 345.21", "MAE duration: 345.22"),
    ("mae of trip time: 12.53", "mae of trip time: 12.54"),
    ("mean survival time: 12.53", "mean survival time: 12.54"),
    ("predicted delivery time: 12.34", "predicted delivery time: 12.35"),
    ("median waiting time = 5.5", "median waiting time = 5.6"),
    ("error: 3.2 ms", "error: 3.3 ms"),
    ("timeout=30s", "timeout=31s"),
    ("interval 10s", "interval 12s"),
    ("freq: 5min", "freq: 15min"),
    ("window=60s", "window=90s"),
    ("sampling every 10ms", "sampling every 12ms"),
    ("ttl: 300s", "ttl: 301s"),
    ("lag 5min", "lag 6min"),
    ("predicted: 12 min", "predicted: 13 min"),
    ("epoch 12:30", "epoch 12:31"),
    ("accuracy: 00:97", "accuracy: 00:98"),
    ("version 22.11.26", "version 23.11.26"),
    ("torch 2.13.0", "torch 2.13.1"),
    ("v1.2.3", "v1.2.4"),
    ("iso week 2026-W47", "iso week 2026-W48"),
    ("date: 2015-03-01, sales 5", "date: 2015-03-02, sales 5"),
    ("localhost:27017", "localhost:27018"),
    ("127.0.0.1:11211", "127.0.0.1:11212"),
    ("colour #ff00aa", "colour #ff00ab"),
    ("color 0xff8800ff", "color 0xff8800fe"),
    ("crc32 0x1a2b3c4d", "crc32 0x1a2b3c4e"),
    ("checksum: 0x1a2b3c4d", "checksum: 0x1a2b3c4e"),
    ("hash 0x9ae16a3b2f90404f", "hash 0x9ae16a3b2f904050"),
    ("0xdeadbeef", "0xdeadbeee"),
    ("flags 0x0000001f", "flags 0x0000002f"),
    ("commit 2fd4e1c", "commit de9f2c7"),
    ("098f6bcd462144739ade4e832627b4f6  data.csv", "a7f35d1e22c84c0d9b1e6a5f7d3c2b1a  data.csv"),
    ("MD5 (data.csv) = 098f6bcd462144739ade4e832627b4f6", "MD5 (data.csv) = a7f35d1e22c84c0d9b1e6a5f7d3c2b1a"),
    ("coef[10]: 0.5", "coef[11]: 0.5"),
    ("weights[12]: 0.5", "weights[13]: 0.5"),
    ("layer x[100]: ok", "layer x[101]: ok"),
    ("user id: 4006381333931", "user id: 4006381333932"),
    ("id 123456789012345", "id 123456789012346"),
    ("order id=12345678901234", "order id=12345678901235"),
    ("the 60s", "the 70s"),
    ("model resnet-50s", "model resnet-51s"),
    ("top-5s", "top-6s"),
    ("alpha takes 0.5", "alpha takes 0.6"),
    ("rank 3 of 8", "rank 4 of 8"),
    ("fold 3", "fold 4"),
    ("Process 12: loss", "Process 13: loss"),
    ("f1 0.5 time 1.5 auc 0.8", "f1 0.6 time 1.5 auc 0.8"),
    ("took 1.2s acc 0.5", "took 1.3s acc 0.6"),
    ("time: 1.5, rows: 100", "time: 1.6, rows: 101"),
    ("elapsed 3 rows", "elapsed 4 rows"),
    ("[00:05<00:10, 3.1it/s, loss=0.5]", "[00:06<00:10, 3.2it/s, loss=0.6]"),
    ("processed 100 in 1.5s", "processed 101 in 1.5s"),
    ("5 of 10 s done", "6 of 10 s done"),
    ("latency budget 50 ms", "latency budget 60 ms"),
    ("half-life 5.5 hours", "half-life 5.6 hours"),
    ("age 35 min 20 s", "age 35 min 21 s"),
    ("ratio 1:30:00", "ratio 1:31:00"),
    ("lr 1e-3s", "lr 1e-4s"),
    ("delay 0.5 s", "delay 0.6 s"),
    ("video length: 00:12:30", "video length: 00:12:31"),
    ("data:image/png;base64,AAAA+3s+BBBB", "data:image/png;base64,AAAA+4s+BBBB"),
    ('<img src="data:image/png;base64,iVBOR/12s=">', '<img src="data:image/png;base64,iVBOR/13s=">'),
    ("n = 1,234 samples/s", "n = 1,235 samples/s x"),
    ("3 min accuracy 0.91", "3 min accuracy 0.92"),
    ("score@10ms 0.3", "score@10ms 0.4"),
    ("class 3s: 0.91", "class 3s: 0.92"),
    ("precision 10.0 ms", "precision 11.0 ms"),
    ("seed 1795348807", "seed 1795446009"),
    ("seed: 1795348807", "seed: 1795446009"),
    ("random_state=1795348807", "random_state=1795446009"),
    ("best epoch 12, val_loss 0.123, at 12:00:07", "best epoch 13, val_loss 0.123, at 15:00:09"),
    ("forecast for 2026-11-24", "forecast for 2026-11-25"),
    ("max_time: 30.5", "max_time: 31.5"),
    ("time_limit 60.5", "time_limit 61.5"),
    ("total time steps: 100.5", "total time steps: 101.5"),
    ("train size 0.8, test size 0.2", "train size 0.7, test size 0.2"),
]


@pytest.mark.parametrize(("before", "after", "rule"), SAME)
def test_a_typed_span_may_differ(before: str, after: str, rule: str | None) -> None:
    tally = Tally(CONTEXT)
    assert Masks(CONTEXT).same(before, after, tally), (before, after)
    assert set(tally.masks) == {rule} or (rule is None and tally.masks), tally.masks
    assert Masks(CONTEXT).canonical(before, 0) == Masks(CONTEXT).canonical(after, 1) or rule in ("duration", None)


@pytest.mark.parametrize(("before", "after"), DIFFERENT)
def test_nothing_else_may_differ(before: str, after: str) -> None:
    tally = Tally(CONTEXT)
    assert not Masks(CONTEXT).same(before, after, tally)
    assert not tally.masks, "what was set aside in a difference counts for nothing"


def test_a_time_outside_of_its_run_is_no_time_of_the_run() -> None:
    masks = Masks(CONTEXT)
    assert masks.same("2026-11-22 12:00:07 x", "2026-11-23 15:00:09 x")
    assert not masks.same("2026-11-22 12:00:07 x", "2026-11-23 15:07:09 x")
    assert not masks.same("2026-11-22 12:00:07 x", "2026-11-25 15:00:09 x")


def test_without_a_window_no_date_and_no_epoch_is_masked() -> None:
    masks = Masks(Context())
    assert not masks.same("2026-11-22 12:00:07 x", "2026-11-23 15:00:09 x")
    assert not masks.same("1795348807.1", "1795446009.2")
    assert masks.same("took 1.2 s", "took 1.3 s")


def test_a_duration_longer_than_the_run_was_not_measured_by_it() -> None:
    masks = Masks(CONTEXT)
    assert masks.same("warm up 20 minutes", "warm up 30 minutes")  # 64 processors of a minute each
    assert not masks.same("keep 20 hours", "keep 30 hours")


@given(st.uuids(version=4))
@example(uuid.UUID("f1298822-1b97-4622-a9d4-9e77317bf3c5"))
def test_an_id_is_one_whatever_word_it_begins_with(drawn: uuid.UUID) -> None:
    masks = Masks(CONTEXT)
    for written in (drawn.hex, str(drawn)):
        assert masks.canonical(written, 0, STRICT) == "\0id\0"


def test_an_id_has_one_partner_everywhere() -> None:
    one, two = "098f6bcd462144739ade4e832627b4f6", "a7f35d1e22c84c0d9b1e6a5f7d3c2b1a"
    three, four = "1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed", "9c8589018a574791a1fe4c455b099bc9"
    masks, tally = Masks(CONTEXT), Tally(CONTEXT)
    assert masks.same(f"run {one}", f"run {two}", tally)
    assert masks.same(f"again {one}", f"again {two}", tally)
    assert masks.same(f"run {three}", f"run {four}", tally)
    assert not masks.same(f"run {one}", f"run {four}", tally)


def test_a_time_column_may_be_blank_on_one_side() -> None:
    masks = Masks(CONTEXT)
    assert masks.same("[11/22/26 12:00:07] INFO x", " " * 19 + " INFO x")
    assert not masks.same("[11/22/26 12:00:07] INFO x", " " * 19 + " INFO y")
    assert not masks.same("[01/01/20 12:00:07] INFO x", " " * 19 + " INFO x")


def test_strings_of_data_have_no_durations_and_no_bare_clocks() -> None:
    masks = Masks(CONTEXT)
    assert masks.same("in 1.2s", "in 1.3s", None, LOG)
    assert not masks.same("in 1.2s", "in 1.3s", None, STRICT)
    assert not masks.same("12:00:01", "12:00:02", None, STRICT)


WORDS = st.sampled_from(
    ["loss", "acc", "epoch", "saved", "model", "rows", "the", "took", "time", "at", "in", "pid", "run"]
)
SPANS = st.sampled_from(
    [
        "0.1234",
        "17",
        "12ms/step",
        "1.2s",
        "0x7f3a5c0d1e50",
        "[00:12<00:03, 8.1it/s]",
        "2026-11-22 12:00:07",
        "50%",
        "3/10",
    ]
)
LINES = st.lists(st.one_of(WORDS, SPANS, st.sampled_from([":", "=", " - ", "|", "(", ")"])), min_size=1, max_size=14)


@given(LINES)
def test_a_text_is_the_same_as_itself(pieces: list[str]) -> None:
    line = " ".join(pieces)
    assert Masks(CONTEXT).same(line, line)
    assert Masks(CONTEXT).canonical(line, 0) == Masks(CONTEXT).canonical(line, 0)


@given(LINES, st.integers(0, 13), st.sampled_from(["0.9876", "xyzzy", "+", "8.5"]))
def test_another_word_or_metric_is_never_masked(pieces: list[str], place: int, other: str) -> None:
    """Put a metric between two words that cannot make it a time; then another one in its place."""
    place = min(place, len(pieces))
    old = " ".join([*pieces[:place], "f1", "0.1111", "recall", *pieces[place:]])
    new = " ".join([*pieces[:place], "f1", other, "recall", *pieces[place:]])
    assert not Masks(CONTEXT).same(old, new)


@given(
    st.text(alphabet="abc 0123456789.:-/x|%[]\r\n", max_size=40),
    st.text(alphabet="abc 0123456789.:-/x|%[]", max_size=40),
)
def test_sameness_has_no_direction(old: str, new: str) -> None:
    turned = Context(before=CONTEXT.after, after=CONTEXT.before, slack=CONTEXT.slack)
    assert Masks(CONTEXT).same(old, new) == Masks(turned).same(new, old)


@given(st.text(alphabet="abcdefgh 0123456789.,:=()", min_size=5, max_size=60), st.data())
def test_a_changed_digit_outside_of_a_span_is_seen(line: str, data: st.DataObject) -> None:
    masks = Masks(CONTEXT)
    covered = {at for span, _ in masks._spans(line) for at in range(span.start, span.end)}
    places = [at for at, letter in enumerate(line) if letter.isdigit() and at not in covered]
    assume(places)
    at = data.draw(st.sampled_from(places))
    changed = line[:at] + str((int(line[at]) + data.draw(st.integers(1, 9))) % 10) + line[at + 1 :]
    assert not masks.same(line, changed)
