"""What a call costs a state does not depend on how much the state holds."""

from __future__ import annotations

from dataclasses import replace

from contract.stores.leases import Hands, open_at
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record

from synapse_apply.model.state import IntentState


def statements_of_one_call(store, monkeypatch, number):
    """How many statements, and rows read, it takes to announce and settle one create."""
    counted = []
    write = store._database.write_in_transaction

    def counting(work):
        def watched(run):
            def one(sql, values):
                rows = run(sql, values)
                counted.append(len(rows))
                return rows

            return work(one)

        return write(watched)

    with monkeypatch.context() as patch:
        patch.setattr(store._database, "write_in_transaction", counting)
        begun = intent(f"new{number}", ident=f"new{number}")
        store.open_intent_and_use_up_its_approvals(begun)
        done = replace(begun, state=IntentState.DONE)
        store.close_ended_intent(done, record(f"new{number}", f"new{number}"), entry())
    return len(counted), sum(counted)


def test_a_call_costs_the_same_among_ten_and_among_two_thousand_records(where, monkeypatch):
    """The same number of statements, and of rows that they read."""
    store = open_at(where, runner=Hands().runner())  # no sign of life is counted among them
    store.create_state(BINDING, LINEAGE)
    costs = []
    with store.lock("test"):
        for size in (10, 100, 2000):
            store.write_records(*(record(f"p{number}", str(number)) for number in range(size)))
            costs.append(statements_of_one_call(store, monkeypatch, size))
    store.close()
    assert costs[0] == costs[1] == costs[2], costs
