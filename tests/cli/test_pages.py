"""The pages of runs, differences and verdicts: their text, in full, for values made by hand."""

import io
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from bis.cli.page_difference import difference_page, markdown
from bis.cli.page_log import Listing
from bis.cli.page_run import run_page
from bis.cli.page_verdict import verdict_page
from bis.cli.render import Terminal
from bis.digest import digest_bytes, spell
from bis.ledger import PartRow, Row
from bis.nouns.annotation import Annotation
from bis.nouns.part import Change, Finding
from bis.nouns.run import Output, Run
from bis.nouns.verdict import Judged, Masked, Verdict

NOW = datetime(2026, 5, 3, 14, 4, 40, tzinfo=UTC)
Make = Callable[..., Run]


@pytest.fixture
def terminal() -> Terminal:
    """A terminal 100 columns wide, without colours; times as in a pipe where `tty` is not set."""
    stream = io.StringIO()
    made = Terminal({"NO_COLOR": "1"}, out=stream, err=stream)
    made.width = 100
    return made


@pytest.fixture
def wide(terminal: Terminal) -> Terminal:
    terminal.tty = True
    return terminal


def page(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


# -- one run -----------------------------------------------------------------------------------------------------


def test_the_page_of_a_run_says_everything_in_few_lines(some_run: Make, terminal: Terminal) -> None:
    verdict = Verdict(run="7f3a91c20b41", again="90de00000000", sameness="identical", made="2026-05-03T13:04:40Z")
    assert page(run_page(some_run(note="a first try"), [verdict], NOW, terminal)) == (
        "run             7f3a91c20b41  train-12  finished in 4m40s\n"
        "when            2026-05-03T12:00:00.000000Z  by ana@gpu-3  bis 0.1.0\n"
        "command         python train.py --lr 0.1\n"
        "note            a first try\n"
        "code            c0de0000  a91c4f2 main, 2 changed\n"
        "data            da7a0000  train.csv, 1.2 GiB\n"
        "params          9a7a0000  1 value\n"
        "environment     e0e00000  Python 3.11.7, 84 packages\n"
        "chance          seed 7 (drawn)\n"
        "                seeded by bis: numpy x3, random\n"
        "                seeded by the script: torch\n"
        "metrics         accuracy  0.934\n"
        "                loss      0.205\n"
        "outputs         model.pkl  0b000000    5.0 MiB\n"
        "                big.bin    0c000000    5.0 GiB  hashed, not copied\n"
        "                <stdout>   0a000000  212 B\n"
        "usage           4m40s in all, 9m02s of processor time, 1.2 GiB of memory\n"
        "trace           notify, complete\n"
        "findings        [!] uuid4 was called  os-randomness\n"
        "                    seed it\n"
        "verdicts        [=] identical, 2026-05-03T13:04:40Z (90de0000)\n"
        "next            bis status train-12\n"
    )


def test_the_page_of_a_run_shows_what_was_said_of_it_later(some_run: Make, terminal: Terminal) -> None:
    run = some_run(note="a first try")
    annotations = [
        Annotation(run=run.id, made="2026-05-03T13:00:00Z", user="ana", tags={"state": "draft", "team": "fraud"}),
        Annotation(run=run.id, made="2026-05-03T14:00:00Z", user="bo", tags={"state": "\x1b[2J"}, note="ship it\nsoon"),
    ]
    assert (
        "tags            state=\\x1b[2J\n"
        "                team=fraud\n"
        "note            a first try\n"
        "                ship it  (2026-05-03T14:00:00Z, bo)\n"
        "                soon\n"
    ) in page(run_page(run, [], NOW, terminal, annotations))


def test_metrics_stand_below_one_another_by_their_points(some_run: Make, terminal: Terminal) -> None:
    run = some_run(metrics={"epoch": 120.0, "loss": 0.205, "rate": 1e-05, "gap": float("nan"), "drift": -1.5})
    assert (
        "metrics         epoch  120\n"
        "                loss     0.205\n"
        "                rate     1e-05\n"
        "                gap    nan\n"
        "                drift   -1.5\n"
    ) in page(run_page(run, [], NOW, terminal))


def test_the_page_of_a_run_on_a_terminal_tells_times_as_a_person_would(some_run: Make, wide: Terminal) -> None:
    assert "(2h ago)  by ana@gpu-3" in page(run_page(some_run(), [], NOW, wide))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exit": 1, "status": "failed"}, "failed with exit status 1 in 4m40s"),
        ({"exit": None, "signal": 9, "status": "failed"}, "ended by SIGKILL in 4m40s"),
        ({"exit": None, "signal": 2, "status": "interrupted"}, "interrupted by SIGINT in 4m40s"),
        ({"exit": None, "status": "lost"}, "lost in 4m40s"),
        ({"exit": None, "status": "running", "ended": ""}, "running"),
    ],
)
def test_how_a_run_ended_is_said_in_words(
    changed: dict[str, object], said: str, some_run: Make, terminal: Terminal
) -> None:
    first = run_page(some_run(**changed), [], NOW, terminal)[0]
    assert first == f"run             7f3a91c20b41  train-12  {said}"


