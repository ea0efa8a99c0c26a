"""SIGKILL before and after a write of a state that is in a bucket; then one more apply."""

from __future__ import annotations

import pytest
from buckets.proxy import BucketProxy
from buckets.servers import BucketServer
from fault.commands import SECONDS, applying, kill
from fault.convergence import DEEP, Row, converge
from fault.site import MakeSite

# Of an apply of one plugin, its release and a storage, one after another: the lock, two for each,
# and the lock again.
WRITES = range(1, 9)
FEW = [("before", 2), ("after", 3), ("after", 8)]


@pytest.mark.parametrize(
    ("moment", "nth"),
    [(moment, nth) for moment in ("before", "after") for nth in WRITES] if DEEP else FEW,
)
def test_killed_at_a_write_of_the_bucket(
    make_site: MakeSite,
    seaweed: BucketServer,
    proxy: BucketProxy,
    row: Row,
    moment: str,
    nth: int,
) -> None:
    """What was sent before arrives after its process is gone; nothing is made twice."""
    site = make_site(groups=1, state_url=seaweed.url(port=proxy.port))
    proxy.hang_at_link(nth, moment)
    with applying(site) as process:
        assert proxy.reached.wait(SECONDS), process.communicate()
        proxy.choose = lambda _method, _path: None
        assert kill(process)
    proxy.flows.set()
    converge(site, None, row)
