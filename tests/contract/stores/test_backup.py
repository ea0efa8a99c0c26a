"""Copies of a whole state, and coming back from one."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from buckets.servers import BUCKET_SORT
from contract.stores.git.repositories import replace_tree
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record

from synapse_apply.model.address import Address
from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.model.state import STATE_FORMAT, IntentState
from synapse_apply.stores.snapshot import build_inventory_sorted_by_address
from synapse_apply.stores.sqlite.sqlite_database import (
    make_unopened_sqlite_store,
    require_origin_of_intact_backup,
)


def fill(store):
    """A state with something of everything."""
    with store.lock("fill"):
        store.write_records(
            record(),
            record("b@1", "2", kind="release", version="1", digest=f"pkg1:sha256:{'ef' * 32}"),
        )
        store.open_intent_and_use_up_its_approvals(intent("c", "i1"))
        store.open_intent_and_use_up_its_approvals(intent("d", "i2"))
        store.close_ended_intent(intent("d", "i2", state=IntentState.FAILED), None, entry("d"))
        store.mark_plan_applied("p1")


def test_a_backup_restores_everything_into_an_empty_place(store, sort, open_store, tmp_path):
    """Records, open calls, history, used plans, lineage and binding come back."""
    fill(store)
    before = store.read_state()
    store.write_backup(str(tmp_path / "backup"))
    fresh = open_store(sort, "new")
    fresh.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    after = fresh.read_state()
    assert (after.records, after.open_intents) == (before.records, before.open_intents)
    assert (after.lineage, after.binding) == (LINEAGE, BINDING)
    assert after.serial == before.serial + 1
    assert fresh.list_audit_entries_newest_first() == [entry("d")]
    assert fresh.was_plan_applied("p1")
    fresh.close()


def test_a_restore_goes_back_and_the_serial_goes_on(locked, tmp_path):
    """What came after the backup is gone; no plan made before fits by accident."""
    locked.write_records(record())
    locked.write_backup(str(tmp_path / "backup"))
    locked.write_records(record("later", "2"))
    locked.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    assert set(locked.read_state().records) == {Address("plugin", "yolo")}
    assert locked.read_serial() == 3
    locked.write_records(record("again", "2"))
    assert locked.read_serial() == 4


def test_a_backup_replaces_no_file(store, tmp_path):
    """A mistyped name costs nothing."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StateError, match="already exists"):
        store.write_backup(str(tmp_path / "notes.txt"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_there_is_nothing_to_back_up_without_a_state(empty, tmp_path):
    """A backup of nothing would be restored one day."""
    with pytest.raises(StateError, match="There is no state"):
        empty.write_backup(str(tmp_path / "backup"))
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("content", [None, b"", b"not a state", b"{}", b"[1]", b"\xff\xfe"])
def test_what_is_no_backup_leaves_the_state_alone(store, tmp_path, content):
    """A wrong file is refused before anything is replaced."""
    fill(store)
    source = tmp_path / "source"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(StateError) as caught:
        store.restore_backup_and_return_kept_path_or_empty(str(source))
    assert str(source) in caught.value.diagnostics[0].detail
    assert len(store.read_state().records) == 2


def test_a_newer_or_damaged_database_is_refused(sqlite, tmp_path):
    """Every page of a backup is checked before it takes the state's place."""
    fill(sqlite)
    newer, torn = tmp_path / "newer.db", tmp_path / "torn.db"
    sqlite.write_backup(str(newer))
    sqlite.write_backup(str(torn))
    with sqlite3.connect(newer) as other:
        other.execute(f"PRAGMA user_version = {STATE_FORMAT + 1}")
    other.close()
    with pytest.raises(StateError, match="newer version"):
        sqlite.restore_backup_and_return_kept_path_or_empty(str(newer))
    torn.write_bytes(torn.read_bytes()[:-4096] + b"\x55" * 4096)
    with pytest.raises(StateError, match="damaged"):
        sqlite.restore_backup_and_return_kept_path_or_empty(str(torn))
    assert len(sqlite.read_state().records) == 2


def test_a_backup_lies_in_the_root_of_a_checkout(sqlite, tmp_path):
    """The folder is the user's, also where it is a Git repository."""
    fill(sqlite)
    (tmp_path / "checkout" / ".git").mkdir(parents=True)
    sqlite.write_backup(str(tmp_path / "checkout" / "before.db"))
    assert sqlite.restore_backup_and_return_kept_path_or_empty(
        str(tmp_path / "checkout" / "before.db")
    )


@pytest.mark.parametrize("ruin", ["rubbish", "nothing", "gone"])
def test_a_ruined_state_comes_back_from_a_backup(sqlite, path, tmp_path, ruin):
    """A restore works where the state itself cannot be read, and drops a journal left there."""
    fill(sqlite)
    sqlite.write_backup(str(tmp_path / "backup.db"))
    if ruin == "gone":
        path.unlink()
    else:
        path.write_bytes(b"rubbish" * 1000 if ruin == "rubbish" else b"")
    path.with_name("prod.db-journal").write_bytes(b"left over" * 100)
    sqlite.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))
    assert len(sqlite.read_state().records) == 2
    assert not path.with_name("prod.db-journal").exists()


