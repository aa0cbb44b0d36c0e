"""Record and repeat real training scripts: does every one of them come out the same, or is the reason named?

    python benchmarks/repeat_corpus.py --corpus FOLDER --mirrors FOLDER --out FOLDER
        --venv main=FOLDER --venv tf=FOLDER [--only NAME …] [--set visible] [--plant] [--report FILE]

The corpus folder holds `corpus.json` (what to run) and `corpus_fetch.py` (which lays it out from Git mirrors); no
third-party file is part of this project. Each item is laid out in a folder of its own, recorded with `bis run`, its
files are then removed, and `bis repeat` has to bring everything back: code, data and environment. With `--plant`,
each item that repeated is then compared with copies of its outputs in which one thing was changed (the last digit of
a number, a word of a log, a cell, a pixel, a weight): every one must be called different.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from planting import plant

QUIET = {
    "MPLBACKEND": "Agg",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "GIT_PYTHON_REFRESH": "quiet",
}
BIS = (sys.executable, "-m", "bis")


def main() -> int:
    wanted = arguments()
    laying = load(wanted.corpus / "corpus_fetch.py")
    items = json.loads((wanted.corpus / "corpus.json").read_text())["items"]
    items = [item for item in items if not wanted.only or item["name"] in wanted.only]
    items = [item for item in items if not wanted.set or item["set"] == wanted.set]
    venvs = dict(pair.split("=", 1) for pair in wanted.venv)
    report = []
    for item in items:
        row = measure(item, laying, wanted, venvs.get(item["env"], ""))
        report.append(row)
        print(line(row), flush=True)
        if wanted.report:
            wanted.report.write_text(json.dumps(report, indent=1) + "\n")
    return summary(report)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--mirrors", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--venv", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--set", default="")
    parser.add_argument("--plant", action="store_true")
    parser.add_argument("--trace", default="auto")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one run")
    parser.add_argument("--report", type=Path)
    return parser.parse_args()


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(item: dict[str, Any], laying: ModuleType, wanted: argparse.Namespace, venv: str) -> dict[str, Any]:
    """One item, recorded and repeated."""
    root = (wanted.out / item["name"]).resolve()
    shutil.rmtree(root, ignore_errors=True)
    laying.lay_out(item, laying.git_dir(item["repo"], wanted.mirrors, {}), root)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"} | QUIET
    if item["kind"] == "notebook":
        variables.pop("MPLBACKEND")
    if venv:
        variables |= {"PATH": f"{venv}/bin{os.pathsep}{variables['PATH']}", "VIRTUAL_ENV": venv}
    (root / "bis.toml").touch()
    folder = root / item.get("cwd", ".")
    row: dict[str, Any] = {"name": item["name"], "framework": item["framework"], "bare": item["baseline"]["class"]}
    command = [*BIS, "run", "-q", "--trace", wanted.trace, "--json", "--", "bash", "-c", item["command"]]
    started = time.monotonic()
    recorded = call(command, folder, variables, wanted.limit)
    row |= {"recorded": recorded.returncode, "run seconds": round(time.monotonic() - started, 1)}
    if recorded.returncode != 0:
        return row | {"verdict": "not recorded", "why": tail(recorded.stderr)}
    remove_files(root)
    started = time.monotonic()
    repeated = call([*BIS, "-C", str(root), "repeat", "@latest", "--json"], root, variables, wanted.limit)
    row |= {"repeated": repeated.returncode, "repeat seconds": round(time.monotonic() - started, 1)}
    row |= verdict_of(repeated)
    if wanted.plant and row["verdict"] in ("identical", "equivalent"):
        row["planted"] = planted(root, variables)
    return row


def call(command: list[str], folder: Path, variables: dict[str, str], limit: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, 124, "", f"timed out after {error.timeout:.0f} s")


def remove_files(root: Path) -> None:
    """Everything but the record: a repeat must not be able to read the files that the run read."""
    for path in root.iterdir():
        if path.name in (".bis", "bis.toml"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def verdict_of(repeated: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        answer = json.loads(repeated.stdout)
    except ValueError:
        return {"verdict": "not repeated", "why": tail(repeated.stderr)}
    verdict = (answer.get("verdicts") or [answer])[0]
    if "sameness" not in verdict:
        return {"verdict": "not repeated", "why": tail(repeated.stderr)}
    different = [one for one in verdict.get("outputs", []) if one["sameness"] == "different"]
    why = verdict.get("causes") or [f"{one['name']}: {one.get('why', '')}" for one in different]
    doubts = verdict.get("not_compared") or []
    return {
        "verdict": verdict["sameness"],
        "causes": verdict.get("causes") or [],
        "why": "; ".join(why or doubts)[:300],
        "outputs": len(verdict.get("outputs", [])),
        "masked": sorted({mask["rule"] for one in verdict.get("outputs", []) for mask in one.get("masked", [])}),
        "leaks": verdict.get("leaks", []),
        "level": {one["name"]: one["sameness"] for one in verdict.get("outputs", [])},
    }


def planted(root: Path, variables: dict[str, str]) -> dict[str, Any]:
    """Outputs of the recorded run against copies with one change each: how many were called different. They are
    compared as a repeat would, which knows when the run ran, for how long and where, and so what may be masked."""
    import msgspec

    from bis.formats.registry import compare
    from bis.nouns.run import Run
    from bis.steps.compare import context_of

    scratch = root.parent / f"{root.name}.planted"
    shutil.rmtree(scratch, ignore_errors=True)
    restored = call(
        [*BIS, "-C", str(root), "restore", "@latest", str(scratch / "run"), "--outputs", "--json"],
        root,
        variables,
        120,
    )
    if restored.returncode != 0:
        return {"error": tail(restored.stderr)}
    shown = call([*BIS, "-C", str(root), "show", "@latest", "--json"], root, variables, 60)
    record = json.loads(shown.stdout)["run"]
    run = msgspec.convert(record, Run)
    files = {one["path"]: scratch / "run" / one["path"] for one in outputs_of(record)}
    for stream in ("stdout", "stderr"):
        log = call([*BIS, "-C", str(root), "show", "@latest", f"--{stream}"], root, variables, 60)
        files[f"<{stream}>"] = scratch / stream
        files[f"<{stream}>"].write_text(log.stdout)
    tried, missed = 0, []
    for name, path in files.items():
        if not path.is_file():
            continue
        for change, content in plant(name, path.read_bytes()):
            copy = scratch / "changed"
            copy.write_bytes(content)
            tried += 1
            if compare(name, path, copy, context_of(run, run)).same is not False:
                missed.append(f"{name}: {change}")
    shutil.rmtree(scratch, ignore_errors=True)
    return {"tried": tried, "missed": missed}


def outputs_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in record["outputs"] if not one["path"].startswith(("<", "/"))]


def tail(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " | ".join(lines[-3:])[:300]


def line(row: dict[str, Any]) -> str:
    marks = {"identical": "[=]", "equivalent": "[~]", "different": "[x]", "nothing observed": "[ ]"}
    mark = marks.get(row["verdict"], "[!]")
    seconds = f"{row.get('run seconds', 0):6.1f} s {row.get('repeat seconds', 0):6.1f} s"
    found = row.get("planted") or {}
    caught = f"  planted {found['tried'] - len(found['missed'])}/{found['tried']}" if "tried" in found else ""
    return f"{mark} {row['name']:34} {row['bare']:5} -> {row['verdict']:17} {seconds}{caught}  {row.get('why', '')}"


def summary(report: list[dict[str, Any]]) -> int:
    same = sum(row["verdict"] in ("identical", "equivalent") for row in report)
    silent = sum(row["verdict"] == "nothing observed" for row in report)
    differ = [row for row in report if row["verdict"] == "different"]
    unexplained = [row["name"] for row in differ if not row["causes"]]
    failed = [row["name"] for row in report if row["verdict"] in ("not recorded", "not repeated")]
    missed = [miss for row in report for miss in (row.get("planted") or {}).get("missed", [])]
    tried = sum((row.get("planted") or {}).get("tried", 0) for row in report)
    seen = len(report) - silent
    unplanted = [row["name"] for row in report if row.get("planted") and not row["planted"].get("tried")]
    print(f"\n{len(report)} items: {same} of {seen} with output came out the same ({same / max(seen, 1):.0%}),")
    print(f"{silent} neither print nor write, {len(differ) - len(unexplained)} differ with a named cause,")
    print(f"{len(unexplained)} with none, {len(failed)} failed {[*unexplained, *failed] or ''}")
    if tried:
        print(f"{tried - len(missed)} of {tried} planted changes were found {missed or ''}")
    if unplanted:
        print(f"no change was planted in {unplanted}")
    return 1 if failed or missed or unexplained or unplanted else 0


if __name__ == "__main__":
    sys.exit(main())
