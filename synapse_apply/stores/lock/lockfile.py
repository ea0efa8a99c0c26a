"""A lock that the operating system releases when its process ends, however it ends.

The lock is flock(2) on a file that stays. It is never removed: a second process could then lock a
file that the third no longer sees. It keeps processes apart where there is no state whose rows
could; it is not the lock of a state, since a suspended process would keep it for ever.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synapse_apply.files.opening import open_own_file
from synapse_apply.stores import state_messages


@contextmanager
def hold_lock_file(path: str, location: str, operation: str) -> Iterator[None]:
    """Hold the lock file at `path`, whose folder exists; LockHeld when another holds it."""
    descriptor = _open_locked_descriptor(path, location, operation)
    try:
        yield
    finally:
        os.close(descriptor)


def _open_locked_descriptor(path: str, location: str, operation: str) -> int:
    try:
        descriptor = open_own_file(Path(path), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody may have removed the file; a lock on what has no name keeps nobody out.
            if os.path.samestat(os.fstat(descriptor), Path(path).lstat()):
                return descriptor
        except BlockingIOError:
            pass
        except OSError:
            os.close(descriptor)
            raise
    except OSError as problem:
        activity = f"Locking for {operation}"
        raise state_messages.build_unusable_state_error(
            location, activity, f"{path}: {problem.strerror}"
        ) from None
    os.close(descriptor)
    raise state_messages.build_lock_held_error(
        location, "Another process that makes or restores a state"
    )
