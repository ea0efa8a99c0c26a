"""No apply begins for another revision than the wanted one."""

from __future__ import annotations

from controllers.applying_site import ApplyingSite


def test_pushes_in_the_middle(applying_site: ApplyingSite) -> None:
    """One that comes amid a look, and one amid an apply, also by force: the older never follows."""
    site = applying_site
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    # The look at `amid a look` has begun, and takes until the next one is the head.
    site.set_faults({"match": {"method": "GET"}, "do": {"latency": 1500}})
    passed_by = site.commit("amid a look")
    site.wait_for_status(passed_by)
    site.storages = 12
    second = site.commit("second")
    site.wait_for_status(second)
    site.slow_down_writes(700)
    site.wait_for_writes(2)
    assert "amid a look" not in site.list_descriptions()
    site.run_git("reset", "-q", "--hard", first)
    third = site.commit("third")
    site.wait_for_status(third)
    site.set_faults()
    site.wait_for_end(third, "success")
    descriptions = site.list_descriptions()
    assert descriptions[-1] == "third"
    assert descriptions in (["third"], ["second", "third"])
    assert site.live_description == "third"
    site.check_laws()
