"""The same inputs ask the backend nothing twice within an interval."""

from __future__ import annotations

import signal

from controllers.site import Site


def test_nothing_is_asked_twice_within_an_interval(site: Site) -> None:
    """Not by a restart, a reload, or a push that touches no target."""
    site.interval = "1h"
    site.write_configuration()
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    site.forget_requests()
    untouched = site.commit("images", "Change nothing that a target reads")
    site.wait_for_end(untouched, "success")
    assert site.process is not None
    site.process.send_signal(signal.SIGHUP)
    site.wait_quietly(1.5)
    assert site.stop() == 0
    site.start()
    site.wait_quietly(1.5)
    assert site.list_requests() == [], site.read_log()
    site.kill()
    site.start()
    site.wait_quietly(1.5)
    assert site.list_requests() == [], site.read_log()
    touched = site.commit("other")
    site.wait_for_end(touched, "success")
    assert site.list_requests() != []
    site.check_laws()
