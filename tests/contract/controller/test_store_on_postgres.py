"""The controller's store in PostgreSQL: several processes, and a server that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from zlib import crc32

import psycopg
import pytest
from contract.controller.store_process import PROD
from contract.controller.store_urls import build_store_url
from forges.loopback_server import wait_until
from forking import ForkedProcess
from postgres.proxy import Proxy
from postgres.server import PASSWORD, PostgresServer
from stopping import stands_still

from synapse_apply.controller.rows import SourceRow, TargetRow
from synapse_apply.controller.store import postgres_store
from synapse_apply.controller.store.postgres_store import (
    WRITERS_LOCK,
    PostgresControllerStore,
    require_usable_server,
)
from synapse_apply.controller.store.store_database import ControllerStoreError, StoreUnavailable
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive
from synapse_apply.stores.postgres.postgres_url import parse_postgres_url

TESTS = Path(__file__).parents[2]
# Seconds after which the server throws out a writer that stands still.
PATIENCE = "SET idle_in_transaction_session_timeout TO '5s'"
LOCK_PATIENCE = "SET lock_timeout TO '10s'"


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return str(build_store_url(postgres).reveal())


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[..., PostgresControllerStore]]:
    """Opens a store of the same tables, by another URL if one is given; closed at the end."""
    with ExitStack() as stack:

        def open_one(other_url: str = "") -> PostgresControllerStore:
            store = PostgresControllerStore(Sensitive(other_url or url))
            return stack.enter_context(closing(store))

        yield open_one


@pytest.fixture
def store(open_store: Callable[..., PostgresControllerStore]) -> PostgresControllerStore:
    made = open_store()
    made.create_or_upgrade()
    return made


@pytest.mark.parametrize("has_store", [False, True])
def test_the_schema_of_a_stranger_is_not_used(postgres, open_store, has_store):
    """Its triggers would run with the controller's rights, also in a store that is whole."""
    postgres.run("CREATE ROLE stranger LOGIN PASSWORD 'theirs'")
    try:
        postgres.run("GRANT CREATE ON DATABASE postgres TO stranger")
        schema = f"squat_{has_store}".lower()
        theirs = postgres.url("stranger", "theirs", schema=schema)
        if has_store:
            open_store(theirs).create_or_upgrade()
        else:
            postgres.run(f"CREATE SCHEMA {schema} AUTHORIZATION stranger")
        ours = open_store(postgres.url(schema=schema))
        for act in (ours.create_or_upgrade, lambda: ours.find_source("acme")):
            with pytest.raises(
                ControllerStoreError, match="The schema belongs to another role"
            ) as caught:
                act()
            assert f'DROP SCHEMA "{schema}" CASCADE' in str(caught.value.diagnostics[0].hint)
    finally:
        postgres.run("DROP OWNED BY stranger CASCADE", "DROP ROLE stranger")


def test_a_trigger_of_a_stranger_ends_a_running_controller(postgres, open_store):
    """Its heartbeat renews nothing, at the next beat, in a session from before."""
    postgres.run("CREATE ROLE stranger LOGIN PASSWORD 'theirs'", "CREATE SCHEMA theirs")
    try:
        ours = open_store(postgres.url(schema="watched"))
        ours.create_or_upgrade()
        ours.extend_claims("we", 1.0, 0, [])
        postgres.run(
            "GRANT ALL ON SCHEMA theirs TO stranger",
            "GRANT USAGE ON SCHEMA watched TO stranger",
            "GRANT TRIGGER ON watched.targets TO stranger",
        )
        with psycopg.connect(postgres.url("stranger", "theirs"), autocommit=True) as theirs:
            theirs.execute(
                "CREATE FUNCTION theirs.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW;"
                " END'; CREATE TRIGGER theirs BEFORE UPDATE ON watched.targets FOR EACH ROW"
                " EXECUTE FUNCTION theirs.f()"
            )
        with pytest.raises(ControllerStoreError) as caught:
            ours.extend_claims("we", 2.0, 0, [])
        assert not isinstance(caught.value, StoreUnavailable)
        (finding,) = caught.value.diagnostics
        assert 'trigger theirs belongs to "stranger", and not to ' in finding.detail
        postgres.run("DROP TRIGGER theirs ON watched.targets")
        ours.extend_claims("we", 3.0, 0, [])
    finally:
        postgres.run("DROP SCHEMA theirs CASCADE", "DROP OWNED BY stranger CASCADE")
        postgres.run("DROP ROLE stranger")


