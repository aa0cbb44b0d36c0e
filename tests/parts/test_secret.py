"""Credentials are recognised, and what only sounds like one is not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.parts.secret import has_secret, hide, hide_argv, holds_secret, is_secret_file, is_secret_name

KEY = b"key"


@pytest.mark.parametrize(
    "path", [".env", "conf/local/credentials.yml", "deploy/server.pem", "home/.ssh/config", "kaggle.json", ".env.local"]
)
def test_files_of_credentials_are_recognised(path: str) -> None:
    assert is_secret_file(path)


@pytest.mark.parametrize("path", ["train.py", "tokenizer.json", "secrets.py", ".env.example", "keys.csv", "id_rsa.pub"])
def test_other_files_are_kept(path: str) -> None:
    assert not is_secret_file(path)


def test_a_template_of_comments_holds_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "credentials.yml"
    file.write_text("# put your keys here:\n#\n#   password: x\n\n")
    assert not holds_secret("conf/local/credentials.yml", file)
    file.write_text("# my keys\npassword: x\n")
    assert holds_secret("conf/local/credentials.yml", file)


def test_settings_may_name_further_files() -> None:
    assert is_secret_file("conf/prod.yaml", ["conf/prod.yaml"])


@pytest.mark.parametrize("name", ["api-key", "WANDB_API_KEY", "db.password", "token", "access_token", "client_secret"])
def test_names_of_credentials_are_recognised(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "pad_token_id", "tokenizer", "author", "lr", "num-tokens", "eos_token"])
def test_parameters_that_only_sound_like_credentials_are_kept(name: str) -> None:
    assert not is_secret_name(name)


def test_the_value_after_a_secret_option_is_hidden() -> None:
    hidden = hide_argv(["train.py", "--api-key", "abc", "--lr", "0.1", "--token=xyz"], KEY)
    assert hidden[0] == "train.py"
    assert "abc" not in " ".join(hidden)
    assert "xyz" not in " ".join(hidden)
    assert hidden[3:5] == ("--lr", "0.1")
    assert has_secret(hidden)


def test_values_with_the_shape_of_a_credential_are_hidden_wherever_they_stand() -> None:
    shown = hide("postgresql://ana:hunter2@db/x and sk-abcdefghijklmnopqrstuv", KEY)
    assert "hunter2" not in shown
    assert "sk-abc" not in shown
    assert "postgresql://ana:" in shown


def test_equal_credentials_have_equal_digests_and_others_do_not() -> None:
    assert hide("hunter2", KEY, "password") == hide("hunter2", KEY, "password")
    assert hide("hunter2", KEY, "password") != hide("hunter3", KEY, "password")
    assert hide("hunter2", KEY, "password") != hide("hunter2", b"other key", "password")


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=12))
def test_no_value_of_a_password_option_survives(value: str) -> None:
    assert value not in " ".join(hide_argv(["run.py", "--password", value], KEY))
