"""`python -m contract.controller.store_process VERB NUMBER`: another process that uses a store.

The store's URL is the variable STORE_URL. `count` reads and writes NUMBER times, as the loop does;
`stand` writes a source and stands still before its end, NUMBER seconds at the most.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

from synapse_apply.controller.rows import RevisionRow, SourceRow, TargetName, TargetRow
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.postgres_store import PostgresControllerStore
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.model.values import Sensitive

PROD = TargetName("acme", "prod")


def count(store: ControllerStore, times: int) -> None:
    """Make the next head `times` times, and count it on a target and in the audit."""
    for _ in range(times):
        with store.write() as writer:
            # Read on other connections, as the loop does in its transactions.
            source = store.find_source("acme") or SourceRow("acme")
            target = store.find_target(PROD) or TargetRow(PROD)
            number = source.head_number + 1
            writer.put(source)
            revision = RevisionRow("acme", number, f"c{number}", 1.0)
            assert writer.accept_head("acme", number - 1, revision)
            writer.put(replace(target, failures=target.failures + 1))
            writer.append_audit(1.0, "proxy:ann", "count", str(PROD), str(os.getpid()))


def stand(store: ControllerStore, seconds: int) -> None:
    """Stand still in a transaction; says `lost` where the store did not wait for its end."""
    try:
        with store.write() as writer:
            writer.put(SourceRow("stopped"))
            assert writer.list_due(1.0, 1) == []  # all of it has reached the server
            print("begun", flush=True)
            time.sleep(seconds)
    except StoreUnavailable:
        print("lost", flush=True)


if __name__ == "__main__":
    with_verb = {"count": count, "stand": stand}
    made = PostgresControllerStore(Sensitive(os.environ["STORE_URL"]))
    with_verb[sys.argv[1]](made, int(sys.argv[2]))
    made.close()
