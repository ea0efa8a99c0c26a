"""A state in PostgreSQL: whose it is, what can be wrong, and what a write costs."""

from __future__ import annotations

import re
import sqlite3
from threading import Barrier, Thread

import psycopg
import pytest
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record, told

from synapse_apply.model.errors import StateError
from synapse_apply.model.state import IntentState
from synapse_apply.stores.postgres.postgres_database import (
    PostgresDatabase,
    make_unconnected_postgres_store,
)
from synapse_apply.stores.postgres.postgres_url import parse_postgres_state_url
from synapse_apply.stores.sqlite.sqlite_database import (
    make_unopened_sqlite_store,
    require_origin_of_intact_backup,
)


@pytest.fixture
def schema(url):
    """The schema of this test's state."""
    return url.rpartition("=")[2]


@pytest.fixture
def opened():
    """Opens stores that are closed afterwards."""
    stores = []

    def open_one(url, target="t"):
        stores.append(make_unconnected_postgres_store(url, target))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def pg(url, opened):
    """A store with an empty state."""
    store = opened(url)
    store.create_state(BINDING, LINEAGE)
    return store


@pytest.fixture
def role(server, schema):
    """A user who may log in and nothing else."""
    name = f"r{schema[-12:]}"
    server.run(f"CREATE ROLE {name} LOGIN PASSWORD 'theirs'")
    yield name
    server.run(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def test_looking_makes_nothing(url, schema, opened, server):
    """No schema, no table."""
    store = opened(url)
    assert not store.exists()
    with pytest.raises(StateError, match="There is no state"):
        store.read_state()
    with pytest.raises(StateError, match="There is no state"), store.lock("test"):
        store.write_records(record())
    assert server.run(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'") == []


def test_one_database_holds_a_state_for_each_target(server, opened, schema):
    """Targets keep apart, each in a schema of its name."""
    one = opened(server.url(), f"a.B-{schema[-8:]}")
    two = opened(server.url(), f"b{schema[-8:]}")
    for store in (one, two):
        store.create_state(BINDING, LINEAGE)
    with one.lock("test"), two.lock("test"):
        one.write_records(record())
    assert (len(one.read_state().records), len(two.read_state().records)) == (1, 0)
    assert f"synapse_apply_a.B-{schema[-8:]}" in one.where


def test_of_two_that_make_a_state_one_wins(url, opened):
    """The other hears that there is one; the first one's state is whole."""
    together, ended = Barrier(4), []

    def make(number):
        database = PostgresDatabase(parse_postgres_state_url(url, "t"))
        together.wait()
        try:
            database.create_state_or_raise_if_exists([("CREATE TABLE meta (id INTEGER)", ())])
            ended.append(number)
        except StateError as problem:
            ended.append(str(problem))
        database.close()

    threads = [Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended.count("A state already exists") == 3


def test_a_wrong_password_is_told_without_it(server, opened):
    """The place and the user; no part of the url that is secret."""
    with pytest.raises(StateError, match="refused the login") as caught:
        opened(server.url(password="wr0ng")).exists()
    assert "password authentication failed" in told(caught)
    assert "wr0ng" not in told(caught)
    assert caught.value.__context__ is None
    with pytest.raises(StateError, match="refused the login"):
        opened(server.url(user="nobody", password="wr0ng")).exists()


def test_a_missing_database_is_named(server, opened):
    """And how to make it."""
    with pytest.raises(StateError, match="database does not exist") as caught:
        opened(server.url(database="elsewhere")).read_state()
    assert 'database "elsewhere"' in told(caught)
    assert "createdb" in told(caught)


@pytest.mark.parametrize(
    "url",
    ["postgresql://127.0.0.1:1/s", "postgresql://no.such.host.invalid/s"],
)
def test_a_server_that_is_not_there(url, opened):
    """At once: a first connection is not tried again."""
    with pytest.raises(StateError, match="cannot be reached") as caught:
        opened(url).read_state()
    assert "Check host, port and network" in told(caught)
    assert url in told(caught)


def test_tls_that_the_server_does_not_speak(server, opened):
    """The url's own parameters decide."""
    with pytest.raises(StateError, match="refused the connection") as caught:
        opened(server.url(sslmode="require")).read_state()
    assert "SSL" in told(caught)


def test_a_user_without_rights_hears_which_one_is_missing(server, opened, role, schema):
    """Making a schema, or using one that an administrator made."""
    store = opened(server.url(user=role, password="theirs", schema=schema))
    with pytest.raises(StateError, match="does not permit") as caught:
        store.create_state(BINDING, LINEAGE)
    assert "permission denied for database" in told(caught)
    assert "CREATE SCHEMA" in told(caught)
    server.run(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    store.create_state(BINDING, LINEAGE)
    assert store.read_state().lineage == LINEAGE


TRIGGER = """
CREATE FUNCTION {schema}.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
    INSERT INTO loot{schema} VALUES (current_user); RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON {schema}.{table} FOR EACH ROW EXECUTE FUNCTION {schema}.f()
"""
CLIENTS = "CREATE TABLE {schema}.clients (client TEXT PRIMARY KEY, mark BIGINT, at TIMESTAMPTZ)"


@pytest.fixture
def as_stranger(server, schema, role):
    """Do something as a user who may make schemas in the database and no more."""
    server.run(
        f"GRANT CREATE ON DATABASE postgres TO {role}", f"CREATE TABLE loot{schema} (who text)"
    )
    server.run(f"GRANT ALL ON loot{schema} TO PUBLIC")
    connection = psycopg.connect(server.url(user=role, password="theirs"), autocommit=True)
    with connection:
        yield lambda text, **more: connection.execute(text.format(schema=schema, **more))


def require_stranger(act, server, schema, role, what="schema"):
    with pytest.raises(StateError, match="The schema belongs to another role") as caught:
        act()
    said = told(caught).replace('"', "")
    assert f"schema {schema} belongs to {role}" in said or what != "schema"
    assert f"{what} " in said
    for part in (
        f"belongs to {role}",
        f"GRANT {role} TO ",
        f"DROP SCHEMA {schema} CASCADE" if what == "schema" else f"Otherwise remove the {what} ",
        "?schema=NAME",
    ):
        assert part in said
    assert server.run(f"SELECT * FROM loot{schema}") == []


def test_the_schema_of_a_stranger_is_not_used(url, opened, server, schema, role, as_stranger):
    """With a trigger that would run with our rights; nor by a superuser, as which the test works."""
    for text in ("CREATE SCHEMA {schema}", "GRANT ALL ON SCHEMA {schema} TO PUBLIC", CLIENTS):
        as_stranger(text)
    as_stranger("GRANT ALL ON {schema}.clients TO PUBLIC")
    as_stranger(TRIGGER, table="clients")
    for act in (lambda: opened(url).create_state(BINDING, LINEAGE), opened(url).exists):
        require_stranger(act, server, schema, role)


def test_a_schema_that_came_after_the_first_look_is_not_used_either(
    url, opened, server, schema, role, as_stranger
):
    """The connection was opened before."""
    store = opened(url)
    assert not store.exists()
    as_stranger("CREATE SCHEMA {schema}")
    require_stranger(lambda: store.create_state(BINDING, LINEAGE), server, schema, role)


def test_nor_a_whole_state_that_a_stranger_made(url, opened, server, schema, role, as_stranger):
    """Until its role is granted to us."""
    theirs = opened(server.url(user=role, password="theirs", schema=schema))
    theirs.create_state(BINDING, LINEAGE)
    as_stranger(TRIGGER, table="records")
    ours = opened(url)
    require_stranger(ours.read_state, server, schema, role)
    server.run(f"GRANT {role} TO postgres")
    assert ours.read_state().lineage == LINEAGE


def test_a_role_that_a_stranger_granted_to_us_is_a_strangers(
    opened, server, schema, role, as_stranger
):
    """Who may create roles can make us a member of theirs; an administrator's grant counts."""
    ours, lent = f"{role}o", f"{role}l"
    server.run(
        f"CREATE ROLE {ours} LOGIN PASSWORD 'ours'",
        f"GRANT CREATE ON DATABASE postgres TO {ours}",
        f"ALTER ROLE {role} CREATEROLE",
    )
    try:
        as_stranger(f"CREATE ROLE {lent}")
        as_stranger(f"GRANT {lent} TO {ours}")
        server.run(f"CREATE SCHEMA {schema} AUTHORIZATION {lent}")
        store = opened(server.url(user=ours, password="ours", schema=schema))
        require_stranger(lambda: store.create_state(BINDING, LINEAGE), server, schema, lent)
        server.run(f"GRANT {lent} TO {ours}")
        store.create_state(BINDING, LINEAGE)
        assert store.read_state().lineage == LINEAGE
    finally:
        names = f"{ours}, {lent}"
        server.run(f"DROP OWNED BY {names} CASCADE", f"DROP ROLE {names}")


@pytest.mark.parametrize("kind", ["table", "trigger", "view", "function", "operator"])
def test_what_a_stranger_put_into_our_schema_is_not_used(
    url, opened, server, schema, role, as_stranger, kind
):
    """Who was given rights to it, or to a table, and has them no more."""
    server.run(f"CREATE SCHEMA {schema}")
    has_state = kind not in {"table", "view"}
    if has_state:
        opened(url).create_state(BINDING, LINEAGE)
        server.run(f"GRANT TRIGGER ON {schema}.records TO {role}")
    server.run(f"GRANT ALL ON SCHEMA {schema} TO {role}")
    if kind == "table":
        as_stranger(CLIENTS)
    elif kind == "view":
        as_stranger("CREATE VIEW {schema}.records AS SELECT current_user")
    elif kind == "trigger":
        as_stranger(TRIGGER, table="records")
    else:
        as_stranger(JOINING, place=schema)
        if kind == "operator":
            server.run(f"ALTER FUNCTION {schema}.joined OWNER TO postgres")
    server.run(f"REVOKE ALL ON SCHEMA {schema} FROM {role}")
    act = (
        opened(url).read_state if has_state else lambda: opened(url).create_state(BINDING, LINEAGE)
    )
    require_stranger(act, server, schema, role, "table" if kind == "view" else kind)


SEEN = """
CREATE SCHEMA {place}; GRANT USAGE ON SCHEMA {place} TO PUBLIC;
CREATE FUNCTION {place}.see(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN
    INSERT INTO public.loot{schema} VALUES (current_user); RETURN true; END';
CREATE FUNCTION {place}.both(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT {place}.see($1)';
CREATE OPERATOR {place}.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = {place}.both);
CREATE DOMAIN {place}.seen AS text CHECK ({place}.see(VALUE));
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON {schema}.meta FOR EACH ROW WHEN ({when})
    EXECUTE FUNCTION suppress_redundant_updates_trigger()
"""


@pytest.mark.parametrize(
    "when",
    [
        "{place}.see(NEW::text)",
        "NEW::text OPERATOR({place}.===) NULL",
        "NEW::text::{place}.seen IS NOT NULL",
        "query_to_xml('SELECT {place}.see(NULL)', true, true, NULL) IS NOT NULL",
    ],
    ids=["function", "operator", "domain", "system function"],
)
def test_nor_the_condition_of_a_trigger_whose_function_is_the_systems(
    url, opened, server, schema, role, as_stranger, when
):
    """The condition is computed with the rights of whoever writes."""
    opened(url).create_state(BINDING, LINEAGE)
    server.run(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    server.run(f"GRANT TRIGGER ON {schema}.meta TO {role}")
    place = f"of_{role}"
    as_stranger(SEEN.replace("{when}", when), place=place)
    with pytest.raises(StateError) as caught:
        opened(url).read_state()
    said = told(caught)
    assert "trigger t " in said
    assert "Remove the trigger t, " in said or "Otherwise remove the trigger t, " in said
    assert server.run(f"SELECT * FROM loot{schema}") == []
    server.run(f"DROP TRIGGER t ON {schema}.meta")
    assert opened(url).read_state().lineage == LINEAGE


JOINING = """
CREATE FUNCTION {place}.joined(name, name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.loot{schema} VALUES (current_user);
    RETURN $1::text OPERATOR(pg_catalog.||) $2::text; END $$;
CREATE OPERATOR {place}.|| (LEFTARG = name, RIGHTARG = name, FUNCTION = {place}.joined)
"""


def test_what_a_stranger_put_into_public_does_not_run(
    url, opened, server, schema, role, as_stranger
):
    """Each role may create there in PostgreSQL 13 and 14; an exact match goes before the system's."""
    server.run(f"GRANT CREATE ON SCHEMA public TO {role}")
    as_stranger(JOINING, place="public")
    try:
        store = opened(url)
        store.create_state(BINDING, LINEAGE)
        assert opened(url).read_state().lineage == LINEAGE
        assert server.run(f"SELECT * FROM loot{schema}") == []
    finally:
        as_stranger("DROP OPERATOR public.|| (name, name); DROP FUNCTION public.joined")
        server.run(f"REVOKE CREATE ON SCHEMA public FROM {role}")


@pytest.mark.parametrize("grantee", ["PUBLIC", "role"])
def test_a_schema_in_which_a_stranger_may_create_is_not_used(
    url, opened, server, schema, role, grantee
):
    """What they create later would run: the message has the statement that takes the right away."""
    store = opened(url)
    store.create_state(BINDING, LINEAGE)
    grantee = role if grantee == "role" else grantee
    server.run(f"GRANT CREATE ON SCHEMA {schema} TO {grantee}")
    with pytest.raises(StateError, match="Another role may create objects in the schema") as caught:
        opened(url).read_state()
    said = told(caught).replace('"', "")
    assert f"{grantee} has the right CREATE in schema {schema}" in said
    assert (f"GRANT {role} TO " in said) is (grantee == role)
    (revoke,) = re.findall(r"REVOKE CREATE [^)]+", said)
    server.run(revoke)
    assert opened(url).read_state().lineage == LINEAGE


def test_an_administrator_may_make_the_schema(server, opened, role, schema):
    """Which stays the administrator's."""
    server.run(f"CREATE SCHEMA {schema}", f"GRANT ALL ON SCHEMA {schema} TO {role}")
    store = opened(server.url(user=role, password="theirs", schema=schema))
    store.create_state(BINDING, LINEAGE)
    assert store.read_state().lineage == LINEAGE


def test_nobody_else_may_read_a_state(server, opened, role, pg, schema):
    """A schema is its owner's."""
    other = opened(server.url(user=role, password="theirs", schema=schema))
    with pytest.raises(StateError, match="does not permit"):
        other.read_state()


def test_a_newer_format_is_refused(server, pg, schema):
    """Nothing is written to it."""
    server.run(f"UPDATE {schema}.meta SET format = 7")
    with pytest.raises(StateError, match="newer version") as caught:
        pg.read_state()
    assert "format 7" in told(caught)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM {0}.meta", "first row is missing"),
        ("DROP TABLE {0}.records", 'relation "records" does not exist'),
        ("ALTER TABLE {0}.meta DROP COLUMN lineage", "tables of another program"),
    ],
)
def test_a_damaged_state_says_what_is_wrong(server, pg, schema, statement, words):
    """And how to come back."""
    server.run(statement.format(schema))
    with pytest.raises(StateError) as caught:
        pg.read_state()
    assert words in told(caught)
    assert "state restore" in told(caught)


def test_a_schema_of_another_program_is_left_alone(server, opened, url, schema, tmp_path):
    """Neither init nor restore touches its tables."""
    saved = make_unopened_sqlite_store(tmp_path / "t.db")
    saved.create_state(BINDING, LINEAGE)
    saved.close()
    server.run(f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.meta (theirs INTEGER)")
    store = opened(url)
    with pytest.raises(StateError, match="already"):
        store.create_state(BINDING, LINEAGE)
    with pytest.raises(StateError, match="not a state of synapse-apply"):
        store.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "t.db"))
    assert server.run(f"SELECT * FROM {schema}.meta") == []


def test_a_backup_is_a_file_that_every_store_reads(pg, tmp_path, opened, url):
    """From PostgreSQL to SQLite and back, with something of everything."""
    with pg.lock("fill"):
        pg.write_records(record(), record("b@1", "2", kind="release"))
        pg.open_intent_and_use_up_its_approvals(intent("c", "i1"))
        pg.open_intent_and_use_up_its_approvals(intent("d", "i2"))
        pg.close_ended_intent(intent("d", "i2", state=IntentState.FAILED), None, entry("d"))
        pg.mark_plan_applied("p1")
        pg.write_backup(str(tmp_path / "copy.db"))
    local = make_unopened_sqlite_store(tmp_path / "copy.db")
    assert local.read_snapshot() == pg.read_snapshot()
    with local.lock("test"):
        local.write_records(record("more", "7"))
    local.close()
    pg.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "copy.db"))
    assert "more" in {at.name for at in pg.read_state().records}
    with sqlite3.connect(tmp_path / "copy.db") as raw:
        assert raw.execute("SELECT COUNT(*) FROM lock").fetchone() == (0,)
    raw.close()


