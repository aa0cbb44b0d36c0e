"""Seed what nobody seeded, right after it is imported. What the program seeds itself is noted, and wins."""

import os
import sys

import _bis_core as core

places = core.load("_bis_places")

OWN = set()
"""Global generators that the program has seeded itself: a fork inherits those as it would without bis."""


def after(name, module):
    """Called when a module of `core.WANTED` has just been imported (or imported again)."""
    AFTER[name](module)


# ------------------------------------------------------------------ which were drawn from


def _python_state():
    return sys.modules["random"]._inst.getstate()


def _numpy_state():
    state = sys.modules["numpy.random.mtrand"]._rand.get_state(legacy=False)["state"]
    return state["pos"], state["key"].tobytes()


def _torch_state():
    return bytes(sys.modules["torch"].default_generator.get_state().tolist())


STATES = {"random": _python_state, "numpy": _numpy_state, "torch": _torch_state}
GIVEN = {}
"""Global generators that nobody has drawn from yet, with the state that they were given."""

TASK = False
"""Whether this process works through tasks: what the first of them imports is seeded as for each later one."""

DRAWN = set()
core.AFTER_FORK.append(DRAWN.clear)


def given(name):
    """Called when a global generator has just been seeded here."""
    if name in DRAWN:  # which is all that there is to know of it
        return
    try:
        GIVEN[name] = STATES[name]()
    except Exception:  # another kind of generator has been put in its place
        DRAWN.add(name)


def look(name):
    """See whether it has been drawn from since."""
    if name in GIVEN:
        try:
            drawn = STATES[name]() != GIVEN[name]
        except Exception:
            drawn = True
        if drawn:
            del GIVEN[name]
            DRAWN.add(name)


def drawn():
    """The global generators that were seeded here and drawn from."""
    for name in list(GIVEN):
        look(name)
    return sorted(DRAWN)


def _own(name):
    """The program seeds it itself: what comes now is no longer ours."""
    look(name)
    GIVEN.pop(name, None)
    OWN.add(name)


# ------------------------------------------------------------------ what the program seeds


def noticing(module, name, label, generator, fresh=None):
    """Wrap a seeding function: with a seed it is the program's own doing; without, `fresh` gives a derived one."""
    inner = getattr(module, name, None)
    if inner is None:
        return

    def wrapper(*args, **options):
        try:
            if any(value is not None for value in (*args[:1], *options.values())):
                if places.seeded(label, sys._getframe(1)):
                    _own(generator)
            elif fresh is not None and core.SEED:
                OWN.discard(generator)
                return fresh()
        except Exception:
            core.trouble()
        return inner(*args, **options)

    setattr(module, name, core.alike(wrapper, inner))


def _in_forks(call):
    if call not in core.AFTER_FORK:
        core.AFTER_FORK.append(call)


# ------------------------------------------------------------------ Python


def _random(module):
    Random, SystemRandom = module.Random, module.SystemRandom
    inner = Random.seed
    module._urandom = os.urandom  # as it was perhaps imported before it was wrapped

    def seed(self, a=None, *args, **options):
        shared = self is getattr(module, "_inst", None)
        derived = a is None and core.SEED and not isinstance(self, SystemRandom)
        if derived and shared:
            a = core.derive("random")
            OWN.discard("random")
        elif derived:
            frame = sys._getframe(1)
            frame = frame.f_back if frame.f_globals is vars(module) else frame
            a = core.derive("random.Random" if places.counts(frame) else "", places.module(frame))
        elif a is not None:
            _own_random(shared)
        inner(self, a, *args, **options)
        if derived and shared:
            given("random")

    if not hasattr(inner, "__wrapped__"):
        Random.seed = core.alike(seed, inner)
    module.seed = module._inst.seed
    if core.SEED:
        module.seed()
        os.register_at_fork(after_in_child=_random_again)


def _own_random(shared):
    frame = sys._getframe(2)
    if shared:
        if places.seeded("random.seed", frame):
            _own("random")
    else:
        if frame.f_globals.get("__name__") == "random":
            frame = frame.f_back
        if frame is not None and places.kind(frame) == "user":
            places.seeded("random.Random", frame)


def _random_again():
    """Runs after the module's own hook, which seeds a fork from the operating system, whatever the program had set."""
    module = sys.modules.get("random")
    if module is not None and core.SEED:
        try:
            module._inst.seed()
        except Exception:
            core.trouble()


