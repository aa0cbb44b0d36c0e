"""The machine part: what decides numbers, and asking another machine for the same."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.nouns.part import Part
from bis.nouns.trace import Access, Stat, Trace
from bis.parts import Report, Scene, forcing, graphics, hardware, machine
from bis.store.local import LocalStore

OPENBLAS = {
    "api": "openblas",
    "file": "libscipy_openblas64_.so",
    "threads": 8,
    "kernel": "Haswell",
    "version": "0.3.30",
}
GOMP = {"api": "openmp", "file": "libgomp.so.1", "threads": 8}
SIMD = {"baseline": ["X86_V2"], "dispatch": ["X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR"], "enabled": ["X86_V3"]}
V2 = {"pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "sse", "sse2"}
V3 = V2 | {"avx", "avx2", "fma", "f16c", "bmi1", "bmi2"}
V4 = V3 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def facts(flags: set[str] = V4, allowed: int = 8, vendor: str = "GenuineIntel", **more: Any) -> dict[str, Any]:
    cpu = {"architecture": "x86_64", "vendor": vendor, "model": "A processor", "flags": sorted(flags)}
    cores = {"online": allowed, "physical": allowed, "allowed": allowed}
    return {"cpu": cpu, "cores": cores, "memory": {"total": 1 << 34}, **more}


def part(**more: Any) -> Part:
    known = facts(**more)
    return Part(kind="machine", digest=machine.digest_value(machine._identity(known)), facts=known)


def reported(scene: Callable[..., Scene], *said: dict[str, Any], **more: Any) -> Scene:
    reports = tuple(Report(pid=number, facts=one) for number, one in enumerate(said, 1))
    return scene(reports=reports, trace=Trace(mechanism="notify", complete=True, **more))


def test_capture_tells_what_this_machine_is(scene: Callable[..., Scene], store: LocalStore) -> None:
    found = machine.capture(scene(), store)
    assert found.facts["cpu"]["architecture"] == os.uname().machine
    assert found.facts["cores"]["allowed"] == len(os.sched_getaffinity(0))
    assert found.facts["memory"]["total"] > 1 << 20
    assert f"{found.facts['cores']['allowed']} cores" in found.summary
    assert found.digest == machine.capture(scene(), store).digest


def test_kernels_and_threads_as_loaded_are_part_of_the_identity(scene: Callable[..., Scene], store: LocalStore) -> None:
    before = machine.capture(reported(scene, {"pools": [OPENBLAS]}), store)
    for changed in ({"kernel": "SkylakeX"}, {"threads": 4}):
        after = machine.capture(reported(scene, {"pools": [{**OPENBLAS, **changed}]}), store)
        assert before.digest != after.digest
        (change,) = machine.compare(before, after, store)
        assert change.weight == "matters"
        assert change.after == str(next(iter(changed.values())))


def test_the_order_and_number_of_interpreters_does_not_matter(scene: Callable[..., Scene], store: LocalStore) -> None:
    one, other = {"pools": [OPENBLAS], "simd": SIMD}, {"pools": [GOMP]}
    before = machine.capture(reported(scene, one, other), store)
    after = machine.capture(reported(scene, one, one, other), store)
    assert before.digest == after.digest


def test_an_interpreter_that_computes_otherwise_is_not_overlooked(
    scene: Callable[..., Scene], store: LocalStore
) -> None:
    before = machine.capture(reported(scene, {"simd": SIMD}), store)
    after = machine.capture(reported(scene, {"simd": SIMD}, {"simd": {**SIMD, "enabled": []}}), store)
    assert before.digest != after.digest


def test_reports_without_any_numbers_are_no_trouble(scene: Callable[..., Scene], store: LocalStore) -> None:
    found = machine.capture(reported(scene, {}, {"modules": {"yaml": "6.0"}, "pools": []}), store)
    assert "pools" not in found.facts


def test_free_memory_and_names_are_not_the_identity(store: LocalStore) -> None:
    before, after = part(), part()
    after.facts["cpu"]["model"] = "Another name"
    after.facts["memory"]["total"] = 1 << 40
    assert machine.digest_value(machine._identity(before.facts)) == machine.digest_value(machine._identity(after.facts))


def test_another_processor_is_minor_when_everything_says_that_it_computed_the_same(store: LocalStore) -> None:
    before = part(flags=V3, pools=[OPENBLAS], simd=SIMD)
    after = part(flags=V4, pools=[OPENBLAS], simd=SIMD, vendor="AuthenticAMD")
    changes = machine.compare(before, after, store)
    assert {change.name for change in changes} == {"CPU flags", "CPU vendor"}
    assert {change.weight for change in changes} == {"minor"}


def test_another_processor_matters_where_a_library_hides_its_choice(store: LocalStore) -> None:
    torch = {"threads": 8, "capability": "AVX2"}
    changes = machine.compare(part(flags=V3, torch=torch), part(flags=V4, torch=torch), store)
    assert [(change.name, change.weight) for change in changes] == [("CPU flags", "matters")]


def test_before_a_run_nothing_is_said_of_what_only_a_run_can_tell(store: LocalStore) -> None:
    changes = machine.compare(part(pools=[OPENBLAS], simd=SIMD), part(flags=V3), store)
    assert [change.name for change in changes] == ["CPU flags"]


def test_changes_that_decide_come_first(store: LocalStore) -> None:
    before = part(pools=[OPENBLAS], allowed=4)
    after = part(flags=V3, pools=[{**OPENBLAS, "kernel": "Zen"}], allowed=16)
    weights = [change.weight for change in machine.compare(before, after, store)]
    assert weights == sorted(weights)
    assert set(weights) == {"matters", "minor"}


# Conditions


def test_on_the_same_machine_nothing_is_forced() -> None:
    recorded = part(pools=[OPENBLAS, GOMP], simd=SIMD, torch={"threads": 8, "capability": "AVX512", "mkldnn": True})
    assert machine.conditions(recorded, part()) == ({}, ())


def test_a_record_without_facts_forces_nothing() -> None:
    assert machine.conditions(Part(kind="machine", digest=machine.digest_value(None))) == ({}, ())


def test_threads_are_forced_where_there_are_more_cores() -> None:
    variables, findings = machine.conditions(part(pools=[OPENBLAS, GOMP], threaded=["joblib"]), part(allowed=64))
    assert variables == {
        "OPENBLAS_NUM_THREADS": "8",
        "OMP_NUM_THREADS": "8",
        "PYTHON_CPU_COUNT": "8",
        "LOKY_MAX_CPU_COUNT": "8",
    }
    assert findings == ()


def test_the_threads_that_a_pool_really_had_are_forced() -> None:
    recorded = part(pools=[{**OPENBLAS, "threads": 1}, {**OPENBLAS, "file": "other.so", "threads": 3}])
    assert machine.conditions(recorded, part(allowed=64))[0]["OPENBLAS_NUM_THREADS"] == "3"


def test_more_threads_than_processors_are_a_finding_for_openblas_alone() -> None:
    recorded = part(pools=[OPENBLAS, GOMP], torch={"threads": 8, "capability": "AVX512"})
    variables, findings = machine.conditions(recorded, part(allowed=2))
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "8"
    assert variables["MKL_DYNAMIC"] == "FALSE"
    assert [finding.code for finding in findings] == ["fewer-cores"]
    assert "8 threads" in findings[0].text
    assert "2 processors" in findings[0].text


def test_a_newer_processor_is_told_to_compute_as_the_older_one() -> None:
    torch = {"threads": 8, "capability": "AVX2", "mkldnn": True}
    recorded = part(flags=V3, pools=[OPENBLAS], simd=SIMD, torch=torch)
    newer = V4 | {"avx512ifma", "avx512vbmi", "avx512_vnni", "avx512_vbmi2", "avx512_bitalg", "avx512_vpopcntdq"}
    variables, findings = machine.conditions(recorded, part(flags=newer))
    assert variables == {
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
    assert findings == ()


def test_the_c_library_is_told_too() -> None:
    variables, _ = machine.conditions(part(flags=V2), part(flags=V3))
    assert variables == {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2"}


def test_an_older_processor_is_a_finding_for_each_thing_that_it_cannot_do() -> None:
    torch = {"threads": 8, "capability": "AVX512", "mkldnn": True}
    simd = {**SIMD, "enabled": ["X86_V3", "X86_V4"]}
    recorded = part(flags=V4, pools=[{**OPENBLAS, "kernel": "SkylakeX"}], simd=simd, torch=torch)
    variables, findings = machine.conditions(recorded, part(flags=V2))
    assert variables == {}
    assert {finding.code for finding in findings} == {"older-processor"}
    assert [finding.text.split()[0] for finding in findings] == ["OpenBLAS", "NumPy", "PyTorch", "oneDNN", "MKL", "the"]
    assert all("lacks" in finding.text and finding.hint for finding in findings)
    assert "avx512vl" in findings[0].text
    assert not any(finding.blocks for finding in findings)


def test_of_two_kernels_the_newer_name_is_forced_which_both_builds_understand() -> None:
    pools = [{**OPENBLAS, "kernel": "Haswell"}, {**OPENBLAS, "file": "b.so", "kernel": "Zen"}]
    assert machine.conditions(part(flags=V3, pools=pools), part(flags=V4))[0]["OPENBLAS_CORETYPE"] == "Zen"


def test_a_kernel_nobody_knows_is_not_forced() -> None:
    pools = [{**OPENBLAS, "kernel": "DiamondRapids"}]
    variables, findings = machine.conditions(part(flags=V3, pools=pools), part(flags=V4))
    assert variables == {}
    assert [finding.code for finding in findings] == ["unknown-kernel"]


def test_another_maker_is_a_finding_where_mkl_computes() -> None:
    recorded = part(torch={"threads": 8, "capability": "AVX512"})
    variables, findings = machine.conditions(recorded, part(vendor="AuthenticAMD"))
    assert variables == {}
    assert [finding.code for finding in findings] == ["other-maker"]


def test_another_architecture_is_one_finding() -> None:
    arm = part(flags={"asimd"})
    arm.facts["cpu"]["architecture"] = "aarch64"
    variables, findings = machine.conditions(part(pools=[OPENBLAS], simd=SIMD), arm)
    assert variables == {}
    assert [finding.code for finding in findings] == ["other-architecture"]


@pytest.mark.parametrize(
    ("has", "code"),
    [
        ({}, "no-gpu"),
        ({"gpus": [{"name": "NVIDIA T4"}], "driver": "535.1"}, "other-gpu"),
        ({"gpus": [{"name": "NVIDIA H100"}], "driver": "550.9"}, "other-driver"),
        ({"gpus": [{"name": "NVIDIA H100"}], "driver": "535.1"}, None),
    ],
)
def test_graphics_cards_cannot_be_forced(has: dict[str, Any], code: str | None) -> None:
    recorded = part(gpus=[{"name": "NVIDIA H100"}], driver="535.1", **{"gpu used": True})
    assert [finding.code for finding in machine.conditions(recorded, part(**has))[1]] == ([code] if code else [])
    recorded.facts["gpu used"] = False
    assert machine.conditions(recorded, part(**has)) == ({}, ())


FLAGS = st.sets(st.sampled_from(sorted(hardware.NUMERIC_FLAGS)))


@given(was=FLAGS, here=FLAGS, allowed=st.tuples(st.integers(1, 256), st.integers(1, 256)))
def test_what_is_forced_is_always_something_that_this_processor_can_do(
    was: set[str], here: set[str], allowed: tuple[int, int]
) -> None:
    kernels = [name for name, needed in forcing.OPENBLAS_KERNELS.items() if needed <= was]
    enabled = [name for name, needed in forcing.NUMPY_FEATURES.items() if needed <= was]
    recorded = facts(
        flags=was,
        allowed=allowed[0],
        pools=[{**OPENBLAS, "kernel": kernels[-1]}],
        simd={"baseline": [], "dispatch": list(forcing.NUMPY_FEATURES), "enabled": enabled},
        torch={"threads": 8, "capability": forcing._highest(forcing.ATEN_LEVELS, frozenset(was)), "mkldnn": True},
        tensorflow={"intra": 0, "inter": 0},
    )
    variables, _ = forcing.forced(recorded, facts(flags=here, allowed=allowed[1]))
    assert forcing.OPENBLAS_KERNELS[variables.get("OPENBLAS_CORETYPE", "unknown")] <= here
    disabled = variables.get("NPY_DISABLE_CPU_FEATURES", "").split()
    assert all(forcing.NUMPY_FEATURES[name] <= here and name not in enabled for name in disabled)
    assert dict(forcing.ATEN_LEVELS)[variables.get("ATEN_CPU_CAPABILITY", "default").upper()] <= here
    assert dict(forcing.ONEDNN_LEVELS).get(variables.get("ONEDNN_MAX_CPU_ISA", ""), frozenset()) <= here
    assert dict(forcing.MKL_LEVELS).get(variables.get("MKL_ENABLE_INSTRUCTIONS", ""), frozenset()) <= here


PROBE = """
import json, numpy, scipy.linalg, threadpoolctl
try:
    from numpy._core import _multiarray_umath as core
