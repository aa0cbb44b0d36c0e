"""What this process starts: each child is told its place in the tree of processes, and each start is reported.

A child that inherits the environment finds it there, as `os.putenv` has put it; one that is given an environment of
its own (`env=`) gets a completed copy: what the caller handed in is not touched.
"""

import os

import _bis_core as core

STARTED = 0
OF = ""
"""The process that `STARTED` counts for: a fork counts anew."""


def key():
    """The place of the next child."""
    global STARTED, OF
    with core.LOCK:
        if core.KEY != OF:
            STARTED, OF = 0, core.KEY
        STARTED += 1
        return "%s.s%d" % (core.KEY, STARTED)


def publish(place):
    """Set what the next child inherits."""
    if core.SEED:
        os.putenv("BIS_KEY", place)
    theirs = os.environ.get("PYTHONPATH")
    if theirs != core.PATH_SEEN:
        os.putenv("PYTHONPATH", _python_path(theirs))
        core.PATH_SEEN = theirs


def completed(env, place):
    """A copy of a mapping of variables with those of bis, in bytes."""
    env = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    theirs = env.get(b"PYTHONPATH")
    env[b"PYTHONPATH"] = os.fsencode(_python_path(os.fsdecode(theirs) if theirs else ""))
    for name, value in core.CARRIED.items():
        if name != "PYTHONHASHSEED" or b"PYTHONHASHSEED" not in env:
            env[os.fsencode(name)] = os.fsencode(value)
    if core.SEED:
        env[b"BIS_KEY"] = os.fsencode(place)
    return env


def _python_path(theirs):
    entries = [entry for entry in theirs.split(os.pathsep) if entry != core.HOOK] if theirs else []
    return os.pathsep.join([core.HOOK, *entries])


# ------------------------------------------------------------------ the doors


def fork_exec(inner):
    """`_posixsubprocess.fork_exec`, through which subprocess, multiprocessing and loky go."""

    def fork_exec(*args):
        with core.SPAWN:  # from setting the place to the fork, as threads share the environment
            nested = False
            try:
                nested = _nested(args[5])
                if not nested:
                    args = _placed(args)
            except Exception:
                core.trouble()
            pid = inner(*args)
        if nested:
            core.emit({"e": "nested", "pid": pid})
        return pid

    return core.alike(fork_exec, inner)


def _nested(env):
    """Whether this is the command of a `bis run` inside this one: it has a folder of its own, and is left to it."""
    return any(word.startswith(b"BIS_INSIDE=") and word[11:] != os.fsencode(core.INSIDE) for word in env or ())


def _placed(args):
    place = key()
    tell(next((path for path in args[1] if os.access(path, os.X_OK)), args[1][0]), args[0], place)
    if args[5] is None:
        publish(place)
        return args
    env = dict(word.split(b"=", 1) for word in args[5] if b"=" in word)
    words = [name + b"=" + value for name, value in completed(env, place).items()]
    return (*args[:5], words, *args[6:])


def posix_spawn(inner, args, options):
    """`os.posix_spawn`, through which subprocess goes from Python 3.13 on."""
    nested = False
    try:
        path, argv, env, *more = args
        nested = _nested([os.fsencode(name) + b"=" + os.fsencode(value) for name, value in (env or {}).items()])
        if not nested:
            place = key()
            tell(path, argv, place)
            args = (path, argv, completed(os.environ if env is None else env, place), *more)
    except Exception:
        core.trouble()
    pid = inner(*args, **options)
    if nested:
        core.emit({"e": "nested", "pid": pid})
    return pid


def system(command):
    place = key()
    tell("/bin/sh", ["sh", "-c", command], place)
    publish(place)
    return (command,), {}


def replacing(path, argv, env=None):
    """This process becomes another program. Its place has no counter, as a search along PATH tries many."""
    core.finish(end=True)
    place = core.KEY + ".e"
    if os.access(path, os.X_OK):
        tell(path, argv, place)
    if env is None:
        publish(place)
        return (path, argv), {}
    return (path, argv, completed(env, place)), {}


# ------------------------------------------------------------------ reports


def tell(path, argv, place):
    argv = [os.fspath(word) for word in argv]
    path = os.fspath(path) if not isinstance(path, int) else "/proc/self/fd/%d" % path
    line = {"e": "exec", "p": path, "argv": argv}
    if mute(argv):
        core.emit({"e": "mute", "p": path, "argv": argv})
    elif is_python(argv):
        line["k"] = place
    core.emit(line)


def is_python(argv):
    name = os.path.basename(os.fsdecode(argv[0])) if argv else ""
    return name.startswith(("python", "pypy")) and not name.endswith("-config")


def mute(argv):
    """Whether this command line starts a Python that reads neither PYTHONPATH nor sitecustomize."""
    if not is_python(argv):
        return False
    words = [os.fsdecode(word) for word in argv]
    words = iter(words[1:])
    for word in words:
        if word in ("-X", "-W"):
            next(words, None)
        elif not word.startswith("-") or word in ("-", "-c", "-m"):
            return False
        elif not word.startswith(("--", "-X", "-W")):
            letters = word[1:].split("c")[0].split("m")[0]
            if set(letters) & set("ISE"):
                return True
            if letters != word[1:]:
                return False
    return False
