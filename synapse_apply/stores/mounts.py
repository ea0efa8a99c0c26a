"""On which sort of file system a path lies."""

from __future__ import annotations

import re
from pathlib import Path

from synapse_apply.model.diagnostic import Diagnostic, warning

MOUNTS = "/proc/self/mounts"

# File systems whose locks and flushes SQLite cannot rely on (sqlite.org/faq.html, question 5).
NETWORK = {
    *("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs"),
    *("lustre", "9p", "virtiofs", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.cephfs"),
    *("fuse.davfs2", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.blobfuse2"),
}


def network_warning(path: Path, mounts: str = MOUNTS) -> tuple[Diagnostic, ...]:
    """A warning where the path lies on a network file system; nothing where nobody can tell."""
    kind = file_system(path, mounts)
    if kind not in NETWORK:
        return ()
    return (
        warning(
            "The state lies on a network file system",
            f"{path} is on {kind}: locks there may not keep two machines apart, and what was"
            " written may be lost.",
            "Keep the state on a local disk, or share it in a database: state: {url:"
            " postgresql://...}; `synapse-apply state migrate --to URL` moves it.",
        ),
    )


def file_system(path: Path, mounts: str = MOUNTS) -> str:
    """The type of the mount that holds the path (proc_pid_mounts(5)), "" where unknown."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for _, point, found, *_ in (line.split(" ") for line in lines if line.count(" ") >= 3):
        at = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point))
        # Of two mounts at one point the later covers the earlier.
        if path.is_relative_to(at) and len(at.parts) >= best:
            best, kind = len(at.parts), found
    return kind
