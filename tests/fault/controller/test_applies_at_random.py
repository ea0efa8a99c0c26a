"""Pushes, people, servers that fail, kills and clocks in any order: nothing is done that may not be."""

import os

import pytest
from controllers.applying_play import ApplyingPlay
from controllers.applying_site import ApplyingSite
from controllers.site import SECONDS

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
SEEDS, STEPS = (range(1, 49), 60) if DEEP else ((4,), 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens(tmp_path, seed):
    """In the end the head is live and all commits have ended; all calls were allowed."""
    with ApplyingSite(tmp_path, forge_kind=("github", "gitlab")[seed % 2]) as site:
        play = ApplyingPlay(site, tmp_path / "clock", seed)
        with play.run(STEPS):
            head = play.end()
            site.wait_for_end(head, "success", 3 * SECONDS)
            site.wait_until_live(play.texts[head])
            play.wait_until_all_commits_end()
            assert len(site.list_live_names()) == site.storages + 1
            site.wait_for_state("in sync")
            play.check()
            site.check_laws()
