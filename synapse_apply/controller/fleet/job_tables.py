"""The tables of Procrastinate: made beside the store's, and brought to the installed version.

They hold nothing that has to stay: the due rows of the store bring all work back. So a newer
version's changes are made at once, while processes with an older one may still run: to those the
queue may be broken until they are replaced, and the leader works on what is due by itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procrastinate import App

# Of PostgreSQL's advisory locks, one for who makes or changes these tables ("jobs" in ASCII).
_ADVISORY_LOCK = 0x6A6F6273
_FIND_NEWEST = (
    "SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS is_made,"
    " obj_description(to_regclass('procrastinate_jobs'), 'pg_class') AS newest"
)
_MIGRATION_NAME = re.compile(r"[0-9][0-9.]+_[0-9]+_[A-Za-z_]+")


async def make_job_tables(app: App) -> None:
    """Make the tables if there are none, and make the changes since the version that made them.

    The newest change stands as the comment of a table. Any number of processes may call this at
    once: each statement waits for the one of another, and finds its work done.
    """
    from procrastinate.exceptions import ConnectorException  # noqa: PLC0415

    migrations = _read_migrations(Path(app.schema_manager.get_migrations_path()))
    for _ in range(2):
        row = await app.connector.execute_query_one_async(_FIND_NEWEST)
        newest = str(row["newest"] or "")
        statements: list[str] = []
        if not row["is_made"]:
            statements = [app.schema_manager.get_schema()]
        elif newest:
            statements = [text for name, text in migrations.items() if name > newest]
        if row["is_made"] and newest and not statements:
            return
        try:
            await _run_statements(app, statements, max(migrations))
        except ConnectorException:
            # Another process made them meanwhile: what it made is looked at once more.
            continue
        return


async def _run_statements(app: App, statements: list[str], newest: str) -> None:
    """Run statements in one transaction, in which this process alone changes the tables."""
    if not _MIGRATION_NAME.fullmatch(newest):
        raise ValueError(f"not the name of a migration: {newest}")
    text = "\n;\n".join(
        (
            f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})",
            *statements,
            f"COMMENT ON TABLE procrastinate_jobs IS '{newest}'",
        )
    )
    # Without arguments the driver sends all of it at once, in one implicit transaction.
    await app.connector.execute_query_async(text.replace("%", "%%"))


def _read_migrations(folder: Path) -> dict[str, str]:
    """The changes that the installed version knows, by name, in order."""
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.sql"))}
