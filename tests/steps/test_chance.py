"""What a run is given of chance, and what is read back of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.nouns.run import Chance
from bis.nouns.trace import Access, Process, Stat, Trace
from bis.steps import chance

# ------------------------------------------------------------------ draw


def test_each_run_draws_a_fresh_seed_and_a_hash_seed() -> None:
    first, second = chance.draw({}), chance.draw({})
    assert first.seed is not None
    assert 0 <= first.seed < 1 << 63
    assert first.hash_seed is not None
    assert 0 <= first.hash_seed < 1 << 32
    assert first.seed != second.seed
    assert not first.given


@given(st.integers(0, (1 << 63) - 1))
def test_a_given_seed_is_taken_and_a_repeat_gets_the_same(seed: int) -> None:
    drawn = chance.draw({}, seed=seed)
    assert (drawn.seed, drawn.given) == (seed, True)
    assert chance.draw({}, seed=seed) == drawn
    seen = Chance(seed=seed, hash_seed=drawn.hash_seed, streams={"numpy": 3}, own=("random.seed (a.py:1)",))
    assert chance.again(seen) == Chance(seed=seed, hash_seed=drawn.hash_seed)


def test_no_seed_gives_none(tmp_path: Path) -> None:
    drawn = chance.draw({}, enabled=False)
    assert (drawn.seed, drawn.hash_seed) == (None, None)
    added = chance.variables(drawn, tmp_path, {}, events=False)
    assert set(added) == {"PYTHONPATH", "BIS_INSIDE"}


@pytest.mark.parametrize(("value", "kept"), [("3", 3), ("random", None)])
def test_a_hash_seed_that_the_user_set_is_theirs(tmp_path: Path, value: str, kept: int | None) -> None:
    existing = {"PYTHONHASHSEED": value}
    drawn = chance.draw(existing)
    assert (drawn.hash_seed, drawn.own) == (kept, ("PYTHONHASHSEED",))
    assert (existing | chance.variables(drawn, tmp_path, existing, events=False))["PYTHONHASHSEED"] == value
    assert chance.again(drawn).own == ("PYTHONHASHSEED",)


# ------------------------------------------------------------------ variables


def test_the_hook_comes_first_and_only_once_on_the_users_path(tmp_path: Path) -> None:
    drawn = chance.draw({}, seed=1)
    first = chance.variables(drawn, tmp_path, {"PYTHONPATH": "/a:/b"}, events=True)
    assert first["PYTHONPATH"] == f"{chance.HOOK}:/a:/b"
    assert first["BIS_EVENTS"] == "1"
    assert chance.variables(drawn, tmp_path, first, events=True) == first
    assert chance.variables(drawn, tmp_path, {}, events=False)["PYTHONPATH"] == str(chance.HOOK)
    assert (chance.HOOK / "sitecustomize.py").is_file()


def test_deterministic_sets_what_the_user_has_not_set(tmp_path: Path) -> None:
    drawn = chance.draw({}, deterministic=True)
    added = chance.variables(drawn, tmp_path, {"OMP_NUM_THREADS": "4"}, events=False)
    assert "OMP_NUM_THREADS" not in added
    assert added["OPENBLAS_NUM_THREADS"] == "1"
    assert added["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert added["BIS_DETERMINISTIC"] == "1"


def test_a_run_inside_a_run_draws_its_seed_from_the_one_around_it(tmp_path: Path) -> None:
    code = "from bis.steps import chance; print(chance.draw({}).seed, chance.draw({}).seed)"

    def once(folder: str) -> str:
        added = chance.variables(chance.draw({}, seed=5), tmp_path / folder, {}, events=False)
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=dict(os.environ) | added, capture_output=True, text=True, check=True).stdout

    first = once("a")
    assert first == once("b")
    assert len(set(first.split())) == 2


def test_the_command_of_a_run_inside_a_run_is_left_to_it(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys
from pathlib import Path
from bis.steps import chance
existing = dict(os.environ)
added = chance.variables(chance.draw({}, seed=9), Path(sys.argv[1]), existing, events=False)
subprocess.run([sys.executable, "-c", "import random; print(random.random())"], env=existing | added)
"""
    drawn = chance.draw({}, seed=5)
    added = chance.variables(drawn, tmp_path / "outer", {}, events=False)
    command = [sys.executable, "-c", code, str(tmp_path / "inner")]
    subprocess.run(command, env=dict(os.environ) | added, check=True)
    (outer,), (inner,) = chance.observe(tmp_path / "outer"), chance.observe(tmp_path / "inner")
    assert inner.facts["key"] == "r:c"
    assert outer.facts["nested"] == [inner.pid]
    trace = Trace(
        mechanism="notify",
        complete=True,
        processes=(python(outer.pid), python(inner.pid, parent=outer.pid), python(99999, parent=inner.pid)),
    )
    assert chance.seen(drawn, (outer,), trace)[1] == ()


