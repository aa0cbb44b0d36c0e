"""What it costs to say what is different between two versions of a table: `bis data diff`, and others that compare.

    python benchmarks/tables.py --size 256M
    python benchmarks/tables.py --size 64M --peers VENV    # with csv-diff, daff, datacompy and pandas in it

A row in a hundred is edited, everywhere in the table. Peers are told the column that names rows, which bis needs not;
each reads the two files and counts the rows that differ. CPU seconds and peak memory of the whole command.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import sys
import tempfile
from pathlib import Path

from measure import Command, Failed, once, watched

PEERS = {
    "csv-diff": "import csv_diff as d; a, b = (d.load_csv(open(p, newline=''), key='id') for p in sys.argv[1:]);"
    "print(len(d.compare(a, b)['changed']))",
    "datacompy": "import datacompy as d, pandas as p; a, b = map(p.read_csv, sys.argv[1:]);"
    "c = d.Compare(a, b, join_columns='id') if hasattr(d, 'Compare') else d.PandasCompare(a, b, join_columns='id');"
    "print(c.count_matching_rows())",
    "daff": "import csv, daff as d; a, b = ([*csv.reader(open(p, newline=''))] for p in sys.argv[1:]);"
    "a, b = map(d.PythonTableView, (a, b)); f = d.CompareFlags(); f.addPrimaryKey('id');"
    "x = d.Coopy.compareTables(a, b, f).align(); y = d.PythonTableView([]); d.TableDiff(x, f).hilite(y);"
    "print(y.get_height())",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", default="64M", help="of a table, as in 64M or 1G")
    options.add_argument("--peers", type=Path, help="a virtual environment that has them")
    options.add_argument("--limit", type=float, default=1200, help="seconds for each")
    options.add_argument("--json", action="store_true")
    told = options.parse_args()
    size = int(told.size[:-1]) << {"M": 20, "G": 30}[told.size[-1]]
    with tempfile.TemporaryDirectory(prefix="bis-tables-") as name:
        folder = Path(name)
        files = [folder / "before.csv", folder / "after.csv"]
        for path, every in zip(files, (0, 100), strict=True):
            make(path, size, every)
        found = {"bis": of_bis(folder, files, told.limit)}
        show("bis", found["bis"], told.json)
        for peer, code in PEERS.items() if told.peers else ():
            argv = [str(told.peers / "bin" / "python"), "-c", f"import sys; {code}", *map(str, files)]
            found[peer] = of(Command(argv), told.limit)
            show(peer, found[peer], told.json)
    if told.json:
        print(json.dumps(found, indent=2))


def show(name: str, one: dict[str, float] | str, as_json: bool) -> None:
    if not as_json:
        cost = one if isinstance(one, str) else "{cpu:8.2f} s CPU  {peak:6.0f} MiB".format(**one)
        print(f"{name:10} {cost}", flush=True)


def make(path: Path, size: int, every: int) -> None:
    """Nine columns of the usual kinds; an amount in `every` rows is another one."""
    chance, edits = random.Random(1), random.Random(2)
    notes = ["", 'he said "yes", then left', "plain", "a longer text about nothing"]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "name", "kind", "city", "amount", "ratio", "day", "paid", "note"])
        numbers = itertools.count()
        while file.tell() < size:
            for number in itertools.islice(numbers, 10_000):
                amount = f"{chance.random() * 1000:.2f}"
                if every and edits.randrange(every) == 0:
                    amount = f"{edits.random() * 1000:.2f}"
                day = f"20{chance.randrange(24):02}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
                name, kind = f"name{chance.randrange(10**6)}", f"kind {chance.randrange(20)}"
                place, paid = chance.choice(["Bern", "Paris", "Wien"]), chance.choice(["true", "false"])
                ratio, note = repr(chance.gauss(0, 1)), chance.choice(notes)
                rows.writerow([number, name, kind, place, amount, ratio, day, paid, note])
            number += 1


def of_bis(folder: Path, files: list[Path], limit: float) -> dict[str, float] | str:
    """Of two versions that are there; adding them is not counted."""
    bis = [sys.executable, "-m", "bis"]
    (folder / ".bis").mkdir()
    for path in files:
        path.rename(folder / "table.csv")
        once(Command([*bis, "data", "add", "table.csv"], folder))
        (folder / "table.csv").rename(path)
    return of(Command([*bis, "data", "diff", "table@v1", "table@v2", "--all"], folder), limit, (0, 1))


def of(command: Command, limit: float, fine: tuple[int, ...] = (0,)) -> dict[str, float] | str:
    argv = ["sh", "-c", '"$@"; status=$?; [ $status -le $0 ] || exit $status', str(max(fine)), *command.argv]
    try:
        cost, printed = watched(command._replace(argv=argv), limit)
    except Failed as error:
        return str(error).splitlines()[-1]
    sys.stderr.write(printed.decode(errors="replace"))
    return {"cpu": round(cost.cpu, 2), "peak": round(cost.peak / (1 << 20))}


if __name__ == "__main__":
    main()
