"""What one Python of a run says of itself, and the numbers that it is given. Python 3.8 and later, standard library.

Loaded by `sitecustomize` at the start of each interpreter, so it imports nothing that a bare Python has not loaded.
What is needed later, when a framework is imported, a process is started or the program ends, lies beside it in
small modules that `load` loads.

Variables read, and then hidden from `os.environ` (children inherit them all the same, see `_hide`):

    BIS_INSIDE         folder for the lines below, and for `claims/`
    BIS_SEED           the run's seed, decimal; absent: nothing is seeded
    BIS_KEY            the place in the tree of processes below which this one claims its own
    BIS_DETERMINISTIC  1: frameworks are switched to their deterministic algorithms
    BIS_EVENTS         1: openings of files are reported too, where no tracer sees them

Lines written, JSON, one file `<pid>-<n>.said` per process, each line in one write, at once. All names and paths
are spelled as `bis.digest.spell` does. `e` is the kind of line:

    start    pid, ppid, t (seconds), exe, prefix, base (prefix), version, impl(ementation), path (sys.path), argv,
             hash (PYTHONHASHSEED), k (key in the tree), fork (true: a fork of `ppid`), unseeded (why, if so)
    streams  n: how many generators were given a seed so far, by name
    own      w: what the program seeded itself, and where
    entropy  w: where it read the randomness of the operating system
    worker   pool: this process takes tasks of a process pool; drew: names of the streams it drew from outside of tasks
             that have a number
    race     label: a like process was started at the same time by something that is not Python
    nested   pid: a `bis run` of its own, which keeps its own record
    exec     p, argv, k (for a Python that will speak for itself: its key)
    mute     p, argv: of a Python that cannot speak (-I, -S, -E)
    connect  a: `tcp:HOST:PORT`, `udp:HOST:PORT`, `unix:PATH`;  name: h: a host name that was looked up
    open     p, m (r, w, a, t: emptied);  list: p;  make: p (a folder);  remove: p;  rename: p, q
             (these only with BIS_EVENTS=1)
    was      p, t (nanoseconds), b: the file at its first mention, as size, mtime, inode and ctime, or null
    trouble  w: what failed in this hook
    facts    pools, simd, torch, tensorflow, modules, streams: the newest of each counts, and a fork does not repeat
             its parent's; drawn: those of the streams `random`, `numpy`, `torch` that were drawn from; end: true
             when the process has come to its end

Seeds. A process is named by its place in the tree, `r:train.py.s1.f2`: the run (`r`), the first `train.py` that
claimed a place there, its first spawned child (`s1`), the second fork of that (`f2`). In a pool of processes the
tasks are named, not the workers: the eighth task that was handed in (`t7`). A generator's seed is the keyed
hash of that name, the generator's kind, the module that asked and a counter. So equal runs draw equal numbers, and
no two generators or processes share any.
"""

import atexit
import os
import sys
from _thread import RLock, _count, get_ident

WANTED = {
    "random",
    "numpy.random.bit_generator",
    "numpy.random._bit_generator",
    "numpy.random.mtrand",
    "numpy.random._generator",
    "numpy",
    "sklearn",
    "xgboost",
    "lightgbm",
    "torch.random",
    "torch",
    "tensorflow",
    "polars",
    "numba",
    "cupy.random._generator",
    "jax.random",
    "socket",
    "multiprocessing.pool",
    "concurrent.futures.process",
    "loky.process_executor",
    "joblib.externals.loky.process_executor",
    "joblib.parallel",
    "IPython.core.interactiveshell",
    "_posixsubprocess",
}
"""Modules after whose import there is something to do (`_bis_seeds.AFTER`)."""

HIDDEN = ("BIS_INSIDE", "BIS_SEED", "BIS_KEY", "BIS_DETERMINISTIC", "BIS_EVENTS")

HOOK = INSIDE = KEY = ""
SEED = b""
DETERMINISTIC = EVENTS = FORKED = RACE = QUIET = False
CARRIED = {}  # what a child's environment is given, beside BIS_KEY and PYTHONPATH
PATH_SEEN = None  # the user's PYTHONPATH when the one that children inherit was last made
FILE = ""
LOCK, SPAWN = RLock(), RLock()
FORKS = 0
ALONE = True  # whether the last fork had no other threads, which may hold locks that the child finds held for ever
PENDING = {}  # thread -> the ordinal of the fork that it is about to make
COUNTS, STREAMS = {}, {}
AFTER_FORK = []  # called in the child of a fork, in order
NOTED = set()

