"""Pools of processes: each task draws numbers of its own, whichever worker it runs on.

Which worker takes which task is up to the scheduler, so the place of a worker cannot be what its tasks' seeds are
made of. Each task has a place of its own in the tree of processes instead, by the order in which the tasks were
handed in: while it runs, the worker goes by that name, and its global generators are seeded anew unless the program
has seeded them itself. A task without a number draws as its worker does, which the run's reader should know; as a
worker is often killed when its pool ends, it is looked at after each of those.
"""

import threading

import _bis_core as core

seeds = core.load("_bis_seeds")

HANDED_IN = 0
"""Tasks that this process has handed in to executors, those of a batch one by one."""

BATCH = None
"""(Place of who handed it in, number of its first task) of the batch that this process is about to work through."""


class Numbered:
    """A function to be called in a worker, with the place of the task: never leaves the process that made it."""

    def __init__(self, function, place):
        self.function, self.place = function, place


def executor(module, kind):
    """Executors, of the standard library and of loky: a task is numbered as it is handed in, and its number goes to the
    worker with it."""
    work, call = module._WorkItem, module._CallItem
    in_work, in_call = work.__init__, call.__init__

    def hand_in(self, future, fn, args, kwargs):
        try:
            fn = Numbered(fn, _number(fn)) if core.SEED else fn
        except Exception:
            core.trouble()
        in_work(self, future, fn, args, kwargs)

    def send(self, work_id, fn, args, kwargs):
        place = None
        if isinstance(fn, Numbered):
            fn, place = fn.function, fn.place
        in_call(self, work_id, fn, args, kwargs)
        if place is not None:
            self._bis_place = place

    work.__init__, call.__init__ = core.alike(hand_in, in_work), core.alike(send, in_call)
    pool(module, "_process_worker", kind)


def _number(fn):
    global HANDED_IN
    with core.LOCK:
        number = HANDED_IN
        HANDED_IN += getattr(getattr(fn, "func", fn), "_size", 1)
    return core.KEY, number


def batches(module):
    """joblib sends tasks in batches whose sizes follow the clock: each of a batch's tasks is one of its own."""
    inner = module.BatchedCalls.__call__

    def __call__(self, *args, **options):
        global BATCH
        batch, BATCH = BATCH, None
        if batch is None:
            return inner(self, *args, **options)
        items = self.items
        self.items = _each(items, *batch)
        try:
            return inner(self, *args, **options)
        finally:
            self.items = items

    module.BatchedCalls.__call__ = core.alike(__call__, inner)


def _each(items, parent, number):
    for item in items:
        _begin("%s.t%d" % (parent, number))
        number += 1
        yield item


def pool(module, name, kind):
    """Wrap the main function of a pool's workers: its first arguments are the queues for tasks and for results."""
    inner = getattr(module, name)

    def worker(tasks, results, *args, **options):
        if threading.current_thread() is threading.main_thread():  # else a pool of threads
            try:
                results = _Results(results, kind)
                tasks = _Tasks(tasks, results, core.KEY.rpartition(".")[0])
            except Exception:
                core.trouble()
        return inner(tasks, results, *args, **options)

    setattr(module, name, core.alike(worker, inner))


class _Tasks:
    """The queue of tasks. `parent`: the place of the process that made the pool."""

    def __init__(self, inner, results, parent):
        self._inner, self._results, self._parent = inner, results, parent
        self._begun = False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def get(self, *args, **options):
        if not self._begun:
            self._begun = True
            self._results.look()  # what the worker drew for itself before its first task
        task = self._inner.get(*args, **options)
        try:
            if task is not None:  # which ends the work
                self._results.numbered = self._start(task)
        except Exception:
            core.trouble()
        return task

    def _start(self, task):
        """Whether the task has a number: what it draws then does not hang on the worker."""
        global BATCH
        place = getattr(task, "_bis_place", None)
        BATCH = place if place is not None and _is_batch(task.fn) else None
        if place is not None:
            _begin("%s.t%d" % place)
            return True
        if type(task) is tuple and len(task) == 5 and not _is_batch(task[2]) and core.SEED:
            _begin("%s.p%s.t%s" % (self._parent, task[0], task[1]))
            return True
        return False


def _is_batch(function):
    return hasattr(getattr(function, "func", function), "_size")


def _begin(place):
    core.KEY = place
    core.COUNTS.clear()
    core.FORKS = 0
    seeds.TASK = True
    seeds.afresh()


class _Results:
    """The queue for results, with a look after each."""

    def __init__(self, inner, kind):
        self._inner, self._kind, self._drew = inner, kind, []
        self.numbered = False
        core.emit({"e": "worker", "pool": kind, "drew": []})

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def put(self, *args, **options):
        self._inner.put(*args, **options)
        if not self.numbered:
            self.look()

    def look(self):
        """Say what was drawn by no task with a number."""
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
