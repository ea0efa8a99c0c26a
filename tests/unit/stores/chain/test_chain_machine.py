"""Holders, takers, readers and pruners of one chain, on a network that loses, repeats and delays."""

from __future__ import annotations

from itertools import count

from contract.stores.samples import BINDING, LINEAGE
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from laws.effort import effort
from unit.stores.chain.chains import Chains, KeySigner

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.stores import schema
from synapse_apply.stores.chain import link_format
from synapse_apply.stores.chain.link_format import Link, decode_object_of_number

HOLDERS = 3
# What the network does to the next request of a process, or to each one.
FAULTS = {
    "none": {},
    "answer lost": {"loses_answers": 1},
    "412 to its own link": {"denies_success": 1},
    "503": {"is_unavailable": 1},
    "delayed once": {"delays_puts": 1},
    "all delayed": {"delays_puts": True},
    "gone": {"is_unreachable": True},
}
SWITCHES = {switch: False for switches in FAULTS.values() for switch in switches}
clients = st.integers(0, HOLDERS - 1)
faults = st.sampled_from([*FAULTS])


class ChainMachine(RuleBasedStateMachine):
    """The chain as the package has it, and beside it each link that was first made."""

    def __init__(self):
        super().__init__()
        self.chains = self.make_chains()
        self.first_links, self.decoded = {}, {}
        self.acknowledged = set()
        self.numbers = count()
        self.stores = [self.chains.open(KeySigner()) for _ in range(HOLDERS)]
        self.lock_ids = [""] * HOLDERS
        # Stopped in the middle of a write, until they are woken.
        self.stopped = set()
        self.reader = self.chains.open(KeySigner())
        put = self.chains.bucket.put

        def put_and_note(name, content, **options):
            made = put(name, content, **options)
            if made and "links/" in name:
                self.first_links.setdefault(int(name[-12:]), content)
            return made

        self.chains.bucket.put = put_and_note

    def make_chains(self):
        """A bucket in memory; laws/test_logs_on_servers.py has servers in its place."""
        return Chains(prune_age=0.0)

    @initialize()
    def make_state(self):
        """By one that then lets go."""
        self.chains.open(KeySigner()).create_state(BINDING, LINEAGE)

    def act(self, client, fault, work):
        """Run a transaction of a client on this network; whether it was acknowledged."""
        if client in self.stopped:
            return False
        store = self.stores[client]
        vars(store.folder).update({**SWITCHES, **FAULTS[fault]})
        try:
            store._database.write_in_transaction(work)
        except LockLost:
            self.lock_ids[client] = ""
            return False
        except StateError:
            return False
        finally:
            vars(store.folder).update(SWITCHES)
            in_flight = self.chains.bucket.in_flight
            in_flight[:] = list(dict.fromkeys(in_flight))
        return True

    @rule(client=clients, fault=faults)
    def take_lock(self, client, fault):
        """At any time, whoever holds it: leases may be thought over at any time."""
        lock_id = f"lock-{client}-{next(self.numbers)}"

        def replace_lock_row(run):
            run(schema.DROP_LOCK, ())
            run(schema.ADD_LOCK, (1, lock_id, 1, 1, *["h", "b", 1, *["t"] * 5]))

        if client not in self.stopped:
            self.act(client, fault, replace_lock_row)
            self.lock_ids[client] = lock_id

    @rule(client=clients)
    def remove_lock(self, client):
        """A person does, from elsewhere."""
        if client not in self.stopped:
            self.act(client, "none", lambda run: run(schema.DROP_LOCK, ()))
            self.lock_ids[client] = ""

    @rule(client=clients, fault=faults, times=st.sampled_from([1, 2, 10]))
    def write(self, client, fault, times):
        """What is acknowledged is never lost; under a lost lock nothing is written."""
        lock_id = self.lock_ids[client]
        for _ in range(times if lock_id else 0):
            plan_id = f"{lock_id} {next(self.numbers)}"

            def add_plan(run, plan_id=plan_id):
                if [row[1] for row in run(schema.GET_LOCK, ())] != [lock_id]:
                    raise LockLost.from_summary("lost")
                run(schema.ADD_PLAN, (plan_id, ""))

            if self.act(client, fault, add_plan):
                self.acknowledged.add(plan_id)

    @rule(
        client=clients,
        steps=st.integers(1, HOLDERS - 1),
        in_take=st.booleans(),
        is_removed=st.booleans(),
    )
    def stop_and_overtake(self, client, steps, in_take, is_removed):
        """In the middle of a write or of taking the lock; others go on until it is all pruned."""
        self.take_lock(client, "all delayed" if in_take else "none")
        self.write(client, "all delayed", 1)
        self.stopped.add(client)
        other = (client + steps) % HOLDERS
        if is_removed:
            self.remove_lock(other)
        self.take_lock(other, "none")
        self.write(other, "none", 10)

    @rule(client=clients)
    def wake(self, client):
        """Perhaps long after others have taken its place, and all that was pruned."""
        self.stopped.discard(client)
        self.write(client, "none", 1)

    @rule(client=clients, fault=faults)
    def release_lock(self, client, fault):
        """The holder gives it back."""
        if client not in self.stopped:
            lock_id, self.lock_ids[client] = self.lock_ids[client], ""
            self.act(client, fault, lambda run: run(schema.RELEASE_LOCK, (lock_id,)))

    @rule(index=st.integers(0, 50))
    def deliver(self, index):
        """A request arrives late, perhaps once more."""
        if self.chains.bucket.in_flight:
            self.chains.bucket.deliver(index % len(self.chains.bucket.in_flight))

    @rule()
    def ruin_newest_snapshot(self):
        """The one before and the links behind it tell the same, as long as that is not ruined."""
        contents, snapshots = self.chains.bucket.contents, self.chains.names("snapshots")
        if snapshots and all(contents[name] != b"rubbish" for name in snapshots):
            contents[snapshots[-1]] = b"rubbish"
            self.check(self.chains.open(KeySigner()))

    @rule()
    def read(self):
        """A reader sees all, one that looked before at least what it saw."""
        self.check(self.reader)
        self.check(self.chains.open(KeySigner()))

    def check(self, reader):
        """What a reader sees is what all links until there say, and holds all acknowledged."""
        plans = {
            plan_id
            for (plan_id, _) in reader._database.read_in_snapshot(
                lambda run: run(schema.ALL_PLANS, ())
            )
        }
        number, digest = reader.log.last_link_number_and_digest
        told, last = set(), ""
        for at in range(1, number + 1):
            if at not in self.decoded:
                self.decoded[at] = decode_object_of_number(self.first_links[at], at, KeySigner())
            decoded = self.decoded[at]
            assert isinstance(decoded.value, Link)
            assert decoded.value.previous == last
            last = decoded.digest
            for change in decoded.value.batch.changes:
                if change.table == "plans":
                    told.add(change.key)
                    assert str(change.key).startswith(f"{decoded.value.lock.lock_id} ")
        assert (plans, digest) == (told, last)
        assert number == max(self.first_links)
        assert self.acknowledged <= plans

    def teardown(self):
        """Whatever happened."""
        self.check(self.chains.open(KeySigner()))


class TestChainMachine(ChainMachine.TestCase):
    """With snapshots after three links, and everything pruned that may be."""

    settings = effort(8, 3000, steps=40)

    def setUp(self):
        self.most_links, link_format.MOST_LINKS = link_format.MOST_LINKS, 3

    def tearDown(self):
        link_format.MOST_LINKS = self.most_links
