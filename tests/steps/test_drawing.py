"""Metrics as SVG for files and notebooks: each extreme is in the drawing, and a name is never markup."""

import math
import re
from xml.etree import ElementTree

from hypothesis import example, given
from hypothesis import strategies as st

from bis.ledger.curves import curve_of
from bis.steps import drawing
from bis.steps.drawing import Line, line_chart, sparkline

VALUES = st.lists(st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 0.0]), max_size=60)


def lowest_and_highest(svg: str) -> tuple[float, float]:
    """Pixels from above of what the line passes."""
    lines = [one.get("d", "") for one in ElementTree.fromstring(svg).iter() if one.get("stroke-linejoin")]
    found = [float(y) for line in lines for y in re.findall(r"[ML]\S+ (\S+?)(?=[ML]|$)", line)]
    return max(found), min(found)


def test_a_spike_among_many_points_reaches_as_high_as_it_was():
    values = [3.1 if step == 7777 else 0.1 for step in range(20_000)]
    low, high = lowest_and_highest(line_chart([Line("adam", curve_of(values, places=300))], title="loss"))
    scale = drawing._Scale(*drawing._roomy(0.1, 3.1, False), 0, 1)
    below, above = 260 - drawing.BELOW, drawing.TOP + drawing.TITLE
    assert abs(low - (below + (above - below) * scale.at(0.1))) < 0.1
    assert abs(high - (below + (above - below) * scale.at(3.1))) < 0.1
    low, high = lowest_and_highest(sparkline(curve_of(values, places=60)))
    assert (low, high) == (21, 3)


@given(VALUES, st.booleans())
@example([-1.634266486238469e308], False)
@example([0.0, 5e-324], False)
def test_whatever_was_logged_is_drawn_as_well_formed_svg(values, log):
    curve = curve_of(values, places=10)
    svg = line_chart([Line("a", curve), Line("b", curve, 20, "2 3")], title="loss", log=log)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "nan" not in re.sub(r'aria-label="[^"]*"', "", svg).replace("NaN", "")
    assert ElementTree.fromstring(sparkline(curve)).get("aria-label")


def test_what_is_no_number_is_marked_and_told():
    svg = line_chart([Line("adam", curve_of([math.nan, 1.0, math.inf, -math.inf, 2.0]))])
    assert "1 × NaN, 1 × +∞, 1 × −∞" in svg
    assert svg.count("m0 -6l-6 6") == 1
    assert svg.count("h6l-3") == 2
    assert "5 points, 1 of them NaN" in svg


def test_a_name_is_text_and_nothing_in_it_runs():
    svg = line_chart([Line('"><script>x</script>\u202e', curve_of([1.0])), Line("b", curve_of([2.0]))], title="<b>&")
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert "style" not in svg
    ElementTree.fromstring(svg)


def test_round_numbers_stand_at_the_axes():
    assert drawing.ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert drawing.ticks(0.13, 0.29, 4) == [0.15, 0.2, 0.25]
    assert drawing.ticks(5, 5, 4) == [5]


def test_of_a_metric_without_a_number_it_says_so():
    assert drawing.exactness(curve_of([math.nan] * 5000, places=300)) == "no numbers: 5,000 points, 5,000 of them NaN"


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.integers(2, 9))
def test_marks_of_an_axis_are_few_and_within_it(one, other, most):
    low, high = sorted((one, other))
    found = drawing.ticks(low, high, most)
    assert len(found) <= most + 2
    assert all(map(math.isfinite, found)) or not math.isfinite(low)


def test_the_smallest_distance_there_is_has_an_axis():
    assert drawing.ticks(0.0, 5e-324, 6) == [0.0]
    assert drawing.ticks(0.0, 2.5e-323, 6) == [0.0]
