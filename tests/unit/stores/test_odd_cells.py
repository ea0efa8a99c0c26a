"""Cells of a state that hold what their columns were not made for are damage, told as such."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from synapse_apply.model.errors import StateError
from synapse_apply.stores import schema
from synapse_apply.stores.snapshot import require_known_format
from synapse_apply.stores.sqlite.sqlite_database import make_checking_runner


@pytest.fixture
def state():
    """Tables of a state with a row each, in memory."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for table in schema.CREATE_STATEMENTS:
            connection.execute(table)
        meta = (1, 1, "lineage", 0, "url", "", "", "", "", 0)
        connection.execute(schema.ADD_META, meta)
        connection.execute(schema.ADD_INTENT, ("id", "plugin/p", "{}"))
        yield connection


def test_a_sound_state_is_read(state):
    run = make_checking_runner(state, "here")
    assert require_known_format(run, "here")[0] == 1
    assert run(schema.GET_LAST_NUMBERS, ()) == [(1, 0)]
    assert run(schema.ALL_INTENTS, ()) == [("id", "{}")]


@pytest.mark.parametrize("value", [b"\x00", "1x", 1.5, 2**62 + 1])
@pytest.mark.parametrize("column", ["format", "serial", "fence"])
def test_a_number_of_another_type(state, column, value):
    state.execute(f"UPDATE meta SET {column} = ?", (value,))
    with pytest.raises(StateError) as caught:
        require_known_format(make_checking_runner(state, "here"), "here")
    assert f"column {column} has a value that no state has" in caught.value.diagnostics[0].detail


@pytest.mark.parametrize("value", [b"{}", b"\xff", 7, 1.5])
def test_a_text_of_another_type(state, value):
    """A column of texts turns numbers into texts, so it is made without a type here."""
    state.execute("ALTER TABLE intents RENAME TO old")
    state.execute("CREATE TABLE intents (id, seq, address, intent)")
    state.execute("INSERT INTO intents VALUES ('id', 1, 'plugin/p', ?)", (value,))
    with pytest.raises(StateError, match="The state is damaged"):
        make_checking_runner(state, "here")(schema.ALL_INTENTS, ())


@pytest.mark.parametrize("value", [b"9", "9x", 2.5])
def test_a_number_that_the_next_one_is_made_from(state, value):
    state.execute("UPDATE intents SET seq = ?", (value,))
    with pytest.raises(StateError, match="The state is damaged"):
        make_checking_runner(state, "here")(schema.GET_LAST_NUMBERS, ())


def test_a_read_that_fails_half_way_holds_no_lock(tmp_path):
    """Who comes after it may write."""
    file = tmp_path / "state.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as one:
        one.execute("CREATE TABLE intents (id, intent, seq)")
        one.execute("INSERT INTO intents VALUES ('a', '{}', 1), ('b', CAST(x'ff' AS TEXT), 2)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            make_checking_runner(one, "here")(schema.ALL_INTENTS, ())
        with closing(sqlite3.connect(file, timeout=0.1, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            other.execute("COMMIT")
    assert "decode" in str(caught.value)
