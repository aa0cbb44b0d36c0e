"""Where a folder lies: databases do not belong on network file systems, whose locks cannot be relied upon."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# fmt: off
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ncpfs", "9p", "ceph", "glusterfs", "lustre",
    "gpfs", "beegfs", "pvfs2", "orangefs", "davfs", "coda", "ocfs2", "fuse.sshfs", "fuse.s3fs",
    "fuse.rclone", "fuse.glusterfs", "fuse.davfs", "fuse.gcsfuse", "fuse.goofys", "fuse.mount-s3",
    "fuse.juicefs",
})
# fmt: on
MOUNTS = Path("/proc/self/mountinfo")


def network_file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """The type of the network file system that `folder` (or its nearest existing parent) lies on; empty for a local
    one, and where the system does not tell."""
    try:
        place = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))  # noqa: PTH110 - may not look: not there
        device = place.stat().st_dev
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except (OSError, StopIteration):
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split()
        if len(fields) > 2 and fields[2] == wanted and "-" in fields:
            kind = fields[fields.index("-") + 1]
            return kind if kind in NETWORK else ""
    return ""


def cache_folder(variables: Mapping[str, str] = os.environ) -> Path:
    """The user's folder for what can be made again: `$XDG_CACHE_HOME/bis`, else `~/.cache/bis`."""
    base = variables.get("XDG_CACHE_HOME") or os.path.join(variables.get("HOME") or "/tmp", ".cache")  # noqa: PTH118
    return Path(base) / "bis"