# ------------------------------------------------------------------ observe and seen


def told(inside: Path, name: str, *lines: dict[str, Any], cut: str = "") -> None:
    inside.mkdir(exist_ok=True)
    (inside / name).write_text("".join(json.dumps(line) + "\n" for line in lines) + cut)


def start(pid: int, at: float, **more: Any) -> dict[str, Any]:
    line = {"e": "start", "pid": pid, "ppid": 1, "t": at, "exe": "/env/bin/python", "prefix": "/env", "base": "/usr"}
    return line | {"version": "3.11.7", "path": ["/env/lib"], "argv": ["python", "a.py"], "k": "r"} | more


def python(pid: int, *argv: str, parent: int = 1) -> Process:
    return Process(pid=pid, parent=parent, executable="/env/bin/python3.11", argv=("python3.11", *argv))


def test_reports_come_in_the_order_of_their_start_with_facts_merged_and_a_cut_line_left_out(tmp_path: Path) -> None:
    told(tmp_path, "9-0.said", start(9, 2.0), {"e": "streams", "n": {"numpy": 1}}, cut='{"e":"own","w":"ra')
    told(
        tmp_path,
        "10-0.said",
        start(10, 1.0),
        {"e": "facts", "modules": {"numpy": "2.0"}, "streams": {"random": 1}},
        {"e": "own", "w": "random.seed (a.py:1)"},
        {"e": "facts", "streams": {"random": 2}},
        {"e": "unheard of", "w": 3},
    )
    told(tmp_path, "11-0.said", cut='{"e":"sta')
    first, second = chance.observe(tmp_path)
    assert (first.pid, second.pid) == (10, 9)
    assert (first.executable, first.prefix, first.base_prefix) == ("/env/bin/python", "/env", "/usr")
    assert first.facts["modules"] == {"numpy": "2.0"}
    assert first.facts["streams"] == {"random": 2}
    assert first.facts["own"] == ["random.seed (a.py:1)"]
    assert "own" not in second.facts


def test_streams_are_summed_and_each_place_is_named_once(tmp_path: Path) -> None:
    lines = [{"e": "streams", "n": {"numpy": 1}}, {"e": "own", "w": "x (a.py:1)"}, {"e": "entropy", "w": "y (a.py:2)"}]
    told(tmp_path, "1-0.said", start(1, 1.0), *lines)
    told(tmp_path, "2-0.said", start(2, 2.0), *lines)
    full, findings = chance.seen(chance.draw({}, seed=1), chance.observe(tmp_path), None)
    assert full.streams == {"numpy": 2}
    assert (full.own, full.entropy) == (("x (a.py:1)",), ("y (a.py:2)",))
    assert [finding.code for finding in findings] == ["os-randomness"]
    assert "y (a.py:2)" in findings[0].text


def test_a_device_of_randomness_that_was_opened_like_a_file_is_named() -> None:
    device = Access(path="/dev/urandom", how="r", before=Stat(size=0, mtime_ns=0, inode=9))
    trace = Trace(
        mechanism="notify", complete=True, accesses=(device, msgspec.structs.replace(device, path="/dev/null"))
    )
    full, findings = chance.seen(chance.draw({}, seed=1), (), trace)
    assert full.entropy == ("/dev/urandom",)
    assert [finding.code for finding in findings] == ["os-randomness"]


def test_a_python_that_left_no_report_is_named(tmp_path: Path) -> None:
    told(tmp_path, "1-0.said", start(1, 1.0))
    processes = (python(1, "a.py"), python(2, "-I", "b.py"), python(3, "--version"))
    sh = Process(pid=4, executable="/bin/sh", argv=("sh",))
    trace = Trace(mechanism="notify", complete=True, processes=(*processes, sh))
    (finding,) = chance.seen(chance.draw({}, seed=1), chance.observe(tmp_path), trace)[1]
    assert finding.code == "unseeded-interpreter"
    assert "1 Python process " in finding.text
    assert "python3.11 -I b.py" in finding.text
    assert chance.seen(chance.draw({}, enabled=False), chance.observe(tmp_path), trace)[1] == ()


def test_trouble_in_the_hook_is_said(tmp_path: Path) -> None:
    told(tmp_path, "1-0.said", start(1, 1.0), {"e": "trouble", "w": "KeyError: 'x' (_bis_seeds.py:3)"})
    (finding,) = chance.seen(chance.draw({}, seed=1), chance.observe(tmp_path), None)[1]
    assert finding.code == "hook-trouble"
    assert "KeyError: 'x' (_bis_seeds.py:3)" in finding.text
