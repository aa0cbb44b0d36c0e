"""What the tools of each cloud are told, bis is told: servers, accounts, credentials; and what it says where they are
missing or wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.acts.share import clone, push
from bis.errors import KeepingError, UsageError
from bis.settings import Settings
from bis.steps.add_data import Adding, add
from bis.steps.home import Home, open_home
from bis.store.remote import REFUSED
from bis.store.remote.address import checked, open_remote
from bis.store.remote.clouds import ANONYMOUS, configure, options

EACH = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "gs", "az")]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def ana(tmp_path: Path) -> Any:
    """A project with one version of data."""
    (tmp_path / "ana").mkdir()
    home = open_home(tmp_path / "ana", Settings())
    (home.project / "table.csv").write_text("id\n1\n")
    add(Adding(path=home.project / "table.csv"), home)
    yield home
    home.store.close()


def refused(act: Callable[[], Any]) -> KeepingError:
    with pytest.raises(KeepingError) as caught:
        act()
    assert caught.value.code == REFUSED
    return caught.value


# what is there, and what is not


@pytest.mark.parametrize("place", EACH, indirect=True)
def test_a_bucket_that_is_not_there_is_to_be_made_by_its_owner(ana: Home, place: Any, tmp_path: Path) -> None:
    url = f"{place.url.partition('://')[0]}://nosuchbuckethere/x"
    for act in (
        lambda: push(ana, url, place.variables),
        lambda: clone(url, tmp_path / "bea", place.variables, seen_from=tmp_path),
    ):
        error = refused(act)
        assert "NoSuchBucket" in error.what or "ContainerNotFound" in error.what
        assert "bis makes none" in error.hint


@pytest.mark.slow
def test_a_wrong_key_of_azure_is_refused_with_what_to_set(ana: Home, az: Any) -> None:
    told = az.variables["AZURE_STORAGE_CONNECTION_STRING"].replace("AccountKey=Eby8", "AccountKey=AAAA")
    error = refused(lambda: push(ana, az.url, {**az.variables, "AZURE_STORAGE_CONNECTION_STRING": told}))
    assert error.what.endswith(": AuthorizationFailure")
    assert "AZURE_STORAGE_ACCOUNT_KEY" in error.hint


@pytest.mark.slow
def test_azure_is_reached_by_a_key_alone_when_the_url_says_the_rest(ana: Home, az: Any, azurite: str) -> None:
    told = az.variables.pop("AZURE_STORAGE_CONNECTION_STRING")
    key = told.partition("AccountKey=")[2].partition(";")[0]
    url = f"{az.url}?account=devstoreaccount1&endpoint={azurite}"
    push(ana, url, {**az.variables, "AZURE_STORAGE_KEY": key})
    assert az.names()


@pytest.mark.slow
def test_the_emulator_of_azure_is_known_by_its_connection_string(
    ana: Home, az: Any, azurite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", azurite.rpartition("/")[0])
    push(ana, az.url, {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"})
    assert az.names()


@pytest.mark.slow
def test_a_server_of_google_storage_may_stand_in_the_url(ana: Home, gs: Any) -> None:
    push(ana, f"{gs.url}?endpoint={gs.variables.pop('STORAGE_EMULATOR_HOST')}", gs.variables)
    assert gs.names()


@pytest.mark.slow
def test_credentials_come_from_the_files_of_the_aws_tools(ana: Home, s3: Any, tmp_path: Path) -> None:
    variables = {key: value for key, value in s3.variables.items() if not key.startswith("AWS_")}
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[lab]\naws_access_key_id = test\naws_secret_access_key = test\n")
    endpoint = s3.variables["AWS_ENDPOINT_URL"]
    (tmp_path / ".aws" / "config").write_text(f"[profile lab]\nregion = eu-west-1\nendpoint_url = {endpoint}\n")
    push(ana, s3.url, {**variables, "HOME": str(tmp_path), "AWS_PROFILE": "lab"})
    assert s3.names()


# what is taken from the environment


def test_azure_takes_the_variables_of_its_own_tools() -> None:
    shell = {"AZURE_STORAGE_ACCOUNT": "lab", "AZURE_STORAGE_KEY": "a2V5"}
    assert configure("az", shell, {}) == {"account_name": "lab", "account_key": "a2V5"}
    sdk = {"AZURE_STORAGE_ACCOUNT_NAME": "lab", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=2"}
    assert configure("az", sdk, {}) == {"account_name": "lab", "sas_key": "sv=1&sig=2"}
    assert configure("az", {}, {"account": "lab", "endpoint": "https://own/"}) == {
        "account_name": "lab",
        "endpoint": "https://own",
    }


def test_a_connection_string_of_azure_says_all_that_is_needed() -> None:
    told = "DefaultEndpointsProtocol=https;AccountName=lab;AccountKey=a2V5==;EndpointSuffix=core.chinacloudapi.cn"
    variables = {"AZURE_STORAGE_CONNECTION_STRING": told}
    assert configure("az", variables, {}) == {
        "account_name": "lab",
        "account_key": "a2V5==",
        "endpoint": "https://lab.blob.core.chinacloudapi.cn",
    }
    assert configure("az", variables, {"account": "other"}) == {"account_name": "other"}, "that key is not for it"
    signed = {"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://own/;SharedAccessSignature=sv=1&sig=a%2B="}
    assert configure("az", signed, {"account": "lab"}) == {
        "account_name": "lab",
        "sas_key": "sv=1&sig=a%2B=",
        "endpoint": "https://own",
    }


def test_who_typed_az_login_needs_no_key(tmp_path: Path) -> None:
    (tmp_path / "az").write_text("#!/bin/sh\necho 'Please run az login' >&2; exit 1\n")
    (tmp_path / "az").chmod(0o755)
    variables = {"PATH": str(tmp_path), "HOME": str(tmp_path), "AZURE_STORAGE_ACCOUNT": "lab"}
    (tmp_path / ".azure").mkdir()
    for text, found in (('{"subscriptions": []}', None), ("\ufeff" + json.dumps({"subscriptions": [{}]}), "true")):
        (tmp_path / ".azure" / "azureProfile.json").write_text(text)
        assert configure("az", variables, {}).get("use_azure_cli") == found
    assert "use_azure_cli" not in configure("az", {**variables, "AZURE_STORAGE_KEY": "a2V5"}, {})
    assert "use_azure_cli" not in configure("az", {**variables, "AZURE_CLIENT_SECRET": "x"}, {})


def test_a_login_that_ran_out_is_told_in_the_words_of_az(
    ana: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".azure").mkdir()
    (tmp_path / ".azure" / "azureProfile.json").write_text('{"subscriptions": [{}]}')
    (tmp_path / "az").write_text("#!/bin/sh\necho 'Please run az login' >&2; exit 1\n")
    (tmp_path / "az").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    variables = {"PATH": str(tmp_path), "HOME": str(tmp_path), "AZURE_STORAGE_ACCOUNT": "lab"}
    error = refused(lambda: push(ana, "az://runs/team", variables))
    assert "Please run az login" in error.what
    assert error.hint.startswith("az login")


@pytest.mark.parametrize("name", ["STORAGE_EMULATOR_HOST", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE"])
@pytest.mark.parametrize("server", ["127.0.0.1:9023", "http://127.0.0.1:9023/storage/v1/"])
def test_a_plain_server_for_google_storage_is_told_nobodys_credentials(name: str, server: str) -> None:
    variables = {name: server, "GOOGLE_APPLICATION_CREDENTIALS": "/secret.json"}
    assert configure("gs", variables, {}) == {"base_url": "http://127.0.0.1:9023", "bearer_token": ANONYMOUS}
    token = {**variables, "CLOUDSDK_AUTH_ACCESS_TOKEN": "for this one"}
    assert configure("gs", token, {})["bearer_token"] == "for this one"


def test_google_storage_takes_what_gcloud_left(tmp_path: Path) -> None:
    variables = {"CLOUDSDK_CONFIG": str(tmp_path)}
    assert configure("gs", variables, {}) == {}
    (tmp_path / "application_default_credentials.json").write_text("{}")
    left = str(tmp_path / "application_default_credentials.json")
    assert configure("gs", variables, {}) == {"application_credentials": left}
    assert configure("gs", {**variables, "GOOGLE_APPLICATION_CREDENTIALS": "/mine.json"}, {}) == {
        "application_credentials": "/mine.json"
    }


# what cannot be used


def test_azure_without_an_account_says_where_to_name_one() -> None:
    with pytest.raises(UsageError, match="no storage account is named") as caught:
        open_remote("az://runs/team", {})
    assert "az://runs/team?account=NAME" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "variables", "said"),
    [
        ("az://runs/team?account=lab", {"AZURE_STORAGE_KEY": "not a key!"}, "Invalid Access Key"),
        ("az://runs/team?account=lab", {"AZURE_STORAGE_SAS_TOKEN": "nothing"}, "SAS"),
        ("gs://runs/team", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, "/nowhere.json"),
        ("gs://runs/team", {"GOOGLE_APPLICATION_CREDENTIALS": "/dev/null"}, "decode service account"),
    ],
)
def test_credentials_that_are_none_are_told_before_anything_is_asked(
    url: str, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        open_remote(url, variables)
    assert next(iter(variables)).partition("_")[0] in caught.value.hint


def test_a_signed_url_is_not_kept_as_a_remote_and_not_shown(tmp_path: Path) -> None:
    for act in (lambda url: checked(url, tmp_path), options, lambda url: open_remote(url, {})):
        with pytest.raises(UsageError, match="az://runs/team has no option sig") as caught:
            act("az://runs/team?sv=1&sig=hush&account=lab")
        assert "hush" not in str(caught.value)
