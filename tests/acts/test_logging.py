"""Scripts that say more of their run: `import bis`, and MLflow's own client, unchanged."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bis.ledger import points, tracked
from bis.ledger.runs import SqlLedger
from bis.nouns.reference import Reference
from bis.steps.home import Home

SCRIPT = """
import bis
bis.params(lr=0.1, model={"layers": 3, "act": "relu"})
bis.tags(team="fraud")
for step in range(5):
    bis.log(step=step, loss=1 / (step + 1), accuracy=float("nan") if step == 2 else step / 5)
bis.log(step=9, loss=0.125, name="text")
bis.log_text("fine", "notes/report.txt")
bis.log_table([{"a": 1, "b": 2}, {"a": 3, "c": 4}], "table.csv")
"""


@pytest.fixture
def shown(bis: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def show(run: str = "@latest") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(bis("show", run, "--json").stdout)["run"]
        return found

    return show


def test_what_a_script_logs_is_in_the_record_of_its_run(bis: Any, project: Path, shown: Any) -> None:
    (project / "train.py").write_text(SCRIPT)
    done = bis("run", "--", sys.executable, "train.py")
    assert done.returncode == 0
    assert "name was not logged: 'text' is no number" in done.stderr
    run = shown()
    assert run["metrics"] == {"loss": 0.125, "accuracy": 0.8}
    assert run["logged"] == {"lr": "0.1", "model.layers": "3", "model.act": "relu"}
    assert {"<artifacts>/notes/report.txt", "<artifacts>/table.csv"} < {output["path"] for output in run["outputs"]}
    (row,) = json.loads(
        bis("log", "--filter", "metrics.loss < 0.2 AND params.lr = '0.1' AND tags.team = 'fraud'", "--json").stdout
    )["runs"]
    assert row["name"] == run["name"]


def test_every_point_that_was_logged_is_in_the_ledger_and_in_one_made_anew(
    bis: Any, project: Path, home: Callable[[], Home]
) -> None:
    (project / "train.py").write_text("import bis\nfor step in range(6000): bis.log(step=step, loss=step / 2)\n")
    bis("run", "--name", "run", "--", sys.executable, "train.py")

    def history() -> list[tuple[int, float]]:
        ledger = home().ledger
        assert isinstance(ledger, SqlLedger)
        with ledger.database.reading() as connection:
            seq = tracked.seq_of(connection, ledger.find(Reference(text="run", base="run")).id)
            found = points.history(connection, seq, "loss", limit=10_000)
        return sorted((point.step, point.value) for point in found)

    assert history() == [(step, step / 2) for step in range(6000)]
    for file in (project / ".bis").glob("ledger*"):
        file.unlink()
    assert bis("reindex").returncode == 0
    assert history() == [(step, step / 2) for step in range(6000)]


def test_a_repeat_compares_what_was_logged(bis: Any, project: Path) -> None:
    (project / "train.py").write_text(SCRIPT)
    bis("run", "--", sys.executable, "train.py")
    again = bis("repeat", "@latest", "--here", "--json")
    (verdict,) = json.loads(again.stdout)["verdicts"]
    assert {judged["name"]: judged["sameness"] for judged in verdict["metrics"]} == {
        "loss": "identical",
        "accuracy": "identical",
    }
    artifacts = {judged["name"] for judged in verdict["outputs"] if judged["sameness"] == "identical"}
    assert {"<artifacts>/notes/report.txt", "<artifacts>/table.csv"} <= artifacts


def test_a_script_that_is_killed_keeps_what_it_had_logged(bis: Any, project: Path, shown: Any) -> None:
    (project / "train.py").write_text(
        "import bis, os\nfor step in range(1000):\n    bis.log(step=step, loss=step)\nos.kill(os.getpid(), 9)\n"
    )
    bis("run", "--", sys.executable, "train.py")
    run = shown()
    assert run["signal"] == signal.SIGKILL
    assert run["metrics"] == {"loss": 999}


def test_workers_log_to_the_run_of_their_parent_and_of_ranks_only_the_first(
    bis: Any, project: Path, shown: Any
) -> None:
    (project / "train.py").write_text(
        "import multiprocessing, os, subprocess, sys, bis\n"
        "def work(number):\n"
        "    bis.log({f'worker-{number}': number}, step=0)\n"
        "if __name__ == '__main__':\n"
        "    bis.log(main=1)\n"
        "    for method in ('fork', 'spawn'):\n"
        "        worker = multiprocessing.get_context(method).Process(target=work, args=(method,))\n"
        "        worker.start(), worker.join()\n"
        "    for number, method in enumerate(('fork', 'spawn')):\n"
        "        worker = multiprocessing.get_context(method).Process(target=work, args=(number,))\n"
        "        worker.start(), worker.join()\n"
        "    for rank in '01':\n"
        "        code = f'import bis; bis.log(rank{rank}=1)'\n"
        "        subprocess.run([sys.executable, '-c', code], env={**os.environ, 'RANK': rank}, check=True)\n"
    )
    assert bis("run", "--", sys.executable, "train.py").returncode == 0
    assert shown()["metrics"] == {"main": 1, "worker-0": 0, "worker-1": 1, "rank0": 1}


@pytest.fixture
def own(project: Path, variables: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Start a script by itself, without `bis run`."""

    def start(code: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code], cwd=project, env={**variables, **more}, capture_output=True, text=True
        )

    return start


