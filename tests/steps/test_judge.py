"""The rules of a verdict. Above all: nothing is called identical because a check was skipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.digest import Digest
from bis.nouns.part import Finding, Part
from bis.nouns.run import Chance, Coverage, Run
from bis.nouns.verdict import Judged, Verdict
from bis.steps.judge import judge
from bis.steps.suspect import Suspects

COMPLETE = Coverage(mechanism="notify", complete=True)


def run(**fields: object) -> Run:
    given = {
        "id": "0123456789ab",
        "name": "train-1",
        "command": ("python", "train.py"),
        "started": "2026-05-03T10:00:00.000000Z",
        "status": "finished",
        "exit": 0,
        "coverage": COMPLETE,
    }
    return Run(**{**given, **fields})  # type: ignore[arg-type]


def output(sameness: str = "identical", name: str = "model.pkl", **fields: object) -> Judged:
    return Judged(name=name, sameness=sameness, **fields)  # type: ignore[arg-type]


def verdict(*outputs: Judged, again: Run | None = None, before: Run | None = None, **more: object) -> Verdict:
    given: dict[str, object] = {"made": "2026-05-03T11:00:00.000000Z", "parts": [], "metrics": []}
    return judge(before or run(), again or run(), outputs=list(outputs), **{**given, **more})  # type: ignore[arg-type]


def test_equal_outputs_and_no_doubt_are_identical() -> None:
    assert verdict(output()).sameness == "identical"


def test_one_output_of_the_same_meaning_makes_it_equivalent() -> None:
    assert verdict(output(), output("equivalent", "log.txt")).sameness == "equivalent"


def test_one_different_output_makes_it_different() -> None:
    assert verdict(output(), output("different", "log.txt")).sameness == "different"


def test_a_different_metric_makes_it_different() -> None:
    assert verdict(output(), metrics=[output("different", "loss")]).sameness == "different"


def test_no_output_at_all_is_nothing_observed() -> None:
    assert verdict().sameness == "nothing observed"
    assert not verdict().same


def test_an_output_that_could_not_be_compared_is_never_sameness() -> None:
    assert verdict(output("not compared")).sameness == "nothing observed"


def test_another_exit_status_is_different_whatever_the_outputs_say() -> None:
    judged = verdict(output(), again=run(exit=1, status="failed"))
    assert judged.sameness == "different"
    assert judged.causes == ("it ended otherwise: exit 0, then exit 1",)


def test_a_file_of_this_machine_keeps_it_from_being_identical() -> None:
    judged = verdict(output(), leaks=["/home/ana/x.csv"])
    assert judged.sameness == "equivalent"
    assert judged.leaks == ("/home/ana/x.csv",)
    assert judged.not_compared == ("1 file read from this machine, not from the record",)
    assert verdict(output(), leaks=["/b", "/c", "/home/ana/"]).not_compared == (
        "2 files read and 1 folder listed from this machine, not from the record",
    )
    assert verdict(output(), leaks=["/home/ana/", "/srv/"]).not_compared == (
        "2 folders listed from this machine, not from the record",
    )


def test_a_partial_trace_keeps_it_from_being_identical_and_says_so() -> None:
    partial = Coverage(mechanism="audit", complete=False, limits=("opens by C++ libraries are not seen",))
    judged = verdict(output(), again=run(coverage=partial))
    assert judged.sameness == "equivalent"
    assert "C++" in judged.not_compared[0]


def test_an_environment_that_is_not_as_recorded_keeps_it_from_being_identical() -> None:
    changed = output("different", "environment", why="numpy 2.3 -> 2.4")
    assert verdict(output(), parts=[changed]).sameness == "equivalent"
    assert verdict(output(), parts=[changed], taken=["environment"]).sameness == "identical"


def test_another_machine_alone_does_not() -> None:
    assert verdict(output(), parts=[output("different", "machine", why="CPU")]).sameness == "identical"


def test_a_blocking_finding_keeps_it_from_being_identical() -> None:
    finding = Finding(code="input-changed", text="x.csv changed", blocks=True)
    assert verdict(output(), findings=[finding]).sameness == "equivalent"


def test_which_worker_took_which_task_explains_more_than_an_id_that_was_drawn() -> None:
    order = Finding(code="worker-order", text="2 workers drew from generators that were seeded per worker.")
    chance = Chance(seed=1, entropy=("uuid.uuid4 (train.py:3)",))
    again = run(chance=chance, findings=(order,))
    assert verdict(output("different"), again=again).causes == (order.text,)
    assert "uuid4" in verdict(output("different"), again=run(chance=chance)).causes[0]


def test_causes_are_read_off_the_differences() -> None:
    judged = verdict(output("different", "log.txt", causes=("clock",)))
    assert judged.causes == ("clock in log.txt",)


def test_what_came_over_the_network_and_from_the_system_are_causes_where_nothing_else_is() -> None:
    far = Finding(code="network-input", text="connected to tcp:203.0.113.9:443: what came from there has no version")
    data = Part(kind="data", digest=Digest("b3:0"), findings=(far,))
    again = run(parts={"data": data}, chance=Chance(entropy=("/dev/urandom",)))
    system = "randomness of the operating system (/dev/urandom)"
    assert verdict(output("different"), again=again).causes == (far.text, system)
    assert verdict(output("different", causes=("clock",)), again=again).causes == ("clock in model.pkl",)


doubts = st.fixed_dictionaries(
    {},
    optional={
        "leaks": st.just(["/x"]),
        "not_compared": st.just(["the weights"]),
        "findings": st.just([Finding(code="c", text="t", blocks=True)]),
        "again": st.just(run(coverage=Coverage(mechanism="none", complete=False))),
    },
)


@given(doubts, st.lists(st.sampled_from(["identical", "equivalent", "different", "not compared"]), max_size=4))
def test_identical_means_every_output_equal_and_no_doubt(doubt: dict[str, object], words: list[str]) -> None:
    judged = verdict(*[output(word, str(number)) for number, word in enumerate(words)], **doubt)  # type: ignore[arg-type]
    sure = not doubt and words and set(words) == {"identical"}
    assert (judged.sameness == "identical") == bool(sure)


@pytest.mark.parametrize("word", ["different"])
def test_a_difference_is_never_explained_away(word: str) -> None:
    assert verdict(output(word), leaks=["/x"]).sameness == "different"


def test_a_run_on_a_graphics_card_that_differs_names_it_unless_it_was_recorded_as_deterministic() -> None:
    machine = Part(kind="machine", digest=Digest("b3:0"), facts={"gpu used": True})
    on_card = run(parts={"machine": machine})
    assert any("graphics card" in cause for cause in verdict(output("different"), before=on_card).causes)
    ordered = run(parts={"machine": machine}, chance=Chance(deterministic=True))
    assert not verdict(output("different"), before=ordered).causes
    assert not verdict(output(), before=on_card).causes


def test_what_stands_in_the_way_in_the_record_keeps_its_repeat_from_being_identical() -> None:
    lost = Finding(code="piped-input", text="what came through a pipe is not recorded", blocks=True)
    judged = verdict(output(), before=run(findings=(lost,)))
    assert (judged.sameness, judged.not_compared) == ("equivalent", (lost.text,))
    part = Part(kind="data", digest=Digest("b3:00"), findings=(lost,))
    assert verdict(output(), before=run(parts={"data": part})).sameness == "equivalent"
    assert verdict(output(), before=run(parts={"data": part}), taken=["data"]).sameness == "identical"


def test_keys_that_were_typed_are_named_as_the_cause_of_a_difference() -> None:
    typed = Finding(code="typed-input", text="keys were typed")
    assert verdict(output("different"), before=run(findings=(typed,))).causes == ("keys were typed",)
    assert verdict(output(), before=run(findings=(typed,))).sameness == "identical"


def test_the_same_names_in_another_order_are_named_as_such() -> None:
    judged = verdict(output("different", "<stdout>", causes=("order of words",)))
    assert judged.causes == ("the order of names in <stdout>: of a folder, each file system lists them in its own",)
    assert verdict(output("different", "<stdout>", causes=("order of words", "path"))).causes == (
        "order of words in <stdout>",
        "path in <stdout>",
    )


def test_an_output_that_could_not_be_compared_is_named_and_nothing_is_identical() -> None:
    judged = verdict(output(), output("not compared", "lost.bin", why="its bytes are gone"))
    assert (judged.sameness, judged.not_compared) == ("equivalent", ("lost.bin: its bytes are gone",))


ASKED = Suspects(clock=("time.time (train.py:3)",), process=("os.getpid (train.py:4)",))
CLOCK = "perhaps the clock: time.time (train.py:3)"
PROCESS = "perhaps the number of a process: os.getpid (train.py:4)"


def test_what_the_code_asked_for_is_told_while_a_difference_does_not_tell_its_cause() -> None:
    told = output("different", "log.txt", causes=("clock",))
    assert verdict(output("different"), suspects=ASKED).causes == (CLOCK, PROCESS)
    assert verdict(told, output("different"), suspects=ASKED).causes == ("clock in log.txt", CLOCK, PROCESS)
    assert verdict(told, suspects=ASKED).causes == ("clock in log.txt",)
    assert verdict(output(), metrics=[output("different", "loss")], suspects=ASKED).causes == (CLOCK, PROCESS)
    assert verdict(output(), suspects=ASKED).causes == ()
    places = tuple(f"time.time (train.py:{line})" for line in range(5))
    assert verdict(output("different"), suspects=Suspects(clock=places)).causes[0].endswith("train.py:2) and 2 more")


def test_what_explains_everything_leaves_nothing_to_the_clock() -> None:
    differs = output("different")
    assert verdict(differs, again=run(exit=1, status="failed"), suspects=ASKED).causes == (
        "it ended otherwise: exit 0, then exit 1",
    )
    machine = output("different", "machine", why="CPU")
    assert verdict(differs, parts=[machine], suspects=ASKED).causes == ("machine: CPU",)
    order = Finding(code="worker-order", text="2 workers drew.")
    assert verdict(differs, again=run(findings=(order,)), suspects=ASKED).causes == ("2 workers drew.",)
    reordered = output("different", "<stdout>", causes=("order of words",))
    assert [cause[:18] for cause in verdict(reordered, suspects=ASKED).causes] == ["the order of names"]


def test_last_digits_that_went_on_as_the_clock_did_are_its_only_where_the_code_asked_for_it() -> None:
    digits = output("different", "m.json", causes=("float noise or clock",))
    assert verdict(digits, suspects=ASKED).causes == (
        "perhaps the clock, or float noise, in m.json: time.time (train.py:3)",
    )
    assert verdict(digits).causes == ("float noise in m.json",)


def test_randomness_of_the_system_is_named_beside_a_difference_that_tells_its_own_cause() -> None:
    told = output("different", "log.txt", causes=("clock",))
    again = run(chance=Chance(entropy=("/dev/urandom",)))
    assert verdict(told, output("different"), again=again).causes == (
        "clock in log.txt",
        "randomness of the operating system (/dev/urandom)",
    )
