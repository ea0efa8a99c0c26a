"""When each target was looked at, and how late, as the store of a running controller says."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

# A target as it was read: its name, when it was due, and when it was last looked at (0: never).
Row = tuple[str, float, float]
_STATEMENT = "SELECT target, due_at, looked_at FROM targets WHERE is_gone = 0"
_SECONDS_BETWEEN = 3.0
# Of the store, in a database; see `store/postgres_database.py`.
SCHEMA = "synapse_apply_controller"


def build_sqlite_reader(file: Path) -> Callable[[], Sequence[Row]]:
    """What reads the targets of a store in a file; none before it is there."""

    def read() -> Sequence[Row]:
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                return database.execute(_STATEMENT).fetchall()
        except sqlite3.Error:
            return []

    return read


def build_postgresql_reader(url: str) -> Callable[[], Sequence[Row]]:
    """What reads the targets of a store in a database; none before it is there."""
    import psycopg

    connection = psycopg.connect(url, autocommit=True)
    connection.execute(f"SET search_path TO {SCHEMA}")

    def read() -> Sequence[Row]:
        with suppress(psycopg.Error):
            return connection.execute(_STATEMENT).fetchall()
        return []

    return read


@dataclass
class LookWatch:
    """Reads the targets every few seconds. Times are seconds since it began; `lags` in seconds."""

    read: Callable[[], Sequence[Row]]
    lags: list[float] = field(default_factory=list)
    looked_count: int = 0
    target_count: int = 0
    all_looked_at: float = 0.0
    read_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._rows: dict[str, tuple[float, float]] = {}
        self._is_over = threading.Event()
        self.began_at = time.time()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Read in a thread of its own meanwhile."""
        thread = threading.Thread(target=self._read_again_and_again, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _read_again_and_again(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN):
            begun = time.thread_time()
            self.note(self.read())
            self.read_seconds += time.thread_time() - begun

    def note(self, rows: Sequence[Row]) -> None:
        """Take the targets as they are now."""
        looked, newest = 0, 0.0
        for name, due_at, looked_at in rows:
            due_before, looked_before = self._rows.get(name, (0.0, 0.0))
            if looked_at > self.began_at:
                looked += 1
                newest = max(newest, looked_at)
                if looked_at != looked_before and due_before:
                    self.lags.append(max(0.0, looked_at - due_before))
            self._rows[name] = (due_at, looked_at)
        if rows and looked == len(rows) and not self.all_looked_at:
            self.all_looked_at = max(found[1] for found in self._rows.values()) - self.began_at
        self.looked_count, self.target_count = looked, len(rows)

    def find_lag(self, share: float) -> float:
        """The lag that this share of looks does not exceed, in seconds; 0 without looks."""
        lags = sorted(self.lags)
        return lags[min(int(len(lags) * share), len(lags) - 1)] if lags else 0.0