_open, _write, _close, _putenv, _getpid = os.open, os.write, os.close, os.putenv, os.getpid


def begin(folder):
    """Read the variables, claim a place in the tree of processes, and be called from here on when something happens."""
    global HOOK, INSIDE, SEED, KEY, DETERMINISTIC, EVENTS
    found = {name: os.environ.get(name) for name in HIDDEN}
    if not found["BIS_INSIDE"]:
        return
    HOOK, INSIDE = folder, found["BIS_INSIDE"]
    SEED = (found["BIS_SEED"] or "").encode()[:64]
    DETERMINISTIC, EVENTS = found["BIS_DETERMINISTIC"] == "1", found["BIS_EVENTS"] == "1"
    _hide(found)
    if SEED:
        KEY = _claim(found["BIS_KEY"] or "r")
        _putenv("BIS_KEY", KEY + ".x")  # for children that are started in ways that nobody here sees
    _born()
    if RACE:
        emit({"e": "race", "label": _label() or "python"})
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
    atexit.register(finish, end=True)
    _wrap_os()
    if EVENTS:
        load("_bis_events").listen()
    sys.meta_path.insert(0, Finder())
    for name in WANTED.intersection(sys.modules):
        _after(name, sys.modules[name])


# ------------------------------------------------------------------ lines


def emit(record):
    """Append one line. The file is opened anew each time: a program may close descriptors that are not its own, and
    what is written is in the file whatever becomes of the process."""
    try:
        file = _open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            _write(file, (encode(record) + "\n").encode("ascii", "replace"))
        finally:
            _close(file)
    except Exception:
        pass


def trouble():
    """Say what went wrong in here: the program never notices, the run's record does."""
    kind, error, at = sys.exc_info()
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = "%s:%d" % (os.path.basename(at.tb_frame.f_code.co_filename), at.tb_lineno) if at else "?"
    once({"e": "trouble", "w": "%s: %s (%s)" % (getattr(kind, "__name__", "?"), error, where)})


def once(record):
    """Append a line unless this process has written the same before."""
    line = encode(record)
    if line not in NOTED and len(NOTED) < 200000:
        NOTED.add(line)
        emit(record)


