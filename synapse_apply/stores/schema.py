"""Which tables, columns and SQL statements a state consists of, for SQLite and PostgreSQL alike.

Values are JSON texts (model/codec.py); only what SQL has to select by has its own column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, TypeVar

from synapse_apply.model import codec
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.state import AuditEntry, Intent, Record
from synapse_apply.stores.database import Statement
from synapse_apply.stores.state_messages import fault

CREATE_STATEMENTS = (
    """
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        lineage TEXT NOT NULL,
        serial BIGINT NOT NULL,
        url TEXT NOT NULL,
        tenant TEXT NOT NULL,
        data_set TEXT NOT NULL,
        created TEXT NOT NULL,
        tool_version TEXT NOT NULL,
        fence BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE lock (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        owner TEXT NOT NULL,
        token BIGINT NOT NULL,
        counter BIGINT NOT NULL,
        host TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        pid BIGINT NOT NULL,
        started TEXT NOT NULL,
        operation TEXT NOT NULL,
        who TEXT NOT NULL,
        run_url TEXT NOT NULL,
        since TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE records (
        address TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        api TEXT NOT NULL,
        remote_id TEXT NOT NULL,
        record TEXT NOT NULL
    )
    """,
    # No remote object may be recorded under two addresses.
    "CREATE UNIQUE INDEX records_remote ON records (kind, api, remote_id)",
    """
    CREATE TABLE intents (
        id TEXT PRIMARY KEY,
        seq BIGINT NOT NULL UNIQUE,
        address TEXT NOT NULL,
        intent TEXT NOT NULL
    )
    """,
    "CREATE INDEX intents_address ON intents (address)",
    # A saved plan is applied once: its row stays. See also the rows below, which are no plans.
    "CREATE TABLE plans (id TEXT PRIMARY KEY, applied TEXT NOT NULL)",
    """
    CREATE TABLE audit (
        seq BIGINT PRIMARY KEY,
        at TEXT NOT NULL,
        address TEXT NOT NULL,
        entry TEXT NOT NULL
    )
    """,
)

CREATE_TABLES: list[Statement] = [(text, ()) for text in CREATE_STATEMENTS]

# Of each CREATE TABLE: the name of each column and its type.
_COLUMN_TYPES = {
    table[1]: dict(column.split()[:2] for column in table[2].split(","))
    for text in CREATE_STATEMENTS
    if (table := re.fullmatch(r"\s*CREATE TABLE (\w+) \((.*)\)\s*", text, re.DOTALL))
}
# Every table with its columns, in the order in which rows are copied table by table.
TABLE_COLUMNS = {table: tuple(types) for table, types in _COLUMN_TYPES.items()}
# Columns that hold integers; all others hold text, but for `id`. Those of the lock are NULL in
# GET_META while nobody holds it.
NUMBER_COLUMNS = {
    column
    for types in _COLUMN_TYPES.values()
    for column, type_name in types.items()
    if type_name != "TEXT" and column != "id"
}
_NULLABLE_COLUMNS = frozenset(("owner", "token"))
# The greatest accepted integer; a BIGINT has room above it, so that adding one never overflows.
LARGEST_NUMBER = 2**62


@cache
def list_allowed_cell_types(column: str) -> frozenset[type]:
    """The Python types that a cell of this result column may have.

    A name that is no identifier is an expression such as COUNT(*), which gives an integer.
    """
    types: set[type] = {int} if column in NUMBER_COLUMNS or not column.isidentifier() else {str}
    if column in _NULLABLE_COLUMNS:
        types.add(NoneType)
    if column == "id":
        types.add(int)  # of `meta` and `lock`, which have one row
    return frozenset(types)


def build_select_all_rows(table: str) -> str:
    """The SELECT of all rows of a table, with the columns of TABLE_COLUMNS."""
    return f"SELECT {', '.join(TABLE_COLUMNS[table])} FROM {table}"  # noqa: S608 - names of our own


@cache
def build_insert_many(table: str, count: int) -> str:
    """The INSERT of `count` rows with the columns of TABLE_COLUMNS."""
    columns = TABLE_COLUMNS[table]
    row_placeholders = f"({', '.join('?' * len(columns))})"
    all_placeholders = ", ".join([row_placeholders] * count)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {all_placeholders}"  # noqa: S608


def build_insert(table: str) -> str:
    """The INSERT of one row with the columns of TABLE_COLUMNS."""
    return build_insert_many(table, 1)


@cache
def append_in_clause(statement_head: str, count: int) -> str:
    """The statement with `IN (?, ...)` for `count` values of the column that its head ends with."""
    return f"{statement_head} IN ({', '.join('?' * count)})"


@cache
def select_addresses_by_ids(count: int) -> str:
    """The SELECT of address, kind, API version and id by `count` triples (kind, api, id)."""
    condition = "(kind = ? AND api = ? AND remote_id = ?)"
    return (
        "SELECT address, kind, api, remote_id FROM records WHERE "  # noqa: S608
        f"{' OR '.join([condition] * count)}"
    )


ADD_META = build_insert("meta")
# One row has all that a write checks: format, identity, and the owner of the lock.
GET_META = (
    "SELECT format, lineage, serial, url, tenant, data_set, fence, owner, token"
    " FROM meta LEFT JOIN lock ON lock.id = meta.id WHERE meta.id = 1"
)
# Where they are in that row.
FENCE_INDEX, OWNER_SLICE = 6, slice(7, 9)
SET_IDENTITY = "UPDATE meta SET url = ?, tenant = ?, data_set = ? WHERE id = 1"
ADD_TO_SERIAL = "UPDATE meta SET serial = serial + ? WHERE id = 1"
# The last numbers of intents and audit entries; each is read at the end of an index.
GET_LAST_NUMBERS = (
    "SELECT (SELECT COALESCE(MAX(seq), 0) FROM intents), (SELECT COALESCE(MAX(seq), 0) FROM audit)"
)
SET_SERIAL = "UPDATE meta SET serial = ? WHERE id = 1"
SET_FORMAT = "UPDATE meta SET format = ? WHERE id = 1"

GET_LOCK = f"{build_select_all_rows('lock')} WHERE id = 1"
ADD_LOCK = build_insert("lock")
DROP_LOCK = "DELETE FROM lock"
RELEASE_LOCK = "DELETE FROM lock WHERE owner = ?"
COUNT_HEARTBEAT = "UPDATE lock SET counter = counter + 1 WHERE id = 1 AND owner = ?"
# The token of the last lock owner, which stays while nobody holds the lock.
SET_FENCE = "UPDATE meta SET fence = ? WHERE id = 1"

# Without ORDER BY: the collations of databases differ, so that addresses are sorted in Python.
ALL_RECORDS = "SELECT address, record FROM records"
COUNT_RECORDS = "SELECT COUNT(*) FROM records"
GET_RECORD = "SELECT record FROM records WHERE address = ?"
# Completed by `append_in_clause`.
SELECT_INTENTS_BY_ID, DROP_INTENTS = (
    "SELECT id, intent FROM intents WHERE id",
    "DELETE FROM intents WHERE id",
)
SELECT_RECORDS_BY_ADDRESS = "SELECT address, record FROM records WHERE address"
DROP_RECORDS = "DELETE FROM records WHERE address"
FIND_REMOTE = "SELECT address FROM records WHERE kind = ? AND api = ? AND remote_id = ?"
ADD_RECORD = "INSERT INTO records (address, kind, api, remote_id, record) VALUES (?, ?, ?, ?, ?)"
DROP_RECORD = "DELETE FROM records WHERE address = ?"

ALL_INTENTS = "SELECT id, intent FROM intents ORDER BY seq"
GET_INTENT = "SELECT intent FROM intents WHERE id = ?"
GET_INTENTS_OF_ADDRESS = "SELECT intent FROM intents WHERE address = ? ORDER BY seq"
ADD_INTENT = (
    "INSERT INTO intents (id, seq, address, intent)"
    " VALUES (?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM intents), ?, ?)"
)
SET_INTENT = "UPDATE intents SET intent = ? WHERE id = ?"

GET_PLAN = "SELECT applied FROM plans WHERE id = ?"
ADD_PLAN = "INSERT INTO plans (id, applied) VALUES (?, ?)"

# The ids of `ProjectAndKeyIds` are rows of `plans` that no plan has, since a plan's id is a UUID. A
# table or a column of their own would be missing in states of earlier versions, which ignore these.
SHARED_ROWS = PROJECT_ROW, KEY_ROW, TARGET_ROW = "shared project", "shared key", "shared target"
DROP_PLAN = "DELETE FROM plans WHERE id = ?"
# An approval that is used up is such a row, too: it is copied and restored as used plans are.
APPROVAL_PREFIX = "approval:"
# Completed by `append_in_clause`.
SELECT_PLANS_BY_ID, DROP_PLANS = "SELECT id FROM plans WHERE id", "DELETE FROM plans WHERE id"

ADD_AUDIT = (
    "INSERT INTO audit (seq, at, address, entry)"
    " VALUES ((SELECT COALESCE(MAX(seq), 0) + 1 FROM audit), ?, ?, ?)"
)
ALL_PLANS = "SELECT id, applied FROM plans"
ALL_AUDIT = "SELECT entry FROM audit ORDER BY seq"
NEWEST_AUDIT = "SELECT entry FROM audit ORDER BY seq DESC LIMIT ?"


T = TypeVar("T")


_CODECS: Mapping[type[Any], tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    Record: (codec.record_to_json, codec.record_from_json),
    Intent: (codec.intent_to_json, codec.intent_from_json),
    AuditEntry: (codec.audit_entry_to_json, codec.audit_entry_from_json),
}


def encode(value: Record | Intent | AuditEntry, location: str) -> str:
    """The canonical JSON of a value; TypeError for a secret, StateError if nested too deep."""
    to_json, _ = _CODECS[type(value)]
    try:
        return format_canonical_json(to_json(value))
    except (ValueError, RecursionError) as problem:
        raise fault("unstorable", location, reason=problem) from None


def decode(kind: type[T], text: str, location: str, row_label: str) -> T:
    """The value in a row's text; StateError (damaged) if it is not what `encode` writes.

    `row_label` names the row in messages.
    """
    _, from_json = _CODECS[kind]
    try:
        value: T = from_json(json.loads(text))
    except json.JSONDecodeError:
        raise fault("damaged", location, reason=f"{row_label} is not JSON") from None
    except (ValueError, RecursionError) as problem:
        raise fault("damaged", location, reason=f"{row_label}: {problem}") from None
    return value