@pytest.mark.parametrize("made", ["view", "tables", "nothing"])
def test_nor_one_that_came_while_the_lock_was_waited_for(postgres, open_store, made):
    """A stranger holds the lock of writers, which needs no right, and makes the schema meanwhile."""
    schema = f"late_{made}"
    key = crc32(schema.encode()) - 2**31
    squat = {
        "view": f"""CREATE VIEW {schema}.meta AS SELECT k AS key, {schema}.f() AS value
            FROM (VALUES ('format'), ('oldest_format_that_may_write')) v(k)""",
        "tables": f"""CREATE TABLE {schema}.meta (key text, value text DEFAULT {schema}.f());
            INSERT INTO {schema}.meta VALUES ('format', '5'), ('oldest_format_that_may_write', '4');
            CREATE TABLE {schema}.sources (name text CHECK ({schema}.f() = '5'))""",
        "nothing": "SELECT 1",
    }[made]
    postgres.run("CREATE ROLE stranger LOGIN PASSWORD 'theirs'")
    try:
        postgres.run("GRANT CREATE ON DATABASE postgres TO stranger", "CREATE TABLE ran (who text)")
        postgres.run("GRANT ALL ON ran TO PUBLIC")
        with psycopg.connect(postgres.url("stranger", "theirs"), autocommit=True) as theirs:
            theirs.execute(f"SELECT pg_advisory_lock({WRITERS_LOCK}, {key})")
            ours, refused = open_store(postgres.url(schema=schema)), list[ControllerStoreError]()

            def start() -> None:
                try:
                    ours.create_or_upgrade()
                except ControllerStoreError as error:
                    refused.append(error)

            starting = threading.Thread(target=start)
            starting.start()
            waiting = (
                "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            )
            wait_until(lambda: theirs.execute(waiting).fetchone() == (True,), 60, "it waits")
            theirs.execute(f"CREATE SCHEMA {schema}")
            theirs.execute(f"GRANT ALL ON SCHEMA {schema} TO PUBLIC")
            theirs.execute(
                f"CREATE FUNCTION {schema}.f() RETURNS text LANGUAGE plpgsql AS 'BEGIN IF"
                " current_user <> ''stranger'' THEN INSERT INTO public.ran VALUES (current_user);"
                " END IF; RETURN ''5''; END'"
            )
            theirs.execute(squat)
            theirs.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO PUBLIC")
            theirs.execute(f"SELECT pg_advisory_unlock({WRITERS_LOCK}, {key})")
            starting.join(60)
        assert [error.diagnostics[0].summary for error in refused] == [
            "The schema belongs to another role"
        ]
        assert postgres.run("SELECT * FROM ran") == []
    finally:
        postgres.run("DROP OWNED BY stranger CASCADE", "DROP ROLE stranger", "DROP TABLE ran")


MakePatient = Callable[..., None]


@pytest.fixture
def make_patient(monkeypatch: pytest.MonkeyPatch) -> MakePatient:
    """Changes how long the server bears a writer that is `idle`, or one that waits for a `lock`."""

    def make(idle: str = "5s", lock: str = "10s") -> None:
        settings = postgres_store._SESSION_SETTINGS
        for old, new in (PATIENCE, idle), (LOCK_PATIENCE, lock):
            settings = settings.replace(old, f"{old.partition(' TO ')[0]} TO '{new}'")
        monkeypatch.setattr(postgres_store, "_SESSION_SETTINGS", settings)

    return make


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    """A way to the server that can break."""
    made = Proxy(postgres.port)
    yield made
    made.close()


@pytest.fixture
def behind(
    store: PostgresControllerStore,
    proxy: Proxy,
    url: str,
    postgres: PostgresServer,
    open_store: Callable[..., PostgresControllerStore],
) -> PostgresControllerStore:
    """A store on the tables of `store` whose connections go through the proxy."""
    assert store.is_shared
    through = url.replace(f":{postgres.port}/", f":{proxy.port}/")
    return open_store(through)


def start_process(url: str, verb: str, number: int) -> subprocess.Popen[str]:
    return ForkedProcess(
        [sys.executable, "-m", "contract.controller.store_process", verb, str(number)],
        cwd=TESTS,
        env={**os.environ, "STORE_URL": url},
        stdout=subprocess.PIPE,
        text=True,
    )


def put_source_except_head_and_counters(store: PostgresControllerStore, name: str) -> None:
    with store.write() as writer:
        writer.put(SourceRow(name))


def write_and_wait(store: PostgresControllerStore, wait: Callable[[], None]) -> None:
    """Write in a transaction before and after `wait` is called."""
    with store.write() as writer:
        writer.put(SourceRow("lost"))
        assert writer.list_due(1.0, 1) == []  # all of it has reached the server
        wait()
        writer.put(SourceRow("lost too"))


def list_names(store: PostgresControllerStore) -> list[str]:
    return [row.name for row in store.list_configured_sources()]


def test_processes_that_write_at_once_stand_in_a_row(store, url):
    """What each reads in its transaction is all that was written before: no update is lost."""
    processes = [start_process(url, "count", 30) for _ in range(2)]
    for process in processes:
        assert process.communicate(timeout=60) == ("", None)
        assert process.returncode == 0
    source, target = store.find_source("acme"), store.find_target(PROD)
    assert (source.head_number, source.head, target.failures) == (60, "c60", 60)
    assert [row.number for row in store.newest_revisions("acme", 99)] == list(range(60, 0, -1))
    rows = list(store.iter_audit())
    assert find_first_broken_audit_row(rows) is None
    assert Counter(row.detail for row in rows) == {str(process.pid): 30 for process in processes}


def test_a_stopped_writer_is_thrown_out_by_the_server(open_store, url, make_patient):
    """The others go on after some seconds; what it wrote is gone."""
    assert PATIENCE in postgres_store._SESSION_SETTINGS
    make_patient(lock="10min")  # the server may be late, and the default is twice its five seconds
    store = open_store()
    store.create_or_upgrade()
    process = start_process(url, "stand", 600)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        stands_still(process)
        put_source_except_head_and_counters(store, "acme")
        assert list_names(store) == ["acme"]
    finally:
        process.kill()
        process.communicate()


def test_signs_of_life_wait_for_no_writer(open_store, make_patient):
    """One that stands still keeps a claim from no other process."""
    make_patient(idle="10min", lock="1min")
    store, other = open_store(), open_store()
    store.create_or_upgrade()
    with store.write() as writer:
        writer.put(SourceRow("acme"))
        other.extend_claims("me", 1.0, 0, [])
    assert list_names(other) == ["acme"]


def test_a_writer_that_stood_still_is_told_that_nothing_was_written(
    store, postgres, make_patient, monkeypatch
):
    """It can write again at once."""
    make_patient(idle="50ms")

    def is_thrown_out() -> bool:
        return not postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            " AND application_name = 'synapse-apply controller'"
        )

    with pytest.raises(StoreUnavailable):
        write_and_wait(store, lambda: wait_until(is_thrown_out, 60, "it is thrown out"))
    monkeypatch.undo()  # a busy machine may stand still for as long itself
    put_source_except_head_and_counters(store, "acme")
    assert list_names(store) == ["acme"]


