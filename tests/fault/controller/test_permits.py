"""No call begins without a permit: a window, a pause, a mode, and a controller that is gone."""

import time

from controllers.applying_site import AUTO, OBSERVE
from controllers.many_creates import CREATES, begin_many_creates, check_the_rest_is_done


def test_a_window_that_closes_in_the_middle(applying_site, tmp_path):
    """No call begins after its end; the rest waits, in words, for the next one."""
    site, clock = applying_site, tmp_path / "clock"
    clock.write_text("0")
    # Open for the first half of each hour: the clock says which half it is.
    site.rule = 'mode: auto, windows: [{cron: "0 * * * *", duration: 30m, timezone: UTC}]'
    site.write_configuration()
    clock.write_text(str(-(time.time() % 3600)))
    site.start(altered={"clock": str(clock)})
    commit = begin_many_creates(site)
    seconds_left = 1800 - (time.time() + float(clock.read_text())) % 3600
    clock.write_text(str(float(clock.read_text()) + seconds_left - 3))
    site.wait_until_no_write_begins(4)
    assert 2 <= len(site.writes) < CREATES
    target = site.wait_for_state("waiting")
    assert "window" in target["waiting_reason"]
    site.wait_for_pending(commit, "1 waiting")
    clock.write_text(str(float(clock.read_text()) + 1800))
    check_the_rest_is_done(site, commit)


def test_a_pause_and_a_mode_in_the_middle(applying_site):
    """A person's pause, and mode observe: nothing begins soon after, and all of it goes on after."""
    site = applying_site
    site.start()
    commit = begin_many_creates(site)
    site.act("pause", scope="acme/*", reason="a look first")
    site.wait_until_no_write_begins(3)
    count = len(site.writes)
    assert count < CREATES
    target = site.wait_for_state("paused")
    assert "token:ops" in target["waiting_reason"]
    assert site.wait_for_message("paused")
    site.act("resume", scope="acme/*")
    site.wait_for_writes(count + 2)
    site.use_rule(OBSERVE)
    site.wait_until_no_write_begins(3)
    assert len(site.writes) < CREATES
    assert site.wait_for_end(commit, "success").description.startswith("planned only")
    site.use_rule(AUTO)
    check_the_rest_is_done(site, commit)
