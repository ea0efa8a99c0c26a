"""What a controller in mode auto does, holds and tells; and then asks nothing."""

import signal

import requests
from controllers.applying_site import AUTO
from prometheus_client.parser import text_string_to_metric_families

ONLY_GIT = f"{AUTO}, auto: {{causes: [git]}}"
ONLY_DRIFT = f"{AUTO}, auto: {{causes: [drift]}}"


def test_a_commit_is_applied_once_and_then_all_is_quiet(applying_site):
    """A look, the apply, a look: nothing is asked once more within an interval, nor by a new process."""
    site = applying_site
    site.interval = "1h"
    site.write_configuration()
    site.start()
    commit = site.commit("other")
    assert "appl" in site.wait_for_end(commit, "success").description
    assert site.live_description == "other"
    site.wait_for_state("in sync")
    assert [call.method for call in site.writes] == ["PUT"]
    site.check_laws()
    site.forget_requests()
    site.commit("other", "Change nothing that a target reads")
    assert site.process is not None
    site.process.send_signal(signal.SIGHUP)
    for end in (site.stop, site.kill):
        site.wait_quietly(2)
        end()
        site.start()
    site.wait_quietly(2)
    assert site.list_requests() == [], site.read_log()
    site.check_laws()


def read_histogram(site, name):
    """The buckets of a metric by outcome, not cumulative, by their bounds; checked strictly."""
    text = requests.get(f"{site.url}/metrics", timeout=60).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    family = families[f"synapse_apply_{name}"]
    assert family.type == "histogram"
    series = {}
    for sample in family.samples:
        labels = dict(sample.labels)
        own = series.setdefault(labels.pop("outcome"), {"le": []})
        if sample.name == f"{family.name}_bucket":
            own["le"].append((float(labels.pop("le")), sample.value))
        else:
            own[sample.name.removeprefix(family.name)] = sample.value
        assert not labels
    for own in series.values():
        bounds, counts = zip(*own["le"], strict=True)
        assert list(bounds) == sorted(set(bounds))
        assert (bounds[0], bounds[-2:]) == (0.1, (1800, float("inf")))
        assert list(counts) == sorted(counts)
        assert own.keys() == {"le", "_count", "_sum"}
        assert own["_count"] == counts[-1]
    return {
        outcome: {bound: n - m for (bound, n), (_, m) in zip(le, [(0, 0), *le], strict=False)}
        for outcome, le in ((outcome, own["le"]) for outcome, own in series.items())
    }


def test_the_duration_of_each_run_is_in_a_bucket_of_its_metric(applying_site):
    """No outcome has a histogram before a run ended with it."""
    site = applying_site
    site.interval = "1h"
    site.write_configuration()
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    assert read_histogram(site, "apply_duration_seconds") == {}
    before = read_histogram(site, "look_duration_seconds")
    site.slow_down_writes(1200)
    site.wait_for_end(site.commit("other"), "success")
    applies = read_histogram(site, "apply_duration_seconds")
    assert applies.keys() == {"applied"}
    [(bound, count)] = [one for one in applies["applied"].items() if one[1]]
    assert (bound >= 3, count) == (True, 1)
    site.wait_for_state("in sync")
    after = read_histogram(site, "look_duration_seconds")
    assert sum(after["changes"].values()) == 1
    assert sum(after["in_sync"].values()) == sum(before["in_sync"].values()) + 1


def test_what_is_held_and_what_is_refused(applying_site):
    """Drift where only Git counts, Git where only drift counts, and a row that nobody can approve."""
    site = applying_site
    site.rule = ONLY_GIT
    site.write_configuration()
    first = site.run_git("rev-parse", "HEAD")
    site.start()
    site.wait_for_end(first, "success")
    site.change_by_hand("by hand")
    assert site.wait_for_message("drift")["counts"]["drifted"] == 1
    site.wait_for_state("drifted")
    site.wait_quietly(1.5)
    assert site.writes == []
    assert site.get_end(first) == "success"
    site.use_rule(ONLY_DRIFT)
    site.wait_until_live("images")
    held = site.commit("other")
    site.wait_for_message("held")
    site.wait_for_state("held")
    site.wait_for_pending(held, "1 held")
    assert len(site.writes) == 1
    site.use_rule(AUTO)
    site.wait_for_end(held, "success")
    # Its region cannot be changed: that row is refused, and the others are done.
    site.region, site.storages = "eu-west-1", 1
    refused = site.commit("yet another")
    site.wait_until_live("yet another")
    site.wait_for_end(refused, "failure")
    site.wait_for_state("refused", seconds=20)
    assert "S 0" in site.list_live_names()
    site.region = "us-west-2"
    mended = site.commit("yet another")
    site.wait_for_end(mended, "success")
    site.check_laws()
