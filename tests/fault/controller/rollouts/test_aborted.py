"""An abort as the page, the command line's API and the receiver of messages tell it afterwards."""

from controllers.site import SECONDS


def test_who_aborted_a_rollout_and_why_stays_on_the_page(rollout_site):
    """Also when the next head has begun; what had failed is told as over."""
    site = rollout_site
    site.waves = '\n    - {targets: ["canary-*"]}\n    - {}\n'
    site.write_configuration()
    site.start()
    first = site.run_git("rev-parse", "HEAD")
    site.wait_for_rollout(first, "done")
    broken = site.push(canary_1="\t")
    stopped = site.wait_for_rollout(broken, "stopped")
    assert site.send_action("abort", stopped["number"], reason="wrong model").status_code == 200
    aborted = site.wait_for_rollout(broken, "aborted")
    wave = aborted["waves"][0]
    assert (wave["state"], wave["closed_by"], wave["reason"]) == (
        "aborted",
        "token:ops",
        "wrong model",
    )
    mended = site.push(canary_1="first")
    site.wait_for_rollout(mended, "done")
    history = site.get_page("/rollouts/all").text.partition("Earlier revisions")[2]
    assert "Aborted in wave 1 by ops (token): wrong model" in history
    assert "aborted in wave 1, 0 waves closed" in history
    assert f"/audit?q=rollout+{broken}" in history
    assert "resume" not in site.get_page(f"/audit?q=rollout+{broken}").text.partition("<tbody>")[2]
    assert "wrong model" in site.get_page(f"/audit?q=rollout+{broken}").text
    assert "aborted by ops (token)" in site.get_page(f"/revisions/acme/{broken}").text
    site.wait_or_show_log(
        lambda: any(one["rollout"] for one in site.list_messages("recovered")),
        "the abort closes what failed",
        SECONDS,
    )
    told = [
        (event, one["rollout"]["state"], one["finding"] and one["finding"]["summary"])
        for event in ("failed", "recovered")
        for one in site.list_messages(event)
        if one["rollout"]
    ]
    assert told[0][:2] == ("failed", "stopped")
    assert told[1:] == [
        ("recovered", "aborted", "aborted in wave 1 of 2 by token:ops: wrong model")
    ]
