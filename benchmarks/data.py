"""bis and its peers at the same work on the same data, in the same session, and how far both are from the limits.

    .venv/bin/python benchmarks/data.py [--big 256M] [--small 5000] [--csv 64M] [--table FILE] [--weights 2048]
        [--peers dvc,git-lfs,git-annex,restic,borg,quilt] [--rounds 1] [--folder DIR] [--json FILE] [--limit 1800]

Each system adds the files, is asked for its status, adds again after 1 % has changed, verifies, pushes to a folder,
pushes again when there is nothing to do, pulls elsewhere, and restores; every file that is pulled or restored is then
compared byte for byte. Rounds go through all systems in turn, the order turned around every other time; printed are
medians. CPU is user and system time of the process tree, peak the memory of all its processes at once.

A cell that does not copy bytes (it links, or writes a list only) says what it does, and is not compared with one that
does. `0` leaves a workload out. At the end: which targets are met.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import made
from measure import Command, Cost, Failed, load, watched
from peers import NAMES, STEPS, Peer
from peers import load as load_peer

GONE = "gone"
INSIDE = Path(__file__).with_name("inside.py")
MIB = 1 << 20
PEAK = 300 * MIB
LITTLE = 0.02
"""CPU seconds that cannot be told apart here."""


class Figure(NamedTuple):
    """What one step of one system on one workload took, once."""

    work: str
    step: str
    who: str
    seconds: float
    cpu: float
    peak: int
    note: str = ""
    stored: int = -1
    """Bytes kept after it."""
    size: int = 0
    """Bytes of all files before the first change."""


class Work(NamedTuple):
    """A workload: how its files are made, and how they change."""

    name: str
    make: Callable[[Path], None]
    change: Callable[[Path], None]
    steps: tuple[str, ...]
    limits: dict[str, str]
    """For each step, the bare work in `inside.py` that it cannot do without."""


SMALL_LIMITS = {"add": "pack", "status": "walk", "verify": "read", "push": "pack", "pull": "copy", "restore": "copy"}
BIG_LIMITS = {"add": "large", "status": "walk", "verify": "read", "push": "large", "pull": "copy", "restore": "copy"}
CSV_STEPS = ("add", "re-add", "restore")
CHECKPOINTS = "checkpoints"


def works(options: argparse.Namespace) -> Iterator[Work]:
    if options.small:
        yield Work("small", partial(made.small, count=options.small), made.change_small, STEPS, SMALL_LIMITS)
    if options.big:
        yield Work("big", partial(made.big, size=options.big), made.change_big, STEPS, BIG_LIMITS)
    if options.weights:
        first, second = (partial(made.checkpoint, number=number, width=options.weights) for number in (1, 2))
        yield Work(CHECKPOINTS, first, second, CSV_STEPS, {"add": "compressed"})
    for clustered in (True, False):
        kind = "clustered" if clustered else "spread"
        if options.csv:
            edit = partial(_edit, clustered=clustered, fresh=made.made_row)
            yield Work(f"csv {kind}", partial(made.table, size=options.csv), edit, CSV_STEPS, {"add": "large"})
        if options.table:
            edit = partial(_edit, clustered=clustered, fresh=made.other_cell)
            yield Work(f"table {kind}", partial(_copied, options.table), edit, CSV_STEPS, {"add": "large"})


def _edit(folder: Path, clustered: bool, fresh: Callable[..., bytes]) -> None:
    for path in sorted(folder.iterdir()):
        made.edit_table(path, clustered, fresh)


def _copied(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copyfile(path, folder / "table.csv")


# -- measuring -------------------------------------------------------------------------------------------------------


def measure(work: Work, peers: list[type[Peer]], top: Path, options: argparse.Namespace) -> Iterator[Figure]:
    """All rounds of a workload."""
    before, after = top / "before", top / "after"
    tell(f"{work.name}: making the files")
    work.make(before)
    shutil.copytree(before, after)
    work.change(after)
    for number in range(options.rounds):
        yield from limits(work, before, top / "limit", options)
        for kind in peers if number % 2 == 0 else reversed(peers):
            place = top / kind.name
            try:
                yield from drive(kind(place), work, before, after, options)
            finally:
                let_go(place, top)
    for folder in (before, after, top / GONE):
        shutil.rmtree(folder, ignore_errors=True)


def let_go(place: Path, top: Path) -> None:
    """Have the room back and keep the names, until the workload is done. ext4 passes over each file that was deleted in
    the last minutes, one by one, whenever it makes a new one: who came next would pay for who went before."""
    for path in [place, *place.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
            os.truncate(path, 0)
    if place.exists():
        aside(place, top)


def aside(place: Path, top: Path) -> None:
    (top / GONE).mkdir(exist_ok=True)
    place.rename(top / GONE / str(len(list((top / GONE).iterdir()))))


def limits(work: Work, data: Path, place: Path, options: argparse.Namespace) -> Iterator[Figure]:
    for step, bare in work.limits.items():
        into = [] if bare in ("walk", "read") else [str(place)]
        command = Command([sys.executable, str(INSIDE), bare, str(data), *into])
        yield inside(work.name, step, "limit", command, options)
        let_go(place, place.parent)


def inside(work: str, step: str, who: str, command: Command, options: argparse.Namespace) -> Figure:
    """A step that says itself what it took, without the start of its interpreter."""
    os.sync()
    cost, printed = watched(command, options.limit)
    told = json.loads(printed)
    return Figure(work, step, who, told["seconds"], told["cpu"], cost.peak, stored=told.get("stored", -1))


def drive(peer: Peer, work: Work, before: Path, after: Path, options: argparse.Namespace) -> Iterator[Figure]:
    """One system through all steps of a workload. What fails is noted, and the next step tried."""
    tell(f"{work.name}: {peer.name}")
    for command in peer.begin():
        watched(command, options.limit)
    shutil.copytree(before, peer.data)
    for step in work.steps:
        if step == "re-add":
            work.change(peer.data)
        if step == "restore":
            aside(peer.data, peer.place.parent)
        name = {"re-add": "add", "push again": "push"}.get(step, step)
        commands = getattr(peer, name)()
        if not commands:
            continue
        figure = one_step(peer, work, step, commands, options)
        if step in ("add", "re-add") and not figure.note.startswith("failed"):
            figure = figure._replace(stored=made.stored(peer.stored()), size=made.stored([before]))
        if step in ("pull", "restore") and not figure.note.startswith("failed"):
            odd = made.same(after, peer.pulled() if step == "pull" else peer.restored())
            if odd:
                figure = figure._replace(note=f"failed: {odd} came out otherwise")
        yield figure
        if figure.note.startswith("failed"):
            tell(f"{work.name}, {step}: {peer.name} {figure.note}")
        elif peer.name == "bis" and step in ("add", "status"):
            yield from alone(peer, work, step, before, options)
        if step == "pull" and peer.fresh.exists():
            aside(peer.fresh, peer.place.parent)


def alone(peer: Peer, work: Work, step: str, before: Path, options: argparse.Namespace) -> Iterator[Figure]:
    """bis without the start of its interpreter; an add, as the first of another project."""
    place = peer.place / "inside" if step == "add" else peer.work
    if step == "add":
        place.mkdir()
    data = before if step == "add" else peer.data
    command = Command([sys.executable, str(INSIDE), step, str(data)], place, peer.variables)
    yield inside(work.name, step, "bis, inside", command, options)
    if step == "add":
        let_go(place, peer.place.parent)


def one_step(peer: Peer, work: Work, step: str, commands: Iterable[Command], options: argparse.Namespace) -> Figure:
    os.sync()
    costs: list[Cost] = []
    note = peer.notes.get(step, "")
    try:
        for command in commands:
            costs.append(watched(command, options.limit)[0])
    except Failed as error:
        note = f"failed: {str(error).splitlines()[-1][:80]}"
    seconds, cpu = sum(cost.seconds for cost in costs), sum(cost.cpu for cost in costs)
    return Figure(work.name, step, peer.name, seconds, cpu, max((cost.peak for cost in costs), default=0), note)


def medians(figures: list[Figure]) -> list[Figure]:
    found: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in figures:
        found.setdefault(figure[:3], []).append(figure)
    return [_median(some) for some in found.values()]


def _median(some: list[Figure]) -> Figure:
    """Of several rounds; a failure in any of them is kept."""
    notes = [figure.note for figure in some]
    return some[-1]._replace(
        seconds=statistics.median(figure.seconds for figure in some),
        cpu=statistics.median(figure.cpu for figure in some),
        peak=max(figure.peak for figure in some),
        note=next((note for note in notes if note.startswith("failed")), notes[0]),
    )


# -- printing --------------------------------------------------------------------------------------------------------


def table(figures: list[Figure]) -> Iterator[str]:
    width = max(len(figure.who) for figure in figures)
    for work in dict.fromkeys(figure.work for figure in figures):
        yield ""
        yield f"{work:12} {'':{width}}  CPU s   of bis   wall s   of bis   peak MiB   stored MiB"
        rows = [figure for figure in figures if figure.work == work]
        for step in sorted({figure.step for figure in rows}, key=STEPS.index):
            ours = next((row for row in rows if row.step == step and row.who == "bis"), None)
            for number, row in enumerate(row for row in rows if row.step == step):
                yield _line("" if number else step, row, ours, width)


def _line(step: str, row: Figure, ours: Figure | None, width: int) -> str:
    if row.note.startswith("failed"):
        return f"{step:12} {row.who:{width}}  {row.note}"
    ratios = ["", ""] if ours is None else [_ratio(row.cpu, ours.cpu), _ratio(row.seconds, ours.seconds)]
    kept = f"{row.stored / MIB:.2f}" if row.stored >= 0 else ""
    peak = f"{row.peak / MIB:.0f}"
    line = f"{step:12} {row.who:{width}} {row.cpu:6.2f}  {ratios[0]:>7}  {row.seconds:7.2f}  {ratios[1]:>7}  {peak:>9}"
    return f"{line}  {kept:>11}{'  ' + row.note if row.note else ''}".rstrip()


def _ratio(one: float, other: float) -> str:
    return f"x{one / other:.2f}" if other else ""


# -- targets ---------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    says: str
    met: bool | None
    """None: this run does not tell."""
    told: str


def targets(figures: list[Figure]) -> Iterator[Target]:
    at = {figure[:3]: figure for figure in figures if not figure.note.startswith("failed")}
    yield _ahead(figures, at)
    yield _five_times(figures, at)
    yield _within("re-status of small files within 1.5 times of the bare walk", at, ("small", "status"), 1.5)
    yield _within("add of small files within twice of reading, hashing, writing", at, ("small", "add"), 2.0)
    yield _within("add of the big file within 1.5 times of reading, hashing, writing", at, ("big", "add"), 1.5)
    for work in dict.fromkeys(figure.work for figure in figures):
        if work.endswith((" clustered", " spread")):
            yield _extra(work, at)
    if any(figure.work == CHECKPOINTS for figure in figures):
        yield _next_checkpoint(at)
    worst = max((figure for figure in figures if figure.who == "bis"), key=lambda one: one.peak)
    told = f"{worst.peak / MIB:.0f} MiB at most: {worst.work}, {worst.step}"
    yield Target("peak memory below 300 MiB in all rows", worst.peak < PEAK, told)
    failed = [f"{one.work}, {one.step}" for one in figures if one.who == "bis" and one.note.startswith("failed")]
    yield Target("bis restores every byte and ends every step", not failed, "; ".join(failed))


def _ahead(figures: list[Figure], at: dict[tuple[str, ...], Figure]) -> Target:
    rows = [
        row
        for row in figures
        if row.who not in ("limit", "bis", "bis, inside") and not row.note and (row.work, row.step, "bis") in at
    ]
    behind = [
        f"{row.work}, {row.step}: {row.who} x{row.cpu / at[row.work, row.step, 'bis'].cpu:.2f}"
        for row in rows
        if row.cpu + LITTLE < at[row.work, row.step, "bis"].cpu
    ]
    met = not behind if rows else None
    return Target("ahead of every peer in each row where it copies (CPU)", met, "; ".join(behind))


def _five_times(figures: list[Figure], at: dict[tuple[str, ...], Figure]) -> Target:
    rows = [row for row in figures if row.work == "small" and row.who == "dvc" and not row.note]
    rows = [row for row in rows if ("small", row.step, "bis") in at]
    ratios = {row.step: row.cpu / at["small", row.step, "bis"].cpu for row in rows}
    told = ", ".join(f"{step} x{ratio:.1f}" for step, ratio in ratios.items())
    met = min(ratios.values()) >= 5 if ratios else None
    return Target("5 times ahead of DVC on small files (CPU)", met, told)


def _within(says: str, at: dict[tuple[str, ...], Figure], row: tuple[str, str], most: float) -> Target:
    ours, bare = at.get((*row, "bis, inside")), at.get((*row, "limit"))
    if not ours or not bare:
        return Target(says, None, "")
    whole = at[(*row, "bis")]
    told = f"x{ours.cpu / bare.cpu:.2f} CPU, x{ours.seconds / bare.seconds:.2f} wall in process"
    with_start = f"x{whole.cpu / bare.cpu:.2f} CPU with the start of the interpreter"
    return Target(says, ours.cpu <= most * bare.cpu, f"{told}; {with_start}")


def _extra(work: str, at: dict[tuple[str, ...], Figure]) -> Target:
    first, second = at.get((work, "add", "bis")), at.get((work, "re-add", "bis"))
    says = f"{work}: one row more and 1 % edited stores less than 1 % extra"
    if not first or not second:
        return Target(says, None, "")
    size = first.size
    extra = second.stored - first.stored
    others = [
        f"{row.who} {(row.stored - at[work, 'add', row.who].stored) / size:.1%}"
        for row in at.values()
        if row.work == work and row.step == "re-add" and row.who != "bis" and not row.note
    ]
    return Target(says, extra < size / 100, f"{extra / size:.2%} of the file; {', '.join(others)}")


def _next_checkpoint(at: dict[tuple[str, ...], Figure]) -> Target:
    says = "checkpoints: the next one takes less than two thirds of what zstd leaves of it"
    first, second = at.get((CHECKPOINTS, "add", "bis")), at.get((CHECKPOINTS, "re-add", "bis"))
    alone = at.get((CHECKPOINTS, "add", "limit"))
    if not first or not second or not alone:
        return Target(says, None, "")
    extra = second.stored - first.stored
    told = f"{extra / first.size:.1%} of the files, the first {first.stored / first.size:.1%}"
    return Target(says, extra < alone.stored * 2 / 3, f"{told}; zstd {alone.stored / first.size:.1%}")


def show(target: Target) -> str:
    mark = {True: "met    ", False: "NOT MET", None: "unknown"}[target.met]
    return f"{mark}  {target.says}{': ' + target.told if target.told else ''}"


# -- the door --------------------------------------------------------------------------------------------------------


def number_of(text: str) -> int:
    """`2G`, `256M`, `5000`."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1:] in units else int(text)


