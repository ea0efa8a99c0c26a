"""`python -m benchmarks.fleets`: measures what docs/scale.md tells, and prints it as tables.

    PYTHONPATH=tests python -m benchmarks.fleets --targets 10000
    PYTHONPATH=tests python -m benchmarks.fleets --parts process --targets 1000 --interval 10m

`costs` are what a request to the backend and a head of so many targets cost alone; `process` is one
controller on SQLite, `fleet` two replicas and so many workers on PostgreSQL, of which one is killed
and one stands still for ten seconds; `loop` is the controller beside a loop of commands.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.fleets import report
from benchmarks.fleets.beside_loop import measure_beside_loop
from benchmarks.fleets.controllers import Controllers
from benchmarks.fleets.costs import measure_backend, measure_git, measure_store
from benchmarks.fleets.databases import serve_database
from benchmarks.fleets.tenants import Tenants
from benchmarks.fleets.whole_runs import run_over_all

from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.postgres_store import PostgresControllerStore
from synapse_apply.model.values import Sensitive

PARTS = ("costs", "process", "fleet", "loop")
REPLICAS = 2
# One in so many targets lacks an object, so that it is applied.
INCOMPLETE_SHARE = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleets", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4, help="of the fleet")
    parser.add_argument("--looks", type=int, default=2, help="at a time, of each process of it")
    parser.add_argument("--interval", default="8m", help="between two looks at a target")
    parser.add_argument("--minutes", type=float, default=15.0, help="the longest run")
    parser.add_argument("--mode", choices=("auto", "observe"), default="auto")
    parser.add_argument("--loop-targets", type=int, default=300)
    chosen = parser.parse_args()
    report.print_machine()
    if "costs" in chosen.parts:
        with tempfile.TemporaryDirectory() as folder:
            tenants = Tenants(Path(folder), chosen.targets)
            with tenants.serve():
                git = measure_git(tenants, Path(folder, "controller"))
                costs = {"backend: one GET of an object": measure_backend(tenants)}
            file_store = SqliteControllerStore(Path(folder))
            costs["store, SQLite: the writes of a look"] = measure_store(file_store, chosen.targets)
        with serve_database() as database:
            shared_store = PostgresControllerStore(Sensitive(database.url))
            cost = measure_store(shared_store, chosen.targets)
            costs["store, PostgreSQL: the writes of a look"] = cost
        report.print_costs(costs, git, chosen.targets)
    if "process" in chosen.parts:
        with tempfile.TemporaryDirectory() as folder:
            tenants = Tenants(Path(folder), chosen.targets, INCOMPLETE_SHARE)
            with tenants.serve():
                controllers = Controllers(tenants, mode=chosen.mode, interval=chosen.interval)
                run = run_over_all(controllers, chosen.minutes, None, has_accidents=False)
        report.print_run("One process, SQLite", run)
    if "fleet" in chosen.parts:
        with serve_database() as database, tempfile.TemporaryDirectory() as folder:
            tenants = Tenants(Path(folder), chosen.targets, INCOMPLETE_SHARE)
            with tenants.serve():
                controllers = Controllers(
                    tenants,
                    REPLICAS,
                    chosen.workers,
                    database.url,
                    chosen.mode,
                    chosen.interval,
                    chosen.looks,
                )
                run = run_over_all(controllers, chosen.minutes, database, has_accidents=True)
        report.print_run(f"{REPLICAS} replicas and {chosen.workers} workers, PostgreSQL", run)
    if "loop" in chosen.parts:
        runs = measure_beside_loop(chosen.loop_targets)
        report.print_beside_loop(runs, chosen.loop_targets)


if __name__ == "__main__":
    main()
