"""The controller's page in a browser: keys, themes, phones, paper, accessibility, 10,000 targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from counting import calls_of_threads
from playwright.sync_api import Page, expect
from unit.controller.page import page_samples as samples

from synapse_apply.controller.page.addresses import build_run_path
from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.rows import SourceRow, TargetCondition, TargetName
from synapse_apply.controller.store.controller_store import SqliteControllerStore

from .axe import list_violations
from .conftest import calls_of_answer

Opened = Callable[..., Page]
STAGING = TargetName("acme", "staging")
PATHS = {
    "overview": "/",
    "filtered": "/?source=acme&state=pending",
    "no match": "/?q=none",
    "target": "/targets/vision/lab",
    "failing target": "/targets/acme/prod-eu",
    "source": "/sources/acme",
    "revision": f"/revisions/acme/{samples.HEAD_COMMIT}",
    "run": "/runs/RUN",
}
MANY = 10_000


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteControllerStore]:
    with closing(samples.open_store(tmp_path_factory.mktemp("few"))) as store:
        samples.fill_few(store)
        yield store


@pytest.fixture(scope="module")
def url(few: SqliteControllerStore) -> Iterator[str]:
    with PageServer(few, samples.StubLoop(), {}, lambda: samples.NOW) as server:
        yield server.url


@pytest.fixture
def opened(url: str, few: SqliteControllerStore, opens: Opened) -> Opened:
    """Opens a path of the page, or of another one at `base`."""
    run = few.newest_runs(STAGING, 1)[0]

    def open_path(path: str, *, base: str = url, **choices: Any) -> Page:
        return opens(base + path.replace("/runs/RUN", build_run_path(run.id)), **choices)

    return open_path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PATHS)
def test_every_page_is_accessible(opened, name, scheme):
    """By the rules of axe-core."""
    page = opened(PATHS[name], scheme=scheme)
    assert list_violations(page) == []


def test_a_long_name_fits_a_phone_and_is_whole_on_the_badge(opened, tmp_path, few):
    """On the pages of the target and of all, with a name as long as it can be."""
    name = TargetName("acme", "tenant_of_the_northern_region_with_a_long_name_and_a_number_00417")
    with closing(samples.open_store(tmp_path)) as store:
        row = few.find_target(TargetName("acme", "prod-eu"))
        assert row is not None
        with store.write() as writer:
            writer.put(SourceRow("acme"))
            writer.put(replace(row, name=name))
        with PageServer(store, samples.StubLoop(), {}, lambda: samples.NOW) as server:
            for path in ("/", f"/targets/{name}", "/sources/acme"):
                page = opened(path, width=390, base=server.url)
                assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
            badge = opened(f"/badge/{name}.svg", base=server.url)
            assert str(name) in badge.content()


@pytest.mark.parametrize("name", PATHS)
def test_every_page_fits_a_phone(opened, name):
    """Nothing is wider than the screen, and no two texts of a row cover each other."""
    page = opened(PATHS[name], width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = page.locator(".list tbody tr").first.locator("> *:visible")
    tops = [box for at in range(boxes.count()) if (box := boxes.nth(at).bounding_box())]
    for first in tops:
        for second in tops:
            apart = (
                first is second
                or first["x"] + first["width"] <= second["x"] + 1
                or second["x"] + second["width"] <= first["x"] + 1
                or first["y"] + first["height"] <= second["y"] + 1
                or second["y"] + second["height"] <= first["y"] + 1
            )
            assert apart, (first, second)


def test_only_the_keyboard(opened):
    """Tab skips to the contents, `/` searches, Enter shows, and links lead on."""
    page = opened("/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    page.keyboard.type("prod-us")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/\?q=prod-us$"))
    link = page.get_by_role("table").get_by_role("link", name="acme/prod-us")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("prod-us")


def test_filters_stand_in_the_address(opened):
    """A choice is shown at once, a link shows what its sender saw, and back leads back."""
    page = opened("/")
    page.get_by_role("combobox", name="Condition").select_option("pending")
    expect(page).to_have_url(re.compile(r"/\?state=pending$"))
    expect(page.locator(".targets tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    expect(page.locator(".targets tbody tr")).to_have_count(6)
    page.locator(".legend").get_by_role("link", name="drifted").click()
    expect(page).to_have_url(re.compile(r"/\?state=drifted$"))
    page.go_back()
    expect(page.locator(".targets tbody tr")).to_have_count(6)


def test_without_scripts(opened):
    """All of it can be read and filtered."""
    page = opened("/", scripts=False)
    expect(page.locator("#theme")).to_be_hidden()
    page.get_by_role("searchbox").fill("lab")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".targets tbody tr")).to_have_count(1)


def test_a_theme_that_was_chosen_stays(opened):
    """On the other pages, too, from the first paint on."""
    page = opened("/")
    page.get_by_role("button", name="Toggle theme").click()
    dark = "rgb(20, 23, 28)"
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == dark
    page.locator(".targets").get_by_role("link", name="acme/dev").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("dev")
    assert page.evaluate(paper) == dark


def test_the_plan_is_that_of_the_report(opened):
    """Its filters, rows and graph work as they do there."""
    page = opened("/targets/vision/lab")
    page.locator("#filters [name=search]").fill("EU-CENTRAL raw-data")
    expect(page.locator("#shown")).to_have_text("1 of 14")
    page.get_by_role("button", name="Clear").or_(page.locator("#filters [name=search]")).first.fill(
        ""
    )
    page.locator(".graph a", has_text="plugin/yolo").click()
    expect(page.locator("details", has_text="plugin/yolo will be created").first).to_have_attribute(
        "open", ""
    )


def test_the_page_follows_by_itself(opened, browser, tmp_path):
    """What is new stands there without a reload, and what somebody types stays."""
    with closing(samples.open_store(tmp_path)) as store:
        samples.fill_few(store)
        with PageServer(store, samples.StubLoop(), {}, lambda: samples.NOW) as server:
            page = opened("/", base=server.url)
            page.clock.install()
            page.reload()
            page.get_by_role("searchbox").fill("some words")
            expect(page.get_by_role("heading", level=1)).to_have_text(
                "2 of 6 targets need attention"
            )
            failing = store.find_target(TargetName("acme", "prod-eu"))
            assert failing is not None
            with store.write() as writer:
                writer.put(replace(failing, state=TargetCondition.IN_SYNC))
            page.clock.run_for(11_000)
            expect(page.get_by_role("heading", level=1)).to_have_text(
                "1 of 6 targets needs attention"
            )
            expect(page).to_have_title(re.compile("1 of 6 targets needs attention"))
            expect(page.get_by_role("searchbox")).to_have_value("some words")
            page.context.close()


def test_on_paper_there_is_no_button(opened):
    page = opened("/")
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator(".targets").is_visible()


def test_ten_thousand_targets_are_shown_at_once(opened, tmp_path):
    """The server does no more for a page of them than of a thousand; the browser gets a page of rows."""
    paths = ("/", "/?page=5", "/?q=tenant-00&state=in+sync", PATHS["revision"])
    few = calls_of_answers(tmp_path / "few", MANY // 10, paths)
    many = calls_of_answers(tmp_path / "many", MANY, paths)
    assert all(many[path] < 1.5 * few[path] for path in paths), (few, many)
    with (
        closing(samples.open_store(tmp_path / "many")) as store,
        PageServer(store, samples.StubLoop(), {}, lambda: samples.NOW) as server,
    ):
        page = opened("/?page=3", base=server.url)
        expect(page.locator(".filters output")).to_have_text("201 to 300 of 10,000")
        assert page.locator(".targets tbody tr").count() == 100
        assert page.locator("*").count() < MANY
        page.get_by_role("link", name="Next").click()
        expect(page.locator(".filters output")).to_have_text("301 to 400 of 10,000")
        page.context.close()  # it may still load something, and the server ends


def calls_of_answers(folder: Path, count: int, paths: Sequence[str]) -> dict[str, int]:
    """How many functions the server calls for each page, once its templates are loaded."""
    folder.mkdir()
    with closing(samples.open_store(folder)) as store, calls_of_threads() as counted:
        samples.fill_many(store, count, runs=2)
        with PageServer(store, samples.StubLoop(), {}, lambda: samples.NOW) as server:
            return {path: calls_of_answer(server.url + path, counted) for path in paths}
