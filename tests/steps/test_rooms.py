"""Rooms for commands: what is promised to the steps that use them."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bis.steps import rooms
from bis.steps.rooms import Mount

needs_rooms = pytest.mark.skipif(bool(rooms.usable()), reason=f"no rooms here: {rooms.usable()}")


def start(mounts: list[Mount], folder: Path, scratch: Path, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [*rooms.prefix(mounts, folder, scratch), *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@needs_rooms
def test_a_command_starts_in_the_original_folder_and_sees_the_fresh_one(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "train.py").write_text("import os; print(os.getcwd())")
    original = Path("/bis-is-not-here/ana/project")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = start([Mount(at=original, source=tmp_path / "fresh")], original, scratch, sys.executable, "train.py")
    assert (done.returncode, done.stdout) == (0, f"{original}\n")
    assert rooms.refusal(scratch) is None
    assert rooms.lost(scratch) == ()


@needs_rooms
def test_a_room_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    done = start([Mount(at=tmp_path / "at", source=tmp_path / "absent")], tmp_path, tmp_path, "true")
    assert done.returncode == 125
    refusal = rooms.refusal(tmp_path)
    assert refusal is not None
    assert refusal.what == (
        f"the room for the command could not be made: open {tmp_path / 'absent'}: No such file or directory"
    )


@needs_rooms
def test_a_command_that_is_not_in_the_room_is_named(tmp_path: Path) -> None:
    assert start([], tmp_path, tmp_path, "bis-no-such-command").returncode == 125
    refusal = rooms.refusal(tmp_path)
    assert refusal is not None
    assert refusal.what == "bis-no-such-command could not be started: No such file or directory"


def test_a_room_that_said_nothing_is_not_taken_for_one_that_was_made(tmp_path: Path) -> None:
    (tmp_path / rooms.REPORT).write_text(json.dumps({"ready": True}))
    rooms.prefix([], tmp_path, tmp_path)
    assert rooms.refusal(tmp_path) is not None


@needs_rooms
def test_the_reason_is_none_where_rooms_work() -> None:
    assert rooms.usable() == ""


def test_off_linux_there_are_no_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    rooms._tried.cache_clear()
    try:
        assert rooms.usable() == "only Linux has private mount namespaces"
        assert rooms.finding().code == "no-room"
    finally:
        rooms._tried.cache_clear()


SWITCHED_OFF = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
maps = (("setgroups", "deny"), ("uid_map", "1000 %d 1" % os.getuid()), ("gid_map", "1000 %d 1" % os.getgid()))
if libc.unshare(0x10000000):
    sys.exit(77)
for name, line in maps:
    with open("/proc/self/" + name, "w") as file:
        file.write(line)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


@needs_rooms
def test_the_reason_names_the_setting_that_forbids_rooms_and_what_to_type() -> None:
    told = (
        "from bis.steps import rooms; print(rooms.usable()); print(rooms.finding().text); print(rooms.finding().hint)"
    )
    done = subprocess.run([sys.executable, "-c", SWITCHED_OFF, told], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no user namespace to switch them off in")
    reason, text, hint = done.stdout.splitlines()
    assert reason == "user.max_user_namespaces is 0 here"
    assert text == f"The original paths could not be shown to the command: {reason}"
    assert hint == "sudo sysctl user.max_user_namespaces=15000"


PATHS = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map("/".join)
MOUNTS = st.lists(st.tuples(PATHS, st.sampled_from(["hide", "read", "write"])), max_size=4)


@needs_rooms
@settings(max_examples=60, deadline=None)
@example(existing=set(), mounts=[("a/a", "read"), ("a", "read"), ("a/a", "read")], written="a", top=False)
@given(existing=st.sets(PATHS, max_size=4), mounts=MOUNTS, written=PATHS, top=st.booleans())
def test_outside_finds_what_a_command_sees_and_writes(
    existing: set[str], mounts: list[tuple[str, str]], written: str, top: bool
) -> None:
    """Be it in a source, in a hidden or made-up folder, or in a folder that is shown as it is."""
    with tempfile.TemporaryDirectory(prefix="bis-outside-") as name:
        base, scratch = Path(name), Path(name) / "scratch"
        root = Path("/bis-is-not-here") if top else base / "home"
        planned = [Mount(at=root, source=base / "home")] if top else []
        for number, (path, how) in enumerate(mounts):
            source = None if how == "hide" else base / f"source{number}"
            planned.append(Mount(at=root / path, source=source, write=how != "read"))
        for source in (base / "home", *(mount.source for mount in planned if mount.source), scratch):
            for inner in ("", *existing) if source != scratch else ("",):
                (source / inner).mkdir(parents=True, exist_ok=True)
                (source / inner / "here.txt").write_text(str(source / inner))
        target = root / written / "out.txt"
        look = f"find {root} -name here.txt -exec cat {{}} ';' -printf '\\n%p\\n'"
        make = f"mkdir -p {target.parent}; echo made > {target}"
        done = start(planned, Path("/"), scratch, "sh", "-c", f"{look}; {make}")
        assert rooms.refusal(scratch) is None
        seen = done.stdout.splitlines()
        assert {path: rooms.outside(Path(path), scratch).read_text() for path in seen[1::2]} == dict(
            zip(seen[1::2], seen[0::2], strict=True)
        )
        if "Read-only" not in done.stderr:
            assert rooms.outside(target, scratch).read_text() == "made\n"
