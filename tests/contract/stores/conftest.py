"""One store of each sort, locked or not."""

from __future__ import annotations

import os
from collections import defaultdict
from threading import Lock
from uuid import uuid4

import pytest
from buckets.folders import open_folder_at
from buckets.servers import BUCKET_SORT, BUCKET_STORE
from contract.stores.git.repositories import open_git_at
from contract.stores.leases import BUCKET_ENVIRON, CHAIN, GIT
from contract.stores.samples import BINDING, LINEAGE
from object_folders import MemoryBucket, MemoryFolder

from synapse_apply.stores.chain.chain_log import make_unread_chain_store
from synapse_apply.stores.postgres.postgres_database import make_unconnected_postgres_store
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"
# A write to a log takes a process or two, or a request, and the replica above both logs is that of
# a chain. So these are in every run, and all others with SYNAPSE_APPLY_TEST_DEEP=1; on Azure all
# are in every run of `make azure`.
TESTS_OF_LOGS = {
    "git": {
        "test_a_killed_holder_is_replaced[git-20]",
        "test_a_silent_holder_is_replaced_after_one_lease[git]",
        "test_a_state_that_another_run_moves_on_meanwhile_is_not_older[git]",
        "test_a_lock_lost_between_two_writes_is_noticed_without_a_write[git]",
        "test_giving_back_what_was_lost_leaves_the_new_holder_alone[git]",
        "test_a_state_without_some_of_its_rows_comes_back_too[git-DROP TABLE records]",
        "test_audit_gives_the_newest_first_and_no_more_than_asked[git]",
        "test_everything_moves[git-sqlite]",
        "test_everything_moves[sqlite-git]",
        "test_an_approval_is_used_once[git]",
        "test_a_call_without_effect_gives_it_back[git-IntentState.FAILED]",
    },
    "s3": {
        "test_a_killed_holder_is_replaced[s3-0]",
        "test_a_killed_holder_is_replaced[s3-20]",
        "test_a_stopped_holder_that_wakes_up_writes_nothing[s3]",
        "test_many_processes_take_turns[s3]",
        "test_all_at_once_one_writes_and_the_others_hear_of_it[s3]",
        "test_a_lock_lost_between_two_writes_is_noticed_without_a_write[s3]",
        "test_giving_back_what_was_lost_leaves_the_new_holder_alone[s3]",
        "test_a_state_without_some_of_its_rows_comes_back_too[s3-DROP TABLE records]",
        "test_a_backup_restores_everything_into_an_empty_place[s3]",
        "test_audit_gives_the_newest_first_and_no_more_than_asked[s3]",
        "test_everything_moves[s3-sqlite]",
        "test_everything_moves[sqlite-s3]",
    },
}


def pytest_collection_modifyitems(config, items):
    """Leave out what is too slow for every run."""
    left_out = {
        item
        for item in items
        if not DEEP
        and hasattr(item, "callspec")
        and item.nodeid.startswith("tests/contract/stores/test_")
        and any(
            sort in item.callspec.params.values() and item.name not in tests
            for sort, tests in TESTS_OF_LOGS.items()
        )
    }
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def server(postgres):
    """The PostgreSQL server of this test process."""
    return postgres


@pytest.fixture
def url(server):
    """Where a state in PostgreSQL is to be: a schema of its own."""
    return server.url(schema=f"state_{uuid4().hex}")


@pytest.fixture
def bucket_url(request):
    """Where a state in a bucket is to be: a folder of its own."""
    return request.getfixturevalue(BUCKET_STORE).url()


@pytest.fixture
def open_store(request, tmp_path):
    """Opens a store of a sort by name, empty unless this test opened it before."""
    opened = []
    buckets = defaultdict(MemoryBucket)
    turn = Lock()  # threads of a test open stores too, and a fixture is made for one at a time

    def open_one(sort, name="t", **more):
        if sort == "chain":
            # A folder of its own for each store, as for two processes.
            opened.append(make_unread_chain_store(MemoryFolder(buckets[name]), **more))
        elif sort == "git":
            opened.append(open_git_at(tmp_path / f"{name}.git", **more))
        elif sort == BUCKET_SORT:
            bucket_url = request.getfixturevalue("bucket_url")
            url = bucket_url.replace("?", f"_{name}?", 1)
            opened.append(make_unread_chain_store(open_folder_at(url, BUCKET_ENVIRON), **more))
        elif sort == "sqlite":
            opened.append(make_unopened_sqlite_store(tmp_path / name / "state.db", **more))
        else:
            with turn:
                url = request.getfixturevalue("url")
            opened.append(make_unconnected_postgres_store(f"{url}_{name}", "t", **more))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture(params=["sqlite", "postgres", "chain", "git", BUCKET_SORT])
def sort(request):
    """Each sort of store."""
    return request.param


@pytest.fixture(params=["sqlite", "postgres", "chain", "git", BUCKET_SORT])
def shared(request):
    """Each sort of store that several processes can use."""
    return request.param


@pytest.fixture
def where(request, shared, tmp_path):
    """The path or url of a state that several processes can use."""
    if shared == "sqlite":
        return str(tmp_path / "state.db")
    if shared == "chain":
        return f"{CHAIN}{tmp_path / 'chain'}"
    if shared == "git":
        return f"{GIT}{tmp_path / 'state.git'}"
    if shared == BUCKET_SORT:
        return request.getfixturevalue("bucket_url")
    return request.getfixturevalue("url")


@pytest.fixture
def empty(open_store, sort):
    """A store without a state."""
    return open_store(sort)


@pytest.fixture
def store(empty):
    """A store with an empty state."""
    empty.create_state(BINDING, LINEAGE)
    return empty


@pytest.fixture
def locked(store):
    """A store with an empty state, held for writing."""
    with store.lock("test"):
        yield store


@pytest.fixture
def path(tmp_path):
    """Where a SQLite state is to be."""
    return tmp_path / ".synapse-apply" / "state" / "prod.db"


@pytest.fixture
def sqlite(path):
    """A SQLite store with an empty state."""
    store = make_unopened_sqlite_store(path)
    store.create_state(BINDING, LINEAGE)
    yield store
    store.close()
