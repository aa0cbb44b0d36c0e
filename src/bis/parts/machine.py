"""The machine part: what hardware it was, and which kernels and how many threads the numbers came from.

Facts, each left out where it is not known:

    cpu         architecture, vendor, model, family, flags (those that decide numerics), level, l2 (bytes)
    cores       online, physical, allowed, quota
    memory      total, limit (bytes)
    pools       after the run: thread pools with api, file, threads, version, kernel
    simd        NumPy's baseline, dispatch and enabled groups
    torch       threads, interop, capability, mkldnn, cuda, cudnn, gpus
    tensorflow  intra, inter (0: as many as there are processors)
    threaded    libraries that were loaded and take their threads from the number of processors
    elsewhere   where interpreters of one run differ: what the later ones said, by the names above
    gpus        name, bus, memory (MiB), capability; driver; `gpu used`: whether the run talked to one
    cuda        versions of the CUDA or ROCm libraries that were loaded
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bis.digest import digest_value
from bis.nouns.part import Change, Finding, Part, PartKind, Weight
from bis.parts import Place, Report, Scene, graphics, hardware
from bis.parts.forcing import forced, libm_variant
from bis.store import Store

KIND: PartKind = "machine"
HARDWARE = ("cpu", "cores", "memory", "gpus", "driver")
THREADED = ("faiss", "jax", "joblib", "lightgbm", "numba", "numexpr", "polars", "pyarrow", "xgboost")


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    """The hardware, and after the run what each interpreter said of its thread pools and kernels.

    The digest is over what decides numbers: architecture, vendor and flags of the processor, kernels and threads as
    loaded, and the graphics cards and their driver unless the run used none. Names of models, the number of cores
    and the memory are facts that do not decide.
    """
    here = {name: earlier.facts[name] for name in HARDWARE if name in earlier.facts} if earlier else _here()
    facts = {**here, **_told(scene.reports)}
    if scene.trace is not None:
        facts |= _graphics_used(scene, facts)
    return Part(kind=KIND, digest=digest_value(_identity(facts)), summary=_summary(facts), facts=facts)


def restore(part: Part, place: Place, store: Store) -> None:
    """Hardware cannot be put back; `conditions` forces what can be forced."""


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    """What decides numbers, then what does not. Where only one side is known, as before a run, nothing is said."""
    if before.digest == after.digest:
        return []
    old, new = _rows(before.facts), _rows(after.facts)
    told = _has_run(before.facts) and _has_run(after.facts)
    settled = told and _says_its_kernels(before.facts) and _says_its_kernels(after.facts)
    changes = []
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) == new.get(name) or not (told or (name in old and name in new)):
            continue
        changes.append(
            Change(kind=KIND, name=name, before=old.get(name), after=new.get(name), weight=_weight(name, settled))
        )
    return sorted(changes, key=lambda change: change.weight == "minor")


def conditions(part: Part, here: Part | None = None) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """Environment variables that make this machine (or the one of `here`) compute as the recorded one did, and a
    finding for each thing that no variable can do. Nothing where both machines do the same by themselves."""
    if not {"cpu", "cores"} <= part.facts.keys():
        return {}, ()
    now = here.facts if here else _here()
    if here is None and ("gpus" in part.facts or "gpus" in part.facts.get("torch", {})):
        now = graphics.described(now, None)
    return forced(part.facts, now)


def _here() -> dict[str, Any]:
    return {
        "cpu": hardware.processor(),
        "cores": hardware.cores(),
        "memory": hardware.memory(),
        **graphics.cards(),
    }


def _told(reports: Iterable[Report]) -> dict[str, Any]:
    """What the interpreters of the run said, the first one first."""
    said = [report.facts for report in reports]
    pools = {_pool_key(pool): pool for facts in said for pool in facts.get("pools", ()) if isinstance(pool, dict)}
    found: dict[str, Any] = {"pools": [pools[key] for key in sorted(pools)]}
    found["threaded"] = sorted({name for facts in said for name in facts.get("modules", ()) if name in THREADED})
    elsewhere: dict[str, list[Any]] = {}
    for name in ("simd", "torch", "tensorflow"):
        values = [facts[name] for facts in said if facts.get(name)]
        if values:
            found[name] = values[0]
            others = [value for place, value in enumerate(values) if value not in values[:place]][1:]
            elsewhere |= {name: others} if others else {}
    found["elsewhere"] = elsewhere
    return {name: value for name, value in found.items() if value}


def _pool_key(pool: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(pool.get(name) or "") for name in ("api", "kernel", "file", "threads"))


def _graphics_used(scene: Scene, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of graphics cards once the run has ended."""
    paths = graphics.telling(scene.trace)
    used = graphics.used(scene.trace, paths, [report.facts for report in scene.reports])
    seen = {name: facts[name] for name in ("gpus", "driver") if name in facts}
    if used is not False:
        seen = graphics.described(seen, _cache(scene))
    if not seen and not used:
        return {}
    known: dict[str, Any] = {} if used is None else {"gpu used": used}
    versions = graphics.libraries(paths)
    return seen | known | ({"cuda": versions} if versions else {})


