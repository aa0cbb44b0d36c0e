"""HTML."""

import time


def page(state: str, text: str, cell: str) -> str:
    return (
        f'<div id="cell-id={cell}">{text}</div>\n'
        f'<script type="application/vnd.jupyter.widget-state+json">\n{state}\n</script>\n<p>end</p>\n'
    )


def test_the_state_of_widgets_is_set_aside(judge) -> None:
    found = judge("n.html", page('{"a": 1}', "acc 0.91", "15f64575"), page('{"b": 2}', "acc 0.91", "401a3b61"))
    assert (found.same, {mask.rule for mask in found.masked}) == (True, {"widget ids", "id"})
    found = judge("n.html", page('{"a": 1}', "acc 0.91", "15f64575"), page('{"b": 2}', "acc 0.92", "401a3b61"))
    assert (found.same, "acc 0.92" in found.why) == (False, True)


def test_a_page_of_nothing_but_beginnings_costs_no_more_than_its_bytes(judge) -> None:
    text = '<script type="application/vnd.jupyter.widget-state+json">\n' * 10_000
    began = time.process_time()
    assert judge("n.html", text, f"{text}acc 0.92\n").same is False
    assert time.process_time() - began < 10
