"""Reading what deploys and builds: Compose, Kubernetes, Helm, CI, development containers, and more of that kind.

What is read are the few keys that name something outside of the project. Each reader takes the text of a file; YAML
that is not valid raises `Unreadable`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from bis.parts.dockerfile import COMMIT, substituted
from bis.parts.floating import Floating, Reading, image_line

EXACT = re.compile(r"=?\s*v?\d+(\.\d+)+([-+.][0-9A-Za-z.-]+)?")
ELSEWHERE = re.compile(r"(https?://|ssh://|git@|github\.com/|git::)")
IMAGE_KEYS = ("image", "container", "docker_image", "imageUri")
DEEPEST = 100
RENEWED = re.compile(r"-(latest|stable)\b|^latest$")


class Unreadable(Exception):
    """`line` and what is wrong there."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(line, what)
        self.line, self.what = line, what


class Scalar(NamedTuple):
    """One value of a YAML file, where it stands."""

    line: int
    path: tuple[str, ...]
    """Keys from the top; items of a list by number."""
    value: str


def read_images(text: str) -> Reading:
    """Every `image:`: Compose, Kubernetes, GitLab, CircleCI, Bitbucket, Drone and others name theirs like that."""
    return _images(scalars(text))


def read_helm_values(text: str) -> Reading:
    """`repository`, `tag`, `registry` and `digest` that stand together, beside plain `image:`."""
    found = scalars(text)
    blocks: dict[tuple[str, ...], dict[str, Scalar]] = {}
    for scalar in found:
        if scalar.path[-1] in ("repository", "tag", "registry", "digest"):
            blocks.setdefault(scalar.path[:-1], {})[scalar.path[-1]] = scalar
    reading = _images(found)
    for block in blocks.values():
        named = {key: scalar.value for key, scalar in block.items() if scalar.value}
        if "repository" in named and not ELSEWHERE.match(named["repository"]):
            host = f"{named['registry']}/" if "registry" in named else ""
            reading += image_line(block["repository"].line, "repository", host + _joined(named["repository"], named))
    return reading


def read_helm_chart(text: str) -> Reading:
    """Dependencies of a chart whose version is a range."""
    found, names = [], dict[tuple[str, ...], str]()
    for _, path, value in scalars(text):
        if path[0] == "dependencies" and path[-1] == "name":
            names[path[:-1]] = value
    for line, path, value in scalars(text):
        if path[0] == "dependencies" and path[-1] == "version" and not EXACT.fullmatch(value):
            what = f"chart {names.get(path[:-1], '')} {value}"
            found.append(_floating(line, "chart", what, "is a range of versions", "commit Chart.lock"))
    return Reading((), tuple(found))


def read_helm_template(text: str) -> Reading:
    """A template is not YAML yet: its plain `image:` lines."""
    reading = Reading()
    for number, line in enumerate(text.splitlines(), 1):
        matched = re.match(r"""\s*(?:-\s+)?image:\s*["']?([^\s"'{}]+)["']?\s*(?:#.*)?$""", line)
        reading += image_line(number, "image", matched.group(1)) if matched else Reading()
    return reading


def read_kustomization(text: str) -> Reading:
    """Replaced images, and resources taken from elsewhere."""
    reading, images = Reading(), dict[tuple[str, ...], dict[str, Scalar]]()
    for scalar in scalars(text):
        if scalar.path[0] == "images" and len(scalar.path) == 3:
            images.setdefault(scalar.path[:2], {})[scalar.path[2]] = scalar
        elif scalar.path[0] in ("resources", "components", "bases") and ELSEWHERE.match(scalar.value):
            reading += _remote(scalar)
    for block in images.values():
        named = {key: scalar.value for key, scalar in block.items()}
        name = named.get("newName") or named.get("name", "")
        tags = {"tag": named.get("newTag", ""), "digest": named.get("digest", "")}
        reading += image_line(next(iter(block.values())).line, "image", _joined(name, tags))
    return reading


def read_github(text: str) -> Reading:
    """Actions by tag or branch, images, and runners that are renewed."""
    found = scalars(text)
    reading = _images(found)
    for line, path, value in found:
        if path[-1] == "uses" and value.startswith("docker://"):
            reading += image_line(line, "uses", value.removeprefix("docker://"))
        elif path[-1] == "uses" and "@" in value and not value.startswith("./"):
            name, _, ref = value.rpartition("@")
            if not COMMIT.fullmatch(ref):
                hint = f"write the commit: uses: {name}@… # {ref}"
                reading += _one(line, "action", f"uses {value}", "is a tag or branch, which can be moved", hint)
        elif "runs-on" in path[-2:] and RENEWED.search(value):
            reading += _runner(line, f"runs-on {value}")
    return reading


def read_azure(text: str) -> Reading:
    """Containers, and pool images that are renewed."""
    found = scalars(text)
    reading = _images(found)
    for line, path, value in found:
        if path[-1] == "vmImage" and RENEWED.search(value):
            reading += _runner(line, f"vmImage {value}")
    return reading


def read_gitlab(text: str) -> Reading:
    """Images, services, and configuration included from elsewhere."""
    found = scalars(text)
    reading = _images(found)
    for scalar in found:
        line, path, value = scalar
        if path[-2:-1] == ("services",) or (path[-3:-2] == ("services",) and path[-1] == "name"):
            reading += image_line(line, "service", value)
        elif path[0] == "include" and (path[-1] == "remote" or ELSEWHERE.match(value)):
            reading += _remote(scalar)
        elif path[0] == "include" and path[-1] == "ref" and not COMMIT.fullmatch(value):
            reading += _one(
                line, "remote", f"include ref {value}", "is a branch or tag, which can be moved", "a commit"
            )
    return reading


