"""Which file systems are unsafe for a state, and on which one a path is."""

from __future__ import annotations

import re
from pathlib import Path

from synapse_apply.files.checkout import iter_folders_above
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding

MOUNTS_FILE = "/proc/self/mounts"
_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")

# File systems whose locks and flushes SQLite cannot rely on (sqlite.org/faq.html, question 5).
NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs"),
    *("lustre", "9p", "virtiofs", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.cephfs"),
    *("fuse.davfs2", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.blobfuse2"),
}


def list_mount_warnings(path: Path, mounts_file: str = MOUNTS_FILE) -> tuple[Diagnostic, ...]:
    """A warning for a path on a network file system; () if it is none, or unknown."""
    system_type = find_file_system(path, mounts_file)
    if system_type not in NETWORK_FILE_SYSTEMS:
        return ()
    return (
        warning_finding(
            "The state lies on a network file system",
            f"{path} is on {system_type}: locks there may not keep two machines apart, and what was"
            " written may be lost.",
            Text(
                "Keep the state on a local disk, or share it in a database: state: {url: "
                "postgresql://...}; ",
                Command("state migrate --to URL"),
                " moves it.",
            ),
        ),
    )


def find_file_system(path: Path, mounts_file: str = MOUNTS_FILE) -> str:
    """The file system type at a path, from the mount table (proc_pid_mounts(5)); "" if unknown."""
    try:
        lines = Path(mounts_file).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    ancestors = {str(path), *iter_folders_above(path)}
    deepest, system_type = -1, ""
    for _, escaped_mount_point, mount_type, *_ in (
        line.split(" ") for line in lines if line.count(" ") >= 3
    ):
        # Blanks and backslashes in a mount point are written as octal escapes.
        mount_point = _OCTAL_ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), escaped_mount_point)
        # Of two mounts at the same point the later one hides the earlier one.
        if mount_point in ancestors and len(mount_point) >= deepest:
            deepest, system_type = len(mount_point), mount_type
    return system_type
