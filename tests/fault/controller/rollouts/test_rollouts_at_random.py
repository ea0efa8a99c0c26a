"""Commits, people, servers that fail and kills in any order: waves keep their order, whatever happens."""

from __future__ import annotations

import os

import pytest
from controllers.rollout_play import RolloutPlay
from controllers.rollout_site import RolloutSite
from controllers.site import SECONDS
from forges.loopback_server import wait_until

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
SEEDS, STEPS = (range(1, 25), 40) if DEEP else ((3,), 6)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens(tmp_path, seed):
    """In the end the head is everywhere and all commits have ended; each write was allowed."""
    with RolloutSite(tmp_path) as site:
        play = RolloutPlay(site, tmp_path / "clock", seed)
        try:
            check_play(site, play)
        except Exception as failure:
            raise AssertionError(
                f"{failure!r}\n{play.acts}\n{site.declared}\n{site.read_log()}"
            ) from failure


def check_play(site: RolloutSite, play: RolloutPlay) -> None:
    play.start()
    for _ in range(STEPS):
        play.act()
    head = play.end()
    site.wait_until_all_live(site.declared[head])
    site.wait_for_end(head, "success")
    announced = site.list_announced_commits()
    wait_until(
        lambda: all(site.get_end(commit) for commit in announced),
        SECONDS,
        f"{[one[:8] for one in announced if not site.get_end(one)]} end",
    )
    play.check()
    site.check_laws()