except ImportError:
    from numpy.core import _multiarray_umath as core
pools = [
    {"api": pool["internal_api"], "threads": pool["num_threads"], "kernel": pool.get("architecture"), "file": ""}
    for pool in threadpoolctl.threadpool_info()
]
enabled = [name for name, on in core.__cpu_features__.items() if on]
simd = {"baseline": core.__cpu_baseline__, "dispatch": core.__cpu_dispatch__, "enabled": enabled}
print(json.dumps({"pools": pools, "simd": simd}))
"""


def probe(python: Path, **variables: str) -> dict[str, Any]:
    plain = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    done = subprocess.run([python, "-c", PROBE], env={**plain, **variables}, capture_output=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the older processor of this test is an x86 one")
def test_numpy_and_openblas_obey_what_is_forced(training_python: Path) -> None:
    """A record of an older processor, made by telling this one to be it; then forced by what the record says."""
    here = machine._here()
    flags = set(here["cpu"]["flags"])
    if not flags >= V3:
        pytest.skip("this processor is as old as the one that it is to be")
    dispatch = probe(training_python)["simd"]["dispatch"]
    hidden = [name for name in dispatch if not forcing.NUMPY_FEATURES.get(name, set()) <= V2]
    disabled = [name for name in hidden if forcing.NUMPY_FEATURES.get(name, set()) <= flags]
    old = probe(training_python, OPENBLAS_CORETYPE="Nehalem", NPY_DISABLE_CPU_FEATURES=" ".join(disabled))
    recorded = facts(flags=V2, vendor=here["cpu"].get("vendor", ""), **old)
    recorded["cores"] = here["cores"]
    variables, findings = forcing.forced(recorded, here)
    assert findings == ()
    assert probe(training_python, **variables) == old
    assert old != probe(training_python)


# Graphics cards: the files of a driver, as it lays them out


def driver(folder: Path) -> Path:
    card = folder / "gpus" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text(
        "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 175\nGPU UUID: \t GPU-1\nBus Location: \t 0000:01:00.0\n"
    )
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.90.07  Release Build  (dvs-builder)\n"
    (folder / "version").write_text(line)
    return folder


def test_cards_and_driver_are_read_from_the_kernel(tmp_path: Path) -> None:
    found = graphics.cards(driver(tmp_path), tmp_path / "absent")
    assert found == {"gpus": [{"name": "NVIDIA H100 80GB HBM3", "bus": "0000:01:00.0"}], "driver": "550.90.07"}
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n")
    assert graphics.cards(tmp_path, tmp_path / "absent")["driver"] == "535.104.05"


def test_without_cards_nothing_is_told(tmp_path: Path) -> None:
    assert graphics.cards(tmp_path / "absent", tmp_path / "absent") == {}


def test_amd_cards_are_found_too(tmp_path: Path) -> None:
    for number, properties in enumerate(("simd_count 0\n", "simd_count 416\n")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "properties").write_text(f"cpu_cores_count 1\n{properties}")
        (tmp_path / str(number) / "name").write_text("aldebaran\n")
    assert graphics.cards(tmp_path / "absent", tmp_path)["gpus"] == [{"name": "aldebaran", "bus": "kfd 1"}]


def read(path: str) -> Access:
    return Access(path=path, how="r", before=Stat(1, 1, 1))


def test_a_run_that_touched_no_card_does_not_depend_on_it(scene: Callable[..., Scene], store: LocalStore) -> None:
    seen = machine.capture(reported(scene, {"pools": [OPENBLAS]}), store).facts
    identity = machine._identity({**seen, "gpus": [{"name": "NVIDIA H100"}], "driver": "550", "gpu used": False})
    assert "gpus" not in identity


def test_whether_a_card_was_used_is_seen_in_the_trace() -> None:
    plain = read("/usr/lib/libc.so.6")

    def used(trace: Trace | None, *reports: dict[str, Any]) -> bool | None:
        return graphics.used(trace, graphics.telling(trace), reports)

    assert used(Trace(mechanism="notify", complete=True, accesses=(plain,))) is False
    assert used(Trace(mechanism="audit", complete=False, accesses=(plain,))) is None
    assert used(None) is None
    for path in ("/dev/nvidia0", "/usr/lib/x86_64-linux-gnu/libcuda.so.550.90.07", "/dev/kfd"):
        assert used(Trace(mechanism="notify", complete=True, accesses=(plain, read(path)))) is True
    assert used(None, {"torch": {"gpus": ["NVIDIA H100"]}}) is True


def test_versions_of_cuda_libraries_come_from_the_files_that_were_loaded() -> None:
    paths = (
        "/opt/env/lib/python3.11/site-packages/nvidia/cudnn/lib/libcudnn.so.9",
        "/opt/env/lib/python3.11/site-packages/nvidia/cuda_runtime/lib/libcudart.so.12",
        "/usr/local/cuda/lib64/libcudart.so.12.4.127",
        "/opt/env/torch/lib/libcudart-d0da41ae.so.11.0",
        "/usr/lib/libcudalike.so.3",
        "/usr/lib/libm.so.6",
    )
    trace = Trace(mechanism="notify", complete=True, accesses=tuple(read(path) for path in paths))
    assert graphics.libraries(graphics.telling(trace)) == {"cudart": "12.4.127", "cudnn": "9"}


def smi(folder: Path, answer: str) -> Path:
    """A driver's program that counts how often it was asked."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho x >> {folder}/asked\n{answer}\n")
    program.chmod(0o755)
    return folder


