"""Which due targets are looked at now: no source takes all workers, no host gets too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from synapse_apply.controller.rows import TargetRow

MAX_LOOKS_PER_HOST = 4


def choose_due_targets(
    due: Sequence[TargetRow],
    running: Iterable[TargetRow],
    worker_count: int,
    *,
    has_many_sources: bool,
    most_of_source: int | None = None,
) -> list[TargetRow]:
    """Those of the due targets that may begin beside the running ones, in their order.

    Targets of a host that is not known yet count for none. Where there are several sources, one
    worker stays free of a source that has all others, also while no other one has something due.
    `most_of_source` is how many targets of one source may be under way, None: as many as that.
    """
    running = list(running)
    by_host = Counter(row.backend_host for row in running if row.backend_host)
    by_source = Counter(row.name.source for row in running)
    # A look or an apply cannot be put off once it runs: a source whose backend does not answer
    # would keep what is pushed to another one meanwhile waiting until its timeout.
    share = max(worker_count - has_many_sources, 1) if most_of_source is None else most_of_source
    names = {row.name for row in running}
    chosen: list[TargetRow] = []
    for row in due:
        if len(running) + len(chosen) >= worker_count:
            break
        source, host = row.name.source, row.backend_host
        if row.name in names or by_source[source] >= share:
            continue
        if host and by_host[host] >= MAX_LOOKS_PER_HOST:
            continue
        chosen.append(row)
        by_source[source] += 1
        by_host[host] += 1
    return chosen
