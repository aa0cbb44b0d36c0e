"""The environments of models, and what was found out there, once for all workers of a test run."""

import fcntl
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Callable[..., Any]:
    """What a script of this folder tells: `ask(python, "light.py", …)`. It is run once, and writes `told.json` into the
    folder that is its first argument."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent

    def told(python: Path, script: str, *words: str, seed: str = "0") -> Any:
        folder = shared / "-".join(["flavors", Path(script).stem, *words, seed]).replace("/", "_")
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "told.json").is_file():
                folder.mkdir(exist_ok=True)
                run = subprocess.run(
                    [str(python), "-W", "ignore", str(HERE / script), str(folder), *words],
                    env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONHASHSEED": seed},
                    capture_output=True,
                    text=True,
                )
                assert run.returncode == 0, run.stderr[-4000:]
        return {"folder": folder, **json.loads((folder / "told.json").read_text())}

    return told
