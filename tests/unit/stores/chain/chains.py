"""States in a chain over a bucket in memory, whose clocks are moved by hand."""

from __future__ import annotations

import hashlib
import hmac

from contract.stores.leases import Hands
from contract.stores.samples import BINDING, LINEAGE, record
from object_folders import MemoryBucket, MemoryFolder

from synapse_apply.stores.chain.chain_log import ChainLog
from synapse_apply.stores.replica.replica_database import ReplicaDatabase
from synapse_apply.stores.sql import SqlStore


class KeySigner:
    """A Signer with a key, which says "" for a signature of nobody, and None for another key's."""

    is_renewed = False

    def __init__(self, key="k"):
        self.key = key

    def sign_or_empty_without_key(self, content):
        """The name of the key, and the HMAC."""
        return (
            f"{self.key}:{hmac.digest(self.key.encode(), content.encode(), hashlib.sha256).hex()}"
        )

    def is_genuine_or_none_if_uncheckable(self, content, signature):
        """As the port says."""
        if signature and not signature.startswith(f"{self.key}:"):
            return None
        return signature == self.sign_or_empty_without_key(content)

    def describe_places_to_put_key(self):
        """One place."""
        return "KEY"


class Chains:
    """One bucket, and whoever opens the chain in it."""

    def __init__(self, bucket=None, prune_age=3600.0):
        self.bucket = bucket or MemoryBucket()
        self.prune_age = prune_age

    make_folder = MemoryFolder

    def open(self, signer=None, **switches):
        """Another process, with the state of its network."""
        folder = self.make_folder(self.bucket, **switches)
        runner = Hands().runner()
        log = ChainLog(folder, signer, runner.timing, prune_age_seconds=self.prune_age)
        store = SqlStore(ReplicaDatabase(log), runner=runner)
        store.folder, store.log = folder, log
        return store

    def make(self, signer=None, **switches):
        """The first one, which makes the state."""
        store = self.open(signer, **switches)
        store.create_state(BINDING, LINEAGE)
        return store

    def names(self, part):
        """What the bucket has of a sort, by number."""
        return sorted(name for name in self.bucket.contents if f"{part}/" in name)


def write_many(store, count, first=0):
    """So many links, each with a record."""
    with store.lock("apply"):
        for number in range(first, first + count):
            store.write_records(record(f"p{number}", str(number)))


def addresses(store):
    """What is recorded."""
    return sorted(address.name for address in store.read_state().records)
