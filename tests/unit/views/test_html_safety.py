"""Nothing from a manifest or a server breaks out of its place in an HTML report."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.views.hostile import (
    CANARY,
    COMMAND,
    FOUND,
    LONG,
    PIECES,
    PLANS,
    SHORT,
    STEERING,
    TEXT,
    report_on,
    stuffed,
)
from unit.views.leaf import Leaf
from unit.views.plan_samples import BASE

from synapse_apply import Drift
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.report import ObjectDrift, Result, Unmanaged
from synapse_apply.model.values import ABSENT
from synapse_apply.views.html.parts import cut_and_escape, render_code, render_prose
from synapse_apply.views.html.reports import (
    render_drift_html,
    render_findings_html,
    render_plan_html,
    render_report_html,
)

PIECES = [*PIECES, "</script>", "</style>", "<img onerror=x src=y>", "<!--", "<![CDATA[", "]]>",
          "&#60;script&#62;", "javascript:x", '" onclick="x', "' onclick='x", "</title>",
          "</svg>", "</pre>", "<svg/onload=x>", "\u202e</details>"]  # fmt: skip
VERY_LONG = [*LONG, "</script>" * 11_000, '"' * 100_000, "\u202e\x1b[31m" * 16_000]


def assert_ours(page):
    """Only our tags, attributes, style and script; no secret, no control, no CI command."""
    leaf = Leaf(page)
    assert leaf.tags.count("script") == leaf.tags.count("style") == 1
    for directive, tag in (("script-src", "script"), ("style-src", "style")):
        held = re.search(rf"{directive} 'sha256-([^']+)'", leaf.policy)
        assert held
        assert held[1] == b64encode(sha256(leaf.texts[tag].encode()).digest()).decode()
    assert leaf.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in leaf.policy
    assert CANARY not in page
    assert not STEERING.search(page)
    assert not COMMAND.search(page)
    return leaf


@effort(12, 100)
@given(PLANS, st.sampled_from(["plan", "apply"]))
def test_plans_stay_in_their_place(plan, command):
    """Names, keys, values, notes, reasons, refusals, guards and findings are text, never markup."""
    leaf = assert_ours(render_plan_html(plan, command=command))
    refused = sum("data-trouble" in row for row in leaf.rows)
    assert refused == len(plan.refused_changes)


@effort(8, 50)
@given(PLANS, st.sampled_from(Result), TEXT)
def test_reports_stay_in_their_place(plan, result, url):
    """So are outcomes, ids, what a server said, and the address of the run."""
    assert_ours(render_report_html(report_on(plan, result), run_url=url))


@effort(8, 50)
@given(PLANS, st.lists(FOUND, max_size=2), TEXT, SHORT)
def test_drift_stays_in_its_place(plan, found, words, key):
    """So are drifted objects and those that nobody looks after."""
    objects = tuple(
        ObjectDrift(
            c.address,
            words,
            c.fields,
            replacement_id=words,
            blocked_reason=words,
            position=c.position,
        )
        for c in plan.changes
    )
    gone = ObjectDrift(Address("k", words), words, is_missing=True)
    strangers = (Unmanaged("k", words, (key, words)),)
    drift = Drift(words, words, BASE, (*objects, gone), unmanaged=strangers,
                  diagnostics=tuple(found))  # fmt: skip
    assert len(assert_ours(render_drift_html(drift)).rows) == len(objects) + 2


@effort(8, 40)
@given(st.lists(FOUND, max_size=4), TEXT)
def test_findings_stay_in_their_place(found, target):
    """So are findings that stand alone, and the name of a target."""
    assert_ours(render_findings_html(found, "plan", target=target))


@pytest.mark.parametrize("long", VERY_LONG, ids=lambda long: ascii(long[:9]))
def test_very_long_texts_stay_in_their_place(long):
    """100 KB in every place where text may stand: shortened, and the page stays small."""
    plan = stuffed(long)
    for page in (
        render_plan_html(plan),
        render_report_html(report_on(plan, Result.UNKNOWN)),
        render_findings_html(plan.diagnostics, "apply", target=long),
    ):
        assert_ours(page)
        assert len(page) < 1_500_000


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_each_way_out_is_closed(piece):
    """Every piece of hostile text, in content, in an attribute, in code and in a sentence."""
    for before, after in product(("", "x", " "), ("", "x", " x")):
        said = before + piece + after
        leaf = Leaf(f'<p class="fact">{cut_and_escape(said)}</p><input value="{cut_and_escape(said)}">'
                    f"{render_code(said)}<p>{render_prose(said)}</p>")  # fmt: skip
        assert [tag for tag in leaf.tags if tag not in {"br", "code"}] == ["p", "input", "p"]


def test_what_is_escaped_still_reads_as_it_was_written():
    """Markup shows as the same characters; what would steer a reader shows as an escape."""
    said = """<b title="x" class='y'>&amp; #1 5 > 3</b> 한국어 🙂"""
    assert Leaf(f"<p>{cut_and_escape(said)}</p>").said == said
    assert Leaf(f"<p>{cut_and_escape('a' + chr(0x202E) + 'b')}</p>").said == "a\\u202eb"


def test_no_field_shows_a_masked_value():
    """What a plan marks as sensitive is told as such, wherever it stands."""
    field = FieldChange(("token",), CANARY, ABSENT, Cause.DRIFT, sensitive=True, note="changed")
    drift = Drift("", "", BASE, (ObjectDrift(Address("k", "n"), "1", (field,)),))
    page = render_drift_html(drift)
    assert CANARY not in page
    assert "(sensitive, changed)" in Leaf(page).said
