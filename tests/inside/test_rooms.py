"""The script that shows folders at other paths: with real mounts, as root, as anybody, and where it may not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bis.steps import rooms

SCRIPT = rooms.SCRIPT
NOBODY = 65534
needs_rooms = pytest.mark.skipif(bool(rooms.usable()), reason=f"no rooms here: {rooms.usable()}")


class Done(NamedTuple):
    status: int
    out: str
    err: str
    said: dict[str, Any]


class House(NamedTuple):
    """A scratch folder in which a command is started, and its sources."""

    folder: Path
    launch: tuple[str, ...]
    user: int | None = None

    def source(self, name: str, **files: str) -> Path:
        path = self.folder / name
        path.mkdir()
        for file, content in files.items():
            (path / file.replace("_", ".")).write_text(content)
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        if self.user is not None:
            for each in (path, *path.rglob("*")):
                os.chown(each, self.user, self.user)

    def argv(self, mounts: list[dict[str, Any]], *command: str, folder: str = "/", seal: Any = None) -> list[str]:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        self.give(scratch)
        spec = {"mounts": mounts, "folder": folder, "scratch": str(scratch), "report": str(scratch / "report")}
        spec["seal"] = seal
        (self.folder / "spec.json").write_text(json.dumps(spec))
        return [*self.launch, str(self.folder / "spec.json"), "--", *command]

    def run(
        self, mounts: list[dict[str, Any]], *command: str, folder: str = "/", seal: Any = None, **more: Any
    ) -> Done:
        who: dict[str, Any] = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        argv = self.argv(mounts, *command, folder=folder, seal=seal)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **who, **more)
        report = self.folder / "scratch" / "report"
        said = json.loads(report.read_text()) if report.exists() else {}
        return Done(done.returncode, done.stdout, done.stderr, said)

    def shell(self, mounts: list[dict[str, Any]], line: str, folder: str = "/", **more: Any) -> str:
        done = self.run(mounts, "sh", "-ec", line, folder=folder, **more)
        assert done.status == 0, done
        return done.out


def interpreter_for_everybody() -> str:
    """Not one below somebody's home folder."""
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip("no interpreter that an ordinary user may start")
    return found


