"""The page of the rows that wait at many targets: one click, and only what was shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.views import plan_samples

from synapse_apply.controller.page import approvals
from synapse_apply.controller.planned_rows import HeldRow, HoldReason, PlannedRow, RowAction
from synapse_apply.controller.rows import RunOutcome, TargetCondition, TargetName, TargetRow
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Cause, Change, FieldChange

from .conftest import ServedPage, read_text, serve_page

COUNT = 120
GUARD = people.HELD[2]


def hold(store: ControllerStore, number: int, digest: str, summary: str = "2 deletes") -> None:
    """A guard that waits at a target: it says all that it does in its row."""
    row = replace(GUARD.row, digest=digest)
    put_holds(
        store,
        number,
        [HeldRow(replace(row, summary=summary), HoldReason.GUARD, "at most 1 delete")],
    )


def put_holds(
    store: ControllerStore, number: int, held_rows: Sequence[HeldRow], change: Change | None = None
) -> None:
    """Rows that wait at a target, of a plan with one change."""
    name = TargetName("acme", f"tenant-{number:03}")
    plan_json = samples.format_plan(plan_samples.plan(change)) if change else ""
    run = samples.build_run(11, name, RunOutcome.CHANGES, id=f"RUN{number}", plan_json=plan_json)
    holds = [replace(one, run=run.id) for one in people.build_holds(held_rows, name)]
    with store.write() as writer:
        writer.put(
            TargetRow(name, state=TargetCondition.HELD, mode=Mode.APPROVE, hold_count=len(holds))
        )
        writer.put(run)
        writer.replace_holds(name, holds)


def digest_of(number: int) -> str:
    return f"row1:{number:064x}"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[ServedPage]:
    rule = TargetRule("*", Mode.APPROVE)
    settings = people.SETTINGS
    sources = {name: replace(one, rules=(rule,)) for name, one in settings.sources.items()}

    def fill(store: ControllerStore) -> None:
        samples.fill_few(store)
        for number in range(COUNT):
            hold(store, number, digest_of(number))

    with serve_page(tmp_path, fill, replace(settings, sources=sources)) as served:
        served.loop.people = samples.StubPeopleActions()
        yield served


def read_form(html: str) -> list[list[str]]:
    """The groups, and the hidden rows of all of them."""
    return [
        [unescape(value) for value in re.findall(rf'name="{name}" value="([^"]*)"', html)]
        for name in ("group", "row")
    ]


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_equal_rows_of_many_targets_are_decided_on_by_one_click(page, verb):
    """Each target gets its own digest; what came since is not decided on, nor what was not chosen."""
    hold(page.store, COUNT, digest_of(COUNT), summary="9 deletes")
    html = page.get("/approvals", **people.SRE).text
    groups, rows = read_form(html)
    assert (len(groups), len(rows)) == (2, COUNT + 1)
    assert f"{COUNT} targets" in read_text(html)
    assert all(f'href="/targets/acme/tenant-{number:03}"' in html for number in range(COUNT))
    [chosen] = {row.split()[0] for row in rows if digest_of(0) in row}
    # Another row came at one target, and one at a new target, after the page was shown.
    hold(page.store, 7, digest_of(1007))
    hold(page.store, COUNT + 1, digest_of(COUNT + 1))
    fields = [("group", chosen), *(("row", row) for row in rows), ("reason", "same everywhere")]
    answer = page.post_form(f"/approvals/{verb}", fields, people.SRE)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/approvals?done={verb}")
    assert page.loop.people.calls == [
        (verb, "proxy:ann", f"acme/tenant-{number:03}", digest_of(number), "same everywhere")
        for number in range(COUNT)
    ]


def test_rows_that_run_a_release_with_other_parameters_are_not_equal(page):
    """What is run is shown, and decided on by itself."""
    for number, quality in enumerate((0.9, 0.9, 0.1)):
        run = replace(plan_samples.RUN, body={"parameters": {"quality": quality}})
        change = replace(plan_samples.CREATE_AND_VERIFY, verification=run)
        digest, address = digest_of(number), str(change.address)
        row = PlannedRow(digest, address, RowAction.CREATE, also=(RowAction.VERIFY,))
        put_holds(page.store, number, [HeldRow(row, HoldReason.APPROVAL)], change)
    html = page.get("/approvals", **people.SRE).text
    _, rows = read_form(html)
    group_of = [row.split()[0] for number in range(3) for row in rows if digest_of(number) in row]
    assert (group_of[0] == group_of[1], group_of[1] == group_of[2]) == (True, False)
    assert [read_text(html).count(f'"quality": {one}') for one in (0.9, 0.1)] == [1, 1]


def test_rows_that_upload_other_packages_are_not_equal(page):
    """Also where their digests begin alike, as whoever makes both can have it."""
    start = plan_samples.CREATE_RELEASE
    for number, end in enumerate("aab"):
        package = {**start.extras["package"], "digest": f"pkg1:sha256:{'0' * 63}{end}"}
        change = replace(start, extras={**start.extras, "package": package})
        row = PlannedRow(digest_of(number), str(change.address), RowAction.CREATE)
        put_holds(page.store, number, [HeldRow(row, HoldReason.APPROVAL)], change)
    _, rows = read_form(page.get("/approvals", **people.SRE).text)
    assert len({row.split()[0] for row in rows if any(digest_of(n) in row for n in range(3))}) == 2


def test_rows_of_a_target_with_very_many_are_decided_on_from_the_first_on(page):
    """The form has no more rows than a request may have; a guard names what it counts."""
    rows = [replace(GUARD.row, digest=digest_of(number), summary="x") for number in range(2500)]
    put_holds(page.store, 0, [HeldRow(row, HoldReason.GUARD, "stops") for row in rows])
    html = page.get("/approvals", **people.SRE).text
    groups, shown = read_form(html)
    assert "More rows may await approval" in read_text(html)
    assert "<li>storage/old</li>" in html
    fields = [("group", groups[0]), *(("row", row) for row in shown)]
    assert page.post_form("/approvals/approve", fields, people.SRE).status_code == 303
    assert page.loop.people.calls[0][3] == digest_of(0)


def test_an_author_is_told_that_the_approval_would_not_count(page):
    """As on the page of the target."""
    [source] = [one for one in page.loop.settings.sources.values() if one.name == "acme"]
    rule = replace(source.rules[0], not_author=True)
    page.loop.settings = replace(
        page.loop.settings, sources={"acme": replace(source, rules=(rule,))}
    )
    page.loop.authors = ("Ann", "ann@acme.example")
    text = read_text(page.get("/approvals", **people.SRE).text)
    assert text.count("You are an author of these commits: your approval would not count.") == 1


def test_who_may_not_approve_sees_no_row_and_decides_on_none(page):
    """Nor does a form of another page, one without a choice, or one that was written by hand."""
    mina, path = people.list_proxy_headers("mina"), "/approvals/approve"
    assert read_form(page.get("/approvals", **mina).text) == [[], []]
    row = ("row", f"1 {digest_of(0)} /targets/acme/tenant-000")
    assert page.post_form(path, [("group", "1"), row], mina).status_code == 409
    evil = {**people.SRE, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert page.post_form(path, [("group", "1"), row], evil).status_code == 403
    for fields in ([row], [("group", "1")], [("group", "2"), row], [("group", "1"), ("row", "x")]):
        assert page.post_form(path, fields, people.SRE).status_code == 400
    others = ("apply", "pause", "reconcile", "resume", "rollback")
    assert {page.post_form(f"/approvals/{one}", [], people.SRE).status_code for one in others} == {
        405
    }
    refused = page.post_form("/approvals/reject", [("group", "1"), row], people.SRE)
    assert (refused.status_code, "The reason is missing" in refused.text) == (400, True)
    assert page.loop.people.calls == []


def test_large_plans_are_left_to_the_pages_of_their_targets(page, monkeypatch):
    """So many would take minutes; what fits beside them is shown."""
    monkeypatch.setattr(approvals, "MAX_PLAN_CHARACTERS", 100_000)
    for number, text in enumerate(["x" * 70_000, "x" * 70_000, "new"]):
        field = FieldChange(("description",), "old", text, Cause.GIT)
        change = Change(Address("plugin", f"p-{number}"), Action.UPDATE, fields=(field,))
        row = PlannedRow(digest_of(number), str(change.address), RowAction.UPDATE)
        put_holds(page.store, number, [HeldRow(row, HoldReason.APPROVAL)], change)
    text = read_text(page.get("/approvals", **people.SRE).text)
    assert text.count('"old" → "xxx') == 1
    assert text.count("The page cannot show what this row changes") == 1
    assert '"old" → "new"' in text