def read_circleci(text: str) -> Reading:
    """Images, and orbs without an exact version."""
    found = scalars(text)
    reading = _images(found)
    for line, path, value in found:
        name, _, version = value.partition("@")
        if path[0] == "orbs" and len(path) == 2 and not re.fullmatch(r"\d+\.\d+\.\d+", version):
            reading += _one(line, "action", f"orb {value}", "is no exact version", f"{name}@1.2.3")
    return reading


def read_cloudbuild(text: str) -> Reading:
    """The builder of each step."""
    reading = Reading()
    for line, path, value in scalars(text):
        if path[0] == "steps" and path[-1] == "name" and len(path) == 3:
            reading += image_line(line, "step", value)
    return reading


def read_jenkinsfile(text: str) -> Reading:
    """Images of agents: `image 'x'`, `docker.image('x')`."""
    reading = Reading()
    for number, line in enumerate(text.splitlines(), 1):
        for value in re.findall(r"\bimage\s*\(?\s*[\"']([^\"']+)[\"']", line.split("//")[0]):
            reading += image_line(number, "image", value)
    return reading


def read_devcontainer(text: str) -> Reading:
    """The image, and features that name no exact version. JSON with comments, so by lines."""
    reading = Reading()
    for number, line in enumerate(text.splitlines(), 1):
        if matched := re.match(r'\s*\{?\s*"image"\s*:\s*"([^"]+)"', line):
            reading += image_line(number, "image", matched.group(1))
        for name, version in re.findall(r'"((?:[\w-]+\.)+[a-z]{2,}/[\w./-]+?)(?::([\w.-]+))?"\s*:\s*\{', line):
            if not re.fullmatch(r"\d+\.\d+\.\d+", version):
                what = f"feature {name}{f':{version}' if version else ''}"
                why, hint = "gets its version on the day of the build", "commit devcontainer-lock.json"
                reading += _one(number, "feature", what, why, hint)
    return reading


def read_apptainer(text: str) -> Reading:
    """The image that a definition starts from, when it comes from a registry."""
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if matched := re.match(r"(?i)\s*(bootstrap|from)\s*:\s*(\S+)", line):
            found.setdefault(matched.group(1).lower(), (number, matched.group(2)))
    if "from" not in found or found.get("bootstrap", (0, ""))[1].lower() not in ("docker", "oras"):
        return Reading()
    number, name = found["from"]
    return image_line(number, "From:", name.removeprefix("docker://"))


def read_vagrantfile(text: str) -> Reading:
    """Boxes without a version."""
    if re.search(r"^\s*[^#\n]*\.box_version\s*=", text, re.M):
        return Reading()
    reading = Reading()
    for number, line in enumerate(text.splitlines(), 1):
        for name in re.findall(r"^\s*[^#]*\.box\s*=\s*[\"']([^\"']+)[\"']", line):
            hint = 'config.vm.box_version = "…"'
            reading += _one(number, "box", f"box {name}", "gets its version on the day it is made", hint)
    return reading


def scalars(text: str) -> list[Scalar]:
    """The values of all documents of a YAML file. What an alias repeats is told once.

    By events: building nodes recurses, in C, without a limit.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[Scalar] = []
    around: list[_Around] = []
    try:
        for event in yaml.parse(text, loader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                around.pop()
            elif isinstance(event, yaml.NodeEvent):
                is_key = bool(around) and around[-1].takes(event)
                if isinstance(event, yaml.CollectionStartEvent):
                    around.append(_Around(isinstance(event, yaml.SequenceStartEvent)))
                elif isinstance(event, yaml.ScalarEvent) and not is_key:
                    found.append(Scalar(line, tuple(each.key for each in around) or ("",), event.value))
                if len(around) > DEEPEST:
                    raise Unreadable(line, "it is nested too deeply")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = str(getattr(error, "problem", "") or "it is not valid YAML")
        raise Unreadable(mark.line + 1 if mark else 1, what) from None
    return found


class _Around:
    """A list or mapping that the reader is in: which key or number the next value has."""

    def __init__(self, is_list: bool) -> None:
        self._number = -1 if is_list else None
        self._named = False
        self.key = ""

    def takes(self, event: Any) -> bool:
        """Whether an event is a key; else it begins the value of the newest one, or the next item."""
        if self._number is not None:
            self._number += 1
            self.key = str(self._number)
            return False
        self._named = not self._named
        if self._named:
            self.key = getattr(event, "value", "")
        return self._named


def _images(found: list[Scalar]) -> Reading:
    reading = Reading()
    for line, path, value in found:
        key = path[-2] if path[-1] == "name" and len(path) > 1 else path[-1]
        if key in IMAGE_KEYS and value and (key == path[-1] or path[-1] == "name"):
            reading += image_line(line, "image", substituted(value, {}))
    return reading


def _joined(name: str, named: dict[str, str]) -> str:
    tag, digest = named.get("tag", ""), named.get("digest", "")
    return f"{name}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}"


def _floating(line: int, kind: str, what: str, why: str, hint: str) -> Floating:
    return Floating(line=line, code=f"floating-{kind}", what=what, why=why, hint=hint)


def _one(line: int, kind: str, what: str, why: str, hint: str) -> Reading:
    return Reading((), (_floating(line, kind, what, why, hint),))


def _runner(line: int, what: str) -> Reading:
    return _one(
        line, "runner", what, "becomes another system when the service renews it", "name a version: ubuntu-24.04"
    )


def _remote(scalar: Scalar) -> Reading:
    if COMMIT.search(scalar.value):
        return Reading()
    return _one(scalar.line, "remote", scalar.value, "is taken as it is that day", "…?ref= and a commit")
