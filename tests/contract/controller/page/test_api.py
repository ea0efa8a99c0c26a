"""The JSON of `/api/v1`, metrics, probes and badges, as programs read them."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from installed import ROOT
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from unit.controller.page import people_samples as people
from unit.controller.page.page_samples import HEAD_COMMIT

from synapse_apply.controller.rows import AuditRow
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row

SCHEMA = json.loads((ROOT / "schemas/v1/controller-api.schema.json").read_text("utf-8"))
PATHS = {
    "TargetList": "/api/v1/targets",
    "RevisionList": "/api/v1/revisions?source=acme",
    "RunList": "/api/v1/runs?target=acme/prod-eu",
}
PEOPLE_PATHS = {
    "HoldList": "/api/v1/holds?target=acme/staging",
    "PauseList": "/api/v1/pauses",
    "AuditList": "/api/v1/audit",
}
OPS = {"Authorization": f"Bearer {people.OPS_TOKEN}"}


@pytest.mark.parametrize("kind", PATHS)
def test_each_list_fits_the_schema_and_the_schema_has_nothing_else(page, kind):
    answer = page.get(PATHS[kind])
    document = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert document["kind"] == kind
    assert document["items"]
    Draft202012Validator(SCHEMA).validate(document)
    assert document.keys() == SCHEMA["$defs"][kind]["properties"].keys()
    item = SCHEMA["$defs"][kind]["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
    for value in document["items"]:
        assert value.keys() == SCHEMA["$defs"][item]["properties"].keys()
        assert page.get(value["path"]).status_code == 200


@pytest.mark.parametrize("kind", PEOPLE_PATHS)
def test_each_list_on_people_fits_the_schema_and_the_schema_has_nothing_else(held_page, kind):
    document = held_page.get(PEOPLE_PATHS[kind], **OPS).json()
    assert document["kind"] == kind
    assert document["items"]
    Draft202012Validator(SCHEMA).validate(document)
    item = SCHEMA["$defs"][kind]["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
    for value in document["items"]:
        assert value.keys() == SCHEMA["$defs"][item]["properties"].keys()


def test_held_rows_say_who_has_approved_and_whose_approval_counts(held_page):
    """Also of all targets at once, page by page."""
    held_page.loop.authors = ("Mina Park", "mina@acme.example")
    document = held_page.get("/api/v1/holds?target=acme/staging", **OPS).json()
    first, second = document["items"][:2]
    assert document["total"] == len(people.HELD)
    assert (first["approvals_needed"], first["approved_by"]) == (2, ["proxy:lee"])
    by_name = {approval["who"]: approval for approval in first["approvals"]}
    assert by_name["proxy:lee"]["counts"]
    assert "author" in by_name["proxy:mina"]["reason"]
    assert not second["approvals"][0]["counts"]
    page = held_page.get("/api/v1/holds?offset=1&limit=2", **OPS).json()
    assert [item["digest"] for item in page["items"]] == list(people.DIGESTS[1:3])
    assert page["total"] == document["total"]


def test_the_audit_is_read_from_any_row_on(held_page):
    """Oldest first, so that the chain can be computed anew."""
    rows = held_page.get("/api/v1/audit?after=1&limit=2", **OPS).json()["items"]
    assert [row["number"] for row in rows] == [2, 3]
    newest_first = held_page.get("/api/v1/audit", **OPS).json()["items"]
    assert [row["number"] for row in newest_first] == [4, 3, 2, 1]
    every_row = [AuditRow(**row) for row in reversed(newest_first)]
    assert find_first_broken_audit_row(every_row) is None


def test_a_run_has_its_plan_and_its_report(held_page):
    """Each as the command prints it; null where there is none."""
    apply, look = (held_page.store.newest_runs(people.STAGING, 2)[index].id for index in (1, 0))
    for run_id, has_plan in ((look, True), (apply, False)):
        document = held_page.get(f"/api/v1/runs/{run_id}", **OPS).json()
        Draft202012Validator(SCHEMA).validate(document)
        assert (document["plan"] is not None, document["report"] is not None) == (
            has_plan, not has_plan,
        )  # fmt: skip
    assert document["calls"] == {"done": 1, "failed": 1, "unknown": 0, "skipped": 3}
    assert document["report"]["outcomes"][0]["request_id"] == "req-done-1"
    plan = held_page.get(f"/api/v1/runs/{look}", **OPS).json()["plan"]
    plan_schema = json.loads((ROOT / "schemas/v1/plan.schema.json").read_text("utf-8"))
    Draft202012Validator(plan_schema).validate(plan)
    assert held_page.get("/api/v1/runs/none", **OPS).status_code == 404


def test_targets_are_filtered_and_paged(page):
    """`total` counts what matches, whatever is asked for of it."""
    document = page.get("/api/v1/targets?source=acme&offset=1&limit=2").json()
    assert (document["total"], document["offset"], len(document["items"])) == (4, 1, 2)
    document = page.get("/api/v1/targets?state=in%20sync").json()
    assert [item["name"] for item in document["items"]] == ["acme/dev"]
    assert document["items"][0]["applied_commit"] == HEAD_COMMIT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/v1/targets?state=x", "state must be one of: failing, unknown, refused,"),
        ("/api/v1/targets?limit=0", "limit must be between 1 and 1000"),
        ("/api/v1/targets?offset=-1", "offset must be a whole number"),
        ("/api/v1/revisions", "source is missing"),
        ("/api/v1/runs?target=acme", "target is missing: write SOURCE/TARGET"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(page, path, message):
    answer = page.get(path)
    assert answer.status_code == 400
    problem = answer.json()
    Draft202012Validator(SCHEMA).validate(problem)
    assert problem["kind"] == "Problem"
    assert problem["diagnostics"][0]["summary"].startswith(message)


def test_metrics_say_how_targets_sources_and_loop_are(page):
    families = {f.name: f for f in text_string_to_metric_families(page.get("/metrics").text)}
    samples = {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["synapse_apply_targets", "failing", "acme"] == 1
    assert samples["synapse_apply_targets", "failing", "vision"] == 0
    assert samples["synapse_apply_target_needs_person", "refused", "vision", "lab"] == 1
    assert samples["synapse_apply_source_head_number", "acme"] == 3
    assert samples["synapse_apply_loop_round_age_seconds",] == 2.5
    assert samples["synapse_apply_looks_total", "in_sync"] == 41
    assert samples["synapse_apply_applies_total", "applied"] == 0
    assert samples["synapse_apply_held_rows", "acme"] == 0
    assert families["synapse_apply_looks"].type == "counter"


def test_the_page_names_every_metric(page):
    """docs/controller-reference.md has a row for each, and no other."""
    text = page.get("/metrics").text
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    doc = (ROOT / "docs" / "controller-reference.md").read_text("utf-8")
    rows = {line.split("`")[1].partition("{")[0] for line in doc.splitlines()
            if line.startswith("| `synapse_apply_")}  # fmt: skip
    assert rows == served
    # The alerts are about these, and name labels that they have.
    rules = (ROOT / "examples" / "controller" / "prometheus-rules.yaml").read_text("utf-8")
    assert set(re.findall(r"\bsynapse_apply_\w+", rules)) <= served
    labels = {row for line in doc.splitlines() if line.startswith("| `synapse_apply_")
              for row in re.findall(r"[{ ](\w+)[,}]", line.split("`")[1])}  # fmt: skip
    assert set(re.findall(r"\$labels\.(\w+)", rules)) <= labels


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ({"round_age": None}, "the loop has not made its first round"),
        ({"round_age": 121.0}, "the loop made its last round 121 s ago"),
        ({"agreed_offset": -75.0}, "the clock differs by 75 s from the servers' clocks"),
    ],
)
def test_it_is_ready_only_while_the_loop_goes_round(page, health, reason):
    """And alive all the while: a restart would not help."""
    before = page.loop.health
    page.loop.health = replace(before, **health)
    answer = page.get("/readyz")
    page.loop.health = before
    assert (answer.status_code, answer.text) == (503, f"{reason}\n")
    assert page.get("/readyz").text == "ok\n"
    assert page.get("/healthz").text == "ok\n"


def test_it_is_ready_while_the_leader_works_alone(page):
    """Targets are looked at all the same, only by one process."""
    before = page.loop.health
    page.loop.health = replace(before, trouble="jobs unavailable")
    answer = page.get("/readyz")
    page.loop.health = before
    text = "ok\nthe leader works alone: jobs unavailable\n"
    assert (answer.status_code, answer.text) == (200, text)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/badge/acme/dev.svg", "acme/dev: in sync"),
        ("/badge/acme/prod-eu.svg", "acme/prod-eu: failing"),
        ("/badge/acme/none.svg", "acme/none: unknown"),
        ("/badge/%3Cb%3E/%26%22.svg", '<b>/&": unknown'),
    ],
)
def test_a_badge_says_the_condition(page, path, label):
    answer = page.get(path)
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert ET.fromstring(answer.text).get("aria-label") == label
