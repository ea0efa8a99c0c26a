"""Other processes that use a state."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from forking import ForkedProcess

TESTS = Path(__file__).resolve().parents[2]

# Holds the lock and does what it is told, one line each: `put NAME`, `request`, `end`.
# Its lease has run out once there is a file, its last argument.
HOLDER = """
import sys
from contract.stores.leases import open_at, patient
from contract.stores.samples import record
from synapse_apply.model.errors import StateError

store = open_at(sys.argv[1], runner=patient(hour_passes=sys.argv[3]))
try:
    with store.lock("apply", timeout=float(sys.argv[2])):
        print("held", flush=True)
        for line in sys.stdin:
            verb, _, name = line.strip().partition(" ")
            if verb == "end":
                break
            if verb == "request":
                print(store.holds_lock(), flush=True)
                continue
            try:
                store.write_records(record(name, name))
                print("written", flush=True)
            except StateError as problem:
                print(type(problem).__name__, problem, flush=True)
except StateError as problem:
    print(type(problem).__name__, problem, flush=True)
"""

# Adds one to a number under the lock, over and over; makes the state if it comes first.
COUNTER = """
import sys
from contract.stores.leases import open_at, quick
from contract.stores.samples import BINDING, LINEAGE, record
from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError

store = open_at(sys.argv[1], runner=quick(lease=30))
try:
    with store.lock("apply", timeout=60):
        if not store.exists():
            store.create_state(BINDING, LINEAGE)
except StateError as problem:
    # Where nothing can be locked before there is a state, only one of those who make it succeeds.
    assert "A state already exists" in str(problem), problem
for _ in range(int(sys.argv[2])):
    with store.lock("apply", timeout=60):
        found = store.find_record(Address("plugin", "yolo"))
        store.write_records(record(series=str(int(found.series) + 1 if found else 1)))
"""


def surroundings():
    """The environment in which another process finds the tests and the package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


@contextmanager
def program(code, *arguments):
    """A process with pipes; it is gone when the block ends."""
    with ForkedProcess(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=surroundings(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process, line):
    """One line there, one line back."""
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()