def test_a_writer_does_not_wait_for_another_for_ever(open_store, make_patient):
    """One that is busy all the time, for example; reading goes on."""
    make_patient(idle="10min", lock="50ms")
    store, other = open_store(), open_store()
    store.create_or_upgrade()
    with store.write() as writer:
        writer.put(SourceRow("acme"))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            put_source_except_head_and_counters(other, "other")
        assert list_names(other) == []
    put_source_except_head_and_counters(other, "other")
    assert list_names(store) == ["acme", "other"]


def test_replicas_that_start_at_once_make_one_store(open_store):
    """The first one makes it, the others find it."""
    stores = [open_store() for _ in range(4)]
    threads = [threading.Thread(target=one.create_or_upgrade) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, one in enumerate(stores):
        put_source_except_head_and_counters(one, f"s{number}")
    assert list_names(stores[0]) == ["s0", "s1", "s2", "s3"]


def test_connections_that_ended_meanwhile_are_opened_anew(store, postgres):
    """Between two uses: a restart, a firewall. Nobody notices."""
    put_source_except_head_and_counters(store, "a")
    assert list_names(store) == ["a"]
    for name in ("b", "c"):
        postgres.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'synapse-apply controller'"
        )
        assert name not in list_names(store)
        put_source_except_head_and_counters(store, name)
    assert list_names(store) == ["a", "b", "c"]


