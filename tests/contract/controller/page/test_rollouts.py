"""What a reader finds on the pages of rollouts, what they can ask for, and who may."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from installed import ROOT
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.controller.page import rollout_samples as rollouts
from unit.controller.page.people_samples import SRE, list_proxy_headers

from synapse_apply.controller.rows import RolloutState, TargetName
from synapse_apply.controller.settings import AccessRule, Right

from .conftest import ServedPage, read_text, serve_page

FLEET = "/rollouts/fleet"
BEARER = {"Authorization": f"Bearer {people.OPS_TOKEN}"}
SCHEMA = json.loads((ROOT / "schemas/v1/controller-api.schema.json").read_text("utf-8"))


def set_state(page: ServedPage, state: RolloutState, **more: Any) -> None:
    with page.store.write() as writer:
        writer.put(replace(rollouts.FLEET, state=state, **more))


def test_one_picture_says_which_revision_is_where(rollout_page):
    """A row a wave, a cell a target: its state in words, its revision, and a link to it."""
    html = rollout_page.get(FLEET, **SRE).text
    text = read_text(html)
    assert (
        "Wave 2 of 3: 1 of 8 healthy, 1 failing: eu-4, 1 awaiting approval: us-1, 1 waiting: us-2"
        in text
    )
    first, second, third = html.partition("<ol")[2].partition("</ol>")[0].split("<h3>")[1:]
    assert re.findall(r'class="commit" href="[^"]+">(\w+)', second) == ["3b92d7c", "8c1f0e5"]
    assert "canary-1 : healthy" in read_text(first)
    for words in ("eu-4 : failing", "us-1 : awaiting approval", "eu-2 : soaking 6 min", "eu-3 : changing",
                  "us-3 : not yet", ("soak 10 min, at most 4 at a time, stops at more than 2 "
                                    "failures"),
                  "1 failed", "tier=standard"):  # fmt: skip
        assert words in read_text(second), words
    assert 'href="/targets/acme/eu-4"' in second
    assert "needs approval to open" in read_text(third)
    for words in ("Write category as the schema has it 8 targets, the revision of this rollout",
                  "outside its windows until 2026-11-27T09:00:00Z",
                  "Wave 2 skipped by ann: eu-4 is being rebuilt", "Wave 3 approved by lee"):  # fmt: skip
        assert words in text, words


def test_rollouts_are_listed_who_needs_a_person_first(rollout_page):
    """Also one that has not begun; the overview has those that are not over."""
    text = read_text(rollout_page.get("/rollouts", **SRE).text)
    places = [text.index(f" {name} ") for name in ("lab", "fleet", "later")]
    assert places == sorted(places)
    assert "awaiting approval" in text
    assert "not started" in text
    overview = rollout_page.get("/", **SRE).text
    assert "Rollouts in progress" in overview
    assert "/rollouts/fleet" in overview
    assert "/rollouts/later" not in overview
    assert "The rollout has not started" in read_text(
        rollout_page.get("/rollouts/later", **SRE).text
    )


def test_other_pages_lead_to_a_rollout(rollout_page):
    """A target names its wave, a revision what became of its waves, a source its rollouts."""
    target = read_text(rollout_page.get("/targets/acme/eu-2", **SRE).text)
    assert "fleet , wave 2 of 3: soaking" in target
    for path, words in {
        f"/revisions/acme/{samples.HEAD_COMMIT}": "Wave 2: opened 1 h ago",
        f"/revisions/acme/{samples.COMMITS[1]}": "Wave 2: skipped by ann 3 h ago : eu-4 is being",
        "/sources/acme": "wave 2 of 3",
    }.items():
        html = rollout_page.get(path, **SRE).text
        assert words in read_text(html), path
        assert f'href="{FLEET}"' in html


def test_an_aborted_one_says_by_whom_and_offers_nothing(rollout_page):
    set_state(rollout_page, RolloutState.ABORTED, state_by="proxy:lee", state_reason="wrong bytes",
              state_since=samples.NOW - 60)  # fmt: skip
    html = rollout_page.get(FLEET, **SRE).text
    assert "Aborted by lee 1 min ago : wrong bytes" in read_text(html)
    assert 'method="post"' not in html
    set_state(rollout_page, RolloutState.DONE, wave=3)
    text = read_text(rollout_page.get(FLEET, **SRE).text)
    assert "done" in text
    assert "not reached" not in text


def test_a_head_that_waits_is_named(rollout_page):
    """Where a newer head waits for the end of the one under way."""
    text = read_text(rollout_page.get("/rollouts/lab", **SRE).text)
    assert "The newer head 3b92d7c waits until this revision is done" in text
    assert "waits until" not in read_text(rollout_page.get(FLEET, **SRE).text).split("Begun")[0]


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        (RolloutState.RUNNING, {"skip", "abort"}),
        (RolloutState.WAITING, {"approve", "abort"}),
        (RolloutState.STOPPED, {"resume", "skip", "abort"}),
    ],
)
def test_forms_are_for_what_can_be_done_and_for_whom_may_all_of_it(rollout_page, state, verbs):
    """Who may approve in every target of the wave, or of the rollout; others read."""
    set_state(rollout_page, state)
    html = rollout_page.get(FLEET, **SRE).text
    assert set(re.findall(rf'action="{FLEET}/(\w+)"', html)) == verbs
    for reader in ("mina", "kim", "lee"):
        answer = rollout_page.get(FLEET, **list_proxy_headers(reader))
        assert 'method="post"' not in answer.text


def test_who_may_approve_one_wave_decides_on_that_alone(rollout_page):
    rule = AccessRule(("proxy:jo",), frozenset({Right.APPROVE}), ("acme/eu-*", "acme/us-*"))
    access = replace(people.ACCESS, rules=(*people.ACCESS.rules, rule))
    rollout_page.loop.settings = replace(rollouts.SETTINGS, access=access)
    jo = list_proxy_headers("jo")
    try:
        html = rollout_page.get(FLEET, **jo).text
        assert re.findall(rf'action="{FLEET}/(\w+)"', html) == ["skip"]
        assert (
            rollout_page.post_form(
                f"{FLEET}/skip", [("number", "3"), ("wave", "2"), ("reason", "x")], jo
            ).status_code
            == 303
        )
        fields = [("number", "3"), ("wave", "3"), ("reason", "x")]
        assert rollout_page.post_form(f"{FLEET}/skip", fields, jo).status_code == 403
        answer = rollout_page.post_form(f"{FLEET}/abort", [("number", "3"), ("reason", "x")], jo)
        assert answer.status_code == 403
        assert "for every target of fleet" in read_text(answer.text)
    finally:
        rollout_page.loop.settings = rollouts.SETTINGS
    assert [call[0] for call in rollout_page.loop.rollouts.calls] == ["skip"]


def test_the_api_shows_rollouts_as_its_schema_says(rollout_page):
    """And the schema has nothing else."""
    listed = rollout_page.get("/api/v1/rollouts", **BEARER).json()
    Draft202012Validator(SCHEMA).validate(listed)
    assert [item["name"] for item in listed["items"]] == ["lab", "fleet", "later"]
    properties = {name: part["properties"].keys() for name, part in SCHEMA["$defs"].items()
                  if "properties" in part}  # fmt: skip
    for item in listed["items"]:
        assert item.keys() == properties["rollout"]
        assert all(wave.keys() == properties["wave"] for wave in item["waves"])
    path = "/api/v1/rollouts/fleet?wave=2&state=not%20yet"
    document = rollout_page.get(path, **BEARER).json()
    Draft202012Validator(SCHEMA).validate(document)
    assert document.keys() == properties["Rollout"]
    assert [item["target"] for item in document["items"]] == ["acme/us-3", "acme/us-4"]
    assert document["items"][0].keys() == properties["rollout_target"]
    assert document["items"][0]["moved_at"] is None
    wave = document["waves"][1]
    assert wave["target_states"] == {"failing": 1, "held": 1, "waiting": 1, "changing": 1,
                                     "soaking": 1, "not yet": 2, "shown": 1}  # fmt: skip
    assert (wave["failed_count"], wave["max_failures"], wave["soak"]) == (1, 2, 600)
    whole = rollout_page.get("/api/v1/rollouts/fleet?limit=2&offset=1", **BEARER).json()
    assert (len(whole["items"]), whole["total"]) == (2, len(rollouts.MEMBERS))
    for query in ("wave=x", "state=none", "limit=0"):
        answer = rollout_page.get(f"/api/v1/rollouts/fleet?{query}", **BEARER)
        assert answer.status_code == 400
    assert rollout_page.get("/api/v1/rollouts/none", **BEARER).status_code == 404


@pytest.mark.parametrize("query", ["wave=x&state=%00&page=-1", "wave=99", "page=999999", "q=%ff"])
def test_an_odd_address_is_no_error(rollout_page, query):
    assert rollout_page.get(f"{FLEET}?{query}", **SRE).status_code == 200


def test_a_narrow_reader_sees_their_targets_and_no_words_on_others(rollout_page):
    """Neither names nor counts nor patterns, on any page."""
    rule = AccessRule(("proxy:jo", "token:ci"), frozenset({Right.READ}), ("acme/eu-1",))
    access = replace(people.ACCESS, rules=(rule,))
    set_state(rollout_page, RolloutState.STOPPED, state_reason="1 target failed: eu-4")
    rollout_page.loop.settings = replace(rollouts.SETTINGS, access=access)
    jo, ci = list_proxy_headers("jo"), {"Authorization": f"Bearer {people.CI_TOKEN}"}
    try:
        html = rollout_page.get(FLEET, **jo).text
        assert re.findall(r'href="/targets/([^"]+)"', html) == ["acme/eu-1"] * 2
        assert "1 of 1 healthy" in read_text(html)
        texts = [
            read_text(rollout_page.get(path, **jo).text)
            for path in ("/", "/rollouts", FLEET, "/sources/acme", "/targets/acme/eu-1",
                         f"/revisions/acme/{samples.HEAD_COMMIT}")
        ]  # fmt: skip
        texts += [rollout_page.get(f"/api/v1/rollouts{path}", **ci).text for path in ("", "/fleet")]
        for text in texts:
            for word in ("eu-2", "eu-4", "canary", "prod-", "us-1", "tier", "standard", "rebuilt",
                         "1 failed", "of 8"):  # fmt: skip
                assert word not in text, (word, text)
            assert not re.search(r"\b(lab|later|vision)\b", text)
        set_state(rollout_page, RolloutState.ABORTED, state_by="proxy:ann", state_reason="eu-4")
        assert "Aborted by ann" in read_text(rollout_page.get(FLEET, **jo).text)
        for path, headers in ((FLEET, jo), ("/rollouts", jo), ("/api/v1/rollouts/fleet", ci)):
            assert "eu-4" not in rollout_page.get(path, **headers).text
        assert rollout_page.get("/rollouts/lab", **jo).status_code == 404
        assert rollout_page.get("/rollouts/later", **jo).status_code == 404
    finally:
        rollout_page.loop.settings = rollouts.SETTINGS


def test_without_rollouts_the_page_says_what_they_are(page):
    assert "No rollout is configured" in read_text(page.get("/rollouts").text)
    assert 'href="/rollouts"' not in page.get("/").text


def test_metrics_say_which_wave_is_open_and_since_when(rollout_page):
    found = {
        (sample.name.removeprefix("synapse_apply_"), sample.labels["rollout"],
         sample.labels.get("state")): sample.value
        for family in text_string_to_metric_families(rollout_page.get("/metrics").text)
        for sample in family.samples if "rollout" in sample.labels
    }  # fmt: skip
    assert found["rollouts", "lab", "waiting for approval"] == 1
    assert found["rollouts", "fleet", "running"] == 1
    assert found["rollouts", "fleet", "stopped"] == 0
    assert found["rollout_wave", "fleet", None] == 2
    opened = "rollout_wave_opened_timestamp_seconds"
    assert found[opened, "fleet", None] == samples.NOW - samples.HOUR
    assert (opened, "lab", None) not in found


def test_thousands_of_targets_are_counts_that_lead_to_lists(tmp_path):
    """Some hundreds are cells without names, some dozens have theirs."""
    for count, cells in ((1_500, 10), (300, 300)):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        fill = partial(rollouts.fill_large_rollout, count=count)
        with serve_page(folder, fill, rollouts.SETTINGS) as page:
            html = page.get(FLEET, **SRE).text
            picture = html.partition("<ol")[2].partition("</ol>")[0]
            assert picture.count('href="/targets/') == cells
            if count > 1_000:
                path = re.findall(rf'href="({FLEET}\?[^"]+)#targets"', picture)[0]
                listed = page.get(path.replace("&amp;", "&"), **SRE).text
                assert "Page 1 of" in read_text(listed) or listed.count('<th scope="row">') > 1


def test_the_audit_leads_to_a_rollout(rollout_page):
    """Whose subject looks as that of a target does."""
    with rollout_page.store.write() as writer:
        for action in ("skip wave", "apply"):
            writer.append_audit(samples.NOW, "proxy:ann", action, "acme/fleet", "wave 2 of 3")
    html = rollout_page.get("/audit", **SRE).text
    assert f'href="{FLEET}"' in html
    assert 'href="/targets/acme/fleet"' in html


def test_a_target_that_is_in_no_rollout_names_none(rollout_page):
    assert rollout_page.store.find_rollout_target(TargetName("acme", "dev")) is None
    assert "<dt>Rollout</dt>" not in rollout_page.get("/targets/acme/dev", **SRE).text
