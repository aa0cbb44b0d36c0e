"""All that is known of a run, whoever recorded it."""

from pathlib import Path

import pytest

from bis.ledger.runs import SqlLedger
from bis.nouns.run import Run
from bis.settings import Settings
from bis.steps.here import now
from bis.steps.home import open_home
from bis.steps.known import known


@pytest.mark.parametrize("around", ["it's", "' OR run_id <> '", "0123456789ab"])
def test_a_run_that_says_to_be_within_one_that_is_not_here_is_within_none(tmp_path: Path, around: str) -> None:
    """A record may come from a remote, and say what it likes."""
    home = open_home(tmp_path, Settings())
    assert isinstance(home.ledger, SqlLedger)
    run = Run(id="7f3a91c20b41", name="train-1", command=("true",), started=now(), status="running", parent=around)
    home.ledger.begin(run)
    found = known(home.ledger, home.ledger.get(run.id), home)
    assert (found.parent, found.repeats) == (None, None)
