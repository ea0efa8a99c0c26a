"""Locks with clocks that are moved by hand, and holders that are somewhere else."""

from __future__ import annotations

import time
from pathlib import Path

from buckets.folders import open_folder_at
from buckets.servers import BUCKET_SORT, AzuriteServer, BucketServer
from contract.stores.git.repositories import open_git_at
from object_folders import DiskFolder

from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.chain.chain_log import make_unread_chain_store
from synapse_apply.stores.database import LeaseTiming
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.lock.lock_owner import LockProcess
from synapse_apply.stores.postgres.postgres_database import make_unconnected_postgres_store
from synapse_apply.stores.postgres.postgres_url import is_postgres_url
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

NEVER = 3600.0
CHAIN, GIT = "chain:", "git:"
# Logs: each write shows that the owner lives, and there is no lock before there is a state.
LOGS = ("chain", "git", BUCKET_SORT)
BUCKET_ENVIRON = {**BucketServer.environ, **AzuriteServer.environ}
ELSEWHERE = LockProcess("elsewhere", "another boot", 1, "5", "they@elsewhere")


class Hands:
    """A clock that stands still until somebody waits on it."""

    def __init__(self, *, on_pause=lambda: None):
        """`on_pause` is what happens while somebody waits."""
        self.now = 1000.0
        self._on_pause = on_pause

    def move(self, seconds):
        """Let time pass, for this clock alone."""
        self.now += seconds
        self._on_pause()

    def read(self):
        """What it shows."""
        return self.now

    def runner(self, **more):
        """Someone who goes by this clock and gives no sign of life by itself."""
        timing = LeaseTiming(
            heartbeat_seconds=NEVER,
            monotonic=self.read,
            boottime=self.read,
            sleep_for=self.move,
            longest_pause=5.0,
        )
        return LockRunner(timing=timing, **more)


def quick(lease, beat=0.1, **clocks):
    """Someone who gives signs of life, and asks for a lock, as often as a test can wait for."""
    timing = LeaseTiming(
        lease_seconds=lease,
        heartbeat_seconds=beat,
        shortest_pause=0.01,
        longest_pause=0.05,
        **clocks,
    )
    return LockRunner(timing=timing)


def patient(*, hour_passes="", **more):
    """Someone whose lease lasts however slow the machine is, and who replaces others after 1.2 s.

    The clock by which it watches others is fast, that of its own lease is not: that one shows an
    hour more as soon as there is a file `hour_passes`. So it works with others who are `patient`.
    """
    timing = LeaseTiming(
        lease_seconds=60.0,
        heartbeat_seconds=0.1,
        shortest_pause=0.01,
        longest_pause=0.05,
        monotonic=lambda: 50 * time.monotonic(),
        boottime=lambda: time.monotonic() + (NEVER if Path(hour_passes).is_file() else 0.0),
    )
    return LockRunner(timing=timing, **more)


def eventually(true, seconds=60.0, pause=0.005):
    """Wait for something another thread or process does; `pause` is between two questions."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(pause)


def find_fast_beat(sort):
    """Seconds between signs of life that leave others time for a write of their own."""
    return 0.3 if sort == "git" else 0.01


def open_at(where, **more):
    """The store at a path or a url, for programs that are handed one."""
    if where.startswith(CHAIN):
        return make_unread_chain_store(DiskFolder(Path(where.removeprefix(CHAIN))), **more)
    if where.startswith(GIT):
        return open_git_at(Path(where.removeprefix(GIT)), **more)
    if is_bucket_url(where):
        return make_unread_chain_store(open_folder_at(where, BUCKET_ENVIRON), **more)
    return (
        make_unconnected_postgres_store(where, "t", **more)
        if is_postgres_url(where)
        else make_unopened_sqlite_store(where, **more)
    )
