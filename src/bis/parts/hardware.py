"""What this machine is: processor, cores, memory, graphics cards. Read from the kernel, never from a benchmark."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

X86_FLAGS = """
    sse sse2 pni ssse3 sse4_1 sse4_2 popcnt avx f16c fma fma4 xop avx2 bmi1 bmi2 avx_vnni
    avx512f avx512cd avx512er avx512pf avx512dq avx512bw avx512vl avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni
    avx512_bitalg avx512_vpopcntdq avx512_4vnniw avx512_4fmaps avx512_vp2intersect avx512_bf16 avx512_fp16
    amx_tile amx_int8 amx_bf16 amx_fp16
"""
ARM_FLAGS = "fp asimd fphp asimdhp asimddp asimdfhm sve sve2 bf16 i8mm svei8mm svebf16 sme sme2"
NUMERIC_FLAGS = frozenset(X86_FLAGS.split() + ARM_FLAGS.split())
"""What numpy, OpenBLAS, MKL, oneDNN, ATen and the C library choose their kernels by, as the kernel spells it."""
X86_LEVELS = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"}),
    ("x86-64-v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma"}),
    ("x86-64-v2", {"pni", "ssse3", "sse4_1", "sse4_2", "popcnt"}),
)
GIB = 1 << 30


def processor() -> dict[str, Any]:
    """`architecture`, `vendor`, `model`, `family` (family/model/stepping), `flags` (those that decide numerics,
    sorted), `level` (x86-64-v1 … v4), `l2` in bytes. What the system does not say is left out."""
    described = _cpuinfo()
    flags = set((described.get("flags") or described.get("Features") or "").split())
    found: dict[str, Any] = {
        "architecture": platform.machine(),
        "vendor": described.get("vendor_id") or described.get("CPU implementer", ""),
        "model": described.get("model name") or _arm_name(described) or platform.processor(),
        "family": "/".join(described.get(key, "") for key in ("cpu family", "model", "stepping")).strip("/"),
        "flags": sorted(flags & NUMERIC_FLAGS),
        "level": _level(flags),
        "l2": _l2(),
    }
    return {name: value for name, value in found.items() if value}


def cores() -> dict[str, Any]:
    """`online` processors, `physical` cores, those `allowed` to this process, and the `quota` of its control group
    (in cores; absent when unlimited)."""
    online = os.cpu_count() or 1
    try:
        allowed = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        allowed = online
    found: dict[str, Any] = {"online": online, "physical": _physical(), "allowed": allowed}
    if (quota := cpu_quota()) is not None:
        found["quota"] = quota
    return {name: value for name, value in found.items() if value}


def memory() -> dict[str, int]:
    """Bytes: `total` of the machine, `limit` of the control group when it has one."""
    found: dict[str, int] = {}
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            found["total"] = int(line.split()[1]) * 1024
            break
    else:
        try:
            found["total"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError):
            return {}
    limit = memory_limit()
    if limit is not None and limit < found["total"]:
        found["limit"] = limit
    return found


def cpu_quota() -> float | None:
    """Cores' worth of time that the control group may use; None: no limit."""
    for group in _groups("cpu"):
        quota, _, period = _read(group / "cpu.max").strip().partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us").strip(), _read(group / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period):
            return round(int(quota) / int(period), 3)
    return None


def memory_limit() -> int | None:
    """Bytes that the control group may use; None: no limit."""
    for group in _groups("memory"):
        text = (_read(group / "memory.max") or _read(group / "memory.limit_in_bytes")).strip()
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def _groups(controller: str) -> list[Path]:
    """The folders of this process's control group for a controller and of those above it, nearest first."""
    root = Path("/sys/fs/cgroup")
    for line in _read("/proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            top = root / controller
        elif number == "0" and not names and (root / "cgroup.controllers").exists():
            top = root
        else:
            continue
        inner = top / path.lstrip("/")
        return [inner, *(above for above in inner.parents if above == top or top in above.parents)]
    return []


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo: machines with unlike cores are described by their first."""
    found: dict[str, str] = {}
    for line in _read("/proc/cpuinfo", 16384).splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            if found:
                break
            continue
        found.setdefault(name.strip(), value.strip())
    return found


def _arm_name(described: dict[str, str]) -> str:
    part = described.get("CPU part", "")
    return f"ARM {described.get('CPU implementer', '?')}/{part}" if part else ""


def _level(flags: set[str]) -> str:
    if platform.machine() not in ("x86_64", "AMD64"):
        return ""
    return next((name for name, needed in X86_LEVELS if needed <= flags), "x86-64-v1")


def _l2() -> int:
    for index in range(5):
        folder = Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}")
        if _read(folder / "level").strip() == "2":
            size = _read(folder / "size").strip()
            return int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
    return 0


def _physical() -> int:
    seen = set()
    for folder in Path("/sys/devices/system/cpu").glob("cpu[0-9]*"):
        siblings = _read(folder / "topology" / "thread_siblings_list").strip()
        if siblings:
            seen.add(siblings)
    return len(seen)


def _read(path: Path | str, limit: int = 1 << 16) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
