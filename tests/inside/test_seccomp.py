"""The filter that stops at openings: which calls it names, and what it decides, for each architecture."""

import importlib
import re
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

INSIDE = Path(__file__).resolve().parent.parent.parent / "src" / "bis" / "inside"


def inside(name: str) -> ModuleType:
    """A standalone module, imported as the tracer imports it."""
    if str(INSIDE) not in sys.path:
        sys.path.append(str(INSIDE))
    return importlib.import_module(name)


seccomp = inside("seccomp")
HEADERS = {
    "X86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "I386": "/usr/include/x86_64-linux-gnu/asm/unistd_32.h",
    "AARCH64": "/usr/include/asm-generic/unistd.h",
}


def decide(code: bytes, number: int, architecture: int) -> int:
    """What a filter answers: the few instructions that it is made of, executed."""
    program = list(struct.iter_unpack("=HBBI", code))
    data = struct.pack("=iI", number, architecture)
    at, accumulator = 0, 0
    while True:
        what, yes, no, operand = program[at]
        if what == 0x20:
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif what == 0x54:
            accumulator &= operand
        elif what == 0x15:
            at += yes if accumulator == operand else no
        elif what == 0x06:
            return int(operand)
        at += 1


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_stops_at_each_call_of_its_tables(machine: str) -> None:
    abis = seccomp.tables(machine)
    code = seccomp.program(abis)
    for architecture, _width, calls in abis:
        for name, number in calls.items():
            assert decide(code, number, architecture) == seccomp.RET_NOTIFY, name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@given(number=st.integers(min_value=-1, max_value=0x7FFFFFFF), which=st.integers(min_value=0, max_value=2))
def test_the_filter_lets_everything_else_pass(machine: str, number: int, which: int) -> None:
    abis = seccomp.tables(machine)
    code = seccomp.program(abis)
    architecture, _, calls = abis[which] if which < 2 else (0xC0000015, 8, {})
    plain = number & ~seccomp.X32_BIT if architecture == 0xC000003E else number
    if plain not in calls.values():
        assert decide(code, number, architecture) == seccomp.RET_ALLOW


def test_the_x32_spelling_of_a_call_is_stopped_at_too() -> None:
    code = seccomp.program(seccomp.tables("x86_64"))
    assert decide(code, 257 | seccomp.X32_BIT, 0xC000003E) == seccomp.RET_NOTIFY
    assert decide(code, 520 | seccomp.X32_BIT, 0xC000003E) == seccomp.RET_NOTIFY
    assert decide(code, 0 | seccomp.X32_BIT, 0xC000003E) == seccomp.RET_ALLOW


@pytest.mark.parametrize("table", HEADERS)
def test_the_numbers_are_those_of_the_kernel(table: str) -> None:
    header = Path(HEADERS[table])
    if not header.exists():
        pytest.skip(f"no {header} here")
    known = {
        name: int(number)
        for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text("utf-8"))
    }
    _architecture, _width, calls = getattr(seccomp, table)
    named = {name: number for name, number in calls.items() if not name.startswith("x32_")}
    assert named == {name: known[name] for name in named}


def test_an_architecture_without_a_table_is_refused() -> None:
    with pytest.raises(seccomp.Refused, match="no table of system calls for the architecture riscv64"):
        seccomp.tables("riscv64")


def test_the_filter_is_small_enough_for_any_kernel() -> None:
    for machine in seccomp.MACHINES:
        assert len(seccomp.program(seccomp.tables(machine))) // 8 < 256  # a jump takes a byte
