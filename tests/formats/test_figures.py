"""SVG and PDF."""

import zlib

import pytest

SVG = """<svg><metadata><dc:date>2026-11-22T12:00:07.1</dc:date></metadata>
<defs><path id="m{a}" d="M 0 3"/><clipPath id="p{b}"/></defs>
<use xlink:href="#m{a}" x="{x}"/><g clip-path="url(#p{b})"/></svg>
"""


def svg(a: str, b: str, x: str = "77.11", day: str = "22T12:00:07") -> str:
    return SVG.format(a=a, b=b, x=x).replace("22T12:00:07", day)


def test_ids_drawn_for_a_figure_are_renumbered(judge) -> None:
    found = judge("f.svg", svg("8527bec4f9", "0123456789"), svg("bb4e38900b", "fedcba9876", day="23T15:00:01"))
    assert (found.same, found.format, {mask.rule for mask in found.masked}) == (True, "SVG", {"id", "time"})


def test_a_point_and_a_wrong_reference_count(judge) -> None:
    one = svg("8527bec4f9", "0123456789")
    found = judge("f.svg", one, svg("bb4e38900b", "fedcba9876", x="77.12"))
    assert (found.same, "77.12" in found.why) == (False, True)
    assert (
        judge("f.svg", one, svg("bb4e38900b", "fedcba9876").replace("url(#pfedcba9876)", "url(#pbb4e38900b)")).same
        is False
    )


def test_no_number_of_a_drawing_is_a_duration(judge) -> None:
    assert judge("f.svg", '<path d="M 1 s 2 3 s"/>', '<path d="M 1 s 2 4 s"/>').same is False


def pdf(date: str, content: bytes, identity: str, level: int = 6) -> bytes:
    stream = zlib.compress(content, level)
    return (
        b"%PDF-1.4\n1 0 obj << /CreationDate (D:" + date.encode() + b") /Producer (Matplotlib pdf backend) >>\nendobj\n"
        b"2 0 obj << /Filter /FlateDecode >>\nstream\n" + stream + b"\nendstream\nendobj\n"
        b"trailer << /ID [<" + identity.encode() + b"><" + identity.encode() + b">] >>\n%%EOF\n"
    )


def test_a_pdf_but_for_its_date_and_id(judge) -> None:
    one = pdf("20261122120007Z", b"1 0 0 1 77.11 207.39 cm", "ab12")
    found = judge("f.pdf", one, pdf("20261123150001Z", b"1 0 0 1 77.11 207.39 cm", "cd34"))
    assert (found.same, found.format, {mask.rule for mask in found.masked}) == (True, "PDF", {"time", "id"})


@pytest.mark.parametrize("level", [1, 6])
def test_what_a_pdf_draws_counts(judge, level: int) -> None:
    one = pdf("20261122120007Z", b"1 0 0 1 77.11 207.39 cm", "ab12")
    found = judge("f.pdf", one, pdf("20261123150001Z", b"1 0 0 1 77.11 207.40 cm", "ab12", level))
    assert (found.same, "stream 1" in found.why, "207.40" in found.why) == (False, True, True)
    found = judge("f.pdf", one, one.replace(b"backend", b"bakkend"))
    assert (found.same, "bakkend" in found.why) == (False, True)
    assert judge("f.pdf", one, pdf("20200101000000Z", b"1 0 0 1 77.11 207.39 cm", "ab12")).same is False


def test_only_what_is_an_id_is_renumbered(judge) -> None:
    for one, other in (
        ('<g data-count="1000000001"/>', '<g data-count="1000000002"/>'),
        ('<text>"1000000001"</text>', '<text>"1000000002"</text>'),
        ('<g label="run1000000001"/>', '<g label="run1000000002"/>'),
    ):
        assert judge("f.svg", f"<svg>{one}</svg>", f"<svg>{other}</svg>").same is False
