"""A file system that several machines share is no place for a SQLite state."""

from __future__ import annotations

from pathlib import Path

import pytest

from synapse_apply.stores.sqlite.sqlite_database import (
    SqliteDatabase,
    find_file_system,
    list_mount_warnings,
    make_unopened_sqlite_store,
)

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/vdb /home/local xfs rw 0 0
//server/our\\040share /mnt/our\\040share cifs rw 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
share /mnt/vm 9p rw 0 0
odd line
server:/two /mnt/twice nfs rw 0 0
/dev/vdc /mnt/twice ext4 rw 0 0
"""


@pytest.fixture
def mounts(tmp_path):
    """A table of mounts."""
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return str(path)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/state.db", "ext4"),
        ("/home/me/state.db", "nfs4"),
        ("/homes/state.db", "ext4"),
        ("/home/local/state.db", "xfs"),
        ("/mnt/our share/x/state.db", "cifs"),
        ("/mnt/ssh/state.db", "fuse.sshfs"),
        ("/mnt/vm/state.db", "9p"),
        ("/mnt/twice/state.db", "ext4"),
    ],
)
def test_the_innermost_mount_counts(mounts, path, kind):
    """By whole parts of the path; the later of two at one point."""
    assert find_file_system(Path(path), mounts) == kind
    local = kind in ("ext4", "xfs")
    assert len(list_mount_warnings(Path(path), mounts)) == (0 if local else 1)


def test_the_warning_says_what_to_do(mounts):
    """The file system, the risk and the two ways out."""
    (finding,) = SqliteDatabase(Path("/home/me/state.db"), mounts).list_warnings()
    assert "nfs4" in finding.detail
    assert "local disk" in finding.hint
    assert "state backup --to URL" in finding.hint


def test_where_nobody_can_tell_there_is_no_warning(tmp_path):
    """A system without a table of mounts."""
    assert list_mount_warnings(Path("/home"), str(tmp_path / "none")) == ()
    assert make_unopened_sqlite_store(tmp_path / "state.db").list_warnings() == ()
