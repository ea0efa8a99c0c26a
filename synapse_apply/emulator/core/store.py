"""How objects are stored: as JSON in one SQLite file, committed before the answer."""

# Table names in SQL are those of KINDS and never come from a request.
# ruff: noqa: S608

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["plugin", "release", "storage", "job", "agent"]
KINDS: tuple[Kind, ...] = ("plugin", "release", "storage", "job", "agent")
EVERY_TENANT = "*"
FORMAT = 1
# "SynE" in ASCII, in the header of every data set.
APPLICATION_ID = 0x53796E45


class DuplicateKeyError(Exception):
    """Another object of this kind, of any tenant, has the same natural key."""


class DataSetError(Exception):
    """The data set cannot be used; the message has reason and advice.

    `reason` is the message without the advice, for callers that have another one.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; {advice}")
        self.reason = reason


class StoredObject(NamedTuple):
    """One stored object; `key` is unique in its kind among all tenants.

    `parent` is the id of the object it belongs to; `created` is in seconds since the epoch.
    """

    id: int
    tenant: str
    key: str | None
    parent: int | None
    created: float
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ObjectQuery:
    """Which objects of a kind are selected; a condition that is None does not apply.

    `start_after_id`: only objects after this id in the chosen order. Times are in seconds since
    the epoch.
    """

    tenant: str | None = None
    parent: int | None = None
    created_after: float | None = None
    created_before: float | None = None
    includes_public: bool = False  # of other tenants
    newest_first: bool = False
    start_after_id: int | None = None

    def build_where_condition(self) -> tuple[str, list[Any]]:
        """What stands behind WHERE, and the values of its placeholders."""
        conditions, values = ["1"], list[Any]()
        if self.tenant is not None:
            public = " OR json_extract(body, '$.is_public')" if self.includes_public else ""
            conditions.append(f"(tenant IN (?, ?){public})")
            values += [self.tenant, EVERY_TENANT]
        for condition, value in (
            ("parent=?", self.parent),
            ("created>=?", self.created_after),
            ("created<?", self.created_before),
            ("id<?" if self.newest_first else "id>?", self.start_after_id),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        return " AND ".join(conditions), values


_MAX_CACHED_LISTS = 1000
_COLUMNS = "id, tenant, key, parent, created, body"


def _decode_row(values: tuple[Any, ...]) -> StoredObject:
    return StoredObject._make((*values[:-1], json.loads(values[-1])))


@dataclass(slots=True)
class _ListCache:
    """Counts of lists, and last ids before offsets, valid while `version` is the database's."""

    version: tuple[int, int]
    counts: dict[tuple[Kind, ObjectQuery], int] = field(default_factory=dict)
    last_ids: dict[tuple[Kind, ObjectQuery], dict[int, int]] = field(default_factory=dict)


