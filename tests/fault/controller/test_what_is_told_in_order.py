"""The installed controller and a receiver: messages of a target in order, each failure closed once."""

from controllers.applying_site import APPROVE, ApplyingSite
from controllers.site import SECONDS
from forges.loopback_server import Failure, wait_until


def test_what_is_told_of_a_target_arrives_in_the_order_in_which_it_came_about(site):
    """A receiver asks for a pause at the first message; the second does not arrive before it."""
    site.start()
    site.sink.failures.append(Failure(503, {"Retry-After": "6"}))
    broken = site.commit("\t", "Write a tab")
    wait_until(lambda: site.sink.requests, SECONDS, f"it is told\n{site.read_log()}")
    mended = site.commit("images", "Mend it")
    site.wait_for_end(mended, "success")
    site.wait_for_message("recovered")
    told = [(message["event"], message["commit"]) for message in site.sink.messages]
    assert told == [("failed", broken), ("failed", broken), ("recovered", mended)]
    assert site.sink.messages[0]["id"] == site.sink.messages[1]["id"]
    site.check_laws()


def test_a_failure_is_closed_by_what_waits_for_a_person_and_an_approval_closes_nothing(tmp_path):
    with ApplyingSite(tmp_path, rule=APPROVE) as site:
        site.start()
        site.commit("\t", "Write a tab")
        site.wait_for_message("failed")
        mended = site.commit("better", "Mend it")
        site.approve(site.wait_for_holds())
        site.wait_for_end(mended, "success")
        site.wait_for_state("in sync")
        site.wait_quietly(2.5)
        assert [message["event"] for message in site.sink.messages] == [
            "failed",
            "recovered",
            "held",
        ]
        site.check_laws()


def test_a_failure_is_closed_where_its_target_is_removed(site):
    """By a commit, and with its source; one that comes back and fails is told anew."""
    site.start()
    site.commit("\t", "Write a tab")
    site.wait_for_message("failed")
    project = site.checkout / "synapse-apply.yaml"
    project.write_text(site.build_project().replace("  dev:\n", "  other:\n"))
    removed = site.commit("images", "Rename the target")
    told = site.wait_for_message("recovered")
    assert (told["target"], told["commit"]) == ("acme/dev", removed)
    assert told["summary"] == "acme/dev recovered: The target was removed"
    project.write_text(site.build_project())
    site.commit("\t", "Take the name and the tab back")
    assert site.wait_for_message("failed", 2)["target"] == "acme/dev"
    site.check_links()
    site.stop()
    site.write_configuration(**{"  acme:\n    url": "  elsewhere:\n    url"})
    site.start()
    told = site.wait_for_message("recovered", 2)
    assert (told["target"], told["finding"]["summary"]) == ("acme/dev", "The target was removed")
    site.wait_quietly(1.5)
    told_of = [one["event"] for one in site.sink.messages if one["target"] == "acme/dev"]
    assert told_of == ["failed", "recovered"] * 2
    site.check_links()
