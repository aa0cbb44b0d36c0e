"""Where in the program something was asked for: `train.py:12`."""

import os
import sys

import _bis_core as core

STANDARD = os.path.dirname(os.__file__) + os.sep
PLUMBING = (
    "bis",
    "IPython",
    "ipykernel",
    "jupyter_client",
    "nbclient",
    "tornado",
    "traitlets",
    "zmq",
    "comm",
    "joblib",
    "loky",
    "numba",
    "sklearn",
)
"""These read randomness for messages and for names of what lives as long as they do; no result is made of it."""
LIMIT = 64

try:
    FOLDER = os.getcwd() + os.sep
except OSError:  # removed meanwhile
    FOLDER = os.sep + os.sep

KINDS = {}
CALLS = 0
FOUND = set()


def kind(frame):
    """Whose code a frame runs: `user`, `library`, `standard` or `bis`."""
    file = frame.f_code.co_filename
    found = KINDS.get(file)
    if found is None:
        if file.startswith(core.HOOK):
            found = "bis"
        elif "-packages" + os.sep in file:
            found = "library"
        elif file.startswith((STANDARD, "<frozen ")):
            found = "standard"
        else:
            found = "user"
        KINDS[file] = found
    return found


def show(frame):
    """`file:line`: below the working folder relative to it, in a library relative to that, a notebook's cell as such
    (its file has the process id in its name)."""
    file = frame.f_code.co_filename
    if "ipykernel_" in file or file.startswith("<ipython-input"):
        file = "<cell>"
    elif "-packages" + os.sep in file:
        file = file.rsplit("-packages" + os.sep, 1)[1]
    elif file.startswith(FOLDER):
        file = file[len(FOLDER) :]
    return "%s:%d" % (file, frame.f_lineno)


def user(frame):
    """The nearest frame of the user's code, else of a library's; None when a DataLoader worker seeds by itself."""
    library = None
    while frame is not None:
        of = kind(frame)
        if of == "user":
            return frame
        if of == "library":
            if frame.f_code.co_filename.endswith("torch/utils/data/_utils/worker.py"):
                return None
            library = library or frame
        frame = frame.f_back
    return library


def seeded(label, frame):
    """Note that the program itself seeded something. False when it was no doing of the program."""
    here = (label, frame.f_code, frame.f_lineno)
    if here in FOUND:
        return True
    asked, frame = here, user(frame)
    if frame is None:
        return False
    line = "%s (%s)" % (label, show(frame))
    if len(FOUND) < 4 * LIMIT:
        core.once({"e": "own", "w": line})
        FOUND.add(asked)
    return True


def entropy(frame):
    """Note who reads the randomness of the operating system: the first that is neither standard library nor bis."""
    global CALLS
    CALLS += 1
    if CALLS > 10000 or len(FOUND) > 4 * LIMIT:
        return
    label = "os.urandom"
    while frame is not None and kind(frame) == "bis":
        frame = frame.f_back
    while frame is not None and kind(frame) == "standard":
        module = frame.f_globals.get("__name__")
        if module not in ("uuid", "secrets", "random") or frame.f_code.co_name == "<module>":
            return
        of = "random.SystemRandom" if module == "random" else module
        label = "%s.%s" % (of, frame.f_code.co_name)
        frame = frame.f_back
    if frame is None or kind(frame) == "bis":  # which has its own word for it
        return
    unseeded(label, frame)


def unseeded(label, frame):
    place = show(frame)
    if kind(frame) == "library" and (place.split(os.sep)[0] in PLUMBING or _importing(frame)):
        return
    line = "%s (%s)" % (label, place)
    core.once({"e": "entropy", "w": line})
    FOUND.add(line)


def _importing(frame):
    """Whether a library does this while it is imported: names of its own, which reach no result."""
    while frame is not None and kind(frame) == "library":
        if frame.f_code.co_name == "<module>":
            return True
        frame = frame.f_back
    return False


def counts(frame):
    """Whether a generator made here is a stream worth counting: not the standard library's, for names of temporary
    files, and not what a library makes while it is imported."""
    of = kind(frame)
    return of != "standard" and not (of == "library" and _importing(frame))


def module(frame):
    """The name of the module that asks, and of its thread if that is not the main one: what one module or thread
    does cannot shift the counters of another."""
    name = frame.f_globals.get("__name__") or ""
    threading = sys.modules.get("threading")
    if threading is None or threading.main_thread().ident == core.get_ident():
        return name
    thread = threading._active.get(core.get_ident())
    return "%s#%s" % (name, thread.name) if thread is not None else name
