"""`bis repeat` does a run again from its record alone, and never calls it the same when it is not."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.digest import digest_file
from bis.nouns.run import Run
from bis.steps import rooms

Bis = Callable[..., subprocess.CompletedProcess[str]]
Verdict = Callable[[subprocess.CompletedProcess[str]], dict[str, object]]
Make = Callable[..., Path]
Identical = Callable[[subprocess.CompletedProcess[str]], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("python3")

TRAINING = """
import json, joblib, numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
d = pd.read_csv("data.csv")
a, b, c, e = train_test_split(d[["x", "y"]].values, d["z"].values)   # nobody seeded this
model = LogisticRegression().fit(a, c)
json.dump({"accuracy": model.score(b, e), "noise": float(np.random.rand())}, open("metrics.json", "w"))
joblib.dump(model, "model.joblib")
print("done", np.random.default_rng().random())
"""


def record(bis: Bis, project: Path, source: str, **more: object) -> None:
    (project / "a.py").write_text(source)
    done = bis("run", "--", "python3", "a.py", **more)
    assert done.returncode == 0, done.stderr


def forget_files(project: Path) -> None:
    """Remove all that is not the record."""
    for path in project.iterdir():
        if path.name not in (".bis", "bis.toml"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def test_an_unseeded_training_repeats_identically_from_nothing_but_its_record(
    bis: Bis, project: Path, training_python: Path, identical: Identical
) -> None:
    (project / "train.py").write_text(TRAINING)
    rows = "\n".join(f"{i % 7},{i % 11},{int(i % 7 > i % 11)}" for i in range(200))
    (project / "data.csv").write_text(f"x,y,z\n{rows}\n")
    done = bis("run", "--", "python", "train.py", python=training_python)
    assert done.returncode == 0, done.stderr
    forget_files(project)
    found = identical(bis("repeat", "@", "--json", python=training_python))
    assert {one["name"] for one in found["outputs"]} == {"<stdout>", "metrics.json", "model.joblib"}
    assert found.get("leaks", []) == []


@pytest.mark.usefixtures("room")
def test_paths_are_the_original_ones(bis: Bis, project: Path, identical: Identical) -> None:
    record(bis, project, "import os; print(os.getcwd(), __file__); open(os.path.abspath('x'), 'w').write(os.getcwd())")
    identical(bis("repeat", "@", "--json"))


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import time; open('m.json', 'w').write('{\"t\": %r}' % time.time())", "clock"),
        ("import uuid; open('names.txt', 'w').write('result ' + uuid.uuid4().hex[:7])", "randomness"),
    ],
)
def test_what_cannot_repeat_is_different_and_names_its_cause(
    bis: Bis, project: Path, verdict: Verdict, source: str, cause: str
) -> None:
    record(bis, project, source)
    done = bis("repeat", "@", "--json")
    found = verdict(done)
    assert (found["sameness"], done.returncode) == ("different", 1), found
    assert any(cause in named for named in found["causes"]), found  # type: ignore[attr-defined]


def test_times_in_a_log_are_masked_and_the_rule_is_told(bis: Bis, project: Path, verdict: Verdict) -> None:
    record(bis, project, "import datetime; print(datetime.datetime.now().isoformat(), 'loss 0.25')")
    found = verdict(bis("repeat", "@", "--json"))
    assert found["sameness"] == "equivalent", found
    (log,) = [one for one in found["outputs"] if one["name"] == "<stdout>"]  # type: ignore[attr-defined]
    assert log["masked"][0]["rule"] == "time"


def test_a_run_that_shows_nothing_is_never_called_the_same(bis: Bis, project: Path, verdict: Verdict) -> None:
    record(bis, project, "x = 1 + 1")
    assert verdict(bis("repeat", "@", "--json"))["sameness"] == "nothing observed"
    assert bis("repeat", "@", "--strict").returncode == 1


def test_a_file_of_the_live_machine_is_a_leak(bis: Bis, project: Path, verdict: Verdict) -> None:
    outside = project.parent / "switch.csv"
    source = f"import os; p = {str(outside)!r}\n"
    source += "if os.path.exists(p): open(p).read()\nprint('done')"
    record(bis, project, source)
    outside.write_text("1")
    found = verdict(bis("repeat", "@", "--json"))
    assert found["leaks"] == [str(outside)]
    assert found["sameness"] == "equivalent"


@pytest.mark.usefixtures("room")
def test_an_input_outside_the_project_comes_from_the_record(bis: Bis, project: Path, identical: Identical) -> None:
    outside = project.parent / "inputs" / "x.csv"
    outside.parent.mkdir()
    outside.write_text("recorded")
    record(bis, project, f"print(open({str(outside)!r}).read())")
    outside.write_text("changed since")
    identical(bis("repeat", "@", "--json"))
    outside.unlink()
    identical(bis("repeat", "@", "--json"))


@pytest.mark.usefixtures("room", "kernel_trace")
def test_a_script_from_outside_the_project_that_was_executed_comes_from_the_record(
    bis: Bis, project: Path, identical: Identical
) -> None:
    script = project.parent / "tools" / "prep.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho prepared\n")
    script.chmod(0o755)
    record(bis, project, f"import subprocess; subprocess.run([{str(script)!r}], check=True)")
    script.unlink()
    identical(bis("repeat", "@", "--json"))


@pytest.mark.usefixtures("room", "kernel_trace")
def test_a_program_of_the_users_that_was_executed_is_no_data_and_comes_from_the_record(
    bis: Bis, project: Path, identical: Identical, last: Callable[[], Run]
) -> None:
    program = project.parent / "tools" / "prep"
    program.parent.mkdir()
    shutil.copy("/bin/echo", program)
    record(bis, project, f"import subprocess; subprocess.run([{str(program)!r}, 'prepared'], check=True)")
    parts = last().parts
    assert parts["data"].facts["inputs"] == []
    assert parts["infrastructure"].facts["programs"] == {str(program): digest_file(program)}
    program.unlink()
    found = identical(bis("repeat", "@", "--json"))
    assert {part["sameness"] for part in found["parts"]} == {"identical"}


@pytest.mark.usefixtures("room", "kernel_trace")
def test_what_an_installer_keeps_in_a_cache_elsewhere_is_no_output(
    bis: Bis, project: Path, identical: Identical, last: Callable[[], Run]
) -> None:
    """As on a cluster whose homes are small; a repeat finds it empty."""
    cache = project.parent / "scratch" / "pip"
    cache.mkdir(parents=True)
    (cache / "known").write_text("1")
    source = f"import os, pathlib; c = pathlib.Path({str(cache)!r}); print(len(os.listdir(c)) > -1)\n"
    source += "(c / 'known').exists() and (c / 'known').read_text(); (c / str(os.getpid())).write_text('x')"
    record(bis, project, source, env={"PIP_CACHE_DIR": str(cache)})
    assert ([one.path for one in last().outputs], last().parts["data"].facts["inputs"]) == (
        ["<stdout>", "<stderr>"],
        [],
    )
    before = sorted(cache.iterdir())
    identical(bis("repeat", "@", "--json", env={"PIP_CACHE_DIR": str(cache)}))
    assert sorted(cache.iterdir()) == before


@pytest.mark.usefixtures("room", "kernel_trace")
def test_a_launcher_from_an_unusual_folder_is_named_and_not_kept(
    bis: Bis, project: Path, identical: Identical, verdict: Verdict, last: Callable[[], Run]
) -> None:
    """Of the machine, as those are that the system installs: the same one is no leak, another one is."""
    uv = project.parent / "tools" / "uv"
    uv.parent.mkdir()
    shutil.copy("/bin/echo", uv)
    record(bis, project, f"import subprocess; subprocess.run([{str(uv)!r}, 'started'], check=True)")
    infrastructure = last().parts["infrastructure"]
    assert infrastructure.facts["programs"] == {str(uv): digest_file(uv)}
    assert "programs" not in infrastructure.trees
    identical(bis("repeat", "@", "--json"))
    with uv.open("ab") as file:
        file.write(b"another version")
    found = verdict(bis("repeat", "@", "--json"))
    assert (found["sameness"], found["leaks"]) == ("equivalent", [str(uv)])
    (change,) = (one for one in found["changes"] if one["kind"] == "infrastructure")  # type: ignore[attr-defined]
    assert change["name"] == str(uv)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_repeat_that_is_ended_by_a_signal_says_so_and_leaves_nothing(
    bis: Bis, project: Path, variables: dict[str, str], make_environment: Make, make_wheel: Make, number: signal.Signals
) -> None:
    """While it waits for an index that does not answer."""
    make_wheel("tiny", "1.0", {"tiny.py": ""})
    python = make_environment(project / ".venv", "tiny")
    (project / "a.py").write_text("import tiny; print('done')")
    assert bis("run", "--", "python", "a.py", python=python).returncode == 0
    shutil.rmtree(project / ".venv")
    places = project.parent / "tmp"
    places.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        given = {**variables, "UV_DEFAULT_INDEX": index, "UV_CACHE_DIR": str(places / "uv"), "TMPDIR": str(places)}
        command = [sys.executable, "-m", "bis", "repeat", "@"]
        with subprocess.Popen(command, cwd=project, env=given, stderr=subprocess.PIPE, text=True) as repeat:
            assert repeat.stderr is not None
            said = next(line for line in repeat.stderr if "installing from http" in line)
            repeat.send_signal(number)
            last = repeat.stderr.read().splitlines()[-1]
    assert index in said
    assert (repeat.returncode, last.split(",")[0]) == (-number, f"bis  ended by {number.name}")
    assert list(places.glob("bis-repeat-*")) == []


def test_an_input_by_reference_that_is_gone_cannot_be_repeated(bis: Bis, project: Path) -> None:
    (project / "bis.toml").write_text("[limits]\ninput_file = 10\n")
    (project / "x.csv").write_text("x" * 100)
    record(bis, project, "print(len(open('x.csv').read()))")
    (project / "x.csv").unlink()
    done = bis("repeat", "@")
    assert done.returncode == 4
    assert "x.csv" in done.stderr
    assert "help:" in done.stderr


def test_a_credential_file_is_taken_from_where_it_lies_and_asked_for_when_gone(
    bis: Bis, project: Path, identical: Identical
) -> None:
    (project / ".env").write_text("A=1")
    record(bis, project, "print(len(open('.env').read()))")
    identical(bis("repeat", "@", "--json"))
    (project / ".env").unlink()
    done = bis("repeat", "@")
    assert done.returncode == 4
    assert ".env" in done.stderr


def test_a_part_may_be_taken_from_elsewhere(bis: Bis, project: Path, verdict: Verdict, tmp_path: Path) -> None:
    (project / "x.csv").write_text("1")
    record(bis, project, "print(int(open('x.csv').read()) * 2)")
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.csv").write_text("21")
    found = verdict(bis("repeat", "@", "--with", f"data={other}", "--json"))
    assert found["sameness"] == "different"
    assert bis("show", "a-1-repeat", "--stdout").stdout == "42\n"


def test_code_may_be_taken_from_another_run(bis: Bis, project: Path, verdict: Verdict) -> None:
    record(bis, project, "print('old')")
    record(bis, project, "print('new')")
    found = verdict(bis("repeat", "@~1", "--with", "code=@", "--json"))
    assert found["sameness"] == "different"
    assert bis("show", "a-1-repeat", "--stdout").stdout == "new\n"


def test_params_may_be_taken_from_another_run(bis: Bis, project: Path) -> None:
    (project / "a.py").write_text("import sys; print(sys.argv[1])")
    for word in ("old", "new"):
        assert bis("run", "--", "python3", "a.py", word).returncode == 0
    assert bis("repeat", "a-1", "--with", "params=a-2").returncode == 1
    assert bis("show", "a-1-repeat", "--stdout").stdout == "new\n"


def test_an_ingredient_that_the_store_lost_cannot_be_repeated(bis: Bis, project: Path) -> None:
    record(bis, project, "print(1)")
    shutil.rmtree(project / ".bis" / "store" / "packs")
    (project / ".bis" / "store" / "index").unlink()
    done = bis("repeat", "a-1")
    assert done.returncode == 4, done.stderr
    assert "help:" in done.stderr


def test_several_repeats_give_several_verdicts(bis: Bis, project: Path) -> None:
    record(bis, project, "print(1)")
    done = bis("repeat", "@", "--times", "2", "--json")
    verdicts = msgspec.json.decode(done.stdout)["verdicts"]
    assert [[one["sameness"] for one in each["outputs"]] for each in verdicts] == [["identical"], ["identical"]]
    assert len({one["again"] for one in verdicts}) == 2


def test_a_failing_run_repeats_as_failing(bis: Bis, project: Path, identical: Identical) -> None:
    (project / "a.py").write_text("print('x'); raise SystemExit(3)")
    assert bis("run", "--", "python3", "a.py").returncode == 3
    identical(bis("repeat", "@", "--json"))


def test_the_recorded_variables_are_given_again(bis: Bis, project: Path, identical: Identical) -> None:
    record(
        bis,
        project,
        "import os; print(os.environ['TZ'], os.environ['OMP_NUM_THREADS'])",
        env={"TZ": "Asia/Tokyo", "OMP_NUM_THREADS": "3"},
    )
    identical(bis("repeat", "@", "--json"))


def test_with_a_partial_trace_nothing_is_called_identical(bis: Bis, project: Path, verdict: Verdict) -> None:
    (project / "a.py").write_text("print(1)")
    assert bis("run", "--trace", "audit", "--", "python3", "a.py").returncode == 0
    found = verdict(bis("repeat", "@", "--json", env={"BIS_TRACE": "audit"}))
    assert found["sameness"] == "equivalent"
    assert found["not_compared"]


def test_a_tolerance_is_applied_only_where_it_is_declared(bis: Bis, project: Path, verdict: Verdict) -> None:
    source = "import time; open('metrics.json', 'w').write('{\"loss\": %r}' % (1 + time.time() % 1000 * 1e-9))"
    record(bis, project, source)
    assert verdict(bis("repeat", "@", "--json"))["sameness"] == "different"
    found = verdict(bis("repeat", "@", "--tolerance", "loss=0.01", "--json"))
    assert found["sameness"] == "equivalent", found


def test_no_trace_of_a_repeat_is_left_on_disk(bis: Bis, project: Path, tmp_path: Path) -> None:
    record(bis, project, "print(1)")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    assert bis("repeat", "@", env={"TMPDIR": str(temporary)}).returncode == 0
    assert list(temporary.iterdir()) == []


def test_what_an_earlier_run_made_is_an_input_whatever_its_name(bis: Bis, project: Path, identical: Identical) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    made = {"vocabulary.json": "[3]", "made.py": "X = 5", "c.yaml": "a: 1"}
    (project / "prepare.py").write_text(f"for name, text in {made}.items(): open(name, 'w').write(text)")
    assert bis("run", "--", "python3", "prepare.py").returncode == 0
    record(bis, project, "import made; print(made.X, open('vocabulary.json').read(), open('c.yaml').read())")
    forget_files(project)
    identical(bis("repeat", "@", "--json"))


def test_sources_that_version_control_ignores_are_code_when_the_run_reads_them(
    bis: Bis, project: Path, identical: Identical
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (project / ".gitignore").write_text("here.py\nhere.yaml\n")
    (project / "here.py").write_text("X = 5")
    (project / "here.yaml").write_text("a: 1")
    record(bis, project, "import here; print(here.X, open('here.yaml').read())")
    forget_files(project)
    identical(bis("repeat", "@", "--json"))


@pytest.mark.usefixtures("room")
def test_a_repeat_writes_over_nothing_outside_the_project(bis: Bis, project: Path, identical: Identical) -> None:
    shared = Path("/var/tmp") / project.parents[1].name / "shared"
    shared.mkdir(parents=True)
    try:
        record(bis, project, f"import os; open('{shared}/new', 'w'); os.replace('{shared}/new', '{shared}/out.csv')")
        (shared / "out.csv").write_text("what somebody wrote since")
        identical(bis("repeat", "@", "--json"))
        assert (shared / "out.csv").read_text() == "what somebody wrote since"
    finally:
        shutil.rmtree(shared.parent)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("versioned", [True, False])
def test_links_to_data_are_there_again(bis: Bis, project: Path, identical: Identical, versioned: bool) -> None:
    if versioned:
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        (project / ".gitignore").write_text("data\n")
    (project.parent / "big" / "sub").mkdir(parents=True)
    (project.parent / "big" / "sub" / "x.csv").write_text("5,6")
    (project / "data").symlink_to(project.parent / "big")
    (project / "y.csv").symlink_to(project.parent / "big" / "y.csv")
    (project / "y.csv").write_text("7")
    record(
        bis, project, "import os; print(open('data/sub/x.csv').read(), open('y.csv').read(), os.path.islink('y.csv'))"
    )
    forget_files(project)
    shutil.rmtree(project.parent / "big")
    identical(bis("repeat", "@", "--json"))


def test_a_file_as_standard_input_is_recorded_and_given_again(
    bis: Bis, project: Path, identical: Identical, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("1\n2\n")
    (project / "a.py").write_text("import sys; print(sum(map(int, sys.stdin)))")
    assert bis("run", "--", "python3", "a.py", stdin=rows).stdout == "3\n"
    rows.write_text("10\n")
    identical(bis("repeat", "@", "--json"))
    assert bis("run", "--", "python3", "a.py", stdin=rows).stdout == "10\n"
    changed = bis("diff", "a-1", "a-2")
    assert "<stdin>" in changed.stdout


@pytest.mark.usefixtures("room")
def test_names_in_a_folder_outside_the_project_come_from_the_record(
    bis: Bis, project: Path, identical: Identical
) -> None:
    outside = project.parent / "inputs"
    outside.mkdir()
    for name in "ab":
        (outside / f"{name}.csv").write_text(name)
    source = f"import os; print([open('{outside}/' + name).read() for name in sorted(os.listdir('{outside}'))])"
    record(bis, project, source)
    (outside / "c.csv").write_text("new")
    assert identical(bis("repeat", "@", "--json")).get("leaks") is None


def test_a_listing_that_is_not_in_the_record_is_a_leak(bis: Bis, project: Path, verdict: Verdict) -> None:
    outside = project.parent / "empty"
    outside.mkdir()
    record(bis, project, f"import os; print(len(os.listdir('{outside}')))")
    found = verdict(bis("repeat", "@", "--json"))
    assert (found["sameness"], found["leaks"]) == ("equivalent", [f"{outside}/"])


def test_a_folder_that_the_run_made_and_listed_is_no_leak(bis: Bis, project: Path, verdict: Verdict) -> None:
    source = f"import os, tempfile\nwith tempfile.TemporaryDirectory(dir='{project.parent}') as folder:\n"
    source += "    open(folder + '/x', 'w').write('1')\n    print(os.listdir(folder))\n"
    record(bis, project, source)
    found = verdict(bis("repeat", "@", "--json"))
    assert found.get("leaks", []) == []


@pytest.mark.usefixtures("room")
def test_a_cache_that_is_not_recorded_is_named_as_the_cause(bis: Bis, project: Path, verdict: Verdict) -> None:
    cache = project.parent / ".cache" / "words" / "x.txt"
    cache.parent.mkdir(parents=True)
    cache.write_text("5")
    record(bis, project, f"print(open('{cache}').read())")
    found = verdict(bis("repeat", "@", "--json"))
    assert found["sameness"] == "different"
    assert any(str(cache) in cause for cause in found["causes"]), found["causes"]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("name", [".config/matplotlib", ".ipython"])
def test_a_repeat_may_write_into_folders_of_caches_and_leaves_them_as_they_are(
    bis: Bis, project: Path, identical: Identical, name: str
) -> None:
    """Matplotlib and IPython print a warning where they may not."""
    folder = project.parent / name
    folder.mkdir(parents=True)
    record(bis, project, f"import os; print(os.access('{folder}', os.W_OK)); open('{folder}/x', 'w').close()")
    (folder / "x").write_text("kept")
    identical(bis("repeat", "@", "--json"))
    assert (folder / "x").read_text() == "kept"


def test_a_variable_that_was_not_given_again_is_named_as_the_cause(bis: Bis, project: Path, verdict: Verdict) -> None:
    record(bis, project, "import os; print(os.environ.get('FOO'))", env={"FOO": "1"})
    found = verdict(bis("repeat", "@", "--json"))
    assert any("FOO" in cause for cause in found["causes"]), found  # type: ignore[attr-defined]


def test_code_taken_from_a_folder_holds_what_the_run_read_and_no_outputs(
    bis: Bis, project: Path, identical: Identical
) -> None:
    (project / "helper.py").write_text("X = 1")
    record(bis, project, "import helper; print(helper.X); open('out', 'w').write('made')")
    found = identical(bis("repeat", "@", "--json", "--with", f"code={project}"))
    assert not [change for change in found.get("changes", []) if change["kind"] == "code"]


@pytest.mark.usefixtures("kernel_trace")
@pytest.mark.parametrize("versioned", [True, False])
def test_what_a_run_appends_to_is_there_again(bis: Bis, project: Path, identical: Identical, versioned: bool) -> None:
    if versioned:
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    for _ in range(2):
        record(bis, project, "open('train.log', 'a').write('one more')")
    forget_files(project)
    identical(bis("repeat", "@", "--json"))


def test_an_input_whose_bytes_were_lost_is_named_as_the_cause(bis: Bis, project: Path, verdict: Verdict) -> None:
    shared = Path("/var/tmp") / project.parents[1].name
    shared.mkdir()
    try:
        (shared / "log.csv").write_text("before")
        (project / "bis.toml").write_text("limits.preimage_file = 3\n")
        record(bis, project, f"open('{shared}/log.csv', 'a').write('more')")
        found = verdict(bis("repeat", "@", "--json"))
        assert found["sameness"] == "different"
        assert any(f"{shared}/log.csv" in cause for cause in found["causes"]), found  # type: ignore[attr-defined]
    finally:
        shutil.rmtree(shared)


def test_without_a_room_a_repeat_runs_elsewhere_and_says_so(bis: Bis, project: Path, verdict: Verdict) -> None:
    record(bis, project, "print(1)")
    shut = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin"
    inner = f"{sys.executable} -m bis repeat @ --json"
    command = ["sh", "-c", inner] if rooms.usable() else ["unshare", "-r", "sh", "-c", f"{shut} {inner}"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "setpriv" in done.stderr:
        pytest.skip(f"user namespaces cannot be closed here: {done.stderr}")
    found = verdict(done)
    assert found["sameness"] in ("identical", "equivalent"), found
    assert "no-room" in [finding["code"] for finding in found["findings"]]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("room")
def test_an_environment_that_lies_in_the_source_of_a_package_is_there_again(
    bis: Bis,
    project: Path,
    make_source: Callable[..., Path],
    make_environment: Callable[..., Path],
    identical: Identical,
) -> None:
    source = make_source(project.parent / "library", "tiny")
    python = make_environment(source / ".venv", "--editable", source)
    (project / "a.py").write_text("import tiny, sys; print(tiny.VALUE, sys.prefix, tiny.__file__)")
    done = bis("run", "--", "python", "a.py", python=python)
    assert done.returncode == 0, done.stderr
    (source / "src" / "tiny" / "__init__.py").write_text("VALUE = 2\n")
    identical(bis("repeat", "@", "--json"))
