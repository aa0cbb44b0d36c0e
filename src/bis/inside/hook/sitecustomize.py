"""Begin watching and seeding this interpreter, then step aside for the user's own `sitecustomize`.

`bis run` puts this folder first on PYTHONPATH, so each Python that the command starts imports this file at its
start. It may be any version of Python, so this file keeps to what all of them read; the rest is `_bis_core`, for
Python 3.8 and later. Nothing here may print, raise into the program, or leave a trace on `sys.path`.

See `_bis_core` for the variables that are read and the lines that are written.
"""

import os
import sys


def _begin(folder):
    try:
        if sys.version_info >= (3, 8):
            _with_bytecode(folder)
        else:
            _too_old(folder)
    except Exception:  # a program is never taken down by being watched
        pass


def _with_bytecode(folder):
    """Our own modules may be kept compiled, whatever the user chose for theirs: it saves 10 ms at each start."""
    chosen, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        import _bis_core
    finally:
        sys.dont_write_bytecode = chosen
    _bis_core.begin(folder)


def _too_old(folder):
    """Say that this interpreter was not seeded; all that is done for versions that nobody maintains."""
    import json

    inside = os.environ.get("BIS_INSIDE")
    if inside:
        version = ".".join(str(number) for number in sys.version_info[:3])
        line = {"e": "start", "pid": os.getpid(), "ppid": os.getppid(), "exe": sys.executable, "version": version}
        base = getattr(sys, "base_prefix", getattr(sys, "real_prefix", sys.prefix))  # venv, virtualenv for Python 2
        path = [entry for entry in sys.path if entry != folder]
        line.update({"prefix": sys.prefix, "base": base, "path": path, "unseeded": "too old"})
        with open(os.path.join(inside, "%d-0.said" % os.getpid()), "a") as file:
            file.write(json.dumps(line) + "\n")


def _step_aside(folder):
    """Take this folder off `sys.path`: the program sees the path that it would have without bis."""
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path_importer_cache.pop(folder, None)


def _chain():
    """Run the `sitecustomize` that this one came before. What it raises, site reports as it always does."""
    if sys.version_info >= (3, 4):
        spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec("sitecustomize")
        if spec is not None and spec.loader is not None:
            sys.modules["_frozen_importlib"]._load(spec)
    elif sys.version_info < (3,):
        import imp

        try:
            found = imp.find_module("sitecustomize", sys.path)
        except ImportError:
            return
        imp.load_module("sitecustomize", *found)


_FOLDER = os.path.dirname(os.path.abspath(__file__))
_begin(_FOLDER)
_step_aside(_FOLDER)
_chain()