def test_the_driver_program_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = "echo 'NVIDIA H100 80GB HBM3, 00000000:01:00.0, 81559, 9.0, 550.90.07'"
    monkeypatch.setenv("PATH", str(smi(tmp_path, row)), prepend=os.pathsep)
    seen = graphics.cards(driver(tmp_path / "proc"), tmp_path)
    for _ in range(2):
        found = graphics.described(seen, tmp_path / "cache")
        assert found["gpus"][0]["memory"] == 81559
        assert found["gpus"][0]["capability"] == "9.0"
    assert (tmp_path / "asked").read_text() == "x\n"
    graphics.described({**seen, "driver": "999"}, tmp_path / "cache")
    assert (tmp_path / "asked").read_text() == "x\nx\n"


@pytest.mark.parametrize("answer", ["exit 9", "echo nonsense", "sleep 60"])
def test_a_driver_program_that_fails_or_hangs_costs_nothing_but_its_answer(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphics, "PATIENCE", 0.3)
    monkeypatch.setenv("PATH", str(smi(tmp_path, answer)), prepend=os.pathsep)
    seen = graphics.cards(driver(tmp_path / "proc"), tmp_path)
    assert graphics.described(seen, tmp_path / "cache") == seen
    assert not (tmp_path / "cache").exists()
