"""A PostgreSQL server for one measurement, and what the store of a fleet says in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from benchmarks.fleets.watching import SCHEMA
from postgres.server import PostgresServer


class Database:
    """The server; `url` is the address of the store."""

    def __init__(self, server: PostgresServer) -> None:
        self.url = server.url()
        self.process_id: int = server._pid
        self._connection = psycopg.connect(self.url, autocommit=True)
        self._connection.execute(f"SET search_path TO {SCHEMA}, public")

    def list_claims(self, process_id: int) -> dict[str, int]:
        """The targets that a process has, with the epoch of each claim."""
        rows = self._connection.execute(
            "SELECT target, epoch FROM targets WHERE holder LIKE %s", [f"%:{process_id}:%"]
        )
        return dict(rows.fetchall())

    def wait_until_taken_over(self, process_id: int, claims: dict[str, int], most: float) -> float:
        """Wait until a process has none of its claims; how long the last one took."""
        begun = time.monotonic()
        while time.monotonic() - begun < most:
            now = self.list_claims(process_id)
            if all(now.get(name, 0) != epoch for name, epoch in claims.items()):
                break
            time.sleep(0.2)
        return time.monotonic() - begun if claims else 0.0

    def count_looks_around(self, when: float) -> tuple[float, float]:
        """Looks a second in the ten seconds before a time and in those after it."""
        statement = "SELECT COUNT(*) FROM targets WHERE looked_at BETWEEN %s AND %s"
        rates = []
        for begin in (when - 10, when):
            (count,) = self._connection.execute(statement, [begin, begin + 10]).fetchone()
            rates.append(count / 10)
        return rates[0], rates[1]

    def count_bytes(self) -> int:
        """Of all tables and indexes of the store."""
        statement = (
            "SELECT COALESCE(SUM(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN (%s, 'public') AND c.relkind = 'r'"
        )
        (count,) = self._connection.execute(statement, [SCHEMA]).fetchone()
        return int(count)


@contextmanager
def serve_database() -> Iterator[Database]:
    """A server of its own meanwhile."""
    server = PostgresServer()
    try:
        server.start()
        yield Database(server)
    finally:
        server.remove()