def test_a_server_that_is_killed_in_a_transaction_comes_back_without_it(store, postgres):
    """While it is away all say so, in words without a password; then the same store goes on."""
    put_source_except_head_and_counters(store, "acme")
    with pytest.raises(StoreUnavailable):
        write_and_wait(store, postgres.kill)
    try:
        for use in (
            store.list_configured_sources,
            store.create_or_upgrade,
            store.read_database_clock,
            lambda: put_source_except_head_and_counters(store, "x"),
            lambda: store.extend_claims("me", 1.0, 0, []),
        ):
            with pytest.raises(
                StoreUnavailable, match=r"cannot be reached|does not answer"
            ) as caught:
                use()
            assert PASSWORD not in f"{caught.value!r} {caught.value.diagnostics}"
    finally:
        postgres.start()
    assert list_names(store) == ["acme"]
    put_source_except_head_and_counters(store, "next")
    assert list_names(store) == ["acme", "next"]


@pytest.mark.parametrize(("moment", "names"), [("before", []), ("after", ["acme"])])
def test_a_commit_without_an_answer_is_said_to_be_unknown(behind, store, proxy, moment, names):
    """Whoever looks again sees what became of it."""
    assert list_names(behind) == []
    proxy.break_at = moment
    with pytest.raises(StoreUnavailable):
        put_source_except_head_and_counters(behind, "acme")
    deadline = time.monotonic() + 60
    while list_names(store) != names:
        assert time.monotonic() < deadline
    assert list_names(behind) == names


def test_a_server_that_stands_still_is_given_up(behind, proxy, monkeypatch):
    """Its machine answers, it does not; afterwards the store goes on."""
    put_source_except_head_and_counters(behind, "acme")
    # From here on: a busy machine may take longer before.
    monkeypatch.setattr(postgres_store, "MAX_SECONDS", 0.3)
    vars(behind._database)["connection_parameters"]["connect_timeout"] = 2
    proxy.flows.clear()
    with pytest.raises(StoreUnavailable):
        put_source_except_head_and_counters(behind, "lost")
    proxy.flows.set()
    monkeypatch.undo()
    vars(behind._database)["connection_parameters"]["connect_timeout"] = 60
    put_source_except_head_and_counters(behind, "next")
    assert list_names(behind)[-1] == "next"


def test_the_databases_clock_is_that_of_its_machine(store):
    before = time.time()
    clock = store.read_database_clock()
    assert clock is not None
    assert before - 0.1 < clock < time.time() + 0.1


