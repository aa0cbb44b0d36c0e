"""What the tools of each cloud read from the environment and from their files, in the words of `obstore`.

What else the environment may say (a service principal, a federated token, the role of a machine), obstore asks for
itself.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from bis.errors import UsageError

OPTIONS: Final = {"s3": ("endpoint", "region"), "gs": ("endpoint",), "az": ("endpoint", "account")}
"""What may stand behind the `?` of a URL."""
CREDENTIALS: Final = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for a profile in ~/.aws/credentials",
    "gs": "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "az login, or set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING",
}
"""What to type where a bucket's credentials are missing or wrong."""
NO_ACCOUNT: Final = "no storage account is named"
ANONYMOUS: Final = "anonymous"
"""The token for a server that asks for none: obstore writes to nobody without one."""
WORD: Final = re.compile(r"[A-Za-z0-9-]+")
PLACES: Final = ("region", "endpoint", "base_url", "account_name", "use_emulator")
"""Settings that say where a bucket is; all others are credentials."""
OWN: Final = {
    "s3": re.compile(
        r"https://(?:[a-z0-9.-]+\.)?s3(?:-fips)?(?:\.dualstack)?(?:[.-][a-z]{2}(?:-[a-z]+)+-\d(?:\.vpce)?)?"
        r"\.amazonaws\.com(?:\.cn)?"
    ),
    "gs": re.compile(r"https://(?:[a-z0-9._-]+\.)?storage(?:\.[a-z0-9-]+\.rep)?\.googleapis\.com"),
    "az": re.compile(
        r"https://[a-z0-9-]+\.(?:blob|dfs)\.(?:core\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)"
        r"|storage\.azure\.net)(?:/[a-z0-9-]*)?"
    ),
}
"""The servers of each cloud itself."""
ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": ("STORAGE_EMULATOR_HOST", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", "GOOGLE_BASE_URL"),
    "az": ("AZURE_STORAGE_SERVICE_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Variables that name another server, the first one before the others."""
AZURE_KEYS: Final = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY")
AZURE_OTHERS: Final = (
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_TOKEN",
    "AZURE_SKIP_SIGNATURE",
)
"""With one of these, nobody needs `az login`."""


def options(url: str) -> dict[str, str]:
    """What stands behind the `?` of a URL. Raises UsageError for what is no option: it may be a secret, so that it is
    not shown."""
    parts = urlsplit(url)
    allowed, asked = OPTIONS[parts.scheme], dict(parse_qsl(parts.query, keep_blank_values=True))
    if wrong := sorted(set(asked) - set(allowed)):
        hint = f"one of {', '.join(allowed)}; in a name, write %3F for ?"
        raise UsageError(f"{plain(url)} has no option {wrong[0]}", hint=hint)
    for name in sorted(set(asked) - {"endpoint"}):  # these become part of the name of a host
        if not WORD.fullmatch(asked[name]):
            raise UsageError(f"{plain(url)}: {asked[name]!r} is no {name}", hint="letters, digits and hyphens")
    return asked


def plain(url: str) -> str:
    """A URL without its options."""
    return url.partition("?")[0]


def configure(
    scheme: str, variables: Mapping[str, str], asked: Mapping[str, str], trusted: Collection[str] | None = None
) -> dict[str, str]:
    """The settings of obstore for a bucket: `asked` of the URL, else of the environment and the files of the tools.

    Credentials are for the servers of the cloud, for one that the environment or these files name, and for the hosts in
    `trusted`; None: the URL is the word of whoever types, and its server is trusted. Any other is asked as nobody."""
    found = _told(scheme, variables, asked)
    if skips(scheme, variables) or stranger(scheme, variables, asked, trusted):
        return {name: value for name, value in found.items() if name in PLACES} | {"skip_signature": "true"}
    return found


def stranger(
    scheme: str, variables: Mapping[str, str], asked: Mapping[str, str], trusted: Collection[str] | None
) -> str:
    """The host that a URL names and that is told no credentials; empty where they may be sent."""
    named = asked.get("endpoint", "")
    if trusted is None or not named or OWN[scheme].fullmatch(named.lower().rstrip("/")):
        return ""
    others = {name: value for name, value in asked.items() if name != "endpoint"}
    known = {server(_told(scheme, variables, others)), *(variables.get(name, "") for name in ENDPOINTS[scheme])}
    return "" if host_of(named) in {*trusted, *map(host_of, filter(None, known))} else host_of(named)


def host_of(endpoint: str) -> str:
    """The host of a server, with its port."""
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").netloc.rpartition("@")[2].lower()


def _told(scheme: str, variables: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    if scheme == "s3":
        return _amazon(variables, asked)
    return _google(variables, asked) if scheme == "gs" else _azure(variables, asked)


def skips(scheme: str, variables: Mapping[str, str]) -> bool:
    """Whether the environment says that buckets are to be asked as nobody."""
    names = {"s3": "AWS_SKIP_SIGNATURE", "gs": "GOOGLE_SKIP_SIGNATURE", "az": "AZURE_SKIP_SIGNATURE"}
    return variables.get(names[scheme], "").lower() in ("true", "1")


def server(config: Mapping[str, str]) -> str:
    """Where the requests go, when that is no server of the cloud."""
    return config.get("endpoint") or config.get("base_url") or ""


def _amazon(variables: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    profile = variables.get("AWS_PROFILE", "default")
    home = Path(variables.get("HOME", "/nonexistent")) / ".aws"
    secret = _section(variables.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", (profile,))
    config = _section(variables.get("AWS_CONFIG_FILE") or home / "config", (f"profile {profile}", profile))
    told = variables if "AWS_ACCESS_KEY_ID" in variables else {}
    for key in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"):
        if value := told.get(key.upper()) if told else secret.get(key) or config.get(key):
            found[key] = value
    if region := variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or config.get("region"):
        found["region"] = region
    endpoint = _first(variables, ENDPOINTS["s3"]) or config.get("endpoint_url")
    if endpoint:
        found["endpoint"] = endpoint
    return {**found, **asked}


def _section(path: str | Path, names: tuple[str, ...]) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, "utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}
    return next((dict(parser[name]) for name in names if parser.has_section(name)), {})


def _google(variables: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """As Google's own libraries do, a server by plain http:// is told nobody's credentials, but for a token that was
    set for the purpose."""
    found: dict[str, str] = {}
    if base := asked.get("endpoint") or _first(variables, ENDPOINTS["gs"]):
        base = base if "://" in base else f"http://{base}"
        found["base_url"] = base.rstrip("/").removesuffix("/storage/v1")
    if token := _first(variables, ("GOOGLE_BEARER_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")):
        return {**found, "bearer_token": token}
    if found.get("base_url", "").startswith("http://"):
        return {**found, "bearer_token": ANONYMOUS}
    if path := variables.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return {**found, "application_credentials": path}
    left = Path(variables.get("CLOUDSDK_CONFIG", "/nonexistent")) / "application_default_credentials.json"
    return {**found, "application_credentials": str(left)} if left.is_file() else found


def _azure(variables: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    told = _connection(variables.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    account = asked.get("account") or _first(variables, ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"))
    if account and account != told.get("accountname", account):
        told = {}  # of another account: neither its key nor its server is meant
    account = account or told.get("accountname", "")
    if "true" in (
        told.get("usedevelopmentstorage", "").lower(),
        variables.get("AZURE_STORAGE_USE_EMULATOR", "").lower(),
    ):
        return {"use_emulator": "true"}
    key = _first(variables, AZURE_KEYS) or told.get("accountkey")
    signed = _first(variables, ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY")) or told.get(
        "sharedaccesssignature"
    )
    endpoint = asked.get("endpoint") or _first(variables, ENDPOINTS["az"]) or _told_endpoint(told, account)
    found = {"account_name": account, "account_key": key, "sas_key": signed, "endpoint": endpoint.rstrip("/")}
    if not (key or signed or _first(variables, AZURE_OTHERS)) and _logged_in(variables):
        found["use_azure_cli"] = "true"
    return {name: value for name, value in found.items() if value}


def _connection(text: str) -> dict[str, str]:
    """`AccountName=x;AccountKey=y==;…`, the names in small letters."""
    pairs = (piece.partition("=") for piece in text.split(";") if piece.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _told_endpoint(told: Mapping[str, str], account: str) -> str:
    if endpoint := told.get("blobendpoint"):
        return endpoint
    suffix = told.get("endpointsuffix", "")
    return f"{told.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix}" if suffix and account else ""


def _logged_in(variables: Mapping[str, str]) -> bool:
    """Whether `az login` was typed here. Else obstore asks the machine, which only one of Azure can answer."""
    folder = variables.get("AZURE_CONFIG_DIR") or Path(variables.get("HOME", "/nonexistent")) / ".azure"
    try:
        profile = json.loads((Path(folder) / "azureProfile.json").read_text("utf-8-sig"))
    except (OSError, ValueError):
        return False
    known = isinstance(profile, dict) and bool(profile.get("subscriptions"))
    return known and shutil.which("az", path=variables.get("PATH")) is not None


def _first(variables: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((variables[name] for name in names if variables.get(name)), "")