def _cache(scene: Scene) -> Path:
    return Path(scene.variables.get("XDG_CACHE_HOME") or scene.home / ".cache") / "bis"


def _identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    cpu = facts["cpu"]
    pools = {(pool.get("api"), pool.get("kernel"), pool.get("threads")) for pool in facts.get("pools", ())}
    identity: dict[str, Any] = {
        "cpu": [cpu.get("architecture"), cpu.get("vendor"), cpu.get("flags", [])],
        "pools": sorted([str(item) for item in pool] for pool in pools),
        "simd": facts.get("simd", {}).get("enabled"),
        "torch": _without(facts.get("torch"), "interop"),
        "tensorflow": facts.get("tensorflow"),
        "elsewhere": facts.get("elsewhere"),
    }
    if facts.get("gpu used") is not False:
        identity["gpus"] = [[card["name"] for card in facts.get("gpus", ())], facts.get("driver"), facts.get("cuda")]
    return identity


def _without(facts: Mapping[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return {name: value for name, value in facts.items() if name not in names} if facts else None


def _rows(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts as lines that can be compared, what decides numbers first."""
    cpu, rows = facts.get("cpu", {}), dict[str, Any]()
    for pool in facts.get("pools", ()):
        rows.setdefault(f"{pool['api']} kernel", set()).add(pool.get("kernel") or "")
        rows.setdefault(f"{pool['api']} threads", set()).add(str(pool.get("threads")))
    rows["NumPy SIMD"] = _enabled(facts.get("simd"))
    for library in ("torch", "tensorflow"):
        for name, value in facts.get(library, {}).items():
            rows[f"{library} {name}"] = value
    rows["architecture"] = cpu.get("architecture")
    rows["C library mathematics"] = libm_variant(facts) if cpu.get("architecture") == "x86_64" else None
    if facts.get("gpu used") is not False:
        rows["GPU"] = [card["name"] for card in facts.get("gpus", ())]
        rows["GPU driver"] = facts.get("driver")
        rows |= {f"lib{name}": version for name, version in facts.get("cuda", {}).items()}
    rows["CPU flags"] = cpu.get("flags")
    rows["CPU vendor"] = cpu.get("vendor")
    rows["CPU"] = cpu.get("model")
    rows["L2 cache"] = cpu.get("l2")
    rows |= {f"{name} cores": value for name, value in facts.get("cores", {}).items()}
    rows |= {f"{name} memory": value for name, value in facts.get("memory", {}).items()}
    return {name: text for name, value in rows.items() if (text := _text(value))}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple, set)):
        return ", ".join(sorted(filter(None, map(str, value))))
    return "" if value is None else str(value)


def _enabled(simd: Mapping[str, Any] | None) -> str:
    """The groups that NumPy can choose by, of those it uses: it lists every flag of the processor."""
    if not simd:
        return ""
    dispatch = simd.get("dispatch", ())
    return " ".join(name for name in simd.get("enabled", ()) if name in dispatch) or "baseline only"


def _weight(name: str, settled: bool) -> Weight:
    if name in ("CPU flags", "CPU vendor"):
        return "minor" if settled else "matters"
    decided = not name.startswith(("CPU", "L2", "torch interop")) and not name.endswith((" cores", " memory"))
    return "matters" if decided else "minor"


def _has_run(facts: Mapping[str, Any]) -> bool:
    """Whether an interpreter of a run told something, so that what is not there was not loaded."""
    return any(name in facts for name in ("pools", "simd", "torch", "tensorflow", "threaded"))


def _says_its_kernels(facts: Mapping[str, Any]) -> bool:
    """Whether everything numerical that was loaded told which kernels it chose: then the processor is no matter."""
    hidden = {"torch", "tensorflow"} & facts.keys() or {"jax", "faiss"} & set(facts.get("threaded", ()))
    return not hidden and all(pool.get("kernel") for pool in facts.get("pools", ()) if pool["api"] != "openmp")


def _summary(facts: Mapping[str, Any]) -> str:
    cpu, cards = facts["cpu"], [card["name"] for card in facts.get("gpus", ())]
    total = facts["memory"].get("total", 0) / hardware.GIB
    words = [cpu.get("model") or cpu.get("architecture", "?"), f"{facts['cores']['allowed']} cores", f"{total:.0f} GiB"]
    kernels = sorted({pool["kernel"] for pool in facts.get("pools", ()) if pool.get("kernel")})
    words += [f"OpenBLAS {'/'.join(kernels)}"] if kernels else []
    words += [f"{len(cards)} × {cards[0]}" if len(cards) > 1 else cards[0]] if cards else []
    return ", ".join(words)
