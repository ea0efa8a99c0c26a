"""One run of controllers over all tenants: until each was looked at, perhaps with two accidents."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.fleets.controllers import Controllers, count_bytes
from benchmarks.fleets.costs import Cost, measure_pages, measure_push
from benchmarks.fleets.databases import Database
from benchmarks.fleets.processes import PartUsage, UsageWatch, read_usages
from benchmarks.fleets.tenants import Tenants
from benchmarks.fleets.watching import LookWatch

STOPPED_SECONDS = 10.0
_WATCHED_SECONDS = 40.0
_BUSY_SECONDS = 10.0
# Of looks a second, before and after an accident.
_RATE_SECONDS = 10.0


@dataclass
class Accident:
    """A worker that was killed, or stood still: how many targets it had, how long they had nobody.

    `rate_before` and `rate_after` are looks a second in the ten seconds before it and after it.
    """

    deed: str
    claim_count: int
    longest_seconds: float
    rate_before: float = 0.0
    rate_after: float = 0.0


@dataclass
class WholeRun:
    """What a run took. Sizes in bytes, times in seconds; `all_looked_at` is 0 where it ended before."""

    target_count: int
    looked_count: int
    seconds: float
    all_looked_at: float
    lags: tuple[float, float, float]
    parts: Mapping[str, PartUsage]
    looks: PartUsage
    store_bytes: int
    pages: Mapping[str, Cost] = field(default_factory=dict)
    compared_seconds: float = 0.0
    accidents: Sequence[Accident] = ()
    made_count: int = 0
    made_twice: int = 0
    missing_count: int = 0


def run_over_all(
    controllers: Controllers, minutes: float, database: Database | None, *, has_accidents: bool
) -> WholeRun:
    """Run until all were looked at, `minutes` at most; the backend of the tenants is served."""
    tenants = controllers.tenants
    before = sum(number * count for number, count in tenants.count_objects().items())
    with controllers.run():
        roots = {
            "replicas": [process.pid for process in controllers.replicas],
            "workers": [process.pid for process in controllers.workers],
            "backend": [tenants.backend_process],
            "database": [database.process_id] if database else [],
        }
        looks = LookWatch(controllers.build_reader())
        accidents: list[Accident] = []
        begun = time.monotonic()
        with UsageWatch({part: ids for part, ids in roots.items() if ids}) as usage, looks.watch():
            end = begun + minutes * 60
            while not looks.all_looked_at and time.monotonic() < end:
                time.sleep(0.5)
                _print_progress(looks, begun)
                if has_accidents and len(accidents) < 2 and looks.looked_count > tenants.count * (
                    1 + len(accidents)
                ) / 3:  # fmt: skip
                    assert database is not None
                    deed = _kill if not accidents else _stop
                    accidents.append(deed(controllers, database, len(accidents), roots["workers"]))
            seconds = time.monotonic() - begun
        pages = measure_pages(controllers, controllers.replicas[0].pid)
        compared = measure_push(controllers, lambda: tenants.change_row(3))
        stored = database.count_bytes() if database else count_bytes(controllers.root / "data-0")
        _wait_for_applies(tenants, controllers.mode)
    after = sum(number * count for number, count in tenants.count_objects().items())
    return WholeRun(
        looks.target_count, looks.looked_count, seconds, looks.all_looked_at,
        (looks.find_lag(0.5), looks.find_lag(0.99), looks.find_lag(1.0)),
        usage.parts, usage.looks, stored, pages, compared, accidents,
        made_count=after - before,
        made_twice=tenants.count_made_twice(),
        missing_count=tenants.count * 4 - after,
    )  # fmt: skip


def _print_progress(looks: LookWatch, begun: float) -> None:
    seconds = time.monotonic() - begun
    if int(seconds * 2) % 60 == 0:
        print(f"  {seconds:.0f} s: {looks.looked_count} of {looks.target_count}", flush=True)


def _wait_for_applies(tenants: Tenants, mode: str) -> None:
    """What was taken over has to be looked up and applied once more."""
    end = time.monotonic() + 90
    while mode == "auto" and set(tenants.count_objects()) != {4} and time.monotonic() < end:
        time.sleep(1)


def _find_busy(controllers: Controllers, database: Database, but: int) -> int:
    """The number of a worker that has the most targets now, other than the `but`th.

    A worker has a target for some hundredths of a second: waits until one has one.
    """
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        counts = {
            number: len(database.list_claims(process.pid))
            for number, process in enumerate(controllers.workers)
            if number != but - 1
        }
        if any(counts.values()) or time.monotonic() > end:
            return max(counts, key=lambda number: counts[number])


def _kill(
    controllers: Controllers, database: Database, done: int, worker_ids: list[int]
) -> Accident:
    number = _find_busy(controllers, database, 0)
    process = controllers.workers[number]
    ids = [*read_usages([process.pid])]
    killed_at = time.time()
    for one in ids:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait()
    claims = database.list_claims(process.pid)
    longest = database.wait_until_taken_over(process.pid, claims, _WATCHED_SECONDS)
    controllers.start_worker_again(number)
    worker_ids.append(controllers.workers[number].pid)
    # Where nothing had to be taken over, the time to count looks in has not passed yet.
    time.sleep(max(0.0, killed_at + _RATE_SECONDS - time.time()))
    return Accident("kill -9", len(claims), longest, *database.count_looks_around(killed_at))


def _stop(
    controllers: Controllers, database: Database, done: int, worker_ids: list[int]
) -> Accident:
    number = _find_busy(controllers, database, done)
    process = controllers.workers[number]
    ids = [*read_usages([process.pid])]
    stopped_at = time.time()
    _send(ids, signal.SIGSTOP)
    begun = time.monotonic()
    claims = database.list_claims(process.pid)
    longest = database.wait_until_taken_over(process.pid, claims, STOPPED_SECONDS + 2)
    time.sleep(max(0.0, STOPPED_SECONDS - (time.monotonic() - begun)))
    _send(ids, signal.SIGCONT)
    name = f"SIGSTOP {STOPPED_SECONDS:g} s"
    return Accident(name, len(claims), longest, *database.count_looks_around(stopped_at))


def _send(process_ids: list[int], number: int) -> None:
    for process_id in process_ids:
        with suppress(ProcessLookupError):
            os.kill(process_id, number)
