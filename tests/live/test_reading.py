"""Runs that are read back in a notebook: what it shows of them."""

import html.parser
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bis
from bis.errors import NotFound, UsageError
from bis.ledger import points, tracked
from bis.ledger.runs import open_ledger
from bis.live.reading import OneRun
from bis.nouns.tracking import Point

SCRIPT = """
import bis, sys
rate = float(sys.argv[1])
bis.params(rate=rate)
for step in range(50):
    bis.log(step=step, loss=1 / (1 + step * rate))
print("rate", rate)
"""
HOSTILE = "</td><script>document.title='caught'</script> | **bold** `code`"
NOW = 1_790_000_000_000_000
FORMS = ("text/plain", "text/html", "text/markdown")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two runs of a script, `slow` and `fast`, and one that a client logged, with a hostile name."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "bis.toml").write_text("")
    (folder / "train.py").write_text(SCRIPT)
    for name, rate in (("slow", "0.5"), ("fast", "2")):
        typed(folder, "run", "-q", "--seed", "1", "--name", name, "--", sys.executable, "train.py", rate)
    with open_ledger(folder / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        id = f"{7:032x}"
        tracked.create(connection, id, experiment=0, name=HOSTILE, user=HOSTILE, started=NOW, tags={HOSTILE: HOSTILE})
        tracked.log_params(connection, id, {HOSTILE: HOSTILE})
        seq = tracked.seq_of(connection, id)
        values = [0.5, float("nan"), float("inf")]
        points.append(connection, seq, [Point("loss", value, NOW // 1000, step) for step, value in enumerate(values)])
        tracked.update(connection, id, status="finished", ended=NOW + 60_000_000)
    return folder


@pytest.fixture
def here(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(recorded)
    return recorded


def typed(folder: Path, *words: str, ok: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bis", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(bis.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ok or done.returncode == 0, done.stderr
    return done.stdout


class Seen(html.parser.HTMLParser):
    """What a browser makes of HTML: its elements, their attributes and the cells of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.cells: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open and "svg" not in self.open:
            self.cells[-1] += data
        self.texts.append(data)


SAFE = {"div", "p", "strong", "small", "table", "thead", "tbody", "tr", "th", "td", "br", "details", "summary", "pre"}
DRAWN = {"svg", "path", "circle", "rect", "text"}


def looked_at(answer: Any) -> Seen:
    seen = Seen(answer._repr_html_())
    assert seen.elements <= SAFE | DRAWN
    assert not {name for name in seen.attributes if name.startswith("on") or name in ("href", "src", "class", "id")}
    return seen


def test_a_notebook_shows_runs_with_their_metrics_drawn_beside_the_numbers(here: Path) -> None:
    found = bis.runs(order=["start_time DESC"])
    seen = looked_at(found)
    assert {"slow", "fast", HOSTILE, "0.039216", "0.010101", "inf"} <= set(seen.cells)
    assert found._repr_html_().count("<svg") == 3
    assert (
        'aria-label="50 points, from 1 to 0.010101010101010102, least 0.010101010101010102, greatest 1"'
        in found._repr_html_()
    )
    assert "3 points, 1 of them NaN, 1 of them +∞" in found._repr_html_()
    assert "3 runs" in seen.texts


def test_of_many_runs_a_notebook_shows_some_and_says_of_how_many() -> None:
    row = {"command": (), "started": "2026-01-01T00:00:00.000000Z", "status": "finished"}
    many = bis.live.reading.Runs(OneRun(id=f"{number:012x}", name=f"run-{number}", **row) for number in range(120))
    assert "50 of 120 runs" in many._repr_html_()
    assert many._repr_html_().count("<tr>") == 51
    assert "No runs." in bis.live.reading.Runs()._repr_html_()


def test_one_run_is_shown_with_its_parts_params_and_metrics(here: Path) -> None:
    (run,) = bis.runs("run_name = 'fast'")
    told = json.loads(typed(here, "show", "fast", "--json"))["run"]
    seen = looked_at(run)
    facts = dict(zip(seen.cells[::2], seen.cells[1::2], strict=True))
    assert facts["run"] == told["id"]
    assert facts["params.rate"] == "2.0"
    assert facts["metrics.loss"] == repr(told["metrics"]["loss"])
    for kind, part in told["parts"].items():
        assert facts[kind].endswith(part["summary"])
    assert f"bis repeat {run.id[:8]}" in seen.texts
    assert run._repr_html_().count("<svg") == 1


def test_two_runs_are_compared_as_bis_diff_compares_them(here: Path) -> None:
    told = json.loads(typed(here, "diff", "slow", "fast", "--json", ok=False))
    found = bis.compare("slow", "fast")
    assert [run.name for run in found.runs] == ["slow", "fast"]
    matter = {
        (kind, one["name"])
        for kind, some in told["changes"].items()
        for one in some
        if one.get("weight", "matters") == "matters"
    }
    assert {(row.kind, row.name) for row in found.rows if row.kind not in ("metrics", "outputs")} == matter
    unlike = {
        (kind, one["name"]) for kind in ("metrics", "outputs") for one in told[kind] if one["sameness"] == "different"
    }
    assert unlike <= {(row.kind, row.name) for row in found.rows}
    assert set(found.same) & {"code", "environment", "machine"} == {"code", "environment", "machine"}
    seen = looked_at(found)
    at = seen.cells.index("metrics")
    losses = [repr(run.metrics["loss"]) for run in bis.runs("metrics.loss < 1", order=["start_time"])]
    assert seen.cells[at : at + 4] == ["metrics", "loss", *losses]


def test_runs_that_were_found_are_compared_too_and_a_run_with_itself_is_the_same(here: Path) -> None:
    found = bis.runs(order=["start_time DESC"])
    several = bis.compare(*found)
    assert ("params", "rate") in {(row.kind, row.name) for row in several.rows}
    looked_at(several)
    same = bis.compare("slow", next(run for run in found if run.name == "slow"))
    assert not same.rows
    assert "No difference." in same._repr_html_()


def test_what_cannot_be_compared_is_named(here: Path) -> None:
    with pytest.raises(NotFound, match="fats"):
        bis.compare("slow", "fats")
    with pytest.raises(UsageError, match="21 runs are named"):
        bis.compare(*["slow"] * 21)


def test_what_users_call_things_is_text_in_markdown_too(here: Path) -> None:
    (run,) = bis.runs(f"run_id = '{7:032x}'")
    for answer in (bis.runs(), run, bis.compare(run, "slow")):
        text = answer._repr_markdown_()
        assert "<script" not in text.replace("\\<", "")
        assert "**bold**" not in text
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_where_there_is_no_notebook_an_answer_is_printed_as_a_table(here: Path) -> None:
    for answer in (bis.runs(), bis.runs(limit=1)[0], bis.compare("slow", "fast")):
        assert str(answer) == answer._repr_markdown_()
        assert "| ---" in str(answer)


def test_an_answer_has_a_form_for_each_reader_and_gives_those_that_are_wanted(here: Path) -> None:
    (run,) = bis.runs("run_name = 'slow'")
    for answer, name in ((bis.runs(), "runs"), (run, "run"), (bis.compare("slow", "fast"), "compared")):
        forms = answer._repr_mimebundle_()
        assert set(forms) == {*FORMS, f"application/vnd.bis.{name}+json"}
        assert forms["text/html"] == answer._repr_html_()
        told = forms[f"application/vnd.bis.{name}+json"]
        assert told["schema"] == f"bis.{name}/1"
        json.dumps(told, allow_nan=False)
        assert set(answer._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
        assert "text/html" not in answer._repr_mimebundle_(exclude={"text/html"})


def test_the_same_answer_is_shown_the_same_wherever_and_whenever(here: Path) -> None:
    assert bis.runs()._repr_html_() == bis.runs()._repr_html_()
    assert " ago" not in bis.runs()._repr_html_()


def test_a_ledger_that_cannot_be_asked_any_more_takes_the_drawings_and_nothing_else(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = bis.runs()
    monkeypatch.chdir(tmp_path)
    assert "<svg" not in found._repr_html_()
    assert "0.010101" in looked_at(found).cells


def test_nothing_is_needed_for_it_that_bis_itself_does_not_need(here: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('jinja2', 'markupsafe', 'starlette', 'pandas', 'numpy', 'IPython'): sys.modules[name] = None\n"
        "import bis\n"
        "print(len(bis.runs()._repr_mimebundle_()), '<svg' in bis.runs()[0]._repr_html_())\n"
        "print(len(bis.compare('slow', 'fast')._repr_mimebundle_()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4", "True", "4"]
