"""A commit whose apply is still under way after many seconds, and what is to be there in the end."""

from __future__ import annotations

from controllers.applying_site import ApplyingSite
from controllers.site import SECONDS
from forges.loopback_server import wait_until

# So many creates, of which a few at a time take so long, are still under way after many seconds.
CREATES, MILLISECONDS = 80, 500


def begin_many_creates(site: ApplyingSite) -> str:
    """Push them, and wait until the first have begun."""
    site.storages = CREATES
    site.slow_down_writes(MILLISECONDS)
    commit = site.commit("images")
    site.wait_for_writes(2)
    return commit


def check_the_rest_is_done(site: ApplyingSite, commit: str) -> None:
    """What was left out is done, and nothing once more."""
    site.set_faults()
    site.wait_for_end(commit, "success")
    # A commit that was only planned for a while has ended with success before.
    wait_until(
        lambda: len(site.list_live_names()) == CREATES + 1, SECONDS, "all are there", pause=0.3
    )
    assert len(site.writes) == CREATES
    site.check_laws()
