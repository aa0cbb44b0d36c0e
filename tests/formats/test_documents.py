"""JSON, JSON lines, YAML, TOML and MLmodel."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.formats import Context, Unreadable
from bis.formats.documents import read_json, read_yaml
from bis.formats.tally import Tally
from bis.formats.values import Walk


def test_white_space_and_order_of_keys_are_set_aside(judge) -> None:
    found = judge("m.json", '{"acc": 0.91, "n": [1, 2]}', '{\n  "n": [1,2],\n  "acc": 0.91\n}\n')
    assert (found.same, found.level, found.format) == (True, "meaning", "JSON")
    assert [mask.rule for mask in found.masked] == ["key order"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('{"acc": 0.91}', '{"acc": 0.92}', "acc: 0.91 -> 0.92 (relative difference 0.011)"),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', "a.b[1]: 2 -> 3"),
        ('{"a": 1}', '{"a": 1.0}', "a: 1 -> 1.0"),
        ('{"a": 0.91}', '{"a": 0.910}', "a: 0.91 -> 0.910"),
        ('{"a": 1}', '{"a": "1"}', "a: number 1 -> str 1"),
        ('{"a": true}', '{"a": 1}', "a: bool True -> number 1"),
        ('{"a": 1}', '{"b": 1}', "a: only in the first"),
        ("[1, 2]", "[1]", "2 -> 1 item"),
        ('{"a": null}', '{"a": false}', "a: NoneType None -> bool False"),
        ('{"a": 0.30000000000000004}', '{"a": 0.30000000000000005}', "a: 0.30000000000000004 -> 0.30000000000000005"),
        ('{"a": NaN}', '{"a": Infinity}', "a: NaN -> Infinity"),
        ('{"a": 1, "a": 2}', '{"a": 2, "a": 1}', "a: 1 -> 2"),
        ('{"word": "loss"}', '{"word": "lots"}', "word: 'loss' -> 'lots'"),
    ],
)
def test_one_changed_value_is_named(judge, old: str, new: str, told: str) -> None:
    found = judge("m.json", old, new)
    assert found.same is False
    assert found.why.startswith(told), found.why


def test_one_item_is_not_called_items(judge) -> None:
    assert judge("m.json", "[1, 2]", "[1]").why == "2 -> 1 item"
    assert judge("m.json", "[1]", "[1, 2]").why == "1 -> 2 items"


def test_a_duration_that_may_be_data_is_a_difference_with_the_clock_as_its_cause(judge) -> None:
    found = judge("metrics.json", '{"seconds": 0.123, "acc": 0.9}', '{"seconds": 0.131, "acc": 0.9}')
    assert (found.same, found.causes) == (False, ("clock",))
    found = judge("metrics.json", '{"seconds": 0.123, "acc": 0.9}', '{"seconds": 0.131, "acc": 0.8}')
    assert (found.same, found.causes) == (False, ()), "a cause beside an unexplained difference excuses nothing"


@pytest.mark.parametrize(
    ("key", "old", "new", "rule"),
    [
        ("fit_time", "0.123", "0.131", "duration"),
        ("trainTimeSeconds", "12", "13", "duration"),
        ("dur", "0.2986562252044678", "0.1194448471069336", "duration"),
        ("inference_time_ms", "1512.5", "1498.25", "duration"),
        ("pid", "3252", "3372", "process id"),
    ],
)
def test_what_a_key_says_of_the_machine_is_set_aside(judge, key: str, old: str, new: str, rule: str) -> None:
    found = judge("metrics.json", f'{{"acc": 0.9, "{key}": {old}}}', f'{{"acc": 0.9, "{key}": {new}}}')
    assert (found.same, [mask.rule for mask in found.masked]) == (True, [rule])
    assert judge("metrics.json", f'{{"acc": 0.9, "{key}": {old}}}', f'{{"acc": 0.8, "{key}": {new}}}').same is False


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"fit_time": 0.1}', '{"fit_time": 90000.5}'),
        ('{"fit_time": 0.1}', '{"fit_time": -0.1}'),
        ('{"predicted_time": 0.1}', '{"predicted_time": 0.2}'),
        ('{"time_to_event": 1.5}', '{"time_to_event": 2.5}'),
        ('[{"pid": 17}]', '[{"pid": 18}]'),
    ],
)
def test_what_the_run_cannot_have_measured_and_what_is_data_counts(judge, old: str, new: str) -> None:
    assert judge("metrics.json", old, new).same is False


def test_a_time_within_the_run_is_masked_and_another_is_not(judge) -> None:
    assert judge("m.json", '{"created_at": 1795348807.5}', '{"created_at": 1795446009.25}').same is True
    assert judge("m.json", '{"created_at": 1795348807.5}', '{"created_at": 1795449999.25}').same is False
    assert judge("m.json", '{"count": 1795348807}', '{"count": 1795446009}').same is False
    assert judge("m.json", '{"d": "2026-11-22 12:00:07"}', '{"d": "2026-11-23 15:00:01"}').same is True
    assert judge("m.json", '{"d": "2015-11-22 12:00:07"}', '{"d": "2015-11-23 15:00:01"}').same is False


def test_a_tolerance_holds_for_reals_only(judge) -> None:
    found = judge("m.json", '{"acc": 0.9100}', '{"acc": 0.9101}', tolerance=1e-3)
    assert (found.same, found.level) == (True, "tolerance")
    assert judge("m.json", '{"n": 9100}', '{"n": 9101}', tolerance=1e-3).same is False


def test_a_broken_document_is_compared_as_text_without_masking_durations(judge) -> None:
    assert judge("m.json", '{"a": 1, took 1.2s', '{"a": 1, took 1.3s').same is False


def test_json_lines(judge) -> None:
    old = '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'
    assert judge("log.jsonl", old, old.replace('"step": 1, "loss": 0.5', '"loss": 0.5, "step": 1')).same is True
    found = judge("log.jsonl", old, old.replace("0.25", "0.26"))
    assert (found.same, found.why.startswith("[1].loss: 0.25 -> 0.26")) == (False, True)


def test_yaml(judge) -> None:
    old = "a: &x {lr: 0.10, ok: yes}\nb: *x\nc: !!python/object:os.system [rm]\n"
    assert judge(
        "p.yaml", old, "c: !!python/object:os.system ['rm']\nb: {'ok': yes, lr: 0.10}\na: {ok: yes, lr: 0.10}\n"
    ).same
    found = judge("p.yaml", old, old.replace("0.10", "0.11"))
    assert (found.same, "lr: 0.10 -> 0.11" in found.why) == (False, True)
    assert judge("p.yaml", "a: 1\n", "a: '1'\n").same is False
    assert judge("p.yaml", "a: yes\n", "a: 'yes'\n").same is False


@pytest.mark.parametrize("key", ["acc", "1", "null", "<<", "? [1, 2]\n"])
def test_a_key_of_yaml_that_is_given_twice_counts_twice(judge, key: str) -> None:
    one, other = (f"{key}: {value}\n{key}: {{c: 3}}\n" for value in ("{a: 1}", "{a: 2}"))
    assert judge("p.yaml", one, other).same is False


def test_yaml_that_multiplies_itself_is_no_trouble(judge) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert judge("p.yaml", bomb, bomb + "# again\n").same is True
    assert judge("p.yaml", bomb, bomb.replace("[x, x]", "[x, y]")).same is False


def test_the_record_of_a_run_that_mlflow_named(judge) -> None:
    old = "run_name: clumsy-bird-123\nstart_time: 1795348807123\nstatus: 3\n"
    new = "run_name: sassy-wolf-20\nstart_time: 1795446001456\nstatus: 3\n"
    found = judge("meta.yaml", old, new)
    assert (found.same, {mask.rule for mask in found.masked}) == (True, {"run name", "time"})
    assert judge("meta.yaml", old, new.replace("sassy-wolf-20", "baseline")).same is False
    assert judge("meta.yaml", old, new.replace("status: 3", "status: 4")).same is False


def test_toml(judge) -> None:
    assert judge("p.toml", "a = 1.0\n[t]\nb = 'x'\n", 'a = 1.0 # one\n[t]\nb = "x"\n').same is True
    assert judge("p.toml", "a = 1.0\n", "a = 1.1\n").same is False


MLMODEL = """artifact_path: models:/m-098f6bcd462144739ade4e832627b4f6
flavors:
  sklearn: {pickled_model: model.skops, skops_trusted_types: [b, a]}
