"""The files of others that the pages use lie here as they were published."""

import subprocess
import sys
from pathlib import Path


def test_they_are_as_their_list_says(root: Path) -> None:
    done = subprocess.run([sys.executable, root / "scripts" / "vendored"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "as they were published" in done.stdout


def test_all_of_them_together_are_small(root: Path) -> None:
    """Where others ship tens of megabytes."""
    files = (root / "src" / "bis" / "server" / "pages" / "static").rglob("*.*")
    assert sum(path.stat().st_size for path in files) < 1 << 20
