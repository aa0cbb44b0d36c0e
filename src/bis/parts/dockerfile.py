"""Reading Dockerfiles: the images they start from, and what they fetch without saying which version."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise

from bis.parts.floating import Floating, Reading, image_line

INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.S)
HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z_][A-Za-z0-9_]*)\1")
VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::?([-+])([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")
SPLIT = re.compile(r"&&|\|\||;|\||\n|&")
INSTALLERS = {
    "apt-get": "install", "apt": "install", "apk": "add", "yum": "install", "dnf": "install", "microdnf": "install",
    "zypper": "install", "conda": "install", "mamba": "install", "micromamba": "install", "pip": "install",
    "pip3": "install",
}  # fmt: skip
TAKES_VALUE = frozenset(
    """-t --target-release -o --option -c --channel -n --name -p --prefix -f --file -r --requirement -i --index-url
    --extra-index-url --find-links --trusted-host --constraint --target --root --python --platform --virtual -X
    --repository --timeout --retries --cache-dir --python-version --index --default-index --only-binary
    --no-binary --extra --group""".split()
)
CHECKS = re.compile(r"\b(sha(256|512|1)?sum|shasum|md5sum|gpg|gpgv|cosign|openssl dgst|minisign)\b")
URL = re.compile(r"\b(?:https?|ftp)://[^\s'\"\\;|&)]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
CHECKED_OUT = re.compile(r"\bgit\s+(?:-C\s+\S+\s+)?(?:checkout|reset|switch|fetch)\b[^\n&|;]*\b[0-9a-f]{7,40}\b")


def read_dockerfile(text: str) -> Reading:
    """The images, and the floating references with their lines."""
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    reading, checked_out = Reading(), bool(CHECKED_OUT.search(text))
    for line, keyword, rest in instructions(text):
        if keyword == "ARG":
            for word in rest.split():
                name, equals, value = word.partition("=")
                if equals:
                    arguments[name] = value.strip("\"'")
        elif keyword == "FROM":
            reading += _base(line, rest, arguments, stages)
        elif keyword in ("COPY", "ADD", "RUN"):
            reading += _borrowed(line, rest, arguments, stages)
            if keyword == "ADD":
                reading += _added(line, rest)
            if keyword == "RUN":
                reading += _shell(line, rest, checked_out)
    return reading


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, keyword in capitals, and all that belongs to it: continued lines and here-documents."""
    lines = text.splitlines()
    escape = "`" if re.match(r"#\s*escape\s*=\s*`", text, re.I) else "\\"
    place = 0
    while place < len(lines):
        start, held = place, list[str]()
        while place < len(lines):
            line = lines[place].rstrip()
            place += 1
            if line.lstrip().startswith("#") or not line.strip():
                if not held:
                    break
                continue
            held.append(line[:-1] if line.endswith(escape) else line)
            if not line.endswith(escape):
                break
        matched = INSTRUCTION.match(" ".join(held))
        if matched is None:
            continue
        body = matched.group(2)
        for _, word in HEREDOC.findall(body) if matched.group(1).upper() in ("RUN", "COPY", "ADD") else ():
            while place < len(lines) and lines[place].strip() != word:
                body += "\n" + lines[place]
                place += 1
            place += 1
        yield start + 1, matched.group(1).upper(), body


def _base(line: int, rest: str, arguments: Mapping[str, str], stages: set[str]) -> Reading:
    words = [word for word in rest.split() if not word.startswith("--")]
    if not words:
        return Reading()
    own = words[0].lower() in (*stages, "scratch")
    if len(words) > 2 and words[1].lower() == "as":
        stages.add(words[2].lower())
    return Reading() if own else image_line(line, "FROM", substituted(words[0], arguments))


def _borrowed(line: int, rest: str, arguments: Mapping[str, str], stages: set[str]) -> Reading:
    """Images whose files are copied: `COPY --from=`, `RUN --mount=…,from=`."""
    found = Reading()
    for flag in re.findall(r"(?:^|\s)--(?:from=|mount=\S*?\bfrom=)([^\s,]+)", rest.split("\n")[0]):
        name = substituted(flag, arguments)
        if name.lower() not in (*stages, "scratch") and not name.isdigit():
            found += image_line(line, "--from", name)
    return found


def _added(line: int, rest: str) -> Reading:
    if "--checksum=" in rest:
        return Reading()
    urls = [url for url in URL.findall(rest) if not COMMIT.search(url.partition("#")[2])]
    why, hint = "is taken as it is on the day of the build", "ADD --checksum=sha256:…"
    return Reading(
        (),
        tuple(Floating(line=line, code="unverified-download", what=f"ADD {url}", why=why, hint=hint) for url in urls),
    )


