"""A server that bears only so many requests a second."""

from __future__ import annotations

import pytest
from fault.commands import applying, ended
from fault.site import MakeSite, pending, tally

REFUSED = {"status": 429, "retry_after": 1, "commit": "before"}


@pytest.mark.parametrize("match", [{"method": "POST"}, {}], ids=["writes", "everything"])
def test_a_server_that_limits(make_site: MakeSite, match: dict[str, str]) -> None:
    """Sixteen workers run into its limit again and again: nothing fails, nothing is made twice."""
    site = make_site(groups=0, extra_storages=40)
    # However slowly they come, some are refused.
    refused_always = {"match": {**match, "from": 13, "to": 20}, "do": REFUSED}
    site.server.faults(refused_always, {"match": match, "do": {"bucket": 12, "retry_after": 1}})
    try:
        with applying(site, parallelism=16) as process:
            code, out, err = ended(process)
        refused = site.server.counts()[0]["done"]
    finally:
        site.server.faults()
    assert code == 0, out + err
    assert refused == 8
    assert not any(tally(site.server, site.expected).values())
    assert pending(site.plan()) == []
