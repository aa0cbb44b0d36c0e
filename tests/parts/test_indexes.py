"""What the user told pip about indexes reaches uv, and its credentials reach nothing else."""

import os
from pathlib import Path

import pytest

from bis.parts.indexes import asked, for_uv, only_folders, public_url, told


def configured(tmp_path: Path, pip: str = "", uv: str = "") -> dict[str, str]:
    (tmp_path / "pip.conf").write_text(pip)
    (tmp_path / "uv.toml").write_text(uv)
    more = {"UV_CONFIG_FILE": str(tmp_path / "uv.toml")} if uv else {}
    return {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "XDG_CONFIG_DIRS": str(tmp_path / "none"), **more}


def places(variables: dict[str, str], home: Path, project: Path | None) -> dict[str, str]:
    """Of what uv is told, only where to look: a machine may have certificates of its own configured."""
    return {key: value for key, value in for_uv(variables, home, project).items() if key.startswith("UV_")}


def test_without_configuration_uv_is_told_nothing(tmp_path: Path) -> None:
    assert for_uv({"PIP_CONFIG_FILE": os.devnull}, tmp_path, None) == {}


def test_indexes_of_pip_are_given_to_uv_the_main_one_first(tmp_path: Path) -> None:
    pip = (
        "[global]\nindex-url = https://a.example/simple\nextra_index_url = https://b.example/x\n  https://c.example/x\n"
    )
    variables = configured(tmp_path, pip)
    given = for_uv(variables, tmp_path, None)
    assert given["UV_INDEX"] == "https://a.example/simple https://b.example/x"
    assert given["UV_DEFAULT_INDEX"] == "https://c.example/x"
    other = for_uv(variables, tmp_path, None, extra_first=True)
    assert other["UV_INDEX"] == "https://b.example/x https://c.example/x"
    assert other["UV_DEFAULT_INDEX"] == "https://a.example/simple"


def test_folders_certificates_and_hosts_of_pip_are_given_to_uv(tmp_path: Path) -> None:
    pip = "[install]\nfind-links = /wheels https://f.example/\ncert = /my.pem\n[global]\ntrusted-host = h.example\n"
    given = for_uv(configured(tmp_path, pip), tmp_path, None)
    assert given["UV_FIND_LINKS"] == "/wheels,https://f.example/"
    assert given["SSL_CERT_FILE"] == "/my.pem"
    assert given["UV_INSECURE_HOST"] == "h.example"


def test_a_variable_of_pip_is_stronger_than_its_files(tmp_path: Path) -> None:
    variables = {
        **configured(tmp_path, "[global]\nindex-url = https://a.example/\n"),
        "PIP_INDEX_URL": "https://v.example/",
    }
    assert places(variables, tmp_path, None) == {"UV_DEFAULT_INDEX": "https://v.example/"}


@pytest.mark.parametrize(
    ("variables", "uv"),
    [
        ({"UV_DEFAULT_INDEX": "https://own.example/"}, ""),
        ({}, 'index-url = "https://own.example/"\n'),
        ({}, '[[index]]\nurl = "https://own.example/"\ndefault = true\n'),
        ({}, '[pip]\nextra-index-url = ["https://own.example/"]\n'),
    ],
)
def test_where_uv_is_configured_itself_pip_is_not_asked(tmp_path: Path, variables: dict[str, str], uv: str) -> None:
    whole = {**configured(tmp_path, "[global]\nindex-url = https://a.example/\n", uv), **variables}
    assert places(whole, tmp_path, None) == {}
    assert "own.example" in str(told(whole, tmp_path, None)["uv"])


def test_the_configuration_of_the_project_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[[tool.uv.index]]\nurl = "https://p.example/"\n')
    variables = configured(tmp_path, "[global]\nindex-url = https://a.example/\n")
    assert places(variables, tmp_path, tmp_path) == {}
    assert "https://p.example/" in asked(variables, tmp_path, tmp_path)


def test_messages_and_records_name_places_without_credentials(tmp_path: Path) -> None:
    pip = "[global]\nindex-url = https://ana:hunter2@a.example/simple\nextra-index-url = https://tok@b.example/?k=hunter2\n"
    variables = {**configured(tmp_path, pip), "UV_FIND_LINKS": "https://x:hunter2@f.example/,/wheels"}
    assert "ana:hunter2" in for_uv(variables, tmp_path, None)["UV_INDEX"]
    for text in (asked(variables, tmp_path, None), str(told(variables, tmp_path, None))):
        assert "hunter2" not in text
        assert "tok@" not in text
        assert "a.example/simple" in text
        assert "f.example" in text


def test_no_index_at_all_is_an_option_of_its_own(tmp_path: Path) -> None:
    assert only_folders(configured(tmp_path, "[global]\nno-index = true\n"), tmp_path, None)
    assert not only_folders(configured(tmp_path, "[global]\nno-index = false\n"), tmp_path, None)


@pytest.mark.parametrize(
    ("pip", "uv", "said"),
    [
        ("", "", "the public index"),
        ("[global]\nextra-index-url = file:///wheels/simple\n", "", "the public index, /wheels/simple"),
        ("[global]\nno-index = true\nfind-links = /wheels\n", "", "/wheels"),
        ("", "no-index = true\nfind-links = ['file:///wheels']\n", "/wheels"),
        ("", '[[index]]\nurl = "file:///wheels/simple"\ndefault = true\n', "/wheels/simple"),
    ],
)
def test_messages_name_what_is_asked_and_nothing_else(tmp_path: Path, pip: str, uv: str, said: str) -> None:
    assert asked(configured(tmp_path, pip, uv), tmp_path, None) == said


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    assert places(configured(tmp_path, "this is [not a\nconfiguration", "x = ="), tmp_path, None) == {}


def test_an_address_loses_its_secrets_only() -> None:
    assert public_url("https://host.example/simple") == "https://host.example/simple"
    assert public_url("corp=https://u:p@host.example/simple?token=1") == "https://host.example/simple"
    assert public_url("/a/folder=x") == "/a/folder=x"
