"""One step in this process, its cost without the start of an interpreter as JSON: the limits, and bis itself.

python benchmarks/inside.py walk|read|pack|large|compressed FOLDER [INTO]     what Python and the disk need at least
python benchmarks/inside.py add|status FOLDER                      bis, in the project of the current folder
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD = 64
BUFFER = 1 << 20
LARGE = 4 << 20


def files(folder: str) -> Iterator[str]:
    todo = [folder]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    yield entry.path


def walk(folder: str) -> None:
    """Every name, with the status of each."""
    todo = [folder]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)


def read(folder: str) -> None:
    """Every byte read and hashed."""
    from blake3 import blake3

    for path in files(folder):
        with open(path, "rb", buffering=0) as file:
            hasher = blake3()
            while block := file.read(LARGE):
                hasher.update(block)


def pack(folder: str, into: str) -> None:
    """Small files: each read and hashed, all written to one file, which is synced once."""
    from blake3 import blake3

    buffer = bytearray()
    with open(into, "wb", buffering=0) as out:
        for path in files(folder):
            with open(path, "rb", buffering=0) as file:
                data = file.read()
            buffer += blake3(data).digest().ljust(HEAD)
            buffer += data
            if len(buffer) > BUFFER:
                out.write(buffer)
                buffer.clear()
        out.write(buffer)
        os.fsync(out.fileno())


def large(folder: str, into: str) -> None:
    """Large files: read, hashed and written in blocks, synced once."""
    from blake3 import blake3

    with open(into, "wb", buffering=0) as out:
        for path in files(folder):
            hasher = blake3()
            with open(path, "rb", buffering=0) as file:
                while block := file.read(LARGE):
                    hasher.update(block)
                    out.write(block)
        os.fsync(out.fileno())


def compressed(folder: str, into: str) -> int:
    """Each file compressed by zstd, all written to one file, which is synced once; how many bytes it has."""
    from bis.store import squeeze

    with open(into, "wb", buffering=0) as out:
        for path in files(folder):
            out.write(squeeze.pack(Path(path).read_bytes(), 1))
        os.fsync(out.fileno())
        return out.tell()


def copy(folder: str, into: str) -> None:
    """Every file written again, each with its name."""
    for path in files(folder):
        target = Path(into) / os.path.relpath(path, folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "rb", buffering=0) as file, open(target, "wb", buffering=0) as out:
            while block := file.read(LARGE):
                out.write(block)


def add(folder: str) -> None:
    from bis.steps.add_data import Adding
    from bis.steps.add_data import add as act

    act(Adding(path=Path(folder).absolute()), _home())


def status(folder: str) -> None:
    from datetime import datetime

    from bis.acts.standing import standing
    from bis.nouns.reference import parse_data

    home = _home()
    held, _ = home.ledger.data.find(parse_data(Path(folder).name, datetime.now()))
    assert standing(held, home).state == "same"


def _home() -> Any:
    from bis.settings import Settings
    from bis.steps.home import open_home

    return open_home(Path.cwd(), Settings())


STEPS = {step.__name__: step for step in (walk, read, pack, large, compressed, copy, add, status)}


def main() -> None:
    step = STEPS[sys.argv[1]]
    if step in (add, status):
        import bis.acts.standing
        import bis.steps.add_data  # noqa: F401  # what is imported is not what is measured
        from bis.__main__ import GARBAGE

        gc.set_threshold(GARBAGE)  # as the command does
    elif step is not walk:
        import blake3  # noqa: F401
    start, cpu = time.perf_counter(), time.process_time()
    kept = step(*sys.argv[2:])
    told = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    print(json.dumps(told if kept is None else {**told, "stored": kept}))


if __name__ == "__main__":
    main()
