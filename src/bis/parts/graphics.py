"""Graphics cards: their names, memory and driver, from the kernel where it tells, and whether a run used them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bis.nouns.trace import Trace

PATIENCE = 5.0
"""Seconds for `nvidia-smi`, which wakes every card."""
LIBRARIES = re.compile(
    r"/lib(cuda|cudart|cudnn|cublas|cublasLt|cufft|curand|cusolver|cusparse|nccl|nvinfer|amdhip64|rocblas|MIOpen)"
    r"(?:-[0-9a-f]+)?\.so\.([0-9][0-9.]*)$"
)


def cards(
    proc: Path = Path("/proc/driver/nvidia"), sys: Path = Path("/sys/class/kfd/kfd/topology/nodes")
) -> dict[str, Any]:
    """`gpus` (each with `name`, `bus`) and `driver`; empty where there are none. Reads a few small files."""
    found: list[dict[str, Any]] = []
    for folder in sorted(_listed(proc / "gpus")):
        told = dict(line.split(":", 1) for line in _read(folder / "information").splitlines() if ":" in line)
        found.append({"name": told.get("Model", "").strip(), "bus": told.get("Bus Location", folder.name).strip()})
    driver = re.search(r"Kernel Module\s+(?:for \S+\s+)?([0-9][0-9.]*)", _read(proc / "version"))
    if not found:
        found = [_amd(node) for node in sorted(_listed(sys)) if "simd_count 0" not in _read(node / "properties")]
        found = [card for card in found if card["name"]]
    version = driver.group(1) if driver else _read(Path("/sys/module/amdgpu/version")).strip() if found else ""
    return {name: value for name, value in (("gpus", found), ("driver", version)) if value}


def telling(trace: Trace | None) -> list[str]:
    """Of all that a run opened, the paths that can tell of a card."""
    accesses = trace.accesses if trace else ()
    return [path for access in accesses if (path := access.path).startswith("/dev/") or ".so." in path]


def used(trace: Trace | None, paths: Iterable[str], reports: Iterable[dict[str, Any]]) -> bool | None:
    """Whether the run talked to a card: None when that could not be seen."""
    if any(facts.get("torch", {}).get("gpus") or facts.get("jax", {}).get("gpus") for facts in reports):
        return True
    if trace is None:
        return None
    if any(path.startswith(("/dev/nvidia", "/dev/kfd")) or "/libcuda.so." in path for path in paths):
        return True
    return False if trace.complete else None


def libraries(paths: Iterable[str]) -> dict[str, str]:
    """The versions of the CUDA or ROCm libraries that were loaded, by name, as their file names have them."""
    found: dict[str, str] = {}
    for matched in filter(None, map(LIBRARIES.search, paths)):
        if len(matched.group(2)) >= len(found.get(matched.group(1), "")):
            found[matched.group(1)] = matched.group(2)
    return dict(sorted(found.items()))


def described(seen: dict[str, Any], cache: Path | None) -> dict[str, Any]:
    """The cards with what only `nvidia-smi` tells (`memory` in MiB, `capability`), asked once for a driver and a set
    of cards, and kept in a file of the folder `cache` (None: not kept). Without an answer: as they were."""
    if "gpus" not in seen and not Path("/dev/nvidiactl").exists():
        return seen
    if cache is None:
        return {**seen, **_ask()}
    key, file = json.dumps(seen, sort_keys=True), cache / "gpus.json"
    try:
        kept = json.loads(file.read_text())
        if kept["seen"] == key:
            return {**seen, **kept["told"]}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    told = _ask()
    if told:
        _keep(file, json.dumps({"seen": key, "told": told}))
    return {**seen, **told}


def _ask() -> dict[str, Any]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    query = "--query-gpu=name,pci.bus_id,memory.total,compute_cap,driver_version"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    rows = [row for row in rows if len(row) == 5] if done.returncode == 0 else []
    if not rows:
        return {}
    gpus = [
        {"name": name, "bus": bus, "memory": int(memory) if memory.isdigit() else 0, "capability": capability}
        for name, bus, memory, capability, _ in rows
    ]
    return {"gpus": gpus, "driver": rows[0][4]}


def _amd(node: Path) -> dict[str, Any]:
    return {"name": _read(node / "name").strip(), "bus": f"kfd {node.name}"}


def _keep(file: Path, text: str) -> None:
    """A cache: where it cannot be written, it is asked again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        coming = file.with_name(f"{file.name}.{os.getpid()}")
        coming.write_text(text)
        coming.replace(file)
    except OSError:
        pass


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except (OSError, ValueError):
        return ""
