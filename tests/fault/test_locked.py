"""A release is locked by its last call: whatever is cut short, it ends locked, and made once."""

from __future__ import annotations

import signal

import pytest
from fault.commands import FOREVER, applying, kill, reaches
from fault.convergence import Row, converge, some
from fault.site import MakeSite, Server, Site

pytestmark = pytest.mark.parametrize("api", ["v2"], indirect=True)
# Of a plugin and its release, a storage, and the lock: each announced and settled.
WRITES = 8


def with_lock(site: Site) -> Site:
    """The same project, its release to be locked."""
    path = site.root / "manifests" / "group-0.yaml"
    path.write_text(
        path.read_text().replace('"version": "1.0.0"', '"version": "1.0.0", "locked": true')
    )
    return site


def is_locked(server: Server) -> bool:
    (release,) = server.objects("release")
    return bool(release["body"].get("is_released"))


@pytest.mark.parametrize("commit", ["before", "after"])
def test_killed_at_the_lock(commit: str, make_site: MakeSite, row: Row) -> None:
    """The next run looks whether it was done."""
    site = with_lock(make_site(groups=1))
    match = {"method": "POST", "path": "/v2/plugin-releases/*/release/", "nth": 1}
    site.server.faults({"match": match, "do": {"hang": FOREVER, "commit": commit}})
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    converge(site, None, row)
    assert is_locked(site.server)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_a_write(moment: str, make_site: MakeSite, server: Server, row: Row) -> None:
    """Around the lock's announcement and its record, too."""
    for nth in some(WRITES, 2, turn=3):
        site = with_lock(make_site(groups=1))
        with applying(site, signal=signal.SIGKILL, nth=nth, moment=moment) as process:
            assert process.wait(60) == -signal.SIGKILL, nth
        converge(site, None, row)
        assert is_locked(server), nth
