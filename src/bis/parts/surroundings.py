"""What a run stands on, as it can be observed: kernel, C library, distribution, container, file systems."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bis.parts import hardware

IMAGE_VARIABLES = ("BIS_IMAGE", "CONTAINER_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
"""Where the image that a container runs is handed in: it cannot be seen from inside. BIS_IMAGE is for that purpose."""
SANDBOXES = re.compile(r"(docker|containerd|kubepods|libpod|lxc|garden|ecs|nspawn)")
GLIBC = re.compile(rb"GNU C Library [^\n]* release version (\d+\.\d+(?:\.\d+)?)")
NETWORKED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "9p", "afs", "fuse.sshfs"}
)


def surroundings(project: Path, variables: Mapping[str, str], root: Path = Path("/")) -> dict[str, Any]:
    """What is not known is left out. `root` is where the files of the system are looked for."""
    system = os.uname()
    found: dict[str, Any] = {
        "kernel": f"{system.sysname} {system.release}",
        "libc": _libc(root),
        "distribution": _distribution(root),
        "time zones": _zones(root),
        "host": _host(root),
        "container": _container(variables, root),
        "limits": _limits(),
        "file systems": _file_systems(project, root),
        "modules": sorted(filter(None, variables.get("LOADEDMODULES", "").split(":"))),
    }
    return {name: value for name, value in found.items() if value}


def surroundings_in(root: Path, image: str) -> dict[str, Any]:
    """What the files of an image say of its system; empty what they do not tell. The rest is the machine's."""
    return {
        "libc": _libc_of(root),
        "distribution": _distribution(root),
        "time zones": _zones(root),
        "container": {"image": image},
    }


def _libc_of(root: Path) -> str:
    """By the library itself: the C library of this process is another one."""
    for folder in ("lib", "lib64", "usr/lib", "usr/lib64"):
        for file in (root / folder / "libc.so.6", *sorted((root / folder).glob("*-linux-gnu*/libc.so.6"))):
            if told := GLIBC.search(_content(file)):
                return f"glibc {told.group(1).decode()}"
    return _musl(root)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _libc(root: Path) -> str:
    try:
        if said := os.confstr("CS_GNU_LIBC_VERSION"):
            return said
    except (ValueError, OSError):
        pass
    return _musl(root)


def _musl(root: Path) -> str:
    musl = sorted(path.name for path in (root / "lib").glob("ld-musl-*"))
    return f"musl ({musl[0].removeprefix('ld-musl-').partition('.')[0]})" if musl else ""


def _distribution(root: Path) -> dict[str, str]:
    """`name` for people, `id` and `version` for comparing."""
    told: dict[str, str] = {}
    for line in (_read(root / "etc/os-release") or _read(root / "usr/lib/os-release")).splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            told[name.strip()] = value.strip().strip("\"'")
    found = {"name": told.get("PRETTY_NAME", ""), "id": told.get("ID", ""), "version": told.get("VERSION_ID", "")}
    if told.get("ID") == "debian" and (exact := _read(root / "etc/debian_version").strip()):
        found["version"] = exact
    return {name: value for name, value in found.items() if value}


def _zones(root: Path) -> str:
    """The version of the time zone database, where the files tell: `2025b`."""
    head = _read(root / "usr/share/zoneinfo/tzdata.zi", 64)
    matched = re.match(r"# version (\S+)", head) or re.match(
        r"(\d{4}\w+)", _read(root / "usr/share/zoneinfo/+VERSION", 16)
    )
    return matched.group(1) if matched else ""


def _host(root: Path) -> str:
    """Maker and product: names the machine type at some providers."""
    folder = root / "sys/class/dmi/id"
    words = [_read(folder / name, 256).strip() for name in ("sys_vendor", "product_name")]
    if not any(words):
        words = [_read(root / "proc/device-tree/model", 256).strip("\0 \n")]
    return " ".join(filter(None, words))


def _container(variables: Mapping[str, str], root: Path) -> dict[str, Any]:
    """Signs of a container; one alone is no proof. `image` where it was handed in."""
    signs = [f"/{name}" for name in (".dockerenv", "run/.containerenv") if (root / name).exists()]
    manager = _read(root / "run/systemd/container", 64).strip()
    signs += [f"/run/systemd/container: {manager}"] if manager else []
    groups = {word for line in _read(root / "proc/self/cgroup").splitlines() for word in SANDBOXES.findall(line)}
    signs += [f"control group: {word}" for word in sorted(groups)]
    signs += ["root file system: overlay"] if _mounted(root).get("/", "") == "overlay" else []
    names = ("KUBERNETES_SERVICE_HOST", "APPTAINER_NAME", "SINGULARITY_NAME", "AWS_LAMBDA_FUNCTION_NAME", "container")
    signs += [f"variable {name}" for name in names if variables.get(name)]
    image = next((variables[name] for name in IMAGE_VARIABLES if variables.get(name)), "")
    if not image and (told := re.search(r'^image="([^"]+)"', _read(root / "run/.containerenv"), re.M)):
        image = told.group(1)
    found: dict[str, Any] = {"signs": signs, "image": image}
    if identity := re.search(r'^imageid="([^"]+)"', _read(root / "run/.containerenv"), re.M):
        found["image id"] = identity.group(1)
    return {name: value for name, value in found.items() if value}


def in_container(facts: Mapping[str, Any]) -> bool:
    """Whether a run was in a container, on more than one sign or by the image that it was told."""
    container = facts.get("container", {})
    return bool(container.get("image")) or len(container.get("signs", ())) > 1


def _limits() -> dict[str, float]:
    """Of the control group: `cpu` in cores, `memory` in bytes."""
    found = {"cpu": hardware.cpu_quota(), "memory": hardware.memory_limit()}
    return {name: value for name, value in found.items() if value is not None}


def _file_systems(project: Path, root: Path) -> dict[str, str]:
    """Types by place: the project's, and that of temporary files; `network` is said where it is one."""
    mounted, found = _mounted(root), {}
    for name, path in (("project", str(project)), ("/tmp", "/tmp"), ("/dev/shm", "/dev/shm")):
        points = [point for point in mounted if path == point or path.startswith(point.rstrip("/") + "/")]
        if points:
            kind = mounted[max(points, key=len)]
            found[name] = f"{kind} (network)" if kind in NETWORKED else kind
    return found


def _mounted(root: Path) -> dict[str, str]:
    """File system type by mount point; of several at one point, the one on top."""
    found = {}
    for line in _read(root / "proc/self/mountinfo", 1 << 20).splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) > 4 and after:
            found[re.sub(r"\\([0-7]{3})", lambda odd: chr(int(odd.group(1), 8)), fields[4])] = after.split()[0]
    return found


def _read(path: Path, limit: int = 1 << 16) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
