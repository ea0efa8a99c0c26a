"""Many applies of one state at the same time."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import groupby

from fault.commands import applying, ended
from fault.convergence import DEEP, Row, converge, on_api, on_store
from fault.site import MakeSite

MANY = 20 if DEEP else 5
KINDS_OF_RUN = 3


def asked(number: int) -> tuple[str, ...]:
    """Every third does all, a part, or all unless somebody else is at it."""
    ways = ((), ("--only", f"storage/more-{number}"), ("--lock-timeout", "0"))
    return ways[number % KINDS_OF_RUN]


@on_store("sqlite")
@on_api("v1")
def test_one_writes_at_a_time(make_shared_site: MakeSite, row: Row) -> None:
    """The others wait, or are told who works; nothing is made twice, and no run gets mixed."""
    site = make_shared_site(groups=2, extra_storages=MANY)
    with ExitStack() as stack:
        running = [
            stack.enter_context(applying(site, *asked(number), parallelism=4))
            for number in range(MANY)
        ]
        ends = [ended(process) for process in running]
    codes = [code for code, _, _ in ends]
    assert set(codes) <= {0, 6}, ends
    waited = [code for number, code in enumerate(codes) if number % KINDS_OF_RUN != 2]
    assert set(waited) == {0}, ends
    runs = [plan for plan, _ in groupby(entry.plan_id for entry in site.written()[1])]
    assert len(runs) == len(set(runs))
    assert site.server.posts() == site.posts
    converge(site, None, row)
    assert row.unknowns == 0
