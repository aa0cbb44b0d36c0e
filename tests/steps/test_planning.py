"""What is decided before a command is executed."""

from pathlib import Path

from bis.nouns.run import Chance, Coverage, Output, Run
from bis.settings import Settings
from bis.steps.home import Home, open_home
from bis.steps.planning import still_outputs
from bis.steps.seal import seal


def made(home: Home, number: int, project: Path, content: bytes) -> None:
    """A run that wrote metrics.json into its folder."""
    digest = home.store.put_bytes(content)
    run = Run(
        id=f"{number:012x}",
        name=f"train-{number}",
        command=("python", "train.py", str(number)),
        project=str(project),
        started=f"2026-11-27T10:00:{number:02d}.000000Z",
        ended=f"2026-11-27T10:00:{number:02d}.500000Z",
        status="finished",
        exit=0,
        outputs=(Output(path="metrics.json", digest=digest, size=len(content)),),
        chance=Chance(),
        coverage=Coverage(mechanism="none", complete=False),
    )
    seal(run, home.store, home.ledger)


def test_what_a_run_wrote_is_no_code_of_the_next_however_many_evaluations_came_between(tmp_path: Path) -> None:
    (project := tmp_path / "project").mkdir()
    home = open_home(project, Settings())
    (project / "metrics.json").write_bytes(b'{"accuracy": 1}')
    made(home, 1, project, b'{"accuracy": 1}')
    for number in range(2, 14):
        made(home, number, tmp_path / "evaluations" / str(number), b'{"accuracy": %d}' % number)
    assert still_outputs(home) == {"metrics.json"}
    (project / "metrics.json").write_bytes(b"written by hand")
    assert still_outputs(home) == set()
