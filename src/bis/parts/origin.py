"""Where a file belongs: which part of the run a path is an ingredient of."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from bis.digest import spell
from bis.nouns.trace import Access, Stat
from bis.parts import Report, Scene

Origin = Literal["project", "environment", "system", "own", "cache", "temporary", "outside"]

BIS = spell(str(PurePosixPath(__file__).parent.parent))
"""The bis that records. It is found through `PYTHONPATH` where no environment has it as a package."""
INSIDE = f"{BIS}/inside"
"""What it runs inside the command's interpreters."""
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run", "/boot"),
    *("/var/lib", "/var/cache", "/var/run", "/nix/store", "/gnu/store", "/snap", "/System", "/Library"),
)
LIVE = ("/dev/", "/proc/", "/sys/", "/run/", "/var/run/")
"""Below these nothing is kept: they are what the machine is doing."""
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
PASSING = re.compile(
    r"\.|tmp|pymp-|joblib_|loky-|torchinductor_|torch_|ray(?:/|$)|matplotlib-|hsperfdata_|pip-|uv-|bis-|ssh-|numba_|"
    r"xla_|cuda|nvidia|dask-|spark-|blockmgr-|runtime-|systemd-|__|mlflow-|wandb|keras_|core\.|nsight|dvc/|hf_|datasets-|pytest-"
)
"""How names begin that programs draw for files in passing, in the folders for temporary ones."""
CACHES = (
    *(".cache", ".config/matplotlib", ".matplotlib", ".local/share/jupyter/runtime", ".ipython", ".jupyter", ".nv"),
    *(".keras/keras.json", ".local/share/jupyter", ".python_history", ".dvc", ".config/dvc", ".local/state"),
    *(".cupy/kernel_cache", ".cupy/jitify_cache", ".triton/cache", ".triton/dump"),
)
CACHE_VARIABLES = ("UV_CACHE_DIR", "PIP_CACHE_DIR", "POETRY_CACHE_DIR", "PIPENV_CACHE_DIR")
"""Where installers keep theirs, when it is not below home: on a cluster, say, whose homes are small."""
KEPT_CACHES = (".cache/huggingface", ".cache/torch", ".cache/kagglehub", ".keras/datasets", "scikit_learn_data")
"""Folders that are called caches and hold data sets and weights: a result depends on them."""

