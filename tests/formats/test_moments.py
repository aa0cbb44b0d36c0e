"""Last digits that differ come from sums, unless the number went on as the clock did from run to run."""

from bis.formats import Context, Side
from bis.formats.moments import EITHER, last_digits

START = 1_795_348_800.0
MINUTES = Context(before=Side(started=START, ended=START + 60), after=Side(started=START + 300, ended=START + 360))


def test_what_is_seconds_times_anything_went_on_as_the_clock_did() -> None:
    for factor in (7.0, -0.5, 1e-9):
        assert last_digits([(factor * (START + 20), factor * (START + 330))], MINUTES) == EITHER
    assert last_digits([(0.25, 0.25), (START + 20, START + 330)], MINUTES) == EITHER


def test_what_went_the_other_way_or_elsewhere_is_noise() -> None:
    assert last_digits([(START + 330, START + 20)], MINUTES) == "float noise"
    assert last_digits([(0.3, 0.30000000000000004)], MINUTES) == "float noise"
    assert last_digits([(START + 20, START + 330), (0.1 + 0.2, 0.3)], MINUTES) == "float noise", "one did not"
    assert last_digits([(0.0, 1e-300)], MINUTES) == "float noise"


def test_an_unknown_time_of_the_runs_says_nothing() -> None:
    assert last_digits([(START + 20, START + 330)], Context()) == "float noise"
    began = Context(before=Side(started=START), after=Side(started=START + 300))
    assert last_digits([(START, START + 900)], began) == "float noise", "of no length, and no division by zero"