@pytest.fixture(params=["as we are", "an ordinary user"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    if rooms.usable():
        pytest.skip(rooms.usable())
    with tempfile.TemporaryDirectory(prefix="bis-house-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if request.param == "as we are":
            yield House(folder, (sys.executable, "-I", "-S", str(SCRIPT)))
            return
        if os.geteuid() != 0:
            pytest.skip("we are an ordinary user already")
        copied = folder / "rooms.py"
        shutil.copy(SCRIPT, copied)
        house = House(folder, (interpreter_for_everybody(), "-I", "-S", str(copied)), NOBODY)
        try:
            done = house.run([], "true")
        except OSError as error:
            pytest.skip(f"no other user to be: {error}")
        if done.said.get("step") == "unshare":
            pytest.skip(f"rooms are for root alone here: {done.said['error']}")
        yield house


def bind(source: Path, at: Path | str, write: bool = True) -> dict[str, Any]:
    return {"bind": str(source), "at": str(at), "write": write}


def test_a_folder_is_seen_at_a_path_that_exists(house: House) -> None:
    fresh, original = house.source("fresh", a_txt="fresh"), house.source("original", a_txt="old", b_txt="old")
    assert (
        house.shell([bind(fresh, original)], "pwd; cat a.txt; ls", folder=str(original)) == f"{original}\nfresha.txt\n"
    )
    assert (original / "a.txt").read_text() == "old"


def test_what_is_written_in_the_room_lands_in_the_source(house: House) -> None:
    fresh, original = house.source("fresh"), house.source("original", a_txt="old")
    house.shell([bind(fresh, original)], f"echo made > {original}/out.txt")
    assert (fresh / "out.txt").read_text() == "made\n"
    assert [path.name for path in original.iterdir()] == ["a.txt"]


def test_a_missing_top_level_folder_is_made_beside_the_others(house: House) -> None:
    fresh = house.source("fresh", a_txt="fresh")
    at = "/bis-is-not-here/ana/project"
    seen = house.shell([bind(fresh, at)], "pwd; cat a.txt; echo; ls -A /; ls /bis-is-not-here", folder=at).splitlines()
    assert seen[0] == at
    assert seen[1] == "fresh"
    assert {"bis-is-not-here", *(path.name for path in Path("/").iterdir())} <= set(seen)
    assert seen[-1] == "ana"
    assert not Path("/bis-is-not-here").exists()


def test_everything_else_still_works_under_a_root_that_was_made_up(house: House) -> None:
    fresh = house.source("fresh")
    line = (
        "test -r /proc/self/status; : > /dev/null; test -d /sys/kernel; readlink -f /bin/sh; id -u; cat /proc/self/comm"
    )
    seen = house.shell([bind(fresh, "/bis-is-not-here/x")], line).splitlines()
    assert seen[1] == str(os.getuid() if house.user is None else house.user)
    assert seen[2] == "cat"


def test_a_missing_folder_in_one_that_others_use_leaves_their_things_in_sight(house: House) -> None:
    fresh, shared = house.source("fresh", a_txt="fresh"), house.source("shared", kept_txt="kept")
    (shared / "inner").mkdir()
    (shared / "inner" / "deep.txt").write_text("deep")
    (shared / "link").symlink_to("kept.txt")
    seen = house.shell(
        [bind(fresh, shared / "ana" / "p")], f"cd {shared}; ls; cat kept.txt inner/deep.txt link ana/p/a.txt"
    )
    assert seen == "ana\ninner\nkept.txt\nlink\nkeptdeepkeptfresh"
    assert sorted(path.name for path in shared.iterdir()) == ["inner", "kept.txt", "link"]


def test_what_the_command_makes_in_a_made_up_folder_is_kept_in_the_scratch_folder(house: House) -> None:
    fresh, shared = house.source("fresh"), house.source("shared")
    done = house.run([bind(fresh, shared / "ana" / "p")], "sh", "-ec", f"echo x > {shared}/ana/side.txt")
    assert done.status == 0
    assert (house.folder / f"scratch/made{shared}/ana/side.txt").read_text() == "x\n"
    assert done.said["where"][str(shared)] == str(house.folder / f"scratch/made{shared}")


def test_an_environment_inside_the_project_is_bound_over_it_read_only(house: House) -> None:
    fresh, env = house.source("fresh", a_txt="fresh"), house.source("env", python="an interpreter")
    at = "/bis-is-not-here/p"
    mounts = [bind(fresh, at), bind(env, f"{at}/.venv", write=False)]
    line = "cat .venv/python; if echo x > .venv/y 2>/dev/null; then echo written; fi; echo x > y"
    assert house.shell(mounts, line, folder=at) == "an interpreter"
    assert sorted(path.name for path in fresh.iterdir()) == [".venv", "a.txt", "y"]
    assert [path.name for path in env.iterdir()] == ["python"]


def test_the_order_of_mounts_matters(house: House) -> None:
    fresh, env, at = house.source("fresh"), house.source("env", e="env"), "/bis-is-not-here/p"
    covered = [bind(env, f"{at}/.venv"), bind(fresh, at)]
    assert house.shell(covered, "ls -A", folder=at) == ""


def test_a_hidden_folder_is_empty_and_what_is_written_there_does_not_reach_it(house: House) -> None:
    cache = house.source("cache", secret_txt="cached")
    done = house.run([{"hide": str(cache)}], "sh", "-ec", f"ls {cache}; echo new > {cache}/model.bin")
    assert (done.status, done.out) == (0, "")
    assert [path.name for path in cache.iterdir()] == ["secret.txt"]
    assert (house.folder / f"scratch/made{cache}/model.bin").read_text() == "new\n"


def test_a_hidden_file_is_empty_and_a_hidden_nothing_stays_nothing(house: House) -> None:
    home = house.source("home", netrc="password")
    mounts = [{"hide": str(home / "netrc")}, {"hide": str(home / "absent")}]
    assert house.shell(mounts, f"cat {home}/netrc; ls {home}") == "netrc\n"


def test_a_source_below_a_hidden_folder_is_still_shown(house: House) -> None:
    project = house.source("project", old_txt="old")
    env = project / "env"
    env.mkdir()
    (env / "e").write_text("env")
    house.give(project)
    fresh = house.source("fresh", a_txt="fresh")
    mounts = [{"hide": str(project)}, bind(fresh, project), bind(env, project / "env")]
    assert house.shell(mounts, "ls; cat env/e", folder=str(project)) == "a.txt\nenv\nenv"


def test_the_scratch_folder_itself_may_be_covered(house: House) -> None:
    fresh = house.source("fresh", a_txt="fresh")
    mounts = [{"hide": str(house.folder)}, bind(fresh, house.folder / "ana"), bind(fresh, "/bis-is-not-here/x")]
    assert house.shell(mounts, f"ls {house.folder}; cat /bis-is-not-here/x/a.txt") == "ana\nfresh"


def test_a_link_on_the_way_is_replaced_by_what_it_leads_to(house: House) -> None:
    elsewhere, fresh = house.source("elsewhere", kept_txt="kept"), house.source("fresh", a_txt="fresh")
    home = house.source("home")
    (home / "ana").symlink_to(elsewhere)
    at = home / "ana" / "project"
    assert house.shell([bind(fresh, at)], f"pwd -P; cat a.txt ../kept.txt; ls {home}/ana", folder=str(at)) == (
        f"{at}\nfreshkeptkept.txt\nproject\n"
    )
    assert (home / "ana").is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["kept.txt"]


def test_a_file_can_be_shown_at_a_path_of_its_own(house: House) -> None:
    data, home = house.source("data", x_csv="1,2"), house.source("home", y_csv="3,4")
    mounts = [bind(data / "x.csv", home / "y.csv"), bind(data / "x.csv", "/bis-is-not-here/z.csv", write=False)]
    assert house.shell(mounts, f"cat {home}/y.csv /bis-is-not-here/z.csv") == "1,21,2"


def test_a_folder_where_there_is_a_file_takes_its_place(house: House) -> None:
    fresh, home = house.source("fresh", a_txt="fresh"), house.source("home", data="a file")
    assert house.shell([bind(fresh, home / "data")], f"cat {home}/data/a.txt") == "fresh"
    assert (home / "data").read_text() == "a file"


def test_paths_need_not_be_text(house: House) -> None:
    odd = Path(os.fsdecode(os.fsencode(house.folder) + b"/odd \xff\n"))
    odd.mkdir()
    (odd / "a.txt").write_text("odd")
    house.give(odd)
    at = os.fsdecode(b"/bis-is-not-here/\xfe\n")
    assert house.shell([bind(odd, at)], "cat a.txt", folder=at) == "odd"


def test_the_command_gets_the_environment_as_it_was_given(house: House) -> None:
    given = {"PATH": os.environ["PATH"], "LANG": "C", "ODD": "a=b\nc", "EMPTY": ""}
    seen = house.run([], "env", "-0", env=given)
    assert dict(pair.split("=", 1) for pair in seen.out.split("\0") if pair) == given


def test_the_command_gets_usual_signals_and_its_status_is_passed_on(house: House) -> None:
    assert house.run([], "sh", "-c", "exit 7").status == 7
    assert house.run([], "sh", "-c", "kill -TERM $$").status == -signal.SIGTERM
    ignored = house.shell([], "grep SigIgn /proc/self/status")
    assert int(ignored.split()[1], 16) & (1 << signal.SIGPIPE - 1) == 0


def test_nothing_of_the_namespace_reaches_the_outside(house: House) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    fresh = house.source("fresh")
    house.shell([bind(fresh, "/bis-is-not-here/x"), {"hide": str(fresh)}], "true")
    assert Path("/proc/self/mountinfo").read_text() == before


SHARED = """
import ctypes, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x20000) or libc.mount(b"none", b"/", None, ctypes.c_ulong((1 << 20) | (1 << 14)), None):
    sys.exit(77)
before = open("/proc/self/mountinfo").read()
subprocess.run(sys.argv[1:], check=True)
assert open("/proc/self/mountinfo").read() == before
"""


@needs_rooms
def test_mounts_that_are_shared_with_others_get_nothing_from_the_room() -> None:
    """As systemd has them. The sharing is tried in a namespace of its own."""
    with tempfile.TemporaryDirectory(prefix="bis-house-", dir="/var/tmp") as name:
        house = House(Path(name), (sys.executable, "-c", SHARED, sys.executable, "-I", "-S", str(SCRIPT)))
        fresh = house.source("fresh")
        done = house.run([bind(fresh, "/bis-is-not-here/x"), {"hide": str(fresh)}], "true")
        if done.status == 77:
            pytest.skip("no namespace to share mounts in")
        assert done.status == 0, done


def test_a_killed_command_leaves_no_mount_and_nothing_outside_the_scratch_folder(house: House) -> None:
    fresh, home = house.source("fresh"), house.source("home")
    before = Path("/proc/self/mountinfo").read_text()
    who: dict[str, Any] = {} if house.user is None else {"user": house.user, "group": house.user, "extra_groups": []}
    argv = house.argv([bind(fresh, home / "ana" / "p")], "sleep", "60")
    process = subprocess.Popen(argv, **who)
    wait_for(lambda: "ready" in (house.folder / "scratch" / "report").read_text())
    process.kill()
    process.wait()
    assert Path("/proc/self/mountinfo").read_text() == before
    assert list(home.iterdir()) == []
    shutil.rmtree(house.folder / "scratch")


def wait_for(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        try:
            if true():
                return
        except OSError:
            pass
        time.sleep(0.01)
    raise AssertionError("waited ten seconds in vain")


def test_a_source_that_is_not_there_is_named(house: House) -> None:
    done = house.run([bind(house.folder / "absent", "/bis-is-not-here")], "true")
    assert done.status == 125
    assert done.said == {
        "error": "No such file or directory",
        "step": "open",
        "path": str(house.folder / "absent"),
        "errno": 2,
    }


def test_a_command_that_is_not_there_is_named(house: House) -> None:
    done = house.run([], "bis-no-such-command")
    assert (done.status, done.said["step"], done.said["path"]) == (125, "start", "bis-no-such-command")


def test_a_folder_to_start_in_that_is_not_there_is_named(house: House) -> None:
    done = house.run([], "true", folder="/bis-is-not-here")
    assert (done.status, done.said["step"], done.said["path"]) == (125, "chdir", "/bis-is-not-here")


def test_the_root_can_be_neither_hidden_nor_bound_over(house: House) -> None:
    for mounts in ([{"hide": "/"}], [bind(house.folder, "/")]):
        done = house.run(mounts, "true")
        assert (done.status, done.said["error"]) == (125, "Invalid argument")


def test_a_specification_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{")
    for argv in ([], [str(tmp_path / "spec.json"), "--", "true"], [str(tmp_path / "absent"), "--", "true"]):
        done = subprocess.run([sys.executable, str(SCRIPT), *argv], capture_output=True, check=False)
        assert done.returncode == 125
        assert done.stderr


@needs_rooms
def test_no_new_privileges_do_not_hinder_a_room(tool: Callable[[str], Path]) -> None:
    """A trace sets them before the command starts."""
    setpriv = str(tool("setpriv"))
    with tempfile.TemporaryDirectory(prefix="bis-house-", dir="/var/tmp") as name:
        house = House(Path(name), (setpriv, "--no-new-privs", sys.executable, "-I", "-S", str(SCRIPT)))
        fresh = house.source("fresh", a_txt="fresh")
        seen = house.shell(
            [bind(fresh, "/bis-is-not-here/p")], "cat /bis-is-not-here/p/a.txt; grep NoNewPrivs /proc/self/status"
        )
        assert seen == "freshNoNewPrivs:\t1\n"


NO_NAMESPACES = """
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
os.execv(sys.argv[1], sys.argv[1:])
"""


@needs_rooms
def test_where_user_namespaces_are_off_the_refusal_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="bis-house-", dir="/var/tmp") as name:
        Path(name).chmod(0o777)
        start = (sys.executable, "-c", NO_NAMESPACES, sys.executable, "-I", "-S", str(SCRIPT))
        done = House(Path(name), start).run([], "true")
        if done.status == 77:
            pytest.skip("no user namespace to switch them off in")
        assert (done.status, done.said["step"], done.said["error"]) == (125, "unshare", "No space left on device")


def test_a_sealed_room_changes_nothing_but_what_is_mounted_for_it(house: House) -> None:
    fresh, machine = house.source("fresh"), house.source("machine", a_txt="old")
    lines = [
        f"echo new > {fresh}/made",
        f"! echo new > {machine}/a.txt",
        f"! rm {machine}/a.txt",
        f"! mkdir {machine}/folder",
        "echo 1 > /dev/null",
        "cat /proc/self/oom_score_adj > /proc/self/oom_score_adj",
    ]
    line = "; ".join(f"{each} 2>/dev/null || exit {number}" for number, each in enumerate(lines, 1))
    done = house.run([bind(fresh, fresh)], "sh", "-c", line, seal={"live": [], "shared": {}})
    assert done.status == 0, done
    # What another test mounts may come and go meanwhile.
    assert not [path for path in done.said["open"] if machine.is_relative_to(path)], done
    assert (machine / "a.txt").read_text() == "old"
    assert (fresh / "made").read_text() == "new\n"


def test_what_is_left_open_in_a_sealed_room_stays_as_it_is(house: House) -> None:
    live, shared = house.source("live", a_txt="old"), house.source("shared", a_txt="old", b_txt="old")
    line = f"echo new > {live}/a.txt; echo new > {shared}/a.txt; echo new > {shared}/c.txt; ! echo new > {shared}/b.txt"
    seal = {"live": [str(live)], "shared": {str(shared): ["a.txt"]}}
    house.shell([], f"{line} 2>/dev/null; cat {shared}/c.txt", seal=seal)
    assert (live / "a.txt").read_text() == "new\n"
    assert {path.name: path.read_text() for path in shared.iterdir()} == {"a.txt": "new\n", "b.txt": "old"}


def test_a_copy_can_be_written_renamed_and_removed(house: House) -> None:
    source, machine = (
        house.source("source", a_txt="recorded", b_txt="recorded"),
        house.source("machine", a_txt="of today"),
    )
    (source / "a.txt").chmod(0o640)
    mounts = [{"copy": str(source / name), "at": str(machine / name)} for name in ("a.txt", "b.txt")]
    line = f"cd {machine}; stat -c %a a.txt; echo more >> a.txt; mv a.txt c.txt; rm b.txt; ls; cat c.txt"
    assert house.shell(mounts, line) == "640\nc.txt\nrecordedmore\n"
    assert [path.name for path in machine.iterdir()] == ["a.txt"]
    assert (source / "a.txt").read_text() == "recorded"


def test_a_copy_of_a_file_without_bytes_on_disk_takes_none_either(house: House) -> None:
    source, machine = house.source("source"), house.source("machine")
    with (source / "large").open("wb") as file:
        file.truncate(1 << 40)
    house.give(source)
    line = f"stat -c '%s %b' {machine}/large"
    assert house.shell([{"copy": str(source / "large"), "at": str(machine / "large")}], line) == f"{1 << 40} 0\n"
