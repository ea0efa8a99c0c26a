"""Nothing from a manifest or a server breaks out of its place in a Markdown report."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.views.forge import READER, read
from unit.views.hostile import (
    CANARY,
    COMMAND,
    FOUND,
    LONG,
    PIECES,
    PLANS,
    STEERING,
    TEXT,
    report_on,
    stuffed,
)

from synapse_apply.model.report import Result
from synapse_apply.views.markdown.budget import SizeBudget
from synapse_apply.views.markdown.markup import code_span, fenced_block, html_code, link, prose
from synapse_apply.views.markdown.report import (
    render_findings_markdown,
    render_plan_markdown,
    render_report_markdown,
)
from synapse_apply.views.text.plan import render_plan

TITLES = {
    "Plan for ", "Apply for ", "Plan failed for ", "Plan found no errors for ", "Apply failed for ", "Apply will stop", "Errors", "Refused", "Failed",
    "This change", "Drift, not from this change", "Adopted", "Forgotten", "Notes", "Warnings",
    "Outcome unknown", "What to do next", "Skipped", "Done",
}  # fmt: skip


def assert_ours(text, limit=65_536):
    """Only our headings, tags and links; no secret, no control character, no CI command; fits."""
    page = read(text)
    assert {title.partition(" (")[0] for title in page.titles} <= TITLES
    assert not page.links
    assert len(page.comments) == 1
    assert page.tags.count("details") == page.tags.count("pre")
    assert CANARY not in text
    assert not STEERING.search(text)
    assert not COMMAND.search(text)
    assert len(text) <= limit
    text.encode()


@effort(16, 120)
@given(PLANS, st.sampled_from([8192, 65_536]))
def test_plans_stay_in_their_place(plan, limit):
    """Names, keys, values, notes, reasons, refusals, guards and findings are text, never markup."""
    assert_ours(render_plan_markdown(plan, budget=SizeBudget(limit)), limit)


@effort(8, 60)
@given(PLANS, st.sampled_from(Result))
def test_reports_stay_in_their_place(plan, result):
    """So are outcomes, ids and what a server said."""
    assert_ours(render_report_markdown(report_on(plan, result)))


@pytest.mark.parametrize("text", LONG, ids=lambda text: ascii(text[:2]))
def test_very_long_texts_stay_in_their_place(text):
    """100 KB in every place where text may stand: shortened, and within the budget."""
    plan = stuffed(text)
    assert_ours(render_plan_markdown(plan))
    assert_ours(render_plan_markdown(plan, budget=SizeBudget(8192)), 8192)
    assert_ours(
        render_report_markdown(report_on(plan, Result.UNKNOWN), budget=SizeBudget(8192)), 8192
    )
    assert_ours(render_findings_markdown(plan.diagnostics, "apply", target=text))


@effort(8, 60)
@given(st.lists(FOUND, max_size=4), TEXT)
def test_findings_stay_in_their_place(found, target):
    """So are findings that stand alone, and the name of a target."""
    assert_ours(render_findings_markdown(found, "plan", target=target))


@pytest.mark.parametrize("text", [*PIECES, *LONG], ids=lambda text: ascii(text[:20]))
def test_the_name_of_a_commit_stays_in_its_place(text):
    """What a plan was compared with, or went back to, is a text like any other."""
    plan = stuffed("x")
    compared = replace(plan, base=replace(plan.base, against=text))
    page = read(render_plan_markdown(compared))
    assert page.titles[:3] == ["Plan for ", " against ", ", without querying the backend"]
    assert not page.links
    assert not STEERING.search(render_plan(compared, color=False))
    assert_ours(render_plan_markdown(replace(plan, base=replace(plan.base, revision=text))))


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_each_way_out_is_closed(piece):
    """Every piece of hostile text, in a sentence, a list, bold, code, a summary and a block."""
    for before, after in product(("", "x", "x ", " "), ("", "x", " x", "1")):
        text = before + piece + after
        page = read(
            f"- x {prose(text)}\n- **{prose(text)}.** {code_span(text)}\n\n"
            f"<details><summary>{html_code(text)}</summary>\n\n"
            f"{fenced_block([prose(text)], 'diff')}\n\n</details>\n\nEnd {prose(text)}\n"
        )
        assert page.tags.count("li") == 2
        assert page.tags.count("strong") == 1
        assert page.tags.count("details") == 1
        assert not page.links


def test_sentences_read_as_they_were_written():
    """What is made harmless still shows the same characters, and can be copied."""
    said = "Ask @acme/all (see #1, GH-2): 5 * 3 <b> https://x.example/a_b [x] 100% ~y 1. \\ $5"
    page = read(prose(said))
    assert "".join(page.texts).strip() == said
    assert READER.render(prose("1. a\n2. b")) == "<p>1. a 2. b</p>\n"


def test_commands_in_a_hint_can_be_copied():
    """Words in backticks become code, whatever is in them."""
    assert prose("run `synapse-apply state mv a_b c` now") == (
        "run `synapse-apply state mv a_b c` now"
    )


@pytest.mark.parametrize("url", ["javascript:x", "https://a b", "https://x)<b>", "", "http://x\n"])
def test_only_a_url_is_a_link(url):
    """What came from the environment and is no plain http URL is left out."""
    assert link("this run", url) == "this run"