def test_a_run_that_says_little_has_a_short_page(terminal: Terminal) -> None:
    run = Run(id="7f3a91c20b41", name="r-1", command=("true",), started="2026-05-03T12:00:00Z", status="running")
    assert len(run_page(run, [], NOW, terminal)) <= 5


def test_names_that_would_steer_a_terminal_are_shown_escaped(some_run: Make, terminal: Terminal) -> None:
    evil = "\x1b[2J\x07\u202e"
    run = some_run(
        name=evil,
        note=f"{evil}\nsecond line",
        command=("echo", evil),
        host=evil,
        metrics={evil: 1.0},
        outputs=(Output(path=spell(b"\xff\x1b.csv"), digest=digest_bytes(b""), size=1),),
        findings=(Finding(code="x", text=evil, hint=evil),),
    )
    lines = run_page(run, [], NOW, terminal)
    assert all(line.isprintable() for line in lines)
    assert any(r"\xff\x1b.csv" in line for line in lines)


# -- a list of runs ----------------------------------------------------------------------------------------------


def rows(*changes: dict[str, object]) -> list[Row]:
    base = Row(
        id="7f3a91c20b41",
        name="train-1",
        command=("python", "train.py"),
        started="2026-05-03T12:00:00Z",
        ended="2026-05-03T12:04:40Z",
        status="finished",
        exit=0,
        parts={"code": PartRow(digest_bytes(b"code"), "c"), "data": PartRow(digest_bytes(b"data"), "d")},
        params={"lr": "0.1", "depth": "3"},
        metrics={"auc": 0.93123456},
    )
    return [msgspec.structs.replace(base, **change) for change in changes]


def test_a_list_shows_what_tells_its_runs_apart_and_folds_the_rest(wide: Terminal) -> None:
    listing = Listing(
        rows(
            {"id": "90de00000000", "name": "train-2", "params": {"lr": "0.2", "depth": "3"}, "metrics": {"auc": 0.9}},
            {"verdict": "identical"},
            {"id": "a1b200000000", "name": "train-0", "status": "failed", "exit": 1, "metrics": {}},
        ),
        NOW,
        wide,
    )
    assert page(listing.lines([])) == (
        "rpt  run       name     status    when     took      auc  lr\n"
        "[ ]  90de0000  train-2            2h ago  4m40s      0.9  0.2\n"
        "[=]  7f3a91c2  train-1            2h ago  4m40s  0.93123  0.1\n"
        "[ ]  a1b20000  train-0  failed 1  2h ago  4m40s           0.1\n"
    )
    assert listing.same_parts() == f"code {digest_bytes(b'code')[3:11]}, data {digest_bytes(b'data')[3:11]}"


def test_tags_of_programs_are_no_columns_until_they_are_asked_for(wide: Terminal) -> None:
    wide.width = 300
    tags = {"team": "fraud", "mlflow.user": "ada", "bis.model": "models:/churn/2"}
    listing = Listing(rows({"tags": tags}), NOW, wide)
    assert listing.lines([])[0].split() == ["run", "name", "when", "took", "auc", "team"]
    assert {"mlflow.user", "bis.model"} <= set(listing.lines([], everything=True)[0].split())
    assert listing.lines(["mlflow.user"])[1] == "ada"


def test_a_tag_that_is_called_like_a_column_is_titled_as_a_tag(wide: Terminal) -> None:
    listing = Listing(rows({"tags": {"data": "customers"}}, {"parts": {}}), NOW, wide)
    assert listing.lines([])[0].split()[-3:] == ["data", "auc", "tags.data"]


def test_a_list_in_a_pipe_has_fixed_columns_first_and_exact_values(terminal: Terminal) -> None:
    lines = Listing(rows({}, {"id": "90de00000000", "params": {"lr": "0.2"}}), NOW, terminal).lines([])
    titles = lines[0].split("\t")
    assert titles[:7] == ["id", "name", "status", "exit", "started", "took", "verdict"]
    assert titles[-3:] == ["metrics.auc", "params.lr", "params.depth"]
    assert lines[1].split("\t")[:6] == ["7f3a91c20b41", "train-1", "finished", "0", "2026-05-03T12:00:00Z", "280.000"]
    assert "0.93123456" in lines[1]


