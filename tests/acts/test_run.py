"""`bis run` leaves a truthful record, whatever becomes of the command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.nouns.run import Run
from bis.steps.home import Home

PYTHON = Path(sys.base_prefix) / "bin" / "python3"
Bis = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Path]


def outputs(run: Run) -> dict[str, int]:
    return {output.path: output.size for output in run.outputs}


def test_a_run_is_recorded_with_its_six_parts(bis: Bis, project: Path, last: Callable[[], Run], tracing: str) -> None:
    (project / "train.py").write_text("print(open('x.csv').read()); open('out.txt', 'w').write('made')")
    (project / "x.csv").write_text("1\n")
    done = bis("run", "--", "python3", "train.py", "--lr", "0.1", python=PYTHON)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n\n"
    run = last()
    assert (run.status, run.exit, run.name) == ("finished", 0, "train-1")
    assert set(run.parts) == {"code", "data", "params", "environment", "infrastructure", "machine"}
    assert outputs(run) == {"<stdout>": 3, "<stderr>": 0, "out.txt": 4}
    assert [row["path"] for row in run.parts["data"].facts["inputs"]] == ["x.csv"]
    assert run.parts["params"].facts["options"]["lr"] == "0.1"
    assert run.coverage.complete or tracing == "audit", run.coverage.limits


def test_the_exit_status_of_the_command_is_that_of_bis(bis: Bis, last: Callable[[], Run]) -> None:
    assert bis("run", "--", "sh", "-c", "exit 7").returncode == 7
    assert (last().status, last().exit) == ("failed", 7)


def test_a_command_that_dies_of_a_signal_is_recorded_so(bis: Bis, last: Callable[[], Run]) -> None:
    assert bis("run", "--", "sh", "-c", "kill -SEGV $$").returncode == 128 + signal.SIGSEGV
    assert (last().status, last().exit, last().signal) == ("failed", None, signal.SIGSEGV)


def test_a_program_that_is_not_python_is_recorded_too(bis: Bis, last: Callable[[], Run]) -> None:
    assert bis("run", "--", "sh", "-c", "echo hello > out.txt").returncode == 0
    assert outputs(last())["out.txt"] == 6


@pytest.mark.parametrize(("words", "status"), [(["nosuchprogram"], 127), (["/etc/passwd"], 126), ([], 2), ([""], 2)])
def test_a_command_that_cannot_be_started_leaves_no_run(bis: Bis, project: Path, words: list[str], status: int) -> None:
    done = bis("run", "--", *words)
    assert done.returncode == status
    assert "help:" in done.stderr
    assert json.loads(bis("log", "--json").stdout).get("runs", []) == []


def test_secrets_are_never_stored(bis: Bis, project: Path) -> None:
    (project / ".env").write_text("PASSWORD=hunter2-in-file")
    (project / "a.py").write_text("open('.env').read()")
    command = ["python3", "a.py", "--api-key", "hunter2-in-argv"]
    assert bis("run", "--", *command, python=PYTHON, env={"MY_TOKEN": "hunter2-in-variable"}).returncode == 0
    kept = b"".join(path.read_bytes() for path in (project / ".bis").rglob("*") if path.is_file())
    assert b"hunter2" not in kept
    assert b"hunter2" not in bis("show", "@", "--json").stdout.encode()


def test_unchanged_inputs_are_not_read_again(bis: Bis, project: Path, last: Callable[[], Run]) -> None:
    (project / "x.csv").write_text("1\n")
    os.utime(project / "x.csv", (1, 1))
    (project / "a.py").write_text("import os; os.stat('x.csv'); open('x.csv').read()")
    for _ in range(2):
        assert bis("run", "--", "python3", "a.py", python=PYTHON).returncode == 0
    trace = project.parent / "strace.txt"
    command = ["strace", "-f", "-e", "trace=openat", "-o", str(trace)]
    # bis itself is what is watched: the run is left untraced, as two tracers do not go together.
    words = ["run", "--trace", "audit", "--", "sh", "-c", "true"]
    subprocess.run([*command, sys.executable, "-m", "bis", *words], cwd=project, check=True, capture_output=True)
    assert "x.csv" not in trace.read_text()


def test_outputs_of_one_run_are_no_code_of_the_next(bis: Bis, project: Path, last: Callable[[], Run]) -> None:
    (project / "a.py").write_text("open('report.html', 'w').write('made')")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    for _ in range(2):
        assert bis("run", "--", "python3", "a.py", python=PYTHON).returncode == 0
    assert last().parts["code"].facts["left out"] == {"report.html": "output of an earlier run"}


def test_metrics_come_from_metric_files(bis: Bis, project: Path, last: Callable[[], Run]) -> None:
    (project / "a.py").write_text("""open('metrics.json', 'w').write('{"acc": 0.5, "val": {"loss": 1}}')""")
    assert bis("run", "--", "python3", "a.py", python=PYTHON).returncode == 0
    assert last().metrics == {"acc": 0.5, "val.loss": 1}


def test_metrics_that_dvc_declares_are_read_and_have_their_tolerance(
    bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    subprocess.run(["git", "init", "-q", project], check=True)
    (project / "dvc.yaml").write_text("stages: {a: {cmd: x, metrics: [exp/scores.json]}}\n")
    (project / "exp").mkdir()
    source = "import json, os; json.dump({'auc': 0.9 + os.urandom(8)[0] * 1e-9}, open('exp/scores.json', 'w'))"
    (project / "a.py").write_text(source)
    assert bis("run", "--", "python3", "a.py").returncode == 0
    assert round(last().metrics["auc"], 4) == 0.9
    (project / "dvc.yaml").unlink()
    done = bis("repeat", "@", "--tolerance", "auc=1e-3")
    assert done.returncode == 0, done.stdout


def test_a_run_whose_supervisor_was_killed_is_sealed_by_the_next_command(
    bis: Bis, project: Path, variables: dict[str, str], home: Callable[[], Home]
) -> None:
    (project / "a.py").write_text(
        "import time\nprint('begun', flush=True)\nopen('out.txt','w').write('x')\ntime.sleep(2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bis", "run", "--", str(PYTHON), "a.py"],
        cwd=project,
        env=variables,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout
    assert process.stdout.readline() == b"begun\n"
    process.kill()
    process.wait()
    assert home().ledger.runs()[0].status == "running"
    time.sleep(3)  # the command goes on without its supervisor, and ends
    assert bis("log").returncode == 0
    (run,) = home().ledger.runs()
    assert (run.status, run.exit) == ("finished", 0)
    assert "supervisor-lost" in [finding.code for finding in run.findings]
    assert outputs(run)["out.txt"] == 1
    assert not list((project / ".bis" / "live").iterdir())


def test_a_folder_that_may_not_be_written_is_said_before_anything_runs(bis: Bis, project: Path) -> None:
    (project / ".bis").write_text("in the way")
    done = bis("run", "--", "sh", "-c", "touch ran")
    assert done.returncode == 125
    assert "error[B05" in done.stderr
    assert not (project / "ran").exists()


def test_a_seed_is_drawn_for_each_run_and_given_to_what_nobody_seeded(
    bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    (project / "a.py").write_text("import random; print(random.random())")
    first, second = (bis("run", "--", "python3", "a.py", python=PYTHON).stdout for _ in range(2))
    assert first != second
    seed = last().chance.seed
    assert bis("run", "--seed", str(seed), "--", "python3", "a.py", python=PYTHON).stdout == second
    assert last().chance.given
    bis("run", "--no-seed", "--", "python3", "a.py", python=PYTHON)
    assert last().chance.seed is None


def test_a_nested_run_knows_the_run_around_it(bis: Bis, project: Path, home: Callable[[], Home]) -> None:
    inner = f"{sys.executable} -m bis run -- sh -c 'echo inner > inner.txt'"
    done = bis("run", "--name", "outer", "--", "sh", "-c", inner)
    assert done.returncode == 0, done.stderr
    runs = {run.name: run for run in home().ledger.runs()}
    (inside,) = [run for name, run in runs.items() if name != "outer"]
    assert inside.parent == runs["outer"].id
    assert not inside.coverage.complete


@pytest.mark.usefixtures("kernel_trace")
def test_of_two_runs_in_one_another_the_inner_says_what_it_lacks_and_the_outer_sees_it_all(
    bis: Bis, project: Path, home: Callable[[], Home], identical: Callable[..., object]
) -> None:
    (project / "data.csv").write_text("1,2")
    (project / "a.py").write_text(
        "import random, subprocess\n"
        "print(open('data.csv').read(), random.random())\n"
        "subprocess.run(['sh', '-c', 'cat data.csv > copy.csv'])"
    )
    inner = [sys.executable, "-m", "bis", "run", "--name", "inner", "--", str(PYTHON), "a.py"]
    done = bis("run", "--name", "outer", "--", *inner)
    assert done.returncode == 0, done.stderr
    assert "trace  audit, partial" in done.stderr
    runs = {run.name: run for run in home().ledger.runs()}
    assert runs["inner"].coverage.mechanism == "audit"
    assert "another trace is already around this command" in runs["inner"].coverage.limits[0]
    assert runs["outer"].coverage.complete, runs["outer"].coverage.limits
    assert "unseeded-interpreter" not in [finding.code for finding in runs["outer"].findings]
    for run in runs.values():
        assert "data.csv" in [row["path"] for row in run.parts["data"].facts["inputs"]]
        assert outputs(run)["copy.csv"] == 3
    identical(bis("repeat", "inner", "--json"))


def test_what_would_be_different_now_supposes_that_the_same_files_are_read(bis: Bis, project: Path) -> None:
    (project / "helper.py").write_text("X = 1")
    (project / "conf.yaml").write_text("lr: 1")
    (project / "a.py").write_text("import helper; print(open('conf.yaml').read())")
    assert bis("run", "--", "python3", "a.py").returncode == 0
    assert bis("status").returncode == 0
    (project / "conf.yaml").write_text("lr: 2")
    found = bis("status")
    assert found.returncode == 1
    assert "conf.yaml:lr  1 -> 2" in found.stdout


def test_files_edited_in_place_and_a_second_environment_are_no_difference_while_they_are_the_same(
    bis: Bis, project: Path, tmp_path: Path, make_wheel: Make, make_environment: Make, kernel_trace: None
) -> None:
    make_wheel("tiny", "1.0", {"tiny.py": "x = 1\n"})
    one, two = make_environment(tmp_path / "one", "tiny"), make_environment(tmp_path / "two")
    (site,) = (tmp_path / "one").glob("lib/python*/site-packages")
    (site / "tiny.py").unlink()  # It may be one file with the installer's cache.
    (site / "tiny.py").write_text("x = 2\n")
    (project / "a.py").write_text(f"import subprocess, tiny; subprocess.run(['{two}', '-c', 'pass'])")
    assert bis("run", "--", "python", "a.py", python=one).returncode == 0
    found = bis("status", python=one)
    assert found.returncode == 0, found.stdout
    (site / "tiny.py").write_text("x = 3\n")
    assert re.search(r"tiny.py +edited in place \(\w+\) -> edited in place \(", bis("status", python=one).stdout)
    (site / "tiny.py").write_text("x = 1\n")
    assert re.search(r"tiny.py +edited in place \(\w+\) -> as installed", bis("status", python=one).stdout)
    (site / "tiny.py").write_text("x = 2\n")
    make_environment(tmp_path / "two", "tiny")
    found = bis("status", python=one)
    assert (found.returncode, "others" in found.stdout, "tiny.py" in found.stdout) == (1, True, False), found.stdout


def test_what_the_last_run_of_a_command_read_is_an_input_where_nothing_is_traced(
    bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    (project / "x.csv").write_text("1")
    (project / "a.py").write_text("print(open('x.csv').read())")
    for trace in ("auto", "off"):
        assert bis("run", "--trace", trace, "--", "python3", "a.py", python=PYTHON).returncode == 0
    assert [(row["path"], row["how"]) for row in last().parts["data"].facts["inputs"]] == [("x.csv", "remembered")]
    (project / "x.csv").unlink()
    assert bis("repeat", "@").returncode == 0


def test_large_files_are_copied_when_asked_for_and_outputs_may_be_left_out(
    bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    (project / "bis.toml").write_text("ignore = ['*.tmp']\n[limits]\ninput_file = 10\n")
    (project / "x.csv").write_text("x" * 100)
    (project / "a.py").write_text(
        "print(len(open('x.csv').read())); open('a.tmp', 'w').close(); open('b', 'w').close()"
    )
    for option, kept in (("--trace=auto", False), ("--copy-data", True)):
        done = bis("run", option, "--", "python3", "a.py")
        assert done.returncode == 0, done.stderr
        assert ("recorded by reference, not copied: x.csv" in done.stderr) is not kept
        assert [(row["path"], row.get("kept", True)) for row in last().parts["data"].facts["inputs"]] == [
            ("x.csv", kept)
        ]
        assert set(outputs(last())) == {"<stdout>", "<stderr>", "b"}


def test_what_was_not_read_and_what_other_runs_made_is_no_difference_of_now(bis: Bis, project: Path) -> None:
    subprocess.run(["git", "init", "-q", project], check=True)
    (project / "conf.yaml").write_text("lr: 1")
    (project / "other.json").write_text("{}")
    for name in ("a", "b"):
        (project / f"{name}.py").write_text(f"open('{name}.out', 'w').write('made'); print(1)")
    for name in ("a", "b"):
        assert bis("run", "--", "python3", f"{name}.py").returncode == 0
    for reference in ("@", "@~1"):
        found = bis("status", reference)
        assert found.returncode == 0, found.stdout
    (project / "a.out").write_text("by hand")
    assert "a.out" in bis("status").stdout


def test_a_script_that_looks_everywhere_for_its_files_finds_none_of_bis(bis: Bis, project: Path) -> None:
    suffixes = (".csv", ".json", ".jsonl", ".log", ".txt", ".yaml", ".npy", ".parquet")
    (project / "look.py").write_text(
        "from pathlib import Path\nimport subprocess, sys, time\n"
        "subprocess.run([sys.executable, '-c', 'import random'])\ntime.sleep(0.3)\n"
        f"print([str(path) for path in Path('.').rglob('*') if path.suffix in {suffixes}])"
    )
    done = bis("run", "--", "python3", "look.py", python=PYTHON)
    assert done.stdout == "[]\n", done.stderr
