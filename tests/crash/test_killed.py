"""Killed (-9) at random moments: the store is sound, what was acknowledged is there, and the next command works."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bis.acts.collect import collect
from bis.acts.data import remove
from bis.errors import KeepingError
from bis.ledger import history, registry
from bis.ledger.runs import reindex
from bis.nouns.model import By
from bis.nouns.run import Output, Run
from bis.steps.add_data import Adding, add
from bis.steps.keeping import keep_all
from bis.steps.registering import registering
from bis.steps.seal import seal
from bis.store.local import open_store

FORK = multiprocessing.get_context("fork")
Say = Callable[[object], None]
NOW = datetime(2026, 5, 3, tzinfo=UTC)


def test_adding_data(project: Any, killer: Any, rounds: int) -> None:
    acknowledged = []
    for state in range(rounds):
        if state % 50 == 49:
            project.start_anew()
            acknowledged.clear()
        expected = project.write(state)
        said = killer.run(lambda say: say(project.add()))
        acknowledged += [(version, expected) for version in said]
        assert project.is_sound()
        for version, content in acknowledged[-2:]:
            assert project.has(version, content)
    assert killer.killed
    for version, content in acknowledged[:: max(1, len(acknowledged) // 20)]:
        assert project.has(version, content)
    expected = project.write(rounds)
    assert project.has(project.add(), expected)


def test_collecting(project: Any, killer: Any, rounds: int) -> None:
    def gc(say: Say, state: int = 0, at_once: bool = True) -> None:
        with project.home() as home:
            # A day passes between any two, so that what was doomed is deleted by the next.
            say(collect(home, now=NOW + timedelta(days=state), grace=timedelta(hours=1), at_once=at_once))

    kept = []
    for state in range(rounds):
        content = project.write(state)
        kept.append((project.add(), content))
        if len(kept) > 3:
            gone, _ = kept.pop(killer.draw.randrange(3))
            with project.home() as home:
                remove([gone], home)
        killer.run(lambda say, state=state: gc(say, state, at_once=state % 3 > 0))  # type: ignore[misc]
        assert project.is_sound()
        for version, content in kept:
            assert project.has(version, content)
    assert killer.killed
    gc(lambda done: None, rounds)
    gc(lambda done: None, rounds + 1)
    assert project.is_sound()
    with project.home() as home:
        assert not (home.store.path / "doomed").exists()
        assert set(home.store.list("blob")) <= {digest for _, state in kept for digest in state.values()}


def test_sealing_runs(project: Any, killer: Any, rounds: int) -> None:
    def work(say: Say, start: int) -> None:
        with project.home() as home:
            for number in range(start, start + 5):
                digest = home.store.put_bytes(os.urandom(1000))
                run = Run(
                    id=f"{number:012x}",
                    name=f"train-{number}",
                    command=("x",),
                    started="2026-05-03T00:00:00Z",
                    status="finished",
                    outputs=(Output(path="model", digest=digest, size=1000),),
                )
                home.ledger.begin(run)
                seal(run, home.store, home.ledger)
                say(run)

    acknowledged: list[Run] = []
    for number in range(rounds):
        if number % 50 == 49:
            project.start_anew()
            acknowledged.clear()
        acknowledged += killer.run(lambda say, number=number: work(say, 5 * number))  # type: ignore[misc]
        assert project.is_sound()
    assert killer.killed
    with project.home() as home:
        for run in acknowledged:
            assert home.ledger.get(run.id) == run
            assert home.store.has(home.ledger.record(run.id))
            assert len(home.store.get_bytes(run.outputs[0].digest)) == 1000


def test_changing_the_registry(project: Any, killer: Any, rounds: int) -> None:
    """What was acknowledged is in the store, once, and comes back when the ledger is lost; of what was not, the
    registry is the same before and after."""

    def work(say: Say, start: int) -> None:
        with project.home() as home:
            for number in range(start, start + 5):
                with registering(home) as connection:
                    if not registry.models(connection):
                        registry.create(connection, "churn", By("ana", 1))
                    made = registry.add_version(connection, "churn", By("ana", number + 1), source=f"s{number}")
                    registry.set_alias(connection, "churn", "champion", made.record, By("ana", number + 1))
                say((made.number, made.source))

    def seen() -> Any:
        with project.home() as home, home.ledger.database.reading() as connection:
            model = registry.get(connection, "churn")
            return model, registry.versions(connection), history.events(connection, model)

    acknowledged: list[tuple[int, str]] = []
    for number in range(rounds):
        acknowledged += killer.run(lambda say, number=number: work(say, 5 * number))  # type: ignore[misc]
        if number % 5 == 4:
            for name in ("ledger", "ledger-wal", "ledger-shm"):
                (project.folder / ".bis" / name).unlink(missing_ok=True)
            with project.home() as home:
                reindex(home.store, home.ledger)
        _, versions, _ = seen()
        found = [(one.number, one.source) for one in versions]
        assert len(found) == len({source for _, source in found}), "something is there twice"
        assert set(acknowledged) <= set(found)
    assert killer.killed
    assert project.is_sound()
    with project.home() as home:
        keep_all(home)
    before = seen()
    (project.folder / ".bis" / "ledger").unlink()
    with project.home() as home:
        reindex(home.store, home.ledger)
    assert seen() == before


def test_running_a_command(project: Any, killer: Any, tracing: str, rounds: int) -> None:
    variables = {**os.environ, "BIS_TRACE": tracing, "HOME": str(project.folder.parent)}

    def bis(*words: str, moment: float | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "bis", *words],
            cwd=project.folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()  # bis alone: what it started may go on
        return process

    (project.folder / "data.csv").write_text("".join(f"{random.random()}\n" for _ in range(30_000)))
    script = ["sh", "-c", "sort data.csv > sorted.csv; echo done"]
    start = time.monotonic()
    assert bis("run", "--name", "first", "--", *script).returncode == 0
    usual = time.monotonic() - start
    finished = ["first"]
    for number in range(rounds):
        if number % 50 == 49:
            project.start_anew()
            finished = []
        name = f"killed-{number}"
        process = bis("run", "--name", name, "--", *script, moment=killer.draw.uniform(0, usual * 1.1))
        process.communicate()
        finished += [name] if process.returncode == 0 else []
        assert project.is_sound()
    listed = bis("log", "-n", "0", "--columns", "name,status")
    told, _ = listed.communicate()
    assert listed.returncode == 0
    assert {f"{name}\tfinished" for name in finished} <= set(told.splitlines())
    for words in (("run", "--name", "last", "--", *script), ("restore", "last", "back"), ("verify",)):
        last = bis(*words)
        assert (last.communicate(), last.returncode)[1] == 0
    assert project.is_sound()


def test_two_hundred_parallel_adds_of_which_some_processes_are_killed(project: Any, killer: Any) -> None:
    with project.home():
        pass
    here, there = FORK.Pipe(duplex=False)
    lock = FORK.Lock()

    def work(worker: int) -> None:
        for number in range(25):
            path = project.folder / f"file-{worker}-{number}.txt"
            path.write_text(f"{worker} {number}\n" * 100)
            with project.home() as home:
                held = add(Adding(path=path, name="many"), home).held
            with lock:
                there.send((held.version.number, held.record, path.read_bytes()))

    processes = [FORK.Process(target=work, args=(worker,)) for worker in range(8)]
    for process in processes:
        process.start()
    acknowledged = []
    while any(process.is_alive() for process in processes) or here.poll():
        if here.poll(0.05):
            acknowledged.append(here.recv())
    for process in processes:
        process.join()
    assert len(acknowledged) == 200
    assert sorted(number for number, _, _ in acknowledged) == list(range(1, 201))
    assert project.is_sound()
    with project.home() as home:
        there_now = {one.record: one.version for one in home.ledger.data.versions("many")}
        for number, record, content in acknowledged:
            assert there_now[record].number == number
            assert home.store.get_bytes(there_now[record].content) == content


def test_parallel_adds_that_are_killed(project: Any, killer: Any, rounds: int) -> None:
    def work(say: Say, worker: int, count: int = 5) -> None:
        for number in range(count):
            path = project.folder / f"file-{worker}-{number}.txt"
            path.write_text(f"{worker} {os.urandom(4).hex()}\n" * 100)
            with project.home() as home:
                say((add(Adding(path=path, name="many"), home).held, path.read_bytes()))

    acknowledged = []
    for _ in range(max(1, rounds // 4)):
        pipes, processes = [], []
        for worker in range(4):
            here, there = FORK.Pipe(duplex=False)
            process = FORK.Process(target=work, args=(there.send, worker))
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        for process in processes[:3]:
            time.sleep(killer.draw.uniform(0, 0.1))
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.join()
        for here in pipes:
            while here.poll():
                try:
                    acknowledged.append(here.recv())
                except EOFError:
                    break
        assert project.is_sound()
    with project.home() as home:
        there_now = {one.record for one in home.ledger.data.versions("many")}
        for held, content in acknowledged:
            assert held.record in there_now
            assert home.store.get_bytes(held.version.content) == content
        numbers = [one.version.number for one in home.ledger.data.versions("many")]
    assert len(numbers) == len(set(numbers))


def test_writers_go_on_while_somebody_collects(project: Any) -> None:
    """Adds and removals in one process, collections in another: nothing that is there is lost."""
    stop = FORK.Event()

    def sweep() -> None:
        hours = 0
        while not stop.is_set():
            hours += 2
            with project.home() as home:
                try:
                    collect(home, now=NOW + timedelta(hours=hours), grace=timedelta(hours=1), at_once=hours % 4 == 0)
                except KeepingError as error:
                    raise AssertionError(str(error)) from error

    content = project.write(0)
    kept = [(project.add(), content)]
    collector = FORK.Process(target=sweep)
    collector.start()
    try:
        for state in range(1, 15):
            # Every third state is one of before, which may be about to be deleted.
            content = project.write(state if state % 3 else 1)
            kept.append((project.add(), content))
            if len(kept) > 2:
                with project.home() as home:
                    remove([kept.pop(0)[0]], home)
            for version, content in kept:
                assert project.has(version, content)
    finally:
        stop.set()
        collector.join()
    assert collector.exitcode == 0
    assert project.is_sound()
    with open_store(project.folder / ".bis" / "store") as store:
        assert list(store.list("tree"))
