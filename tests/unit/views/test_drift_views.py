"""Drift as text, Markdown and JSON looks as the golden files say, whatever names it meets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from unit.views.forge import read
from unit.views.golden_files import check_golden
from unit.views.plan_samples import BASE, ERROR, WARNING, moved, secret
from unit.views.test_json_documents import require_closed_shape
from unit.views.test_terminal_safety import EVIL, assert_harmless

from synapse_apply import Drift
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.plan import Cause
from synapse_apply.model.report import ObjectDrift, Unmanaged, WrittenEdit
from synapse_apply.model.values import ABSENT
from synapse_apply.views import ci
from synapse_apply.views.ci import annotate_drift
from synapse_apply.views.json.documents import drift_document, format_redacted_json_document
from synapse_apply.views.markdown.report import render_drift_markdown
from synapse_apply.views.text.drift import (
    iter_ways_out_of_drift,
    render_drift,
    render_written_edits,
)

YOLO = Address("plugin", "yolo")
LAKE = Address("storage", "데이터-호수")
RAW = Address("storage", "raw")
NOTHING = Drift("2026-11-24T12:00:00.000000Z", "0.1.0", BASE)
EVERYTHING = replace(
    NOTHING,
    objects=(
        ObjectDrift(
            YOLO,
            "12",
            (
                moved("configuration", "classes", before=["car", "bus"], after=["car"],
                      cause=Cause.DRIFT),
                moved("configuration", "old", before=1, after=ABSENT, cause=Cause.BOTH),
                moved("description", before="Finds things", after="`x` @all </details>",
                      cause=Cause.DRIFT),
            ),
            position=Position("manifests/yolo.yaml", 3, 1),
            blocked_reason="old cannot be changed",
        ),
        ObjectDrift(RAW, "7", is_missing=True, position=Position("manifests/raw.yaml", 1, 1)),
        ObjectDrift(LAKE, "8", (secret("configuration", "secret_key", cause=Cause.DRIFT,
                                       note="changed"),), replacement_id="9"),
    ),
    pending_addresses=(YOLO, LAKE),
    unmanaged=(Unmanaged("plugin", "4", ("code=hand", "name=손으로")), Unmanaged("storage", "11")),
    unlistable_kinds=("release",),
    diagnostics=(WARNING,),
)  # fmt: skip
ACCEPTED = replace(
    NOTHING,
    written_edits=(
        WrittenEdit(YOLO, moved("description", before="Finds things", after="#1"), "m/y.yaml", 8),
        WrittenEdit(YOLO, moved("configuration", "old", before=1, after=ABSENT), "m/y.yaml", 10),
        WrittenEdit(LAKE, moved("name", before=ABSENT, after="호수"), "synapse-apply.yaml", 30),
    ),
)


@pytest.mark.parametrize(
    ("name", "drift"),
    [
        ("none", NOTHING),
        ("everything", EVERYTHING),
        ("errored", replace(EVERYTHING, diagnostics=(ERROR,), unmanaged=None, is_drift_kept=True)),
        ("waiting", replace(NOTHING, pending_addresses=(YOLO,))),
    ],
)
def test_drift_as_text_and_markdown(name: str, drift: Drift) -> None:
    """Objects with their fields first, then what it comes to and the ways out."""
    check_golden(f"drift-{name}.txt", render_drift(drift, color=False))
    check_golden(f"drift-{name}.md", render_drift_markdown(drift))


def test_without_drift_no_way_out_is_told() -> None:
    assert list(iter_ways_out_of_drift(NOTHING)) == []
    assert list(iter_ways_out_of_drift(EVERYTHING)) != []


def test_drift_in_colour() -> None:
    """Symbols and headings are marked."""
    check_golden("drift-everything.ansi", render_drift(EVERYTHING, color=True))


def test_what_was_accepted() -> None:
    """By resource: the place, the field, and what it said before."""
    check_golden(
        "drift-accepted.txt",
        render_written_edits(ACCEPTED, color=False, is_written=True, show_hints=True),
    )
    text = render_written_edits(ACCEPTED, color=False, is_written=False, show_hints=True)
    assert text.endswith("\nNothing was written (--dry-run).\n")
    waits = replace(ACCEPTED, pending_addresses=(YOLO,))
    text = render_written_edits(waits, color=False, is_written=True, show_hints=True)
    assert "shows no drift for it, only other changes in Git; " in text
    assert text.endswith("`synapse-apply apply` records the values.\n")


@pytest.mark.parametrize("drift", [NOTHING, EVERYTHING, ACCEPTED])
def test_the_document_passes_its_schema(drift: Drift) -> None:
    """Every key is declared, required ones are there, and a secret has no value."""
    document = json.loads(format_redacted_json_document(drift_document(drift)))
    require_closed_shape(document, "drift")
    if drift is EVERYTHING:
        check_golden("drift-everything.json", format_redacted_json_document(document))


def test_what_ci_reads() -> None:
    """Counts, outputs, and a warning at the place of each resource."""
    assert ci.count_drift_changes(EVERYTHING) == {
        "create": 1,
        "update": 2,
        "delete": 0,
    }
    assert ci.count_drift_changes(replace(EVERYTHING, diagnostics=(ERROR,))) == {}
    outputs = ci.build_drift_outputs(EVERYTHING, 2)
    assert outputs == {"drifted": "2", "gone": "1", "waiting": "2", "unmanaged": "2",
                       "exit_code": "2", "has_changes": "true"}  # fmt: skip
    lines = ci.format_annotation_commands(annotate_drift(EVERYTHING))
    assert "file=manifests/raw.yaml,line=1,col=1,title=storage/raw is gone" in lines


def test_names_and_values_break_out_of_nothing() -> None:
    """Whatever a server answers stays inside its row."""
    evil = EVIL + "</details>`" * 3
    one = ObjectDrift(Address("plugin", evil), evil,
                      (moved(evil, before=evil, after=evil + "1", cause=Cause.DRIFT),), replacement_id=evil, blocked_reason=evil)  # fmt: skip
    drift = replace(NOTHING, objects=(one, replace(one, is_missing=True)),
                    unmanaged=(Unmanaged("plugin", evil, (evil,)),),
                    written_edits=(WrittenEdit(one.address, one.fields[0], evil, 1),))  # fmt: skip
    assert_harmless(render_drift(drift, color=False))
    assert_harmless(render_written_edits(drift, color=False, is_written=True, show_hints=False))
    text = render_drift_markdown(drift)
    page = read(text)
    assert (page.tags.count("details"), page.tags.count("pre")) == (2, 2)
    assert not page.links
    assert_harmless(text)
