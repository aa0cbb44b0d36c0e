"""References to container images, as Docker, Kubernetes and OCI tools write them."""

from __future__ import annotations

import re

import msgspec

HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
STEP = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
GRAMMAR = re.compile(
    rf"(?:(?P<registry>{HOST}(?::[0-9]+)?)/)?(?P<name>{STEP}(?:/{STEP})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
DOCKER_HUB = "docker.io"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image, as it is named."""

    name: str
    registry: str = ""
    """Empty: Docker Hub's."""
    tag: str = ""
    digest: str = ""
    """`sha256:…`: names the content, whatever becomes of the tag."""

    def __str__(self) -> str:
        host = f"{self.registry}/" if self.registry else ""
        return f"{host}{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"

    @property
    def repository(self) -> str:
        """In full, for comparing: `docker.io/library/python`."""
        host = self.registry or DOCKER_HUB
        short = host == DOCKER_HUB and "/" not in self.name
        return f"{host}/{'library/' if short else ''}{self.name}"

    @property
    def floating(self) -> str:
        """Why this name may mean another image tomorrow; empty when it cannot."""
        if self.digest:
            return ""
        if self.tag in ("", "latest"):
            return "means whatever is the newest when it is pulled"
        return "has no digest, and a tag can be moved to another image"


def parse_image(text: str) -> Image | None:
    """None when `text` is not the name of an image."""
    matched = GRAMMAR.fullmatch(text.strip())
    if matched is None:
        return None
    found = {name: value or "" for name, value in matched.groupdict().items()}
    host = found["registry"]
    # Only a dot, a port, a capital or `localhost` tells a host from the first step of a path.
    if host and "." not in host and ":" not in host and host != "localhost" and host == host.lower():
        found["registry"], found["name"] = "", f"{host}/{found['name']}"
    if re.fullmatch(f"{STEP}(?:/{STEP})*", found["name"]) is None:
        return None
    return Image(**found)
