"""The HTML report in a browser: filters, keys, dark and light, safety, and 5,000 resources."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from unit.views import plan_samples as samples
from unit.views.hostile import stuffed
from unit.views.report_samples import REPORTS

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Cause, Change
from synapse_apply.views.html.reports import render_plan_html, render_report_html

EVERYTHING = render_plan_html(samples.PLANS["everything"])
ATTACK = (
    '</script></style></title></details>"\'><img src=x onerror="pwned=1">'
    "<script>pwned=1</script><svg onload=pwned=1>`<!--\u202e\x1b[31m"
)
MANY = 5000
# Ends with the second frame after the typing: what it changed is painted by then.
FILTERED = """typed => new Promise(painted => {
  const search = document.querySelector("#filters [name=search]");
  search.value = typed;
  search.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => requestAnimationFrame(painted));
})"""
# A row that is out of sight is laid out only once somebody scrolls there.
LAID_OUT = """[...document.querySelectorAll(".row")].filter(
  row => row.firstElementChild.checkVisibility({ contentVisibilityAuto: true })).length"""


def names(page: Page) -> list[str]:
    return page.locator(".row:visible .name").all_inner_texts()


def many() -> str:
    """A plan of 5,000 resources of two fields each."""
    return render_plan_html(
        samples.plan(
            *(
                Change(
                    Address(f"kind{at % 3}", f"thing-{at}"),
                    Action.UPDATE if at % 4 else Action.CREATE,
                    remote_id=str(at),
                    depends_on=(Address("kind0", "thing-0"),) if at else (),
                    fields=tuple(
                        samples.moved(
                            "configuration", f"field{n}", before=f"old value {at}", after=f"new {at}",
                            cause=Cause.DRIFT if at % 5 == 0 and at % 4 else Cause.GIT,
                        )
                        for n in range(2)
                    ),
                )
                for at in range(MANY)
            )
        )
    )  # fmt: skip


def test_a_search_keeps_what_has_all_of_its_words(shown):
    """Words of names, values and reasons, in any order and case; counts follow, sections go."""
    page = shown(EVERYTHING)
    expect(page.locator("#shown")).to_have_text("14 of 14")
    page.get_by_role("searchbox", name="Search").fill("EU-CENTRAL raw-data")
    expect(page.locator("#shown")).to_have_text("1 of 14")
    assert names(page) == ["storage/raw-data"]
    expect(page.locator("#refused .count")).to_have_text("1 of 2")
    expect(page.locator("#change")).to_be_hidden()
    expect(page.locator("#warnings")).to_be_visible()
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.locator("#shown")).to_have_text("0 of 14")
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator("#shown")).to_have_text("14 of 14")
    expect(page.locator("#refused .count")).to_have_text("2")


def test_choices_narrow_one_another(shown):
    """Action, kind and cause at once; only what is refused by its box."""
    page = shown(EVERYTHING)
    page.get_by_label("Action").select_option("update")
    expect(page.locator("#shown")).to_have_text("3 of 14")
    page.get_by_label("Kind").select_option("plugin")
    expect(page.locator("#shown")).to_have_text("2 of 14")
    page.get_by_label("Cause").select_option("drift")
    expect(page.locator("#shown")).to_have_text("1 of 14")
    assert names(page) == ["plugin/segmenter"]
    page.locator("form").evaluate("form => form.reset()")
    page.get_by_label("Only refused").check()
    expect(page.locator("#shown")).to_have_text("2 of 14")
    assert names(page) == ["storage/raw-data", "plugin/maybe"]


def test_only_the_keyboard(shown):
    """`/` searches, arrows go from row to row, Enter opens one, Escape brings all back."""
    page = shown(EVERYTHING)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Toggle theme")).to_be_focused()
    page.keyboard.press("/")
    search = page.get_by_role("searchbox")
    expect(search).to_be_focused()
    page.keyboard.type("plugin/")
    expect(search).to_have_value("plugin/")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    row = page.locator("details:visible").nth(1)
    expect(row.locator("summary")).to_be_focused()
    was = row.evaluate("row => row.open")
    page.keyboard.press("Enter")
    assert row.evaluate("row => row.open") is not was
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(search).to_be_focused()
    page.keyboard.press("Escape")
    expect(search).to_have_value("")
    expect(page.locator("#shown")).to_have_text("14 of 14")


def test_all_rows_at_once(shown):
    """A button opens and closes every row that is there to see."""
    page = shown(EVERYTHING)
    page.get_by_label("Kind").select_option("storage")
    expect(page.locator("#shown")).to_have_text("4 of 14")
    page.get_by_role("button", name="Open all").click()
    assert page.locator("details[open]:visible").count() == 4
    page.get_by_role("button", name="Close all").click()
    assert page.locator("details[open]:visible").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_and_light(shown, scheme):
    """As the system is; the button turns it round and back."""
    page = shown(EVERYTHING, scheme=scheme)
    paper = "getComputedStyle(document.body).backgroundColor"
    both = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}
    other = next(name for name in both if name != scheme)
    for expected in (scheme, other, scheme):
        assert page.evaluate(paper) == both[expected]
        page.get_by_role("button", name="Toggle theme").click()


def test_a_box_of_the_graph_opens_its_row(shown):
    """Also one that a filter hides."""
    page = shown(EVERYTHING)
    page.get_by_label("Kind").select_option("storage")
    page.locator(".graph a", has_text="plugin/yolo").click()
    row = page.locator("details", has_text="plugin/yolo will be created").first
    expect(row).to_have_attribute("open", "")
    expect(row.locator("table")).to_be_visible()


def test_without_scripts(shown):
    """All of it is there and folds out; what only a script could do is not shown."""
    page = shown(EVERYTHING, scripts=False)
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("#theme")).to_be_hidden()
    assert page.locator(".row:visible").count() == 14
    row = page.locator("#change details").first
    row.locator("summary").click()
    expect(row.locator("table")).to_be_visible()


def test_an_apply_is_filtered_the_same_way(shown):
    """Its box keeps what was not done."""
    page = shown(render_report_html(REPORTS["everything"]))
    page.get_by_label("Only unfinished rows").check()
    expect(page.locator("#shown")).to_have_text("4 of 11")


def test_hostile_text_does_nothing(shown):
    """Markup and scripts in every place where text may stand are shown, and never run."""
    page = shown(render_plan_html(stuffed(ATTACK)))
    page.get_by_role("searchbox").fill("</script>")
    expect(page.locator("#shown")).to_have_text("8 of 8")
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.evaluate("document.scripts.length") == 1
    assert page.locator("img").count() == 0


def test_thousands_of_resources_open_and_filter_at_once(shown, tmp_path):
    """5,000 rows: a few steps of the script for each, few layouts, and only what is in sight laid out.

    What is counted is the same on a busy machine.
    """
    page = shown(EVERYTHING)
    meter = page.context.new_cdp_session(page)
    meter.send("Performance.enable")
    meter.send("Profiler.enable")
    meter.send("Profiler.startPreciseCoverage", {"callCount": True, "detailed": True})
    file = tmp_path / "many.html"
    file.write_text(many(), encoding="utf-8")
    page.goto(file.as_uri())

    def steps() -> int:
        """How often a function or a block of the page's script ran since this was asked last."""
        scripts = meter.send("Profiler.takePreciseCoverage")["result"]
        own = (script["functions"] for script in scripts if script["url"] == file.as_uri())
        return sum(
            block["count"] for functions in own for one in functions for block in one["ranges"]
        )

    def layouts() -> float:
        metrics = meter.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "LayoutCount")

    expect(page.locator("#shown")).to_have_text("5,000 of 5,000")
    assert MANY < steps() < 4 * MANY
    assert layouts() < 50
    assert 0 < page.evaluate(LAID_OUT) < 100
    for typed, left in (("thing-4999", "1"), ("thing", "5,000"), ("new 77", "95"), ("", "5,000")):
        steps()
        before = layouts()
        page.evaluate(FILTERED, typed)
        expect(page.locator("#shown")).to_have_text(f"{left} of 5,000")
        assert MANY < steps() < 6 * MANY
        assert layouts() - before < 50
        assert page.evaluate(LAID_OUT) < 100
    page.locator("#filters [name=cause]").select_option("drift")
    expect(page.locator("#shown")).to_have_text("750 of 5,000")


