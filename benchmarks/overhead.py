"""What `bis run` costs over the bare command: a scikit-learn training of some seconds in a Git repository of 200 files.

    .venv/bin/python benchmarks/overhead.py [--rounds 7] [--trees 14] [--option=--no-seed ...] [--check] [--json]

Both commands run in turn in the same repository, after two unmeasured runs of each, so everything is warm: what is
measured is the second and later runs of a person who works. Printed are medians, the difference, and how often the
unchanged data file was opened in one run, against the bare command. `--check` exits 1 when the target is missed
(150 ms and 3 % of the bare time) or the data were read again.
"""

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from measure import Command, Cost, interleave, load, median, once

ROOT = Path(__file__).resolve().parent.parent
MODULE = 'def scale_{0}(x):\n    """Step {0} of the preparation."""\n    return x * {0} + 1\n'
TRAIN = """
import sys
import numpy as np, pandas as pd
from sklearn.ensemble import RandomForestClassifier
from package import step_001, step_002
frame = pd.read_csv("data/train.csv")
model = RandomForestClassifier(n_estimators=int(sys.argv[1]), random_state=0, n_jobs=1)
model.fit(frame.drop(columns="target"), frame["target"])
with open("metrics.json", "w") as file:
    file.write('{"score": %r}' % float(model.score(frame.drop(columns="target"), frame["target"])))
print("done")
"""
PREPARE = """
import numpy as np, pandas as pd
chance = np.random.default_rng(0)
frame = pd.DataFrame(chance.normal(size=(20000, 40)).round(6), columns=[f"x{n}" for n in range(40)])
frame["target"] = (frame.x0 + frame.x1 * frame.x2 > 0).astype(int)
frame.to_csv("data/train.csv", index=False)
"""
ALLOWED_SECONDS, ALLOWED_SHARE = 0.150, 0.03


def make_project(folder: Path, python: str) -> None:
    """A repository of 200 committed files, with data that is not committed."""
    (folder / "package").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / ".gitignore").write_text("data/\n__pycache__/\nmetrics.json\n")
    (folder / "package" / "__init__.py").write_text("")
    for number in range(1, 198):
        (folder / "package" / f"step_{number:03}.py").write_text(MODULE.format(number) * 20)
    git = ["git", "-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "A project"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    subprocess.run([python, "-c", PREPARE], cwd=folder, check=True)


class Opens:
    """Counts how often a file is opened, by anybody, through inotify. Linux only; elsewhere it counts nothing."""

    OPEN, CLOSE = 0x20, 0x18

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.known = hasattr(libc, "inotify_init1")
        self.count = 0
        if self.known:
            self.queue = libc.inotify_init1(0)
            # Closings are watched too: the kernel folds equal events that follow each other into one.
            libc.inotify_add_watch(self.queue, os.fsencode(path), self.OPEN | self.CLOSE)
            threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while events := os.read(self.queue, 4096):
            at = 0
            while at < len(events):
                _, mask, _, length = struct.unpack_from("iIII", events, at)
                self.count += bool(mask & self.OPEN)
                at += 16 + length


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bis-overhead-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, options: argparse.Namespace) -> tuple[dict[str, list[Cost]], dict[str, list[int]], int]:
    """The costs of each command, how often each opened the data in each round, and the size of the data."""
    make_project(folder, options.python)
    variables = {**os.environ, "BIS_ENVIRONMENTS": str(folder.parent / "environments")}
    train = [options.python, "train.py", str(options.trees)]
    commands = {
        "bare": Command(train, folder, variables),
        "bis run": Command([options.bis, "run", *options.option, "--", *train], folder, variables),
    }
    for command in [*commands.values()] * 2:
        once(command)
    opens = Opens(folder / "data" / "train.csv")
    marks: list[tuple[str, int]] = []
    costs = interleave(commands, options.rounds, lambda name: marks.append((name, opens.count)))
    ends = [count for _, count in marks[1:]] + [opens.count]
    opened: dict[str, list[int]] = {name: [] for name in commands}
    for (name, start), end in zip(marks, ends, strict=True):
        opened[name].append(end - start)
    return costs, opened, (folder / "data" / "train.csv").stat().st_size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--trees", type=int, default=14, help="size of the training (14: about 5 seconds)")
    parser.add_argument("--option", action="append", default=[], help="passed to bis run")
    parser.add_argument("--bis", default=str(Path(sys.executable).with_name("bis")))
    parser.add_argument("--python", default=str(ROOT / ".venv-training" / "bin" / "python"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with scratch() as folder:
        costs, opened, size = measure(folder / "project", options)

    bare, ours = (median(costs[name], "seconds") for name in ("bare", "bis run"))
    allowed = ALLOWED_SECONDS + ALLOWED_SHARE * bare
    again = max(opened["bis run"]) - min(opened["bare"])
    result = {
        "schema": "bis.bench.overhead/1",
        "rounds": options.rounds,
        "bare_seconds": bare,
        "bis_seconds": ours,
        "over_seconds": ours - bare,
        "allowed_seconds": allowed,
        "ratio": ours / bare,
        "over_cpu_seconds": median(costs["bis run"], "cpu") - median(costs["bare"], "cpu"),
        "data_opened_again": again,
        "data_bytes": size,
        "other_bytes_read": median(costs["bis run"], "read") - median(costs["bare"], "read"),
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"overhead of bis run, median of {options.rounds} warm runs each, interleaved ({load()})")
        for name, all_costs in costs.items():
            seconds = sorted(cost.seconds for cost in all_costs)
            print(
                f"  {name:8} {statistics.median(seconds):7.3f} s  ({seconds[0]:.3f} to {seconds[-1]:.3f})"
                f"  {median(all_costs, 'cpu'):7.3f} s CPU"
            )
        print(f"  over     {ours - bare:7.3f} s  allowed {allowed:.3f} s  ratio {ours / bare:.3f}")
        print(f"  the data file ({size / 1e6:.1f} MB) was opened {again} times more than by the bare command")
        print(f"  all that was read: {result['other_bytes_read'] / 1e6:+.1f} MB")
    return int(options.check and (ours - bare > allowed or again > 0))


if __name__ == "__main__":
    sys.exit(main())
