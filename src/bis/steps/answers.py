"""What a model says of some rows, asked in its own environment: for telling two models apart by what they answer."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec

import bis
from bis.errors import CannotRepeat, UsageError
from bis.formats.numbers import relative
from bis.store.temporary import temporary_held

STARTER: Final = Path(bis.__file__).resolve().parent / "scoring" / "evaluate.py"
REFUSED: Final = 65
SECONDS: Final = 600


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What a model says of some rows."""

    said: list[Any]
    """One for each."""
    classes: list[Any] = []
    probabilities: list[list[float]] = []
    """Of each row, one for each class; none of a model that does not tell them."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What two models answered to the same rows."""

    rows: int
    same: int
    """Rows that both answered alike, to the last digit."""
    furthest: float | None = None
    """The largest absolute difference; None: not of numbers."""
    relative: float | None = None
    probable: float | None = None
    """The largest difference of a probability; None: not told by both for the same classes."""
    probable_mean: float | None = None

    @property
    def alike(self) -> bool:
        """Whether nothing tells them apart."""
        return self.same == self.rows and not self.probable


def answers(python: Path, folder: Path, described: dict[str, Any], data: Path, target: str, *, trust: bool) -> Answers:
    """To the first rows. `data`: rows, or a request in JSON that the model comes with. Raises UsageError
    for rows that it does not take, CannotRepeat for a model that cannot be loaded."""
    with temporary_held("answers") as (room, lock):
        (room / "described").write_text(json.dumps(described), "utf-8")
        words = [os.fspath(python), os.fspath(STARTER), "--answers", "answers.json", "--model", os.fspath(folder)]
        words += [
            "--described",
            "described",
            "--data",
            os.fspath(data.resolve()),
            *(["--target", target] if target else []),
        ]
        words += ["--trust"] if trust else []
        try:
            done = subprocess.run(
                words, cwd=room, capture_output=True, text=True, check=False, timeout=SECONDS, pass_fds=(lock,)
            )
        except subprocess.TimeoutExpired:
            raise CannotRepeat(f"a model did not answer within {SECONDS:g} seconds") from None
        if done.returncode == 0:
            return msgspec.json.decode((room / "answers.json").read_bytes(), type=Answers)
    lines = done.stderr.strip().splitlines()
    told = dict(line.split(": ", 1) for line in lines if line.startswith(("error: ", "because: ", "hint: ")))
    if done.returncode == REFUSED and told:
        raise UsageError(told.get("error", ""), because=told.get("because", ""), hint=told.get("hint", ""))
    raise CannotRepeat("a model cannot be asked in its environment", because=lines[-1] if lines else "It said nothing.")


def agreement(old: Answers, new: Answers) -> Agreement:
    pairs = list(zip(old.said, new.said, strict=False))
    same = sum(one == other for one, other in pairs)
    numbers = [(a, b) for one, other in pairs for a, b in _numbers(one, other)]
    apart = [abs(a - b) for a, b in numbers]
    ratios = [found for a, b in numbers if (found := relative(a, b)) is not None]
    probable = _probable(old, new)
    return Agreement(
        rows=max(len(old.said), len(new.said)),
        same=same,
        furthest=max(apart) if apart else None,
        relative=max(ratios) if ratios else None,
        probable=max(probable) if probable else None,
        probable_mean=sum(probable) / len(probable) if probable else None,
    )


def _probable(old: Answers, new: Answers) -> list[float]:
    """Of each row, how far the probability of a class is apart, at most."""
    if not old.classes or old.classes != new.classes:
        return []
    pairs = zip(old.probabilities, new.probabilities, strict=False)
    return [max((abs(a - b) for a, b in zip(one, other, strict=False)), default=0.0) for one, other in pairs]


def _numbers(one: Any, other: Any) -> list[tuple[float, float]]:
    if isinstance(one, list) and isinstance(other, list):
        return [pair for a, b in zip(one, other, strict=False) for pair in _numbers(a, b)]
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return [(float(one), float(other))]
    return []
