"""What goes into the image of a run or of a model: layers of its environment, of what it runs, and of bis that serves.

Nothing in a layer depends on the machine that wrote it: an environment is made of files that were proved against its
lock, and of no compiled Python; folders of the user are not named.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from bis.digest import readable, spell
from bis.errors import CannotRepeat
from bis.oci import DOCKER_LAYERS, LAYER_GZIP, Descriptor, Image
from bis.oci.layers import Entry, Packing, entries_of, pack, write_layer
from bis.oci.layout import Layout, machine
from bis.oci.unpack import opened
from bis.parts.secret import holds_secret
from bis.steps.base_image import Base, pythons
from bis.steps.installing import Uv
from bis.steps.requiring import pinned

ENVIRONMENT: Final = "opt/env"
PYTHON: Final = "opt/python"
MODEL: Final = "opt/model"
SERVER: Final = "opt/bis"
WORK: Final = "work"
NOBODY: Final = 65534
"""The user and the group of what runs in an image."""
PORT: Final = 8080
LAUNCHER: Final = """#!{python}
import sys

sys.path.insert(0, "/opt/bis/lib")
from bis.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
"""
"""Starts bis with its own packages, which the environment of the model does not see."""
NOT_COPIED: Final = ("test", "idlelib", "turtledemo", "ensurepip", "site-packages", "config-")
"""Folders of a standard library that nothing is run with."""
LABEL: Final = "org.opencontainers.image."


class Interpreter(NamedTuple):
    """The one of an image."""

    path: str
    """In the image."""
    entries: tuple[Entry, ...] = ()
    """Where the base has none: that of this machine."""


class Part(NamedTuple):
    """A layer to be, and what it is called in the history of the image."""

    called: str
    entries: Sequence[Entry]


def interpreter(environment: Path, base: Base, layout: Layout) -> Interpreter:
    """The one of the base that has the version of the environment; else that which the environment was made with is
    taken along. Raises CannotRepeat where neither can be."""
    settings = _settings(environment)
    version = version_of(environment)
    there = pythons(base.image, layout)
    if version in there:
        return Interpreter(there[version])
    home = Path(os.path.realpath(Path(settings.get("home", "")) / f"python{version}")).parent.parent
    if home == Path("/usr") or not (home / "lib" / f"python{version}").is_dir():
        known = ", ".join(sorted(there)) or "none"
        raise CannotRepeat(
            f"the base has no Python {version}",
            because=f"It has {known}, and that of this machine belongs to its system.",
            hint="--base names another, by its digest or as mmdebstrap:SUITE",
        )
    return Interpreter(f"/{PYTHON}/bin/python{version}", tuple(_interpreter_entries(home, version)))


def version_of(environment: Path) -> str:
    """`3.12`, of a virtual environment. Raises CannotRepeat for what is none."""
    settings = _settings(environment)
    return ".".join(settings.get("version_info", settings.get("version", "")).split(".")[:2])


def packages_of(environment: Path) -> Path:
    """Where the packages of a virtual environment are installed."""
    return environment / "lib" / f"python{version_of(environment)}" / "site-packages"


def packages(environment: Path) -> Iterator[Entry]:
    """The packages of a virtual environment as files to import from, without its programs."""
    gone = {path.name: "" for path in (environment / "bin").iterdir()}
    return _without_traces(_without_links_out(entries_of(packages_of(environment), ".")), gone)


def environment_part(environment: Path, python: Interpreter) -> Part:
    """A virtual environment, on the interpreter of the image."""
    version = python.path.rpartition("python")[2]
    home = python.path.rpartition("/")[0]
    scripts = list(_scripts(environment, f"{ENVIRONMENT}/bin"))
    rows = {script.path.rpartition("/")[2]: _row(script) for script in scripts}
    entries = [
        *_without_traces(_without_links_out(entries_of(environment / "lib", f"{ENVIRONMENT}/lib")), rows),
        *scripts,
        Entry(f"{ENVIRONMENT}/bin/python", target=python.path),
        Entry(f"{ENVIRONMENT}/bin/python3", target="python"),
        Entry(f"{ENVIRONMENT}/bin/python{version}", target="python"),
        Entry(f"{ENVIRONMENT}/pyvenv.cfg", f"home = {home}\ninclude-system-site-packages = false\n".encode()),
    ]
    return Part("environment", entries)


def server_part(python: Interpreter, uv: Uv, room: Path, say: Callable[[str], None]) -> Part:
    """bis with what its server needs, for the interpreter of an image. Raises CannotRepeat where it cannot be had."""
    import bis

    version = python.path.rpartition("python")[2]
    wanted = [pin for pin in pinned(("bis", *_of_server())) if not pin.startswith(("bis==", "uv=="))]
    say(f"installing bis' server for Python {version}")
    done = uv.run(
        *("pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:", "--target", str(room)),
        *("--python-version", version, *uv.options, *wanted),
    )
    if done.returncode:
        tail = " ".join(done.stderr.split()[-60:])
        raise CannotRepeat(f"the packages of bis' server cannot be had for Python {version}", because=tail)
    entries = [
        *_without_links_out(entries_of(room, f"{SERVER}/lib")),
        *entries_of(Path(bis.__file__).parent, f"{SERVER}/lib/bis"),
        Entry(f"{SERVER}/bin/bis", LAUNCHER.format(python=python.path).encode(), executable=True),
    ]
    return Part("server", [entry for entry in entries if not entry.path.startswith(f"{SERVER}/lib/bin/")])


def tree_part(called: str, folder: Path, at: str, secrets: Sequence[str] = (), *, owner: int = 0) -> Part:
    """A folder as it is; its `owner` may write there. Raises CannotRepeat where credentials lie in it: whoever has the
    image has them. `secrets`: further globs of their names."""
    entries = [Entry(at), *entries_of(folder, at)] if at else list(entries_of(folder, at))
    for entry in entries:
        name = entry.path.removeprefix(f"{at}/") if at else entry.path
        if isinstance(entry.content, Path) and holds_secret(name, entry.content, secrets):
            raise CannotRepeat(
                f"{readable(spell(name))} of the {called} looks like a credential",
                because="Whoever gets the image could read it.",
                hint="take it out of there, and give it to what runs the image as a variable or a mounted file",
            )
    return Part(called, [entry._replace(owner=owner) for entry in entries])


def compose(
    layout: Layout,
    base: Base,
    parts: Sequence[Part],
    *,
    moment: int,
    config: Mapping[str, Any],
    variables: Mapping[str, str],
    labels: Mapping[str, str],
    packing: Packing = "none",
    say: Callable[[str], None],
) -> Image:
    """An image of a base and of parts, each a layer. `moment`: seconds since 1970 UTC."""
    layers = [_repacked(_specified(layer), layout, packing) for layer in base.image.manifest.layers]
    diff_ids = base.image.diff_ids
    created = datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
    history = list(base.image.config.get("history") or [{"created_by": base.reference}] * len(layers))
    for part in parts:
        say(f"writing the {part.called}")
        with layout.new_blob() as file:
            written = write_layer(part.entries, file, moment, packing)
            layout.keep(file, written.descriptor.digest)
        layers.append(written.descriptor)
        diff_ids.append(written.diff_id)
        history.append({"created": created, "created_by": f"bis: {part.called}"})
    below = base.image.config.get("config", {})
    given = {**dict(entry.partition("=")[::2] for entry in below.get("Env") or ()), **variables}
    path = given.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    given |= {"PATH": f"/{ENVIRONMENT}/bin:{path}", "VIRTUAL_ENV": f"/{ENVIRONMENT}", "HOME": "/tmp"}
    given |= {"PYTHONDONTWRITEBYTECODE": "1"}
    document = {
        "architecture": base.image.config.get("architecture") or machine(),
        "os": "linux",
        "created": created,
        "config": {
            "Env": [f"{key}={value}" for key, value in sorted(given.items())],
            "User": f"{NOBODY}:{NOBODY}",
            "Labels": {f"{LABEL}base.name": base.reference, **labels},
            **config,
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }
    annotations = {f"{LABEL}base.digest": base.image.descriptor.digest, f"{LABEL}created": created, **labels}
    return layout.put_image(document, tuple(layers), annotations)


def _repacked(layer: Descriptor, layout: Layout, packing: Packing) -> Descriptor:
    """A layer of the base as those above it are packed: whatever else it was, it is gzip then."""
    if packing == "none" or layer.media_type == LAYER_GZIP:
        return layer
    with opened(layout, layer) as tar, layout.new_blob() as file:
        packed = pack(tar, file, packing)
        layout.keep(file, packed.digest)
    return packed


def _specified(layer: Descriptor) -> Descriptor:
    """A layer as the specification calls it, whose manifest may not name what Docker calls it."""
    media_type = DOCKER_LAYERS.get(layer.media_type, layer.media_type)
    return Descriptor(media_type=media_type, digest=layer.digest, size=layer.size)


# -- files -------------------------------------------------------------------------------------------------------


def _settings(environment: Path) -> dict[str, str]:
    """Of `pyvenv.cfg`. Raises CannotRepeat for what is no virtual environment."""
    try:
        text = (environment / "pyvenv.cfg").read_text("utf-8")
    except OSError:
        raise CannotRepeat(
            f"{environment} is no virtual environment",
            because="An image is made of one: what else an interpreter of this machine has is not told apart.",
            hint="record the run in a virtual environment: uv venv, or python -m venv",
        ) from None
    lines = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _scripts(environment: Path, at: str) -> Iterator[Entry]:
    """The programs of an environment, which find the interpreter beside them wherever they lie."""
    for path in sorted((environment / "bin").iterdir()):
        if path.is_symlink() or not path.is_file() or re.match(r"python|activate|pydoc|deactivate", path.name):
            continue
        content = path.read_bytes()
        if content.startswith(b"#!") and os.fsencode(environment) in content.split(b"\n", 1)[0]:
            content = b"#!/%s/python\n%s" % (at.encode(), content.partition(b"\n")[2])
        yield Entry(f"{at}/{path.name}", content, executable=True)


def _without_traces(entries: Iterable[Entry], rows: Mapping[str, str]) -> Iterator[Entry]:
    """Installed packages without what tells where they were installed: `RECORD` names the scripts as they are in the
    image, by their `rows`, and not those with an empty one; none says from which folder it came. Raises CannotRepeat
    for what is imported from elsewhere."""
    for entry in entries:
        name, path = entry.path.rpartition("/")[2], entry.content
        if not isinstance(path, Path):
            yield entry
        elif name == "RECORD" and path.parent.name.endswith(".dist-info"):
            lines = path.read_text("utf-8", "surrogateescape").splitlines(keepends=True)
            kept = (_image_row(line, rows) for line in lines)
            yield entry._replace(content="".join(kept).encode("utf-8", "surrogateescape"))
        elif name.endswith(".pth") and path.parent.name == "site-packages":
            _demand_inside(path)
            yield entry
        elif name != "uv_cache.json" and not (name == "direct_url.json" and b"file:" in path.read_bytes()):
            yield entry


def _row(script: Entry) -> str:
    content = script.content if isinstance(script.content, bytes) else b""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest},{len(content)}"


def _image_row(line: str, rows: Mapping[str, str]) -> str:
    """A line of RECORD as it is in the image; empty for a file that is left out there."""
    name = line.partition(",")[0]
    if name.endswith((".pyc", "/direct_url.json", "/uv_cache.json")):
        return ""
    script = name.rpartition("/")[2]
    if not re.match(r"(\.\./)+bin/", name) or script not in rows:
        return line
    return f"{name},{rows[script]}\n" if rows[script] else ""


def _demand_inside(path: Path) -> None:
    """Raises CannotRepeat for a package that lies in a folder of this machine: an image would not have it."""
    for line in path.read_text("utf-8", "replace").splitlines():
        if line.startswith("/") and not Path(line.strip()).is_relative_to(path.parent):
            raise CannotRepeat(
                f"{path.name.removesuffix('.pth')} is imported from {line.strip()}",
                because="It is installed as editable, and that folder is not part of the environment.",
                hint="record the run with it installed as a wheel: uv pip install .",
            )


def _interpreter_entries(home: Path, version: str) -> Iterator[Entry]:
    yield Entry(f"{PYTHON}/bin/python{version}", home / "bin" / f"python{version}", executable=True)
    library = home / "lib" / f"python{version}"
    for entry in entries_of(library, f"{PYTHON}/lib/python{version}"):
        first = entry.path.removeprefix(f"{PYTHON}/lib/python{version}/").partition("/")[0]
        if not first.startswith(NOT_COPIED):
            yield entry
    for shared in sorted((home / "lib").glob("libpython*.so*")):
        yield Entry(f"{PYTHON}/lib/{shared.name}", shared, executable=True)


def _without_links_out(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Links to folders of this machine lead nowhere in an image."""
    for entry in entries:
        if not entry.target.startswith("/") and not entry.path.endswith("/lib64"):
            yield entry


def _of_server() -> tuple[str, ...]:
    """What the server needs beside what bis does."""
    from importlib.metadata import requires

    named = [text for text in requires("bis") or () if re.search(r"extra\s*==\s*['\"]server['\"]", text)]
    windows = sys.platform == "win32"
    return tuple(re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in named if not (windows and "win32" in text))