# ------------------------------------------------------------------ NumPy


def _numpy_bits(module):
    """All generators without a seed, the global one included, ask this one function for their entropy."""
    inner = module.randbits
    if hasattr(inner, "__wrapped__"):
        return

    def randbits(bits):
        if "numpy.random.mtrand" not in sys.modules or not READY:
            READY.add("numpy")
            return core.derive("numpy", "", bits) if core.SEED else inner(bits)
        frame = sys._getframe(1)
        through = frame.f_code is getattr(DEFAULT_RNG, "__code__", None)
        frame = frame.f_back if through else frame
        counted = (through or _without_arguments(frame)) and places.counts(frame)
        if core.SEED:
            return core.derive("numpy.generator" if counted else "", places.module(frame), bits)
        if counted:
            places.unseeded("numpy.random", frame)
        return inner(bits)

    module.randbits = core.alike(randbits, inner)


def _without_arguments(frame):
    """Whether the call under way has none: `RandomState(3)` asks for entropy too, and then uses 3. So do copies."""
    at = frame.f_lasti + 1
    code = frame.f_code.co_code
    return places.module(frame) != "numpy.random._pickle" and at < len(code) and code[at] == 0


DEFAULT_RNG = None
READY = set()


def _numpy_global(module):
    if core.SEED:
        if "numpy" in READY and not TASK:  # seeded as it was made
            given("numpy")
        else:
            READY.add("numpy")
            core.COUNTS.pop("numpy@", None)
            _numpy_again()
        _in_forks(_numpy_again)
    noticing(module, "seed", "numpy.random.seed", "numpy", _numpy_again)
    noticing(module, "set_state", "numpy.random.set_state", "numpy")


def _numpy_again():
    """Give the global generator a stream of this process, unless the program seeded it."""
    if "numpy" in OWN or not core.SEED:
        return
    number = core.derive("numpy")
    try:
        sys.modules["numpy.random.mtrand"]._rand.seed([number >> shift & 0xFFFFFFFF for shift in (0, 32, 64, 96)])
        given("numpy")
    except Exception:
        core.trouble()


def _numpy_generators(module):
    global DEFAULT_RNG
    inner = module.default_rng

    def default_rng(seed=None):
        if type(seed) is int:
            frame = sys._getframe(1)
            if places.kind(frame) == "user":
                places.seeded("numpy.random.default_rng", frame)
        return inner(seed)

    DEFAULT_RNG = default_rng
    module.default_rng = core.alike(default_rng, inner)


# ------------------------------------------------------------------ frameworks


def _torch_seeding(module):
    noticing(module, "manual_seed", "torch.manual_seed", "torch")
    noticing(module, "set_rng_state", "torch.set_rng_state", "torch")
    inner = getattr(module, "seed", None)
    if inner is not None and core.SEED:

        def seed():
            number = core.derive("torch", "", 64) >> 1
            module.manual_seed.__wrapped__(number)
            OWN.discard("torch")
            given("torch")
            return number

        module.seed = core.alike(seed, inner)


def _torch(module):
    if core.SEED and "torch" not in OWN:
        module.random.manual_seed.__wrapped__(core.derive("torch", "", 64) >> 1)
        given("torch")
        _in_forks(_torch_again)
    if core.DETERMINISTIC:
        module.use_deterministic_algorithms(True, warn_only=True)
        module.backends.cudnn.benchmark = False
        module.backends.cudnn.deterministic = True
    core.finish()


def _torch_again():
    if "torch" not in OWN and core.ALONE:  # a thread that was drawing would hold the generator's lock for ever
        sys.modules["torch"].default_generator.manual_seed(core.derive("torch", "", 64) >> 1)
        given("torch")


def _tensorflow(module):
    noticing(module.random, "set_seed", "tensorflow.random.set_seed", "tensorflow")
    if core.SEED:
        module.random.set_seed.__wrapped__(core.derive("tensorflow", "", 32) >> 1)
    if core.DETERMINISTIC:
        module.config.experimental.enable_op_determinism()
    core.finish()


def _polars(module):
    noticing(module, "set_random_seed", "polars.set_random_seed", "polars")
    _polars_again(module)


