"""What people do on the controller's page, in a browser behind a proxy that logs them in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract.controller.page.conftest import ServedPage, serve_page
from playwright.sync_api import Page, expect
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.controller.page.people_samples import DIGESTS

from synapse_apply.controller.page.addresses import build_run_path
from synapse_apply.controller.rows import (
    ApplyLog,
    BegunApply,
    CallProgress,
    RunCause,
    RunOutcome,
    TargetCondition,
    TargetName,
)
from synapse_apply.controller.settings import Mode, TargetRule

from .axe import list_violations
from .conftest import list_person_headers

Opened = Callable[..., Page]
HELD = "/targets/acme/staging"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ServedPage]:
    with serve_page(tmp_path, people.fill_held, people.SETTINGS) as served:
        served.loop.authors = ("Mina Park", "mina@acme.example")
        yield served


@pytest.fixture
def opened(site: ServedPage, opens: Opened) -> Opened:
    """Opens a path as somebody. Its pages close before the server stops."""

    def open_path(path: str, *, user: str = "ann", **choices: Any) -> Page:
        headers = list_person_headers(user)
        return opens(site.url + path, headers=headers, may_be_refused=True, **choices)

    return open_path


def tell_apply(site: ServedPage, name: TargetName, *results: str) -> None:
    """An apply of a target runs, and has begun a row for each of these results ("": not ended)."""
    target = site.store.find_target(name)
    assert target is not None
    begun = BegunApply("01JDP", samples.HEAD_COMMIT, RunCause.APPROVED, samples.NOW - 30)
    calls = tuple(
        CallProgress(
            number, 1240, f"storage/{number}{'-long' * 10}", "create", samples.NOW - 9, one
        )
        for number, one in enumerate(results, 1)
    )
    with site.store.write() as writer:
        writer.put(replace(target, begun_apply=begun))
        writer.claim(name, "one", samples.NOW + 60, samples.NOW)
        writer.replace_apply_log(name, ApplyLog(begun.run, calls))


def list_paths(site: ServedPage) -> list[str]:
    """Pages with forms, and those on what people did."""
    tell_apply(site, TargetName("acme", "prod-us"), "done", "failed", "unknown", "skipped", "")
    apply = site.store.newest_runs(people.STAGING, 2)[1]
    lab, braked = "/targets/vision/lab", "/targets/acme/prod-us"
    return [HELD, lab, braked, build_run_path(apply.id), "/approvals", "/audit"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_with_forms_are_accessible(opened, site, scheme):
    """By the rules of axe-core, with all that folds out."""
    page = opened(HELD, scheme=scheme)
    for path in list_paths(site):
        page.goto(site.url + path)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert list_violations(page) == []


def test_pages_with_forms_fit_a_phone(opened, site):
    page = opened(HELD, width=390)
    for path in list_paths(site):
        page.goto(site.url + path)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_rows_are_approved_as_they_were_shown(opened, site):
    """The boxes that were chosen and no other; the page says so once, also after a reload."""
    page = opened(HELD)
    page.get_by_label("update storage/raw-data").check()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".notice.done")).to_contain_text("Approved.")
    expect(page).to_have_url(site.url + HELD)
    page.reload()
    expect(page.locator(".notice.done")).to_have_count(0)
    page.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".notice.done")).to_contain_text("Approved.")
    assert site.loop.people.calls == [
        ("approve", "proxy:ann", "acme/staging", DIGESTS[1]),
        ("approve", "proxy:ann", "acme/staging", *DIGESTS[:3]),
    ]


def test_the_result_of_an_act_comes_by_itself(opened, site):
    """Within seconds: what is done now, then the run; nothing is lost that somebody fills in."""
    page = opened(HELD)
    page.clock.install()
    page.get_by_label("update storage/raw-data").check()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".notice.done")).to_contain_text("Approved.")
    target = site.store.find_target(people.STAGING)
    assert target is not None
    begun = BegunApply("01JDP", samples.HEAD_COMMIT, RunCause.APPROVED, samples.NOW - 3)
    applying = replace(target, begun_apply=begun)
    with site.store.write() as writer:
        writer.put(applying)
        writer.claim(people.STAGING, "one", samples.NOW + 60, samples.NOW)
    page.mouse.move(0, 0)
    page.clock.run_for(2_000)
    expect(page.get_by_text("The controller is applying the target now.")).to_be_visible()
    for number, is_filled in ((20, False), (21, True)):
        run = samples.build_run(number, people.STAGING, RunOutcome.IN_SYNC)
        if is_filled:
            page.get_by_label("create plugin/yolo").check()
        with site.store.write() as writer:
            writer.put(run)
            writer.put(replace(applying, last_run=run.id))
        page.clock.run_for(2_000)
        shown = page.locator(f"[data-run='{run.id}']")
        if is_filled:
            expect(page.get_by_text("A newer check has another result.")).to_be_visible()
            expect(page.get_by_label("create plugin/yolo")).to_be_checked()
        expect(shown).to_have_count(0 if is_filled else 1)


def test_the_rows_of_an_apply_appear_as_they_begin_and_end(opened, site):
    """On the page that is open; they are gone with the apply."""
    tell_apply(site, people.STAGING, "")
    page = opened(HELD)
    page.clock.install()
    rows = page.locator("[data-live=log] tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("running")
    page.mouse.move(0, 0)
    tell_apply(site, people.STAGING, "done", "")
    page.clock.run_for(2_000)
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("1 of 1,240")
    expect(rows.first).to_contain_text("done")
    with site.store.write() as writer:
        writer.delete_apply_log(people.STAGING)
    page.clock.run_for(2_000)
    expect(rows).to_have_count(0)
    expect(page.get_by_text("The apply as it runs")).to_be_hidden()


def test_after_an_act_the_page_follows_each_second(opened, site):
    """Later every ten, as before."""
    page, asked = opened(HELD), []
    page.clock.install()
    page.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".notice.done")).to_contain_text("Approved.")
    is_page = re.compile(re.escape(HELD) + "$").search
    page.on("requestfinished", lambda one: is_page(one.url) and asked.append(one.url))
    for count in range(1, 4):
        with page.expect_event("requestfinished", lambda one: is_page(one.url)):
            page.clock.run_for(1000)
        assert len(asked) == count


def test_equal_rows_of_many_targets_are_decided_on_by_one_click(opened, site):
    """Those that are chosen; without one, or without a reason, nothing is sent."""
    prod = replace(people.HELD[2], row=replace(people.HELD[2].row, digest="row1:" + "f6" * 32))
    name = TargetName("acme", "prod-eu")
    target = site.store.find_target(name)
    assert target is not None
    rules = (TargetRule("*", Mode.APPROVE, approvals=2, not_author=True),)
    sources = {one: replace(of, rules=rules) for one, of in people.SETTINGS.sources.items()}
    site.loop.settings = replace(people.SETTINGS, sources=sources)
    with site.store.write() as writer:
        writer.put(replace(target, state=TargetCondition.HELD, hold_count=1))
        writer.replace_holds(name, people.build_holds([prod], name))
    page = opened("/approvals")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("button", name="Select all").click()
    boxes = page.get_by_role("checkbox")
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(boxes.count())
    page.get_by_role("button", name="Select all").click()
    names = page.locator(".held > li", has_text="2 targets").get_by_role("listitem")
    assert names.all_inner_texts()[-2:] == ["acme/prod-eu", "acme/staging"]
    left, right = names.get_by_role("link").evaluate_all(
        "all => all.map(a => a.getBoundingClientRect().toJSON())"
    )
    assert right["left"] - left["right"] > 10
    page.locator(".held > li", has_text="2 targets").get_by_role("checkbox").check()
    page.get_by_role("button", name="Reject").click()
    assert page.locator(".decide [name=reason]:invalid").count() == 1
    assert site.loop.people.calls == []
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".notice.done")).to_contain_text("Approved.")
    assert sorted(site.loop.people.calls) == [
        ("approve", "proxy:ann", "acme/prod-eu", prod.row.digest),
        ("approve", "proxy:ann", "acme/staging", DIGESTS[2]),
    ]


def test_nothing_is_sent_without_a_row_or_a_reason(opened, site):
    """The browser says what is missing; without scripts the controller does, with the way back."""
    page = opened(HELD)
    page.get_by_role("button", name="Approve").click()
    page.get_by_label("create plugin/yolo").check()
    page.get_by_role("button", name="Reject").click()
    assert page.locator(".decide [name=reason]:invalid").count() == 1
    assert (page.url, site.loop.people.calls) == (site.url + HELD, [])
    page = opened(HELD, scripts=False)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("No row was selected")
    page.get_by_role("link", name="Back to the target").click()
    expect(page).to_have_url(site.url + HELD)


def test_a_rejection_says_why(opened, site):
    page = opened(HELD)
    page.get_by_label("create plugin/yolo").check()
    page.get_by_label("Reason (optional for approval)").fill("not on <b>Friday</b>")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator(".notice.done")).to_contain_text("Rejected")
    (call,) = site.loop.people.calls
    assert call == ("reject", "proxy:ann", "acme/staging", DIGESTS[0], "not on <b>Friday</b>")


def test_a_target_is_paused_with_the_keyboard(opened, site):
    """Fold out, say why, send; a pause that is there can be ended."""
    page = opened(HELD, user="kim")
    page.locator(".actions summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("waits for Mina")
    page.keyboard.press("Enter")
    expect(page.locator(".notice.done")).to_contain_text("Paused")
    (call,) = site.loop.people.calls
    assert call == ("pause", "proxy:kim", "acme/staging", "waits for Mina",
                    samples.NOW + samples.DAY)  # fmt: skip
    page = opened("/targets/vision/lab")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".notice.done")).to_contain_text("the controller continues")
    assert site.loop.people.calls[1] == ("resume", "proxy:ann", "vision/*")


def test_a_brake_is_ended(opened, site):
    """By the button beside the fields that were restored often."""
    page = opened("/targets/acme/prod-us", user="kim")
    expect(page.get_by_text("Restored often")).to_be_visible()
    page.get_by_role("button", name="Restore now").click()
    expect(page.locator(".notice.done")).to_contain_text(
        "The pause, rollback or brake has ended: the controller continues."
    )
    assert site.loop.people.calls == [("resume", "proxy:kim", "acme/prod-us")]


def test_a_reader_is_offered_nothing(opened):
    """Who has no right has no button; what waits is there to read."""
    page = opened(HELD, user="mina")
    expect(page.get_by_role("heading", name="Awaiting approval")).to_be_visible()
    assert page.locator("form[method=post], .held input, .decide").count() == 0


def test_boxes_that_are_chosen_stay_while_the_page_follows(opened, site):
    """Else a row could change below a click; without a choice the newer rows come."""
    page = opened(HELD)
    page.clock.install()
    page.reload()
    box = page.get_by_label("create plugin/yolo")
    box.check()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    with site.store.write() as writer:
        writer.replace_holds(people.STAGING, people.build_holds(people.HELD[:-1]))
    page.clock.run_for(11_000)
    expect(page.locator(".held > li")).to_have_count(len(people.HELD))
    expect(box).to_be_checked()
    box.uncheck()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.clock.run_for(11_000)
    expect(page.locator(".held > li")).to_have_count(len(people.HELD) - 1)


def test_a_form_of_another_site_does_nothing(opened, site):
    """A browser that is logged in sends it, with the proxy's word for it, and it is refused."""
    page = opened(HELD)
    fields = f"<input name=row value={DIGESTS[0]}>"
    form = f'<form method=post action="{site.url}{HELD}/approve">{fields}<button>x</button></form>'
    page.goto("data:text/html," + form)
    page.get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        re.compile("The request does not come from a page of this controller")
    )
    assert site.loop.people.calls == []
