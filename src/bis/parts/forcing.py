"""The numerical conditions of one machine, asked for on another: environment variables, and what no variable can do.

Works downwards only: a newer processor can be told to compute as an older one, not the other way round. A variable
is given only where this machine would do something else by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bis.nouns.part import Finding

Facts = Mapping[str, Any]
Given = tuple[dict[str, str], list[Finding]]

AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
OPENBLAS_KERNELS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("katmai", "coppermine", "northwood", "banias", "athlon", "unknown"), frozenset()),
    **dict.fromkeys(("opteron",), frozenset({"sse2"})),
    **dict.fromkeys(("prescott", "opteron_sse3", "barcelona"), frozenset({"pni"})),
    **dict.fromkeys(("atom", "nano", "core2", "bobcat"), frozenset({"ssse3"})),
    **dict.fromkeys(("penryn", "dunnington"), frozenset({"sse4_1"})),
    "nehalem": frozenset({"sse4_2"}),
    "sandybridge": frozenset({"avx"}),
    "bulldozer": frozenset({"avx", "fma4"}),
    **dict.fromkeys(("piledriver", "steamroller"), frozenset({"avx", "fma", "fma4"})),
    **dict.fromkeys(("haswell", "zen", "excavator"), frozenset({"avx2", "fma"})),
    "skylakex": AVX512,
    "cooperlake": AVX512 | {"avx512_bf16"},
    "sapphirerapids": AVX512 | {"avx512_bf16", "amx_tile", "amx_bf16"},
    **dict.fromkeys(
        ("armv8", "cortexa53", "cortexa57", "cortexa72", "cortexa73", "falkor", "thunderx", "thunderx2t99"),
        frozenset({"asimd"}),
    ),
    **dict.fromkeys(("thunderx3t110", "tsv110", "emag8180", "neoversen1", "vortex", "ft2000"), frozenset({"asimd"})),
    **dict.fromkeys(("armv8sve", "a64fx", "neoversev1", "neoversen2"), frozenset({"sve"})),
}
"""What a kernel of OpenBLAS needs of the processor. In a build that lacks it, a name stands for the next older one,
so of several names the last one here suits all."""

NUMPY_FEATURES: dict[str, frozenset[str]] = {
    "SSE3": frozenset({"pni"}),
    "SSSE3": frozenset({"ssse3"}),
    "SSE41": frozenset({"sse4_1"}),
    "POPCNT": frozenset({"popcnt"}),
    "SSE42": frozenset({"sse4_2"}),
    "AVX": frozenset({"avx"}),
    "F16C": frozenset({"f16c"}),
    "XOP": frozenset({"xop"}),
    "FMA4": frozenset({"fma4"}),
    "FMA3": frozenset({"fma"}),
    "AVX2": frozenset({"avx2"}),
    "X86_V2": frozenset({"pni", "ssse3", "sse4_1", "sse4_2", "popcnt"}),
    "X86_V3": frozenset({"avx", "avx2", "fma", "f16c", "bmi1", "bmi2"}),
    "X86_V4": AVX512,
    "AVX512F": frozenset({"avx512f"}),
    "AVX512CD": frozenset({"avx512cd"}),
    "AVX512_KNL": frozenset({"avx512f", "avx512cd", "avx512er", "avx512pf"}),
    "AVX512_KNM": frozenset({"avx512er", "avx512pf", "avx512_4fmaps", "avx512_4vnniw", "avx512_vpopcntdq"}),
    "AVX512_SKX": AVX512,
    "AVX512_CLX": AVX512 | {"avx512_vnni"},
    "AVX512_CNL": AVX512 | {"avx512ifma", "avx512vbmi"},
    "AVX512_ICL": AVX512
    | {"avx512ifma", "avx512vbmi", "avx512_vnni", "avx512_vbmi2", "avx512_bitalg", "avx512_vpopcntdq"},
    "AVX512_SPR": AVX512 | {"avx512_fp16", "avx512_bf16"},
    "ASIMDHP": frozenset({"asimdhp"}),
    "ASIMDDP": frozenset({"asimddp"}),
    "ASIMDFHM": frozenset({"asimdfhm"}),
    "SVE": frozenset({"sve"}),
}
ATEN_LEVELS = (("DEFAULT", frozenset[str]()), ("AVX2", {"avx2", "fma"}), ("AVX512", AVX512 | {"fma"}))
ONEDNN_LEVELS = (
    ("SSE41", {"sse4_1"}),
    ("AVX", {"avx"}),
    ("AVX2", {"avx2", "fma"}),
    ("AVX2_VNNI", {"avx2", "fma", "avx_vnni"}),
    ("AVX512_CORE", AVX512),
    ("AVX512_CORE_VNNI", AVX512 | {"avx512_vnni"}),
    ("AVX512_CORE_BF16", AVX512 | {"avx512_vnni", "avx512_bf16"}),
    ("AVX512_CORE_FP16", AVX512 | {"avx512_vnni", "avx512_bf16", "avx512_fp16"}),
    ("AVX512_CORE_AMX", AVX512 | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"}),
)
MKL_LEVELS = (
    ("SSE4_2", {"sse4_2"}),
    ("AVX2", {"avx2", "fma"}),
    ("AVX512", AVX512),
    ("AVX512_E1", AVX512 | {"avx512_vnni"}),
    ("AVX512_E3", AVX512 | {"avx512_vnni", "avx512_bf16"}),
    ("AVX512_E4", AVX512 | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile"}),
)


def forced(was: Facts, here: Facts) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """The variables that make this machine compute as the recorded one did, and a finding for each thing they cannot
    do. Both are facts of machine parts; those of this machine need not come from a run."""
    rules: tuple[Callable[[Facts, Facts], Given], ...] = (_threads, _counts)
    if was["cpu"].get("architecture") != here["cpu"].get("architecture"):
        rules += (_architecture, _graphics)
    elif processor_class(was) != processor_class(here):
        rules += (_openblas, _numpy, _aten, _onednn, _mkl, _libm, _graphics)
    else:
        rules += (_graphics,)
    variables: dict[str, str] = {}
    findings: list[Finding] = []
    for rule in rules:
        more, found = rule(was, here)
        variables.update(more)
        findings += found
    return variables, tuple(findings)


def processor_class(facts: Facts) -> tuple[Any, ...]:
    """Processors of one class make the same choices: the libraries look at maker, family, model and flags."""
    cpu = facts["cpu"]
    return cpu.get("architecture"), cpu.get("vendor"), cpu.get("family"), tuple(cpu.get("flags", ()))


def libm_variant(facts: Facts) -> str:
    """Which variant of the mathematical functions the C library of x86 chooses."""
    flags = set(facts["cpu"].get("flags", ()))
    return "fma" if {"fma", "avx2"} <= flags else "fma4" if "fma4" in flags else "sse2"


def _threads(was: Facts, here: Facts) -> Given:
    """Threads per pool, where this machine has another number of cores. Pools take the number of processors unless
    told otherwise; told here is what they really had, whoever had told them."""
    if _same_cores(was, here):
        return {}, []
    allowed = here["cores"].get("allowed", 1)
    had: dict[str, int] = {}
    for pool in was.get("pools", ()):
        had[pool["api"]] = max(had.get(pool["api"], 0), pool.get("threads") or 1)
    variables: dict[str, str] = {}
    for api, name in (
        ("openblas", "OPENBLAS_NUM_THREADS"),
        ("openmp", "OMP_NUM_THREADS"),
        ("blis", "BLIS_NUM_THREADS"),
    ):
        if api in had:
            variables[name] = str(had[api])
    torch = was.get("torch", {}).get("threads")
    # torch takes the number of MKL, where it is built with it, and MKL by itself never more than there are cores.
    if wanted := torch or had.get("mkl"):
        variables["MKL_NUM_THREADS"] = str(wanted)
        variables.setdefault("OMP_NUM_THREADS", str(wanted))
        if wanted > min(allowed, here["cores"].get("physical", allowed)):
            variables["MKL_DYNAMIC"] = "FALSE"
    return variables, _too_few(had, allowed)


def _too_few(had: Mapping[str, int], allowed: int) -> list[Finding]:
    """OpenBLAS alone never starts more threads than there are processors."""
    if had.get("openblas", 0) <= allowed:
        return []
    text = (
        f"OpenBLAS ran with {had['openblas']} threads, and this machine allows {allowed} processors: sums of linear "
        "algebra may be added up in another order."
    )
    hint = f"repeat where {had['openblas']} processors are allowed, or record with OPENBLAS_NUM_THREADS={allowed}"
    return [Finding(code="fewer-cores", text=text, hint=hint)]


def _counts(was: Facts, here: Facts) -> Given:
    """What libraries and scripts derive from the number of processors."""
    before, now = was["cores"].get("allowed", 1), here["cores"].get("allowed", 1)
    if before == now:
        return {}, []
    loaded = set(was.get("threaded", ()))
    variables = {"PYTHON_CPU_COUNT": str(before)}
    if "numexpr" in loaded:
        variables["NUMEXPR_NUM_THREADS"] = str(min(before, 8))
    if "polars" in loaded:
        variables["POLARS_MAX_THREADS"] = str(before)
    if "joblib" in loaded and before < now:
        variables["LOKY_MAX_CPU_COUNT"] = str(before)
    if "numba" in loaded and before < now:
        variables["NUMBA_NUM_THREADS"] = str(before)
    tensorflow = was.get("tensorflow")
    if tensorflow is not None:
        variables["TF_NUM_INTRAOP_THREADS"] = str(tensorflow.get("intra") or before)
        variables["TF_NUM_INTEROP_THREADS"] = str(tensorflow.get("inter") or before)
    return variables, []


def _architecture(was: Facts, here: Facts) -> Given:
    before, now = was["cpu"].get("architecture"), here["cpu"].get("architecture")
    text = f"The run was recorded on {before}, and this machine is {now}: floating-point results may differ anywhere."
    return {}, [Finding(code="other-architecture", text=text, hint=f"repeat on {before}")]


def _openblas(was: Facts, here: Facts) -> Given:
    order = list(OPENBLAS_KERNELS)
    kernels = {pool["kernel"].lower(): pool["kernel"] for pool in was.get("pools", ()) if pool.get("kernel")}
    unknown = [kernel for name, kernel in kernels.items() if name not in OPENBLAS_KERNELS]
    if unknown:
        text = f"OpenBLAS ran its {unknown[0]} kernel; whether this processor can run it is not known here."
        return {}, [Finding(code="unknown-kernel", text=text, hint=f"try OPENBLAS_CORETYPE={unknown[0]}")]
    if not kernels:
        return {}, []
    newest = max(kernels, key=order.index)
    if missing := OPENBLAS_KERNELS[newest] - _flags(here):
        return {}, [_older(f"OpenBLAS ran its {kernels[newest]} kernel", missing, here, "OPENBLAS_CORETYPE=Haswell")]
    return {"OPENBLAS_CORETYPE": kernels[newest]}, []


def _numpy(was: Facts, here: Facts) -> Given:
    simd = was.get("simd")
    if not simd:
        return {}, []
    enabled, flags = set(simd.get("enabled", ())), _flags(here)
    groups = [name for name in simd.get("dispatch", ()) if name in NUMPY_FEATURES]
    surplus = [name for name in groups if name not in enabled and NUMPY_FEATURES[name] <= flags]
    lacking = [name for name in groups if name in enabled and not NUMPY_FEATURES[name] <= flags]
    lacking += [name for name in simd.get("baseline", ()) if not NUMPY_FEATURES.get(name, frozenset()) <= flags]
    variables = {"NPY_DISABLE_CPU_FEATURES": " ".join(surplus)} if surplus else {}
    if not lacking:
        return variables, []
    missing = frozenset().union(*(NUMPY_FEATURES[name] for name in lacking)) - flags
    advice = f'NPY_DISABLE_CPU_FEATURES="{" ".join(lacking)}"'
    return variables, [_older(f"NumPy used {', '.join(lacking)}", missing, here, advice)]


def _aten(was: Facts, here: Facts) -> Given:
    had = was.get("torch", {}).get("capability", "").upper()
    levels = dict(ATEN_LEVELS)
    if had not in levels or had == _highest(ATEN_LEVELS, _flags(here)):
        return {}, []
    if missing := levels[had] - _flags(here):
        return {}, [_older(f"PyTorch used its {had} kernels", missing, here, "ATEN_CPU_CAPABILITY=default")]
    return {"ATEN_CPU_CAPABILITY": had.lower()}, []


def _onednn(was: Facts, here: Facts) -> Given:
    """PyTorch and TensorFlow compute convolutions and more with oneDNN, which goes by the flags."""
    if "tensorflow" not in was and not was.get("torch", {}).get("mkldnn"):
        return {}, []
    before, now = (_highest(ONEDNN_LEVELS, _flags(facts)) for facts in (was, here))
    if before == now or not before:
        return {}, []
    if missing := dict(ONEDNN_LEVELS)[before] - _flags(here):
        return {}, [_older(f"oneDNN could use {before}", missing, here, "ONEDNN_MAX_CPU_ISA=AVX2")]
    return {"ONEDNN_MAX_CPU_ISA": before}, []


def _mkl(was: Facts, here: Facts) -> Given:
    """MKL goes by the maker first; what it chose it does not say. MKL_CBWR would be no way back: it changes results
    even at the level that is chosen without it."""
    if "torch" not in was and all(pool["api"] != "mkl" for pool in was.get("pools", ())):
        return {}, []
    makers = [facts["cpu"].get("vendor", "") for facts in (was, here)]
    if makers[0] != makers[1]:
        text = f"MKL chooses its kernels by the maker of the processor: {makers[0]} then, {makers[1]} here."
        hint = "record with MKL_CBWR=COMPATIBLE for results that do not depend on it"
        return {}, [Finding(code="other-maker", text=text, hint=hint)]
    before, now = (_highest(MKL_LEVELS, _flags(facts)) for facts in (was, here))
    if makers[0] != "GenuineIntel" or before == now or not before:
        return {}, []
    if missing := dict(MKL_LEVELS)[before] - _flags(here):
        return {}, [_older(f"MKL could use {before}", missing, here, "MKL_ENABLE_INSTRUCTIONS=AVX2")]
    return {"MKL_ENABLE_INSTRUCTIONS": before}, []


def _libm(was: Facts, here: Facts) -> Given:
    if was["cpu"].get("architecture") != "x86_64":
        return {}, []
    before, now = libm_variant(was), libm_variant(here)
    if before == now:
        return {}, []
    if before == "sse2" and now == "fma":
        return {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2"}, []
    missing = {"fma": {"fma", "avx2"}, "fma4": {"fma4"}, "sse2": set[str]()}[before] - _flags(here)
    return {}, [_older(f"the C library used its {before} functions (exp, log, sin, …)", missing, here, "")]


def _graphics(was: Facts, here: Facts) -> Given:
    if was.get("gpu used") is False or not (was.get("gpus") or was.get("torch", {}).get("gpus")):
        return {}, []
    had, has = ([card["name"] for card in facts.get("gpus", ())] for facts in (was, here))
    had = had or list(was["torch"]["gpus"])
    if not has:
        text = f"The run used {_listed(had)}, and this machine has no such card."
        return {}, [Finding(code="no-gpu", text=text, hint="repeat where there is one")]
    if sorted(had) != sorted(has):
        text = f"The run used {_listed(had)}, and this machine has {_listed(has)}."
        return {}, [Finding(code="other-gpu", text=text, hint=f"repeat on {had[0]}")]
    if was.get("driver") != here.get("driver"):
        text = f"The driver of the graphics cards was {was.get('driver')}, and is {here.get('driver')} here."
        return {}, [Finding(code="other-driver", text=text)]
    return {}, []


def _older(what: str, missing: Iterable[str], here: Facts, advice: str) -> Finding:
    names = " ".join(sorted(missing))
    model = here["cpu"].get("model") or here["cpu"].get("architecture", "?")
    text = f"{what}, which this processor ({model}) lacks {names} for: results may differ in their last bits."
    hint = f"repeat on a processor with {names}" + (f", or record with {advice} for both" if advice else "")
    return Finding(code="older-processor", text=text, hint=hint)


def _same_cores(was: Facts, here: Facts) -> bool:
    return all(was["cores"].get(name) == here["cores"].get(name) for name in ("allowed", "physical", "quota"))


def _flags(facts: Facts) -> frozenset[str]:
    return frozenset(facts["cpu"].get("flags", ()))


def _highest(levels: Iterable[tuple[str, frozenset[str] | set[str]]], flags: frozenset[str]) -> str:
    return ([name for name, needed in levels if needed <= flags] or [""])[-1]


def _listed(names: list[str]) -> str:
    return ", ".join(
        f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)
    )
