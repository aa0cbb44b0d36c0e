"""Names of objects in URLs: all of a path is decoded, so that every name can be written."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bis.digest import spell
from bis.errors import UsageError
from bis.settings import Settings
from bis.steps.add_data import Adding
from bis.steps.add_url import add_url
from bis.steps.bring import bring
from bis.steps.home import open_home
from bis.steps.urls import below, clean, open_source

NAMES = st.text(st.sampled_from("ab %#?&=+;äß漢.-_~20"), min_size=1, max_size=12).filter(
    lambda name: name.strip(". ") == name
)
TABLE = b"id\n1\n"


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(folder=NAMES, name=NAMES)
@example(folder="50%", name="a%20b.csv")
@example(folder="a b", name="c#d?e.csv")
def test_every_name_can_be_written_in_a_url_and_comes_back(s3: Any, folder: str, name: str) -> None:
    s3.write(f"{folder}/{name}", TABLE)
    prefix = f"{s3.url}/{quote(folder, safe='')}/"
    try:
        single, there = open_source(prefix, prefix, s3.variables).list()
        assert (single, [*there]) == (False, [spell(name)])
        for url in (prefix + quote(name, safe=""), below(prefix, name)):
            source = open_source(url, url, s3.variables)
            assert source.list()[0] is True
            assert b"".join(source.read(spell(name))[1]) == TABLE
    finally:
        s3._do.delete(s3._store, f"{folder}/{name}")


@pytest.mark.slow
def test_a_file_with_an_odd_name_is_added_and_fetched(s3: Any, tmp_path: Path) -> None:
    s3.write("100% #1?/a b%20c.csv", TABLE)
    (tmp_path / "ana").mkdir()
    home = open_home(tmp_path / "ana", Settings(), variables=s3.variables)
    url = f"{s3.url}/100%25 %231%3F/a b%2520c.csv"
    held = add_url(Adding(url=url, name="odd"), home).held
    bring(held, "", tmp_path / "back", home)
    assert (tmp_path / "back" / "a b%20c.csv").read_bytes() == TABLE
    home.store.close()


def test_what_ends_a_path_is_not_left_out_silently() -> None:
    with pytest.raises(UsageError, match="has a #") as caught:
        clean("s3://lab/a#b.csv")
    assert "%23" in caught.value.hint
    with pytest.raises(UsageError, match=r"has no option b\.csv") as caught:
        open_source("s3://lab/a?b.csv", "s3://lab/a?b.csv", {}).list()
    assert "%3F" in caught.value.hint
