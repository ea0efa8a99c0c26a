"""No call begins without a permit: a window, a pause, a mode, and a controller that is gone."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from controllers.applying_site import (
    AUTO,
    OBSERVE,
    PERMIT_SECONDS_IN_PRACTICE,
    ApplyingSite,
)
from controllers.many_creates import (
    CREATES,
    begin_many_creates,
    check_the_rest_is_done,
)

# Seconds between the look at the permit and the proxy that sees the call, on a busy machine; who
# does not look begins a call each half second.
ON_ITS_WAY = 2.0


def test_a_window_that_closes_in_the_middle(applying_site: ApplyingSite, tmp_path: Path) -> None:
    """No call begins after its end; the rest waits, in words, for the next one."""
    site, clock = applying_site, tmp_path / "clock"
    clock.write_text("0")
    # Open for the first half of each minute: the clock says which half it is.
    site.rule = 'mode: auto, windows: [{cron: "* * * * *", duration: 30s, timezone: UTC}]'
    site.write_configuration()
    clock.write_text(str(-datetime.now(UTC).second))
    site.start(altered={"clock": str(clock)})
    commit = begin_many_creates(site)
    seconds_left = 30 - (time.time() + float(clock.read_text())) % 60
    assert seconds_left > 0, "the machine is too slow for this test"
    clock.write_text(str(float(clock.read_text()) + max(seconds_left - 3, 0)))
    closes_at = time.monotonic() + min(seconds_left, 3)
    last = site.wait_until_no_write_begins(4)
    assert last <= closes_at + ON_ITS_WAY
    assert 2 <= len(site.writes) < CREATES
    target = site.wait_for_state("waiting")
    assert "window" in target["waiting_reason"]
    site.wait_for_pending(commit, "1 waiting")
    clock.write_text(str(float(clock.read_text()) + 30))
    check_the_rest_is_done(site, commit)


def test_a_pause_and_a_mode_in_the_middle(applying_site: ApplyingSite) -> None:
    """A person's pause, and mode observe: nothing begins soon after, and all of it goes on after."""
    site = applying_site
    site.start()
    commit = begin_many_creates(site)
    site.act("pause", scope="acme/*", reason="a look first")
    paused_at = time.monotonic()
    last = site.wait_until_no_write_begins(3)
    assert last - paused_at < PERMIT_SECONDS_IN_PRACTICE
    count = len(site.writes)
    assert count < CREATES
    target = site.wait_for_state("paused")
    assert "token:ops" in target["waiting_reason"]
    assert site.wait_for_message("paused")
    site.act("resume", scope="acme/*")
    site.wait_for_writes(count + 2)
    site.use_rule(OBSERVE)
    observing_at = time.monotonic()
    last = site.wait_until_no_write_begins(3)
    assert last - observing_at < PERMIT_SECONDS_IN_PRACTICE
    assert len(site.writes) < CREATES
    assert site.wait_for_end(commit, "success").description.startswith("planned only")
    site.use_rule(AUTO)
    check_the_rest_is_done(site, commit)
