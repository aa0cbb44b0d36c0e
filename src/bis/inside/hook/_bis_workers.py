"""Workers of process pools: whether they draw from generators that were seeded per worker.

Such numbers are the same again in each worker, but which task a worker gets is up to the scheduler, so the run's
reader should know. A worker is often killed when its pool ends, so it looks after each task.
"""

import threading

import _bis_core as core

seeds = core.load("_bis_seeds")


def pool(module, name, kind):
    """Wrap the main function of a pool's workers: its second argument is the queue for results."""
    inner = getattr(module, name)

    def worker(tasks, results, *args, **options):
        if threading.current_thread() is threading.main_thread():  # else a pool of threads
            try:
                results = _Results(results, kind)
            except Exception:
                core.trouble()
        return inner(tasks, results, *args, **options)

    setattr(module, name, core.alike(worker, inner))


class _Results:
    """The queue for results, with a look after each."""

    def __init__(self, inner, kind):
        self._inner, self._kind, self._drew = inner, kind, []
        core.emit({"e": "worker", "pool": kind, "drew": []})

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def put(self, *args, **options):
        self._inner.put(*args, **options)
        try:
            drew = _drew()
            if drew != self._drew:
                self._drew = drew
                core.emit({"e": "worker", "pool": self._kind, "drew": drew})
        except Exception:
            core.trouble()


def _drew():
    found = set(seeds.drawn())
    for slot in list(core.COUNTS):
        name, _, module = slot.partition("@")
        if name and module:
            found.add(name)
    return sorted(found)
