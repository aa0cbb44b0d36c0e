"""Paths of artifacts: what is taken, and what could lead elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.errors import UsageError
from bis.nouns.artifact import LONGEST, safe_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0/run/artifacts/a.txt", "0/run/artifacts/a.txt"),
        ("a//b/./c/", "a/b/c"),
        ("", ""),
        (".", ""),
        ("100%25.txt", "100%25.txt"),
        ("größe/模型.bin", "größe/模型.bin"),
        ("...", "..."),
        ("a..b", "a..b"),
        ("a b+c#d", "a b+c#d"),
        ("a%00b", "a%00b"),
        ("im%step%1%timestamp%1795753633240%5c7cb1.png", "im%step%1%timestamp%1795753633240%5c7cb1.png"),
    ],
)
def test_a_path_is_kept_as_it_is_but_for_empty_names(text: str, path: str) -> None:
    assert safe_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "../etc/passwd",
        "a/../b",
        "a/..",
        "/etc/passwd",
        "%2e%2e/passwd",
        "%252e%252e%252fpasswd",
        "a/%2e%2e%2fb",
        "%2fetc/passwd",
        "C:/windows",
        "c:",
        "\\\\server\\share",
        "a\\..\\b",
        "file:///etc/passwd",
        "a\x00b",
        "a%5c..%5cb",
        "%5c%5cserver/share",
        "c%3a%5cwindows",
        "a\\b",
        "a\nb",
        "\ud800",
        "n" * (LONGEST + 1),
        "é" * (LONGEST // 2 + 1),
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^Invalid path$"):
        safe_path(text)


@given(
    st.text(max_size=60) | st.lists(st.sampled_from(["..", ".", "%2e", "/", "%2f", "%25", "a", "\\", ":"])).map("".join)
)
def test_whatever_is_asked_for_the_path_stays_below_the_root(text: str) -> None:
    try:
        path = safe_path(text)
    except UsageError:
        return
    assert not path.startswith("/")
    assert not {"..", ".", ""} & set(path.split("/")) or path == ""
    assert safe_path(path) == path