def test_metrics_that_do_not_fit_are_left_out_and_counted(wide: Terminal) -> None:
    wide.width = 60
    listing = Listing(rows({"metrics": {f"metric_{number}": 0.5 for number in range(9)}}), NOW, wide)
    lines = listing.lines([])
    assert max(map(len, lines)) <= 60
    assert listing.hidden == 9 - lines[0].count("metric_")
    assert listing.hidden > 0


# -- a difference ------------------------------------------------------------------------------------------------

DIFF = "--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-lr = 0.1\n+lr = 0.2\n"


@pytest.fixture
def found(some_run: Make) -> object:
    from bis.acts.explain import Difference

    return Difference(
        before=some_run(),
        after=some_run(id="90de00000000", name="train-13"),
        parts=[
            Judged(name="code", sameness="different", before="e43d4a8f", after="11112222"),
            Judged(name="data", sameness="identical", before="aa", after="aa"),
            Judged(name="environment", sameness="different", before="bb", after="cc"),
            Judged(name="infrastructure", sameness="not compared", why="not recorded in both runs"),
            Judged(name="machine", sameness="equivalent", before="dd", after="ee"),
        ],
        changes={
            "code": [Change(kind="code", name="train.py", before="1", after="2", detail=DIFF)],
            "environment": [
                Change(kind="environment", name="numpy", before="1.26.4", after="2.0.0"),
                Change(kind="environment", name="scipy", after="1.16.1"),
            ],
            "machine": [Change(kind="machine", name="free memory", before="1", after="2", weight="minor")],
        },
        outputs=[
            Judged(name="<stdout>", sameness="equivalent", before="1a", after="1b", masked=(_masked(),)),
            Judged(name="model.pkl", sameness="different", before="2a", after="2b", why="212 of 214 tensors"),
        ],
        metrics=[
            Judged(name="auc", sameness="identical", before="0.5", after="0.5"),
            Judged(name="loss", sameness="different", before="0.2", after="0.3", why="+0.1, no tolerance declared"),
        ],
    )


def _masked() -> Masked:
    return Masked(rule="duration", count=3, example="12.1 s -> 12.4 s")


def test_a_difference_shows_what_differs_and_folds_what_is_the_same(found: object, terminal: Terminal) -> None:
    assert page(difference_page(found, terminal)) == (
        "train-12 (7f3a91c2) -> train-13 (90de0000)\n"
        "code            e43d4a8f -> 11112222  1 file\n"
        "--- a/train.py\n"
        "+++ b/train.py\n"
        "@@ -1 +1 @@\n"
        "-lr = 0.1\n"
        "+lr = 0.2\n"
        "environment     numpy  1.26.4 -> 2.0.0\n"
        "                scipy  absent -> 1.16.1\n"
        "metrics         [x]  loss  0.2  -> 0.3  +0.1\n"
        "outputs         [~]  <stdout>   1a  -> 1b\n"
        "                    set aside: 3 x duration, such as 12.1 s -> 12.4 s\n"
        "                [x]  model.pkl  2a  -> 2b  212 of 214 tensors\n"
        "the same: data, machine, 1 metric   (1 minor difference hidden; --all)\n"
        "not compared: infrastructure (not recorded in both runs)\n"
    )


def test_all_of_a_difference_hides_nothing(found: object, terminal: Terminal) -> None:
    told = page(difference_page(found, terminal, everything=True))
    assert "free memory  1 -> 2" in told
    assert "auc" in told
    assert "hidden" not in told


def test_code_may_be_counted_in_place_of_shown(found: object, terminal: Terminal) -> None:
    told = page(difference_page(found, terminal, stat=True))
    assert "train.py  +1  -1\n" in told
    assert "lr = 0.2" not in told


def test_a_long_list_of_changes_is_cut_and_the_rest_counted(found: object, terminal: Terminal) -> None:
    many = [Change(kind="environment", name=f"package-{number}", before="1", after="2") for number in range(100)]
    long = msgspec.structs.replace(found, changes={"environment": many})
    assert len(difference_page(long, terminal)) < 40
    assert "80 more lines hidden; --all" in page(difference_page(long, terminal))
    assert len(difference_page(long, terminal, everything=True)) > 100


def test_markdown_renders_no_stored_text_as_markup(found: object) -> None:
    change = Change(kind="code", name="a|b`c`*.md", before="1", after="2", detail="--- a\n+++ b\n ```\n")
    told = page(markdown(msgspec.structs.replace(found, changes={"code": [change]})))
    assert "### bis diff: `train-12`" in told
    assert "**Different:** code, environment, metrics, outputs." in told
    assert "\n````diff\n" in told
    assert told.count("<details>") == told.count("</details>") == 1


# -- a verdict ---------------------------------------------------------------------------------------------------


