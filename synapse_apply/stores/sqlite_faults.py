"""SQLite's and the file system's errors in words: what happened, where, and what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import StateError
from synapse_apply.stores import faults

PRIMARY = 0xFF  # extended result codes keep the primary one in the low byte


@contextmanager
def in_words(where: str, doing: str) -> Iterator[None]:
    """Turn an error of the block into a StateError that names the place."""
    try:
        yield
    except sqlite3.Error as problem:
        raise _explain(problem, where, doing) from None
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(where, doing, problem.strerror or "no space left") from None
        raise faults.unusable(where, doing, problem.strerror or str(problem)) from None
    except UnicodeEncodeError:
        raise faults.unstorable(where, "a text is not valid Unicode") from None


def _explain(problem: sqlite3.Error, where: str, doing: str) -> StateError:
    code = getattr(problem, "sqlite_errorcode", 0) & PRIMARY
    if code == sqlite3.SQLITE_NOTADB:
        return faults.foreign(where, "is not an SQLite database")
    if code == sqlite3.SQLITE_CORRUPT:
        return faults.damaged(where, str(problem))
    if code == sqlite3.SQLITE_FULL:
        return _full(where, doing, str(problem))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return faults.unusable(where, doing, str(problem))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        who = "another process is in the middle of a write, or was stopped there"
        return faults.busy(where, doing, who, "Let it go on or end it, then try again.")
    if code == sqlite3.SQLITE_IOERR:
        return _not_taken(where, doing, str(problem))
    if str(problem).startswith("no such "):
        return faults.damaged(where, str(problem))
    return StateError(error("The state cannot be used", f"{doing} {where} failed: {problem}."))


def _not_taken(where: str, doing: str, why: str) -> StateError:
    """A quota and a limit on the size of files come as this, not as a full disk."""
    return StateError(
        error(
            "The disk does not take or give the state",
            f"{doing} {where} failed: {why}. What was recorded before is whole.",
            "Check quota, limits (ulimit -f) and the health of the disk, then try again.",
        )
    )


def _full(where: str, doing: str, why: str) -> StateError:
    return StateError(
        error(
            "The disk is full",
            f"{doing} {where} failed: {why}. What was recorded before is whole.",
            "Free some space there and try again.",
        )
    )