def test_filters_stand_in_the_address(shown):
    """A link shows what its sender saw; a filter that is no more is not kept."""
    page = shown(EVERYTHING)
    page.fill("[name=search]", "plugin")
    page.select_option("[name=action]", "create")
    expect(page.locator("#shown")).not_to_have_text("14 of 14")
    expect(page).to_have_url(re.compile(r"\.html#search=plugin&action=create$"))
    seen = names(page)
    page.goto("about:blank")
    page.go_back()
    expect(page.locator("[name=search]")).to_have_value("plugin")
    assert names(page) == seen
    page.evaluate("location.hash = 'search=&action=nothing-of-that-name'")
    expect(page.locator("#shown")).to_have_text("14 of 14")
    page.fill("[name=search]", "x")
    page.fill("[name=search]", "")
    expect(page).to_have_url(re.compile(r"\.html$"))


def test_a_link_to_a_row_is_no_filter(shown):
    """The first row opens, and all stay in sight."""
    page = shown(EVERYTHING)
    page.evaluate("location.hash = 'r2'")
    expect(page.locator("#r2")).to_have_attribute("open", "")
    expect(page.locator("#shown")).to_have_text("14 of 14")


def test_a_command_is_copied(shown):
    """A button beside each; what it copies is the command and nothing else."""
    page = shown(render_plan_html(samples.PLANS["create"]))
    page.evaluate("""() => {
      document.addEventListener("copy", () => (window.taken = `${getSelection()}`));
      Object.defineProperty(navigator, "clipboard", { value: undefined });
    }""")
    button = page.locator("#next .copy").first
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("window.taken") == "synapse-apply apply -t prod"


@pytest.mark.parametrize("scripts", [True, False])
def test_rows_are_open_on_paper(shown, scripts):
    """Also without a script; buttons and filters are not printed."""
    page = shown(EVERYTHING, scripts=scripts)
    page.emulate_media(media="print")
    if scripts:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for at in range(page.locator("details > .body").count()):
        assert page.locator("details > .body").nth(at).is_visible()
    assert not page.locator("#filters").is_visible()
    if scripts:
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0


def test_before_and_after_are_stacked_on_a_phone(shown):
    """Below each other, each with its name, and nothing is wider than the screen."""
    page = shown(EVERYTHING)
    page.set_viewport_size({"width": 390, "height": 800})
    before, after = (page.locator(f"table.now .{side}").first for side in ("before", "after"))
    boxes = before.bounding_box(), after.bounding_box()
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"]
    label = "getComputedStyle(document.querySelector('table.now .after'), '::before').content"
    assert page.evaluate(label) == '"Wanted"'
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