def verdict(**changed: object) -> Verdict:
    made = Verdict(
        run="7f3a91c20b41",
        again="90de00000000",
        sameness="different",
        made="2026-05-03T13:04:40Z",
        parts=(
            Judged(name="code", sameness="identical", before="a91c4f2e", after="a91c4f2e", why="main, clean"),
            Judged(name="machine", sameness="different", before="01020304", after="05060708", why="gpu: H200 -> A10"),
        ),
        metrics=(Judged(name="auc", sameness="identical", before="0.5", after="0.5"),),
        outputs=(
            Judged(name="<stdout>", sameness="equivalent", before="1a1a1a1a", after="1b1b1b1b", masked=(_masked(),)),
            Judged(
                name="model.pkl", sameness="different", before="2a2a2a2a", after="2b2b2b2b", why="212 of 214 tensors"
            ),
        ),
        not_compared=("what came from the network",),
        leaks=("/etc/models.cfg",),
        causes=("machine: gpu: H200 -> A10",),
        coverage="notify, complete",
    )
    return msgspec.structs.replace(made, **changed)


def test_a_verdict_shows_each_part_and_output_and_what_was_not_compared(some_run: Make, terminal: Terminal) -> None:
    assert page(verdict_page(verdict(), some_run(), terminal)) == (
        "part         recorded  repeated  verdict\n"
        "  code       a91c4f2e  a91c4f2e  [=]\n"
        "  machine    01020304  05060708  [x]  gpu: H200 -> A10\n"
        "metric\n"
        "  auc        0.5       0.5       [=]\n"
        "output\n"
        "  <stdout>   1a1a1a1a  1b1b1b1b  [~]\n"
        "  model.pkl  2a2a2a2a  2b2b2b2b  [x]  212 of 214 tensors\n"
        "set aside       3 x duration, such as 12.1 s -> 12.4 s  in <stdout>\n"
        "not compared    what came from the network\n"
        "read from here  /etc/models.cfg\n"
        "trace           notify, complete\n"
        "causes          machine: gpu: H200 -> A10\n"
        "different  train-12 -> 90de0000  it did not come out the same   next: bis diff 7f3a91c2 90de0000\n"
    )


def test_a_verdict_names_what_was_taken_from_elsewhere_and_what_is_new(some_run: Make, terminal: Terminal) -> None:
    findings = (
        Finding(code="os-randomness", text="known of the run already"),
        Finding(code="no-room", text="not at the original paths", hint="sudo sysctl"),
    )
    told = page(verdict_page(verdict(findings=findings), some_run(), terminal, {"data": "new/"}))
    assert "taken           data from new/\n" in told
    assert "findings        [!] not at the original paths  no-room\n                    sudo sysctl\n" in told
    assert "known of the run already" not in told


def test_nothing_observed_is_never_told_as_the_same(some_run: Make, terminal: Terminal) -> None:
    empty = verdict(sameness="nothing observed", outputs=(), metrics=(), causes=())
    last = verdict_page(empty, some_run(), terminal)[-1]
    assert last.startswith("nothing observed  train-12 -> 90de0000  it printed nothing and wrote nothing")


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        ({"metrics": ("equivalent", ())}, "the same within the tolerance declared"),
        ({"outputs": ("equivalent", ())}, "the same in meaning"),
        ({"outputs": ("equivalent", (Masked(rule="time", count=1),))}, "the same but for what was set aside"),
        (
            {"outputs": ("identical", ())},
            "every output is the same, byte for byte, but not everything could be ruled out",
        ),
    ],
)
def test_why_a_verdict_is_no_better_than_equivalent_is_said(
    judged: dict[str, tuple[str, tuple[Masked, ...]]], said: str, some_run: Make, terminal: Terminal
) -> None:
    made = {
        name: (Judged(name="x", sameness=sameness, masked=aside),)  # type: ignore[arg-type]
        for name, (sameness, aside) in judged.items()
    }
    told = verdict_page(
        verdict(**{"sameness": "equivalent", "outputs": (), "metrics": ()} | made), some_run(), terminal
    )
    assert told[-1] == f"equivalent  train-12 -> 90de0000  {said}   next: bis show 90de0000"


def test_many_identical_outputs_are_counted_and_one_that_differs_is_never_among_them(
    some_run: Make, terminal: Terminal
) -> None:
    outputs = [Judged(name=f"out-{number}", sameness="identical", before="1", after="1") for number in range(500)]
    outputs[400] = Judged(name="out-400", sameness="different", before="1", after="2", why="other bytes")
    told = page(verdict_page(verdict(outputs=tuple(outputs)), some_run(), terminal))
    assert len(told.splitlines()) < 40
    assert "and 487 more outputs, all [=]" in told
    assert "out-400" in told
