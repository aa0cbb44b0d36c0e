"""The numerical identity of this process, seen in modules that are loaded already: nothing is imported."""

import os
import sys

import _bis_core as core

KNOWN = {}
"""Modules already looked at -> their versions, None for those without one."""

NUMERIC = ("numpy", "torch", "tensorflow", "xgboost", "lightgbm", "sklearn")


def facts():
    """The newest state, as JSON. A fork looks only when it has imported what its parent had not."""
    found = {"streams": dict(core.STREAMS)}
    before = len(KNOWN)
    found["modules"] = modules()
    seeds = sys.modules.get("_bis_seeds")
    if seeds is not None and core.SEED:
        found["drawn"] = seeds.drawn() or None
    if (not core.FORKED or len(KNOWN) > before) and any(name in sys.modules for name in NUMERIC):
        for name, look in (("pools", pools), ("simd", simd), ("torch", torch), ("tensorflow", tensorflow)):
            try:
                found[name] = look()
            except Exception:
                core.trouble()
    return {name: value for name, value in found.items() if value}


def modules():
    """Top-level modules, not of the standard library, and their versions. Looks past a module's own `__getattr__`,
    which may import."""
    for name, module in list(sys.modules.items()):
        if name not in KNOWN and "." not in name and not name.startswith("_"):
            try:
                inner = object.__getattribute__(module, "__dict__")
            except AttributeError:
                continue
            if getattr(inner.get("__spec__"), "_initializing", False):
                continue  # its version may be yet to come
            version = inner.get("__version__")
            known = isinstance(version, str) and not _standard(inner.get("__file__"))
            KNOWN[name] = str.__str__(version) if known else None  # torch's is a class of its own
    return {name: KNOWN[name] for name in sorted(KNOWN) if KNOWN[name] is not None}


STANDARD = os.path.dirname(os.__file__) + os.sep


def _standard(file):
    return type(file) is not str or (file.startswith(STANDARD) and "-packages" + os.sep not in file)


OPENBLAS = ("openblas_%s", "openblas_%s64_", "openblas_%s_64", "scipy_openblas_%s", "scipy_openblas_%s64_")


def pools():
    """Thread pools by library, with the BLAS build and the kernel that it chose for this CPU."""
    found = []
    for path in sorted(_mapped()):
        name = path.rsplit("/", 1)[-1].lower()
        for part, look in (("openblas", _openblas), ("mkl_rt", _mkl), ("blis", _blis), ("omp", _openmp)):
            if part in name and ".so" in name:
                pool = look(path)
                if pool:
                    found.append({"file": path.rsplit("/", 1)[-1], **pool})
                break
    return found


def _mapped():
    """Paths of the libraries in memory whose names tell of a thread pool."""
    try:
        with open("/proc/self/maps", "rb") as file:
            maps = file.read()
    except OSError:  # not Linux
        return set()
    paths = set()
    for part in (b"blas", b"omp", b"mkl", b"blis"):
        at = maps.find(part)
        while at >= 0:
            end = maps.find(b"\n", at)
            line = maps[maps.rfind(b"\n", 0, at) + 1 : end]
            if b".so" in line and b"/" in line:
                paths.add(line[line.find(b"/") :].decode("utf-8", "surrogateescape"))
            at = maps.find(part, end)
    return paths


LIBRARIES = {}


def _library(path):
    import ctypes

    if path not in LIBRARIES:
        LIBRARIES[path] = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    return LIBRARIES[path]


def _call(library, name, kind=None):
    import ctypes

    function = getattr(library, name, None)
    if function is None:
        return None
    function.argtypes = ()
    function.restype = kind or ctypes.c_int
    value = function()
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else value


def _openblas(path):
    import ctypes

    library = _library(path)
    for pattern in OPENBLAS:
        threads = _call(library, pattern % "get_num_threads")
        if threads is not None:
            config = _call(library, pattern % "get_config", ctypes.c_char_p)
            kernel = _call(library, pattern % "get_corename", ctypes.c_char_p)
            return {"api": "openblas", "threads": threads, "version": config, "kernel": kernel}
    return None


def _mkl(path):
    library = _library(path)
    threads = _call(library, "MKL_Get_Max_Threads")
    return {"api": "mkl", "threads": threads} if threads is not None else None


def _blis(path):
    threads = _call(_library(path), "bli_thread_get_num_threads")
    return {"api": "blis", "threads": threads} if threads is not None else None


def _openmp(path):
    threads = _call(_library(path), "omp_get_max_threads")
    return {"api": "openmp", "threads": threads} if threads is not None else None


def simd():
    """What NumPy was built for, what it can choose, and what it uses on this CPU."""
    core_module = sys.modules.get("numpy._core._multiarray_umath") or sys.modules.get("numpy.core._multiarray_umath")
    if core_module is None:
        return None
    features = getattr(core_module, "__cpu_features__", {})
    return {
        "baseline": list(getattr(core_module, "__cpu_baseline__", ())),
        "dispatch": list(getattr(core_module, "__cpu_dispatch__", ())),
        "enabled": [name for name, on in features.items() if on],
    }


def _whole(name):
    """The module, unless it is not there or still being imported."""
    module = sys.modules.get(name)
    return None if module is None or getattr(module.__spec__, "_initializing", False) else module


def torch():
    module = _whole("torch")
    if module is None:
        return None
    found = {"threads": module.get_num_threads(), "interop": module.get_num_interop_threads()}
    try:
        found["capability"] = module.backends.cpu.get_cpu_capability()
    except Exception:
        core.trouble()
    try:
        found["mkldnn"] = bool(module.backends.mkldnn.is_available())
    except Exception:
        core.trouble()
    found["cuda"] = module.version.cuda
    cuda = sys.modules.get("torch.cuda")
    if cuda is not None and module.version.cuda and cuda.is_initialized():
        found["gpus"] = [cuda.get_device_name(i) for i in range(cuda.device_count())]
        found["cudnn"] = module.backends.cudnn.version()
    return found


def tensorflow():
    module = _whole("tensorflow")
    if module is None:
        return None
    threading = module.config.threading
    return {
        "intra": threading.get_intra_op_parallelism_threads(),
        "inter": threading.get_inter_op_parallelism_threads(),
    }
