"""What a database or a file system reports, as a person reads it."""

from __future__ import annotations

import ast
import errno
import os
import re
import sqlite3
from pathlib import Path

import pytest

from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.stores import state_messages
from synapse_apply.stores.sqlite.sqlite_database import telling_state_errors
from synapse_apply.stores.state_messages import fault

NOT_TAKEN = "The state cannot be read or written on this disk"


def sqlite_error(code, text):
    """An error as the sqlite3 module raises it."""
    problem = sqlite3.OperationalError(text)
    problem.sqlite_errorcode = code
    return problem


@pytest.mark.parametrize(
    ("problem", "summary"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full"), "The disk is full"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "The disk is full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "The state cannot be written"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED, "moved"), "The state cannot be written"),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN, "cannot open"), "The state cannot be written"),
        (sqlite_error(sqlite3.SQLITE_BUSY_TIMEOUT, "locked"), "The state is busy"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX, "malformed"), "The state is damaged"),
        (sqlite_error(sqlite3.SQLITE_NOTADB, "no"), "This is not a state of synapse-apply"),
        (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error"), NOT_TAKEN),
        (sqlite3.ProgrammingError("closed"), "The state cannot be used"),
    ],
)
def test_each_failure_says_what_and_where(problem, summary):
    """And hides the traceback of the database."""
    with (
        pytest.raises(StateError) as caught,
        telling_state_errors("/there/state.db", "Writing"),
    ):
        raise problem
    (finding,) = caught.value.diagnostics
    assert finding.summary == summary
    assert "/there/state.db" in finding.detail
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_failure_to_read_is_not_called_a_failure_to_write():
    """The first word decides."""
    problem = PermissionError(errno.EACCES, "Permission denied")
    with (
        pytest.raises(StateError, match="cannot be read"),
        telling_state_errors("x", "Reading"),
    ):
        raise problem


def test_our_own_findings_pass_unchanged():
    """A lock held is still a lock held."""
    held = LockHeld()
    with pytest.raises(LockHeld) as caught, telling_state_errors("x", "Writing"):
        raise held
    assert caught.value is held


def test_commands_name_the_target_of_the_reader():
    """Those of the table, and those that the caller gives."""
    (finding,) = fault("missing", "/there").diagnostics
    assert "`synapse-apply state init -t prod`" in name_target_in_commands(finding, "prod").hint


def test_who_names_a_rule_gives_what_its_texts_name():
    """What is missing would be a KeyError in place of the error."""
    checked = 0
    for path in Path(state_messages.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("fault", "warning"):
                given = {keyword.arg for keyword in call.keywords}
                if isinstance(call.args[0], ast.Constant) and None not in given:
                    texts = " ".join(map(str, state_messages._MESSAGES[call.args[0].value]))
                    assert {*re.findall(r"{(\w+)}", texts)} <= {"location", *given}, call.lineno
                    checked += 1
    assert checked > 40
