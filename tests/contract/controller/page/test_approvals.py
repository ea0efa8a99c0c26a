"""The page of the rows that wait at many targets: one click, and only what was shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people

from synapse_apply.controller.planned_rows import HeldRow, HoldReason
from synapse_apply.controller.rows import TargetCondition, TargetName, TargetRow
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.store.controller_store import ControllerStore

from .conftest import ServedPage, read_text, serve_page

COUNT = 120
GUARD = people.HELD[2]


def hold(store: ControllerStore, number: int, digest: str, summary: str = "2 deletes") -> None:
    """A guard that waits at a target: it says all that it does in its row."""
    name = TargetName("acme", f"tenant-{number:03}")
    target = TargetRow(name, state=TargetCondition.HELD, mode=Mode.APPROVE, hold_count=1)
    row = replace(GUARD.row, digest=digest)
    held = HeldRow(replace(row, summary=summary), HoldReason.GUARD, "at most 1 delete")
    with store.write() as writer:
        writer.put(target)
        writer.replace_holds(name, people.build_holds([held], name))


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
    refused = page.post_form("/approvals/reject", [("group", "1"), row], people.SRE)
    assert (refused.status_code, "The reason is missing" in refused.text) == (400, True)
    assert page.loop.people.calls == []
