"""SIGSTOP inside a write of a state in a bucket, continued after another has taken over."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import closing

import pytest
from buckets.folders import open_folder_at
from buckets.proxy import BucketProxy
from buckets.servers import BucketServer
from fault.commands import LEASE, SECONDS, applying, ended
from fault.convergence import DEEP, Row, command, converge
from fault.site import COUNTS, LATER, MakeSite, Site, tally
from fault.test_suspended import another
from stopping import suspend

from synapse_apply.secrets.keys import KEY_VARIABLE, load_keys_and_restrict_files
from synapse_apply.secrets.signatures import StateKeySigner
from synapse_apply.stores.chain import link_format
from synapse_apply.stores.chain.chain_log import ChainLog
from synapse_apply.stores.replica.replica_database import ReplicaDatabase
from synapse_apply.stores.sql import SqlStore

# Of an apply of one plugin, its release and a storage: two writes each, behind that of the lock.
WRITES = range(2, 8)
ALL = [(moment, nth, prunes) for moment in ("before", "after") for nth in WRITES
       for prunes in (False, True)]  # fmt: skip


def go_on_until_all_is_pruned(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write until snapshots have replaced every link that may be deleted, and delete these."""
    keys = load_keys_and_restrict_files({KEY_VARIABLE: site.environ["SYNAPSE_APPLY_STATE_KEY"]})
    folder = open_folder_at(site.environ["FAULT_STATE_URL"], BucketServer.environ)
    signer = StateKeySigner("link of a state", lambda: keys)
    with closing(folder), monkeypatch.context() as patched:
        patched.setattr(link_format, "MOST_LINKS", 3)
        store = SqlStore(ReplicaDatabase(ChainLog(folder, signer, prune_age_seconds=0.0)))
        with store.lock("others"):
            for number in range(12):
                store.mark_plan_applied(f"plan {number}")
        numbers = [int(info.name[-12:]) for info in folder.list_objects("links/")]
    # The link by which the lock was taken over stands, and the one before it; else the newest.
    assert len([number for number in numbers if number < max(numbers) - 8]) == 2


def require_nothing_is_sent(site: Site, first: subprocess.Popen[str]) -> None:
    """It asks for nothing and writes nothing, and says that the lock was lost."""
    arrived, written = site.server.counts()[-1]["seen"], site.written()
    first.send_signal(signal.SIGCONT)
    code, out, err = ended(first)
    report = json.loads(out)
    results = {outcome["result"] for outcome in report["outcomes"]}
    # Of an apply whose last write had arrived nothing but the lock was lost.
    assert code == (7 if "unknown" in results else 6 if results == {"done"} else 3), out + err
    assert report["lock_lost"]
    assert site.server.counts()[-1]["seen"] == arrived
    assert site.written() == written


@pytest.mark.parametrize(("moment", "nth", "prunes"), ALL if DEEP else [("before", 3, True)])
def test_stopped_in_a_put(
    make_site: MakeSite,
    seaweed: BucketServer,
    proxy: BucketProxy,
    monkeypatch: pytest.MonkeyPatch,
    row: Row,
    moment: str,
    nth: int,
    prunes: bool,
) -> None:
    """What it had sent arrives late, or has arrived; it sends nothing more, and nothing is lost."""
    site = make_site(groups=1, state_url=seaweed.url(port=proxy.port))
    site.server.faults(COUNTS)
    proxy.hang_at_link(nth, moment)
    with applying(site, lease=LEASE) as first:
        assert proxy.reached.wait(SECONDS), first.communicate()
        suspend(first)
        proxy.choose = lambda _method, _path: None
        another(site, later=LATER)
        if prunes:
            go_on_until_all_is_pruned(site, monkeypatch)
        proxy.flows.set()
        require_nothing_is_sent(site, first)
    assert not tally(site.server, site.expected)["duplicates"]
    # What was done and could not be recorded is in a file, if it is not in the state by now.
    for path in (site.root / ".synapse-apply").glob("unrecorded-*.jsonl"):
        command(site, f"state record {path} -t site")
    converge(site, None, row)
