"""What a reader finds on each page, over HTTP."""

from __future__ import annotations

import re
from html import unescape

import pytest
from unit.controller.page.page_samples import HEAD_COMMIT, OLD_COMMIT

from synapse_apply.controller.rows import TargetName

from .conftest import ServedPage


def read_text(html: str) -> str:
    """The words of a page, without its markup, style and script."""
    shown = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", shown)))


def test_who_needs_a_person_stands_first(page: ServedPage) -> None:
    """The headline counts them, and each has its reason before the list of all targets."""
    text = read_text(page.get("/").text)
    assert "2 of 6 targets need a person" in text
    needs, _, every = text.partition("Needs a person")[2].partition(" Targets ")
    assert "The backend refused the token" in needs
    assert "4 looks in a row, for 3 h" in needs
    assert "acme/ dev" in every
    assert "acme/ dev" not in needs


def test_filters_stand_in_the_address(page: ServedPage) -> None:
    """Source, condition and words narrow the list, and the form shows what was asked for."""
    html = page.get("/?source=acme&state=pending&q=stag").text
    assert re.findall(r'<th scope="row"><a href="(/targets/[^"]+)"', html) == [
        "/targets/acme/staging"
    ]
    assert 'name="q" value="stag"' in html
    assert '<option value="pending" selected>' in html
    assert "No target matches" in read_text(page.get("/?q=no-such-target").text)


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=9" * 9, "state=%00", "q=%ff"]
)
def test_an_odd_address_is_no_error(page: ServedPage, query: str) -> None:
    assert page.get(f"/?{query}").status_code == 200


def test_a_target_shows_what_differs_now_and_its_history(page: ServedPage) -> None:
    """The plan as the HTML report shows it, then every kept run."""
    answer = page.get("/targets/vision/lab")
    text = read_text(answer.text)
    assert "this API cannot change a storage" in text
    assert "6 times in a row" in text
    assert answer.text.count('<th scope="row"><a class="commit" href="/runs/') == 12


def test_a_failing_target_shows_its_findings(page: ServedPage) -> None:
    text = read_text(page.get("/targets/acme/prod-eu").text)
    assert "Renew the token, and set the variable PROD_EU_TOKEN." in text
    assert "manifests/storages.yaml:12:3" in text
    assert "7f9c24e5d1" in text


def test_a_run_names_its_cause_and_links_to_its_commit(page: ServedPage) -> None:
    run = page.store.list_runs(TargetName("acme", "staging"), 1)[0]
    html = page.get(f"/runs/{run.id}").text
    assert "a push" in read_text(html)
    assert f'href="https://github.com/acme/synapse/commit/{HEAD_COMMIT}"' in html
    assert "plugin/yolo" in html


def test_a_revision_shows_what_became_of_it(page: ServedPage) -> None:
    """On each target that wants it, with the status that its commit has."""
    text = read_text(page.get(f"/revisions/acme/{HEAD_COMMIT}").text)
    for words in ("Write category as the schema has it", "Jonas Weber", "1 of 4 failed: prod-eu",
                  "synapse-apply/platform/acme", "prod-us", "staging"):  # fmt: skip
        assert words in text
    assert "a later head took its place" in read_text(
        page.get(f"/revisions/acme/{OLD_COMMIT}").text
    )


def test_a_source_lists_its_revisions(page: ServedPage) -> None:
    html = page.get("/sources/acme").text
    assert html.count('href="/revisions/acme/') == 4
    assert "https://github.com/acme/synapse.git" in html


@pytest.mark.parametrize(
    "path",
    [
        "/targets/acme/none",
        "/runs/none",
        "/revisions/acme/none",
        "/sources/none",
        "/none",
        "/runs/",
    ],
)
def test_an_unknown_name_is_not_found(page: ServedPage, path: str) -> None:
    """A page for a browser, a line for others."""
    answer = page.get(path, Accept="text/html")
    assert answer.status_code == 404
    assert "Nothing is known by this name" in answer.text
    assert page.get(path).text.count("\n") == 1


def test_before_the_first_fetch_the_page_says_so(empty_page: ServedPage) -> None:
    text = read_text(empty_page.get("/").text)
    assert "No targets yet" in text
    assert "after the first fetch" in text