model_id: m-098f6bcd462144739ade4e832627b4f6
model_uuid: m-098f6bcd462144739ade4e832627b4f6
run_id: 1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed
signature: {inputs: '[{"type": "double"}]'}
utc_time_created: '2026-11-22 12:00:07.123456'
"""


def test_an_mlmodel_without_what_is_drawn_on_every_save(judge) -> None:
    again = (
        MLMODEL.replace("098f6bcd462144739ade4e832627b4f6", "a7f35d1e22c84c0d9b1e6a5f7d3c2b1a")
        .replace("1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed", "9c8589018a574791a1fe4c455b099bc9")
        .replace("2026-11-22 12:00:07", "2026-11-23 15:00:01")
        .replace("[b, a]", "[a, b]")
    )
    found = judge("mlruns/0/models/m/artifacts/MLmodel", MLMODEL, again)
    assert (found.same, {mask.rule for mask in found.masked}) == (True, {"id", "time", "set order"})
    assert judge("MLmodel", MLMODEL, again.replace("double", "long")).same is False
    assert judge("MLmodel", MLMODEL, again.replace("[a, b]", "[a, c]")).same is False


def test_keras_writes_when_it_saved_and_where_its_objects_lay(judge) -> None:
    old = '{"keras_version": "3.15.1", "date_saved": "2026-11-22@12:00:07"}'
    assert judge("metadata.json", old, old.replace("22@12:00:07", "23@15:00:01")).same is True
    assert judge("metadata.json", old, old.replace("3.15.1", "3.15.2")).same is False
    config = '{"registered_name": null, "config": {"units": 16, "shared_object_id": 140568956906512}}'
    assert judge("config.json", config, config.replace("140568956906512", "139648376859152")).same is True
    assert judge("config.json", config, config.replace("16", "17", 1)).same is False


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


def differences(old: object, new: object) -> int:
    tally = Tally(Context())
    Walk(Context(), tally).compare(old, new)
    return tally.count


@given(JSONS)
def test_any_json_is_the_same_however_it_is_laid_out(value: object) -> None:
    one, other = (
        json.dumps(value).encode(),
        json.dumps(value, indent=3, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    )
    if b"\xed" not in other:
        assert differences(read_json(one), read_json(other)) == 0


@given(JSONS, JSONS)
def test_two_values_are_the_same_only_if_their_json_is(one: object, other: object) -> None:
    texts = [json.dumps(value, sort_keys=True) for value in (one, other)]
    assert (differences(*(read_json(text.encode()) for text in texts)) == 0) == (texts[0] == texts[1])


@given(st.text(max_size=60))
def test_any_text_is_yaml_or_an_error(text: str) -> None:
    with contextlib.suppress(Unreadable):
        read_yaml(text.encode("utf-8", "surrogatepass"))
