"""A run that a script begins itself, where no `bis run` is around it.

Its entries go to journals below `.bis/logging`; a thread carries them on to the ledger of the project, or to the server
that `BIS_SERVER` names. What it has not carried on when the process ends is carried on by the next `bis` command.
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from bis.errors import BisError
from bis.live.session import Session, around, entered, speaks
from bis.nouns.logged import JOURNALS, LOGGING, End
from bis.nouns.run import Status
from bis.parts.secret import hide_argv
from bis.settings import FOLDER, IGNORE, find_project, load_settings
from bis.steps.deliver import Beginning, Delivery, unexpected, write_beginning
from bis.steps.deliver_to import target, without_credentials
from bis.steps.here import host_here, now, user_here
from bis.steps.samples import started_at

if TYPE_CHECKING:
    from bis.steps.home import Home

PAUSE: Final = 0.5
"""Seconds between two looks of the thread at the journals."""
LONGEST: Final = 30.0
"""Between two tries when the target does not answer."""
PATIENCE: Final = 10.0
"""Seconds that the end of a process waits for the rest to be carried on."""


class OwnRun:
    """A run of this process, from its first entry to its end."""

    def __init__(self, name: str = "", experiment: str = "", note: str = "", server: str = "") -> None:
        project = find_project(Path.cwd())
        address, self._given = without_credentials(server or os.environ.get("BIS_SERVER", ""))
        self.beginning = Beginning(
            id=secrets.token_hex(16),
            name=name,
            experiment=experiment,
            note=note,
            started=now(),
            user=user_here(),
            host=host_here(),
            command=hide_argv(sys.orig_argv, os.urandom(16)),
            parent=_parent(),
            server=address,
            process=(os.getpid(), started_at(os.getpid())),
        )
        self.folder = _place(project) / self.beginning.id
        write_beginning(self.folder, self.beginning)
        self.session = Session(self.folder)
        self._project = project
        self._wake, self._ending = threading.Event(), False
        self._thread = threading.Thread(target=self._carry, name="bis-logging", daemon=True)
        self._thread.start()

    def end(self, status: Status) -> None:
        """Say how it ended, and wait until all is carried on, though not for long."""
        with suppress(OSError):
            self.session.tell(End(time.time_ns() // 1_000_000, status))
        self._ending = True
        self._wake.set()
        self._thread.join(PATIENCE)

    @property
    def _variables(self) -> Mapping[str, str]:
        """With what stood in the address, which is in no file."""
        return {**self._given, **os.environ}

    def _opened(self) -> Home:
        from bis.steps.home import open_home

        settings = load_settings(self._project, os.environ)
        return open_home(self._project, settings, variables=os.environ)

    def _carry(self) -> None:
        pause = PAUSE
        delivery: Delivery | None = None
        while True:
            last = self._ending
            try:
                delivery = delivery or Delivery(self.folder, target(self.beginning, self._opened, self._variables))
                delivery.go_on()
                for refused in delivery.refused:
                    _tell(refused)
                delivery.refused.clear()
                if last:
                    delivery.end()
                    return
                pause = PAUSE
            except Exception as error:  # a thread that ended would carry on nothing more: it tells, and tries again
                if pause == PAUSE:
                    _tell(f"what is logged waits in {self.folder}: {_why(error)}")
                if last:
                    return
                pause = min(pause * 2, LONGEST)
            self._wake.wait(pause)


def begin() -> Session:
    """The run of a script that logs without having begun one; it ends with the process."""
    try:
        own = OwnRun()
    except OSError as error:
        _tell(f"nothing is logged: {error}")
        return Session(None)
    os.environ[JOURNALS] = str(own.folder)
    process = os.getpid()
    failed: list[bool] = []
    before = sys.excepthook

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        failed.append(True)
        before(kind, error, trace)

    def end() -> None:
        if os.getpid() == process:
            own.end("failed" if failed else "finished")

    sys.excepthook = note
    atexit.register(end)
    return own.session


@contextmanager
def run(name: str = "", *, experiment: str = "", note: str = "", server: str = "") -> Iterator[Session]:
    """A run for what is logged inside: `with bis.run("trial-3"): ...`. Failed when an exception leaves it.

    Under `bis run` there is one run, which is the one that repeats: what is logged inside is logged to that, under
    names that begin with `trial-3/`. `experiment`, `note` and `server` say nothing then.
    """
    if not speaks():
        with entered(Session(None)) as inner:
            yield inner
        return
    if os.environ.get("BIS_RUN") and (folder := around()):
        with entered(Session(folder, f"{name}/" if name else "")) as inner:
            yield inner
        return
    try:
        own = OwnRun(name, experiment, note, server)
    except OSError as error:
        _tell(f"nothing is logged: {error}")
        with entered(Session(None)) as inner:
            yield inner
        return
    before = os.environ.get(JOURNALS)
    os.environ[JOURNALS] = str(own.folder)
    status: Status = "finished"
    try:
        with entered(own.session) as inner:
            yield inner
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        if before is None:
            os.environ.pop(JOURNALS, None)
        else:
            os.environ[JOURNALS] = before
        own.end(status)


def _tell(text: str) -> None:
    with suppress(Exception):  # there may be no standard error
        sys.stderr.write(f"bis: {text}\n")


def _why(error: Exception) -> str:
    if isinstance(error, BisError):
        return str(error.args[0] if error.args else error)
    return str(error) if isinstance(error, OSError) else unexpected(error)


def _parent() -> str:
    folder = around()
    return folder.name if folder is not None and folder.parent.name == LOGGING else ""


def _place(project: Path) -> Path:
    home = project / FOLDER
    home.mkdir(exist_ok=True)
    if not (home / ".gitignore").exists():
        (home / ".gitignore").write_text(IGNORE)
    return home / LOGGING
