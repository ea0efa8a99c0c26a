"""The tables of a state, in SQL that SQLite and PostgreSQL share.

Values are JSON texts (model/codec.py); beside them stand only the columns that SQL looks at.
"""

from __future__ import annotations

TABLES = (
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
        tool_version TEXT NOT NULL
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

ADD_META = (
    "INSERT INTO meta (id, format, lineage, serial, url, tenant, data_set, created, tool_version)"
    " VALUES (1, ?, ?, 0, ?, ?, ?, ?, ?)"
)
GET_META = "SELECT format, lineage, serial, url, tenant, data_set FROM meta WHERE id = 1"
BIND = "UPDATE meta SET url = ?, tenant = ?, data_set = ? WHERE id = 1"
NEXT_SERIAL = "UPDATE meta SET serial = serial + 1 WHERE id = 1"
SET_SERIAL = "UPDATE meta SET serial = ? WHERE id = 1"

ALL_RECORDS = "SELECT address, record FROM records ORDER BY address"
GET_RECORD = "SELECT record FROM records WHERE address = ?"
FIND_REMOTE = "SELECT address FROM records WHERE kind = ? AND api = ? AND remote_id = ?"
ADD_RECORD = "INSERT INTO records (address, kind, api, remote_id, record) VALUES (?, ?, ?, ?, ?)"
DROP_RECORD = "DELETE FROM records WHERE address = ?"

ALL_INTENTS = "SELECT id, intent FROM intents ORDER BY seq"
GET_INTENT = "SELECT intent FROM intents WHERE id = ?"
INTENT_AT = "SELECT intent FROM intents WHERE address = ? ORDER BY seq LIMIT 1"
ADD_INTENT = (
    "INSERT INTO intents (id, seq, address, intent)"
    " VALUES (?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM intents), ?, ?)"
)
DROP_INTENT = "DELETE FROM intents WHERE id = ?"

GET_PLAN = "SELECT applied FROM plans WHERE id = ?"
ADD_PLAN = "INSERT INTO plans (id, applied) VALUES (?, ?)"

ADD_AUDIT = (
    "INSERT INTO audit (seq, at, address, entry)"
    " VALUES ((SELECT COALESCE(MAX(seq), 0) + 1 FROM audit), ?, ?, ?)"
)
NEWEST_AUDIT = "SELECT entry FROM audit ORDER BY seq DESC LIMIT ?"
