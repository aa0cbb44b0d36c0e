"""What every ledger promises, whatever lies behind it: SQLite or PostgreSQL."""

import contextlib
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.digest import Digest, canonical, digest_value
from bis.errors import NotFound, UsageError
from bis.ledger import Ledger, experiments
from bis.ledger.runs import open_ledger
from bis.nouns.annotation import Annotation
from bis.nouns.part import Finding, Part
from bis.nouns.reference import parse
from bis.nouns.run import Output, Run, Usage, command_key
from bis.nouns.verdict import Verdict

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    with open_ledger(ledger_place) as ledger:
        yield ledger


@pytest.fixture
def again(ledger_place: Path | str) -> Iterator[Callable[[], Ledger]]:
    """Opens one and the same ledger, each time anew."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(open_ledger(ledger_place))


def stamp(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def a_run(number: int, **fields: Any) -> Run:
    plain: dict[str, Any] = {
        "id": f"{number:012x}",
        "name": f"train-{number}",
        "command": ("python", "train.py", "--lr", str(number / 10)),
        "started": stamp(number),
        "ended": stamp(number + 0.5),
        "status": "finished",
        "exit": 0,
    }
    return Run(**{**plain, **fields})


def told(**options: str) -> dict[str, Part]:
    return {"params": Part(kind="params", digest=digest_value(options), facts={"options": options})}


def sealed(ledger: Ledger, *runs: Run) -> None:
    for run in runs:
        ledger.seal(run, digest_value(run))


def names(runs: list[Run]) -> list[str]:
    return [run.name for run in runs]


# beginning and sealing


def test_a_run_is_there_from_its_beginning(ledger: Ledger) -> None:
    run = a_run(1, status="running", exit=None, ended="")
    ledger.begin(run)
    assert ledger.get(run.id) == run
    assert ledger.record(run.id) == ""
    assert ledger.runs() == [run]


def test_sealing_replaces_what_the_beginning_said(ledger: Ledger) -> None:
    ledger.begin(a_run(1, status="running", exit=None, ended="", metrics={"guess": 1.0}))
    run = a_run(1, metrics={"loss": 0.5}, note="done")
    ledger.seal(run, digest_value(run))
    assert ledger.get(run.id) == run
    assert ledger.record(run.id) == digest_value(run)
    assert ledger.count() == 1
    assert ledger.count("metrics.guess > 0") == 0
    assert ledger.count("metrics.loss > 0") == 1


def test_a_second_record_of_a_run_is_passed_over_and_remembered(ledger: Any) -> None:
    mine, other = a_run(1, metrics={"loss": 0.5}), a_run(1, metrics={"loss": 0.1}, status="failed")
    ledger.seal(mine, digest_value("mine"))
    assert ledger.take([(other, digest_value("other")), (mine, digest_value("mine"))]) == {digest_value("other")}
    assert (ledger.get(mine.id), ledger.record(mine.id)) == (mine, digest_value("mine"))
    assert ledger.count("metrics.loss < 0.3") == 0
    assert [tuple(one) for one in ledger.passed_over()] == [(digest_value("other"), mine.id)]
    assert ledger.records() == {digest_value("mine"), digest_value("other")}


def test_the_record_of_who_executed_a_run_counts_whatever_came_before_it(ledger: Any) -> None:
    mine, other = a_run(1, metrics={"loss": 0.5}), a_run(1, metrics={"loss": 0.1})
    ledger.begin(a_run(1, status="running", exit=None, ended=""))
    ledger.take([(other, digest_value("other"))])
    ledger.seal(mine, digest_value("mine"))
    assert (ledger.get(mine.id), ledger.record(mine.id)) == (mine, digest_value("mine"))
    assert [one.record for one in ledger.passed_over()] == [digest_value("other")]
    ledger.seal(other, digest_value("other"))
    assert [one.record for one in ledger.passed_over()] == [digest_value("mine")]


def test_what_was_said_is_there_for_whoever_opens_the_ledger_next(again: Callable[[], Ledger]) -> None:
    first = again()
    sealed(first, a_run(1), a_run(2))
    second = again()
    assert names(second.runs()) == ["train-2", "train-1"]
    sealed(second, a_run(3))
    assert names(first.runs()) == ["train-3", "train-2", "train-1"]


def test_runs_that_are_not_sealed_are_under_way(ledger: Ledger) -> None:
    begun = [a_run(number, status="running", exit=None, ended="") for number in (2, 1, 3)]
    for run in begun:
        ledger.begin(run)
    sealed(ledger, a_run(3), a_run(4))
    assert names(ledger.under_way()) == ["train-1", "train-2"]


def test_a_run_comes_back_whole(ledger: Ledger) -> None:
    run = a_run(
        1,
        command=("python", "été \0ff.py", "-c", 'print("x")'),
        parts=told(lr="0.1")
        | {
            "code": Part(
                kind="code", digest=digest_value(1), trees={"tree": digest_value(2)}, facts={"a": [1, None, "x"]}
            )
        },
        outputs=(Output(path="model.pkl", digest=digest_value(3), size=9),),
        usage=Usage(seconds=1.5, peak_bytes=7),
        findings=(Finding(code="x", text="null", blocks=True),),
        metrics={"loss": 0.1, "NaN": 5e-324},
        conditions={"TZ": "null"},
        signal=9,
        exit=None,
    )
    ledger.seal(run, digest_value(run))
    assert ledger.get(run.id) == run


def test_metrics_that_are_no_numbers_come_back(ledger: Ledger) -> None:
    run = a_run(1, metrics={"a": math.nan, "b": math.inf, "c": -math.inf})
    ledger.seal(run, digest_value(run))
    for metrics in (ledger.get(run.id).metrics, ledger.rows()[0].metrics):
        assert math.isnan(metrics["a"])
        assert (metrics["b"], metrics["c"]) == (math.inf, -math.inf)


def test_a_run_that_is_not_there_is_not_found(ledger: Ledger) -> None:
    for ask in (ledger.get, ledger.record):
        with pytest.raises(NotFound, match="0000deadbeef") as error:
            ask("0000deadbeef")
        assert error.value.hint == "bis log"


def test_an_empty_ledger_has_empty_answers(ledger: Ledger) -> None:
    assert ledger.runs() == []
    assert ledger.rows() == []
    assert ledger.count() == 0
    assert ledger.last("x") is None
    assert ledger.verdicts("x") == []


# names


def test_a_run_that_nobody_named_gets_a_name_that_no_run_has(ledger: Ledger) -> None:
    assert ledger.name("train", stamp(0)) == "train-1"
    assert ledger.name("train", stamp(0)) == "train-2"
    assert ledger.name("test", stamp(0)) == "test-1"
    sealed(ledger, a_run(7, name="train-4"), a_run(8), a_run(9, repeats=a_run(8).id))
    assert ledger.name("train", stamp(1)) == "train-3"
    assert ledger.name("train", stamp(1)) == "train-5"


def test_a_name_whose_run_did_not_begin_is_given_again(ledger: Ledger) -> None:
    assert ledger.name("train", stamp(0)) == "train-1"
    ledger.unname("train-1")
    assert ledger.name("train", stamp(0)) == "train-1"
    assert ledger.name("train", stamp(60 * 25)) == "train-1"  # whoever was given it is dead
    sealed(ledger, a_run(1))
    ledger.unname("train-1")
    assert ledger.name("train", stamp(60 * 50)) == "train-2"


# lists


def test_the_newest_run_comes_first_by_its_start(ledger: Ledger) -> None:
    sealed(ledger, a_run(2), a_run(1), a_run(3))
    assert names(ledger.runs()) == ["train-3", "train-2", "train-1"]
    assert names(ledger.runs(limit=2)) == ["train-3", "train-2"]
    assert names(ledger.runs(limit=0)) == []


def test_runs_that_started_together_come_in_the_order_of_their_noting(ledger: Ledger) -> None:
    sealed(ledger, a_run(1, started=stamp(0)), a_run(2, started=stamp(0)))
    assert names(ledger.runs()) == ["train-2", "train-1"]


def test_a_row_says_what_a_list_of_runs_shows(ledger: Ledger) -> None:
    run = a_run(
        1,
        parts=told(lr="0.1")
        | {"environment": Part(kind="environment", digest=digest_value(1), summary="Python 3.11.7")},
        metrics={"loss": 0.5},
        usage=Usage(seconds=12.5),
        outputs=(Output(path="m", digest=digest_value(3), size=9),),
        findings=(Finding(code="leak", text=""), Finding(code="leak", text="")),
        repeats="ab",
        note="n",
        user="ana",
    )
    ledger.seal(run, Digest("b3:1"))
    (row,) = ledger.rows()
    assert (row.id, row.name, row.command, row.status, row.exit) == (run.id, run.name, run.command, "finished", 0)
    assert (row.params, row.metrics, row.seconds, row.outputs) == ({"lr": "0.1"}, {"loss": 0.5}, 12.5, 1)
    assert (row.parts["environment"].digest, row.parts["environment"].summary) == (digest_value(1), "Python 3.11.7")
    assert (row.findings, row.repeats, row.note, row.user) == (("leak",), "ab", "n", "ana")
    assert (row.record, row.verdict) == ("b3:1", "")


# the filter


@pytest.fixture
def four(ledger: Ledger) -> Ledger:
    sealed(
        ledger,
        a_run(1, metrics={"loss": 0.1, "val loss": 1.0}, parts=told(lr="0.1", model="ridge"), user="ana"),
        a_run(2, metrics={"loss": 0.2}, parts=told(lr="0.05", model="Lasso"), status="failed", exit=3),
        a_run(3, metrics={"loss": math.nan}, parts=told(lr="1e-3", model="it's 100%"), status="interrupted", signal=2),
        a_run(4, metrics={"loss": math.inf, "acc": 0.9}, parts=told(model="ridge", **{"a.b-c/d": "x"})),
    )
    return ledger


FILTERS = [
    ("", "4321"),
    ("metrics.loss < 0.15", "1"),
    ("metric.loss >= 0.1", "421"),
    ("metrics.loss != 0.1", "42"),  # NaN compares with nothing
    ("metrics.loss = nan", "3"),
    ("metrics.loss = inf", "4"),
    ("metrics.loss > -1e3 AND metrics.loss <= 2e-1", "21"),
    ("metrics.`val loss` = 1", "1"),
    ('metrics."val loss" = 1', "1"),
    ("metrics.acc IS NULL", "321"),
    ("metrics.acc IS NOT NULL", "4"),
    ("params.model = 'ridge'", "41"),
    ('params.model = "ridge"', "41"),
    ("param.model != 'ridge'", "32"),
    ("parameters.model LIKE 'l%'", ""),
    ("params.model LIKE 'L%'", "2"),
    ("params.model ILIKE 'LAS_o'", "2"),
    ("params.model LIKE '%100%'", "3"),
    ("params.model = 'it''s 100%'", "3"),
    ("params.model IN ('ridge', 'Lasso')", "421"),
    ("params.model NOT IN ('ridge')", "32"),
    ("params.lr < 0.09", "32"),  # as numbers
    ("params.lr = '0.1'", "1"),  # as text
    ("params.lr = 0.001", "3"),
    ("params.lr IS NULL", "4"),
    ("params.a.b-c/d = 'x'", "4"),
    ("params.`a.b-c/d` = 'x'", "4"),
    ("status = 'FINISHED'", "41"),
    ("attributes.status = 'failed'", "2"),
    ("attribute.status != 'finished'", "32"),
    ("status IN ('FAILED', 'KILLED')", "32"),
    ("status NOT IN ('finished')", "32"),
    ("run_name = 'train-3'", "3"),
    ("attributes.name LIKE 'train-%' and exit = 0", "431"),
    ("exit > 0", "2"),
    ("signal = 2", "3"),
    ("signal IS NULL", "421"),
    ("user IS NULL", "432"),
    ("user = 'ana'", "1"),
    ("run_id = '000000000002'", "2"),
    ("command LIKE '%--lr 0.3'", "3"),
    ("start_time > '2026-11-23T12:02:30Z'", "43"),
    ("start_time <= '2026-11-23T14:01:00+02:00'", "1"),
    ("start_time >= 1795435380000", "43"),
    ("start_time > inf", ""),
    ("start_time > -1e300", "4321"),
    ("exit < 99999999999999999999", "4321"),
    ("end_time IS NOT NULL", "4321"),
    ("seconds = 30", "4321"),
    ("tags.x IS NULL", "4321"),
    ("tags.x = 'y'", ""),
    ("status='FINISHED'AND metrics.loss=0.1", "1"),
    ("params.seconds LIKE '%' AND tags.started ILIKE 'x'", ""),
]


@pytest.mark.parametrize(("filter", "found"), FILTERS)
def test_the_filter_finds(four: Ledger, filter: str, found: str) -> None:
    assert "".join(run.name[-1] for run in four.runs(filter)) == found
    assert "".join(row.name[-1] for row in four.rows(filter)) == found
    assert four.count(filter) == len(found)


def test_like_tells_large_letters_from_small_and_ilike_does_not_where_they_are_ascii(ledger: Ledger) -> None:
    for number, model in enumerate(("Ridge", "ridge", "Éclair", "éclair", "C:\\data", "100%", "a_b"), start=1):
        sealed(ledger, a_run(number, command=("x",), parts=told(model=model)))

    def found(condition: str) -> str:
        return "".join(sorted(row.name.removeprefix("train-") for row in ledger.rows(f"params.model {condition}")))

    assert found("LIKE 'R%'") == "1"
    assert found("ILIKE 'R%'") == "12"
    assert found("LIKE 'É%'") == "3"
    assert found("ILIKE 'É%'") == "3"
    assert found("ILIKE 'éCLAIR'") == "4"
    assert found("LIKE 'C:\\data'") == "5"
    assert found("ILIKE 'c:\\D%'") == "5"
    assert found("LIKE '100%'") == "6"
    assert found("LIKE '_\\_b'") == ""


def test_parts_can_be_found_by_the_first_digits_of_their_digest(ledger: Ledger) -> None:
    one, two = (Part(kind="environment", digest=digest_value(number)) for number in (1, 2))
    sealed(ledger, a_run(1, parts={"environment": one}), a_run(2, parts={"environment": two}), a_run(3))
    for digits in (one.digest, one.digest[:11], one.digest[3:9]):
        assert names(ledger.runs(f"environment = '{digits}'")) == ["train-1"]
        assert names(ledger.runs(f"env != '{digits}' AND env IS NOT NULL")) == ["train-2"]
        assert names(ledger.runs(f"env IN ('{digits}')")) == ["train-1"]


ORDERS = [
    (["metrics.loss"], "1243"),
    (["metrics.loss ASC"], "1243"),
    (["metrics.loss DESC"], "4213"),
    (["start_time"], "1234"),
    (["start_time ASC"], "1234"),
    (["attributes.name desc"], "4321"),
    (["params.model", "start_time ASC"], "2314"),
    (["status", "metrics.loss"], "2143"),
    (["metrics.`val loss`"], "1432"),
]


@pytest.mark.parametrize(("order", "found"), ORDERS)
def test_the_order_can_be_chosen_and_what_has_no_value_comes_last(four: Ledger, order: list[str], found: str) -> None:
    assert "".join(run.name[-1] for run in four.runs(order=order)) == found
    assert "".join(row.name[-1] for row in four.rows("status != 'x'", order, limit=2)) == found[:2]


NONSENSE = [
    ("parms.lr = '1'", "did you mean params.lr?", "position 1"),
    ("metrics.a > 1 AND metrcs.b = 2", "did you mean metrics.b?", "position 19"),
    ("stats = 'x'", "did you mean status?", "position 1"),
    ("loss < 3", "did you mean metrics.loss or params.loss?", "position 1"),
    ("metrics.a >", "", "position 12"),
    ("metrics.a 3", "", "position 11"),
    ("metrics.a > 'three'", "", "position 13"),
    ("metrics.a LIKE 'x'", "", "LIKE"),
    ("params.a = x", "", "position 12"),
    ("metrics.a > 1 OR metrics.b > 1", "", "OR is not part"),
    ("metrics.a > 1 metrics.b > 1", "", "AND was expected"),
    ("params.a IN 'x'", "", "("),
    ("params.a IN ('x'", "", "position"),
    ("params.a = 'x", "", "position 12"),
    ("params.a IS 3", "", "NULL"),
    ("start_time > 'someday'", "2026-05-03", "someday"),
    ("start_time > nan", "2026-05-03", "nan"),
    ("metrics.", "", "position"),
    ("; DROP TABLE runs", "", "position 1"),
    ("params.a = 'x') OR 1=1 --", "", "position"),
]


@pytest.mark.parametrize(("filter", "hint", "said"), NONSENSE)
def test_a_filter_that_makes_no_sense_says_where_and_what_was_meant(
    four: Ledger, filter: str, hint: str, said: str
) -> None:
    with pytest.raises(UsageError) as error:
        four.runs(filter)
    assert hint in error.value.hint
    assert error.value.hint
    assert said in str(error.value)


def test_a_list_may_have_thousands_of_texts(four: Ledger) -> None:
    many = ", ".join(f"'{number}'" for number in range(3000))
    assert four.count(f"run_id IN ('000000000002', {many})") == 1
    assert four.count(f"run_id NOT IN ('000000000002', {many})") == 3
    assert four.count(f"params.model IN ('ridge', {many})") == 2
    assert four.count(f"params.model NOT IN ('ridge', {many})") == 2
    assert four.count(f"tags.x IN ({many})") == 0


@pytest.mark.parametrize(
    "filter",
    [
        " AND ".join(["exit = 0"] * 3000),
        f"exit IN ({', '.join(map(str, range(3000)))})",
        f"params.a IN ({', '.join(['7'] * 20_000)})",
    ],
)
def test_a_filter_that_no_database_could_hold_is_refused(four: Ledger, filter: str) -> None:
    with pytest.raises(UsageError) as error:
        four.runs(filter)
    assert "at most" in str(error.value)
    assert len(str(error.value)) < 500


WORDS = (
    "metrics.loss params.`a b` tags.x status start_time exit code = != < LIKE IN NOT IS NULL AND ( ) , 'x' 1 -2e3 nan"
)
words = st.sampled_from(WORDS.split()) | st.text(max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(words, max_size=8).map(" ".join))
def test_any_text_is_a_filter_or_a_clear_error(four: Ledger, filter: str) -> None:
    for ask in (lambda: four.count(filter), lambda: four.rows(order=[filter])):
        with contextlib.suppress(UsageError):
            ask()


def test_an_order_that_makes_no_sense_says_so(four: Ledger) -> None:
    for order in ("metrics.loss SIDEWAYS", "lss", "metrics.loss DESC, exit", "; x"):
        with pytest.raises(UsageError, match=r"of the order|the order makes no sense|the order cannot be read"):
            four.runs(order=[order])


# references


def find(ledger: Ledger, text: str) -> str:
    return ledger.find(parse(text, NOW)).name


def test_a_run_is_found_by_id_name_newest_date_and_steps_back(four: Ledger) -> None:
    assert find(four, "000000000003") == "train-3"
    assert find(four, "train-2") == "train-2"
    assert find(four, "@") == find(four, "@latest") == "train-4"
    assert find(four, "@~1") == "train-3"
    assert find(four, "train-3~2") == "train-1"
    assert find(four, "@{2026-11-23T12:02:30Z}") == "train-2"
    assert find(four, "@{2026-11-23T12:02:30Z}~1") == "train-1"


def test_the_start_of_an_id_is_enough_when_no_other_begins_so(ledger: Ledger) -> None:
    sealed(ledger, a_run(1, id="7f3a11112222"), a_run(2, id="7f3a33334444"), a_run(3, id="abcdef000000"))
    assert find(ledger, "abcd") == "train-3"
    assert find(ledger, "ABCDEF") == "train-3"
    assert find(ledger, "7f3a1") == "train-1"
    with pytest.raises(UsageError) as error:
        find(ledger, "7f3a")
    said = str(error.value)
    assert all(
        word in said for word in ("7f3a11112222", "train-1", "7f3a33334444", "train-2", "2026-11-23", "python train.py")
    )
    assert "a digit more: 7f3a3" in error.value.hint
    with pytest.raises(NotFound) as short:
        find(ledger, "abc")
    assert "needs 4" in short.value.because


def test_a_name_that_looks_like_an_id_wins(ledger: Ledger) -> None:
    sealed(ledger, a_run(1, id="beef00000000"), a_run(2, name="beef"))
    assert find(ledger, "beef") == "beef"
    assert find(ledger, "beef0") == "train-1"


def test_a_name_used_again_means_the_newest_run_of_that_name(ledger: Ledger) -> None:
    sealed(ledger, a_run(1, name="x"), a_run(3, name="x"), a_run(2, name="y"))
    assert ledger.find(parse("x", NOW)).id == a_run(3).id
    assert ledger.find(parse("x@{2026-11-23T12:02:00Z}", NOW)).id == a_run(1).id


def test_the_newest_and_the_one_before_are_never_made_by_a_repeat(ledger: Ledger) -> None:
    sealed(ledger, a_run(1), a_run(2, repeats=a_run(1).id), a_run(3), a_run(4, repeats=a_run(3).id))
    assert find(ledger, "@") == "train-3"
    assert find(ledger, "@~1") == "train-1"
    assert find(ledger, "train-4~1") == "train-3"
    assert find(ledger, "train-4") == "train-4"


def test_an_unknown_reference_names_what_is_near(four: Ledger) -> None:
    with pytest.raises(NotFound) as error:
        find(four, "trian-3")
    assert "train-3" in error.value.because
    assert error.value.hint.startswith("bis show train-")
    with pytest.raises(NotFound, match="nothing-like-it"):
        find(four, "nothing-like-it")
    with pytest.raises(NotFound, match=r"no run had started by 2020-01-01 23:59:59Z"):
        find(four, "@{2020-01-01}")
    for text in ("train-3@{2020-01-01}", "000000000003@{2020-01-01}"):
        with pytest.raises(NotFound, match=rf"no run called {text[:-13]} had started by 2020"):
            find(four, text)
    with pytest.raises(NotFound, match="no run is called 'trian-3'"):
        find(four, "trian-3@{2020-01-01}")
    with pytest.raises(NotFound, match="only 3 runs"):
        find(four, "@~4")


def test_where_nothing_is_recorded_the_error_says_how_to_begin(ledger: Ledger) -> None:
    for text in ("@", "train-1", "7f3a", "@~1"):
        with pytest.raises(NotFound) as error:
            find(ledger, text)
        assert "bis run" in error.value.hint


# the last run of a command, annotations, verdicts


def test_the_last_sealed_run_of_a_command_is_found_whatever_its_options(ledger: Ledger) -> None:
    sealed(ledger, a_run(1), a_run(2, command=("python", "other.py")), a_run(3, folder="sub"))
    ledger.begin(a_run(4, status="running"))
    last = ledger.last(command_key(("/usr/bin/python", "train.py", "--lr", "99", "--fast"), "."))
    assert last
    assert last.name == "train-1"
    assert ledger.last(command_key(("python", "third.py"), ".")) is None


def said(run: Run, minutes: float, **fields: Any) -> Annotation:
    return Annotation(run=run.id, made=stamp(minutes), **fields)


def annotate(ledger: Ledger, *annotations: Annotation) -> None:
    for annotation in annotations:
        ledger.annotate(annotation, digest_value(annotation))


def test_tags_and_note_of_a_run_are_as_the_newest_annotation_says(ledger: Ledger) -> None:
    run = a_run(1, note="first try")
    sealed(ledger, run, a_run(2))
    first = said(run, 1, tags={"team": "fraud", "state": "draft", "old": "1"})
    second = said(run, 2, tags={"state": "final", "score": "0.5"}, removed=("old",), note="the one that we ship")
    annotate(ledger, second, first, first)
    assert ledger.annotations(run.id) == [first, second]
    assert ledger.rows()[1].tags == {"team": "fraud", "state": "final", "score": "0.5"}
    assert [row.note for row in ledger.rows()] == ["", "the one that we ship"]
    assert ledger.get(run.id) == run
    for filter in (
        "tags.state = 'final' AND tag.team LIKE 'f%'",
        "tags.score > 0.4",
        "note LIKE '%ship'",
        "tags.old IS NULL AND tags.team IS NOT NULL",
    ):
        assert names(ledger.runs(filter)) == ["train-1"], filter
    assert ledger.count("tags.score > 0.6") == 0


def test_annotations_stay_when_their_run_is_sealed_again_and_may_come_before_it(ledger: Ledger) -> None:
    run = a_run(1, note="first try")
    annotate(ledger, said(run, 1, tags={"state": "draft"}))
    sealed(ledger, run)
    assert (ledger.rows()[0].tags, ledger.rows()[0].note) == ({"state": "draft"}, "first try")
    annotate(ledger, said(run, 2, note="better"))
    ledger.seal(run, Digest("b3:2"))
    assert (ledger.rows()[0].tags, ledger.rows()[0].note) == ({"state": "draft"}, "better")


def a_verdict(run: Run, sameness: Any, minutes: float) -> Verdict:
    return Verdict(run=run.id, again="a" * 12, sameness=sameness, made=stamp(minutes), not_compared=("x",))


def test_verdicts_are_told_newest_first_and_the_newest_stands_beside_its_run(ledger: Ledger) -> None:
    run = a_run(1)
    sealed(ledger, run, a_run(2))
    same, different = a_verdict(run, "identical", 10), a_verdict(run, "different", 20)
    for verdict in (different, same):
        ledger.add_verdict(verdict, digest_value(verdict))
    ledger.add_verdict(same, digest_value(same))
    assert ledger.verdicts(run.id) == [different, same]
    assert [row.verdict for row in ledger.rows()] == ["", "different"]
    assert names(ledger.runs("verdict = 'different'")) == ["train-1"]


def test_a_verdict_may_come_before_its_run(ledger: Ledger) -> None:
    """As when a ledger is rebuilt from records in any order."""
    run = a_run(1)
    verdict = a_verdict(run, "equivalent", 1)
    ledger.add_verdict(verdict, digest_value(verdict))
    sealed(ledger, run)
    assert [row.verdict for row in ledger.rows()] == ["equivalent"]


def test_what_is_stored_is_what_is_hashed(ledger: Ledger) -> None:
    """A record decoded and encoded again has the same canonical bytes."""
    run = a_run(1, metrics={"a": math.nan, "b": 0.1 + 0.2}, parts=told(x="NaN"))
    sealed(ledger, run)
    assert canonical(ledger.get(run.id)) == canonical(run)


def test_a_run_that_was_removed_is_found_only_by_who_asks_for_removed_ones(ledger: Ledger) -> None:
    sealed(ledger, a_run(1), a_run(2), a_run(3))
    annotate(ledger, said(a_run(3), 10, hidden=True), said(a_run(1), 11, hidden=True))
    assert ledger.find(parse("@latest", NOW)).name == "train-2"
    for reference in ("train-3", "@latest~1", f"{3:012x}"):
        with pytest.raises(NotFound) as told:
            ledger.find(parse(reference, NOW))
        assert ("rm --undo" in told.value.hint) == (reference != "@latest~1")
    assert ledger.find(parse("train-3", NOW), removed=True).name == "train-3"
    assert ledger.find(parse(f"{3:012x}", NOW), removed=True).name == "train-3"
    with pytest.raises(NotFound, match="was not removed"):
        ledger.find(parse("train-2", NOW), removed=True)
    assert [row.name for row in ledger.rows("removed = ''")] == ["train-2"]
    assert {row.name: row.removed for row in ledger.rows("removed != ''")} == {
        "train-3": stamp(10),
        "train-1": stamp(11),
    }


def test_a_removal_can_be_taken_back_whatever_the_order_in_which_it_is_heard_of(ledger: Ledger) -> None:
    annotate(ledger, said(a_run(1), 11, hidden=False), said(a_run(1), 10, hidden=True))
    sealed(ledger, a_run(1))
    assert ledger.find(parse("train-1", NOW)).name == "train-1"
    annotate(ledger, said(a_run(1), 12, tags={"a": "b"}), said(a_run(1), 13, hidden=True))
    assert ledger.count("removed = ''") == 0


def test_a_run_is_called_and_lies_where_it_was_said_last_whatever_the_order(ledger: Ledger) -> None:
    first = Annotation(run=a_run(1).id, made=stamp(5), experiment="old", name="first")
    last = Annotation(run=a_run(1).id, made=stamp(6), experiment="churn", name="base")
    ledger.annotate(last, digest_value(2))
    ledger.seal(a_run(1), digest_value("1"))
    ledger.annotate(first, digest_value(1))
    ledger.seal(a_run(2), digest_value("2"))
    ledger.seal(a_run(1), digest_value("1"))
    (row,) = ledger.rows("experiment = 'churn' AND name = 'base'")
    assert (row.id, row.name, row.experiment) == (a_run(1).id, "base", "churn")
    assert ledger.find(parse("base", NOW)).id == ledger.get(a_run(1).id).id == a_run(1).id
    assert ledger.get(a_run(1).id).name == "base"
    assert [row.name for row in ledger.rows("experiment != 'churn'")] == ["train-2"]
    assert (ledger.experiment(a_run(1).id), ledger.experiment(a_run(2).id)) == ("churn", "")


def test_a_run_stays_in_an_experiment_that_got_another_name(ledger: Any) -> None:
    ledger.seal(a_run(1), digest_value("1"))
    ledger.annotate(Annotation(run=a_run(1).id, made=stamp(5), experiment="churn"), digest_value(1))
    with ledger.database.writing() as connection:
        experiments.rename(connection, experiments.find(connection, "churn").id, "growth", 1)
    ledger.annotate(Annotation(run=a_run(1).id, made=stamp(6), tags={"a": "b"}), digest_value(2))
    ledger.seal(a_run(1), digest_value("1"))
    assert ledger.experiment(a_run(1).id) == "growth"
    ledger.annotate(Annotation(run=a_run(1).id, made=stamp(7), experiment="Default"), digest_value(3))
    assert ledger.experiment(a_run(1).id) == ""
