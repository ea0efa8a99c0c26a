"""No apply begins for another revision than the wanted one."""

from controllers.site import SECONDS
from forges.loopback_server import wait_until
from in_process import run


def test_pushes_in_the_middle(applying_site):
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


def test_a_person_is_ahead_of_a_controller_that_polls_seldom(applying_site):
    """What they applied by hand from a commit that it has not seen is neither undone nor forgotten.

    While the repository is away, it puts right by itself what differs from the newest that it has.
    """
    site = applying_site
    first = site.run_git("rev-parse", "HEAD")
    site.write_configuration(**{"poll: 1s": "poll: 24h"})
    site.start()
    site.wait_for_end(first, "success")
    site.storages = 2
    second = site.commit("by hand")
    site.apply()
    by_hand = site.list_written()
    wait_until(
        lambda: (
            site.get_target()["wanted_commit"] == second and site.get_target()["state"] == "in sync"
        ),
        SECONDS,
        f"in sync at the newer commit, not {site.get_target()}\n{site.read_log()}",
    )
    assert site.list_written() == by_hand
    assert site.live_description == "by hand"
    listed = run("state show -t dev", site.checkout, site.own_variables).stdout
    assert "storage/s-0" in listed
    assert "storage/s-1" in listed
    repository = site.folder / "repositories" / "acme.git"
    repository.rename(repository.with_name("away.git"))
    site.change_by_hand("changed by hand")
    site.wait_until_live("by hand")
    site.check_no_overlap()
