"""How processes exclude each other while a state is created or restored: flock(2) on a lock file.

The system releases the lock when the process ends in any way. The file is never removed: otherwise
one process could hold a lock on a removed file while another locks a new one. It is not the lock
of a state, since a suspended process would keep it for ever.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synapse_apply.files.opening import open_own_file_with_flags
from synapse_apply.stores import state_messages


@contextmanager
def hold_lock_file(path: str, location: str, operation: str) -> Iterator[None]:
    """Hold the lock file at `path`, whose folder exists; LockHeld if another process has it.

    `location` and `operation` are for messages.
    """
    descriptor = _open_locked(path, location, operation)
    try:
        yield
    finally:
        os.close(descriptor)


def _open_locked(path: str, location: str, operation: str) -> int:
    try:
        descriptor = open_own_file_with_flags(Path(path), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # If the file was removed before it was locked, other processes lock a new file.
            if os.path.samestat(os.fstat(descriptor), Path(path).lstat()):
                return descriptor
        except BlockingIOError:
            pass
        except OSError:
            os.close(descriptor)
            raise
    except OSError as problem:
        activity = f"Locking for {operation}"
        raise state_messages.unusable_state_error(
            location, activity, f"{path}: {problem.strerror}"
        ) from None
    os.close(descriptor)
    raise state_messages.build_lock_held_error(
        location, "Another process that makes or restores a state"
    )
