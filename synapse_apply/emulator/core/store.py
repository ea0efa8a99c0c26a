"""The data set: one SQLite file, committed before any answer."""

# Table names are of KINDS, never from outside.
# ruff: noqa: S608

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Kind = Literal["plugin", "release", "storage", "job", "agent"]
KINDS: tuple[Kind, ...] = ("plugin", "release", "storage", "job", "agent")
EVERY_TENANT = "*"
FORMAT = 1
# "SynE" in ASCII, in the header of every data set.
APPLICATION_ID = 0x53796E45


class DuplicateKeyError(Exception):
    """Another object of this kind, of any tenant, has this natural key."""


class DataSetError(Exception):
    """The data set cannot be used; the message says why and what to do.

    `why` is the message without what to do, for who has another way out.
    """

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(f"{why}; {advice}")
        self.why = why


@dataclass(frozen=True, slots=True)
class Row:
    """One stored object. `key` is unique in its kind over all tenants; `created` in seconds."""

    id: int
    tenant: str
    key: str | None
    parent: int | None
    created: float
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which objects of a kind: None does not narrow (a tenant of None means all tenants).

    `beyond` is an id: only what comes after it in the chosen order.
    """

    tenant: str | None = None
    parent: int | None = None
    created_after: float | None = None
    created_before: float | None = None
    with_public: bool = False  # of other tenants
    newest_first: bool = False
    beyond: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        tests, values = ["1"], list[Any]()
        if self.tenant is not None:
            public = " OR json_extract(body, '$.is_public')" if self.with_public else ""
            tests.append(f"(tenant IN (?, ?){public})")
            values += [self.tenant, EVERY_TENANT]
        if self.parent is not None:
            tests.append("parent=?")
            values.append(self.parent)
        if self.created_after is not None:
            tests.append("created>=?")
            values.append(self.created_after)
        if self.created_before is not None:
            tests.append("created<?")
            values.append(self.created_before)
        if self.beyond is not None:
            tests.append("id<?" if self.newest_first else "id>?")
            values.append(self.beyond)
        return " AND ".join(tests), values


_MOST_LISTS = 1000
_COLUMNS = "id, tenant, key, parent, created, body"


def _row(values: tuple[Any, ...]) -> Row:
    identity, tenant, key, parent, created, body = values
    return Row(identity, tenant, key, parent, created, json.loads(body))


@dataclass(slots=True)
class _Known:
    """Of lists that nothing was written to since: counts, and the last id before an offset."""

    at: tuple[int, int]
    counts: dict[tuple[Kind, Wanted], int] = field(default_factory=dict)
    places: dict[tuple[Kind, Wanted], dict[int, int]] = field(default_factory=dict)


class Store:
    """Objects as JSON by kind. Ids are never used twice. Not for use by two threads at once."""

    def __init__(self, path: Path) -> None:
        self._lists = _Known((-1, -1))
        # The connection is made on one thread and used on the server's; never by both at once.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(path)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise DataSetError(
                f"{path} is not a data set of the embedded backend ({error})",
                "`emulator reset` starts a new one",
            ) from None
        except DataSetError:
            self._connection.close()
            raise

    def _prepare(self, path: Path) -> None:
        run = self._connection.execute
        self._check_is_ours(path)
        # A process that is killed loses nothing that SQLite handed to the system: WAL with
        # synchronous NORMAL gives that without a disk flush for each request.
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        found = run("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            raise DataSetError(
                f"{path} was written by a newer version (format {found}, this one knows {FORMAT})",
                "update, or start anew with `emulator reset`",
            )
        run("BEGIN IMMEDIATE")
        run("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        for kind in KINDS:
            run(
                f"CREATE TABLE IF NOT EXISTS {kind} (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                "tenant TEXT NOT NULL, key TEXT UNIQUE, parent INTEGER, created REAL NOT NULL, "
                "body TEXT NOT NULL)"
            )
            run(f"CREATE INDEX IF NOT EXISTS {kind}_of_tenant ON {kind} (tenant, parent, id)")
        run("INSERT OR IGNORE INTO about VALUES ('data_set', ?)", (str(uuid.uuid4()),))
        run(f"PRAGMA user_version={FORMAT}")
        run(f"PRAGMA application_id={APPLICATION_ID}")
        run("COMMIT")
        self.data_set: str = run("SELECT value FROM about WHERE name='data_set'").fetchone()[0]

    def _check_is_ours(self, path: Path) -> None:
        """Raises DataSetError for a database of another program, in which nothing is made.

        Data sets of earlier versions have no id and are known by their tables.
        """
        run = self._connection.execute
        (found,) = run("PRAGMA application_id").fetchone()
        if found == APPLICATION_ID:
            return
        tables = {name for (name,) in run("SELECT name FROM sqlite_master WHERE type='table'")}
        if found or (tables and not tables >= {"about", *KINDS}):
            raise DataSetError(
                f"{path} is a database of another program",
                "give another folder with --data",
            )

    def close(self) -> None:
        self._connection.close()

    def read_setting(self, name: str) -> str | None:
        """What the data set keeps under that name; None where it keeps nothing."""
        where = "SELECT value FROM about WHERE name=?"
        found = self._connection.execute(where, (name,)).fetchone()
        return found[0] if found else None

    def write_setting(self, name: str, value: str) -> None:
        """Keep a value under that name from now on."""
        self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @contextmanager
    def transaction(self, *, undone: bool = False) -> Iterator[None]:
        """All writes inside or none; `undone`: none in any case. May stand inside another."""
        run = self._connection.execute
        run("SAVEPOINT step")
        try:
            yield
        except BaseException:
            undone = True
            raise
        finally:
            if undone:
                run("ROLLBACK TO step")
            run("RELEASE step")

    def tenant_number(self, tenant: str) -> int:
        """The integer id of a tenant, given to it when it is first asked for."""
        run, name = self._connection.execute, f"tenant {tenant}"
        run(
            "INSERT OR IGNORE INTO about SELECT ?, 1 + count(*) FROM about "
            "WHERE name LIKE 'tenant %'",
            (name,),
        )
        number = run("SELECT value FROM about WHERE name=?", (name,)).fetchone()[0]
        return int(number)

    def is_named(self, kind: Kind, tenant: str, name: str, *, apart: int = 0) -> bool:
        """Whether a tenant has an object of this name, apart from the one with that id."""
        found = self._connection.execute(
            f"SELECT 1 FROM {kind} WHERE tenant=? AND id<>? AND json_extract(body, '$.name')=?",
            (tenant, apart, name),
        ).fetchone()
        return found is not None

    def insert(
        self,
        kind: Kind,
        tenant: str,
        body: dict[str, Any],
        *,
        created: float,
        key: str | None = None,
        parent: int | None = None,
    ) -> Row:
        """Store a new object. Raises DuplicateKeyError."""
        text = json.dumps(body)
        try:
            cursor = self._connection.execute(
                f"INSERT INTO {kind} (tenant, key, parent, created, body) VALUES (?,?,?,?,?)",
                (tenant, key, parent, created, text),
            )
        except sqlite3.IntegrityError:
            raise DuplicateKeyError(key) from None
        return Row(cursor.lastrowid or 0, tenant, key, parent, created, json.loads(text))

    def replace(self, kind: Kind, row: Row, body: dict[str, Any], *, key: str | None) -> Row:
        """Store another body and key for an object. Raises DuplicateKeyError."""
        text = json.dumps(body)
        try:
            self._connection.execute(
                f"UPDATE {kind} SET body=?, key=? WHERE id=?", (text, key, row.id)
            )
        except sqlite3.IntegrityError:
            raise DuplicateKeyError(key) from None
        return Row(row.id, row.tenant, key, row.parent, row.created, json.loads(text))

    def delete(self, kind: Kind, identity: int) -> None:
        self._connection.execute(f"DELETE FROM {kind} WHERE id=?", (identity,))

    def get(self, kind: Kind, identity: int, tenant: str | None = None) -> Row | None:
        """One object by id; with a tenant, only if it is that tenant's."""
        if not 0 < identity < 2**63:
            return None
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM {kind} WHERE id=? AND (? IS NULL OR tenant IN (?, ?))",
            (identity, tenant, tenant, EVERY_TENANT),
        ).fetchone()
        return _row(found) if found else None

    def find(self, kind: Kind, key: str) -> Row | None:
        """One object by natural key, of any tenant."""
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM {kind} WHERE key=?", (key,)
        ).fetchone()
        return _row(found) if found else None

    def select(self, kind: Kind, wanted: Wanted, *, limit: int = -1, offset: int = 0) -> list[Row]:
        """Objects by id; at most `limit` of them, from `offset` on."""
        places = self._known().places.setdefault((kind, wanted), {})
        near = max((at for at in _before(offset, limit) if at in places), default=0)
        after = replace(wanted, beyond=places[near]) if near else wanted
        rows = list(self.walk(kind, after, limit=limit, offset=offset - near))
        if len(rows) == limit:
            places[offset + limit] = rows[-1].id
        return rows

    def walk(
        self, kind: Kind, wanted: Wanted, *, limit: int = -1, offset: int = 0
    ) -> Iterator[Row]:
        """As `select`, one by one as they are taken."""
        tests, values = wanted.where()
        order = "DESC" if wanted.newest_first else "ASC"
        # By id as they lie there: an index on tenants would have all of them sorted for each page.
        way = "NOT INDEXED" if wanted.parent is None else ""
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM {kind} {way} WHERE {tests} "
            f"ORDER BY id {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return (_row(values) for values in found)

    def count(self, kind: Kind, wanted: Wanted) -> int:
        counts = self._known().counts
        if (kind, wanted) not in counts:
            tests, values = wanted.where()
            counts[kind, wanted] = self._connection.execute(
                f"SELECT count(*) FROM {kind} WHERE {tests}", values
            ).fetchone()[0]
        return counts[kind, wanted]

    def _known(self) -> _Known:
        """What is known of lists as they are now; of what may be undone nothing is kept."""
        (others,) = self._connection.execute("PRAGMA data_version").fetchone()
        now = (self._connection.total_changes, others)
        many = len(self._lists.places) + len(self._lists.counts) > _MOST_LISTS
        if self._connection.in_transaction or many or self._lists.at != now:
            self._lists = _Known(now)
        return self._lists


def _before(offset: int, limit: int) -> tuple[int, ...]:
    """Where the page before may have ended, and some before that: pages may come out of order."""
    return tuple(offset - limit * pages for pages in range(64)) if limit > 0 else ()
