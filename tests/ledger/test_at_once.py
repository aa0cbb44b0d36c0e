"""Processes that make one ledger at the same moment."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

from bis.ledger.places import database_at

SEVERAL = 6
TIMES = 12


def _make(path: Path, start: Any, told: Any) -> None:
    database = database_at(path)
    start.wait()
    try:
        with database.writing() as connection:
            connection.execute("INSERT INTO params (run, key, value) VALUES (1, ?, 'x')", (str(os.getpid()),))
        told.put("")
    except Exception as error:
        told.put(str(error))


def test_who_comes_while_another_makes_the_ledger_waits_for_it(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for number in range(TIMES):
        start, told = fork.Barrier(SEVERAL), fork.SimpleQueue()
        words = (tmp_path / f"ledger-{number}", start, told)
        processes = [fork.Process(target=_make, args=words) for _ in range(SEVERAL)]
        for process in processes:
            process.start()
        assert [told.get() for _ in processes] == [""] * SEVERAL
        for process in processes:
            process.join()
