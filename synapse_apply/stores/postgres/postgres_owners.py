"""Whose a schema and its tables must be: what a stranger made runs with the rights of its user."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import psycopg
from psycopg import sql

# Owners that may have made it: we, a role that we are a member of, or who may do all in the
# database anyway. To a superuser pg_has_role says yes for each role.
_SELECT_STRANGERS = """
WITH me AS (SELECT oid, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
trusted AS (
    SELECT r.oid FROM pg_catalog.pg_roles r, me
    WHERE r.oid = me.oid OR r.rolsuper OR r.rolname = 'pg_database_owner'
        OR r.oid = (SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database())
        OR CASE WHEN me.rolsuper
            THEN EXISTS (SELECT 1 FROM pg_catalog.pg_auth_members
                WHERE roleid = r.oid AND member = me.oid)
            ELSE pg_catalog.pg_has_role(me.oid, r.oid, 'USAGE') END
),
made AS (
    SELECT 'schema ' || nspname AS name, nspowner AS owner, oid AS namespace, nspname AS place
    FROM pg_catalog.pg_namespace
    UNION ALL
    SELECT 'table ' || relname, relowner, relnamespace, relname FROM pg_catalog.pg_class
    WHERE relkind NOT IN ('i', 'I', 'c', 't')
    UNION ALL
    SELECT 'trigger ' || tgname, proowner, relnamespace, relname FROM pg_catalog.pg_trigger
    JOIN pg_catalog.pg_class c ON c.oid = tgrelid JOIN pg_catalog.pg_proc p ON p.oid = tgfoid
    WHERE NOT tgisinternal
)
SELECT name, pg_catalog.pg_get_userbyid(owner), current_user::text FROM made
WHERE namespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s)
    AND (place = %(schema)s OR %(tables)s::text[] IS NULL OR place = ANY(%(tables)s::text[]))
    AND owner NOT IN (SELECT oid FROM trusted)
LIMIT 1
"""

STRANGER_SUMMARY = "The schema is of another role"


def find_stranger(
    connection: psycopg.Connection[Any], schema: str, tables: Collection[str] | None = None
) -> tuple[str, str] | None:
    """What of a schema belongs to a stranger, as a phrase, and what to do; None where nothing does.

    Of `tables`, or of all tables.
    """
    values = {"schema": schema, "tables": None if tables is None else list(tables)}
    row = connection.execute(_SELECT_STRANGERS, values).fetchone()
    if row is None:
        return None
    name, owner, user = row[0], *(sql.Identifier(each).as_string(None) for each in row[1:])
    place = sql.Identifier(schema).as_string(None)
    why = (
        f"{name} belongs to {owner}, and not to {user}, a role that {user} is a member of, the "
        "database's owner or a superuser: what it does would run with your rights"
    )
    return why, (
        f"If {owner} is no stranger: GRANT {owner} TO {user}. Else remove it (DROP SCHEMA {place} "
        "CASCADE), or name another schema in the url: ?schema=NAME."
    )
