"""The JSON of `/api/v1`, metrics, probes and badges, as programs read them."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from installed import ROOT
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from unit.controller.page.page_samples import HEAD_COMMIT

from .conftest import ServedPage

SCHEMA = json.loads((ROOT / "schemas/v1/controller-api.schema.json").read_text("utf-8"))
PATHS = {
    "TargetList": "/api/v1/targets",
    "RevisionList": "/api/v1/revisions?source=acme",
    "RunList": "/api/v1/runs?target=acme/prod-eu",
}


@pytest.mark.parametrize("kind", PATHS)
def test_each_list_fits_the_schema_and_the_schema_has_nothing_else(
    page: ServedPage, kind: str
) -> None:
    answer = page.get(PATHS[kind])
    document = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert document["kind"] == kind
    assert document["items"]
    Draft202012Validator(SCHEMA).validate(document)
    item = SCHEMA["$defs"][kind]["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
    for value in document["items"]:
        assert value.keys() == SCHEMA["$defs"][item]["properties"].keys()
        assert page.get(value["path"]).status_code == 200


def test_targets_are_filtered_and_paged(page: ServedPage) -> None:
    """`total` counts what matches, whatever is asked for of it."""
    document = page.get("/api/v1/targets?source=acme&offset=1&limit=2").json()
    assert (document["total"], document["offset"], len(document["items"])) == (4, 1, 2)
    document = page.get("/api/v1/targets?state=in%20sync").json()
    assert [item["name"] for item in document["items"]] == ["acme/dev"]
    assert document["items"][0]["applied_commit"] == HEAD_COMMIT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/v1/targets?state=x", "state is one of: failing, unknown, refused,"),
        ("/api/v1/targets?limit=0", "limit is at least 1 and at most 1000"),
        ("/api/v1/targets?offset=-1", "offset is a whole number"),
        ("/api/v1/revisions", "source is missing"),
        ("/api/v1/runs?target=acme", "target is missing: SOURCE/TARGET"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    page: ServedPage, path: str, message: str
) -> None:
    answer = page.get(path)
    assert answer.status_code == 400
    assert answer.text.startswith(message)


def test_metrics_say_how_targets_sources_and_loop_are(page: ServedPage) -> None:
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
    assert families["synapse_apply_looks"].type == "counter"


def test_the_page_names_every_metric(page: ServedPage) -> None:
    """docs/controller.md has a row for each, and no other."""
    text = page.get("/metrics").text
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    doc = (ROOT / "docs" / "controller.md").read_text("utf-8")
    rows = {line.split("`")[1].partition("{")[0] for line in doc.splitlines()
            if line.startswith("| `synapse_apply_")}  # fmt: skip
    assert rows == served


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ({"round_age": None}, "the loop has not made its first round"),
        ({"round_age": 121.0}, "the loop made its last round 121 s ago"),
        ({"clock_offset": -75.0}, "the clock is 75 s away from that of the servers"),
    ],
)
def test_it_is_ready_only_while_the_loop_goes_round(
    page: ServedPage, health: dict[str, float | None], reason: str
) -> None:
    """And alive all the while: a restart would not help."""
    before = page.loop.health
    page.loop.health = replace(before, **health)  # type: ignore[arg-type]
    answer = page.get("/readyz")
    page.loop.health = before
    assert (answer.status_code, answer.text) == (503, f"{reason}\n")
    assert page.get("/readyz").text == "ok\n"
    assert page.get("/healthz").text == "ok\n"


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/badge/acme/dev.svg", "acme/dev: in sync"),
        ("/badge/acme/prod-eu.svg", "acme/prod-eu: failing"),
        ("/badge/acme/none.svg", "acme/none: unknown"),
        ("/badge/%3Cb%3E/%26%22.svg", '<b>/&": unknown'),
    ],
)
def test_a_badge_says_the_condition(page: ServedPage, path: str, label: str) -> None:
    answer = page.get(path)
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert ET.fromstring(answer.text).get("aria-label") == label