def test_a_store_is_upgraded_by_the_first_replica_of_a_newer_version(store, postgres):
    """What formats 3 and 4 added is made there as in SQLite: the same code, by the columns that are."""
    with store.write() as writer:
        writer.put(TargetRow(PROD, wanted_digest="d"))
    postgres.run(
        f"SET search_path TO {store.schema}",
        "DROP TABLE rollouts, waves, rollout_targets, leases, processes, owners, sessions",
        "DROP INDEX targets_claimed, targets_by_binding, targets_by_found_binding",
        "ALTER TABLE targets DROP COLUMN head_digest, DROP COLUMN binding, DROP COLUMN found_binding",
        "UPDATE meta SET value = '2' WHERE key = 'format'",
    )
    store.create_or_upgrade()
    target = store.find_target(PROD)
    assert target.head_digest == "d"
    assert (store.list_rollouts(), store.list_processes()) == ([], [])


def test_tables_of_another_program_are_not_touched(open_store, postgres, url):
    """A schema with another `meta`: the state of a target, or anything."""
    store = open_store()
    postgres.run(
        f"CREATE SCHEMA {store.schema}",
        f"CREATE TABLE {store.schema}.meta (serial integer)",
    )
    for use in (store.create_or_upgrade, store.list_configured_sources):
        with pytest.raises(ControllerStoreError, match="not a controller's store") as caught:
            use()
        assert "?schema=" in caught.value.diagnostics[0].hint
    tables = postgres.run(
        f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{store.schema}'"
    )
    assert tables == [(1,)]


def test_a_store_that_nobody_made_is_said_to_be_missing(open_store):
    with pytest.raises(ControllerStoreError, match="controller's store does not exist"):
        open_store().list_configured_sources()


def test_a_backup_is_the_databases_own(store, tmp_path):
    with pytest.raises(ControllerStoreError) as caught:
        store.write_backup(tmp_path / "copy.db")
    hint = caught.value.diagnostics[0].hint
    assert f"pg_dump --schema={store.schema}" in hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("altered", "words"),
    [
        ({"password": "s3cr3t"}, "refused the login"),
        ({"database": "nowhere"}, "does not exist"),
        ({"user": "nobody"}, "refused the login"),
        ({"sslmode": "require"}, "refused the connection"),
    ],
)
def test_a_login_that_is_refused_is_an_error_for_people(postgres, altered, words):
    """Without the password, in message and in what the store shows of itself."""
    store = PostgresControllerStore(Sensitive(postgres.url(**altered)))
    with pytest.raises(ControllerStoreError, match=words) as caught:
        store.create_or_upgrade()
    assert not isinstance(caught.value, StoreUnavailable)  # waiting does not help
    shown = f"{caught.value.diagnostics} {store!r} {store.display_url} {caught.value.__context__}"
    assert PASSWORD not in shown
    assert "s3cr3t" not in shown


@pytest.mark.parametrize(
    "url", ["sqlite:///s3cr3t", "postgresql://u:s3cr3t@h@ost/d", "postgresql://u:s3cr3t@h/d?x=1"]
)
def test_an_unusable_url_is_said_to_be_one(url):
    with pytest.raises(InputError, match="The store's url cannot be used") as caught:
        PostgresControllerStore(Sensitive(url))
    assert "s3cr3t" not in f"{caught.value.diagnostics}"


@pytest.mark.parametrize(
    ("version", "encoding", "words"),
    [(12_0004, "UTF8", "too old"), (15_0000, "LATIN1", "must use UTF8")],
)
def test_a_server_that_cannot_be_used_is_refused(version, encoding, words):
    location = parse_postgres_url("postgresql://h/d", "s", owner="store")
    with pytest.raises(ControllerStoreError, match=words):
        require_usable_server(version, encoding, location)
    require_usable_server(13_0000, "UTF8", location)
