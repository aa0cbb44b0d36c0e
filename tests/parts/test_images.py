"""The names of container images."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bis.parts.images import Image, parse_image

SHA = "sha256:" + "0123456789abcdef" * 4

STEPS = st.from_regex(r"[a-z0-9]{1,8}(?:[._-][a-z0-9]{1,4})?", fullmatch=True)
NAMES = st.lists(STEPS, min_size=1, max_size=3).map("/".join)
HOSTS = st.sampled_from(
    ["", "ghcr.io", "localhost", "localhost:5000", "registry:443", "[2001:db8::1]:5000", "10.0.0.1"]
)
TAGS = st.just("") | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(name=NAMES, registry=HOSTS, tag=TAGS, digest=st.sampled_from(["", SHA]))
def test_a_name_reads_back_as_it_is_written(name: str, registry: str, tag: str, digest: str) -> None:
    first = name.split("/")[0]
    assume(registry or "/" not in name or ("." not in first and first != "localhost"))
    image = Image(name=name, registry=registry, tag=tag, digest=digest)
    assert parse_image(str(image)) == image


@given(st.text(max_size=40))
def test_any_text_is_an_image_or_none(text: str) -> None:
    image = parse_image(text)
    assert image is None or str(image) == text.strip()


@pytest.mark.parametrize(
    ("text", "registry", "name", "tag", "digest"),
    [
        ("python", "", "python", "", ""),
        ("python:3.11-slim", "", "python", "3.11-slim", ""),
        ("pytorch/pytorch:2.4.0-cuda12.4", "", "pytorch/pytorch", "2.4.0-cuda12.4", ""),
        ("nvcr.io/nvidia/pytorch:24.07-py3", "nvcr.io", "nvidia/pytorch", "24.07-py3", ""),
        (f"ghcr.io/a/b@{SHA}", "ghcr.io", "a/b", "", SHA),
        (f"localhost:5000/x:v1@{SHA}", "localhost:5000", "x", "v1", SHA),
        ("1234.dkr.ecr.eu-west-1.amazonaws.com/train", "1234.dkr.ecr.eu-west-1.amazonaws.com", "train", "", ""),
    ],
)
def test_the_pieces_of_a_name(text: str, registry: str, name: str, tag: str, digest: str) -> None:
    assert parse_image(text) == Image(name=name, registry=registry, tag=tag, digest=digest)


@pytest.mark.parametrize("text", ["", "Python", "a b", "x:", "x@sha256:12", "-x", "{{ image }}", "a//b", "x:ta/g"])
def test_what_is_no_image(text: str) -> None:
    assert parse_image(text) is None


def test_only_a_digest_holds_an_image_fast() -> None:
    for text in ("python", "python:latest"):
        assert "newest" in parse_image(text).floating  # type: ignore[union-attr]
    assert "moved" in parse_image("python:3.11.7").floating  # type: ignore[union-attr]
    assert parse_image(f"python:3.11@{SHA}").floating == ""  # type: ignore[union-attr]


def test_one_repository_has_many_spellings() -> None:
    spelled = [
        parse_image(text) for text in ("python", "docker.io/python:3", "docker.io/library/python", f"python@{SHA}")
    ]
    assert {image.repository for image in spelled if image} == {"docker.io/library/python"}
