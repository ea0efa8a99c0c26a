"""What `show` knows of one resource: what could not be read is told, and is no absence."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.applying.bench import Bench, plugin, release, widget
from unit.applying.scripted import lost, refused

from synapse_apply import PlanOptions, plan
from synapse_apply.cli.console import Console
from synapse_apply.cli.texts.objects import build_sides_document, render_resource_sides
from synapse_apply.model.address import Address
from synapse_apply.model.errors import Unauthorized
from synapse_apply.model.values import ABSENT, DesiredSecret, Mac, SecretRef, WithheldSecret
from synapse_apply.operations.resource_sides import ComparedSecret, ResourceSides

REF = SecretRef("env", "RAW_KEY")
OURS = DesiredSecret(REF, Mac("k", "a"))
FACE = Console(color="never", environ={})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def sides(bench, address, *desired, aim="") -> ResourceSides:
    at = Address.parse(address)
    return ResourceSides.from_plan_result(
        plan(bench.context(*desired), PlanOptions(), addresses_to_read=(at,)), at, aim
    )


def errors(shown: ResourceSides) -> list[str]:
    return [finding.summary for finding in shown.findings if finding.is_error]


@pytest.mark.parametrize("call", ["get_widget", "list_widget"])
@pytest.mark.parametrize("failure", [lost(), refused(500), Unauthorized("401")], ids=str)
def test_a_failed_read_is_told_and_is_no_absence(bench, call, failure):
    """Of the object, of its kind's list, or of the whole backend: in both faces."""
    if call == "get_widget":
        bench.apply(widget("w"))
    bench.api.fail(call, failure)
    shown = sides(bench, "widget/w", widget("w"))
    assert errors(shown) == ["Reading the live state failed"]
    assert "live object not read)" in render_resource_sides(shown, FACE).splitlines()[0]
    document = build_sides_document(shown)
    assert document["live"] is None
    assert [one["summary"] for one in document["diagnostics"]] == ["Reading the live state failed"]


def test_a_member_is_not_absent_where_its_parent_could_not_be_read(bench):
    """Without its parent nobody could search for it."""
    bench.apply(plugin())
    bench.api.fail("get_plugin", refused(500))
    shown = sides(bench, "release/yolo@1.0.0", plugin(), release())
    (finding,) = shown.findings
    assert finding.detail.startswith("plugin/yolo: ")
    assert "live object not read)" in render_resource_sides(shown, FACE)


def test_what_no_manifest_declares_is_read_too(bench):
    """By the id that is recorded; where that fails it is told."""
    bench.apply(widget("w"))
    text = render_resource_sides(sides(bench, "widget/w"), FACE)
    assert "not declared, recorded as id 1, live as id 1)" in text
    bench.api.fail("get_widget", refused(500))
    assert errors(sides(bench, "widget/w")) == ["Reading the live state failed"]


@pytest.mark.parametrize(
    ("declared", "recorded", "live", "words"),
    [
        (OURS, OURS.mac, OURS.mac, ("same", "same")),
        (OURS, Mac("k", "b"), OURS.mac, ("different", "same")),
        (OURS, OURS.mac, Mac("k", "b"), ("same", "different")),
        (OURS, OURS.mac, WithheldSecret("masked"), ("same", "not shown")),
        (OURS, Mac("other", "a"), ABSENT, ("under another key", None)),
        (
            DesiredSecret(REF, missing_reason="not set"),
            OURS.mac,
            OURS.mac,
            ("not checked", "not checked"),
        ),
        (ABSENT, OURS.mac, OURS.mac, (None, "same")),
        (ABSENT, OURS.mac, Mac("k", "b"), (None, "different")),
        (OURS, ABSENT, ABSENT, (None, None)),
    ],
)
def test_a_secret_is_said_to_be_the_same_or_not(declared, recorded, live, words):
    """By its keyed digests, never by more than that."""
    found = ComparedSecret.compare_sides(declared, recorded, live)
    assert (found.recorded, found.live) == words