class ObjectStore:
    """Stores objects as JSON by kind. Ids are never reused. Not safe for two threads at once."""

    def __init__(self, path: Path) -> None:
        self._list_cache = _ListCache((-1, -1))
        # Before SQLite makes it by the umask; the files beside it take its mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        # Opened on one thread and then used on the server's thread, never on both at once.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare_database(path)
        except (sqlite3.DatabaseError, DataSetError) as error:
            self._connection.close()
            if isinstance(error, DataSetError):
                raise
            reason = f"{path} is not a data set of the embedded backend ({error})"
            raise DataSetError(reason, "`emulator --reset` creates a new one") from None

    def _prepare_database(self, path: Path) -> None:
        execute = self._connection.execute
        self._require_own_database(path)
        # WAL with synchronous NORMAL loses nothing when the process is killed, without a flush to
        # disk for each request. A power loss may lose the last requests, which is accepted here.
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=NORMAL")
        format_version = execute("PRAGMA user_version").fetchone()[0]
        if format_version > FORMAT:
            raise DataSetError(
                f"a newer version wrote {path} (format {format_version}; this version reads "
                f"{FORMAT})",
                "update synapse-apply, or start again with `emulator --reset`",
            )
        # AUTOINCREMENT in these tables: the id of a deleted object is never given again.
        # The lock of a writer at once: of two servers that start together one would fail half-way.
        execute("BEGIN IMMEDIATE")
        execute("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        for kind in KINDS:
            execute(
                f"CREATE TABLE IF NOT EXISTS {kind} (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                "tenant TEXT NOT NULL, key TEXT UNIQUE, parent INTEGER, created REAL NOT NULL, "
                "body TEXT NOT NULL)"
            )
            execute(f"CREATE INDEX IF NOT EXISTS {kind}_of_tenant ON {kind} (tenant, parent, id)")
        execute("INSERT OR IGNORE INTO about VALUES ('data_set', ?)", (str(uuid.uuid4()),))
        execute(f"PRAGMA user_version={FORMAT}")
        execute(f"PRAGMA application_id={APPLICATION_ID}")
        execute("COMMIT")
        self.data_set: str = execute("SELECT value FROM about WHERE name='data_set'").fetchone()[0]

    def _require_own_database(self, path: Path) -> None:
        """Raises DataSetError for a database of another program, before anything is written to it.

        Data sets of earlier versions have no application id and are recognised by their tables.
        """
        execute = self._connection.execute
        (application_id,) = execute("PRAGMA application_id").fetchone()
        if application_id == APPLICATION_ID:
            return
        tables = {name for (name,) in execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if application_id or (tables and not tables >= {"about", *KINDS}):
            raise DataSetError(
                f"{path} is the database of another program", "give another folder with --data"
            )

    def close(self) -> None:
        self._connection.close()

    def find_setting(self, name: str) -> str | None:
        """The stored setting of this name; None if there is none."""
        statement = "SELECT value FROM about WHERE name=?"
        row = self._connection.execute(statement, (name,)).fetchone()
        return row[0] if row else None

    def write_setting(self, name: str, value: str) -> None:
        """Store a setting of this name."""
        self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @contextmanager
    def transaction(self, *, roll_back: bool = False) -> Iterator[None]:
        """Make all writes of the block, or none if it raises; may be nested.

        With `roll_back` they are undone in any case.
        """
        execute = self._connection.execute
        # A savepoint can be nested, unlike BEGIN.
        execute("SAVEPOINT step")
        try:
            yield
        except BaseException:
            roll_back = True
            raise
        finally:
            if roll_back:
                execute("ROLLBACK TO step")
            # Also after a rollback, which keeps the savepoint open.
            execute("RELEASE step")

    def find_tenant_number(self, tenant: str) -> int | None:
        """The number of a tenant, assigned at the first call; None of a system object's."""
        if tenant == EVERY_TENANT:
            return None
        execute, name = self._connection.execute, f"tenant {tenant}"
        execute(
            "INSERT OR IGNORE INTO about SELECT ?, 1 + count(*) FROM about "
            "WHERE name LIKE 'tenant %'",
            (name,),
        )
        return int(execute("SELECT value FROM about WHERE name=?", (name,)).fetchone()[0])

    def is_name_used(self, kind: Kind, tenant: str, name: str, *, except_id: int = 0) -> bool:
        """Whether a tenant has an object of this name, other than that with `except_id`."""
        row = self._connection.execute(
            f"SELECT 1 FROM {kind} WHERE tenant=? AND id<>? AND json_extract(body, '$.name')=?",
            (tenant, except_id, name),
        ).fetchone()
        return row is not None

    def insert(
        self,
        kind: Kind,
        tenant: str,
        body: dict[str, Any],
        *,
        created: float,
        key: str | None = None,
        parent: int | None = None,
    ) -> StoredObject:
        """Store a new object. Raises DuplicateKeyError."""
        # Read back from the text: the caller may change its `body` afterwards.
        text = json.dumps(body)
        try:
            cursor = self._connection.execute(
                f"INSERT INTO {kind} (tenant, key, parent, created, body) VALUES (?,?,?,?,?)",
                (tenant, key, parent, created, text),
            )
        except sqlite3.IntegrityError:
            raise DuplicateKeyError(key) from None
        return StoredObject(cursor.lastrowid or 0, tenant, key, parent, created, json.loads(text))

    def replace(
        self, kind: Kind, row: StoredObject, body: dict[str, Any], *, key: str | None
    ) -> StoredObject:
        """Store another body and key for an object. Raises DuplicateKeyError."""
        text = json.dumps(body)
        try:
            self._connection.execute(
                f"UPDATE {kind} SET body=?, key=? WHERE id=?", (text, key, row.id)
            )
        except sqlite3.IntegrityError:
            raise DuplicateKeyError(key) from None
        return StoredObject(row.id, row.tenant, key, row.parent, row.created, json.loads(text))

    def delete(self, kind: Kind, identity: int) -> None:
        self._connection.execute(f"DELETE FROM {kind} WHERE id=?", (identity,))

    def delete_all(self, kind: Kind) -> None:
        """Delete all objects of a kind, of all tenants; the ids of deleted ones are not reused."""
        self._connection.execute(f"DELETE FROM {kind}")

    def find_by_id(
        self, kind: Kind, identity: int, tenant: str | None = None
    ) -> StoredObject | None:
        """The object with an id, else None; with a tenant, only its own or a system object."""
        # sqlite3 raises OverflowError for an integer of more than 64 bits.
        if not 0 < identity < 2**63:
            return None
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM {kind} WHERE id=? AND (? IS NULL OR tenant IN (?, ?))",
            (identity, tenant, tenant, EVERY_TENANT),
        ).fetchone()
        return _decode_row(row) if row else None

    def find_by_key_of_any_tenant(self, kind: Kind, key: str) -> StoredObject | None:
        """The object with a natural key, of any tenant; None without one."""
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM {kind} WHERE key=?", (key,)
        ).fetchone()
        return _decode_row(row) if row else None

    def select(
        self, kind: Kind, query: ObjectQuery, *, limit: int = -1, offset: int = 0
    ) -> list[StoredObject]:
        """The objects of a query, ordered by id: at most `limit`, after the first `offset`."""
        last_ids = self._fresh_list_cache().last_ids.setdefault((kind, query), {})
        # OFFSET reads all skipped rows. From the last id of an earlier page it skips few.
        # Pages may be asked for in any order: the ends of 64 earlier ones are tried.
        earlier_offsets = range(offset, max(offset - 64 * limit, 0), -limit) if limit > 0 else ()
        nearest_offset = next(filter(last_ids.__contains__, earlier_offsets), 0)
        if nearest_offset:
            query = replace(query, start_after_id=last_ids[nearest_offset])
        rows = list(self.iter_objects(kind, query, limit=limit, offset=offset - nearest_offset))
        if len(rows) == limit:
            last_ids[offset + limit] = rows[-1].id
        return rows

    def iter_objects(
        self, kind: Kind, query: ObjectQuery, *, limit: int = -1, offset: int = 0
    ) -> Iterator[StoredObject]:
        """As `select`, but read from the database one by one."""
        conditions, values = query.build_where_condition()
        order = "DESC" if query.newest_first else "ASC"
        # In the order of the primary key: with the index on tenants SQLite would sort all rows for
        # each page.
        index_hint = "NOT INDEXED" if query.parent is None else ""
        cursor = self._connection.execute(
            f"SELECT {_COLUMNS} FROM {kind} {index_hint} WHERE {conditions} "
            f"ORDER BY id {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return (_decode_row(values) for values in cursor)

    def count(self, kind: Kind, query: ObjectQuery) -> int:
        counts = self._fresh_list_cache().counts
        if (kind, query) not in counts:
            conditions, values = query.build_where_condition()
            counts[kind, query] = self._connection.execute(
                f"SELECT count(*) FROM {kind} WHERE {conditions}", values
            ).fetchone()[0]
        return counts[kind, query]

    def _fresh_list_cache(self) -> _ListCache:
        """The cache, emptied if anything was written since, or within a transaction."""
        # `total_changes` counts writes of this connection, `data_version` changes with another's.
        (other_changes,) = self._connection.execute("PRAGMA data_version").fetchone()
        version = (self._connection.total_changes, other_changes)
        is_full = len(self._list_cache.last_ids) + len(self._list_cache.counts) > _MAX_CACHED_LISTS
        if self._connection.in_transaction or is_full or self._list_cache.version != version:
            self._list_cache = _ListCache(version)
        return self._list_cache
