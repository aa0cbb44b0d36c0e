"""Models are asked in an interpreter of their own, which may be of no use."""

import sys
from pathlib import Path

import pytest

from bis.errors import CannotRepeat
from bis.steps import answers


def test_a_model_that_does_not_come_to_an_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    monkeypatch.setattr(answers, "SECONDS", 0.01)
    with pytest.raises(CannotRepeat, match=r"a model did not answer within 0\.01 seconds"):
        answers.answers(Path(sys.executable), tmp_path, {"flavors": {}}, tmp_path / "rows.csv", "", trust=False)
