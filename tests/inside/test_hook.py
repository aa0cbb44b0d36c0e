"""The hook, in real interpreters: each test starts a Python as `bis run` would, and reads what it left."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.digest import spell
from bis.nouns.part import Finding
from bis.nouns.run import Chance
from bis.parts import Report
from bis.steps import chance

VERSIONS = [
    "3.8",
    *(pytest.param(version, marks=pytest.mark.slow) for version in ("3.9", "3.10", "3.11", "3.12")),
    "3.13",
    pytest.param("3.14", marks=pytest.mark.slow),
]
"""The oldest that is supported and a new one; all in `make test-all`."""


class Played(NamedTuple):
    out: str
    err: str
    status: int
    reports: tuple[Report, ...]
    chance: Chance
    findings: tuple[Finding, ...]
    lines: list[dict[str, Any]]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["e"] == kind]

    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings]


Play = Callable[..., Played]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run a script as `bis run` would: `play(code, *args, python=…, seed=7, variables={…})`."""
    count = iter(range(1000))

    def run(
        code: str,
        *args: str,
        python: Path | str = sys.executable,
        command: list[str] | None = None,
        variables: dict[str, str] | None = None,
        seed: int | None = 7,
        enabled: bool = True,
        deterministic: bool = False,
        events: bool = False,
        name: str = "train.py",
    ) -> Played:
        script = tmp_path / name
        script.write_text(textwrap.dedent(code))
        inside = tmp_path / f"inside-{next(count)}"
        existing = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **(variables or {})}
        drawn = chance.draw(existing, seed=seed if enabled else None, enabled=enabled, deterministic=deterministic)
        environment = existing | chance.variables(drawn, inside, existing, events)
        done = subprocess.run(
            command or [str(python), str(script), *args],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        reports = chance.observe(inside)
        lines = [json.loads(line) for path in sorted(inside.glob("*.said")) for line in path.read_text().splitlines()]
        assert not [line for line in lines if line["e"] == "trouble"], done.stderr
        full, findings = chance.seen(drawn, reports, None)
        return Played(done.stdout, done.stderr, done.returncode, reports, full, findings, lines)

    return run


def bare(code: str, tmp_path: Path, python: Path | str = sys.executable, **variables: str) -> str:
    """What the script prints with no bis around."""
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(code))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables}
    return subprocess.run(
        [str(python), str(script)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout


def interpreter(version: str) -> str:
    """A Python of this version: on PATH, or where pyenv puts it. Skips, loudly, when there is none."""
    found = shutil.which(f"python{version}")
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    candidates = [Path(found)] if found else []
    candidates += sorted(versions.glob(f"{version}.*/bin/python"))
    for path in candidates:
        if subprocess.run([path, "-c", "pass"], capture_output=True).returncode == 0:
            return str(path)
    warnings.warn(f"Python {version} is missing: the hook is not tested on it", stacklevel=2)
    pytest.skip(f"Python {version} is missing")


# ------------------------------------------------------------------ seeds


DRAWS = """
    import random
    print(random.random(), random.Random().random(), random.Random().random())
    random.seed()
    print(random.random())
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unseeded_script_draws_the_same_again_on_every_version_of_python(play: Play, version: str) -> None:
    python = interpreter(version)
    first, second = play(DRAWS, python=python), play(DRAWS, python=python)
    other = play(DRAWS, python=python, seed=8)
    assert first.out == second.out != other.out
    assert first.err == ""
    assert len(set(first.out.split())) == 4
    assert first.reports[0].version.startswith(version)
    assert first.reports[0].facts["streams"] == {"random": 2, "random.Random": 2}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_program_sees_the_path_and_the_variables_that_it_would_see_without_bis(
    play: Play, tmp_path: Path, version: str
) -> None:
    code = """
        import os, sys
        print(sys.path, sorted(sys.argv))
        print({name: value for name, value in os.environ.items() if name not in ("PYTHONHASHSEED", "LC_CTYPE")})
        print("sitecustomize" in str(sys.path_importer_cache))
    """
    python = interpreter(version)
    variables = {"PYTHONPATH": f"{tmp_path}/a:{tmp_path}/b"}
    assert play(code, python=python, variables=variables).out == bare(code, tmp_path, python, **variables)
    assert play(code, python=python).out == bare(code, tmp_path, python)


def test_without_a_seed_nothing_is_seeded_and_all_is_observed(play: Play) -> None:
    first, second = play(DRAWS, enabled=False), play(DRAWS, enabled=False)
    assert first.out != second.out
    assert first.reports[0].facts.get("streams") is None
    assert first.reports[0].prefix == sys.prefix


def test_without_a_seed_generators_are_named_as_drawing_from_the_system(play: Play, training_python: Path) -> None:
    code = """
        import numpy as np
        np.random.RandomState(3)
        np.random.default_rng(4)
        print(np.random.default_rng().random())
    """
    first, second = (play(code, python=training_python, enabled=False) for _ in range(2))
    assert first.out != second.out
    assert first.chance.entropy == ("numpy.random (train.py:5)",)


def test_what_a_script_seeds_itself_is_left_alone_bit_for_bit(
    play: Play, tmp_path: Path, training_python: Path
) -> None:
    code = """
        import random
        import numpy as np
        random.seed(3)
        np.random.seed(4)
        print(random.random(), np.random.rand(), np.random.default_rng(5).random(), np.random.RandomState(6).rand())
        print(random.Random(7).random(), random.gauss(0, 1), np.random.Generator(np.random.PCG64(8)).random())
    """
    played = play(code, python=training_python)
    assert played.out == bare(code, tmp_path, training_python)
    own = played.reports[0].facts["own"]
    assert {"random.seed (train.py:4)", "numpy.random.seed (train.py:5)", "random.Random (train.py:7)"} <= set(own)


def test_each_generator_without_a_seed_draws_a_stream_of_its_own_and_the_same_again(
    play: Play, training_python: Path
) -> None:
    code = """
        import numpy as np
        print(np.random.rand())
        for make in (np.random.default_rng, np.random.default_rng, np.random.RandomState,
                     lambda: np.random.Generator(np.random.PCG64()), lambda: np.random.Generator(np.random.MT19937()),
                     lambda: np.random.default_rng(np.random.SeedSequence())):
            generator = make()
            print((generator.random if hasattr(generator, "random") else generator.rand)())
        np.random.seed()
        print(np.random.rand())
    """
    first, second = play(code, python=training_python), play(code, python=training_python)
    assert first.out == second.out
    assert len(set(first.out.split())) == 8
    assert first.chance.streams == {"numpy": 2, "numpy.generator": 6}


def test_only_streams_that_were_drawn_from_are_counted(play: Play, training_python: Path) -> None:
    code = """
        import random
        import numpy as np
        np.random.seed(1)
        print(np.random.rand(), np.random.RandomState(3).rand(), np.random.default_rng(4).random())
        if {draw}:
            random.random()
    """
    assert play(code.format(draw=False), python=training_python).chance.streams == {}
    assert play(code.format(draw=True), python=training_python).chance.streams == {"random": 1}


@pytest.mark.slow
def test_scikit_learn_without_a_random_state_repeats(play: Play, training_python: Path) -> None:
    code = """
        from sklearn.datasets import make_classification
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import train_test_split
        x, y = make_classification(300)
        a, b, c, d = train_test_split(x, y)
        print(RandomForestClassifier(10).fit(a, c).predict_proba(b).tolist())
    """
    assert play(code, python=training_python).out == play(code, python=training_python).out


def test_threads_with_names_of_their_own_do_not_shift_each_others_streams(play: Play) -> None:
    code = """
        import random, threading, time
        drawn = {}
        def work(i):
            time.sleep(random.SystemRandom().random() / 50)
            drawn[i] = random.Random().random()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(sorted(drawn.items()))
    """
    first, second = play(code), play(code)
    assert first.out == second.out
    assert len(set(first.out.split())) == 16


def test_the_hash_seed_is_set_and_reaches_children(play: Play) -> None:
    code = """
        import subprocess, sys
        print(hash("a"))
        print(subprocess.check_output([sys.executable, "-c", "print(hash('a'))"], text=True))
        print(subprocess.check_output([sys.executable, "-c", "print(hash('a'))"], text=True, env={}))
    """
    first = play(code)
    assert first.out == play(code).out
    assert len(set(first.out.split())) == 1
    assert play(code, variables={"PYTHONHASHSEED": "3"}).out != first.out


def test_wrapped_functions_keep_name_signature_and_pickle(play: Play, training_python: Path) -> None:
    code = """
        import importlib.util, inspect, os, pickle, random
        import numpy as np
        for function in (random.seed, np.random.seed, np.random.default_rng, os.urandom, os._exit, os.execve):
            assert pickle.loads(pickle.dumps(function)).__name__ == function.__name__
            assert function.__doc__
        assert str(inspect.signature(random.Random.seed)) == "(self, a=None, version=2)"
        assert pickle.loads(pickle.dumps(np.random.default_rng(3))).random() == np.random.default_rng(3).random()
        assert os.execve in os.supports_fd
        before = random.random()
        importlib.reload(random)
        assert random.random() != before
        assert importlib.util.find_spec("numpy.random.mtrand").loader is not None
        print("fine")
    """
    played = play(code, python=training_python)
    assert (played.out, played.err) == ("fine\n", "")
    assert played.out == play(code, python=training_python).out


# ------------------------------------------------------------------ processes


def keys(played: Played) -> list[str]:
    return [report.facts["key"] for report in played.reports]


def test_children_get_places_in_the_order_in_which_they_were_started(play: Play) -> None:
    code = """
        import os, random, subprocess, sys
        if len(sys.argv) > 1:
            print(random.random(), flush=True)
        else:
            subprocess.run([sys.executable, __file__, "1"])
            subprocess.run([sys.executable, __file__, "2"], env={"PATH": os.environ["PATH"]})
            subprocess.run([sys.executable, __file__, "3"], env={**os.environ, "A": "1"}, close_fds=False)
            os.system(f"{sys.executable} {__file__} 4")
            os.posix_spawn(sys.executable, [sys.executable, __file__, "5"], os.environ)
            os.wait()
            os.environ["PYTHONPATH"] = "/nowhere"
            subprocess.run([sys.executable, __file__, "6"])
            sys.stdout.flush()
            os.execv(sys.executable, [sys.executable, __file__, "7"])
    """
    first, second = play(code), play(code)
    assert first.out == second.out
    assert len(set(first.out.split())) == 7
    root = "r:train.py"
    assert keys(first) == keys(second) == [root, *(f"{root}.s{n}:train.py" for n in range(1, 7)), f"{root}.e:train.py"]
    assert first.err == ""


def test_an_environment_that_the_caller_made_is_not_changed(play: Play) -> None:
    code = """
        import os, subprocess, sys
        mine = {"A": "1"}
        subprocess.run([sys.executable, "-c", "import os; print(sorted(os.environ))"], env=mine)
        print(mine, "BIS_KEY" in os.environ)
    """
    played = play(code)
    assert played.out == "['A', 'LC_CTYPE', 'PYTHONHASHSEED']\n{'A': '1'} False\n"


def test_a_python_that_starts_in_a_folder_which_is_gone_is_seeded_like_any_other(play: Play) -> None:
    code = """
        import os, subprocess, sys, tempfile
        os.chdir(tempfile.mkdtemp())
        os.rmdir(os.getcwd())
        subprocess.run([sys.executable, "-c", "import random; print(random.random())"])
    """
    first, second = play(code), play(code)
    assert first.out == second.out != ""


def test_a_shell_that_starts_two_pythons_gives_each_its_own_stream(play: Play, tmp_path: Path) -> None:
    code = "import random; print(random.random())"
    (tmp_path / "other.py").write_text(code)
    shell = f"{sys.executable} train.py; {sys.executable} train.py; {sys.executable} other.py"
    first = play(code, command=["sh", "-c", shell])
    assert first.out == play(code, command=["sh", "-c", shell]).out
    assert len(set(first.out.split())) == 3
    assert keys(first) == ["r:train.py", "r:train.py~1", "r:other.py"]
    assert "parallel-start" not in first.codes()


def test_like_processes_that_a_shell_starts_at_once_are_reported(play: Play) -> None:
    code = "import random, time; print(random.random(), flush=True); time.sleep(1)"
    shell = f"{sys.executable} train.py & {sys.executable} train.py & wait"
    first = play(code, command=["sh", "-c", shell])
    assert len(set(first.out.split())) == 2
    assert "parallel-start" in first.codes()


FORKS = """
    import os, random
    import numpy as np
    {setup}
    for i in range(2):
        child = os.fork()
        if child == 0:
            print(random.random(), np.random.rand(), np.random.default_rng().random(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    print(random.random(), np.random.rand(), flush=True)
"""


def test_forks_draw_streams_of_their_own_and_the_same_again(play: Play, training_python: Path) -> None:
    code = FORKS.format(setup="")
    first, second = play(code, python=training_python), play(code, python=training_python)
    assert first.out == second.out
    assert len(set(first.out.split())) == 8
    assert keys(first) == ["r:train.py", "r:train.py.f1", "r:train.py.f2"]
    assert [report.facts.get("fork", False) for report in first.reports] == [False, True, True]


def test_forks_inherit_what_the_script_seeded_itself(play: Play, tmp_path: Path, training_python: Path) -> None:
    code = FORKS.format(setup="np.random.seed(1); random.seed(1)")
    played = [line.split() for line in play(code, python=training_python).out.splitlines()]
    plain = [line.split() for line in bare(code, tmp_path, training_python).splitlines()]
    assert [line[1] for line in played] == [line[1] for line in plain]
    assert played[0][0] != played[1][0], "Python seeds `random` anew in a fork, from the system; bis from the run"
    assert played[2][0] == plain[2][0]


PROCESSES = """
    import random, sys
    import multiprocessing
    def work(i, queue):
        queue.put((i, random.random(), random.Random().random()))
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        queue = context.Queue()
        workers = []
        for i in range(3):
            worker = context.Process(target=work, args=(i, queue))
            worker.start()
            workers.append(worker)
        print(sorted(queue.get() for _ in workers))
        [worker.join() for worker in workers]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_draw_streams_of_their_own_and_the_same_again(play: Play, method: str) -> None:
    first, second = play(PROCESSES, method), play(PROCESSES, method)
    assert first.out == second.out
    assert first.err == ""
    assert len(set(first.out.split())) == 9


POOLS = """
    import random, sys, threading, time
    from concurrent.futures import ProcessPoolExecutor
    import multiprocessing
    LAZY = len(sys.argv) > 4 and sys.argv[4] == "lazy"
    def draw(i):
        if LAZY and multiprocessing.current_process().name.endswith("1"):
            time.sleep(0.1)
        return i, random.random(), random.Random().random()
    def begin():
        global MINE
        MINE = random.random()
    def own(i):
        return MINE
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[2])
        work, start = (own, begin) if sys.argv[3] == "worker" else (draw, None)
        if sys.argv[1] == "pool":
            with context.Pool(2, start) as pool:
                print(sorted(pool.imap_unordered(work, range(6))))
                print(pool.map(work, range(2)))
        elif sys.argv[1] == "executor":
            with ProcessPoolExecutor(2, context, start) as pool:
                print(list(pool.map(work, range(6))))
            with ProcessPoolExecutor(2, context, start) as pool:
                print([future.result() for future in [pool.submit(work, i) for i in range(2)]])
        else:
            from multiprocessing.pool import ThreadPool
            with ThreadPool(2) as pool:
                print(len(pool.map(draw, range(8))))
"""


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("pool", ["pool", "executor"])
def test_what_a_task_of_a_pool_draws_does_not_hang_on_the_worker_it_runs_on(play: Play, pool: str, method: str) -> None:
    first, second = play(POOLS, pool, method, "task"), play(POOLS, pool, method, "task", "lazy")
    assert (first.out, first.err) == (second.out, "")
    numbers = [word for word in first.out.replace(")", "").replace("]", "").split() if "0." in word]
    assert len(numbers) == len(set(numbers)) == 16, "no two tasks draw the same"
    assert "worker-order" not in first.codes()


@pytest.mark.parametrize("pool", ["pool", "executor"])
def test_a_pool_whose_workers_draw_for_themselves_is_reported(play: Play, pool: str) -> None:
    assert "worker-order" in play(POOLS, pool, "fork", "worker").codes()
    assert "worker-order" not in play(POOLS, "threads", "fork", "task").codes()


def test_without_a_seed_the_tasks_of_a_pool_are_left_alone(play: Play) -> None:
    first, second = (play(POOLS, "executor", "fork", "task", enabled=False) for _ in range(2))
    assert (first.status, first.err) == (0, "")
    assert first.out != second.out


def test_what_a_task_seeds_itself_stays_as_it_is(play: Play) -> None:
    code = """
        import random
        from multiprocessing import Pool
        def draw(i):
            random.seed(i)
            return random.random()
        if __name__ == "__main__":
            with Pool(2) as pool:
                print(pool.map(draw, range(4), chunksize=1) == [draw(i) for i in range(4)])
    """
    assert play(code).out == "True\n"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_the_workers_of_joblib_are_seeded_and_watched(play: Play, training_python: Path, backend: str) -> None:
    code = """
        import sys, time
        import numpy as np
        from joblib import Parallel, delayed
        def draw(i):
            time.sleep(float(sys.argv[1]))
            return np.random.rand(), np.random.default_rng().random()
        if __name__ == "__main__":
            print(Parallel(n_jobs=2, backend=sys.argv[2])(delayed(draw)(i) for i in range(40)))
    """
    quick, slow = (play(code, seconds, backend, python=training_python) for seconds in ("0", "0.05"))
    workers = [report for report in quick.reports if report.facts.get("worker")]
    assert workers
    numbers = quick.out.split()
    assert len(set(numbers)) == len(numbers) == 80
    if backend == "loky":
        assert quick.out == slow.out, "other batches, the same numbers"
        assert "worker-order" not in quick.codes()
    else:
        assert "worker-order" in quick.codes(), "its batches go by the clock, and carry no number"


def test_what_was_said_outlives_a_process_that_leaves_or_is_killed(play: Play) -> None:
    code = """
        import os, random, signal, sys
        generators = [random.Random() for _ in range(9)]
        if sys.argv[1] == "leave":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    left, killed = play(code, "leave"), play(code, "kill")
    assert left.status == 3
    assert left.reports[0].facts["streams"]["random.Random"] == 9
    assert killed.status == -signal.SIGKILL
    assert killed.reports[0].facts["streams"]["random.Random"] == 8, "written at each power of two"


def test_a_program_that_closes_all_descriptors_does_not_get_our_lines_into_its_files(
    play: Play, tmp_path: Path
) -> None:
    code = """
        import os, uuid
        os.closerange(3, 256)
        file = open("out.txt", "w")
        uuid.uuid4()
        file.write("mine")
    """
    played = play(code)
    assert (tmp_path / "out.txt").read_text() == "mine"
    assert played.all("entropy")


def test_a_program_runs_on_when_nothing_can_be_written(play: Play, tmp_path: Path) -> None:
    code = """
        import random, shutil, subprocess, sys
        shutil.rmtree(sys.argv[1])
        print(random.Random().random() < 1)
        subprocess.run([sys.executable, "-c", "import random; print(random.random() < 1)"])
    """
    played = play(code, str(tmp_path / "inside-0"))
    assert (played.out, played.err, played.status) == ("True\nTrue\n", "", 0)


def test_an_interpreter_that_cannot_speak_is_reported_by_its_parent(play: Play) -> None:
    code = """
        import subprocess, sys
        for flags in (["-I"], ["-S"], ["-BE"], ["-X", "utf8", "-sS"], ["-B"], ["-W", "ignore"]):
            subprocess.run([sys.executable, *flags, "-c", "pass"])
    """
    played = play(code)
    assert [line["argv"][1:-2] for line in played.all("mute")] == [["-I"], ["-S"], ["-BE"], ["-X", "utf8", "-sS"]]
    assert "unseeded-interpreter" in played.codes()


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_a_python_that_is_too_old_runs_as_without_bis_and_is_reported(play: Play, version: str) -> None:
    played = play("import sys; print(sys.version_info[0])", python=interpreter(version))
    assert (played.out, played.err) == (f"{version[0]}\n", "")
    (report,) = played.reports
    assert report.version.startswith(version)
    assert not [entry for entry in report.path if entry.endswith("/hook")]
    (finding,) = [finding for finding in played.findings if finding.code == "unseeded-interpreter"]
    assert "older than 3.8" in finding.text


@pytest.mark.parametrize("version", ["3.6", "3.7"])
def test_a_python_that_is_too_old_tells_where_its_environment_was_made_from(
    play: Play, tmp_path: Path, version: str
) -> None:
    subprocess.run([interpreter(version), "-m", "venv", "--without-pip", tmp_path / "old"], check=True)
    (report,) = play("", python=tmp_path / "old" / "bin" / "python").reports
    assert report.prefix == str(tmp_path / "old")
    assert Path(report.base_prefix, "lib", f"python{version}", "os.py").is_file()


# ------------------------------------------------------------------ stepping aside


@pytest.mark.parametrize("version", VERSIONS)
def test_the_users_own_sitecustomize_is_run(play: Play, tmp_path: Path, version: str) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys; sys.chained = __file__, len(sys.path)\n")
    code = "import sys, sitecustomize; print(sys.chained, sitecustomize.__file__)"
    python, variables = interpreter(version), {"PYTHONPATH": str(folder)}
    assert play(code, python=python, variables=variables).out == bare(code, tmp_path, python, **variables)


def test_a_sitecustomize_that_fails_fails_as_it_would_without_bis(play: Play, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("raise ValueError('mine')\n")
    played = play("print('on')", variables={"PYTHONPATH": str(folder)})
    assert played.out == "on\n"
    assert "Error in sitecustomize" in played.err
    assert "ValueError: mine" in played.err


def test_hooks_of_others_on_the_import_path_go_on_working(play: Play, tmp_path: Path) -> None:
    (tmp_path / "lazy_numbers.py").write_text("value = 3\n")
    code = """
        import importlib.util, sys
        class Other:
            seen = []
            def find_spec(self, name, path=None, target=None):
                self.seen.append(name)
                if name == "random" and not getattr(self, "busy", False):
                    self.busy = True
                    return importlib.util.find_spec(name)
        sys.modules.pop("random", None)
        sys.meta_path.insert(0, Other())
        import random
        spec = importlib.util.find_spec("statistics")
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules["statistics"] = module
        spec.loader.exec_module(module)
        print(module.mean([1, 3]), random.random())
    """
    first = play(code)
    assert first.err == ""
    assert first.out == play(code).out


# ------------------------------------------------------------------ observation


def test_reading_the_systems_randomness_is_reported_with_its_place(play: Play) -> None:
    code = """
        import multiprocessing, os, random, secrets, tempfile, uuid
        uuid.uuid4()
        secrets.token_hex(4)
        os.urandom(1)
        random.SystemRandom().random()
        tempfile.mkdtemp()
    """
    facts = play(code).reports[0].facts
    assert facts["entropy"] == [
        "uuid.uuid4 (train.py:3)",
        "secrets.token_hex (train.py:4)",
        "os.urandom (train.py:5)",
        "random.SystemRandom.random (train.py:6)",
    ]


@pytest.mark.parametrize(("library", "told"), [("sklearn", 0), ("numba", 0), ("tracking", 1)])
def test_names_that_a_library_draws_for_itself_are_no_randomness_of_the_run(
    play: Play, tmp_path: Path, library: str, told: int
) -> None:
    packages = tmp_path / "site-packages"
    (packages / library).mkdir(parents=True)
    (packages / library / "__init__.py").write_text("import uuid\ndef begin(): return uuid.uuid4()\n")
    played = play(f"import {library}; {library}.begin()", variables={"PYTHONPATH": str(packages)})
    assert len(played.chance.entropy) == told


def test_connections_are_reported_by_name_and_by_address(play: Play) -> None:
    code = """
        import socket, threading
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(("localhost", server.getsockname()[1]))
        print(server.getsockname()[1])
    """
    played = play(code)
    assert {"e": "connect", "a": f"tcp:127.0.0.1:{played.out.strip()}"} in played.lines
    assert {"e": "name", "h": "localhost"} in played.lines


def test_a_start_says_what_the_interpreter_is(play: Play, tmp_path: Path) -> None:
    played = play("print(1)", "--lr", "0.1")
    report = played.reports[0]
    assert report.executable == sys.executable
    assert (report.prefix, report.base_prefix) == (sys.prefix, sys.base_prefix)
    assert report.argv == (sys.executable, str(tmp_path / "train.py"), "--lr", "0.1")
    assert str(chance.HOOK) not in report.path
    assert report.facts["hash_seed"].isdecimal()


def test_the_numerical_identity_is_told_as_it_is_loaded(play: Play, training_python: Path) -> None:
    code = "import numpy, sklearn.linear_model, os; os._exit(0)"
    facts = play(code, python=training_python, variables={"OPENBLAS_NUM_THREADS": "1"}).reports[0].facts
    assert facts["modules"]["sklearn"]
    blas = [pool for pool in facts["pools"] if pool["api"] in ("openblas", "mkl")]
    assert blas
    assert all(pool["threads"] == 1 for pool in blas)
    assert all(pool["kernel"] for pool in blas if pool["api"] == "openblas")
    assert set(facts["simd"]["baseline"]) <= set(facts["simd"]["enabled"]) | {"SSE", "X86_V2"} | set(
        facts["simd"]["baseline"]
    )
    assert facts["simd"]["enabled"]


def test_files_are_reported_when_no_tracer_sees_them(play: Play, tmp_path: Path) -> None:
    code = r"""
        import os
        os.makedirs("sub")
        open("sub/in.txt", "w").write("x")
        open("sub/in.txt").read()
        open("sub/in.txt").read()
        open("sub/in.txt", "a").write("y")
        open(b"sub/\xff.bin", "wb").close()
        os.listdir("sub")
        os.rename("sub/in.txt", "sub/out.txt")
        os.remove("sub/out.txt")
    """
    played = play(code, events=True)
    sub = f"{tmp_path}/sub"
    events = [{**line} for line in played.lines if line["e"] in ("open", "list", "rename", "remove")]
    mine = [line for line in events if line["p"].startswith(sub)]
    assert mine == [
        {"e": "open", "p": f"{sub}/in.txt", "m": "t"},
        {"e": "open", "p": f"{sub}/in.txt", "m": "r"},
        {"e": "open", "p": f"{sub}/in.txt", "m": "a"},
        {"e": "open", "p": f"{sub}/\0ff.bin", "m": "t"},
        {"e": "list", "p": sub},
        {"e": "rename", "p": f"{sub}/in.txt", "q": f"{sub}/out.txt"},
        {"e": "remove", "p": f"{sub}/out.txt"},
    ]
    was = {line["p"]: line["b"] for line in played.lines if line["e"] == "was"}
    assert [was[f"{sub}/{name}"] for name in ("in.txt", "\0ff.bin", "out.txt")] == [None, None, None]
    assert not [line for line in play(code.replace('"sub"', '"sub", exist_ok=True')).lines if line["e"] == "open"]


FRAMEWORK = """
    import random
    class Cudnn:
        benchmark, deterministic = True, False
    class Mkldnn:
        def is_available():
            return False
    class Cpu:
        def get_cpu_capability():
            return "DEFAULT"
    class backends:
        cudnn, mkldnn, cpu = Cudnn, Mkldnn, Cpu
    def get_num_threads():
        return 1
    get_num_interop_threads = get_num_threads
    class version:
        cuda = None
    def use_deterministic_algorithms(on, warn_only=False):
        print("deterministic", on, warn_only)
    from torch import random
    from torch.random import manual_seed
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A package that is asked of what torch is asked of: the real one is too large for a test environment."""
    package = tmp_path / "packages" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(textwrap.dedent(FRAMEWORK))
    (package / "random.py").write_text("def manual_seed(seed):\n    print('seeded', seed)\n")
    return package.parent


def test_a_framework_is_seeded_right_after_its_import_and_the_script_comes_later(play: Play, stand_in: Path) -> None:
    code = """
        import torch
        print(torch.backends.cudnn.benchmark)
        torch.manual_seed(5)
    """
    variables = {"PYTHONPATH": str(stand_in)}
    first = play(code, variables=variables)
    seeded, benchmark, own = first.out.splitlines()
    assert seeded.startswith("seeded ")
    assert (benchmark, own) == ("True", "seeded 5")
    assert first.out == play(code, variables=variables).out
    assert first.reports[0].facts["own"] == ["torch.manual_seed (train.py:4)"]


def test_deterministic_switches_a_framework_and_fixes_threads(play: Play, stand_in: Path) -> None:
    code = "import os, torch; print(torch.backends.cudnn.benchmark, os.environ['OMP_NUM_THREADS'])"
    out = play(code, variables={"PYTHONPATH": str(stand_in)}, deterministic=True).out.splitlines()
    assert out[1:] == ["deterministic True True", "False 1"]


CUPY = """
    import os
    class RandomState:
        def __init__(self, seed=None):
            self.seed(seed)
        def seed(self, seed=None):
            self.drawn = int.from_bytes(os.urandom(8), "big") if seed is None else seed
"""


def test_generators_of_graphics_cards_are_seeded_where_the_script_does_not(play: Play, tmp_path: Path) -> None:
    package = tmp_path / "packages" / "cupy" / "random"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("from cupy.random._generator import RandomState\n")
    (package / "_generator.py").write_text(textwrap.dedent(CUPY))
    code = "import cupy.random as r; print(r.RandomState().drawn, r.RandomState().drawn, r.RandomState(5).drawn)"
    variables = {"PYTHONPATH": str(tmp_path / "packages")}
    first = play(code, variables=variables)
    one, other, own = first.out.split()
    assert one != other
    assert own == "5"
    assert first.out == play(code, variables=variables).out != play(code, variables=variables, seed=8).out


def test_deterministic_asks_jax_for_kernels_that_add_in_order_and_keeps_its_other_flags(
    play: Play, tmp_path: Path
) -> None:
    package = tmp_path / "packages" / "jax"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import jax.random\n")
    (package / "random.py").write_text("def key(seed):\n    return seed\nPRNGKey = key\n")
    code = "import os, jax; print(os.environ.get('XLA_FLAGS'))"
    variables = {"PYTHONPATH": str(tmp_path / "packages"), "XLA_FLAGS": "--xla_dump_to=x"}
    asked = "--xla_dump_to=x --xla_gpu_deterministic_ops=true\n"
    assert play(code, variables=variables, deterministic=True).out == asked
    assert play(code, variables=variables).out == "--xla_dump_to=x\n"


@pytest.mark.slow
def test_the_kernel_of_a_notebook_is_seeded_and_watched(play: Play, tmp_path: Path, training_python: Path) -> None:
    cells = ["import random, numpy as np", "print(random.random(), np.random.default_rng().random())"]
    notebook = {
        "cells": [
            {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{i}"}
            for i, cell in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }

    def once() -> tuple[str, Played]:
        (tmp_path / "a.ipynb").write_text(json.dumps(notebook))
        command = [str(training_python), "-m", "nbconvert", "--to", "notebook", "--inplace", "--execute", "a.ipynb"]
        played = play("", command=command)
        done = json.loads((tmp_path / "a.ipynb").read_text())
        return str(done["cells"][1]["outputs"][0]["text"]), played

    (first, played), (second, _) = once(), once()
    assert first == second
    kernels = [report for report in played.reports if "ipykernel_launcher" in report.facts["key"]]
    assert kernels[0].facts["streams"]["numpy"] == 1
    assert kernels[0].facts["pools"]


# ------------------------------------------------------------------ lines


NAMES = st.binary(max_size=20) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: spelled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return spell(value) if isinstance(value, (str, bytes)) else value


@given(value=VALUES)
def test_a_line_is_json_and_names_are_spelled_as_everywhere(core_once: ModuleType, value: Any) -> None:
    line = core_once.encode(value)
    assert "\n" not in line
    assert json.loads(line) == spelled(value)


@pytest.fixture(scope="module")
def core_once() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_bis_core_for_test", chance.HOOK / "_bis_core.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