def encode(value):
    """JSON, without importing `json` (a third of a bare start)."""
    if isinstance(value, (str, bytes)):
        return _quoted(spell(value))
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value) if value == value and abs(value) != float("inf") else "null"
    if isinstance(value, dict):
        return "{" + ",".join(encode(str(key)) + ":" + encode(item) for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ",".join(map(encode, value)) + "]"
    return encode(str(value))


def spell(name):
    """As `bis.digest.spell`: each byte that is not UTF-8 becomes NUL and two hexadecimal digits."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    if text.isascii():
        return text
    return "".join("\0%02x" % (ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text)


def _quoted(text):
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    try:
        from _json import encode_basestring_ascii as quote
    except ImportError:
        from json import dumps as quote
    return quote(text)


def _born():
    """Make this process's file and write its first line."""
    global FILE
    pid, n = _getpid(), 0
    while True:
        FILE = os.path.join(INSIDE, "%d-%d.said" % (pid, n))
        try:
            file = _open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            break
        except FileExistsError:
            n += 1
        except OSError:  # no folder any more: nobody is there to read it
            return
    NOTED.clear()
    try:
        _write(file, (encode(_start(pid)) + "\n").encode("ascii", "replace"))
    finally:
        _close(file)


def _start(pid):
    import time

    line = {
        "e": "start",
        "pid": pid,
        "ppid": os.getppid(),
        "t": time.time(),
        "exe": sys.executable or "",
        "prefix": sys.prefix,
        "base": sys.base_prefix,
        "version": "%d.%d.%d" % sys.version_info[:3],
        "impl": sys.implementation.name,
        "path": [entry for entry in sys.path if entry != HOOK],
        "argv": _argv(),
        "hash": os.environ.get("PYTHONHASHSEED"),
        "k": KEY,
    }
    if FORKED:
        line["fork"] = True
    return line


def _argv():
    """The whole command line, with the interpreter and its flags."""
    whole = getattr(sys, "orig_argv", None)
    if whole is None:
        try:
            with open("/proc/self/cmdline", "rb") as file:
                return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
        except OSError:
            whole = [sys.executable, *getattr(sys, "argv", [])]
    return list(whole)


# ------------------------------------------------------------------ the tree of processes, and seeds


def _claim(parent):
    """This process's place below `parent`: the first free one of its label. Two that were started by one shell get
    two places, in the order in which they came."""
    global RACE
    label = _label()
    base = parent + ":" + label if label else parent
    for n in range(1000000):
        name = base if n == 0 else "%s~%d" % (base, n)
        try:
            file = _open(_claim_path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            continue
        except OSError:
            break
        try:
            _write(file, b"%d" % _getpid())
        finally:
            _close(file)
        RACE = n > 0 and _lives(_claim_path(base if n == 1 else "%s~%d" % (base, n - 1)))
        return name
    return "%s!%d" % (base, _getpid())


def _claim_path(name):
    name = name.replace("/", "_") if len(name) < 120 else "h" + _hash(name, 128).hex()
    return os.path.join(INSIDE, "claims", name)


def _lives(path):
    """Whether the process that claimed the place before is still there: then the two ran for the places."""
    with open(path, "rb") as file:
        pid = file.read()
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        pass
    return True


def _label():
    """What this interpreter runs, without folders and arguments: they may differ from run to run."""
    argv = _argv()[1:]
    while argv and argv[0].startswith("-") and argv[0] not in ("-c", "-m", "-"):
        word = argv.pop(0)
        if word in ("-X", "-W", "--check-hash-based-pycs") and argv:
            argv.pop(0)
        elif not word.startswith("--") and word[-1] in "cm" and len(word) > 2 and word[1] not in "XW":
            argv.insert(0, "-" + word[-1])
    if not argv or argv[0] in ("-c", "-"):
        return argv[0][1:] if argv else ""
    if argv[0] == "-m":
        return argv[1] if len(argv) > 1 else ""
    name = os.path.basename(argv[0])
    return "tmp" if argv[0].startswith(("/tmp/tmp", os.environ.get("TMPDIR", "/tmp") + "/tmp")) else name


def _hash(text, bits):
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=bits // 8, key=SEED).digest()


def derive(name, module="", bits=128):
    """The next seed of a kind of generator. Never the same twice in a run; the same again in its repeat. One without
    a name is not counted among the streams."""
    slot = name + "@" + module
    with LOCK:
        n = COUNTS[slot] = COUNTS.get(slot, -1) + 1
        total = STREAMS.get(name, 0) + 1 if name else 0
        if name:
            STREAMS[name] = total
    if name and total & (total - 1) == 0:  # few lines for many generators, and never far from the truth after a kill
        tell_streams()
    return int.from_bytes(_hash("%s|%s|%d" % (KEY, slot, n), bits), "big")


def tell_streams():
    if STREAMS and not QUIET:
        emit({"e": "streams", "n": dict(STREAMS)})


def _before_fork():
    global FORKS, ALONE
    with LOCK:
        FORKS += 1
        PENDING[get_ident()] = FORKS
    ALONE = _count() == 0


def _in_parent():
    PENDING.pop(get_ident(), None)


def _in_child():
    """A fork is a process of its own: its own file, its own place, and its own numbers for what nobody seeded."""
    global LOCK, SPAWN, KEY, FORKS, FORKED, QUIET
    try:
        LOCK, SPAWN = RLock(), RLock()
        KEY = "%s.f%d" % (KEY, PENDING.get(get_ident(), 0)) if SEED else ""
        FORKS = 0
        FORKED = True
        for kept in (PENDING, COUNTS, STREAMS):
            kept.clear()
        _born()
        QUIET = True
        try:
            for again in AFTER_FORK:
                again()
        finally:
            QUIET = False
        tell_streams()
    except Exception:
        trouble()


# ------------------------------------------------------------------ what this process starts


def _hide(found):
    """Let `os.environ` show what it would without bis. Only its own copy is changed: the environment that children
    inherit keeps all, and an explicit `env=` is completed on its way (`_bis_spawn`)."""
    global PATH_SEEN
    CARRIED.update({name: value for name, value in found.items() if value and name != "BIS_KEY"})
    if "PYTHONHASHSEED" in os.environ:
        CARRIED["PYTHONHASHSEED"] = os.environ["PYTHONHASHSEED"]
    data = getattr(os.environ, "_data", None)
    if isinstance(data, dict):
        for name in found:
            data.pop(os.fsencode(name), None)
        theirs = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry != HOOK]
        if theirs:
            data[b"PYTHONPATH"] = os.fsencode(os.pathsep.join(theirs))
        else:
            data.pop(b"PYTHONPATH", None)
    PATH_SEEN = os.environ.get("PYTHONPATH")


def alike(wrapper, inner):
    """Give a wrapper the face of what it wraps: name, documentation, signature, and the name pickle looks up."""
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__text_signature__"):
        try:
            setattr(wrapper, name, getattr(inner, name))
        except (AttributeError, TypeError):
            pass
    wrapper.__wrapped__ = inner
    return wrapper


def _wrap_os():
    """The few functions of `os` that say something: the ways to another program, the way out that skips `atexit`,
    and randomness. Not an audit hook, which would be called for each `id()` as well."""
    for name, make in (
        ("_exit", _leaving),
        ("execv", _by_spawn("replacing")),
        ("execve", _by_spawn("replacing")),
        ("system", _by_spawn("system")),
        ("posix_spawn", _spawning),
        ("posix_spawnp", _spawning),
        ("urandom", _entropy),
        ("getrandom", _entropy),
    ):
        inner = getattr(os, name, None)
        if inner is not None:
            wrapper = alike(make(inner), inner)
            wrapper.__module__ = "os"  # where pickle finds it again
            setattr(os, name, wrapper)
            for group in (os.supports_fd, os.supports_dir_fd):
                if inner in group:
                    group.add(wrapper)


def _leaving(inner):
    def _exit(status):
        finish(end=True)
        inner(status)

    return _exit


def _by_spawn(name):
    """A wrapper that has `_bis_spawn` prepare the arguments."""

    def make(inner):
        def call(*args, **options):
            try:
                args, options = getattr(load("_bis_spawn"), name)(*args, **options)
            except Exception:
                trouble()
            return inner(*args, **options)

        return call

    return make


def _spawning(inner):
    def posix_spawn(*args, **options):
        return load("_bis_spawn").posix_spawn(inner, args, options)

    return posix_spawn


def _entropy(inner):
    def urandom(*args, **options):
        try:
            load("_bis_places").entropy(sys._getframe(1))
        except Exception:
            trouble()
        return inner(*args, **options)

    return urandom


# ------------------------------------------------------------------ being called


class Finder:
    """Stands before the other finders and lets them find; adds what runs after the import of a few modules."""

    def __init__(self):
        self.busy = set()

    def find_spec(self, name, path=None, target=None):
        if name not in WANTED or name in self.busy:
            return None
        self.busy.add(name)
        try:
            for finder in list(sys.meta_path):
                find = None if finder is self else getattr(finder, "find_spec", None)
                spec = find(name, path, target) if find else None
                if spec is not None:
                    return _followed(name, spec)
        finally:
            self.busy.discard(name)
        return None


def _followed(name, spec):
    loader = spec.loader
    if not hasattr(loader, "exec_module"):
        return spec
    inner = loader.exec_module

    def exec_module(module):
        if not isinstance(loader, type):
            loader.__dict__.pop("exec_module", None)
        inner(module)
        _after(name, module)

    try:
        if isinstance(loader, type):
            raise TypeError
        loader.exec_module = exec_module
    except (AttributeError, TypeError):
        spec.loader = _Loader(loader, exec_module)
    return spec


class _Loader:
    """In place of a loader that takes no attribute (those of built-in modules are classes)."""

    def __init__(self, loader, exec_module):
        self.loader = loader
        self.exec_module = exec_module

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def __getattr__(self, name):
        return getattr(self.loader, name)


def _after(name, module):
    try:
        load("_bis_seeds").after(name, module)
    except Exception:
        trouble()


def load(name):
    """A module of this folder, which is no longer on `sys.path`."""
    if name not in sys.modules:
        chosen, sys.dont_write_bytecode = sys.dont_write_bytecode, False
        try:
            spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, [HOOK])
            sys.modules["_frozen_importlib"]._load(spec)
        finally:
            sys.dont_write_bytecode = chosen
    return sys.modules[name]


TOLD = {}  # facts as last written, so that only what has changed since is written again


def finish(end=False):
    """Write what is best seen at the end. Also called after a few imports, as a process may end without an end."""
    try:
        facts = load("_bis_facts").facts()
        new = {name: value for name, value in facts.items() if encode(value) != TOLD.get(name)}
        TOLD.update((name, encode(value)) for name, value in new.items())
        if end:
            new["end"] = True
        if new:
            emit({"e": "facts", **new})
    except Exception:
        trouble()
