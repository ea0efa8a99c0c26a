"""Pushes, hands, servers that fail, kills and clocks in any order: what is told in the end is right."""

from __future__ import annotations

import os
from collections import defaultdict
from itertools import pairwise

import pytest
from controllers.play import Play
from controllers.site import SECONDS, Site

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP")
SEEDS, STEPS = (range(1, 49), 40) if DEEP else ((7,), 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens(tmp_path, seed):
    """Every announced commit ends, the head as it is; messages tell each change once."""
    with Site(tmp_path, forge_kind=("github", "gitlab")[seed % 2]) as site:
        play = Play(site, tmp_path / "clock", seed)
        with play.run(STEPS):
            play.heal()
            head = site.commit("at the end", "The last one")
            site.wait_for_end(head, "success", 2 * SECONDS)
            play.wait_until_all_commits_end()
            site.check_laws()
            check_events(site)
            assert {status.state for status in site.list_statuses(head)} <= {"pending", "success"}


def check_events(site: Site) -> None:
    """A target that failed fails once more only at the fifth time in a row, or after something else."""
    events = defaultdict(list)
    told = {message["id"]: message for message in site.sink.messages}
    for message in sorted(told.values(), key=lambda one: one["id"]):
        events[message["target"] or message["source"]].append(message)
    for name, sequence in events.items():
        for before, after in pairwise(sequence):
            if before["event"] == after["event"] == "failed":
                assert before["failures"] < 5 <= after["failures"], sequence
            assert (before["event"], after["event"]) != ("recovered", "recovered"), (name, sequence)