def ruin_last_link(folder):
    """Put something else where the last link is."""
    *_, last = [info.name for info in folder.list_objects("links/")]
    folder.delete_and_count_undeleted([last])
    folder.try_put_if_absent_and_tell_if_certain(last, b"rubbish")


# A chain has no tables: what it can lose are links.
LOST_OF_CHAINS = {
    "DROP TABLE meta": lambda folder: folder.delete_and_count_undeleted(["links/000000000001"]),
    "DROP TABLE lock": ruin_last_link,
    "DROP TABLE records": lambda folder: folder.delete_and_count_undeleted(["links/000000000004"]),
}


# A commit has files.
LOST_OF_COMMITS = {
    "DROP TABLE meta": ("", "meta.json"),
    "DROP TABLE lock": ("100644 blob {rubbish}", "lock.json"),
    "DROP TABLE records": ("100644 blob {rubbish}", "records"),
}


@pytest.mark.parametrize(
    "statement", ["DELETE FROM meta", "DROP TABLE meta", "DROP TABLE lock", "DROP TABLE records"]
)
def test_a_state_without_some_of_its_rows_comes_back_too(open_store, shared, tmp_path, statement):
    """In every sort of store; who restores it holds it then."""
    store = open_store(shared)
    store.create_state(BINDING, LINEAGE)
    fill(store)
    store.write_backup(str(tmp_path / "backup.db"))
    if shared in ("chain", BUCKET_SORT) and statement in LOST_OF_CHAINS:
        LOST_OF_CHAINS[statement](store._database._log._folder)
        store = open_store(shared)  # whoever has read it before knows it by heart
    elif shared == "git" and statement in LOST_OF_COMMITS:
        replace_tree(tmp_path / "t.git", *LOST_OF_COMMITS[statement])
        store = open_store(shared)
    else:
        store._database.write_in_transaction(lambda run: run(statement, ()))
    with pytest.raises(StateError, match=r"damaged|no state"):
        store.read_state()
    store.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))
    with store.lock("again"):
        store.write_records(record("more", "9"))
    assert len(store.read_state().records) == 3


def test_a_restore_waits_for_nobody_and_takes_no_lock_by_force(open_store, shared, tmp_path):
    """A state that is in use is left alone."""
    store, other = open_store(shared), open_store(shared)
    store.create_state(BINDING, LINEAGE)
    store.write_backup(str(tmp_path / "backup.db"))
    with other.lock("apply"), pytest.raises(LockHeld):
        store.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))