def test_what_a_restore_replaces_is_kept_as_a_backup(pg, tmp_path):
    """Under a name that nothing has; a state that cannot be read is replaced all the same."""
    pg.write_backup(str(tmp_path / "copy.db"))
    with pg.lock("fill"):
        pg.write_records(record())
    keep = str(tmp_path / "state" / "prod.before-restore")
    kept = [
        pg.restore_backup_and_return_kept_path_or_empty(
            str(tmp_path / "copy.db"), kept_path_unless_beside_file=keep
        )
        for _ in range(2)
    ]
    assert kept == [keep, f"{keep}-2"]
    assert [require_origin_of_intact_backup(name).record_count for name in kept] == [1, 0]
    pg._database.write_in_transaction(lambda run: run("DROP TABLE records", ()))
    assert (
        pg.restore_backup_and_return_kept_path_or_empty(kept[0], kept_path_unless_beside_file=keep)
        == ""
    )
    assert len(pg.read_state().records) == 1


def test_each_write_costs_the_same(pg, monkeypatch):
    """The number of round trips of a write does not grow with the state."""
    seen, execute = [], psycopg.Connection.execute

    def count(self, *arguments, **more):
        seen.append(arguments[0])
        return execute(self, *arguments, **more)

    monkeypatch.setattr(psycopg.Connection, "execute", count)
    counts = []
    with pg.lock("test"):
        for number in range(50):
            seen.clear()
            pg.write_records(record(f"p{number}", str(number)))
            counts.append(len(seen))
    assert set(counts) == {8}


def test_text_that_cannot_be_stored_is_kept_in_a_field_alone(pg):
    """An id of no known form never gets here: it is refused where it comes in."""
    odd = record(applied={("k\ud800\0",): "v\udfff\0"})
    with pg.lock("test"):
        pg.write_records(odd)
        for ident in ("\ud800", "a\0b", "x" * 5_000_000):
            with pytest.raises(TypeError, match="expected an id"):
                pg.write_records(record("x", ident))
        pg.write_records(record("y", "2"))
    assert odd in pg.read_state().records.values()


def test_a_session_that_writes_loosely_writes_surely_here(server, pg, schema):
    """A server that is set up to acknowledge early does not do so for a state."""
    name = server.run("SELECT current_user")[0][0]
    server.run(f"ALTER ROLE {name} SET synchronous_commit TO off")
    try:
        pg.close()
        with pg.lock("test"):
            shown = pg._database.write_in_transaction(
                lambda run: run("SHOW synchronous_commit", ())
            )
        assert shown == [("on",)]
    finally:
        server.run(f"ALTER ROLE {name} RESET synchronous_commit")