def listed(bis: Any, filter: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(bis("log", *(["--filter", filter] if filter else []), "--json").stdout)[
        "runs"
    ]
    return found


def test_without_bis_run_a_script_has_a_run_of_its_own(bis: Any, own: Any) -> None:
    assert own(SCRIPT).returncode == 0
    (run,) = listed(bis, "metrics.loss < 0.2 AND params.lr = '0.1' AND tags.team = 'fraud'")
    assert run["status"] == "finished"
    assert own("import bis\nbis.log(loss=1)\n1 / 0").returncode == 1
    assert [run["status"] for run in listed(bis, "metrics.loss = 1")] == ["failed"]


def test_a_run_that_a_script_begins_and_does_not_end_is_lost_with_nothing_of_it_lost(bis: Any, own: Any) -> None:
    own("import bis, os\nfor step in range(5000):\n    bis.log(step=step, loss=step)\nos.kill(os.getpid(), 9)")
    (run,) = listed(bis)
    assert (run["status"], run["metrics"]) == ("lost", {"loss": 4999})


def test_runs_inside_a_script_end_as_they_went(bis: Any, own: Any) -> None:
    code = """
import bis
for name in ("good", "bad"):
    try:
        with bis.run(name, experiment="search", note="a try"):
            bis.log(step=1, loss=1)
            if name == "bad": raise ValueError
    except ValueError:
        pass
print([(run.name, run.status) for run in bis.runs(order=["name"])])
"""
    done = own(code)
    assert done.stdout.strip() == "[('bad', 'failed'), ('good', 'finished')]"
    assert {run["name"]: run["status"] for run in listed(bis)} == {"good": "finished", "bad": "failed"}


def test_runs_that_a_script_asks_for_under_bis_run_are_data_of_it_and_answered_again_in_a_repeat(
    bis: Any, project: Path, root: Path, shown: Any
) -> None:
    (project / "bis.toml").write_text("")
    (project / "best.py").write_text(
        "import bis\nprint([(run.name, run.metrics) for run in bis.runs(order=['start_time'])])\n"
        "bis.log(loss=float('nan'))\n"
    )
    command = ("--", sys.executable, "best.py")
    for _ in range(2):
        assert bis("run", *command, env={"PYTHONPATH": str(root / "src")}).returncode == 0
    run = shown()
    findings = [*run.get("findings", ()), *(one for part in run["parts"].values() for one in part.get("findings", ()))]
    assert not {"own-files-read", "input-changed"} & {one["code"] for one in findings}
    inputs = [one["path"] for one in run["parts"]["data"]["facts"]["inputs"]]
    assert [path for path in inputs if "/bis/models/runs-" in path]
    (again,) = json.loads(bis("repeat", "best-2", "--json").stdout)["verdicts"]
    assert [one["sameness"] for one in again["outputs"] if one["name"] == "<stdout>"] == ["identical"]
    text = bis("show", again["again"], "--stdout").stdout
    assert text.count("best-1") == 1
    assert "nan" in text


def test_runs_of_repeats_are_left_out_of_an_answer_until_they_are_asked_for(bis: Any, own: Any, project: Path) -> None:
    (project / "train.py").write_text("print('trained')\n")
    assert bis("run", "--name", "first", "--", sys.executable, "train.py").returncode == 0
    assert bis("repeat", "first", "--here").returncode == 0
    done = own("import bis\nprint([run.name for run in bis.runs()], len(bis.runs(\"repeats <> ''\")))")
    assert done.stdout == "['first'] 1\n", done.stderr


def test_what_a_script_compares_under_bis_run_is_answered_again_in_a_repeat(
    bis: Any, project: Path, root: Path, shown: Any
) -> None:
    (project / "bis.toml").write_text("")
    (project / "try.py").write_text("import sys\nprint(sys.argv[1])\n")
    (project / "which.py").write_text(
        "import bis\nfound = bis.compare('one', 'two')\nprint([(row.name, row.values) for row in found.rows])\n"
    )
    for name, value in (("one", "1"), ("two", "2")):
        assert bis("run", "--name", name, "--seed", "1", "--", sys.executable, "try.py", value).returncode == 0
    assert bis("run", "--", sys.executable, "which.py", env={"PYTHONPATH": str(root / "src")}).returncode == 0
    assert [
        one["path"] for one in shown()["parts"]["data"]["facts"]["inputs"] if "/bis/models/compared-" in one["path"]
    ]
    (again,) = json.loads(bis("repeat", "which-3", "--json").stdout)["verdicts"]
    assert [one["sameness"] for one in again["outputs"] if one["name"] == "<stdout>"] == ["identical"]
    assert "('argument 1', ('1', '2'))" in bis("show", again["again"], "--stdout").stdout


def test_a_folder_that_cannot_be_written_ends_no_training(own: Any, project: Path) -> None:
    (project / ".bis").write_text("a file in the way")
    done = own("import bis\nfor step in range(3):\n    bis.log(loss=step)\nprint('trained')")
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr.count("nothing is logged") == 1


def test_a_step_of_too_many_bits_is_told_and_holds_up_nothing_else(bis: Any, own: Any) -> None:
    done = own("import bis\nbis.log(step=1 << 63, loss=1)\nbis.log(step=1, loss=0.5)")
    assert "more than 63 bits" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(listed(bis, "metrics.loss = 0.5")) == 1


@pytest.mark.parametrize("address", ["htp://somebody:secret@127.0.0.1", "http://somebody:secret@127.0.0.1:99999"])
def test_an_address_that_is_none_is_told_without_its_password_and_the_others_are_delivered(
    bis: Any, own: Any, address: str
) -> None:
    done = own("import bis\nbis.log(step=1, loss=7)", BIS_SERVER=address)
    assert done.returncode == 0
    assert "is no address of a server" in done.stderr
    assert "Traceback" not in done.stderr
    own("import bis, os\nbis.log(step=1, loss=0.5)\nos._exit(1)")
    told = bis("sync")
    assert "is no address of a server" in told.stdout + told.stderr
    assert "secret" not in done.stderr + told.stdout + told.stderr
    assert len(listed(bis, "metrics.loss = 0.5")) == 1


def test_a_run_that_cannot_begin_ends_no_training(own: Any, project: Path) -> None:
    (project / ".bis").mkdir(exist_ok=True)
    (project / ".bis" / "logging").write_text("in the way")
    done = own("import bis\nwith bis.run('trial'):\n    bis.log(loss=1)\nprint('trained')")
    assert done.stdout == "trained\n"
    assert "nothing is logged" in done.stderr


@pytest.fixture
def server(project: Path, variables: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Start `bis server` in another project, on the same port each time; `stop` ends it."""
    running: list[subprocess.Popen[str]] = []
    place = tmp_path / "team"
    place.mkdir()
    port = ["0"]

    def start() -> str:
        words = [sys.executable, "-m", "bis", "server", "--port", port[0]]
        process = subprocess.Popen(words, cwd=place, env=variables, stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stderr
        address = process.stderr.readline().split()[-1]
        port[0] = address.rpartition(":")[2]
        return address

    start.stop = lambda: (running[-1].terminate(), running[-1].wait())  # type: ignore[attr-defined]
    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def test_a_run_goes_to_a_server_and_what_waited_for_it_follows(bis: Any, own: Any, server: Any, tmp_path: Path) -> None:
    address = server()
    assert own(SCRIPT, BIS_SERVER=address).returncode == 0
    assert bis("log").returncode == 3
    server.stop()
    done = own("import bis\nbis.log(step=1, loss=7)\nbis.log_text('kept', 'a/b.txt')", BIS_SERVER=address)
    assert (done.returncode, done.stderr.count("what is logged waits in")) == (0, 1)
    told = bis("sync")
    assert told.returncode == 5
    trouble, hint = told.stderr.splitlines()
    assert "Connection refused" in trouble
    assert "Try:" not in trouble
    assert hint.startswith("help: ")
    server()
    assert bis("sync").returncode == 0
    assert "nothing waits" in bis("sync").stdout
    there = bis("log", "--json", folder=tmp_path / "team")
    runs = json.loads(there.stdout)["runs"]
    assert [run["metrics"].get("loss") for run in runs] == [7, 0.125]
    assert [run["status"] for run in runs] == ["finished", "finished"]


REMOVED = """
import bis, os, time
bis.log(step=1, loss=7)
time.sleep(3)  # it is carried on meanwhile
bis.log(step=2, loss=8)
os._exit(1)
"""


def test_what_waits_for_a_run_that_was_removed_is_told_of_and_kept_until_it_is_restored_or_given_up(
    bis: Any, own: Any, server: Any, project: Path, tmp_path: Path
) -> None:
    address, team = server(), tmp_path / "team"
    for again in (True, False):
        own(REMOVED, BIS_SERVER=address)
        (folder,) = (project / ".bis" / "logging").iterdir()
        run = json.loads(bis("log", "--json", folder=team).stdout)["runs"][0]
        assert bis("rm", run["id"], folder=team).returncode == 0
        for _ in range(2):
            told = bis("sync")
            assert told.returncode == 5
            assert "it was removed there" in told.stderr
            assert f"bis sync --drop {folder.name[:8]}" in told.stderr
        if again:
            assert bis("rm", "--undo", run["id"], folder=team).returncode == 0
            assert bis("sync").returncode == 0
            assert json.loads(bis("log", "--json", folder=team).stdout)["runs"][0]["metrics"] == {"loss": 8}
    assert bis("sync", "--drop", "nothing").returncode == 3
    dropped = bis("sync", "--drop", folder.name[:8])
    assert (dropped.returncode, "1 entry for" in dropped.stdout, "given up" in dropped.stdout) == (0, True, True)
    assert "nothing waits" in bis("sync").stdout


def test_a_run_of_the_ledger_that_was_removed_while_something_waited_for_it_says_so(
    bis: Any, own: Any, project: Path
) -> None:
    code = REMOVED.replace("os._exit(1)", "").replace("time.sleep(3)", "time.sleep(2); remove()")
    done = own(
        "import os, subprocess, sys\ndef remove():\n    id = os.path.basename(os.environ['BIS_JOURNALS'])\n"
        "    subprocess.run([sys.executable, '-m', 'bis', 'rm', id], check=True)\n" + code
    )
    assert done.returncode == 0, done.stderr
    assert "it was removed there" in done.stderr
    assert bis("sync").returncode == 5
    assert bis("sync", "--drop", next((project / ".bis" / "logging").iterdir()).name).returncode == 0


@pytest.mark.parametrize("there", ["ledger", "server"])
def test_one_name_that_is_refused_costs_no_other_value_and_is_told_once(
    bis: Any, own: Any, server: Any, tmp_path: Path, there: str
) -> None:
    code = """
import bis
for step in range(3):
    bis.log({"bad?*name" + "x" * 300: step, "loss": step}, step=step)
bis.params({"lr": 0.1, "y" * 300: 1})
"""
    done = own(code, BIS_SERVER=server() if there == "server" else "")
    (run,) = json.loads(bis("log", "--json", **({"folder": tmp_path / "team"} if there == "server" else {})).stdout)[
        "runs"
    ]
    assert run["metrics"]["loss"] == 2
    assert run["params"]["lr"] == "0.1"
    if there == "server":
        assert [done.stderr.count(f"bis: {name}") for name in ("bad?*name", "yyy")] == [1, 1], done.stderr


def test_a_password_in_an_address_is_used_and_never_written_down(
    bis: Any, own: Any, server: Any, project: Path, tmp_path: Path
) -> None:
    team = tmp_path / "team"
    team.mkdir(exist_ok=True)
    token = bis("server", "token", "add", "me", "--role", "writer", folder=team).stdout.strip()
    address = server().replace("://", f"://me:{token}@")
    done = own("import bis\nbis.log(loss=1)", BIS_SERVER=address)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(bis("log", "--json", folder=team).stdout)["runs"]) == 1
    server.stop()
    own("import bis\nbis.log(loss=2)", BIS_SERVER=address)
    files = [path for path in (project / ".bis").rglob("*") if path.is_file()]
    assert any(path.parent.parent.name == "logging" for path in files)
    assert not [path for path in files if token.encode() in path.read_bytes()]
    server()
    told = bis("sync")
    assert (told.returncode, "MLFLOW_TRACKING_TOKEN" in told.stderr) == (5, True)
    assert bis("sync", env={"MLFLOW_TRACKING_TOKEN": token}).returncode == 0


class Strange(BaseHTTPRequestHandler):
    """Answers like a server of runs, and says nothing of what was asked for."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_without_what_was_asked_for_is_told_in_words_and_nothing_is_lost(bis: Any, own: Any) -> None:
    strange = ThreadingHTTPServer(("127.0.0.1", 0), Strange)
    threading.Thread(target=strange.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{strange.server_port}"
    done = own("import bis\nbis.log(loss=1)\nprint('trained')", BIS_SERVER=address)
    told = bis("sync")
    strange.shutdown()
    strange.server_close()
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr.count("what is logged waits in") == 1
    assert "nobody expected: KeyError: 'run'" in done.stderr
    assert "Traceback" not in done.stderr + told.stderr
    assert (told.returncode, "nobody expected: KeyError: 'run'" in told.stdout + told.stderr) == (5, True)


CLIENT = """
import mlflow
with mlflow.start_run():
    mlflow.log_param("lr", 0.1)
    for step in range(10):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_text("fine", "notes/report.txt")
    mlflow.set_tag("team", "fraud")
"""


def test_an_unchanged_client_of_mlflow_logs_into_the_record(bis: Any, project: Path, shown: Any, clients: Path) -> None:
    (project / "train.py").write_text(CLIENT)
    done = bis("run", "--name", "ours", "--", str(clients), "train.py")
    assert done.returncode == 0, done.stderr
    run = shown()  # the newest is that of bis, not what the client logged meanwhile
    assert run["name"] == "ours"
    assert (run["metrics"], run["logged"]) == ({"loss": 0.1}, {"lr": "0.1"})
    assert "<artifacts>/notes/report.txt" in {output["path"] for output in run["outputs"]}
    found = [*run.get("findings", []), *run["parts"]["data"].get("findings", [])]
    assert not {"not-received", "network-input"} & {finding["code"] for finding in found}


def test_a_client_that_nothing_installed_could_answer_is_told_of(
    project: Path, shown: Any, variables: dict[str, str]
) -> None:
    """A package of that name stands for MLflow, and bis is started as if it had no web server."""
    (project / "mlflow" / "tracking").mkdir(parents=True)
    (project / "mlflow" / "tracking" / "__init__.py").write_text("")
    bis = "import sys; sys.modules['starlette'] = None; from bis.__main__ import main; sys.exit(main())"

    def codes(script: str, **more: str) -> set[str]:
        words = [sys.executable, "-c", bis, "run", "--", sys.executable, "-c", script]
        done = subprocess.run(words, cwd=project, env={**variables, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {finding["code"] for finding in shown().get("findings", [])}

    assert "not-received" in codes("import mlflow.tracking")
    assert "not-received" not in codes("pass")
    assert "not-received" not in codes("import mlflow.tracking", MLFLOW_TRACKING_URI="http://127.0.0.1:9")


def test_what_a_client_logged_under_bis_run_leads_to_the_run_that_repeats(
    bis: Any, project: Path, shown: Any, clients: Path
) -> None:
    (project / "train.py").write_text(CLIENT)
    assert bis("run", "--name", "ours", "--", str(clients), "train.py").returncode == 0
    ours = shown()["id"]
    (theirs,) = [run["id"] for run in listed(bis) if run["id"] != ours]
    told = bis("show", theirs).stdout
    assert f"part of         run {ours[:8]}" in told
    assert f"trace           in the record of run {ours[:8]}" in told
    assert f"next            bis repeat {ours[:8]}" in told
    refused = bis("repeat", theirs)
    assert refused.returncode == 4
    assert "is what a client logged while ours ran" in refused.stderr
    assert "type ours in the place of" in refused.stderr


def test_a_script_may_look_at_earlier_runs_and_its_record_says_so(
    bis: Any, project: Path, shown: Any, clients: Path
) -> None:
    (project / "train.py").write_text(
        "import mlflow\n"
        "best = mlflow.search_runs(filter_string='metrics.loss < 1', output_format='list')\n"
        "print([run.data.metrics['loss'] for run in best])\n"
        "with mlflow.start_run() as run: mlflow.log_metric('loss', 0.5)\n"
        "mlflow.get_run(run.info.run_id)\n"
    )
    first = bis("run", "--", str(clients), "train.py")
    assert first.stdout.splitlines()[0] == "[]"
    assert "earlier-runs" not in {finding["code"] for finding in shown().get("findings", [])}
    second = bis("run", "--", str(clients), "train.py")
    assert second.stdout.splitlines()[0] == "[0.5, 0.5]"  # of the record, and what the client logged for it
    (found,) = [finding for finding in shown()["findings"] if finding["code"] == "earlier-runs"]
    assert found["text"].startswith("it looked at 2 runs that were there before: ")


def test_a_repeat_is_told_what_the_run_was_told_of_an_experiment_that_was_not_there(
    bis: Any, project: Path, clients: Path
) -> None:
    (project / "train.py").write_text(
        "import mlflow\nprint(mlflow.get_experiment_by_name('search'))\n"
        "mlflow.set_experiment('search')\nwith mlflow.start_run(): mlflow.log_metric('loss', 1)\n"
    )
    for _ in range(2):
        assert bis("run", "--", str(clients), "train.py").stdout.splitlines()[0] == "None"
    assert len(listed(bis, "experiment = 'search'")) == 2


def test_what_a_worker_says_after_its_script_has_ended_is_delivered_too(bis: Any, own: Any) -> None:
    worker = "import bis, time; bis.log(early=1); time.sleep(4); bis.log(late=1)"
    code = f"import bis, subprocess, sys\nbis.log(main=1)\nsubprocess.Popen([sys.executable, '-c', {worker!r}])\n"
    assert own(code + "import time; time.sleep(2)").returncode == 0
    deadline = time.monotonic() + 60
    while "late" not in (found := listed(bis)[0]["metrics"]) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found == {"main": 1, "early": 1, "late": 1}


def test_a_tracking_server_of_the_user_is_left_alone(bis: Any, project: Path, shown: Any) -> None:
    code = "import os; print(os.environ['MLFLOW_TRACKING_URI'])"
    own = "http://127.0.0.1:9"
    done = bis("run", "--", sys.executable, "-c", code, env={"MLFLOW_TRACKING_URI": own})
    assert done.stdout.strip() == own
    assert shown()["parts"]["params"]["facts"]["variables"]["MLFLOW_TRACKING_URI"] == own


def test_outputs_of_a_run_stay_known_behind_many_runs_that_scripts_logged(
    bis: Any, own: Any, project: Path, shown: Any
) -> None:
    (project / "train.py").write_text("open('report.html', 'w').write('made')")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    bis("run", "--", sys.executable, "train.py")
    own("import bis\nfor number in range(60):\n    with bis.run(): bis.log(number=number)")
    bis("run", "--name", "second", "--", sys.executable, "train.py")
    assert shown("second")["parts"]["code"]["facts"]["left out"] == {"report.html": "output of an earlier run"}