def tell(text: str) -> None:
    print(f"... {text} ({load()})", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=number_of, default=5000, help="how many small files")
    parser.add_argument("--big", type=number_of, default=256 << 20, help="size of the big file")
    parser.add_argument("--csv", type=number_of, default=64 << 20, help="size of the table")
    parser.add_argument("--weights", type=number_of, default=2048, help="width of the network with two checkpoints")
    parser.add_argument("--table", type=Path, help="a real CSV file to edit, too")
    parser.add_argument("--peers", default=",".join(NAMES[1:]), help="with commas between them; bis is always there")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1800, help="seconds after which a step is given up")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args()
    kinds = [load_peer(name) for name in ("bis", *filter(None, options.peers.split(",")))]
    for kind in kinds:
        if why := kind.missing():
            print(f"left out: {kind.name}: {why}")
    kinds = [kind for kind in kinds if not kind.missing()]

    begun = load()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bis-data-", dir=options.folder) as scratch:
        for work in works(options):
            for figure in measure(work, kinds, Path(scratch), options):
                figures.append(figure)
                if options.json:
                    write(options, figures, begun)
    figures = medians(figures)
    print(f"{options.rounds} rounds, {begun} at the start, {load()} at the end")
    for line in table(figures):
        print(line)
    print()
    found = list(targets(figures))
    for target in found:
        print(show(target))
    return int(options.check and any(target.met is False for target in found))


def write(options: argparse.Namespace, figures: list[Figure], begun: str) -> None:
    told = {"schema": "bis.bench.data/1", "begun": begun, "load": load(), "rounds": options.rounds}
    sizes = {"small": options.small, "big": options.big, "csv": options.csv, "weights": options.weights}
    options.json.write_text(json.dumps({**told, **sizes, "figures": [one._asdict() for one in figures]}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
