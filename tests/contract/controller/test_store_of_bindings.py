"""What targets are bound to: in both databases, and as a store of format 3 has it that is upgraded."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from synapse_apply.controller.planned_rows import Binding
from synapse_apply.controller.rows import (
    OwnerRow,
    RunCause,
    RunOutcome,
    RunRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.store.controller_store import SqliteControllerStore

# What sqlite3's iterdump gave of a file that the code of format 3 had written.
_DUMP = Path(__file__).with_name("store_of_format_3.sql")
DEV, PROD = TargetName("acme", "dev"), TargetName("acme", "prod")
AT_PROD = Binding("https://api.example:443 acme", "l-1", "env PROD_TOKEN")


def test_targets_of_a_backend_are_found_by_either_binding(store):
    """Whatever the state is, also gone ones; a backend whose name begins so is another one."""
    other_state = replace(AT_PROD, lineage="l-2")
    rows = [
        TargetRow(DEV, binding=Binding("https://dev:443", "l-3"), found_binding=other_state),
        TargetRow(PROD, binding=AT_PROD, found_binding=AT_PROD, is_gone=True),
        TargetRow(TargetName("acme", "tenant"), binding=Binding("https://api.example:443", "l-1")),
        TargetRow(TargetName("acme", "tenant-2"), binding=Binding(f"{AT_PROD.backend}-2", "l-1")),
        TargetRow(TargetName("acme", "unknown")),
    ]
    with store.write() as writer:
        for row in rows:
            writer.put(row)
    # Where a token tells the tenant it may be that one.
    assert list(store.list_targets_of_backend(AT_PROD.backend)) == rows[:3]
    assert list(store.list_targets_of_backend("https://api.example:443")) == rows[:4]
    read = store.find_target(PROD)
    assert read.binding is not None
    assert read.binding.token == "env PROD_TOKEN"
    assert store.list_targets_of_backend("https://nobody:443") == []


def test_targets_of_one_state_are_found_among_many_of_one_url(store):
    """By the whole lineage, whatever characters it has; where it is only bound, it is another's."""
    odd, url = """a"b\\c'%_é""", "https://api.example:443"
    lineages = (odd, "l-1", "l-11", "L-1")
    rows = [
        TargetRow(TargetName("acme", f"t{number}"), found_binding=Binding(url, lineage, "env T"))
        for number, lineage in enumerate(lineages)
    ]
    bound = TargetRow(PROD, binding=Binding(url, odd), found_binding=Binding(url, "l-2"))
    with store.write() as writer:
        for row in (*rows, bound):
            writer.put(row)
    for row, lineage in zip(rows, lineages, strict=True):
        assert list(store.list_targets_of_backend(f"{url} acme", lineage)) == [row]


def test_a_tenant_is_found_in_any_letter_case(store):
    """As it was stored, and as it is asked for; the path of a url is another one."""
    backends = ["https://api:443/v1 Acme", "https://api:443/v1 ACME", "https://api:443/V1 acme"]
    with store.write() as writer:
        for number, backend in enumerate(backends):
            row = TargetRow(TargetName("acme", f"t{number}"), binding=Binding(backend, "l-1"))
            if number == 1:
                row = replace(row, binding=None, found_binding=row.binding)
            writer.put(row)
    for asked in ("https://api:443/v1 acme", "https://api:443/v1 aCmE", "https://api:443/v1"):
        found = store.list_targets_of_backend(asked)
        assert [row.name.target for row in found] == ["t0", "t1"]
    found = store.list_targets_of_backend("https://api:443/V1 ACME")
    assert [row.name.target for row in found] == ["t2"]


def test_owners_are_those_of_one_tenant(store):
    """In any letter case; and of a target whose token tells the tenant, on either side."""
    url = "https://api.example:443"
    rows = [
        OwnerRow(url, "storage id=1", TargetName("acme", f"t{number}"), backend, f"l-{number}")
        for number, backend in enumerate([f"{url} acme", f"{url} ACME", url, f"{url} other"])
    ]
    with store.write() as writer:
        writer.put(*rows)
    assert list(store.list_owners(f"{url} Acme", ["storage id=1", "storage id=2"])) == rows[:3]
    assert list(store.list_owners(url, ["storage id=1"])) == rows
    assert list(store.list_owners(f"{url} \u212acme", ["storage id=1"])) == rows


def test_a_store_of_format_4_is_upgraded(store, run_beside):
    """Its indexes told letters apart; what was bound is found as it was written."""
    row = TargetRow(PROD, binding=replace(AT_PROD, backend="https://api.example:443 Acme"))
    with store.write() as writer:
        writer.put(row)
    run_beside("DROP TABLE owners")
    for column in ("binding", "found_binding"):
        run_beside(f"DROP INDEX targets_by_{column}")
        run_beside(f"CREATE INDEX targets_by_{column} ON targets ({column})")
    run_beside("DROP TABLE sessions")
    run_beside("UPDATE meta SET value = '4' WHERE key = 'format'")
    store.close()
    for _ in range(2):
        store.create_or_upgrade()
    assert list(store.list_targets_of_backend(AT_PROD.backend)) == [row]


def test_an_upgrade_binds_targets_to_what_their_newest_plans_were_made_of(tmp_path):
    """Also gone ones, by the one spelling of a url; of a renamed target the name that is declared."""
    path = tmp_path / "controller.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_DUMP.read_text(encoding="utf-8"))
    path.chmod(0o600)
    with closing(SqliteControllerStore(tmp_path)) as store:
        store.create_or_upgrade()
        store.create_or_upgrade()
        rows = store.source_targets("acme")
    assert {row.name.target: row.binding for row in rows} == {
        "dev": Binding("https://dev.example:443", "l-dev"),
        "prod": Binding("https://api.example:443/v1 acme", "l-prod"),
        "renamed": Binding("https://renamed.example:443", "l-renamed"),
        "first": None,
        "broken": None,
        "new": None,
    }
    assert all(row.found_binding == row.binding for row in rows)


def test_either_database_is_upgraded(store, run_beside):
    """A target is bound to what the newest run with a plan was made of, not to one that failed."""
    bases = {
        "r1": {"binding": {"url": "https://old", "tenant": "", "data_set": ""}, "lineage": "l-1"},
        "r2": {"binding": {"url": "https://prod", "tenant": "t", "data_set": ""}, "lineage": "l-1"},
        "r3": {"binding": {"url": "https://odd", "tenant": "", "data_set": ""}, "lineage": "l-2"},
    }
    with store.write() as writer:
        writer.put(TargetRow(PROD))
        for run, base in bases.items():
            outcome = RunOutcome.PLAN_ERROR if run == "r3" else RunOutcome.IN_SYNC
            plan = json.dumps({"base": base})
            writer.put(RunRow(run, PROD, "c1", RunCause.PUSH, 1.0, 2.0, outcome, plan_json=plan))
    run_beside("DROP TABLE owners")
    for column in ("binding", "found_binding"):
        run_beside(f"DROP INDEX targets_by_{column}")
        run_beside(f"ALTER TABLE targets DROP COLUMN {column}")
    run_beside("DROP TABLE sessions")
    run_beside("UPDATE meta SET value = '3' WHERE key = 'format'")
    store.close()
    store.create_or_upgrade()
    row = store.find_target(PROD)
    assert row.binding == row.found_binding == Binding("https://prod:443 t", "l-1")
