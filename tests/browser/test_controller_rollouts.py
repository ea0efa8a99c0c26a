"""The pages of rollouts in a browser: accessibility, phones, paper, keys, 10,000 targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract.controller.page.conftest import ServedPage, serve_page
from counting import calls_of_threads
from playwright.sync_api import Page, expect
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.controller.page import rollout_samples as rollouts
from unit.controller.page.people_samples import SRE

from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.rows import RolloutState

from .axe import list_violations
from .conftest import calls_of_answer, list_person_headers

Opened = Callable[..., Page]
FLEET = "/rollouts/fleet"
PATHS = ["/rollouts", FLEET, "/rollouts/lab", "/rollouts/later", f"{FLEET}?wave=2&state=held", "/",
         "/targets/acme/eu-2", f"/revisions/acme/{samples.HEAD_COMMIT}", "/sources/acme"]  # fmt: skip
MANY = 10_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ServedPage]:
    with serve_page(tmp_path, rollouts.fill_rollouts, rollouts.SETTINGS) as served:
        yield served


@pytest.fixture
def opened(site: ServedPage, opens: Opened) -> Opened:
    """Opens a path as somebody. Its pages close before the server stops."""

    def open_path(path: str, *, user: str = "ann", base: str = site.url, **choices: Any) -> Page:
        return opens(base + path, headers=list_person_headers(user), **choices)

    return open_path


def set_state(site: ServedPage, state: RolloutState) -> None:
    with site.store.write() as writer:
        writer.put(replace(rollouts.FLEET, state=state))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_rollouts_are_accessible(opened, site, scheme):
    """By the rules of axe-core, with all that folds out."""
    set_state(site, RolloutState.STOPPED)
    page = opened("/rollouts", scheme=scheme)
    for path in PATHS:
        page.goto(site.url + path)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert list_violations(page) == [], path


def test_pages_of_rollouts_fit_a_phone(opened, site):
    page = opened(FLEET, width=390)
    for path in PATHS:
        page.goto(site.url + path)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_a_wave_is_let_begin_with_the_keyboard(opened, site):
    set_state(site, RolloutState.WAITING)
    page = opened(FLEET)
    page.get_by_role("button", name="Approve wave 2").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".notice.done")).to_contain_text("Approved")
    expect(page).to_have_url(site.url + FLEET)
    assert site.loop.rollouts.calls == [("approve", "proxy:ann", "fleet", 3, 2)]


def test_a_wave_is_skipped_with_a_reason(opened, site):
    """What folds out stays while the page follows."""
    page = opened(FLEET)
    page.clock.install()
    page.reload()
    page.locator("summary", has_text="Skip wave 2").click()
    page.locator("details[open]").get_by_label("Reason").fill("it is <b>rebuilt</b>")
    page.mouse.move(0, 0)
    set_state(site, RolloutState.STOPPED)
    page.clock.run_for(11_000)
    expect(page.locator(".head .state").first).to_contain_text("stopped")
    page.locator("details[open]").get_by_role("button").click()
    expect(page.locator(".notice.done")).to_contain_text("Skipped")
    (call,) = site.loop.rollouts.calls
    assert call == ("skip", "proxy:ann", "fleet", 3, 2, "it is <b>rebuilt</b>")


def test_a_reader_is_offered_nothing(opened):
    page = opened(FLEET, user="mina")
    expect(page.get_by_role("heading", name="Revisions and waves")).to_be_visible()
    assert page.locator("form[method=post], details").count() == 0


def test_on_paper_there_is_the_picture_and_no_button(opened):
    page = opened(FLEET)
    page.emulate_media(media="print")
    assert not page.locator(".actions").is_visible()
    assert not page.locator(".filters").is_visible()
    assert page.locator(".waves").is_visible()


def test_ten_thousand_targets_stay_usable(opened, tmp_path):
    """Few calls of the server for each target; counts lead to the targets."""
    with closing(samples.open_store(tmp_path)) as store, calls_of_threads() as counted:
        rollouts.fill_large_rollout(store, MANY)
        loop = samples.StubLoop(rollouts.SETTINGS)
        with PageServer(store, loop, {}, lambda: samples.NOW, lambda: people.SECRETS) as server:
            assert calls_of_answer(server.url + FLEET, counted, SRE) < 300 * MANY
            assert calls_of_answer(server.url + "/", counted, SRE) < 40 * MANY
            page = opened(FLEET, base=server.url)
            page.locator(".waves").get_by_role("link", name="failing").first.click()
            expect(page.locator(".targets tbody tr").first).to_contain_text("failing")
            expect(page.locator(".filters output")).to_contain_text("targets")
            page.context.close()  # it may still load something, and the server ends