def _polars_again(module):
    if core.SEED:
        module.set_random_seed.__wrapped__(core.derive("polars", "", 64) >> 1)


NUMBA_STATE = 624 * 4
"""Bytes that compiled code of Numba asks `os.urandom` for when it first draws: the state of its own generator."""


def _numba(module):
    inner = os.urandom
    if not core.SEED or getattr(inner, "numba", False):
        return

    def urandom(size, /):
        if size != NUMBA_STATE:
            return inner(size)
        state = [core.derive("numba" if i == 0 else "", "numba", 512) for i in range(NUMBA_STATE // 64)]
        return b"".join(number.to_bytes(64, "little") for number in state)

    os.urandom = core.alike(urandom, inner)
    os.urandom.numba = True


def _cupy(module):
    """CuPy's newer generators ask NumPy for their entropy; the older ones, that of each card too, seed themselves."""
    State = module.RandomState
    inner = State.seed

    def seed(self, seed=None):
        try:
            if seed is not None:
                places.seeded("cupy.random.seed", sys._getframe(1))
            elif core.SEED:
                seed = core.derive("cupy", "", 64) >> 1
        except Exception:
            core.trouble()
        return inner(self, seed)

    State.seed = core.alike(seed, inner)


XLA_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def _jax(module):
    """JAX draws only from keys that the program makes: nothing to seed, its keys are noted."""
    noticing(module, "key", "jax.random.key", "jax")
    noticing(module, "PRNGKey", "jax.random.PRNGKey", "jax")
    flags = os.environ.get("XLA_FLAGS", "")
    if core.DETERMINISTIC and "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = (flags + " " + XLA_DETERMINISTIC).strip()  # read when the first array is made


# ------------------------------------------------------------------ processes


def _processes(module):
    module.fork_exec = core.load("_bis_spawn").fork_exec(module.fork_exec)
    subprocess = sys.modules.get("subprocess")
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = module.fork_exec


def _pool(kind):
    return lambda module: core.load("_bis_workers").pool(module, "worker", kind)


def _executor(kind):
    return lambda module: core.load("_bis_workers").executor(module, kind)


def _notebook(module):
    """A kernel starts its user's code from fresh streams: what IPython drew before depends on the state of the home
    folder. And as a kernel may be killed rather than ended, what there is to say is said after each cell."""
    inner = module.InteractiveShell.init_events
    started = []

    def before_cell(info):
        if not started:
            started.append(True)
            afresh()

    def after_cell(result):
        core.finish()

    def init_events(self):
        inner(self)
        self.events.register("pre_run_cell", before_cell)
        self.events.register("post_run_cell", after_cell)

    module.InteractiveShell.init_events = core.alike(init_events, inner)


def afresh():
    """Give the global generators that the program has not seeded streams of the place where this process is now."""
    drawn()
    if "random" in sys.modules and "random" not in OWN:
        _random_again()
    if "numpy.random.mtrand" in sys.modules:
        _numpy_again()
    if _torch_again in core.AFTER_FORK:
        _torch_again()
    if "polars" in sys.modules and "polars" not in OWN:
        _polars_again(sys.modules["polars"])


def _facts(module):
    core.finish()


AFTER = {
    "random": _random,
    "numpy.random.bit_generator": _numpy_bits,
    "numpy.random._bit_generator": _numpy_bits,
    "numpy.random.mtrand": _numpy_global,
    "numpy.random._generator": _numpy_generators,
    "numpy": _facts,
    "sklearn": _facts,
    "xgboost": _facts,
    "lightgbm": _facts,
    "torch.random": _torch_seeding,
    "torch": _torch,
    "tensorflow": _tensorflow,
    "polars": _polars,
    "numba": _numba,
    "cupy.random._generator": _cupy,
    "jax.random": _jax,
    "IPython.core.interactiveshell": _notebook,
    "socket": lambda module: core.load("_bis_sockets").watch(module),
    "_posixsubprocess": _processes,
    "multiprocessing.pool": _pool("multiprocessing.Pool"),
    "concurrent.futures.process": _executor("ProcessPoolExecutor"),
    "loky.process_executor": _executor("loky"),
    "joblib.externals.loky.process_executor": _executor("loky"),
    "joblib.parallel": lambda module: core.load("_bis_workers").batches(module),
}
