"""The machine of the chain, over a real object store; and the same script over a Git repository.

Only with SYNAPSE_APPLY_TEST_DEEP=1: each step is a request or several processes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import MutableMapping
from functools import partial
from pathlib import Path

import obstore
import pytest
from buckets.folders import open_folder_at
from contract.stores.git.repositories import REF, KeySigner, make_log
from contract.stores.leases import Hands
from git_repositories import git, make_bare_repository
from laws.effort import DEEP, effort
from object_folders import MemoryBucket, MemoryFolder
from unit.stores.chain.chains import Chains
from unit.stores.chain.test_chain_machine import ChainMachine

from synapse_apply.stores import schema
from synapse_apply.stores.chain import link_format
from synapse_apply.stores.git.git_url import RemoteUnreachable
from synapse_apply.stores.replica.replica_database import ReplicaDatabase
from synapse_apply.stores.sql import SqlStore

pytestmark = pytest.mark.deep
SERVERS = []


@pytest.fixture(scope="module", autouse=True)
def bucket_server(moto):
    """For a machine, which gets no fixtures."""
    SERVERS.append(moto)


class RemoteContents(MutableMapping):
    """The objects of a folder on a server, as those of a bucket in memory."""

    def __init__(self, folder):
        self.folder = folder

    def __getitem__(self, name):
        content = self.folder.get_or_none_if_absent(name)
        if content is None:
            raise KeyError(name)
        return content

    def __setitem__(self, name, content):
        """By whoever may: no condition is sent."""
        obstore.put(self.folder._store, name, content)

    def __delitem__(self, name):
        self.folder.delete_and_count_undeleted([name])

    def __iter__(self):
        for prefix in ("audit/", "links/", "snapshots/"):
            yield from (info.name for info in self.folder.list_objects(prefix))

    def __len__(self):
        return sum(1 for _ in self)


class RemoteBucket(MemoryBucket):
    """A folder on the server, which decides what is made."""

    def put(self, name, content, *, ignores_condition=False):
        """Ask the server to make it if it is absent."""
        del ignores_condition
        return self.contents.folder.try_put_if_absent_and_tell_if_certain(name, content)


class RemoteFolder(MemoryFolder):
    """The faults of a network on the way to the server."""

    def list_objects(self, prefix, after=""):
        """As the server lists them."""
        self._go()
        return self.bucket.contents.folder.list_objects(prefix, after)

    def get_objects_or_none_in_order(self, names):
        """As the server has them."""
        self._go()
        return self.bucket.contents.folder.get_objects_or_none_in_order(names)


class RemoteChains(Chains):
    """A chain on the server."""

    make_folder = RemoteFolder


class ServerMachine(ChainMachine):
    """The chain on a server of S3."""

    def make_chains(self):
        """In a folder of its own."""
        (server,) = SERVERS
        folder = open_folder_at(server.url(), server.environ)
        return RemoteChains(RemoteBucket(RemoteContents(folder)), prune_age=0.0)

    def teardown(self):
        """The folder is let go of."""
        super().teardown()
        self.chains.bucket.contents.folder.close()


class Network:
    """What becomes of the pushes of one process: the switches of MemoryFolder."""

    loses_answers = denies_success = is_unavailable = delays_puts = is_unreachable = False

    def concerns(self, switch):
        """Whether it concerns this push."""
        number = getattr(self, switch)
        if number and number is not True:
            setattr(self, switch, number - 1)
        return bool(number)


class Repository:
    """A bare repository with the state; each commit that the ref has named, and its batch."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.remote = make_bare_repository(self.folder / "state.git")
        self.in_flight, self.tips, self.told, self.contents = [], [], set(), {}
        self.put = None  # of a bucket

    def deliver(self, index):
        """A push arrives late."""
        self.in_flight[index]()

    def note_tip(self, batch):
        """One history: each commit follows the one before, and is of whoever has the lock."""
        tip = git(self.remote, "for-each-ref", "--format=%(objectname)", REF)
        if self.tips and tip == self.tips[-1]:
            return
        message = json.loads(git(self.remote, "log", "-1", "--format=%B", tip).splitlines()[-1])
        assert message["number"] == len(self.tips) + 1
        assert message["previous"] == (self.tips[-1] if self.tips else "")
        assert message["batch"] == batch.batch_id
        self.tips.append(tip)
        for change in batch.changes:
            if change.table == "plans":
                assert str(change.key).startswith(f"{batch.lock_id} ")
                self.told.add(change.key)


class Repositories:
    """Whoever opens the state in one repository."""

    def __init__(self):
        self.bucket = Repository()

    def names(self, part):
        """There are no objects to ruin."""
        del part
        return []

    def open(self, signer=None):
        """Another process, with the state of its network."""
        del signer
        url = f"git:file://{self.bucket.remote}?pace=0"
        log = make_log(self.bucket.remote.parent, url, KeySigner(), batches_per_root=7)
        log._timing = Hands().runner().timing
        store = SqlStore(ReplicaDatabase(log), runner=Hands().runner())
        store.folder, store.log = Network(), log
        repository = log._repository
        repository.push_once = partial(self.push, repository, repository.push_once, store)
        read = repository.ask_remote_for_commit_of_ref_or_empty
        repository.ask_remote_for_commit_of_ref_or_empty = partial(
            self.read_remote_ref, read, store.folder
        )
        return store

    def read_remote_ref(self, read, network, ref):
        """Nothing where the network is gone."""
        if network.is_unreachable:
            raise RemoteUnreachable.from_summary("gone")
        return read(ref)

    def push(self, repository, push, store, *given):
        """What the network does to it."""
        network, batch = store.folder, store.log._attempt.batch
        nothing = repository.run_git_within_deadline(
            "rev-parse", "--verify", "--quiet", "refs/none"
        )
        assert nothing.exit_code
        if network.is_unreachable or network.concerns("is_unavailable"):
            return nothing

        def arrive():
            answer = push(*given)
            self.bucket.note_tip(batch)
            return answer

        if network.concerns("delays_puts"):
            self.bucket.in_flight.append(arrive)
            return nothing
        answer = arrive()
        is_lost = network.concerns("loses_answers") or network.concerns("denies_success")
        return nothing if is_lost else answer


class GitMachine(ChainMachine):
    """The same script over a ref of a Git repository, which is squashed every seven commits."""

    def make_chains(self):
        """A repository of its own."""
        return Repositories()

    def check(self, reader):
        """A reader has what was acknowledged, and what the history says."""
        read = reader._database.read_in_snapshot
        plans = {plan_id for (plan_id, _) in read(lambda run: run(schema.ALL_PLANS, ()))}
        assert plans == self.chains.bucket.told
        assert self.acknowledged <= plans
        assert reader.log._tip.commit_id == self.chains.bucket.tips[-1]

    def teardown(self):
        """All processes are ended."""
        super().teardown()
        for store in (*self.stores, self.reader):
            store.log._attempt = None
            store.close()
        shutil.rmtree(self.chains.bucket.folder)


# A request takes some milliseconds, a push some tens.
if DEEP:

    class TestOnServer(ServerMachine.TestCase):
        """With snapshots after three links, and everything pruned that may be."""

        settings = effort(1, 40, steps=25)

        def setUp(self):
            self.most_links, link_format.MOST_LINKS = link_format.MOST_LINKS, 3

        def tearDown(self):
            link_format.MOST_LINKS = self.most_links

    class TestInGit(GitMachine.TestCase):
        """A tenth of the steps are pushes that are lost, late or repeated."""

        settings = effort(1, 15, steps=20)
