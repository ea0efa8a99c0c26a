"""What one resource costs the state, at 100, 1,000 and 10,000 of them.

Prints a table: seconds a resource for announcing and settling its call (`begin`, `settle`) while
so many records are there, by one thread and by ten, and for a whole first apply of so many
storages on the embedded backend. The ratios to the smallest size are the point: a cost that does
not grow stays near 1. Run it with `make bench`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from synapse_apply.model.address import Address
from synapse_apply.model.state import AuditEntry, BackendIdentity, Intent, IntentState, Record
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

SIZES = (100, 1_000, 10_000)
CALLS = 200
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: s{0}}}
spec: {{name: s{0}, provider: file_system, category: internal, configuration: {{base_path: /{0}}}}}
"""


def record(number: int) -> Record:
    """A record of about the size that a storage has."""
    fields = {("name",): f"s{number}", ("configuration", "base_path"): f"/{number}"}
    return Record(
        Address("storage", f"s{number}"), str(number), "v1", f"name=s{number}", fields, fields
    )


def call(store: SqlStore, number: int) -> None:
    """One create as an apply makes it, without the request between."""
    made = record(number)
    intent = Intent(f"i{number}", "p1", made.address, "create", "v1", made.natural_key)
    store.open_intent_and_use_up_its_approvals(intent)
    entry = AuditEntry("t", "me", "", "p1", str(made.address), "create", "", "", "done")
    store.close_ended_intent(replace(intent, state=IntentState.DONE), made, entry)


@contextmanager
def filled(size: int) -> Iterator[SqlStore]:
    """A locked state in a file, with so many records."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_unopened_sqlite_store(Path(folder) / "state.db")
        store.create_state(BackendIdentity("https://api.example"), "lineage")
        with store.lock("bench"):
            store.write_records(*map(record, range(size)))
            yield store
        store.close()


def seconds_a_call(size: int, threads: int) -> float:
    """Mean seconds of `begin` and `settle` beside so many records."""
    with filled(size) as store, ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda number: call(store, size + number), range(CALLS)))
        return (time.perf_counter() - begun) / CALLS


def seconds_a_resource(size: int) -> float:
    """Wall seconds of a whole first apply, by resource."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifests").mkdir()
        text = "---\n".join(STORAGE.format(number) for number in range(size))
        (Path(folder) / "manifests" / "all.yaml").write_text(text)
        command = Path(sys.executable).with_name("synapse-apply")
        typed = [str(command), "apply", "-t", "embedded", "--auto-approve"]
        begun = time.perf_counter()
        subprocess.run(typed, cwd=folder, check=True, capture_output=True)
        return (time.perf_counter() - begun) / size


MEASURES: dict[str, Callable[[int], float]] = {
    "write and settle an intent, one thread": lambda size: seconds_a_call(size, 1),
    "write and settle an intent, ten threads": lambda size: seconds_a_call(size, 10),
    "a whole first apply": seconds_a_resource,
}


def main(sizes: Sequence[int]) -> None:
    """Print the table, milliseconds a resource and the ratio to the smallest size."""
    print(f"{'ms a resource (ratio)':<32}" + "".join(f"{size:>18,}" for size in sizes))
    for name, measure in MEASURES.items():
        figures = [measure(size) for size in sizes]
        cells = (f"{1000 * one:.2f} ({one / figures[0]:.2f})" for one in figures)
        print(f"{name:<32}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    main(parser.parse_args().sizes)
