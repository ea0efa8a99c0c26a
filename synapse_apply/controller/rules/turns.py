"""Which due targets are looked at now: no source takes all workers, no host gets too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from synapse_apply.controller.rows import TargetRow

MAX_LOOKS_PER_HOST = 4


def choose_looks(
    due: Sequence[TargetRow], running: Iterable[TargetRow], worker_count: int
) -> list[TargetRow]:
    """Those of the due targets that may begin beside the running ones, in their order.

    Targets of a host that is not known yet count for none. One worker stays free of a source that
    has all others, as long as another source has something due.
    """
    running = list(running)
    by_host = Counter(row.backend_host for row in running if row.backend_host)
    by_source = Counter(row.name.source for row in running)
    due_sources = {row.name.source for row in due}
    names = {row.name for row in running}
    chosen: list[TargetRow] = []
    for row in due:
        if len(running) + len(chosen) >= worker_count:
            break
        source, host = row.name.source, row.backend_host
        share = worker_count - 1 if due_sources - {source} else worker_count
        if row.name in names or by_source[source] >= max(share, 1):
            continue
        if host and by_host[host] >= MAX_LOOKS_PER_HOST:
            continue
        chosen.append(row)
        by_source[source] += 1
        by_host[host] += 1
    return chosen
