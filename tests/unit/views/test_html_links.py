"""A page leads to the line, the commit and the run, to nothing else, and says what to do next."""

from dataclasses import replace

import pytest
from unit.views.leaf import Leaf
from unit.views.plan_samples import PLANS

from synapse_apply.model.diagnostic import Position
from synapse_apply.views.html.parts import ForgeLinks, render_anchor
from synapse_apply.views.html.reports import render_plan_html

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RUN = "https://git.example/acme/ml/actions/runs/7"


def inside(file):
    """All but what lies elsewhere."""
    return None if file.startswith("/") else f"deploy/{file}"


def plan_at(commit, **base):
    """The sample of everything, made from a commit."""
    plan = PLANS["everything"]
    return replace(plan, base=replace(plan.base, commit=commit, **base))


@pytest.mark.parametrize("separator", ["", "/-"])
def test_lines_commit_and_run_are_links(separator):
    """As a forge has them; the file's path is that from the top of the repository."""
    repository = "https://git.example/acme/ml"
    page = render_plan_html(
        plan_at(COMMIT), run_url=RUN, links=ForgeLinks(repository, separator, inside)
    )
    leads = Leaf(page).leads
    assert f"{repository}{separator}/commit/{COMMIT}" in leads
    assert RUN in leads
    lines = [one for one in leads if "/blob/" in one]
    assert lines
    assert all(
        one.startswith(f"{repository}{separator}/blob/{COMMIT}/deploy/manifests/") for one in lines
    )
    assert all("#L" in one for one in lines)


@pytest.mark.parametrize(
    ("commit", "links", "base"),
    [
        (COMMIT, ForgeLinks(), {}),
        (f"{COMMIT}-dirty", ForgeLinks("https://git.example/a/b", "", inside), {}),
        ("", ForgeLinks("https://git.example/a/b", "", inside), {}),
        (COMMIT, ForgeLinks("https://git.example/a/b", "", lambda _file: None), {"commit": ""}),
        (COMMIT, ForgeLinks("javascript:alert(1)//", "", inside), {}),
        (COMMIT, ForgeLinks("https://user:secret@git.example/a", "", inside), {}),
        (COMMIT, ForgeLinks('https://git.example/"><script>', "", inside), {}),
    ],
)
def test_what_is_not_known_stays_text(commit, links, base):
    """No repository, no whole commit, no file of it, or an address that is none."""
    plan = plan_at(commit)
    plan = replace(plan, base=replace(plan.base, **base))
    assert Leaf(render_plan_html(plan, run_url="javascript:x", links=links)).leads == []


@pytest.mark.parametrize(
    "address",
    ["", "javascript:alert(1)", "data:text/html,x", "//git.example", "https://a/b?token=1",
     "https://a@b/c", "https://a/b c", "https://a/'onclick=", "file:///etc/passwd"],
)  # fmt: skip
def test_no_other_address_is_led_to(address):
    """What is no plain address of a page is text."""
    assert render_anchor(address, "here") == "here"


@pytest.mark.parametrize(
    "file", ["a b#.yaml", "ü\u202e.yaml", '"><img>.yaml', "../../x", "%2e.yaml"]
)
def test_names_of_files_cannot_leave_the_address(file):
    """They are quoted, whatever is in them."""
    links = ForgeLinks("https://git.example/a/b", "", lambda name: name, COMMIT)
    shown = links.render_position(Position(file, 3, 1))
    assert "<img>" not in shown
    assert f"/blob/{COMMIT}/" in shown
    assert shown.count("<a ") == 1


def test_a_target_of_a_forged_plan_is_one_word_of_the_command():
    """What is copied runs nothing else."""
    page = render_plan_html(
        replace(PLANS["create"], base=replace(PLANS["create"].base, target="a; id"))
    )
    assert "synapse-apply apply -t 'a; id'" in Leaf(page).said
