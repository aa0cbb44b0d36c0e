"""Samples of what a command uses."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bis.steps import samples

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")


@needs_proc
def test_the_tree_of_a_process_holds_its_children_and_theirs_whichever_thread_started_them() -> None:
    code = (
        "import subprocess, threading\n"
        "t = threading.Thread(target=lambda: print(subprocess.Popen(['sleep', '60']).pid, flush=True))\n"
        "t.start(); t.join(); print('ready', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        assert process.stdout.readline() == b"ready\n"
        found = set(samples.tree(os.getpid()))
        os.kill(grandchild, 9)
        process.kill()
    assert {process.pid, grandchild} <= found
    assert os.getpid() not in found


@needs_proc
def test_a_process_is_named_for_good_by_its_pid_and_its_start() -> None:
    own = samples.started_at(os.getpid())
    assert own > 0
    assert own == samples.started_at(os.getpid())
    assert samples.started_at(2**22 + 1) == 0


@needs_proc
def test_what_ended_processes_used_is_added_up_and_they_are_forgotten(tmp_path: Path) -> None:
    sampler = samples.Sampler(os.getpid(), tmp_path / "samples")
    busy = (
        "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
        "print(1, flush=True)\ninput()"
    )
    before = 0.0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            sampler._sample(0.0)
            process.kill()
        sampler._sample(1.0)
        assert process.pid not in {pid for pid, _ in sampler._latest}
        assert sampler.cpu_seconds >= before + 0.08  # the kernel counts in hundredths
        before = sampler.cpu_seconds


def test_graphics_cards_are_asked_seldom_and_not_waited_for(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho '40, 1024'\necho '20, 1024'\n")
    tool.chmod(0o755)
    gpu = samples._Gpu()
    gpu._tool = str(tool)
    assert gpu.latest(0.1) == ","
    limit = time.monotonic() + 20
    while gpu.latest(0.2) == "," and time.monotonic() < limit:
        time.sleep(0.02)
    assert gpu.latest(5.0) == f"30,{2048 << 20}"
    gpu.close()
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_an_answer_of_the_card_that_makes_no_sense_changes_nothing() -> None:
    gpu = samples._Gpu()
    assert gpu._read("No devices were found\n") == ","