def test_what_a_restore_replaces_is_kept_beside(sqlite, path, tmp_path):
    """The wrong backup can be undone."""
    sqlite.write_backup(str(tmp_path / "backup.db"))
    fill(sqlite)
    sqlite.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))
    assert sqlite.read_state().records == {}
    sqlite.restore_backup_and_return_kept_path_or_empty(
        str(path.with_name("prod.db.before-restore"))
    )
    assert len(sqlite.read_state().records) == 2


def test_no_kept_state_takes_the_place_of_another(sqlite, path, tmp_path):
    """Each restore says under which name it kept what it replaced, also what cannot be read."""
    sqlite.write_backup(str(tmp_path / "backup.db"))
    fill(sqlite)
    kept = [
        sqlite.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))
        for _ in range(2)
    ]
    path.write_bytes(b"rubbish")
    kept.append(sqlite.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db")))
    first = f"{path}.before-restore"
    assert kept == [first, f"{first}-2", f"{first}-3"]
    assert [require_origin_of_intact_backup(name).record_count for name in kept[:2]] == [2, 0]
    assert path.with_name("prod.db.before-restore-3").read_bytes() == b"rubbish"


def test_what_a_restore_replaces_is_kept_where_files_have_no_links(
    sqlite, path, tmp_path, monkeypatch
):
    """As a copy, as private as the state."""
    sqlite.write_backup(str(tmp_path / "backup.db"))
    fill(sqlite)
    monkeypatch.setattr(os, "link", no_links)
    first, second = (
        Path(sqlite.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db")))
        for _ in range(2)
    )
    assert (
        require_origin_of_intact_backup(str(first)).record_count,
        require_origin_of_intact_backup(str(second)).record_count,
    ) == (2, 0)
    assert first.stat().st_mode & 0o777 == 0o600


def no_links(*_names, **_options):
    """As FAT answers."""
    raise PermissionError(1, "Operation not permitted")


def test_a_first_state_replaces_nothing(open_store, sort, store, tmp_path):
    """Nothing is kept then."""
    store.write_backup(str(tmp_path / "backup"))
    fresh = open_store(sort, "new")
    assert (
        fresh.restore_backup_and_return_kept_path_or_empty(
            str(tmp_path / "backup"), kept_path_unless_beside_file=str(tmp_path / "kept")
        )
        == ""
    )
    assert not (tmp_path / "kept").exists()
    fresh.close()


def test_a_backup_that_is_not_wanted_replaces_nothing(store, tmp_path):
    """Whose it is is seen before; in every sort of store."""
    store.write_backup(str(tmp_path / "backup"))
    fill(store)
    seen = []

    def vet(binding, lineage):
        seen.append((binding, lineage))
        raise StateError.from_summary("Not this one", "It is another's.")

    with pytest.raises(StateError, match="Not this one"):
        store.restore_backup_and_return_kept_path_or_empty(
            str(tmp_path / "backup"), vet, str(tmp_path / "kept")
        )
    assert seen == [(BINDING, LINEAGE)]
    assert len(store.read_state().records) == 2
    assert not list(tmp_path.rglob("*kept*")) + list(tmp_path.rglob("*before-restore*"))


def test_another_store_on_the_file_sees_the_restored_state(sqlite, path, tmp_path):
    """A connection to the replaced file is not used on."""
    sqlite.write_backup(str(tmp_path / "backup.db"))
    other = make_unopened_sqlite_store(path)
    fill(other)
    assert len(sqlite.read_state().records) == 2
    other.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup.db"))
    other.close()
    assert sqlite.read_state().records == {}


def test_the_inventory_is_what_an_import_needs(store):
    """Plain data, by address."""
    fill(store)
    assert build_inventory_sorted_by_address(store.read_state()) == [
        {"address": "plugin/yolo", "id": "1", "api": "v1", "version": None, "digest": None},
        {
            "address": "release/b@1",
            "id": "2",
            "api": "v1",
            "version": "1",
            "digest": f"pkg1:sha256:{'ef' * 32}",
        },
    ]
