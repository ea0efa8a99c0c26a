"""Rules of the project file, as the commands hold a plan to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from e2e.scenarios.workplace import STORAGE, Server, Workplace, project

ALWAYS = {"rule": "freeze", "cron": "* * * * *", "duration": "1h"}
PROVIDERS = {"rule": "allowed-providers", "values": ["gcp"]}
IN_PLAIN = STORAGE.replace("file_system", "amazon_s3").replace(
    "{base_path: /data/raw}",
    "{bucket_name: raw, region: eu, access_key_id: AKIA-plain, secret_access_key: S3CRET-plain}",
)

Ruled = Callable[..., Workplace]


@pytest.fixture
def ruled(ready: Workplace, server: Server) -> Ruled:
    """Writes the rules of the project anew; the state is empty at first."""

    def made(*rules: dict[str, Any], **of_target: Any) -> Workplace:
        file = json.loads(project(server.url, **of_target))
        file["policy"] = {"rules": rules}
        ready.write("synapse-apply.yaml", json.dumps(file))
        return ready

    return made


def test_what_is_denied_is_left_out_and_the_rest_is_done(ruled, server):
    """Exit 0 of plan, which shows all; exit 5 of apply; the exception that is printed works."""
    place = ruled(PROVIDERS)
    planned = place.plan(code=0)
    assert '! storage/raw-data cannot be created: provider is "file_system"' in planned.out
    assert "Plan: 2 to add" in planned.out
    assert place.plan("--detailed-exitcode").code == 2
    ran = place.apply(code=5)
    assert "add `except: [storage/raw-data]` to rule allowed-providers" in ran.out
    assert server.counts == (1, 1, 0)
    document = place.plan("--json", code=0).document
    row = next(row for row in document["resource_changes"] if row["type"] == "storage")
    assert (row["change"]["actions"], row["refused_actions"]) == (["no-op"], ["create"])
    assert [refusal["rule"] for refusal in row["refusals"]] == ["policy:allowed-providers"]
    ruled({**PROVIDERS, "except": ["storage/raw-data"]})
    place.apply()
    place.unchanged()


def test_all_or_nothing(ruled, server):
    """One refused row keeps the others from being sent."""
    ran = ruled(PROVIDERS).apply("--all-or-nothing", code=5)
    assert "Nothing was applied" in ran.err
    assert server.writes == []


def test_a_new_rule_does_not_stop_what_has_nothing_to_do_with_it(ruled, server):
    """What is there already is told of in one warning, and goes on being there."""
    place = ruled()
    place.apply()
    ruled(PROVIDERS, {"rule": "required-labels", "labels": ["team"]})
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    place.edit("manifests/plugin.yaml", "{name: yolo}", "{name: yolo, labels: {team: a}}")
    ran = place.apply()
    assert "0 added, 1 changed" in ran.out
    assert ran.out.count("Unchanged resources violate the policy") == 1
    assert "allowed-providers: storage/raw-data; required-labels: release/yolo@1.0.0" in ran.out


def test_a_target_has_its_own_word(ruled):
    """What one target takes away holds for no other."""
    own = {"rules": [{"rule": "allowed-providers", "severity": "off"}]}
    ruled(PROVIDERS, policy=own).apply()


def test_a_secret_in_plain_text_is_never_sent(ruled, server):
    """The row is refused with the names of the fields; the values are nowhere."""
    place = ruled({"rule": "no-plaintext-secret"})
    place.write("manifests/storage.yaml", IN_PLAIN)
    ran = place.apply(code=5)
    assert (
        "secret (or possibly secret) fields have plain text as their value, here or in a variable: "
        "configuration.access_key_id, configuration.secret_access_key"
    ) in ran.out
    assert "AKIA-plain" not in ran.text
    assert "S3CRET-plain" not in ran.text
    assert server.counts == (1, 1, 0)


def test_a_freeze(ruled, server):
    """The plan is shown, nothing is sent; only its name lets it pass, and the report says so."""
    place = ruled(ALWAYS)
    assert "Apply will stop: Changes are frozen" in place.plan(code=0).out
    ran = place.apply(code=5)
    assert "--override-guard policy:freeze" in ran.err
    assert server.writes == []
    ran = place.apply("--override-guard", "policy:freeze", "--json")
    assert ran.document["guards_overridden"] == ["policy:freeze"]
    summaries = [found["summary"] for found in ran.document["diagnostics"]]
    assert summaries == ["Overridden: changes are frozen with no scheduled end"]
    assert server.counts == (1, 1, 1)
    assert "No changes." in place.apply().out
    place.unchanged()


def test_a_limit_of_changes(ruled, server):
    """More than the limit is stopped as a whole; parts of it go one after another."""
    place = ruled({"rule": "max-changes", "limit": 2})
    assert "3 objects would be created" in place.apply(code=5).err
    assert server.writes == []
    place.apply("--only", "storage")
    place.apply()
    place.unchanged()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("policy:allowed-providers", "applies to single resources"),
        ("policy:frees", "the policy of this target has no rule `frees`"),
        ("policy:freeze", "policy:freeze only warns"),
    ],
)
def test_what_cannot_be_overridden(ruled, server, name, why):
    """A mistyped name, or one of another sort of rule, must not look as if it had worked."""
    place = ruled(PROVIDERS, {**ALWAYS, "severity": "warn"})
    ran = place.apply("--override-guard", name, code=1)
    assert why in ran.err
    assert server.writes == []


def test_a_version_that_does_not_grow(ruled, server):
    """An older release is not published beside a newer one."""
    place = ruled({"rule": "version-grows"})
    place.apply()
    for name in ("manifests/plugin.yaml", "plugins/yolo/config.yaml"):
        place.edit(name, "1.0.0", "0.9.0")
    ran = place.apply(code=5)
    assert "version 0.9.0 is not newer than that of release/yolo@1.0.0" in ran.out
    assert server.counts == (1, 1, 1)


def test_a_saved_plan_is_held_to_the_rules_of_now(ruled, server):
    """A rule that came after it counts, and so does a freeze that began meanwhile."""
    place = ruled()
    place.plan("--out", "next", code=0)
    ruled(PROVIDERS, ALWAYS)
    assert "Changes are frozen" in place.run("apply", "next", code=5).err
    ran = place.run("apply", "next", "--override-guard", "policy:freeze", code=4)
    assert "! storage/raw-data" in ran.out
    assert server.counts == (1, 1, 0)


def test_a_reviewed_plan_within_the_limit(ruled, server):
    """What nobody reviewed is not done, and so is not counted."""
    place = ruled()
    place.apply()
    ruled({"rule": "max-changes", "limit": 1})
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    place.plan("--out", "pr", code=0)
    place.write("manifests/other.yaml", STORAGE.replace("raw-data", "b").replace("Raw data", "B"))
    assert "policy:max-changes" in place.apply(code=5).err
    ran = place.run("apply", "--reviewed", "pr", code=4)
    assert "0 added, 1 changed" in ran.out
    assert server.counts == (1, 1, 1)
