"""What must never be stored: which files, variables, options and values are credentials."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bis.digest import keyed_digest

FILES = (
    *(
        ".env",
        ".env.*",
        "*.env",
        "credentials",
        "credentials.*",
        "*.pem",
        "*.key",
        "*.p12",
        "*.pfx",
        "*.jks",
        "id_rsa*",
    ),
    *("id_ed25519*", "id_ecdsa*", ".netrc", "_netrc", ".pgpass", ".pypirc", ".npmrc", ".git-credentials", "kubeconfig"),
    *(
        "service-account*.json",
        "*_credentials.json",
        "client_secret*.json",
        "secrets.*",
        ".secrets",
        "*.secret",
        "*.kdbx",
    ),
    *(
        ".htpasswd",
        "token",
        "*.token",
        "kaggle.json",
        ".boto",
        ".s3cfg",
        ".databrickscfg",
        "application_default_credentials.json",
    ),
)
EXCEPT = ("*.example", "*.sample", "*.template", "*.dist", ".env.example", "*.py", "*.pub")
FOLDERS = (".ssh", ".aws", ".gnupg", ".azure", ".kube")

TEMPLATE = 16 << 10
"""Larger files are not looked into: they count as credentials when their name says so."""
COMMENT = (b"#", b"//", b";")

NAME = re.compile(
    r"(?:^|[-_.])(?:api[-_]?key|access[-_]?key|secret|token|password|passwd|pwd|passphrase|credentials?|private[-_]?key|auth)"
    r"(?:$|[-_.])",
    re.IGNORECASE,
)
VALUE = re.compile(
    r"(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|AKIA[0-9A-Z]{16}|hf_[A-Za-z0-9]{20,}|AIza[\w-]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----)"
)
IN_URL = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s:@]*:)([^/\s@]+)(@)", re.IGNORECASE)
NOT_SECRET = re.compile(
    r"(?:max|num|n|min|pad|eos|bos|unk|sep|cls|mask|special|new|total|vocab|per|max_new)[-_]?tokens?"
    r"|tokeni[sz]er|token(?:s|ize|izer)?[-_](?:len|length|count|size|dim|type|ids?)|author",
    re.IGNORECASE,
)
"""Names of language models' parameters that only sound like credentials."""


def is_secret_file(path: str, more: Sequence[str] = ()) -> bool:
    """Whether the content of a file with this path must never be kept."""
    *folders, name = path.split("/")
    if more and (_any(tuple(more))(path) or _any(tuple(more))(name)):
        return True
    if _any(EXCEPT)(name):
        return False
    return bool(_any(FILES)(name)) or any(folder in FOLDERS for folder in folders)


@functools.cache
def _any(globs: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """One pattern for many globs: thousands of paths are asked in each run."""
    return re.compile("|".join(map(fnmatch.translate, globs))).match


def holds_secret(name: str, path: Path, more: Sequence[str] = ()) -> bool:
    """Whether a file is one of credentials and holds any: a template of nothing but comments does not."""
    if not is_secret_file(name, more):
        return False
    try:
        with path.open("rb") as file:
            lines = file.read(TEMPLATE).splitlines()
            return bool(file.read(1)) or any(line.strip() and not line.lstrip().startswith(COMMENT) for line in lines)
    except OSError:
        return True


def is_secret_name(name: str) -> bool:
    """Whether an option, key or variable with this name holds a credential."""
    return bool(NAME.search(name)) and not NOT_SECRET.search(name)


def hide(text: str, key: bytes, name: str = "") -> str:
    """`text` with what looks like a credential replaced by `{secret:…}`, which holds a keyed digest; all of it when
    `name` says so."""
    if name and is_secret_name(name) and text:
        return f"{{secret:{keyed_digest(key, text)}}}"
    text = IN_URL.sub(lambda match: f"{match[1]}{{secret:{keyed_digest(key, match[2])}}}{match[3]}", text)
    return VALUE.sub(lambda match: f"{{secret:{keyed_digest(key, match[0])}}}", text)


def hide_argv(argv: Iterable[str], key: bytes) -> tuple[str, ...]:
    """A command with the values of secret-like options, and secret-like values anywhere, hidden."""
    hidden: list[str] = []
    pending = ""
    for word in argv:
        option, equals, value = word.partition("=")
        if pending:
            hidden.append(hide(word, key, pending))
            pending = ""
        elif equals and is_secret_name(option.lstrip("-+")):
            hidden.append(f"{option}={hide(value, key, option.lstrip('-+'))}")
        else:
            hidden.append(hide(word, key))
            if word.startswith("-") and not equals and is_secret_name(word.lstrip("-")):
                pending = word.lstrip("-")
    return tuple(hidden)


def has_secret(words: Iterable[str]) -> bool:
    """Whether a stored command still needs a person to give a credential again."""
    return any("{secret:" in word for word in words)
