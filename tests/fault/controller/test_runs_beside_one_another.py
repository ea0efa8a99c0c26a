"""Two controllers and a laptop, one target: their writes never overlap."""

import os
from contextlib import ExitStack

from controllers.site import SECONDS

ROUNDS = 12 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else 1


def test_two_controllers_and_a_laptop(applying_site):
    """All apply the same commits; each object is made once, and the head is what is live."""
    site = applying_site
    site.start()
    with ExitStack() as stack:
        second = stack.enter_context(site.start_another())
        for number in range(ROUNDS):
            site.storages += 6
            site.slow_down_writes(100)
            commit = site.commit(f"number {number}")
            site.wait_for_writes(len(site.writes) + 1)
            laptop = site.start_laptop()
            output, _ = laptop.communicate(timeout=2 * SECONDS)
            assert laptop.returncode == 0, output
            site.set_faults()
            site.wait_for_end(commit, "success")
            assert second.poll() is None
        site.wait_until_live(f"number {ROUNDS - 1}")
    assert len(site.list_live_names()) == site.storages + 1
    made = [call for call in site.writes if call.method == "POST" and call.is_done]
    assert len(made) == site.storages
    site.check_laws()