def _shell(line: int, script: str, checked_out: bool) -> Reading:
    reading = Reading()
    script = re.sub(r"^(?:--[a-z]+=\S+\s+)+", "", script)
    script = re.sub(r"[\\`]\n", " ", script)
    checked = bool(CHECKS.search(script))
    for command in SPLIT.split(script):
        words = _words(command)
        tool, packages = installed_by(words)
        loose = [package for package in packages if not _pinned(tool, package)]
        if loose:
            reading += Reading((), (_unpinned(line, tool, loose),))
        if tool in ("apt", "apt-get", "apk"):
            reading += Reading(
                pins=tuple(package for package in packages if re.fullmatch(r"[\w.+-]+=[\w.:~+*-]+", package))
            )
        if not checked:
            reading += _downloaded(line, words)
        if not checked_out:
            reading += _cloned(line, words)
    return reading


def installed_by(words: list[str]) -> tuple[str, list[str]]:
    """The tool of an install command and the packages that it names; empty for any other command."""
    while words and (words[0] in ("sudo", "env", "exec", "time", "command") or re.match(r"[A-Za-z_]\w*=", words[0])):
        words = words[1:]
    if len(words) > 2 and re.fullmatch(r"python[0-9.]*", words[0].rpartition("/")[2]) and words[1] == "-m":
        words = words[2:]
    if words[:2] in (["uv", "pip"], ["uv", "tool"]):
        words = ["pip", *words[2:]]
    if words[:1] == ["pipx"]:
        words = ["pip", *words[1:]]
    if not words:
        return "", []
    tool = words[0].rpartition("/")[2]
    verb = INSTALLERS.get(tool if not re.fullmatch(r"pip3\.\d+", tool) else "pip")
    plain = [word for before, word in pairwise(words) if not word.startswith("-") and before not in TAKES_VALUE]
    if verb is None or verb not in plain:
        return "", []
    return tool, [word for word in plain[plain.index(verb) + 1 :] if not re.search(r"^[0-9]*[<>]|[$(){}]", word)]


def substituted(text: str, arguments: Mapping[str, str]) -> str:
    """Build arguments put in; one without a value stays as it is written."""

    def value(matched: re.Match[str]) -> str:
        name, sign, other = matched.group(1) or matched.group(4), matched.group(2), matched.group(3)
        known = arguments.get(name, "")
        if sign == "-":
            return known or other
        if sign == "+":
            return other if known else ""
        return known or matched.group(0)

    return VARIABLE.sub(value, text)


def _pinned(tool: str, package: str) -> bool:
    if tool.startswith("pip"):
        local = package.startswith((".", "/")) or package.endswith((".whl", ".tar.gz", ".zip"))
        return local or "==" in package or ("@" in package and bool(COMMIT.search(package)))
    if tool in ("yum", "dnf", "microdnf", "zypper"):
        return bool(re.search(r"-\d[\w.]*-\d|=", package)) or package.endswith(".rpm")
    return "=" in package or package.endswith(".deb") or package.startswith(("./", "/"))


def _unpinned(line: int, tool: str, packages: list[str]) -> Floating:
    shown = " ".join(packages[:5]) + (f" and {len(packages) - 5} more" if len(packages) > 5 else "")
    why = f"{'get their versions' if len(packages) > 1 else 'gets its version'} on the day of the build"
    pip, verb = tool.startswith("pip"), INSTALLERS.get(tool, "install")
    plain = [package for package in packages if "://" not in package]
    hint = f"name versions: {plain[0]}{'==' if pip else '='}…" if plain else f"name a commit: {packages[0]}@…"
    code = "floating-pip" if pip else "floating-package"
    return Floating(line=line, code=code, what=f"{tool} {verb} {shown}", why=why, hint=hint)


def _downloaded(line: int, words: list[str]) -> Reading:
    if not words or words[0].rpartition("/")[2] not in ("curl", "wget"):
        return Reading()
    return _all(line, "unverified-download", words[0], [url for word in words for url in URL.findall(word)])


def _cloned(line: int, words: list[str]) -> Reading:
    if words[:2] != ["git", "clone"]:
        return Reading()
    urls = [word for word in words[2:] if "://" in word or word.startswith("git@")]
    return _all(line, "floating-clone", "git clone", urls)


def _all(line: int, code: str, command: str, urls: list[str]) -> Reading:
    hints = {"floating-clone": "git checkout a commit", "unverified-download": "check it with sha256sum -c"}
    why = "is taken as it is on the day of the build"
    return Reading(
        (), tuple(Floating(line=line, code=code, what=f"{command} {url}", why=why, hint=hints[code]) for url in urls)
    )


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()