IN_USE = "/bis/.using"
"""How the empty file ends that `bis.load_model` locks while somebody reads a model."""
TOOLS = (".pyenv", ".asdf", ".local/share/mise", ".local/share/uv", ".local/bin", ".rye", ".nvm")
"""Folders below home from which interpreters come."""
BOOKKEEPING = (
    *(".git/", ".hg/", ".svn/", ".dvc/tmp/"),
    *(".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".ipynb_checkpoints/"),
)
"""Folders of a project in which tools keep what is theirs."""

SOURCE = frozenset(
    """.py .pyi .pyx .pxd .ipynb .r .rmd .qmd .jl .sh .bash .zsh .fish .sql .c .cc .cpp .cxx .cu .cuh .h .hpp .rs .go
    .java .scala .js .mjs .ts .tsx .jsx .css .toml .cfg .ini .conf .yaml .yml .md .rst .lock .tf .tfvars .hcl .proto
    .jinja .j2 .html .stan .nix .mk .cmake .env.example .gitignore .gitattributes .dvc .m .pl .rb .lua .swift""".split()
)
SOURCE_NAMES = frozenset(
    """Makefile Dockerfile Containerfile Pipfile Procfile Jenkinsfile Vagrantfile Snakefile LICENSE NOTICE AUTHORS
    README CHANGELOG VERSION requirements.txt constraints.txt""".split()
)
DATA = frozenset(
    """.csv .tsv .parquet .feather .arrow .orc .avro .npy .npz .h5 .hdf5 .nc .zarr .mat .pkl .pickle .joblib .pt .pth
    .ckpt .safetensors .onnx .bin .dat .data .libsvm .svmlight .train .test .tfrecord .tfrecords .rec .lmdb .mdb .db
    .sqlite .sqlite3 .duckdb .xls .xlsx .ods .jsonl .ndjson .gz .bz2 .xz .zst .zip .tar .tgz .7z .jpg .jpeg .png .gif
    .bmp .tif .tiff .webp .svg .wav .mp3 .flac .ogg .mp4 .avi .mov .mkv .pdf .ubj .txt .fasta .fastq .bam .vcf .nii
    .dcm .las .laz .geojson .shp .gpkg .msgpack .bz .lz4 .query .group .weight .init .skops .keras .pt2""".split()
)
SMALL = 1 << 20


def is_data(path: str, size: int) -> bool:
    """Whether a file of a project counts as data, not as code: by its name or, where that says nothing, its size."""
    # Asked of every file of a project several times a run: plain text, no Path.
    name = path.rpartition("/")[2]
    if name in SOURCE_NAMES or name.startswith("README"):
        return False
    if name.startswith("requirements") and name.endswith(".txt"):
        return False
    dot = name.rfind(".")
    suffix = name[dot:].lower() if 0 < dot < len(name) - 1 else ""
    if suffix in SOURCE:
        return False
    if suffix in DATA:
        return True
    return size > SMALL


def source_of(path: str, cache: str = "") -> str:
    """The source that compiled code stands for, which the interpreter does not open then; any other path as it is.
    `cache`: where PYTHONPYCACHEPREFIX has it instead of in folders beside the sources."""
    folder, name = posixpath.split(path)
    if not name.endswith(".pyc"):
        return path
    if cache and path.startswith(f"{cache}/"):
        folder = folder[len(cache) :]
    elif folder.endswith("/__pycache__"):
        folder = posixpath.dirname(folder)
    else:
        return path
    return f"{folder}/{name.partition('.')[0]}.py"


def with_sources(scene: Scene) -> Scene:
    """The scene as if each source of the user's had been read whose compiled code was: an interpreter that finds that
    looks at the size and the time of the source, and does not open it."""
    assert scene.trace is not None
    origin = sorter(scene)
    prefix = spell(scene.variables.get("PYTHONPYCACHEPREFIX", "")).rstrip("/")
    accesses = {access.path: access for access in scene.trace.accesses}
    for access in scene.trace.accesses:
        source = source_of(access.path, prefix)
        if source == access.path or not access.was_read or origin(source) not in ("project", "outside", "temporary"):
            continue
        known = accesses.get(source)
        if known is None:
            with suppress(OSError):
                status = scene.real(source).stat()
                before = Stat(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
                accesses[source] = Access(path=source, how="r", before=before)
        elif known.before is not None and not known.was_read:
            accesses[source] = msgspec.structs.replace(known, how=f"r{known.how}")
    trace = msgspec.structs.replace(scene.trace, accesses=tuple(accesses.values()))
    return msgspec.structs.replace(scene, trace=trace)


def in_passing(path: str) -> bool:
    """Whether a file in a folder for temporary files bears no name that somebody gave it: it is nobody's result."""
    folder = next((folder for folder in TEMPORARY if _below(path, folder)), "")
    return bool(folder) and bool(PASSING.match(path[len(folder) + 1 :]))


def is_lock(access: Access) -> bool:
    """Whether a file with such a name is one that the run writes or removes itself, and that was empty: a lock of its
    programs (uv's, filelock's) that lies there from an earlier time, no ingredient. Nor is the empty file that
    `bis.load_model` locks, so that nobody cleans away what it reads."""
    if access.path.endswith(IN_USE):
        return access.before is None or access.before.size == 0
    changed = access.was_written or "d" in access.how
    return changed and access.before is not None and access.before.size == 0 and in_passing(access.path)


def sorter(scene: Scene) -> Callable[[str], Origin]:
    """A function that tells the origin of an absolute, spelled path; made once for a scene, called for each file."""
    project = str(scene.project)
    home = str(scene.home)
    folders = (*environment_folders(scene.reports), *(f"{home}/{name}" for name in TOOLS))
    environment = tuple(f"{folder}/" for folder in folders if folder != project)
    named = (f"{folder}/" for folder in installer_caches(scene.variables, home, project))
    caches = (*(f"{home}/{name}" for name in CACHES), *named)
    kept = tuple(f"{home}/{name}" for name in KEPT_CACHES)
    own = tuple(f"{folder}/" for folder in (f"{project}/.bis", INSIDE, *scene.own))

    def origin(path: str) -> Origin:
        if f"{path}/".startswith(own):
            return "own"
        if path.startswith(environment) or "/site-packages/" in path or "/dist-packages/" in path:
            return "environment"
        if "/__pycache__/" in path or path.endswith(".pyc"):
            return "cache"
        if _below(path, project):
            return "cache" if _bookkeeping(path, project) else "project"
        if _below(path, BIS):
            return "own"
        if path.startswith(kept):
            return "outside"
        if f"{path}/".startswith(caches):
            return "cache"
        if any(_below(path, folder) for folder in TEMPORARY):
            return "temporary"
        if any(_below(path, folder) for folder in SYSTEM):
            return "system"
        return "outside"

    return origin


def models_brought(scene: Scene) -> str:
    """Where `bis.load_model` puts the models that a run asks for, with a slash: the run reads them, and it is bis that
    writes them there."""
    base = scene.variables.get("XDG_DATA_HOME") or spell(str(scene.home / ".local" / "share"))
    return f"{base.rstrip('/')}/bis/models/"


def installer_caches(variables: Mapping[str, str], *needed: str) -> list[str]:
    """The folders (spelled) that variables name as caches of installers, without those that hold something `needed`."""
    named = (variables.get(name, "").rstrip("/") for name in CACHE_VARIABLES)
    return [
        spell(folder)
        for folder in named
        if folder.startswith("/") and not any(f"{path}/".startswith(f"{folder}/") for path in needed)
    ]


def environment_folders(reports: Iterable[Report]) -> tuple[str, ...]:
    """Folders that belong to the interpreters of a run: prefixes, and site folders elsewhere on their path."""
    folders: dict[str, None] = {}
    for report in reports:
        for prefix in (report.prefix, report.base_prefix):
            if prefix and prefix not in ("/", "/usr", "/usr/local"):
                folders[prefix.rstrip("/")] = None
        for entry in report.path:
            if "site-packages" in entry or "dist-packages" in entry:
                folders[entry.rstrip("/")] = None
    return tuple(folders)


def _bookkeeping(path: str, project: str) -> bool:
    inside = path[len(project) + 1 :]
    return inside.startswith(BOOKKEEPING) or inside in (".git", ".hg", ".svn") or "/.git/" in inside


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
