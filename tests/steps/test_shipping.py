"""What is shipped runs where nothing of this machine is."""

from pathlib import Path

import pytest

from bis.nouns.run import Run
from bis.steps.shipping import command_of


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (".venv/bin/python", "/opt/env/bin/python"),
        ("/usr/bin/python3.12", "/opt/env/bin/python"),
        (".venv/bin/accelerate", "/opt/env/bin/accelerate"),
        ("/usr/bin/bash", "/usr/bin/bash"),
        ("/bin/sh", "/bin/sh"),
        ("./train.sh", "./train.sh"),
        ("bash", "bash"),
    ],
)
def test_a_program_is_where_the_image_has_it(tmp_path: Path, typed: str, command: str) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("python", "accelerate"):
        (tmp_path / "bin" / name).touch()
    run = Run(id="7f3a91c20b41", name="r", command=(typed, "x"), started="2026-05-03T00:00:00Z", status="finished")
    assert command_of(run, tmp_path) == [command, "x"]
    assert command_of(run, None) == [typed, "x"]
