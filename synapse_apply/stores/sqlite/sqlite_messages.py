"""Which StateError each error of SQLite and of the file system becomes."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from synapse_apply.model.errors import StateError
from synapse_apply.stores import state_messages

PRIMARY_CODE_MASK = 0xFF  # extended result codes keep the primary one in the low byte


@contextmanager
def telling_state_errors(location: str, activity: str) -> Iterator[None]:
    """Turn errors of the block into StateErrors that name `location`.

    `activity` begins the message: Reading, Opening, Writing, ...
    """
    try:
        yield
    except sqlite3.Error as problem:
        raise _build_sqlite_error(problem, location, activity) from None
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _build_disk_full_error(
                location, activity, problem.strerror or "no space left"
            ) from None
        raise state_messages.unusable_state_error(
            location, activity, problem.strerror or str(problem)
        ) from None
    except UnicodeEncodeError:
        raise state_messages.unstorable_value_error(
            location, "a text is not valid Unicode"
        ) from None


def _build_sqlite_error(problem: sqlite3.Error, location: str, activity: str) -> StateError:
    code = getattr(problem, "sqlite_errorcode", 0) & PRIMARY_CODE_MASK
    if code == sqlite3.SQLITE_NOTADB:
        return state_messages.build_foreign_file_error(location, "is not an SQLite database")
    if code == sqlite3.SQLITE_CORRUPT:
        return state_messages.build_damaged_state_error(location, str(problem))
    if code == sqlite3.SQLITE_FULL:
        return _build_disk_full_error(location, activity, str(problem))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return state_messages.unusable_state_error(location, activity, str(problem))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        blocker = "another process is in the middle of a write, or was stopped there"
        return state_messages.build_busy_error(
            location, activity, blocker, "Let it finish or end it, then try again."
        )
    if code == sqlite3.SQLITE_IOERR:
        return StateError.from_summary(
            "The state cannot be read or written on this disk",
            f"{activity} {location} failed: {problem}. What was recorded before is intact.",
            "Check quota, limits (ulimit -f) and the health of the disk, then try again.",
        )
    # "no such table" and "no such column" have only the general code SQLITE_ERROR.
    if str(problem).startswith("no such "):
        return state_messages.build_damaged_state_error(location, str(problem))
    return StateError.from_summary(
        "The state cannot be used", f"{activity} {location} failed: {problem}."
    )


def _build_disk_full_error(location: str, activity: str, reason: str) -> StateError:
    return StateError.from_summary(
        "The disk is full",
        f"{activity} {location} failed: {reason}. What was recorded before is intact.",
        "Free some space there and try again.",
    )
