"""Workers of process pools: whether they draw from generators that were seeded per worker.

Such numbers are the same again in each worker, but which task a worker gets is up to the scheduler, so the run's
reader should know. Seen by comparing, after each task, the state of the global generators with that at the start.
"""

import sys
import threading

import _bis_core as core

seeds = core.load("_bis_seeds")

START = {}
"""Global generators that have not been drawn from yet, with the state that they were given."""

DREW = []
WORKING = False
ASIDE = {"tempfile", "multiprocessing", "_posixsubprocess", "uuid"}
"""Modules whose own generators choose names of files and the like."""


def pool(module, name, kind):
    """Wrap the main function of a pool's workers: its second argument is the queue for results."""
    inner = getattr(module, name)

    def worker(tasks, results, *args, **options):
        if threading.current_thread() is threading.main_thread():  # else a pool of threads
            try:
                _begin(kind)
                results = _Results(results, kind)
            except Exception:
                core.trouble()
        return inner(tasks, results, *args, **options)

    setattr(module, name, core.alike(worker, inner))


def _begin(kind):
    global WORKING
    WORKING = True
    START.clear()
    DREW.clear()
    for name in STATES:
        remember(name)
    core.emit({"e": "worker", "pool": kind, "drew": []})


def remember(name):
    """Keep the state that a generator was given, when this process is a worker."""
    if WORKING and core.SEED and name not in seeds.OWN:
        state = STATES[name]()
        if state is not None:
            START[name] = state


class _Results:
    """The queue for results, looked at after each."""

    def __init__(self, inner, kind):
        self._inner, self._kind = inner, kind

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def put(self, *args, **options):
        self._inner.put(*args, **options)
        try:
            _look(self._kind)
        except Exception:
            core.trouble()


def _look(kind):
    before = len(DREW)
    for name in list(START):
        if name in seeds.OWN:
            del START[name]
        elif STATES[name]() != START[name]:
            del START[name]
            DREW.append(name)
    for slot in core.COUNTS:
        name, _, module = slot.partition("@")
        if name and module and module.split("#")[0] not in ASIDE and name not in DREW:
            DREW.append(name)
    if len(DREW) > before:
        core.emit({"e": "worker", "pool": kind, "drew": sorted(DREW)})


def _python():
    module = sys.modules.get("random")
    return module and module._inst.getstate()


def _numpy():
    module = sys.modules.get("numpy.random.mtrand")
    state = module and module._rand.get_state(legacy=False)
    return state and repr(state["state"]["pos"]) + state["state"]["key"].tobytes().hex()


def _torch():
    module = sys.modules.get("torch")
    return module and module.default_generator.get_state().numpy().tobytes()


STATES = {"random": _python, "numpy": _numpy, "torch": _torch}
